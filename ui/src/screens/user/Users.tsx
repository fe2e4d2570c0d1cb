// People and programs that may sign in, and what the roles allow.

import { Button, Card, CardBody, CardTitle, Checkbox, Label } from '@patternfly/react-core';
import UsersIcon from '@patternfly/react-icons/dist/esm/icons/users-icon';
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { Binding, UpdateUser, User } from '../../api/generated';
import { msg } from '../../i18n/msg';
import { useAll } from '../../list/all';
import type { Column } from '../../list/columns';
import { ListView } from '../../list/ListView';
import { usePages } from '../../list/pages';
import { QueryBar } from '../../list/QueryBar';
import { useListState } from '../../list/state';
import { Facts } from '../../parts/Facts';
import { Nothing } from '../../parts/feedback';
import { TextField } from '../../parts/fields';
import { FormDialog } from '../../parts/FormDialog';
import { useFormat } from '../../parts/format';
import { VerbMenu, type Verb } from '../../parts/VerbMenu';
import { useUser } from '../../shell/user';
import { Bindings, BindingsField, complete, ROLES } from './Bindings';

const SHORTEST = 12;

export default function Users() {
  const { t } = useTranslation();
  const me = useUser();
  const format = useFormat();
  const { wanted, bar, list } = useListState();
  const [editing, setEditing] = useState<User | 'new'>();
  const pages = usePages('user.list', wanted);
  const columns = useMemo((): Column<User>[] => [
    {
      key: 'name',
      header: msg('Name'),
      cell: (user) => (
        <Button variant="link" isInline onClick={() => setEditing(user)}>
          {user.name}
        </Button>
      ),
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
  const verbs = (user: User): Verb[] => [
    {
      label: t('Turn two-factor sign-in off'),
      why: user.id === me.id ? msg('Turn off your own on the page “My account”.') : user.totp ? undefined : msg('It is off.'),
      act: { method: 'user.totp_reset', params: { user: user.id }, title: t('Turn the two-factor sign-in of {{name}} off', { name: user.name }) },
      question: { text: t('The password alone signs in then. Make sure that it is the user who asks: whoever has the password would like it, too.'), button: t('Turn off') },
    },
    {
      label: t('Delete'),
      danger: true,
      why: user.id === me.id ? msg('You cannot delete yourself.') : undefined,
      act: { method: 'user.delete', params: { user: user.id }, title: t('Delete the user {{name}}', { name: user.name }) },
      question: { text: t('The user’s sessions end and tokens stop working at once.'), button: t('Delete'), typeName: user.name },
    },
  ];
  const create = (
    <Button onClick={() => setEditing('new')} data-create>
      {t('Create a user')}
    </Button>
  );
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
        query={<QueryBar {...bar} noun="user" label={t('Filter users')} placeholder={t('Filter: role:admin totp:no, or words')} />}
        create={create}
        actions={(user) => <VerbMenu name={user.name} verbs={verbs(user)} />}
        menu
        empty={<Nothing icon={UsersIcon} title={t('No users')} />}
      />
      <Roles />
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

function EditUser({ user, close }: { user?: User; close: () => void }) {
  const { t } = useTranslation();
  const [name, setName] = useState('');
  const [password, setPassword] = useState('');
  const [bindings, setBindings] = useState<Binding[]>(user?.bindings ?? [{ role: 'viewer', scope: { kind: 'all' } }]);
  const [enabled, setEnabled] = useState(!user?.disabled);
  const short = password.length < SHORTEST ? t('At least {{count}} characters.', { count: SHORTEST }) : undefined;
  const passwordField = (
    <TextField
      id="user-password"
      label={user ? t('New password') : t('Password')}
      type="password"
      value={password}
      set={setPassword}
      required={!user}
      wrong={short}
      help={user ? t('Empty: stays as it is.') : t('At least {{count}} characters.', { count: SHORTEST })}
    />
  );
  if (!user) {
    return (
      <FormDialog
        secret
        act={{ method: 'user.create', params: { name, password, bindings }, title: t('Create a user') }}
        button={t('Create')}
        ready={name !== '' && !short && complete(bindings)}
        close={close}
      >
        <TextField id="user-name" label={t('Name')} value={name} set={setName} required autoFocus />
        {passwordField}
        <BindingsField bindings={bindings} set={setBindings} none={t('Without a role the user sees nothing.')} />
      </FormDialog>
    );
  }
  const params: UpdateUser = { user: user.id };
  if (password) params.password = password;
  if (JSON.stringify(bindings) !== JSON.stringify(user.bindings)) params.bindings = bindings;
  if (enabled === user.disabled) params.disabled = !enabled;
  const same = Object.keys(params).length === 1;
  return (
    <FormDialog
      secret={!!password}
      act={{ method: 'user.update', params, title: t('Change the user {{name}}', { name: user.name }) }}
      button={t('Change')}
      ready={!same && complete(bindings) && (!password || !short)}
      close={close}
    >
      <Checkbox id="user-enabled" label={t('May sign in')} isChecked={enabled} onChange={(_event, on) => setEnabled(on)} />
      {passwordField}
      <BindingsField bindings={bindings} set={setBindings} none={t('Without a role the user sees nothing.')} />
    </FormDialog>
  );
}
