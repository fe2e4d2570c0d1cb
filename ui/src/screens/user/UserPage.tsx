// One user: how they sign in, and what they may do in the end.

import { Card, CardBody, CardTitle, Label, PageSection } from '@patternfly/react-core';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useNavigate, useParams } from 'react-router';
import { there, useRead } from '../../api/client';
import { quoted } from '../../list/filter';
import { Facts } from '../../parts/Facts';
import { Failed, Loading } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { Id } from '../../parts/Id';
import { PageHead } from '../../parts/PageHead';
import { VerbMenu } from '../../parts/VerbMenu';
import { Access } from './Access';
import { Bindings } from './Bindings';
import { EditUser } from './EditUser';
import { useUserVerbs } from './verbs';

export default function UserPage() {
  const { t } = useTranslation();
  const format = useFormat();
  const navigate = useNavigate();
  const verbs = useUserVerbs();
  const [editing, setEditing] = useState(false);
  const { user: id = '' } = useParams();
  const read = useRead('user.get', { user: id });
  const user = there(read);
  if (read.isPending) return <Loading />;
  if (!user) return <Failed error={read.error} up={['/users', t('Users')]} retry={() => void read.refetch()} />;
  const of = (list: string) => `/${list}?q=${encodeURIComponent(`user:${quoted(user.name)}`)}`;
  return (
    <PageSection isFilled hasBodyWrapper={false} className="x-page">
      <PageHead
        up={['/users', t('Users')]}
        title={user.name}
        labels={user.disabled && <Label isCompact color="orange">{t('disabled')}</Label>}
        actions={<VerbMenu labelled name={user.name} verbs={verbs(user, () => setEditing(true), () => void navigate('/users'))} />}
      />
      <div className="x-cards">
        <Card isCompact>
          <CardTitle component="h2">{t('Signing in')}</CardTitle>
          <CardBody>
            <Facts
              facts={[
                [t('Roles'), <Bindings key="r" bindings={user.bindings} />],
                [t('May sign in'), user.disabled ? t('no') : t('yes')],
                [t('Two-factor'), user.totp ? t('on') : t('off')],
                [t('Created'), format.date(user.created)],
                [t('Last signed in'), format.date(user.last_login)],
                [t('Id'), <Id key="i" id={user.id} />],
              ]}
            />
            <p className="x-above x-labels">
              <Link to={of('tokens')}>{t('API tokens')}</Link>
              <Link to={of('audit')}>{t('What they asked for')}</Link>
            </p>
          </CardBody>
        </Card>
      </div>
      <Access user={user.id} />
      {editing && <EditUser user={user} close={() => setEditing(false)} />}
    </PageSection>
  );
}
