// Name, where it belongs, and how Xen runs it.

import { Form, FormGroup, FormSection, Radio } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';
import { useAll } from '../../../list/all';
import { ChoiceField, TextField, usePoolOptions, useVmNameProblem } from '../../../parts/fields';
import type { StepProps } from './NewVm';

/** The form, for who says what it waits for. */
export const BASICS = 'vm-basics';

export function Basics({ draft, set }: StepProps) {
  const { t } = useTranslation();
  const pools = usePoolOptions();
  const wrong = useVmNameProblem(draft.name);
  const isos = useAll('iso.list', {}, { enabled: draft.kind === 'hvm' });
  const kinds = [
    ['pvh', t('PVH: the default for Linux'), t('Hardware-assisted, without emulated devices: quick and small. Its kernel lies in the host’s boot folder.')],
    ['hvm', t('HVM: any operating system'), t('A whole emulated machine with BIOS or UEFI. Boots from disk, CD or network.')],
    ['pv', t('PV: old guests'), t('Paravirtualised, for guests and hosts without hardware support.')],
  ] as const;
  return (
    <Form id={BASICS} onSubmit={(event) => event.preventDefault()}>
      <TextField
        id="vm-name"
        label={t('Name')}
        value={draft.name}
        set={(name) => set({ name })}
        required
        autoFocus
        wrong={wrong}
      />
      <FormGroup role="radiogroup" label={t('Kind')} fieldId="vm-kind">
        {kinds.map(([kind, label, text]) => (
          <Radio key={kind} id={`vm-kind-${kind}`} name="vm-kind" label={label} description={text} isChecked={draft.kind === kind} onChange={() => set({ kind })} />
        ))}
      </FormGroup>
      {draft.kind === 'hvm' ? (
        <FormSection>
          <ChoiceField
            id="vm-firmware"
            label={t('Firmware')}
            value={draft.firmware}
            set={(firmware) => set({ firmware: firmware as 'bios' | 'uefi' })}
            options={[
              ['uefi', 'UEFI'],
              ['bios', 'BIOS'],
            ]}
          />
          <ChoiceField
            id="vm-boot"
            label={t('Boots first from')}
            value={draft.bootFrom}
            set={(bootFrom) => set({ bootFrom: bootFrom as 'disk' | 'cdrom' | 'network' })}
            options={[
              ['disk', t('disk')],
              ['cdrom', t('CD')],
              ['network', t('network')],
            ]}
          />
          <ChoiceField
            id="vm-iso"
            label={t('CD in the drive')}
            value={draft.iso}
            set={(iso) => set({ iso })}
            options={(isos.data ?? []).map((iso) => [iso.id, iso.name])}
            none={t('No CD drive')}
            help={isos.data?.length === 0 ? t('Import one under Disks, or attach storage for ISOs.') : t('An empty disk does not boot: the CD is next, until a system is installed.')}
          />
        </FormSection>
      ) : (
        <FormSection>
          <TextField id="vm-kernel" label={t('Kernel')} value={draft.kernel} set={(kernel) => set({ kernel })} required placeholder="vmlinuz" help={t('A file in the host’s boot folder, usually /var/lib/xenith/boot.')} />
          <TextField id="vm-ramdisk" label={t('Ramdisk')} value={draft.ramdisk} set={(ramdisk) => set({ ramdisk })} placeholder="initrd.img" />
          <TextField id="vm-cmdline" label={t('Kernel command line')} value={draft.cmdline} set={(cmdline) => set({ cmdline })} />
        </FormSection>
      )}
      <ChoiceField id="vm-pool" label={t('Pool')} value={draft.pool} set={(pool) => set({ pool })} options={pools} none={t('The pool default')} />
      <TextField id="vm-tags" label={t('Tags')} value={draft.tags} set={(tags) => set({ tags })} placeholder="prod web" help={t('Words with spaces between. Roles may hang on tags.')} />
      <TextField id="vm-description" label={t('Description')} value={draft.description} set={(description) => set({ description })} />
    </Form>
  );
}
