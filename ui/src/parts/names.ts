// Names of what is known by id: hosts, pools and networks are few, so all are known.

import { useQueries } from '@tanstack/react-query';
import { useMemo } from 'react';
import { useRead, useSocket } from '../api/client';
import { useAll } from '../list/all';

export function useNames() {
  const hosts = useRead('host.list', { limit: 1000 });
  const pools = useAll('pool.list', {});
  const networks = useAll('network.list', {});
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

/** Names of SRs; apart from the others because there is one more with each host. */
export function useSrName(): (id: string) => string {
  const srs = useAll('sr.list', {});
  return useMemo(() => {
    const known = new Map(srs.data?.map(({ id, name }) => [id, name]));
    return (id: string) => known.get(id) ?? id.slice(0, 8);
  }, [srs.data]);
}

/** A filter of the API's language is 4096 bytes long at most. */
const AT_ONCE = 80;

/** Names of the VMs with these ids. */
export function useVmNames(ids: string[]): (id: string) => string | undefined {
  const socket = useSocket();
  const parts = useMemo(() => {
    const each = [...new Set(ids)].sort();
    return Array.from({ length: Math.ceil(each.length / AT_ONCE) }, (_, at) => each.slice(at * AT_ONCE, (at + 1) * AT_ONCE));
  }, [ids]);
  const found = useQueries({
    queries: parts.map((part) => ({
      queryKey: ['vm.list', 'names', part],
      queryFn: () => socket.call('vm.list', { filter: part.map((id) => `id:${id}`).join(' or '), limit: AT_ONCE }),
      staleTime: 60_000,
    })),
    combine: (results) => results.map(({ data }) => data),
  });
  return useMemo(() => {
    const known = new Map(found.flatMap((page) => page?.items ?? []).map(({ id, name }) => [id, name]));
    return (id: string) => known.get(id);
  }, [found]);
}
