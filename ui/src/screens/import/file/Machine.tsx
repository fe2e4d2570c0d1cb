// What becomes of the file here: name and size of the VM, its networks, where it goes.

import { Checkbox, Form, FormGroup, FormSection, Grid } from '@patternfly/react-core';
import { useTranslation } from 'react-i18next';
import { ChoiceField, Help, NumberField, TextField, useHostOptions, useNetworkOptions, usePoolOptions, useVmNameProblem } from '../../../parts/fields';
import { useFormat } from '../../../parts/format';
import { networksIn } from './draft';
import type { StepProps } from './FromFile';

/** The form, for who says what it waits for. */
export const MACHINE = 'file-vm-form';

export function Machine({ draft, set }: StepProps) {
  const { t } = useTranslation();
  const format = useFormat();
  const pools = usePoolOptions();
  const hosts = useHostOptions();
  const networks = useNetworkOptions();
  const wrong = useVmNameProblem(draft.name);
  const theirs = draft.found ? networksIn(draft.found) : [];
  return (
    <Form id={MACHINE} onSubmit={(event) => event.preventDefault()} className="x-form">
      <div className="x-columns">
        <FormSection title={t('The VM')} titleElement="h2">
          <TextField id="file-name" label={t('Name')} value={draft.name} set={(name) => set({ name })} required wrong={wrong} />
          <Grid hasGutter sm={6}>
            <NumberField id="file-vcpus" label={t('vCPUs')} value={draft.vcpus} set={(vcpus) => set({ vcpus })} min={1} max={512} />
            <NumberField id="file-memory" label={t('Memory (MiB)')} value={draft.memory} set={(memory) => set({ memory })} min={1} step={256} help={format.mib(draft.memory)} />
          </Grid>
          <ChoiceField
            id="file-firmware"
            label={t('Firmware')}
            value={draft.firmware}
            set={(firmware) => set({ firmware: firmware === 'uefi' ? 'uefi' : 'bios' })}
            options={[
              ['bios', 'BIOS'],
              ['uefi', 'UEFI'],
            ]}
            help={t('The one that it was installed with: it does not start with the other.')}
          />
          <TextField id="file-tags" label={t('Tags')} value={draft.tags} set={(tags) => set({ tags })} help={t('Words with spaces between. Roles may hang on tags.')} />
        </FormSection>
        <FormSection title={t('Where to')} titleElement="h2">
          <ChoiceField id="file-pool" label={t('Pool')} value={draft.pool} set={(pool) => set({ pool })} options={pools} none={t('The pool default')} />
          <ChoiceField id="file-host" label={t('Host')} value={draft.host} set={(host) => set({ host })} options={hosts} none={t('The best one')} />
          {theirs.length > 0 && <Help>{t('What stands for their networks here:')}</Help>}
          {theirs.map((from, index) => (
            <ChoiceField
              key={from}
              id={`file-net-${index}`}
              label={from}
              value={draft.networks[from] ?? ''}
              set={(to) => set({ networks: { ...draft.networks, [from]: to } })}
              options={networks}
              none={t('None: leave these NICs out')}
            />
          ))}
          {theirs.length === 0 && <ChoiceField id="file-network" label={t('Network')} value={draft.network} set={(network) => set({ network })} options={networks} none={t('No NIC')} help={t('The file describes no NIC.')} />}
          <FormGroup label={t('More')} role="group">
            {theirs.length > 0 && <Checkbox id="file-macs" label={t('Keep the MAC addresses of the file')} description={t('Not while the other VM still runs in the same network.')} isChecked={draft.keepMacs} onChange={(_event, keepMacs) => set({ keepMacs })} />}
            <Checkbox id="file-prepare" label={t('Prepare the guest for Xen')} description={t('Drivers and settings that it needs to start here.')} isChecked={draft.prepare} onChange={(_event, prepare) => set({ prepare })} />
            <Checkbox id="file-start" label={t('Start it when its disks are here')} isChecked={draft.start} onChange={(_event, start) => set({ start })} />
          </FormGroup>
        </FormSection>
      </div>
    </Form>
  );
}
