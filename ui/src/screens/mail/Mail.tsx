// The server that takes the orchestrator's mail: of alarms, and reports of backups.

import { ActionGroup, Button, Card, CardBody, CardTitle, Form, PageSection } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useRead } from '../../api/client';
import type { MailSecurity, MailSettings } from '../../api/generated';
import { msg } from '../../i18n/msg';
import { useActs } from '../../parts/acts';
import { Alert } from '../../parts/Alert';
import { Failed, Loading, Nothing } from '../../parts/feedback';
import { AreaField, ChoiceField, TextField } from '../../parts/fields';
import { PageTitle } from '../../parts/PageTitle';
import { WaitsFor } from '../../parts/WaitsFor';
import { WhyButton } from '../../parts/WhyButton';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { fromMail, mailProblems, sameMail, setMail, USUAL_PORT, type MailDraft } from './draft';

/** The forms, for who says what they wait for. */
const SERVER = 'mail-form';
const TEST = 'mail-test-form';

export default function Mail() {
  const { t } = useTranslation();
  const user = useUser();
  const why = mayNot(user, 'mail.get');
  const read = useRead('mail.get', {}, { enabled: !why });
  if (why) return <Nothing title={t('You cannot see the mail server')}>{t(why)}</Nothing>;
  if (read.isPending) return <Loading />;
  if (!read.data) return <Failed error={read.error} retry={() => void read.refetch()} />;
  const settings = read.data;
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <PageTitle>{t('Mail server')}</PageTitle>
      {settings.server === '' && (
        <Alert isInline variant="info" title={t('No mail is sent')}>
          {t('Alarms and reports of backups reach people by e-mail once there is a server that takes it.')}
        </Alert>
      )}
      <div className="x-columns">
        <Server key={JSON.stringify(settings)} settings={settings} />
        <Test settings={settings} />
      </div>
    </PageSection>
  );
}

function Server({ settings }: { settings: MailSettings }) {
  const { t } = useTranslation();
  const user = useUser();
  const { run, ask } = useActs();
  const [draft, setDraft] = useState<MailDraft>(() => fromMail(settings));
  const [busy, setBusy] = useState(false);
  const set = <K extends keyof MailDraft>(name: K) => (value: string) => setDraft({ ...draft, [name]: value as MailDraft[K] });
  const why = mayNot(user, 'mail.set');
  const wrong = mailProblems(settings, draft);
  const ready = !why && draft.server.trim() !== '' && Object.keys(wrong).length === 0 && !sameMail(settings, draft);
  const said = (name: keyof typeof wrong) => wrong[name] && t(wrong[name]);
  const submit = async (event: React.FormEvent) => {
    event.preventDefault();
    if (!ready || busy) return;
    setBusy(true);
    await run({ method: 'mail.set', params: setMail(draft), title: t('Set the mail server') });
    setBusy(false);
  };
  const stop = () =>
    ask({ method: 'mail.set', params: { server: '' }, title: t('Send no mail any more'), text: t('The server and its password are forgotten. Alarms and reports reach nobody by e-mail.'), button: t('Send no mail') });
  return (
    <Card isCompact>
      <CardTitle component="h2">{t('The server that takes the mail')}</CardTitle>
      <CardBody>
        <Form id={SERVER} onSubmit={(event) => void submit(event)}>
          <TextField id="mail-server" label={t('Server')} value={draft.server} set={set('server')} required placeholder="mail.example.org" wrong={said('server')} />
          <ChoiceField
            id="mail-security"
            label={t('Connection')}
            value={draft.security}
            set={(security) => set('security')(security as MailSecurity)}
            options={[
              ['starttls', t('Becomes private (STARTTLS)')],
              ['tls', t('Private from the start (TLS)')],
              ['none', t('In the open, without a password')],
            ]}
          />
          <TextField id="mail-port" label={t('Port')} value={draft.port} set={set('port')} placeholder={String(USUAL_PORT[draft.security])} wrong={said('port')} help={t('Empty: the usual one.')} />
          <TextField id="mail-from" label={t('Sender')} value={draft.from} set={set('from')} required placeholder="Xenith <xenith@example.org>" wrong={said('from')} />
          <TextField id="mail-user" label={t('User name')} value={draft.user} set={set('user')} wrong={said('user')} help={t('Empty: nobody signs in.')} />
          {draft.user !== '' && <TextField id="mail-password" type="password" label={t('Password')} value={draft.password} set={set('password')} help={said('password') ?? t('Empty: the one that is known stays. It is sealed, and never shown.')} />}
          <AreaField id="mail-authority" label={t('Certificates')} value={draft.authority} set={set('authority')} rows={4} placeholder="-----BEGIN CERTIFICATE-----" help={t('PEM. Trusted for this server besides those of the orchestrator’s machine.')} />
          <ActionGroup>
            <Button type="submit" isDisabled={!ready} isLoading={busy} title={why && t(why)}>
              {t('Set the mail server')}
            </Button>
            {settings.server !== '' && (
              <WhyButton variant="link" isDanger={!why} why={why} go={stop}>
                {t('Send no mail any more')}
              </WhyButton>
            )}
            <WaitsFor form={SERVER} ready={ready} otherwise={t(why ?? msg('Nothing is changed yet.'))} />
          </ActionGroup>
        </Form>
      </CardBody>
    </Card>
  );
}

function Test({ settings }: { settings: MailSettings }) {
  const { t } = useTranslation();
  const { run, copy } = useActs();
  const [to, setTo] = useState('');
  const [busy, setBusy] = useState(false);
  const act = { method: 'mail.test' as const, params: { to: to.trim() }, title: t('Send a test to {{to}}', { to: to.trim() }) };
  const good = /^[^@\s]+@[^@\s]+$/.test(to.trim());
  const ready = settings.server !== '' && good;
  const submit = async (event: React.FormEvent) => {
    event.preventDefault();
    if (!ready || busy) return;
    setBusy(true);
    await run(act);
    setBusy(false);
  };
  return (
    <Card isCompact>
      <CardTitle component="h2">{t('Does it work?')}</CardTitle>
      <CardBody>
        <Form id={TEST} onSubmit={(event) => void submit(event)}>
          <TextField id="mail-to" label={t('To')} value={to} set={setTo} required placeholder="you@example.org" wrong={good ? undefined : t('One address, such as you@example.org.')} help={settings.server === '' ? t('First set the server.') : t('Sends a message through the server as it is set, and says what the server said.')} />
          <ActionGroup>
            <Button type="submit" variant="secondary" isDisabled={!ready} isLoading={busy}>
              {t('Send a test')}
            </Button>
            <Button variant="link" isDisabled={!ready} onClick={() => copy(act)}>
              {t('Copy as …')}
            </Button>
            <WaitsFor form={TEST} ready={ready} otherwise={t('First set the server.')} />
          </ActionGroup>
        </Form>
      </CardBody>
    </Card>
  );
}
