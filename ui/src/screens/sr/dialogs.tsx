// Forms about storage: attach one that is new here, attach one to another host.

import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { Sr, SrSpec } from '../../api/generated';
import { msg } from '../../i18n/msg';
import { ChoiceField, TextField, useHostOptions, words } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';

interface Place {
  label: string;
  placeholder: string;
  good(path: string): boolean;
  /** What is wrong with one that is not good. */
  wrong: string;
  help?: string;
}

const WHOLE_PATH = msg('Give the whole path, from / on.');

/** How each kind of storage says where it is. */
const PLACES: Record<string, Place> = {
  nfs: { label: msg('Exported folder'), placeholder: '/export/vms', good: (path) => path.startsWith('/'), wrong: WHOLE_PATH },
  folder: {
    label: msg('Folder'),
    placeholder: '/srv/vms',
    good: (path) => path.startsWith('/'),
    wrong: WHOLE_PATH,
    help: msg('On XFS or btrfs, snapshots and clones take milliseconds; elsewhere they are copies.'),
  },
  disks: {
    label: msg('Empty disks'),
    placeholder: '/dev/disk/by-id/…',
    good: (path) => words(path).length > 0 && words(path).every((disk) => disk.startsWith('/dev/')),
    wrong: msg('Give paths under /dev, with a space between them.'),
    help: msg('A disk with something on it is refused.'),
  },
  pool: {
    label: msg('Pool'),
    placeholder: 'vg/data',
    good: (path) => /^[^/\s]+\/[^/\s]+$/.test(path),
    wrong: msg('Give its group and its name, as lvs shows them, with / between them.'),
    help: msg('What else is in the pool stays as it is.'),
  },
};

function specOf(kind: string, path: string, server: string, options: string): SrSpec {
  switch (kind) {
    case 'folder':
      return { kind: 'folder', path };
    case 'disks':
      return { kind: 'lvm-thin', disks: words(path) };
    case 'pool':
      return { kind: 'lvm-thin', pool: path };
    default:
      return { kind: 'nfs', server, export: path, ...(options ? { options } : {}) };
  }
}

export function CreateSr({ close }: { close: () => void }) {
  const { t } = useTranslation();
  const hosts = useHostOptions();
  const [name, setName] = useState('');
  const [host, setHost] = useState('');
  const [kind, setKind] = useState('nfs');
  const [path, setPath] = useState('');
  const [server, setServer] = useState('');
  const [options, setOptions] = useState('');
  const on = host || hosts[0]?.[0] || '';
  const place = PLACES[kind] as Place;
  const spec = specOf(kind, path, server, options);
  return (
    <FormDialog
      act={{ method: 'sr.create', params: { name, host: on, spec }, title: t('Attach storage') }}
      button={t('Attach')}
      ready={name !== '' && place.good(path) && (kind !== 'nfs' || server !== '') && on !== ''}
      close={close}
      about={t('An empty folder, empty disks or a thin pool become storage. What is storage already is attached with the disks in it.')}
    >
      <TextField id="sr-name" label={t('Name')} value={name} set={setName} required autoFocus wrong={name.startsWith('local-') ? t('“local-” is for those that hosts have by themselves.') : undefined} />
      <ChoiceField
        id="sr-kind"
        label={t('Kind')}
        value={kind}
        set={setKind}
        options={[
          ['nfs', t('NFS: a server’s folder, for several hosts')],
          ['folder', t('Folder of one host')],
          ['disks', t('Disks of one host, as a thin pool')],
          ['pool', t('Thin pool of LVM that one host has')],
        ]}
        help={place.help && t(place.help)}
      />
      {kind === 'nfs' && <TextField id="sr-server" label={t('Server')} value={server} set={setServer} required placeholder="nas.example.com" />}
      <TextField
        id="sr-path"
        label={t(place.label)}
        value={path}
        set={setPath}
        required
        placeholder={place.placeholder}
        wrong={place.good(path) ? undefined : t(place.wrong)}
      />
      {kind === 'nfs' && <TextField id="sr-options" label={t('Mount options')} value={options} set={setOptions} placeholder="vers=4.2" help={t('Beside ours. Usually none.')} />}
      <ChoiceField id="sr-host" required label={kind === 'nfs' ? t('First host') : t('Host')} value={on} set={setHost} options={hosts} />
    </FormDialog>
  );
}

export function AttachSr({ sr, close }: { sr: Sr; close: () => void }) {
  const { t } = useTranslation();
  const hosts = useHostOptions().filter(([id]) => !sr.hosts.includes(id));
  const [host, setHost] = useState('');
  const on = host || hosts[0]?.[0] || '';
  return (
    <FormDialog act={{ method: 'sr.attach', params: { sr: sr.id, host: on }, title: t('Attach {{name}} to a host', { name: sr.name }) }} button={t('Attach')} ready={on !== ''} close={close}>
      <ChoiceField id="attach-host" required label={t('Host')} value={on} set={setHost} options={hosts} help={hosts.length === 0 ? t('Every host has it.') : undefined} />
    </FormDialog>
  );
}

export function AdoptVdi({ sr, vdi, close, done }: { sr: string; vdi: string; close: () => void; done: () => void }) {
  const { t } = useTranslation();
  const [name, setName] = useState('');
  return (
    <FormDialog act={{ method: 'sr.adopt', params: { sr, vdi, name }, title: t('Take the disk in') }} button={t('Take in')} ready={name !== ''} close={close} done={done} about={t('It becomes a disk that VMs can have.')}>
      <TextField id="adopt-name" label={t('Name')} value={name} set={setName} required autoFocus />
    </FormDialog>
  );
}
