// The table of hosts.

import { Button } from '@patternfly/react-core';
import ServerIcon from '@patternfly/react-icons/dist/esm/icons/server-icon';
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import type { Host } from '../../api/generated';
import { msg } from '../../i18n/msg';
import { Bulk } from '../../list/Bulk';
import type { Column } from '../../list/columns';
import { ListView } from '../../list/ListView';
import { usePages } from '../../list/pages';
import { QueryBar } from '../../list/QueryBar';
import { useLiveRows } from '../../live/rows';
import type { Act } from '../../parts/acts';
import { CreateButton } from '../../parts/CreateButton';
import { Nothing } from '../../parts/feedback';
import { useFormat, type Format } from '../../parts/format';
import { useNames } from '../../parts/names';
import { HostLabel } from '../../parts/state';
import { useUrlState } from '../../parts/url';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { MetricsLink } from '../metrics/MetricsLink';
import { AddHost } from './AddHost';
import { HostMenu } from './verbs';

function columns(format: Format, pool: (id: string) => string): Column<Host>[] {
  const used = (host: Host) => (host.facts ? host.facts.memory_total - host.facts.memory_free : 0);
  return [
    { key: 'name', sort: 'name', header: msg('Name'), cell: (host) => <Link to={`/hosts/${host.id}`}>{host.name}</Link>, text: (host) => host.name },
    { key: 'status', sort: 'status', header: msg('State'), width: 11, cell: (host) => <HostLabel status={host.status} maintenance={host.maintenance} />, text: (host) => host.status },
    { key: 'vms', sort: 'vms', header: msg('VMs'), width: 5, wide: true, cell: (host) => format.number(host.vms), text: (host) => String(host.vms) },
    {
      key: 'memory',
      sort: 'free',
      header: msg('Memory used'),
      width: 11,
      wide: true,
      cell: (host) => (host.facts ? `${format.mib(used(host))} / ${format.mib(host.facts.memory_total)}` : '—'),
      text: (host) => String(used(host)),
    },
    { key: 'cpus', sort: 'cpus', header: msg('CPU threads'), width: 7, wide: true, cell: (host) => (host.facts ? format.number(host.facts.topology.cpus) : '—'), text: (host) => String(host.facts?.topology.cpus ?? '') },
    { key: 'pool', sort: 'pool', header: msg('Pool'), width: 8, wide: true, cell: (host) => pool(host.pool), text: (host) => pool(host.pool) },
    {
      key: 'xen',
      sort: 'xen',
      header: msg('Xen'),
      width: 7,
      wide: true,
      cell: (host) => (host.facts ? `${host.facts.xen.major}.${host.facts.xen.minor}${host.facts.xen.extra}` : '—'),
      text: (host) => (host.facts ? `${host.facts.xen.major}.${host.facts.xen.minor}` : ''),
    },
    { key: 'address', header: msg('Address'), width: 10, optional: true, cell: (host) => host.address, text: (host) => host.address },
    { key: 'agent', sort: 'agent', header: msg('Agent'), width: 7, optional: true, cell: (host) => host.agent_version ?? '—', text: (host) => host.agent_version ?? '' },
    { key: 'id', header: msg('Id'), optional: true, cell: (host) => <code>{host.id}</code>, text: (host) => host.id },
  ];
}

export default function Hosts() {
  const { t } = useTranslation();
  const user = useUser();
  const format = useFormat();
  const names = useNames();
  const made = useMemo(() => columns(format, names.pool), [format, names]);
  const [query, setQuery] = useUrlState('q');
  const [adding, setAdding] = useState(false);
  const [sort, setSort] = useUrlState('sort');
  const [chosen, setChosen] = useState(new Map<string, Host>());
  const [bulk, setBulk] = useState<boolean>();
  const pages = usePages('host.list', { filter: query ?? '', sort: sort ?? '' });
  useLiveRows('host', query ?? '', sort ?? '');
  const maintenance = (host: Host, on: boolean): Act<'host.set_maintenance'> => ({ method: 'host.set_maintenance', params: { host: host.id, maintenance: on }, title: host.name });
  const why = mayNot(user, 'host.add');
  const create = <CreateButton label={t('Add a host')} why={why} go={() => setAdding(true)} />;
  return (
    <>
      <ListView
        title={t('Hosts')}
        noun="hosts"
        columns={made}
        pages={pages}
        id={(host) => host.id}
        name={(host) => host.name}
        filtered={!!query}
        clear={() => setQuery(null)}
        sort={sort ?? ''}
        setSort={setSort}
        extra={<MetricsLink of="host" filter={query ?? ''} />}
        query={<QueryBar value={query ?? ''} set={setQuery} noun="host" label={t('Filter hosts')} placeholder={t('Filter: status:unknown free:>64GiB maintenance:on, or words')} />}
        selection={{ chosen, set: setChosen }}
        bulk={
          <>
            <Button variant="secondary" onClick={() => setBulk(true)}>
              {t('Begin maintenance')}
            </Button>{' '}
            <Button variant="secondary" onClick={() => setBulk(false)}>
              {t('End maintenance')}
            </Button>
          </>
        }
        actions={(host) => <HostMenu host={host} />}
        menu
        create={create}
        empty={
          <Nothing icon={ServerIcon} title={t('No hosts yet')}>
            {t('A host is a machine that runs Xen. It joins with a token that works once.')}
          </Nothing>
        }
      />
      {bulk !== undefined && (
        <Bulk
          title={bulk ? t('Maintenance of {{count}} hosts', { count: chosen.size }) : t('End the maintenance of {{count}} hosts', { count: chosen.size })}
          text={bulk ? t('They take no new VMs. What runs on them runs on.') : undefined}
          button={bulk ? t('Begin maintenance') : t('End maintenance')}
          items={[...chosen.values()].map((host) => ({ id: host.id, name: host.name, act: maintenance(host, bulk), cannot: why ?? (host.maintenance === bulk ? (bulk ? msg('It is in maintenance.') : msg('It is in none.')) : undefined) }))}
          close={() => {
            setBulk(undefined);
            setChosen(new Map());
          }}
        />
      )}
      {adding && <AddHost close={() => setAdding(false)} />}
    </>
  );
}
