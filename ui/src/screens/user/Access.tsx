// What a user may do in the end: each permission, on how much of what is there, and the roles that give it. The
// orchestrator tells; nothing is worked out here.

import { Card, CardBody, CardTitle, ExpandableSection, Label } from '@patternfly/react-core';
import { Table, Tbody, Td, Th, Thead, Tr } from '@patternfly/react-table';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import { useRead } from '../../api/client';
import type { AccessGround, Binding, Covered, Permission, PermissionAccess, UserAccess } from '../../api/generated';
import { msg } from '../../i18n/msg';
import { quoted } from '../../list/filter';
import { Alert } from '../../parts/Alert';
import { Failed, Loading } from '../../parts/feedback';
import { useNames } from '../../parts/names';
import { ROLES, useScope } from './Bindings';

/** In the order of the table. */
const MAY: [Exclude<Permission, 'anyone'>, string][] = [
  ['view', msg('Look at what is there')],
  ['operate', msg('Start, stop and change VMs')],
  ['provision', msg('Create and delete VMs, disks, snapshots and backups')],
  ['administer', msg('Administer hosts, networks and storage')],
  ['system', msg('Administer what all pools share: pools, repositories, alarm rules')],
  ['secure', msg('Administer users, tokens and the audit log')],
  ['own', msg('One’s own account and tokens')],
];

const BARRED: Record<NonNullable<UserAccess['barred']>, string> = {
  disabled: msg('The user is disabled: nothing of this holds until they may sign in again.'),
  'second-factor-due': msg('A role asks for two-factor sign-in, which the user has not set up: until then, only their tokens work.'),
};

/** Of one user, or of oneself. */
export function Access({ user }: { user?: string }) {
  const { t } = useTranslation();
  const read = useRead('user.access', user ? { user } : {});
  const title = user ? t('What they may do') : t('What you may do');
  return (
    <Card isCompact>
      <CardTitle component="h2">{title}</CardTitle>
      <CardBody>
        {read.isPending && <Loading />}
        {read.isError && <Failed error={read.error} retry={() => void read.refetch()} />}
        {read.data && <Told access={read.data} title={title} />}
      </CardBody>
    </Card>
  );
}

function Told({ access, title }: { access: UserAccess; title: string }) {
  const { t } = useTranslation();
  const has = new Map(access.permissions.map((one): [Permission, PermissionAccess] => [one.permission, one]));
  return (
    <>
      {access.barred && <Alert isInline variant="warning" className="x-gap" title={t(BARRED[access.barred])} />}
      <Table variant="compact" borders={false} aria-label={title}>
        <Thead>
          <Tr>
            <Th width={30}>{t('May')}</Th>
            <Th width={20}>{t('On what')}</Th>
            <Th width={25}>{t('Because of')}</Th>
            <Th>{t('In the API')}</Th>
          </Tr>
        </Thead>
        <Tbody>
          {MAY.map(([permission, words]) => {
            const one = has.get(permission);
            return (
              <Tr key={permission}>
                <Td dataLabel={t('May')} className={one ? 'x-wrap' : 'x-wrap x-dim'}>
                  {t(words)}
                </Td>
                <Td dataLabel={t('On what')}>{!one ? <span className="x-dim">{t('nothing')}</span> : permission === 'own' ? t('oneself') : <On on={one.on} />}</Td>
                <Td dataLabel={t('Because of')}>{one?.grounds.map((ground) => <Ground key={JSON.stringify(ground.binding)} ground={ground} />)}</Td>
                <Td dataLabel={t('In the API')}>{one && <Methods names={one.methods} />}</Td>
              </Tr>
            );
          })}
        </Tbody>
      </Table>
    </>
  );
}

function On({ on }: { on: Covered }) {
  const { t } = useTranslation();
  if (on.everything) return <>{t('everything')}</>;
  const counts = [
    on.vms > 0 && t('{{count}} VMs', { count: on.vms }),
    on.hosts > 0 && t('{{count}} hosts', { count: on.hosts }),
    on.srs > 0 && t('{{count}} SRs', { count: on.srs }),
    on.networks > 0 && t('{{count}} networks', { count: on.networks }),
  ].filter(Boolean);
  return <>{counts.length > 0 ? counts.join(', ') : t('nothing at present')}</>;
}

/** The VMs that a scope covers, as a filter of their list. */
function filterOf({ scope }: Binding, pool: (id: string) => string): string {
  if (scope.kind === 'all') return '';
  return scope.kind === 'pool' ? `pool:${quoted(pool(scope.value))}` : `tag:${quoted(scope.value)}`;
}

function Ground({ ground: { binding, on } }: { ground: AccessGround }) {
  const { t } = useTranslation();
  const scope = useScope();
  const names = useNames();
  const filter = filterOf(binding, names.pool);
  return (
    <div className="x-labels">
      <Label isCompact>
        {t(ROLES[binding.role].label)} {scope(binding)}
      </Label>
      {!on.everything && on.vms > 0 && <Link to={`/vms?q=${encodeURIComponent(filter)}`}>{t('{{count}} VMs', { count: on.vms })}</Link>}
      {!on.everything && on.vms === 0 && binding.scope.kind === 'tag' && <span className="x-dim">{t('no VM has this tag')}</span>}
    </div>
  );
}

function Methods({ names }: { names: string[] }) {
  const { t } = useTranslation();
  return (
    <ExpandableSection toggleText={t('{{count}} methods', { count: names.length })}>
      <div className="x-labels">
        {names.map((name) => (
          <code key={name}>{name}</code>
        ))}
      </div>
    </ExpandableSection>
  );
}
