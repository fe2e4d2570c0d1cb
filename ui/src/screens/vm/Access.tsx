// Who may do what with this VM. What a role allows, and whether it counts at all, the orchestrator tells of each user
// (`user.access`); here is only looked which of a user's roles hold where this VM is.

import { Label } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import { useRead } from '../../api/client';
import type { Binding, Permission, User, UserAccess, Vm } from '../../api/generated';
import { msg } from '../../i18n/msg';
import { useAll } from '../../list/all';
import { Alert } from '../../parts/Alert';
import { ErrorBox, Failed, Loading } from '../../parts/feedback';
import { seesSecurity } from '../../rules/may';
import { useUser } from '../../shell/user';
import { Bindings } from '../user/Bindings';

const QUESTIONS: [Permission, string][] = [
  ['view', msg('Sees it')],
  ['operate', msg('Starts, stops and changes it')],
  ['provision', msg('Deletes it')],
];

const BARRED: Record<NonNullable<UserAccess['barred']>, string> = {
  disabled: msg('disabled'),
  'second-factor-due': msg('has to set up two-factor sign-in first'),
};

const holds = ({ scope }: Binding, vm: Vm) => scope.kind === 'all' || (scope.kind === 'pool' ? scope.value === vm.pool : vm.tags.includes(scope.value));

export function Access({ vm }: { vm: Vm }) {
  const { t } = useTranslation();
  const me = useUser();
  const allowed = seesSecurity(me);
  const users = useAll('user.list', {}, { enabled: allowed });
  if (allowed && users.isPending) return <Loading />;
  if (users.isError && !users.data) return <Failed error={users.error} retry={() => void users.refetch()} />;
  const all = users.data ?? [me];
  // Of those whom no role brings here there is nothing to ask.
  const here = all.filter((user) => user.bindings.some((binding) => holds(binding, vm)));
  return (
    <>
      {!allowed && <Alert isInline isPlain variant="info" title={t('Only an admin of everything sees the others; this is what you may do.')} className="x-gap" />}
      <Table variant="compact" aria-label={t('Access')}>
        <Thead>
          <Tr>
            <Th>{t('User')}</Th>
            <Th>{t('By the roles')}</Th>
            {QUESTIONS.map(([permission, words]) => (
              <Th key={permission} modifier="wrap">
                {t(words)}
              </Th>
            ))}
          </Tr>
        </Thead>
        <Tbody>
          {here.map((user) => (
            <Row key={user.id} user={user} vm={vm} named={allowed} />
          ))}
        </Tbody>
      </Table>
      {all.length > here.length && <p className="x-dim x-above">{t('Users whom no role brings here: {{count}}', { count: all.length - here.length })}</p>}
    </>
  );
}

/** `named`: others may be asked about. Oneself is asked about without a name. */
function Row({ user, vm, named }: { user: User; vm: Vm; named: boolean }) {
  const { t } = useTranslation();
  const read = useRead('user.access', named ? { user: user.id } : {});
  const access = read.data;
  const roles = user.bindings.filter((binding) => holds(binding, vm));
  const may = (permission: Permission) => {
    if (!access) return '—';
    const grounds = access.permissions.find((one) => one.permission === permission)?.grounds ?? [];
    const yes = !access.barred && grounds.some(({ binding }) => holds(binding, vm));
    return yes ? (
      <Label isCompact color="green" variant="outline">
        {t('yes')}
      </Label>
    ) : (
      <span className="x-dim">{t('no')}</span>
    );
  };
  return (
    <Tr>
      <Td dataLabel={t('User')}>
        {named ? <Link to={`/users/${user.id}`}>{user.name}</Link> : user.name} {access?.barred && <Label isCompact>{t(BARRED[access.barred])}</Label>}
        {read.isError && <ErrorBox error={read.error} retry={() => void read.refetch()} />}
      </Td>
      <Td dataLabel={t('By the roles')}>
        <Bindings bindings={roles} />
      </Td>
      {QUESTIONS.map(([permission, words]) => (
        <Td key={permission} dataLabel={t(words)}>
          {may(permission)}
        </Td>
      ))}
    </Tr>
  );
}
