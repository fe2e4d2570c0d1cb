// Forms about repositories: one more, its limits, its key, checking it.

import { Checkbox, FormGroup, Radio } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { CreateRepository as Params, Repository, RepositorySecret, UpdateRepository } from '../../api/generated';
import { ChoiceField, NumberField, TextField, useHostOptions } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { SecretDialog } from '../../parts/SecretDialog';

const MIB = 1024 ** 2;

interface Limits {
  concurrency: number;
  /** MiB a second. */
  bandwidth: number;
}

function LimitFields({ limits, set }: { limits: Limits; set(limits: Limits): void }) {
  const { t } = useTranslation();
  return (
    <>
      <NumberField id="repository-concurrency" label={t('Backups at a time')} value={limits.concurrency} set={(concurrency) => set({ ...limits, concurrency })} min={0} help={t('Whichever jobs they are of; the others wait. 0: no limit.')} />
      <NumberField id="repository-bandwidth" label={t('MiB a second')} value={limits.bandwidth} set={(bandwidth) => set({ ...limits, bandwidth })} min={0} help={t('Shared by all who write at the time. 0: no limit.')} />
    </>
  );
}

/** Only what is changed is sent. */
export function EditLimits({ repository, close }: { repository: Repository; close: () => void }) {
  const { t } = useTranslation();
  const was = { concurrency: repository.concurrency ?? 0, bandwidth: Math.round((repository.bandwidth ?? 0) / MIB) };
  const [limits, setLimits] = useState(was);
  const params: UpdateRepository = {
    repository: repository.id,
    ...(limits.concurrency === was.concurrency ? {} : { concurrency: limits.concurrency }),
    ...(limits.bandwidth === was.bandwidth ? {} : { bandwidth: limits.bandwidth * MIB }),
  };
  return (
    <FormDialog act={{ method: 'repository.update', params, title: t('Change the limits of {{name}}', { name: repository.name }) }} button={t('Change')} ready={Object.keys(params).length > 1} waits={t('Nothing is changed yet.')} close={close} about={t('How much of it backups may take up. A new speed holds at once, also for those that run.')}>
      <LimitFields limits={limits} set={setLimits} />
    </FormDialog>
  );
}

export function CreateRepository({ close }: { close: () => void }) {
  const { t } = useTranslation();
  const hosts = useHostOptions();
  const [form, setForm] = useState({ name: '', kind: 'folder', path: '', bucket: '', prefix: '', endpoint: '', region: '', access: '', secret: '', opens: 'new', passphrase: '', key: '', host: '' });
  const [sealed, setSealed] = useState(false);
  const [limits, setLimits] = useState<Limits>({ concurrency: 0, bandwidth: 0 });
  const set = (name: keyof typeof form) => (value: string) => setForm({ ...form, [name]: value });
  const folder = form.kind === 'folder';
  const params: Params = {
    name: form.name,
    place: folder ? { kind: 'folder', path: form.path } : { kind: 's3', bucket: form.bucket, prefix: form.prefix, endpoint: form.endpoint, region: form.region },
    ...(folder ? {} : { access_key: form.access, secret_key: form.secret }),
    ...(form.opens === 'passphrase' ? { passphrase: form.passphrase } : {}),
    ...(form.opens === 'key' ? { key: form.key } : {}),
    ...(sealed ? { sealed } : {}),
    ...(form.host ? { host: form.host } : {}),
    ...(limits.concurrency ? { concurrency: limits.concurrency } : {}),
    ...(limits.bandwidth ? { bandwidth: limits.bandwidth * MIB } : {}),
  };
  const opened = form.opens === 'new' || (form.opens === 'passphrase' ? form.passphrase !== '' : /^[0-9a-f]{64}$/i.test(form.key));
  return (
    <FormDialog
      secret
      act={{ method: 'repository.create', params, title: t('Add a repository') }}
      button={t('Add')}
      ready={form.name !== '' && opened && (folder ? form.path.startsWith('/') : form.bucket !== '')}
      close={close}
      about={t('Made in an empty place, or opened where there is one already: its backups appear here again.')}
    >
      <TextField id="repository-name" label={t('Name')} value={form.name} set={set('name')} required autoFocus />
      <ChoiceField
        id="repository-kind"
        label={t('Kind')}
        value={form.kind}
        set={set('kind')}
        options={[
          ['folder', t('A folder, such as an NFS mount')],
          ['s3', t('S3, or what speaks it')],
        ]}
      />
      {folder ? (
        <TextField id="repository-path" label={t('Folder')} value={form.path} set={set('path')} required placeholder="/mnt/backups" help={t('Under the same path on every host whose VMs go into it.')} />
      ) : (
        <>
          <TextField id="repository-bucket" label={t('Bucket')} value={form.bucket} set={set('bucket')} required />
          <TextField id="repository-prefix" label={t('Prefix')} value={form.prefix} set={set('prefix')} />
          <TextField id="repository-endpoint" label={t('Address')} value={form.endpoint} set={set('endpoint')} placeholder="https://s3.example.com" help={t('Empty: Amazon’s own.')} />
          <TextField id="repository-region" label={t('Region')} value={form.region} set={set('region')} />
          <TextField id="repository-access" label={t('Access key')} value={form.access} set={set('access')} />
          <TextField id="repository-secret" label={t('Secret key')} type="password" value={form.secret} set={set('secret')} />
        </>
      )}
      <FormGroup role="radiogroup" fieldId="repository-opens" label={t('What opens it')}>
        <Radio id="opens-new" name="opens" label={t('A new key')} description={t('For a new repository. Put it on paper afterwards: without it nobody reads the backups.')} isChecked={form.opens === 'new'} onChange={() => set('opens')('new')} />
        <Radio id="opens-passphrase" name="opens" label={t('A passphrase')} isChecked={form.opens === 'passphrase'} onChange={() => set('opens')('passphrase')} />
        <Radio id="opens-key" name="opens" label={t('A key that I have')} isChecked={form.opens === 'key'} onChange={() => set('opens')('key')} />
      </FormGroup>
      {form.opens === 'passphrase' && <TextField id="repository-passphrase" label={t('Passphrase')} type="password" value={form.passphrase} set={set('passphrase')} required />}
      {form.opens === 'key' && <TextField id="repository-key" label={t('Key')} type="password" value={form.key} set={set('key')} required wrong={/^[0-9a-f]{64}$/i.test(form.key) ? undefined : t('64 hexadecimal digits.')} />}
      <Checkbox id="repository-sealed" label={t('Hosts only add backups')} description={t('What they store is sealed: only a host that restores, checks or prunes gets the key that opens it.')} isChecked={sealed} onChange={(_event, on) => setSealed(on)} />
      <ChoiceField id="repository-host" label={t('Probed by')} value={form.host} set={set('host')} options={hosts} none={t('Any host that is connected')} />
      <LimitFields limits={limits} set={setLimits} />
    </FormDialog>
  );
}

export function Verify({ repository, close }: { repository: Repository; close: () => void }) {
  const { t } = useTranslation();
  const [deep, setDeep] = useState(false);
  return (
    <FormDialog act={{ method: 'repository.verify', params: { repository: repository.id, ...(deep ? { deep } : {}) }, title: t('Check {{name}}', { name: repository.name }) }} button={t('Check')} ready close={close} about={t('Reads what the repository holds and whether all of it is there.')}>
      <Checkbox id="verify-deep" label={t('Decrypt and check every chunk, too')} description={t('Reads everything: it takes as long as that takes.')} isChecked={deep} onChange={(_event, on) => setDeep(on)} />
    </FormDialog>
  );
}

/** Shown once it was asked for; that is in the audit log. */
export function Secret({ name, secret, close }: { name: string; secret: RepositorySecret; close: () => void }) {
  const { t } = useTranslation();
  return (
    <SecretDialog
      title={t('What opens {{name}}', { name })}
      warning={t('Put it on paper, away from here')}
      about={t('It opens the repository without this installation. Whoever has it and the place reads all backups.')}
      label={secret.kind}
      secret={secret.secret}
      close={close}
    />
  );
}
