// Who one is, what one may do, how one signs in.

import { ActionGroup, Button, Card, CardBody, CardTitle, Form, PageSection } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { useRead } from '../../api/client';
import { useActs } from '../../parts/acts';
import { Alert } from '../../parts/Alert';
import { Facts } from '../../parts/Facts';
import { TextField } from '../../parts/fields';
import { useFormat } from '../../parts/format';
import { PageTitle } from '../../parts/PageTitle';
import { WaitsFor } from '../../parts/WaitsFor';
import { useUser } from '../../shell/user';
import { Access } from '../user/Access';
import { ROLES, useScope } from '../user/Bindings';
import { SecondFactor } from './SecondFactor';

const SHORTEST = 12;

/** The form, for who says what it waits for. */
const PASSWORD = 'password-form';

export default function Account() {
  const { t } = useTranslation();
  const me = useUser();
  const format = useFormat();
  const scope = useScope();
  const { run } = useActs();
  const user = useRead('auth.whoami', {}).data ?? me;
  const [old, setOld] = useState('');
  const [next, setNext] = useState('');
  const [again, setAgain] = useState('');
  const short = next.length < SHORTEST ? t('At least {{count}} characters.', { count: SHORTEST }) : undefined;
  const other = next !== again ? t('The two are not the same.') : undefined;
  const change = async (event: React.FormEvent) => {
    event.preventDefault();
    const done = await run({ method: 'auth.change_password', params: { old, new: next }, title: t('Change the password') });
    if (done === undefined) return;
    setOld('');
    setNext('');
    setAgain('');
  };
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <PageTitle>{t('My account')}</PageTitle>
      {user.totp_due && <Alert isInline variant="warning" className="x-gap" title={t('Your role asks for two-factor sign-in. Set it up: until then, nothing else is open to you.')} />}
      <div className="x-cards">
        <Card isCompact>
          <CardTitle component="h2">{user.name}</CardTitle>
          <CardBody>
            <Facts
              facts={[
                [t('Created'), format.date(user.created)],
                [t('Last signed in'), format.date(user.last_login)],
                ...user.bindings.map((binding): [string, string] => [`${t(ROLES[binding.role].label)} ${scope(binding)}`, t(ROLES[binding.role].text)]),
              ]}
            />
            {user.bindings.length === 0 && !user.totp_due && <p>{t('You have no role: you see nothing. Ask an administrator.')}</p>}
          </CardBody>
        </Card>
        <Card isCompact>
          <CardTitle component="h2">{t('Change the password')}</CardTitle>
          <CardBody>
            <Form id={PASSWORD} onSubmit={(event) => void change(event)}>
              <input type="text" autoComplete="username" value={user.name} readOnly hidden />
              <TextField id="old" type="password" label={t('Present password')} value={old} set={setOld} required />
              <TextField id="new" type="password" label={t('New password')} value={next} set={setNext} required wrong={short} help={t('Your other sessions end.')} />
              <TextField id="again" type="password" label={t('New password again')} value={again} set={setAgain} required wrong={other} />
              <ActionGroup>
                <Button type="submit" isDisabled={!old || !!short || !!other}>
                  {t('Change the password')}
                </Button>
                <WaitsFor form={PASSWORD} ready={!!old && !short && !other} />
              </ActionGroup>
            </Form>
          </CardBody>
        </Card>
        <SecondFactor user={user} />
      </div>
      {!user.totp_due && <Access />}
    </PageSection>
  );
}
