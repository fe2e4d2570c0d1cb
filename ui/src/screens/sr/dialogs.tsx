// Forms about storage: attach one that is new here, attach one to another host.

import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { Sr, SrSpec } from '../../api/generated';
import { ChoiceField, TextField, useHostOptions } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';

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
  const spec: SrSpec = kind === 'folder' ? { kind: 'folder', path } : { kind: 'nfs', server, export: path, ...(options ? { options } : {}) };
  return (
    <FormDialog
      act={{ method: 'sr.create', params: { name, host: on, spec }, title: t('Attach storage') }}
      button={t('Attach')}
      ready={name !== '' && path.startsWith('/') && (kind === 'folder' || server !== '') && on !== ''}
      close={close}
      about={t('An empty folder becomes storage. One that is storage already is attached with the disks in it.')}
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
        ]}
        help={kind === 'folder' ? t('On XFS or btrfs, snapshots and clones take milliseconds; elsewhere they are copies.') : undefined}
      />
      {kind === 'nfs' && <TextField id="sr-server" label={t('Server')} value={server} set={setServer} required placeholder="nas.example.com" />}
      <TextField
        id="sr-path"
        label={kind === 'nfs' ? t('Exported folder') : t('Folder')}
        value={path}
        set={setPath}
        required
        placeholder={kind === 'nfs' ? '/export/vms' : '/srv/vms'}
        wrong={path.startsWith('/') ? undefined : t('Give the whole path, from / on.')}
      />
      {kind === 'nfs' && <TextField id="sr-options" label={t('Mount options')} value={options} set={setOptions} placeholder="vers=4.2" help={t('Beside ours. Usually none.')} />}
      <ChoiceField id="sr-host" label={kind === 'nfs' ? t('First host') : t('Host')} value={on} set={setHost} options={hosts} />
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
      <ChoiceField id="attach-host" label={t('Host')} value={on} set={setHost} options={hosts} help={hosts.length === 0 ? t('Every host has it.') : undefined} />
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
