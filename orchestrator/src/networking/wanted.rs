//! What a host must have of networks and rules, from what is declared. Pure.
//!
//! What always holds: a host gets the rules of the VMs that are recorded or seen on it, or about to be there, the groups
//! that these are in, and the members of the tags that those name, and nothing of other pools. The members of a tag are
//! the MACs of all its VMs in the pool and the addresses that are written down for them; what a guest says of itself is
//! not asked.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use xenith_common_ids::{HostId, PoolId, SecurityGroupId, VmId};
use xenith_common_units::MacAddr;
use xenith_hypervisor_agent_types::filter::{
    GroupRules, Members, PacketFilter, Peer, Rule, VifFilter, VifSettings,
};
use xenith_hypervisor_agent_types::network::{HostNetwork, HostNetworks, Uplink};
use xenith_orchestrator_types::network::Network;
use xenith_orchestrator_types::security_group::SecurityGroup;

/// What is written down for the NICs of a VM, by their MACs.
pub type Vifs = BTreeMap<MacAddr, VifSettings>;

/// A VM, as far as rules ask for it.
#[derive(Debug, Clone)]
pub struct VmPicture {
    pub pool: PoolId,
    /// Where it is recorded, where it is about to be, and where it is seen.
    pub hosts: Vec<HostId>,
    pub tags: Arc<BTreeSet<String>>,
    pub macs: Vec<MacAddr>,
}

/// All that is declared, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Picture {
    /// Counts the pictures: of two, what the later one says is newer.
    pub number: u64,
    pub networks: Vec<Network>,
    pub groups: Vec<SecurityGroup>,
    pub vifs: HashMap<VmId, Vifs>,
    /// Read only where there are groups, or something is written down for a NIC.
    pub vms: HashMap<VmId, VmPicture>,
    /// Hosts with their pools; the address is known where a private network needs it.
    pub hosts: Vec<(HostId, PoolId, Option<IpAddr>)>,
    /// Made when the first host is asked for, and then for all of them: what a host costs grows with its own VMs.
    pub(super) index: OnceLock<Index>,
}

/// The VMs of a picture, by what is asked of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    of_host: HashMap<HostId, Vec<VmId>>,
    /// Of the tags that rules name.
    members: HashMap<PoolId, HashMap<String, Members>>,
}

impl Picture {
    /// Whether anything is declared that hosts have to do something for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
            && self.vifs.is_empty()
            && self.networks.iter().all(|network| network.uplink.is_none())
    }

    /// A VM is about to be on a host, and is what its record says: who was read before may be older, and have its MACs.
    pub fn comes(&mut self, vm: VmId, mut coming: VmPicture) {
        if let Some(known) = self.vms.remove(&vm) {
            coming.hosts.extend(known.hosts);
        }
        for known in self.vms.values_mut() {
            known.macs.retain(|mac| !coming.macs.contains(mac));
        }
        self.vms.insert(vm, coming);
        self.index = OnceLock::new();
    }

    #[must_use]
    pub fn wanted(&self, host: HostId, pool: PoolId) -> HostNetworks {
        let networks = self.networks.iter().filter(|network| network.pool == pool);
        HostNetworks {
            networks: networks.filter_map(|network| self.network(network, host)).collect(),
            filter: self.filter(host, pool),
        }
    }

    fn network(&self, network: &Network, host: HostId) -> Option<HostNetwork> {
        let uplink = network.uplink.clone()?;
        let peers = match uplink {
            Uplink::Private { .. } => {
                let others =
                    self.hosts.iter().filter(|(other, pool, _)| *pool == network.pool && *other != host);
                let mut peers: Vec<IpAddr> = others.filter_map(|(_, _, address)| *address).collect();
                peers.sort_unstable();
                peers
            }
            _ => Vec::new(),
        };
        let mtu = network.mtu.unwrap_or_else(|| uplink.usual_mtu());
        Some(HostNetwork { network: network.id, name: network.name.clone(), uplink, mtu, peers })
    }

    fn filter(&self, host: HostId, pool: PoolId) -> PacketFilter {
        let in_pool: Vec<&SecurityGroup> = self.groups.iter().filter(|group| group.pool == pool).collect();
        let mut vifs = Vec::new();
        let mut used: BTreeSet<SecurityGroupId> = BTreeSet::new();
        let index = self.index.get_or_init(|| self.indexed());
        for id in index.of_host.get(&host).into_iter().flatten() {
            let Some(vm) = self.vms.get(id) else { continue };
            let its = in_pool.iter().filter(|group| vm.tags.contains(&group.tag));
            let groups: BTreeSet<SecurityGroupId> = its.map(|group| group.id).collect();
            let written = self.vifs.get(id);
            for mac in &vm.macs {
                let settings = written.and_then(|vifs| vifs.get(mac)).cloned().unwrap_or_default();
                if !groups.is_empty() || settings.restrict() {
                    used.extend(&groups);
                    vifs.push(VifFilter { mac: *mac, settings, groups: groups.clone() });
                }
            }
        }
        vifs.sort_by_key(|vif| vif.mac);
        // While two VMs exchange theirs, both may be seen with one; a table that names it twice is refused as a whole.
        vifs.dedup_by_key(|vif| vif.mac);
        let mut groups: Vec<GroupRules> = in_pool
            .into_iter()
            .filter(|group| used.contains(&group.id))
            .map(|group| GroupRules {
                group: group.id,
                ingress: group.ingress.clone(),
                egress: group.egress.clone(),
            })
            .collect();
        groups.sort_by_key(|group| group.group);
        let members = |tag: &str| index.members.get(&pool).and_then(|tags| tags.get(tag)).cloned();
        let tags =
            groups.iter().flat_map(|group| tags_named(group.ingress.as_deref(), group.egress.as_deref()));
        let tags = tags.map(|tag| (tag.to_owned(), members(tag).unwrap_or_default())).collect();
        PacketFilter { vifs, groups, tags }
    }

    fn indexed(&self) -> Index {
        let mut index = Index::default();
        for group in &self.groups {
            for tag in tags_named(group.ingress.as_deref(), group.egress.as_deref()) {
                index.members.entry(group.pool).or_default().entry(tag.to_owned()).or_default();
            }
        }
        for (id, vm) in &self.vms {
            for host in &vm.hosts {
                index.of_host.entry(*host).or_default().push(*id);
            }
            let Some(named) = index.members.get_mut(&vm.pool) else { continue };
            for tag in vm.tags.iter() {
                let Some(members) = named.get_mut(tag) else { continue };
                members.macs.extend(&vm.macs);
                let written = self.vifs.get(id).into_iter().flatten();
                let written = written.filter(|(mac, _)| vm.macs.contains(mac));
                members
                    .addresses
                    .extend(written.flat_map(|(_, settings)| settings.addresses.iter().copied()));
            }
        }
        index
    }
}

/// The tags that rules name.
fn tags_named<'a>(ingress: Option<&'a [Rule]>, egress: Option<&'a [Rule]>) -> impl Iterator<Item = &'a str> {
    ingress.into_iter().chain(egress).flatten().filter_map(|rule| match &rule.peer {
        Peer::Tag(tag) => Some(tag.as_str()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use xenith_common_ids::NetworkId;
    use xenith_hypervisor_agent_types::filter::VifLock;

    const POOL: PoolId = PoolId::from_bytes([1; 16]);
    const OTHER: PoolId = PoolId::from_bytes([2; 16]);
    const HOST: HostId = HostId::from_bytes([3; 16]);
    const NEXT: HostId = HostId::from_bytes([4; 16]);
    const FAR: HostId = HostId::from_bytes([5; 16]);

    fn mac(last: u8) -> MacAddr {
        MacAddr::from_xen_block([0, 0, last])
    }

    fn vm(pool: PoolId, host: HostId, tags: &[&str], last: u8) -> VmPicture {
        let tags = Arc::new(tags.iter().map(|tag| (*tag).to_owned()).collect());
        VmPicture { pool, hosts: vec![host], tags, macs: vec![mac(last)] }
    }

    fn group(last: u8, tag: &str, ingress: &[&str]) -> SecurityGroup {
        SecurityGroup {
            id: SecurityGroupId::from_bytes([last; 16]),
            name: tag.to_owned(),
            pool: POOL,
            tag: tag.to_owned(),
            description: String::new(),
            ingress: Some(ingress.iter().map(|rule| rule.parse().unwrap()).collect()),
            egress: None,
        }
    }

    #[test]
    fn a_host_gets_what_concerns_its_vms() {
        let (web, db, far, plain) = (VmId::new(), VmId::new(), VmId::new(), VmId::new());
        let settings = VifSettings {
            lock: VifLock::Addresses,
            addresses: BTreeSet::from(["10.0.0.2".parse().unwrap()]),
            ..VifSettings::default()
        };
        let picture = Picture {
            groups: vec![group(9, "db", &["tcp:5432 tag:web"]), group(8, "web", &["tcp:443"])],
            vifs: HashMap::from([(web, Vifs::from([(mac(1), settings)]))]),
            vms: HashMap::from([
                (web, vm(POOL, NEXT, &["web"], 1)),
                (db, vm(POOL, HOST, &["db"], 2)),
                (far, vm(OTHER, FAR, &["web", "db"], 3)),
                (plain, vm(POOL, HOST, &["prod"], 4)),
            ]),
            ..Picture::default()
        };
        let filter = picture.wanted(HOST, POOL).filter;
        assert_eq!(filter.vifs.iter().map(|vif| vif.mac).collect::<Vec<_>>(), [mac(2)]);
        let groups: Vec<_> = filter.groups.iter().map(|group| group.group).collect();
        assert_eq!(groups, [SecurityGroupId::from_bytes([9; 16])], "the other group has no VM here");
        let members = Members {
            macs: BTreeSet::from([mac(1)]),
            addresses: BTreeSet::from(["10.0.0.2".parse().unwrap()]),
        };
        assert_eq!(filter.tags, BTreeMap::from([("web".to_owned(), members)]), "none of another pool");
        let filter = picture.wanted(NEXT, POOL).filter;
        assert_eq!(filter.vifs[0].settings.lock, VifLock::Addresses);
        assert!(filter.tags.is_empty(), "{filter:?}");
        assert!(picture.wanted(FAR, OTHER).is_empty(), "groups of another pool are not its own");
    }

    #[test]
    fn a_vm_that_comes_is_what_its_record_says() {
        let (falls, rises) = (VmId::new(), VmId::new());
        let mut picture = Picture {
            groups: vec![group(9, "db", &["tcp:5432"])],
            vms: HashMap::from([(falls, vm(POOL, HOST, &["db"], 1)), (rises, vm(POOL, HOST, &[], 2))]),
            ..Picture::default()
        };
        picture.comes(rises, vm(POOL, NEXT, &["db"], 1));
        assert_eq!(picture.vms[&rises].hosts, [NEXT, HOST], "it is on both until it is known where");
        assert!(picture.vms[&falls].macs.is_empty(), "one MAC is of one VM");
        for host in [HOST, NEXT] {
            let vifs = picture.wanted(host, POOL).filter.vifs;
            assert_eq!(vifs.iter().map(|vif| vif.mac).collect::<Vec<_>>(), [mac(1)], "{host}");
        }
    }

    #[test]
    fn who_is_not_held_back_asks_nothing_of_the_host() {
        let open = VmId::new();
        let settings = VifSettings {
            addresses: BTreeSet::from(["10.0.0.2".parse().unwrap()]),
            ..VifSettings::default()
        };
        let picture = Picture {
            vifs: HashMap::from([(open, Vifs::from([(mac(1), settings)]))]),
            vms: HashMap::from([(open, vm(POOL, HOST, &["web"], 1))]),
            ..Picture::default()
        };
        assert!(picture.wanted(HOST, POOL).is_empty());
    }

    #[test]
    fn private_networks_reach_the_other_hosts_of_the_pool() {
        let network = |uplink: &str, last: u8| Network {
            id: NetworkId::from_bytes([last; 16]),
            name: format!("net-{last}"),
            pool: POOL,
            bridge: "x".to_owned(),
            description: String::new(),
            uplink: serde_json::from_str(uplink).unwrap(),
            mtu: None,
        };
        let at = |address: &str| Some(address.parse().unwrap());
        let picture = Picture {
            networks: vec![network(r#"{"kind":"private","vni":5}"#, 1), network("null", 2)],
            hosts: vec![
                (HOST, POOL, at("10.0.0.3")),
                (NEXT, POOL, at("10.0.0.4")),
                (HostId::from_bytes([6; 16]), POOL, None),
                (FAR, OTHER, at("10.0.0.5")),
            ],
            ..Picture::default()
        };
        let networks = picture.wanted(HOST, POOL).networks;
        assert_eq!(networks.len(), 1, "a bridge that is not ours is nobody's to make");
        assert_eq!(networks[0].peers, ["10.0.0.4".parse::<IpAddr>().unwrap()]);
        assert_eq!(networks[0].mtu.get(), 1450);
        assert!(picture.wanted(FAR, OTHER).is_empty());
    }
}
