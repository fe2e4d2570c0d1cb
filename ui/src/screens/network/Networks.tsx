// Networks: a bridge that the hosts of a pool make, or have, under one name.

import NetworkIcon from '@patternfly/react-icons/dist/esm/icons/network-icon';
import { useMemo, useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'react-router';
import { useRead } from '../../api/client';
import type { Network } from '../../api/generated';
import { msg } from '../../i18n/msg';
import type { Column } from '../../list/columns';
import { ListView } from '../../list/ListView';
import { useBulk } from '../../list/useBulk';
import { usePages } from '../../list/pages';
import { QueryBar } from '../../list/QueryBar';
import { useListState } from '../../list/state';
import { CreateButton } from '../../parts/CreateButton';
import { Nothing } from '../../parts/feedback';
import { useNames } from '../../parts/names';
import { VerbMenu } from '../../parts/VerbMenu';
import { mayNot } from '../../rules/may';
import { useUser } from '../../shell/user';
import { CreateNetwork } from './CreateNetwork';
import { uplinkWords } from './draft';
import { useNetworkVerbs } from './verbs';

export default function Networks() {
  const { t } = useTranslation();
  const user = useUser();
  const names = useNames();
  const verbs = useNetworkVerbs();
  const { wanted, bar, list } = useListState();
  const [making, setMaking] = useState(false);
  const hosts = useRead('host.list', { limit: 1000 });
  const pages = usePages('network.list', wanted);
  const columns = useMemo((): Column<Network>[] => {
    const having = (network: Network) => {
      const pool = hosts.data?.items.filter((host) => host.pool === network.pool) ?? [];
      const has = pool.filter((host) => host.facts?.bridges.some((bridge) => bridge.name === network.bridge));
      return t('{{has}} of {{all}} hosts', { has: has.length, all: pool.length, count: pool.length });
    };
    return [
      { key: 'name', header: msg('Name'), sort: 'name', cell: (network) => <Link to={`/networks/${network.id}`}>{network.name}</Link>, text: (network) => network.name },
      { key: 'bridge', header: msg('Bridge'), sort: 'bridge', width: 9, cell: (network) => <code>{network.bridge}</code>, text: (network) => network.bridge },
      { key: 'uplink', header: msg('Leads to'), wide: true, width: 11, cell: (network) => uplinkWords(network.uplink, t), text: (network) => uplinkWords(network.uplink, t) },
      { key: 'where', header: msg('Its bridge is on'), width: 9, cell: having, text: having },
      { key: 'pool', header: msg('Pool'), sort: 'pool', width: 8, wide: true, cell: (network) => names.pool(network.pool), text: (network) => names.pool(network.pool) },
      { key: 'description', header: msg('Description'), wide: true, cell: (network) => network.description || '—', text: (network) => network.description ?? '' },
      { key: 'id', header: msg('Id'), optional: true, cell: (network) => <code>{network.id}</code>, text: (network) => network.id },
    ];
  }, [hosts.data, names, t]);
  const bulk = useBulk({ rows: pages.rows, id: (network) => network.id, name: (network) => network.name, verbs: (network) => verbs(network) });
  const why = mayNot(user, 'network.create');
  const create = <CreateButton label={t('Create a network')} why={why} go={() => setMaking(true)} />;
  return (
    <>
      <ListView
        title={t('Networks')}
        about={t('What NICs plug into: a bridge that the hosts of a pool have under one name.')}
        noun="networks"
        columns={columns}
        pages={pages}
        id={(network) => network.id}
        name={(network) => network.name}
        {...list}
        {...bulk.list}
        query={<QueryBar {...bar} noun="network" label={t('Filter networks')} placeholder={t('Filter: bridge:xenbr0 pool:lab, or words')} />}
        create={create}
        actions={(network) => <VerbMenu name={network.name} verbs={verbs(network)} />}
        menu
        empty={
          <Nothing icon={NetworkIcon} title={t('No networks yet')}>
            {t('Create one: the hosts of the pool make its bridge of a network card, a VLAN or a bond, or have one under that name.')}
          </Nothing>
        }
      />
      {bulk.dialog}
      {making && <CreateNetwork close={() => setMaking(false)} />}
    </>
  );
}
