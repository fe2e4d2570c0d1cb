// Names of what is known by id: hosts, pools and networks are few, so all are known.

import { useMemo } from 'react';
import { useRead } from '../api/client';

export function useNames() {
  const hosts = useRead('host.list', { limit: 1000 });
  const pools = useRead('pool.list', {});
  const networks = useRead('network.list', {});
  return useMemo(() => {
    const of = (list: { id: string; name: string }[] | undefined) => new Map(list?.map(({ id, name }) => [id, name]));
    const [host, pool, network] = [of(hosts.data?.items), of(pools.data), of(networks.data)];
    const short = (id: string) => id.slice(0, 8);
    return {
      host: (id: string) => host.get(id) ?? short(id),
      pool: (id: string) => pool.get(id) ?? short(id),
      network: (id: string) => network.get(id) ?? short(id),
    };
  }, [hosts.data, pools.data, networks.data]);
}
