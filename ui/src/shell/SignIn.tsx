// Name and password, then the code of the second factor where the user has one. Which orchestrator it is can be compared
// with what it printed when it started.

import { ActionGroup, Button, Card, CardBody, Content, Form, FormGroup, TextInput, Title } from '@patternfly/react-core';
import { useEffect, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { ApiError } from '../api/errors';
import { signIn, wantsCode } from '../api/session';
import { Alert } from '../parts/Alert';
import { ErrorBox } from '../parts/feedback';
import { Help } from '../parts/fields';
import { Brand } from './Brand';
import { LanguageMenu } from './LanguageMenu';

export function SignIn({ ended, done }: { ended: boolean; done: () => void }) {
  const { t } = useTranslation();
  const [name, setName] = useState('');
  const [password, setPassword] = useState('');
  // Nothing: it was not asked for.
  const [code, setCode] = useState<string>();
  const [error, setError] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const asked = code !== undefined;
  const ready = asked ? code.trim() !== '' : name !== '' && password !== '';

  // What was refused is empty again, and the button that was pressed cannot be pressed.
  useEffect(() => {
    if (error !== undefined) document.getElementById(asked ? 'code' : 'password')?.focus();
  }, [error, asked]);

  const back = () => {
    setPassword('');
    setCode(undefined);
  };
  const submit = async (event: React.FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setError(undefined);
    try {
      await signIn(name.trim(), password, code?.trim());
      done();
    } catch (error) {
      // That it wants a code is the next step, not a failure.
      if (asked || !wantsCode(error)) setError(error);
      const stays = wantsCode(error) || (asked && error instanceof ApiError && error.reason === 'throttled');
      if (stays) setCode('');
      else back();
      setBusy(false);
    }
  };

  return (
    <main className="x-signin">
      <Card className="x-signin-card" isLarge>
        <CardBody>
          <div className="x-signin-brand">
            <Brand size={40} />
            <Title headingLevel="h1" size="2xl">
              Xenith
            </Title>
          </div>
          <Content component="p" className="x-dim">
            {t('Sign in to {{host}}', { host: location.host })}
          </Content>
          <Form onSubmit={(event) => void submit(event)}>
            {ended && !error && !asked && <Alert isInline isPlain variant="info" title={t('Your session is over. Sign in again.')} />}
            {error !== undefined && (
              <div role="alert">
                <ErrorBox error={error} />
              </div>
            )}
            {asked ? (
              <FormGroup label={t('Code of {{name}}', { name })} fieldId="code" isRequired>
                <TextInput id="code" value={code} onChange={(_event, value) => setCode(value)} autoComplete="one-time-code" autoCapitalize="characters" spellCheck={false} autoFocus isRequired />
                <Help>{t('The six digits that your authenticator app shows, or a recovery code.')}</Help>
              </FormGroup>
            ) : (
              <>
                <FormGroup label={t('User name')} fieldId="name" isRequired>
                  <TextInput id="name" value={name} onChange={(_event, value) => setName(value)} autoComplete="username" autoFocus isRequired />
                </FormGroup>
                <FormGroup label={t('Password')} fieldId="password" isRequired>
                  <TextInput
                    id="password"
                    type="password"
                    value={password}
                    onChange={(_event, value) => setPassword(value)}
                    autoComplete="current-password"
                    isRequired
                  />
                </FormGroup>
              </>
            )}
            <ActionGroup>
              <Button type="submit" isBlock isLoading={busy} isDisabled={busy || !ready}>
                {t('Sign in')}
              </Button>
              {asked && (
                <Button variant="link" isBlock onClick={() => (setError(undefined), back())}>
                  {t('Sign in as somebody else')}
                </Button>
              )}
            </ActionGroup>
          </Form>
        </CardBody>
      </Card>
      <LanguageMenu />
    </main>
  );
}
