// Where VMs come from: an ESXi host or vCenter that is known, or one more. Its certificate is shown before a password
// is asked for, and no other is talked to afterwards.

import { Button, ClipboardCopy, Form, FormGroup, Radio } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useRead, useSocket } from '../../../api/client';
import { messageOf } from '../../../api/errors';
import type { ConnectSource } from '../../../api/generated';
import { useActs } from '../../../parts/acts';
import { Alert } from '../../../parts/Alert';
import { ErrorBox, Loading } from '../../../parts/feedback';
import { TextField } from '../../../parts/fields';
import { WaitsFor } from '../../../parts/WaitsFor';
import type { StepProps } from './NewImport';
import { fingerprintIn } from './draft';

export function Source({ draft, set }: StepProps) {
  const { t } = useTranslation();
  const read = useRead('import.sources', {});
  const [adding, setAdding] = useState(false);
  const { ask } = useActs();
  if (read.isPending) return <Loading lines={3} />;
  if (read.isError) return <ErrorBox error={read.error} retry={() => void read.refetch()} />;
  const connecting = adding || read.data.length === 0;
  const choose = (source: string) => set({ source, vms: [], networks: {} });
  const forget = (id: string, name: string) =>
    ask({
      method: 'import.disconnect',
      params: { source: id },
      title: t('Forget the source {{name}}', { name }),
      text: t('Its password is forgotten. Imports that are over stay in the list.'),
      button: t('Forget'),
      done: () => choose(''),
    });
  return (
    <div className="x-stack">
      {read.data.length > 0 && (
        <FormGroup role="radiogroup" fieldId="source" label={t('From where')}>
          {read.data.map((source) => (
            <Radio
              key={source.id}
              id={`source-${source.id}`}
              name="source"
              label={source.name}
              description={`${source.about} · ${source.user}@${source.address}`}
              isChecked={!connecting && draft.source === source.id}
              onChange={() => (setAdding(false), choose(source.id))}
              body={
                <Button variant="link" isInline onClick={() => forget(source.id, source.name)}>
                  {t('Forget')}
                </Button>
              }
            />
          ))}
          <Radio id="source-new" name="source" label={t('Another one')} isChecked={connecting} onChange={() => (setAdding(true), choose(''))} />
        </FormGroup>
      )}
      {connecting && <Connect done={(id) => (setAdding(false), choose(id))} />}
    </div>
  );
}

function Connect({ done }: { done: (id: string) => void }) {
  const { t } = useTranslation();
  const socket = useSocket();
  const { run } = useActs();
  const [form, setForm] = useState({ name: '', address: '', user: 'root', password: '' });
  const [seen, setSeen] = useState<string>();
  const [error, setError] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const field = (name: keyof typeof form) => (value: string) => {
    if (name === 'address') setSeen(undefined);
    setForm({ ...form, [name]: value });
  };
  // Without a fingerprint nothing is sent but a handshake: the refusal tells what was found.
  const probe = async () => {
    const params: ConnectSource = { ...form, password: '' };
    try {
      await socket.call('import.connect', params);
    } catch (error) {
      const found = fingerprintIn(messageOf(error));
      if (found) return setSeen(found);
      setError(error);
    }
  };
  const connect = async () => {
    const source = await run({ method: 'import.connect', params: { ...form, fingerprint: seen }, title: t('Connect to {{name}}', { name: form.name }) });
    if (source) done(source.id);
  };
  const submit = async (event: React.FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setError(undefined);
    await (seen ? connect() : probe());
    setBusy(false);
  };
  const ready = form.name !== '' && form.address !== '' && form.user !== '' && (!seen || form.password !== '');
  return (
    <Form id="source-form" onSubmit={(event) => void submit(event)} className="x-narrow">
      <TextField id="source-name" label={t('Name')} value={form.name} set={field('name')} required placeholder="vcenter" help={t('What it is called here.')} />
      <TextField id="source-address" label={t('Address')} value={form.address} set={field('address')} required placeholder="vcenter.example.com" help={t('Of a vCenter or an ESXi host, from 6.5 on.')} />
      <TextField id="source-user" label={t('User name')} value={form.user} set={field('user')} required placeholder="administrator@vsphere.local" />
      {error !== undefined && <ErrorBox error={error} />}
      {seen && (
        <>
          <Alert isInline variant="warning" title={t('Is this the certificate of your server?')}>
            <p>{t('Compare its SHA-256 with what the server itself shows. From now on no other is talked to.')}</p>
            <ClipboardCopy isReadOnly isCode hoverTip={t('Copy')} clickTip={t('Copied')} textAriaLabel={t('Fingerprint')} className="x-above">
              {seen}
            </ClipboardCopy>
          </Alert>
          <TextField id="source-password" label={t('Password')} type="password" value={form.password} set={field('password')} required help={t('Kept sealed, and never shown again.')} autoFocus />
        </>
      )}
      <div className="x-labels">
        <Button type="submit" variant="secondary" isLoading={busy} isDisabled={!ready || busy}>
          {seen ? t('It is: connect') : t('Look at its certificate')}
        </Button>
        <WaitsFor form="source-form" ready={ready} />
      </div>
    </Form>
  );
}
