// The disks of a VM: attach a new one or one that is there, make it larger, detach.

import { Radio } from '@patternfly/react-core';
import DiskIcon from '@patternfly/react-icons/dist/esm/icons/hdd-icon';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import { useRead } from '../../api/client';
import type { DiskSpec, NewDisk, Vdi, Vm } from '../../api/generated';
import { msg } from '../../i18n/msg';
import { CreateButton } from '../../parts/CreateButton';
import { ChoiceField, NumberField } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { useFormat } from '../../parts/format';
import { useNames, useSrName } from '../../parts/names';
import type { Verb } from '../../parts/VerbMenu';
import { mayNot } from '../../rules/may';
import { vmCannotChange } from '../../rules/vm';
import { useUser } from '../../shell/user';
import { ResizeDisk } from '../vdi/dialogs';
import { Lease } from '../vdi/Lease';
import { useVdiCannot } from '../vdi/verbs';
import { Devices } from './Devices';

export function VmDisks({ vm }: { vm: Vm }) {
  const { t } = useTranslation();
  const user = useUser();
  const format = useFormat();
  const [adding, setAdding] = useState(false);
  const [growing, setGrowing] = useState<Vdi>();
  const [leasing, setLeasing] = useState<Vdi>();
  const cannot = useVdiCannot();
  const srName = useSrName();
  const ids = (vm.spec?.disks ?? []).map((disk) => `id:${disk.vdi}`).join(' or ');
  const vdis = useRead('vdi.list', { filter: ids, limit: 64 }, { enabled: ids !== '' });
  const place = { pool: vm.pool, tags: vm.tags };
  const noAttach = vmCannotChange(user, 'vm.attach_disk', vm, place);
  const noDetach = vmCannotChange(user, 'vm.detach_disk', vm, place);
  const disks = vm.spec?.disks ?? [];
  const vdi = (disk: DiskSpec) => vdis.data?.items.find(({ id }) => id === disk.vdi);
  const cannotLook = (found: Vdi | undefined) => (found ? cannot.lease(found) : msg('The page does not know this disk yet.'));
  const add = <CreateButton secondary label={t('Attach a disk')} why={noAttach} go={() => setAdding(true)} />;
  const verbs = (disk: DiskSpec): Verb[] => [
    { label: t('Make larger'), why: mayNot(user, 'vdi.resize', place) ?? (vdi(disk) ? undefined : msg('Its size is not known.')), go: () => setGrowing(vdi(disk)) },
    { label: t('Who may write it'), why: cannotLook(vdi(disk)), go: () => setLeasing(vdi(disk)) },
    {
      label: t('Detach'),
      why: noDetach,
      act: { method: 'vm.detach_disk', params: { vm: vm.id, device: disk.device }, title: t('Detach {{device}} from {{name}}', { device: disk.device, name: vm.name }) },
      question: { text: t('The guest loses this disk; unmount it there first. Its contents stay, as a disk of its own.'), button: t('Detach') },
    },
  ];
  return (
    <>
      <Devices
        label={t('Disks')}
        devices={disks}
        columns={[
          { header: t('Device'), cell: (disk) => <code>{disk.device}</code> },
          { header: t('Name'), cell: (disk) => vdi(disk)?.name ?? disk.vdi },
          { header: t('Size'), cell: (disk) => (vdi(disk) ? format.bytes(vdi(disk)?.size ?? 0) : '—') },
          { header: t('Storage'), cell: (disk) => (vdi(disk) ? <Link to={`/storage/${vdi(disk)?.sr}`}>{srName(vdi(disk)?.sr ?? '')}</Link> : '—') },
          { header: t('Access'), cell: (disk) => (disk.access === 'read-only' ? t('read only') : t('read and write')) },
        ]}
        idOf={(disk) => disk.device}
        nameOf={(disk) => vdi(disk)?.name ?? disk.device}
        verbs={verbs}
        add={add}
        none={{ icon: DiskIcon, title: t('No disks'), text: t('This VM runs from its kernel and ramdisk alone.') }}
      />
      {adding && <AttachDisk vm={vm} close={() => setAdding(false)} />}
      {growing && <ResizeDisk vdi={growing} close={() => setGrowing(undefined)} />}
      {leasing && <Lease vdi={leasing} close={() => setLeasing(undefined)} />}
    </>
  );
}

function AttachDisk({ vm, close }: { vm: Vm; close: () => void }) {
  const { t } = useTranslation();
  const format = useFormat();
  const [kind, setKind] = useState<'new' | 'there'>('new');
  const [gib, setGib] = useState(10);
  const [vdi, setVdi] = useState('');
  const [access, setAccess] = useState('read-write');
  const names = useNames();
  const vdis = useRead('vdi.list', { filter: `attached:no host:"${vm.host ? names.host(vm.host) : ''}"`, limit: 1000 }, { enabled: !!vm.host });
  const free = (vdis.data?.items ?? []).filter((one) => !one.attached_to && one.host === vm.host);
  const disk: NewDisk = {
    ...(kind === 'new' ? { size: gib * 1024 ** 3 } : { vdi }),
    ...(access === 'read-only' ? { access: 'read-only' as const } : {}),
  };
  const act = { method: 'vm.attach_disk' as const, params: { vm: vm.id, disk }, title: t('Attach a disk to {{name}}', { name: vm.name }) };
  const ready = kind === 'new' ? gib > 0 : vdi !== '';
  return (
    <FormDialog act={act} button={t('Attach')} ready={ready} close={close}>
      <Radio id="disk-new" name="disk-kind" label={t('A new, empty disk')} isChecked={kind === 'new'} onChange={() => setKind('new')} />
      {kind === 'new' && <NumberField id="disk-size" label={t('Size (GiB)')} value={gib} set={setGib} min={1} max={65536} />}
      <Radio
        id="disk-there"
        name="disk-kind"
        label={t('A disk that is there')}
        description={free.length === 0 ? t('There is none on this host that no VM has.') : undefined}
        isDisabled={free.length === 0}
        isChecked={kind === 'there'}
        onChange={() => setKind('there')}
      />
      {kind === 'there' && (
        <ChoiceField id="disk-vdi" label={t('Disk')} value={vdi} set={setVdi} required none={t('Choose one')} options={free.map((one) => [one.id, `${one.name} (${format.bytes(one.size)})`])} />
      )}
      <ChoiceField
        id="disk-access"
        label={t('Access')}
        value={access}
        set={setAccess}
        options={[
          ['read-write', t('read and write')],
          ['read-only', t('read only')],
        ]}
      />
    </FormDialog>
  );
}
