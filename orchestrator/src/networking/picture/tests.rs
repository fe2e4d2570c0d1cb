//! A picture that is kept, beside what follows from all that is declared at once.

use std::time::Duration;

use proptest::prelude::*;
use xenith_hypervisor_agent_types::filter::{
    GroupRules, PacketFilter, Rule, VifFilter, VifLock, VifSettings,
};
use xenith_hypervisor_agent_types::network::{HostNetwork, HostNetworks};

use super::*;

const POOL: PoolId = PoolId::from_bytes([1; 16]);
const OTHER: PoolId = PoolId::from_bytes([2; 16]);
const TAGS: [&str; 4] = ["web", "db", "admin", "plain"];

fn host(number: u8) -> HostId {
    HostId::from_bytes([number % 4; 16])
}

fn vm(number: u8) -> VmId {
    VmId::from_bytes([number % 6; 16])
}

fn mac(number: u8) -> MacAddr {
    MacAddr::from_xen_block([0, 0, number])
}

fn pool_of(host: u8) -> PoolId {
    if host % 4 == 3 { OTHER } else { POOL }
}

fn address(number: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, number])
}

/// All that is, and what a host must have by it: nothing is kept, everything is looked at.
#[derive(Debug, Default)]
struct Declared {
    networks: BTreeMap<NetworkId, Network>,
    groups: BTreeMap<SecurityGroupId, SecurityGroup>,
    vifs: BTreeMap<VmId, Vifs>,
    hosts: BTreeMap<HostId, (PoolId, Option<IpAddr>)>,
    vms: BTreeMap<VmId, VmPicture>,
    seen: BTreeMap<HostId, BTreeSet<VmId>>,
    coming: BTreeMap<VmId, HostId>,
}

impl Known for Declared {
    fn vm(&self, vm: VmId) -> Option<VmPicture> {
        self.vms.get(&vm).cloned()
    }

    fn tagged(&self, tags: &HashSet<String>) -> Vec<VmId> {
        let has = |vm: &VmPicture| vm.tags.iter().any(|tag| tags.contains(tag));
        self.vms.iter().filter(|(_, vm)| has(vm)).map(|(id, _)| *id).collect()
    }

    fn hosts(&self) -> Vec<HostId> {
        self.seen.keys().copied().collect()
    }

    fn host(&mut self, host: HostId) -> Option<(PoolId, Option<IpAddr>)> {
        self.hosts.get(&host).copied()
    }

    fn with_domain(&self, host: HostId) -> BTreeSet<VmId> {
        self.seen.get(&host).cloned().unwrap_or_default()
    }
}

impl Declared {
    fn is_on(&self, id: VmId, host: HostId) -> bool {
        let mut seen = self.seen.get(&host).into_iter().flatten();
        let is_it = |seen: &VmId| {
            *seen == id || self.vms.get(seen).is_some_and(|standby| standby.standby_of == Some(id))
        };
        self.vms[&id].host == host || self.coming.get(&id) == Some(&host) || seen.any(is_it)
    }

    fn members(&self, pool: PoolId, tag: &str) -> Members {
        let mut members = Members::default();
        for (id, vm) in self.vms.iter().filter(|(_, vm)| vm.pool == pool && vm.tags.contains(tag)) {
            members.macs.extend(&vm.macs);
            let written = self.vifs.get(id).into_iter().flatten().filter(|(mac, _)| vm.macs.contains(mac));
            members.addresses.extend(written.flat_map(|(_, settings)| &settings.addresses));
        }
        members
    }

    fn wanted(&self, host: HostId) -> HostNetworks {
        let Some((pool, _)) = self.hosts.get(&host).copied() else { return HostNetworks::default() };
        let in_pool = self.networks.values().filter(|network| network.pool == pool);
        let networks = in_pool.filter_map(|network| self.network(network, host)).collect();
        HostNetworks { networks, filter: self.filter(host, pool), mesh: None }
    }

    fn network(&self, network: &Network, host: HostId) -> Option<HostNetwork> {
        let uplink = network.uplink.clone()?;
        let mut peers = Vec::new();
        if let Uplink::Private { .. } = uplink {
            for (other, (pool, address)) in &self.hosts {
                peers.extend(address.filter(|_| *other != host && *pool == network.pool));
            }
        }
        peers.sort_unstable();
        let encryption = Encryption::None;
        let mtu = network.mtu.unwrap_or_else(|| uplink.usual_mtu(encryption));
        Some(HostNetwork { network: network.id, name: network.name.clone(), uplink, mtu, peers, encryption })
    }

    fn filter(&self, host: HostId, pool: PoolId) -> PacketFilter {
        let mut vifs: BTreeMap<MacAddr, VifFilter> = BTreeMap::new();
        for (id, vm) in self.vms.iter().filter(|(id, _)| self.is_on(**id, host)) {
            let its = self.groups.values().filter(|group| group.pool == pool && vm.tags.contains(&group.tag));
            let its: BTreeSet<SecurityGroupId> = its.map(|group| group.id).collect();
            for mac in &vm.macs {
                let settings = self.vifs.get(id).and_then(|vifs| vifs.get(mac)).cloned().unwrap_or_default();
                if !its.is_empty() || settings.restrict() {
                    vifs.entry(*mac).or_insert(VifFilter { mac: *mac, settings, groups: its.clone() });
                }
            }
        }
        let mut filter = PacketFilter { vifs: vifs.into_values().collect(), ..PacketFilter::default() };
        for group in self.groups.values() {
            if filter.vifs.iter().any(|vif| vif.groups.contains(&group.id)) {
                let named = tags_named(group).map(|tag| (tag.to_owned(), self.members(pool, tag)));
                filter.tags.extend(named);
                let (ingress, egress) = (group.ingress.clone(), group.egress.clone());
                filter.groups.push(GroupRules { group: group.id, ingress, egress });
            }
        }
        filter
    }
}

/// What a step of the property is made of.
type Step = (u8, u8, u8, u8);

fn a_group((x, y, z): (u8, u8, u8)) -> Option<SecurityGroup> {
    let rule = |named: u8| -> Rule {
        format!("tcp:{} tag:{}", 1 + z % 8, TAGS[usize::from(named % 3)]).parse().unwrap()
    };
    (y % 5 != 0).then(|| SecurityGroup {
        id: SecurityGroupId::from_bytes([x % 3; 16]),
        name: format!("group-{}", x % 3),
        pool: if z % 4 == 3 { OTHER } else { POOL },
        tag: TAGS[usize::from(y % 3)].to_owned(),
        description: String::new(),
        ingress: (z & 4 != 0).then(|| vec![rule(z >> 3)]),
        egress: (z & 64 != 0).then(Vec::new),
    })
}

fn a_vm((x, y, z): (u8, u8, u8)) -> VmPicture {
    let tags = TAGS.iter().enumerate().filter(|(bit, _)| z & (1_u8 << *bit) != 0);
    VmPicture {
        pool: pool_of(y),
        host: host(y),
        standby_of: (z & 16 != 0).then(|| vm(x.wrapping_add(1))),
        tags: Arc::new(tags.map(|(_, tag)| (*tag).to_owned()).collect()),
        macs: [mac((x % 6).wrapping_add(y) % 7), mac(z % 7)]
            .into_iter()
            .take(usize::from(z >> 5) % 3)
            .collect(),
    }
}

fn a_network((x, y, z): (u8, u8, u8)) -> Option<Network> {
    let uplink = [r#"{"kind":"private","vni":5}"#, r#"{"kind":"internal"}"#, "null"][usize::from(z % 3)];
    (y % 4 != 0).then(|| Network {
        id: NetworkId::from_bytes([x % 2; 16]),
        name: format!("net-{}", x % 2),
        pool: if y % 4 == 3 { OTHER } else { POOL },
        bridge: "x".to_owned(),
        description: String::new(),
        uplink: serde_json::from_str(uplink).unwrap(),
        mtu: None,
        encryption: Default::default(),
    })
}

/// Puts it in, or takes it out.
fn put<K: Ord + Copy, V: Clone>(all: &mut BTreeMap<K, V>, key: K, value: Option<V>) -> (K, Option<V>) {
    match value.clone() {
        Some(value) => all.insert(key, value),
        None => all.remove(&key),
    };
    (key, value)
}

impl Declared {
    /// Changes something, and notes in `news` what a store and a read model would say.
    fn change(&mut self, (kind, x, y, z): Step, news: &mut News) {
        let how = (x, y, z);
        match kind % 8 {
            0 => news.groups.push(put(
                &mut self.groups,
                SecurityGroupId::from_bytes([x % 3; 16]),
                a_group(how),
            )),
            1 => {
                let lock = if z & 8 == 0 { VifLock::Open } else { VifLock::Mac };
                let addresses = BTreeSet::from([address(z % 4)]);
                let vifs = (y % 4 != 0).then(|| {
                    Vifs::from([(mac(y % 7), VifSettings { lock, addresses, ..Default::default() })])
                });
                news.vifs.push(put(&mut self.vifs, vm(x), vifs));
            }
            2 | 3 => {
                put(&mut self.vms, vm(x), (kind % 8 == 2 || y % 4 != 0).then(|| a_vm(how)));
                news.placed.vms.insert(vm(x));
            }
            4 | 5 => {
                self.seen.insert(host(x), (0..6).filter(|bit| y & (1_u8 << *bit) != 0).map(vm).collect());
                news.placed.domains.insert(host(x));
            }
            6 => news.networks.push(put(
                &mut self.networks,
                NetworkId::from_bytes([x % 2; 16]),
                a_network(how),
            )),
            _ => {
                let known = (pool_of(x), (z % 3 != 0).then(|| address(z)));
                put(&mut self.hosts, host(x), (y % 4 != 0).then_some(known));
                news.placed.hosts.insert(host(x));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_picture_that_is_kept_is_what_one_made_anew_would_be(
        rounds in prop::collection::vec(prop::collection::vec(any::<Step>(), 1..5), 1..30),
    ) {
        let (mut declared, mut picture) = (Declared::default(), Picture::default());
        let mut told: BTreeMap<HostId, HostNetworks> = BTreeMap::new();
        let began = Instant::now();
        for number in 0..3 {
            declared.hosts.insert(host(number), (pool_of(number), Some(address(number))));
            declared.seen.insert(host(number), BTreeSet::new());
        }
        let mut news = News::default();
        news.placed.hosts.extend(declared.hosts.keys());
        picture.apply(news, &mut declared);
        for steps in rounds {
            let mut news = News::default();
            for step in &steps {
                declared.change(*step, &mut news);
            }
            picture.apply(news, &mut declared);
            let (_, x, y, z) = steps[0];
            if z % 3 == 0 && declared.vms.contains_key(&vm(x)) {
                picture.comes(vm(x), host(y), began + Duration::from_secs(3600));
            }
            picture.arrived(began);
            declared.coming = picture.places.coming();
            for host in picture.take_changed() {
                told.insert(host, picture.wanted(host));
            }
            for number in 0..4 {
                let expected = declared.wanted(host(number));
                prop_assert_eq!(&picture.wanted(host(number)), &expected, "host {}", number);
                let last = told.get(&host(number)).cloned().unwrap_or_default();
                prop_assert_eq!(&last, &expected, "host {} was not told", number);
            }
            let has_rules = !declared.groups.is_empty() || !declared.vifs.is_empty();
            prop_assert!(has_rules || picture.vms.is_empty(), "nothing speaks of VMs");
        }
    }
}

/// Three hosts of one pool: on the first a VM with the tag `web`, on the second one with `db`, on the first and third one that
/// no rule names. The rules of `db` name `web`.
fn scene() -> (Declared, Picture) {
    let mut declared = Declared::default();
    let mut news = News::default();
    for number in 0..3 {
        declared.hosts.insert(host(number), (POOL, Some(address(number))));
        news.placed.hosts.insert(host(number));
    }
    let tags = |tag: &str| Arc::new(BTreeSet::from([tag.to_owned()]));
    for (number, on, tag) in [(0, 0, "web"), (1, 1, "db"), (2, 2, "plain"), (3, 0, "plain")] {
        let (macs, standby_of) = ([mac(number)].into(), None);
        let picture = VmPicture { pool: POOL, host: host(on), standby_of, tags: tags(tag), macs };
        declared.vms.insert(vm(number), picture);
        news.placed.vms.insert(vm(number));
    }
    let (web, db) = (a_group((0, 3, 64)), a_group((1, 1, 4)));
    for group in [web, db].into_iter().flatten() {
        declared.groups.insert(group.id, group.clone());
        news.groups.push((group.id, Some(group)));
    }
    let mut picture = Picture::default();
    picture.apply(news, &mut declared);
    let all = picture.take_changed();
    assert_eq!(all.len(), 3);
    (declared, picture)
}

/// Which hosts a change is told to.
fn touched(picture: &mut Picture) -> BTreeSet<HostId> {
    picture.take_changed().into_iter().collect()
}

#[test]
fn a_change_concerns_the_hosts_that_it_is_about() {
    let (mut declared, mut picture) = scene();
    let (first, second) = (BTreeSet::from([host(0)]), BTreeSet::from([host(1)]));
    let rules = |declared: &mut Declared, picture: &mut Picture, group: u8| {
        let id = SecurityGroupId::from_bytes([group; 16]);
        let news = News { groups: vec![(id, declared.groups.get(&id).cloned())], ..News::default() };
        picture.apply(news, declared);
    };
    rules(&mut declared, &mut picture, 0);
    assert_eq!(touched(&mut picture), first, "the one with a VM of the group");
    rules(&mut declared, &mut picture, 1);
    assert_eq!(touched(&mut picture), second);

    let placed = |picture: &mut Picture, declared: &mut Declared, id: VmId| {
        let placed = Placed { vms: HashSet::from([id]), ..Placed::default() };
        picture.apply(News { placed, ..News::default() }, declared);
    };
    declared.vms.get_mut(&vm(2)).unwrap().host = host(1);
    placed(&mut picture, &mut declared, vm(2));
    assert_eq!(touched(&mut picture), BTreeSet::new(), "no rule speaks of it");
    assert_eq!(picture.vms.len(), 2, "nor is it kept");
    declared.vms.get_mut(&vm(0)).unwrap().macs = [mac(9)].into();
    placed(&mut picture, &mut declared, vm(0));
    assert_eq!(
        touched(&mut picture),
        BTreeSet::from([host(0), host(1)]),
        "its host, and whose rules name it"
    );
    declared.vms.get_mut(&vm(0)).unwrap().host = host(2);
    placed(&mut picture, &mut declared, vm(0));
    assert_eq!(touched(&mut picture), BTreeSet::from([host(0), host(2)]), "the members are the same");

    let settings = VifSettings { lock: VifLock::Mac, ..VifSettings::default() };
    let vifs = vec![(vm(3), Some(Vifs::from([(mac(3), settings)])))];
    picture.apply(News { vifs, ..News::default() }, &mut declared);
    assert_eq!(touched(&mut picture), first);
    assert!(picture.speaks_of(vm(3)) && picture.speaks_of(vm(1)) && !picture.speaks_of(vm(2)));
}

#[test]
fn a_host_gets_what_concerns_its_vms() {
    let (_, picture) = scene();
    let filter = picture.wanted(host(1)).filter;
    assert_eq!(filter.vifs.iter().map(|vif| vif.mac).collect::<Vec<_>>(), [mac(1)]);
    let groups: Vec<_> = filter.groups.iter().map(|group| group.group).collect();
    assert_eq!(groups, [SecurityGroupId::from_bytes([1; 16])], "the other group has no VM here");
    let members = Members { macs: BTreeSet::from([mac(0)]), addresses: BTreeSet::new() };
    assert_eq!(filter.tags, BTreeMap::from([("web".to_owned(), members)]));
    assert!(picture.wanted(host(2)).is_empty(), "who is not held back asks nothing of the host");
}

#[test]
fn settings_that_cannot_be_read_hold_up_the_host_of_their_vm_alone() {
    let (mut declared, mut picture) = scene();
    let (id, its_host) = (vm(2), BTreeSet::from([host(2)]));
    let held =
        |picture: &Picture| -> Vec<u8> { (0..3).filter(|n| picture.unread_on(host(*n)).is_some()).collect() };
    let others = [0, 1].map(|number| picture.wanted(host(number)));
    picture.apply(News { unread: vec![id], ..News::default() }, &mut declared);
    assert_eq!((held(&picture), touched(&mut picture)), (vec![2], its_host.clone()));
    assert!(picture.speaks_of(id), "nobody may start it as if nothing were said about it");
    assert_eq!([0, 1].map(|number| picture.wanted(host(number))), others);
    // On its way it holds up both.
    picture.comes(id, host(1), Instant::now() + Duration::from_secs(60));
    assert_eq!(held(&picture), [1, 2]);
    picture.arrived(Instant::now() + Duration::from_secs(60));
    picture.take_changed();
    // Somebody repaired it, or took it away.
    picture.apply(News { vifs: vec![(id, None)], ..News::default() }, &mut declared);
    assert_eq!((held(&picture), touched(&mut picture)), (vec![], its_host));
    assert!(!picture.speaks_of(id));
}

#[test]
fn a_vm_that_comes_is_on_both_hosts_until_it_is_known_where() {
    let (mut declared, mut picture) = scene();
    let (now, id) = (Instant::now(), vm(1));
    let has = |picture: &Picture, number: u8| !picture.wanted(host(number)).filter.vifs.is_empty();
    picture.comes(id, host(2), now + Duration::from_secs(60));
    picture.arrived(now);
    assert!(has(&picture, 1) && has(&picture, 2));
    assert_eq!(touched(&mut picture), BTreeSet::from([host(1), host(2)]));
    // It does not come.
    picture.arrived(now + Duration::from_secs(60));
    assert!(has(&picture, 1) && !has(&picture, 2));
    picture.comes(id, host(2), now + Duration::from_secs(60));
    // It is seen there, and then gone from where it was; its record follows.
    declared.seen.insert(host(2), BTreeSet::from([id]));
    let placed = Placed { domains: HashSet::from([host(2)]), ..Placed::default() };
    picture.apply(News { placed, ..News::default() }, &mut declared);
    picture.arrived(now);
    assert!(picture.places.coming().is_empty() && has(&picture, 1) && has(&picture, 2));
    declared.vms.get_mut(&id).unwrap().host = host(2);
    let placed = Placed { vms: HashSet::from([id]), ..Placed::default() };
    picture.apply(News { placed, ..News::default() }, &mut declared);
    assert!(!has(&picture, 1) && has(&picture, 2));
}

#[test]
fn private_networks_reach_the_other_hosts_of_the_pool() {
    let mut declared = Declared::default();
    for (number, pool) in [(0, POOL), (1, POOL), (2, POOL), (3, OTHER)] {
        declared.hosts.insert(host(number), (pool, (number != 2).then(|| address(number))));
    }
    let network = a_network((0, 1, 0)).unwrap();
    let mut news = News { networks: vec![(network.id, Some(network))], ..News::default() };
    news.placed.hosts.extend(declared.hosts.keys());
    let mut picture = Picture::default();
    picture.apply(news, &mut declared);
    picture.take_changed();
    let networks = picture.wanted(host(0)).networks;
    assert_eq!((networks[0].peers.as_slice(), networks[0].mtu.get()), ([address(1)].as_slice(), 1450));
    assert!(picture.wanted(host(3)).is_empty());
    picture.put_address(host(2), address(2));
    assert_eq!(touched(&mut picture), BTreeSet::from([host(0), host(1), host(2)]));
    assert_eq!(picture.wanted(host(0)).networks[0].peers, [address(1), address(2)]);
}
