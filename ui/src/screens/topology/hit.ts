// What is hit when something fails. A host takes its VMs and its own storage with it; a network is missed by the hosts
// that have its bridge and by the VMs with a NIC in it; storage takes the VMs whose disks are in it.

import type { Host, Network, Pool, Sr, Vdi, VmRow } from '../../api/generated';

export interface Picture {
  pools: Pool[];
  hosts: Host[];
  networks: Network[];
  srs: Sr[];
  vms: VmRow[];
  /** The SRs that the disks of a VM are in, where that is known. */
  storage: Map<string, Set<string>>;
  /** VMs with a NIC in the network that fails, where it is one that does. */
  inNetwork?: Set<string>;
}

export interface Hit {
  hosts: Set<string>;
  networks: Set<string>;
  srs: Set<string>;
  vms: Set<string>;
}

/** Of each VM, where its disks are. */
export function storageOf(vdis: Pick<Vdi, 'attached_to' | 'sr'>[]): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  for (const { attached_to: vm, sr } of vdis) {
    if (vm) found.set(vm, (found.get(vm) ?? new Set()).add(sr));
  }
  return found;
}

export function hitBy({ pools, hosts, networks, srs, vms, storage, inNetwork }: Picture, id: string): Hit {
  const hit: Hit = { hosts: new Set(), networks: new Set(), srs: new Set(), vms: new Set() };
  if (srs.some((sr) => sr.id === id)) {
    hit.srs.add(id);
    vms.filter((vm) => storage.get(vm.id)?.has(id)).forEach((vm) => hit.vms.add(vm.id));
    return hit;
  }
  const pool = pools.find((one) => one.id === id);
  const network = networks.find((one) => one.id === id);
  const chosen = hosts.filter((host) => {
    if (pool) return host.pool === pool.id;
    if (network) return host.pool === network.pool && host.facts?.bridges.some((bridge) => bridge.name === network.bridge);
    return host.id === id;
  });
  chosen.forEach((host) => hit.hosts.add(host.id));
  if (pool) networks.filter((one) => one.pool === pool.id).forEach((one) => hit.networks.add(one.id));
  // What is attached to nothing else is gone with them; a network leaves storage as it is.
  if (!network) srs.filter((sr) => sr.hosts.length > 0 && sr.hosts.every((host) => hit.hosts.has(host))).forEach((sr) => hit.srs.add(sr.id));
  vms.filter((vm) => (network ? inNetwork?.has(vm.id) : vm.host && hit.hosts.has(vm.host))).forEach((vm) => hit.vms.add(vm.id));
  return hit;
}
