// Name and password. Which orchestrator it is can be compared with what it printed when it started.

import { ActionGroup, Alert, Button, Card, CardBody, Content, Form, FormGroup, TextInput, Title } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { signIn } from '../api/session';
import { ErrorBox } from '../parts/feedback';
import { Brand } from './Brand';
import { LanguageMenu } from './LanguageMenu';

export function SignIn({ ended, done }: { ended: boolean; done: () => void }) {
  const { t } = useTranslation();
  const [name, setName] = useState('');
  const [password, setPassword] = useState('');
  const [error, setError] = useState<unknown>();
  const [busy, setBusy] = useState(false);

  const submit = async (event: React.FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setError(undefined);
    try {
      await signIn(name.trim(), password);
      done();
    } catch (error) {
      setError(error);
      setPassword('');
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
            {ended && !error && <Alert isInline isPlain variant="info" title={t('Your session is over. Sign in again.')} />}
            {error !== undefined && <ErrorBox error={error} />}
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
            <ActionGroup>
              <Button type="submit" isBlock isLoading={busy} isDisabled={busy || !name || !password}>
                {t('Sign in')}
              </Button>
            </ActionGroup>
          </Form>
        </CardBody>
      </Card>
      <LanguageMenu />
    </main>
  );
}
