//! What a host must have of networks and rules, from what is declared. Pure.
//!
//! What always holds: a host gets the rules of the VMs that are recorded or seen on it, or about to be there, the groups
//! that these are in, and the members of the tags that those name, and nothing of other pools. The members of a tag are
//! the MACs of all its VMs in the pool and the addresses that are written down for them; what a guest says of itself is
//! not asked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use xenith_common_ids::{HostId, PoolId, SecurityGroupId, VmId};
use xenith_common_units::MacAddr;
use xenith_hypervisor_agent_types::filter::{GroupRules, PacketFilter, Peer, VifFilter, VifSettings};
use xenith_hypervisor_agent_types::mesh::{Encryption, Mesh, MeshGeneration, MeshPeer, mesh_address};
use xenith_hypervisor_agent_types::network::{HostNetwork, HostNetworks, Uplink};
use xenith_orchestrator_types::network::Network;
use xenith_orchestrator_types::security_group::SecurityGroup;

use super::picture::{Picture, VmPicture};

/// What is written down for the NICs of a VM, by their MACs.
pub type Vifs = BTreeMap<MacAddr, VifSettings>;

impl Picture {
    /// All that a host must have.
    #[must_use]
    pub fn wanted(&self, host: HostId) -> HostNetworks {
        let Some((pool, _)) = self.hosts.get(&host).copied() else { return HostNetworks::default() };
        let networks = self.networks.values().filter(|network| network.pool == pool);
        let mesh = self.mesh(host, pool);
        HostNetworks {
            networks: networks.filter_map(|network| self.network(network, host, mesh.as_ref())).collect(),
            filter: self.filter(host, pool),
            mesh,
        }
    }

    /// Where a network of the pool is encrypted: who takes part, by what is known of their keys.
    fn mesh(&self, host: HostId, pool: PoolId) -> Option<Mesh> {
        let rotation = self.rotations.get(&pool)?;
        let generation = |number: &u64| {
            let others = self.hosts.iter().filter(|(other, (of, _))| *of == pool && **other != host);
            let peer = |(other, (_, endpoint)): (&HostId, &(PoolId, Option<IpAddr>))| {
                let key = self.keys.get(other)?.keys.get(number)?.key.clone();
                Some(MeshPeer { key, endpoint: (*endpoint)?, address: mesh_address(*other) })
            };
            MeshGeneration { number: *number, peers: others.filter_map(peer).collect() }
        };
        let generations = rotation.offered.iter().map(generation).collect();
        Some(Mesh { address: mesh_address(host), active: rotation.active, generations })
    }

    fn network(&self, network: &Network, host: HostId, mesh: Option<&Mesh>) -> Option<HostNetwork> {
        let uplink = network.uplink.clone()?;
        let encryption = network.encryption;
        let peers = match (&uplink, encryption) {
            (Uplink::Private { .. }, Encryption::WireGuard) => {
                let all = mesh.into_iter().flat_map(|mesh| &mesh.generations).flat_map(|one| &one.peers);
                let all: BTreeSet<IpAddr> = all.map(|peer| IpAddr::V6(peer.address)).collect();
                all.into_iter().collect()
            }
            (Uplink::Private { .. }, Encryption::None) => {
                let others =
                    self.hosts.iter().filter(|(other, (pool, _))| *pool == network.pool && **other != host);
                let mut peers: Vec<IpAddr> = others.filter_map(|(_, (_, address))| *address).collect();
                peers.sort_unstable();
                peers
            }
            _ => Vec::new(),
        };
        let mtu = network.mtu.unwrap_or_else(|| uplink.usual_mtu(encryption));
        Some(HostNetwork { network: network.id, name: network.name.clone(), uplink, mtu, peers, encryption })
    }

    fn filter(&self, host: HostId, pool: PoolId) -> PacketFilter {
        let mut vifs: Vec<VifFilter> = Vec::new();
        for id in self.places.vms_on(host) {
            let Some(vm) = self.vms.get(&id) else { continue };
            let groups = self.groups_of(vm, pool);
            let written = self.vifs.get(&id);
            for mac in &vm.macs {
                let settings = written.and_then(|vifs| vifs.get(mac)).cloned().unwrap_or_default();
                if !groups.is_empty() || settings.restrict() {
                    vifs.push(VifFilter { mac: *mac, settings, groups: groups.clone() });
                }
            }
        }
        vifs.sort_by_key(|vif| vif.mac);
        // While two VMs exchange theirs, both may be seen with one; a table that names it twice is refused as a whole.
        vifs.dedup_by_key(|vif| vif.mac);
        let used: BTreeSet<&SecurityGroupId> = vifs.iter().flat_map(|vif| &vif.groups).collect();
        let groups: Vec<&SecurityGroup> =
            used.into_iter().filter_map(|group| self.groups.get(group)).collect();
        let tags: BTreeSet<&str> = groups.iter().flat_map(|group| tags_named(group)).collect();
        let tags = tags.into_iter().map(|tag| (tag.to_owned(), self.members(pool, tag))).collect();
        let rules = |group: &&SecurityGroup| GroupRules {
            group: group.id,
            ingress: group.ingress.clone(),
            egress: group.egress.clone(),
        };
        PacketFilter { vifs, groups: groups.iter().map(rules).collect(), tags }
    }

    /// The groups of a pool that a VM is in.
    fn groups_of(&self, vm: &VmPicture, pool: PoolId) -> BTreeSet<SecurityGroupId> {
        let named = vm.tags.iter().filter_map(|tag| self.tags.get(tag)).flat_map(|tag| &tag.groups);
        let in_pool = |id: &&SecurityGroupId| self.groups.get(*id).is_some_and(|group| group.pool == pool);
        named.filter(in_pool).copied().collect()
    }

    /// Whether anything is held back from a VM, or may be: its host has to filter.
    #[must_use]
    pub fn speaks_of(&self, id: VmId) -> bool {
        let Some(vm) = self.vms.get(&id) else { return false };
        let held_back = |vifs: &Vifs| vifs.iter().any(|(mac, set)| vm.macs.contains(mac) && set.restrict());
        let is_held_back = || self.unread.contains(&id) || self.vifs.get(&id).is_some_and(held_back);
        !vm.macs.is_empty() && (!self.groups_of(vm, vm.pool).is_empty() || is_held_back())
    }
}

/// The tags that rules name.
pub(super) fn tags_named(group: &SecurityGroup) -> impl Iterator<Item = &str> {
    group.ingress.iter().chain(&group.egress).flatten().filter_map(|rule| match &rule.peer {
        Peer::Tag(tag) => Some(tag.as_str()),
        _ => None,
    })
}
