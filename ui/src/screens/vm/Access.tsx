// Who may do what with this VM: everybody's roles, as far as they reach it.

import { Alert, Label } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useTranslation } from 'react-i18next';
import type { MethodName, User, Vm } from '../../api/generated';
import { Failed, Loading } from '../../parts/feedback';
import { mayNot, seesSecurity } from '../../rules/may';
import { useUser } from '../../shell/user';
import { Bindings } from '../user/Bindings';
import { useAll } from '../../list/all';

const QUESTIONS: MethodName[] = ['vm.start', 'vm.delete'];

/** Those roles of the user that reach this VM. */
function reaching(user: User, vm: Vm) {
  return user.bindings.filter(({ scope }) => scope.kind === 'all' || (scope.kind === 'pool' ? scope.value === vm.pool : vm.tags.includes(scope.value)));
}

const sees = (user: User, vm: Vm) => reaching(user, vm).length > 0;

export function Access({ vm }: { vm: Vm }) {
  const { t } = useTranslation();
  const me = useUser();
  const allowed = seesSecurity(me);
  const users = useAll('user.list', {}, { enabled: allowed });
  const place = { pool: vm.pool, tags: vm.tags };
  if (allowed && users.isPending) return <Loading />;
  if (users.isError) return <Failed error={users.error} retry={() => void users.refetch()} />;
  const list = users.data ?? [me];
  const yes = (on: boolean) => (on ? <Label isCompact color="green" variant="outline">{t('yes')}</Label> : <span className="x-dim">{t('no')}</span>);
  return (
    <>
      {!allowed && (
        <Alert isInline isPlain variant="info" title={t('Only an admin of everything sees the others; this is what you may do.')} className="x-gap" />
      )}
      <Table variant="compact" aria-label={t('Access')}>
        <Thead>
          <Tr>
            <Th>{t('User')}</Th>
            <Th>{t('By the roles')}</Th>
            <Th>{t('Sees it')}</Th>
            <Th modifier="wrap">{t('Starts, stops and changes it')}</Th>
            <Th>{t('Deletes it')}</Th>
          </Tr>
        </Thead>
        <Tbody>
          {list.map((user) => (
            <Tr key={user.id}>
              <Td dataLabel={t('User')}>
                {user.name} {user.disabled && <Label isCompact>{t('disabled')}</Label>}
              </Td>
              <Td dataLabel={t('By the roles')}>
                <Bindings bindings={reaching(user, vm)} />
              </Td>
              <Td dataLabel={t('Sees it')}>{yes(!user.disabled && sees(user, vm))}</Td>
              {QUESTIONS.map((method) => (
                <Td key={method} dataLabel={method === 'vm.start' ? t('Starts, stops and changes it') : t('Deletes it')}>
                  {yes(!user.disabled && sees(user, vm) && mayNot(user, method, place) === undefined)}
                </Td>
              ))}
            </Tr>
          ))}
        </Tbody>
      </Table>
    </>
  );
}
