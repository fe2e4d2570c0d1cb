// The processors and devices of the host that a VM has: its share, its limit, its place, what it drives itself.

import { Checkbox, FormGroup, Grid } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useRead } from '../../api/client';
import type { Vm, VmSpec } from '../../api/generated';
import { Alert } from '../../parts/Alert';
import { Help, TextField } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { capFits, hardwareDraft, newHardware, pinFits, weightFits } from './hardware';

export function EditHardware({ vm, spec, close }: { vm: Vm; spec: VmSpec; close: () => void }) {
  const { t } = useTranslation();
  const [draft, setDraft] = useState(() => hardwareDraft(spec));
  const set = (part: Partial<typeof draft>) => setDraft({ ...draft, ...part });
  const fits = weightFits(draft.weight) && capFits(draft.cap) && pinFits(draft.pin);
  const hardware = newHardware(spec, draft);
  const before = newHardware(spec, hardwareDraft(spec));
  const same = JSON.stringify(hardware) === JSON.stringify(before);
  return (
    <FormDialog
      act={{ method: 'vm.update', params: { vm: vm.id, hardware }, title: t('Change the hardware of {{name}}', { name: vm.name }), undo: { method: 'vm.update', params: { vm: vm.id, hardware: before } } }}
      button={t('Change')}
      ready={fits && !same}
      waits={t('Nothing is changed yet.')}
      close={close}
      about={t('Share, limit and CPUs change at once; the drive, the channel and PCI devices at the next start.')}
    >
      <Grid hasGutter sm={6}>
        <TextField id="hw-weight" label={t('CPU weight')} value={draft.weight} set={(weight) => set({ weight })} placeholder="256" wrong={weightFits(draft.weight) ? undefined : t('A whole number from 1 to 65,535, or none.')} help={t('Against other VMs when all want to run: twice as much gets twice the time.')} />
        <TextField id="hw-cap" label={t('CPU limit (%)')} value={draft.cap} set={(cap) => set({ cap })} placeholder={t('none')} wrong={capFits(draft.cap) ? undefined : t('A whole number from 1 to 65,535, or none.')} help={t('Of one CPU, also when others sleep: 250 are two and a half.')} />
      </Grid>
      <TextField id="hw-pin" label={t('Runs on the CPUs')} value={draft.pin} set={(pin) => set({ pin })} placeholder="0-3,8" wrong={pinFits(draft.pin) ? undefined : t('Numbers and ranges with commas between, such as 0-3,8.')} help={t('Numbers of the host’s; empty: all of them.')} />
      {spec.platform.kind === 'hvm' && <Checkbox id="hw-cd" label={t('A CD drive')} isChecked={draft.cd} onChange={(_event, cd) => set({ cd })} />}
      <Checkbox id="hw-guest-agent" label={t('A channel to the guest agent')} description={t('Backups and snapshots ask it to hold filesystems still; qemu-ga has to run in the guest. A PV or PVH guest gets a QEMU process on its host for it.')} isChecked={draft.guestAgent} onChange={(_event, guestAgent) => set({ guestAgent })} />
      <Devices vm={vm} chosen={draft.pci} set={(pci) => set({ pci })} />
    </FormDialog>
  );
}

function Devices({ vm, chosen, set }: { vm: Vm; chosen: string[]; set(chosen: string[]): void }) {
  const { t } = useTranslation();
  const read = useRead('host.hardware', { host: vm.host ?? '' }, { enabled: !!vm.host });
  const devices = read.data?.pci ?? [];
  const gone = chosen.filter((address) => !devices.some((device) => device.address === address));
  const toggle = (address: string, on: boolean) => set(on ? [...chosen, address] : chosen.filter((one) => one !== address));
  const box = (address: string, label: string, description?: string) => (
    <Checkbox key={address} id={`hw-pci-${address}`} label={label} description={description} isChecked={chosen.includes(address)} onChange={(_event, on) => toggle(address, on)} />
  );
  return (
    <FormGroup label={t('PCI devices of the host')} role="group">
      {read.data?.passthrough_problem && <Alert isInline isPlain variant="warning" title={read.data.passthrough_problem} />}
      {read.isError && <Help wrong>{read.error.message}</Help>}
      {read.data && devices.length === 0 && <Help>{t('The host has none to give.')}</Help>}
      <div className="x-choices">
        {devices.map(({ address, class: kind, id, driver }) => box(address, `${address} · ${kind}`, driver ? t('{{id}}, has the driver {{driver}}', { id, driver }) : id))}
        {gone.map((address) => box(address, t('{{address}}, not seen on the host', { address })))}
      </div>
    </FormGroup>
  );
}
