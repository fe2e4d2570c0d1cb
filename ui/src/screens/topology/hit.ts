// What is hit when something fails. Disks are local to their host, so a host takes its VMs with it; a network takes the
// hosts that have its bridge out of reach of the VMs on them, as far as lists tell.

import type { Host, Network, Pool, VmRow } from '../../api/generated';

export interface Picture {
  pools: Pool[];
  hosts: Host[];
  networks: Network[];
  vms: VmRow[];
}

export interface Hit {
  hosts: Set<string>;
  networks: Set<string>;
  vms: Set<string>;
}

export function hitBy({ pools, hosts, networks, vms }: Picture, id: string): Hit {
  const hit: Hit = { hosts: new Set(), networks: new Set(), vms: new Set() };
  const pool = pools.find((one) => one.id === id);
  const network = networks.find((one) => one.id === id);
  const chosen = hosts.filter((host) => {
    if (pool) return host.pool === pool.id;
    if (network) return host.pool === network.pool && host.facts?.bridges.some((bridge) => bridge.name === network.bridge);
    return host.id === id;
  });
  chosen.forEach((host) => hit.hosts.add(host.id));
  if (pool) networks.filter((one) => one.pool === pool.id).forEach((one) => hit.networks.add(one.id));
  vms.filter((vm) => vm.host && hit.hosts.has(vm.host)).forEach((vm) => hit.vms.add(vm.id));
  return hit;
}
