// People and programs that may sign in, and what the roles allow.

import { Button, Card, CardBody, CardTitle, Label } from '@patternfly/react-core';
import UsersIcon from '@patternfly/react-icons/dist/esm/icons/users-icon';
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import type { User } from '../../api/generated';
import { msg } from '../../i18n/msg';
import { useAll } from '../../list/all';
import type { Column } from '../../list/columns';
import { ListView } from '../../list/ListView';
import { useBulk } from '../../list/useBulk';
import { usePages } from '../../list/pages';
import { QueryBar } from '../../list/QueryBar';
import { useListState } from '../../list/state';
import { Facts } from '../../parts/Facts';
import { Nothing } from '../../parts/feedback';
import { useFormat } from '../../parts/format';
import { VerbMenu } from '../../parts/VerbMenu';
import { Bindings, ROLES } from './Bindings';
import { EditUser } from './EditUser';
import { useUserVerbs } from './verbs';

export default function Users() {
  const { t } = useTranslation();
  const verbs = useUserVerbs();
  const format = useFormat();
  const { wanted, bar, list } = useListState();
  const [editing, setEditing] = useState<User | 'new'>();
  const pages = usePages('user.list', wanted);
  const columns = useMemo((): Column<User>[] => [
    {
      key: 'name',
      header: msg('Name'),
      cell: (user) => <Link to={`/users/${user.id}`}>{user.name}</Link>,
      text: (user) => user.name,
      sort: 'name',
    },
    { key: 'roles', header: msg('Roles'), cell: (user) => <Bindings bindings={user.bindings} />, text: (user) => user.bindings.map(({ role }) => role).join(' ') },
    {
      key: 'state',
      header: msg('State'),
      width: 8,
      wide: true,
      cell: (user) => (user.disabled ? <Label isCompact color="orange">{t('disabled')}</Label> : t('may sign in')),
      text: (user) => (user.disabled ? 'disabled' : 'enabled'),
    },
    { key: 'totp', header: msg('Two-factor'), width: 7, wide: true, cell: (user) => (user.totp ? t('on') : t('off')), text: (user) => (user.totp ? 'on' : 'off') },
    { key: 'last', header: msg('Last signed in'), width: 9, wide: true, cell: (user) => format.ago(user.last_login), text: (user) => user.last_login ?? '', sort: 'last_login' },
    { key: 'id', header: msg('Id'), optional: true, cell: (user) => <code>{user.id}</code>, text: (user) => user.id },
  ], [format, t]);
  const create = (
    <Button onClick={() => setEditing('new')} data-create>
      {t('Create a user')}
    </Button>
  );
  const bulk = useBulk({ rows: pages.rows, id: (user) => user.id, name: (user) => user.name, verbs: (user) => verbs(user, () => setEditing(user)) });
  return (
    <>
      <ListView
        title={t('Users')}
        noun="users"
        columns={columns}
        pages={pages}
        id={(user) => user.id}
        name={(user) => user.name}
        {...list}
        {...bulk.list}
        query={<QueryBar {...bar} noun="user" label={t('Filter users')} placeholder={t('Filter: role:admin totp:no, or words')} />}
        create={create}
        actions={(user) => <VerbMenu name={user.name} verbs={verbs(user, () => setEditing(user))} />}
        menu
        empty={<Nothing icon={UsersIcon} title={t('No users')} />}
      />
      <Roles />
      {bulk.dialog}
      {editing && <EditUser user={editing === 'new' ? undefined : editing} close={() => setEditing(undefined)} />}
    </>
  );
}

function Roles() {
  const { t } = useTranslation();
  const roles = useAll('role.list', {});
  return (
    <Card isCompact className="x-roles">
      <CardTitle component="h2">{t('What the roles allow')}</CardTitle>
      <CardBody>
        <Facts facts={(roles.data ?? []).map(({ role }) => [t(ROLES[role].label), t(ROLES[role].text)])} />
      </CardBody>
    </Card>
  );
}
