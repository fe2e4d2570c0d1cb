// Processors, memory, disks, networks.

import { Button, Checkbox, Form, FormGroup, Grid } from '@patternfly/react-core';
import MinusIcon from '@patternfly/react-icons/dist/esm/icons/minus-circle-icon';
import { useTranslation } from 'react-i18next';
import { useRead } from '../../../api/client';
import { ChoiceField, Help, NumberField, useNetworkOptions } from '../../../parts/fields';
import { useFormat } from '../../../parts/format';
import { NEW_DISK, type DraftDisk } from './draft';
import type { StepProps } from './NewVm';

/** The form, for who says what it waits for. */
export const HARDWARE = 'vm-hardware';

export function Hardware({ draft, set }: StepProps) {
  const { t } = useTranslation();
  const format = useFormat();
  const networks = useNetworkOptions();
  const vdis = useRead('vdi.list', { limit: 1000 });
  const free = (vdis.data?.items ?? []).filter((vdi) => !vdi.attached_to);
  const change = (index: number, part: Partial<DraftDisk>) => set({ disks: draft.disks.map((disk, at) => (at === index ? { ...disk, ...part } : disk)) });
  return (
    <Form id={HARDWARE} onSubmit={(event) => event.preventDefault()}>
      <Grid hasGutter md={4}>
        <NumberField id="vm-vcpus" label={t('vCPUs')} value={draft.vcpus} set={(vcpus) => set({ vcpus })} min={1} max={512} />
        <NumberField
          id="vm-memory"
          label={t('Memory (MiB)')}
          value={draft.memory}
          set={(memory) => set({ memory, maxMemory: Math.max(memory, draft.maxMemory === draft.memory ? memory : draft.maxMemory) })}
          min={1}
          step={256}
          help={format.mib(draft.memory)}
        />
        <NumberField id="vm-max-memory" label={t('Memory at most (MiB)')} value={draft.maxMemory} set={(maxMemory) => set({ maxMemory })} min={1} step={256} help={t('It can grow so far while it runs.')} />
      </Grid>
      <FormGroup label={t('Disks')} role="group">
        {draft.disks.map((disk, index) => (
          <div key={index} className="x-binding">
            <ChoiceField
              id={`disk-${index}-kind`}
              label={t('Disk {{number}}', { number: index + 1 })}
              value={disk.kind}
              set={(kind) => change(index, { kind: kind as DraftDisk['kind'] })}
              options={[
                ['new', t('A new, empty disk')],
                ['there', t('A disk that is there')],
              ]}
            />
            {disk.kind === 'new' ? (
              <NumberField id={`disk-${index}-size`} label={t('Size (GiB)')} value={disk.gib} set={(gib) => change(index, { gib })} min={1} max={65536} />
            ) : (
              <ChoiceField
                id={`disk-${index}-vdi`}
                label={t('Disk')}
                value={disk.vdi}
                set={(vdi) => change(index, { vdi })}
                required
                none={free.length ? t('Choose one') : t('There is none that no VM has')}
                options={free.map((vdi) => [vdi.id, `${vdi.name} (${format.bytes(vdi.size)})`])}
              />
            )}
            <Button variant="plain" aria-label={t('Leave out disk {{number}}', { number: index + 1 })} icon={<MinusIcon />} onClick={() => set({ disks: draft.disks.filter((_, at) => at !== index) })} />
          </div>
        ))}
        <Button variant="link" isInline onClick={() => set({ disks: [...draft.disks, NEW_DISK] })}>
          {t('Add a disk')}
        </Button>
      </FormGroup>
      <FormGroup label={t('Networks')} role="group">
        {networks.length === 0 && <Help>{t('There is no network yet. The VM can get a NIC later.')}</Help>}
        {networks.map(([id, label]) => (
          <Checkbox
            key={id}
            id={`nic-${id}`}
            label={label}
            isChecked={draft.nics.includes(id)}
            onChange={(_event, on) => set({ nics: on ? [...draft.nics, id] : draft.nics.filter((one) => one !== id) })}
          />
        ))}
      </FormGroup>
      <FormGroup label={t('More')} role="group">
        <Checkbox id="vm-vnc" label={t('A display, reached over VNC')} isChecked={draft.graphics === 'vnc'} onChange={(_event, on) => set({ graphics: on ? 'vnc' : 'none' })} />
        <Checkbox id="vm-autostart" label={t('Start it with its host')} isChecked={draft.autostart} onChange={(_event, on) => set({ autostart: on })} />
      </FormGroup>
    </Form>
  );
}
