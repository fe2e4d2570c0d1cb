//! All that is declared of networks and rules, and where the VMs are of which rules speak: kept as it changes. Pure.
//!
//! What always holds, whatever changed in which order: what a host must have by it ([`Picture::wanted`]) is what it must
//! have by a picture that is made anew, and a host of which that is another than before is among
//! [`Picture::take_changed`]. So a change costs what it concerns: the hosts with a VM of a group whose rules changed, with
//! a VM whose settings did, or with rules that name a tag whose members did.
//!
//! Only VMs are kept that a group's tag, a tag in its rules, or the settings of a NIC may concern; without any of these
//! nothing is kept of VMs. What a tag that is named for the first time concerns is looked up once ([`Known`]).

mod places;
#[cfg(test)]
mod tests;
mod trace;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use tokio::time::Instant;
use xenith_common_ids::{HostId, NetworkId, PoolId, SecurityGroupId, VmId};
use xenith_common_units::MacAddr;
use xenith_hypervisor_agent_types::filter::Members;
use xenith_hypervisor_agent_types::mesh::Encryption;
use xenith_hypervisor_agent_types::network::Uplink;
use xenith_orchestrator_types::network::Network;
use xenith_orchestrator_types::security_group::SecurityGroup;

use super::mesh::{HostKeys, Rotation};
use super::wanted::{Vifs, tags_named};
use crate::views::{KnownVm, Placed};
use places::Places;

/// A VM, as far as rules ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmPicture {
    pub pool: PoolId,
    /// Where it is recorded.
    pub host: HostId,
    /// The VM that it stands by for.
    pub standby_of: Option<VmId>,
    pub tags: Arc<BTreeSet<String>>,
    pub macs: Box<[MacAddr]>,
}

impl From<&KnownVm> for VmPicture {
    fn from(known: &KnownVm) -> Self {
        Self {
            pool: known.pool,
            host: known.host,
            standby_of: known.standby_of(),
            tags: Arc::clone(&known.tags),
            macs: known.macs.clone(),
        }
    }
}

/// What changed since the last time.
#[derive(Debug, Default)]
pub struct News {
    pub networks: Vec<(NetworkId, Option<Network>)>,
    pub groups: Vec<(SecurityGroupId, Option<SecurityGroup>)>,
    pub vifs: Vec<(VmId, Option<Vifs>)>,
    /// VMs for whose NICs something is written down that cannot be read.
    pub unread: Vec<VmId>,
    pub placed: Placed,
}

/// Where a picture looks up what it is told of.
pub trait Known {
    fn vm(&self, vm: VmId) -> Option<VmPicture>;
    /// The VMs with one of these tags.
    fn tagged(&self, tags: &HashSet<String>) -> Vec<VmId>;
    fn hosts(&self) -> Vec<HostId>;
    /// Its pool, and its address as far as that is known.
    fn host(&mut self, host: HostId) -> Option<(PoolId, Option<IpAddr>)>;
    /// The VMs that have a domain there.
    fn with_domain(&self, host: HostId) -> BTreeSet<VmId>;
}

/// A tag that a group has, or that rules name.
#[derive(Debug, Default)]
pub(super) struct Tag {
    /// Groups of the VMs that have it.
    pub(super) groups: BTreeSet<SecurityGroupId>,
    /// Groups whose rules name it.
    named_by: BTreeSet<SecurityGroupId>,
    vms: BTreeSet<VmId>,
    /// By pool. Made when they are asked for.
    members: OnceLock<HashMap<PoolId, Members>>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Picture {
    pub(super) networks: BTreeMap<NetworkId, Network>,
    pub(super) groups: BTreeMap<SecurityGroupId, SecurityGroup>,
    pub(super) vifs: HashMap<VmId, Vifs>,
    /// See [`News::unread`].
    pub(super) unread: HashSet<VmId>,
    /// With their pools; the address is known where a private network needs it.
    pub(super) hosts: BTreeMap<HostId, (PoolId, Option<IpAddr>)>,
    pub(super) vms: HashMap<VmId, VmPicture>,
    pub(super) tags: HashMap<String, Tag>,
    pub(super) places: Places,
    /// Of hosts of pools with an encrypted network.
    pub(super) keys: BTreeMap<HostId, HostKeys>,
    /// Of pools with an encrypted network.
    pub(super) rotations: BTreeMap<PoolId, Rotation>,
    /// Seconds since 1970, as of the last look.
    now: u64,
    changed: HashSet<HostId>,
    /// Tags with other members: the hosts whose rules name them are found when they are asked for.
    changed_tags: HashSet<String>,
}

/// The entry of a tag; notes in `new` that there was none.
fn named<'a>(tags: &'a mut HashMap<String, Tag>, name: &str, new: &mut HashSet<String>) -> &'a mut Tag {
    if !tags.contains_key(name) {
        new.insert(name.to_owned());
    }
    tags.entry(name.to_owned()).or_default()
}

impl Picture {
    /// One that begins anew, and knows which VMs are on their way.
    #[must_use]
    pub fn after(other: Self) -> Self {
        let mut new = Self { keys: other.keys, now: other.now, ..Self::default() };
        new.places.take_coming_of(other.places);
        new
    }

    /// What is stored of the keys of hosts, where nothing newer is known.
    pub fn remember_keys(&mut self, stored: impl Iterator<Item = (HostId, HostKeys)>) {
        for (host, keys) in stored {
            self.keys.entry(host).or_insert(keys);
        }
        self.look_at_keys(self.now);
    }

    /// A host has said which keys it has, or needs none any more.
    pub fn put_keys(&mut self, host: HostId, keys: Option<HostKeys>) {
        let now = keys.as_ref().map(|keys| keys.keys.clone());
        let before = match keys {
            Some(keys) => self.keys.insert(host, keys),
            None => self.keys.remove(&host),
        };
        if before.map(|before| before.keys) != now
            && let Some((pool, _)) = self.hosts.get(&host).copied()
        {
            self.touch_pool(pool);
        }
        self.look_at_keys(self.now);
    }

    /// Whether hosts are to be told of other generations, at this time.
    pub fn look_at_keys(&mut self, now: u64) {
        self.now = now;
        let encrypted = self.networks.values().filter(|network| network.encryption == Encryption::WireGuard);
        let pools: BTreeSet<PoolId> = encrypted.map(|network| network.pool).collect();
        let of = |pool: PoolId| {
            let hosts = self.hosts.iter().filter(move |(_, (of, _))| *of == pool);
            Rotation::of(hosts.filter_map(|(host, _)| self.keys.get(host)), now)
        };
        let rotations: BTreeMap<PoolId, Rotation> = pools.into_iter().map(|pool| (pool, of(pool))).collect();
        let before = std::mem::replace(&mut self.rotations, rotations);
        let mut all: BTreeSet<PoolId> = before.keys().chain(self.rotations.keys()).copied().collect();
        all.retain(|pool| before.get(pool) != self.rotations.get(pool));
        all.into_iter().for_each(|pool| self.touch_pool(pool));
    }

    /// Whether anything is declared that speaks of VMs.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        !self.groups.is_empty() || !self.vifs.is_empty() || !self.unread.is_empty()
    }

    /// Whether hosts have to know each other's addresses.
    #[must_use]
    pub fn has_private(&self) -> bool {
        self.networks.values().any(|network| matches!(network.uplink, Some(Uplink::Private { .. })))
    }

    /// Whether something is written down for its NICs.
    #[must_use]
    pub fn has_vifs(&self, vm: VmId) -> bool {
        self.vifs.contains_key(&vm)
    }

    /// A VM there of which nobody can say what its NICs may do. The host is told nothing meanwhile: it keeps the rules that it
    /// has, where a table without the VM would open its NICs.
    #[must_use]
    pub fn unread_on(&self, host: HostId) -> Option<VmId> {
        self.places.vms_on(host).find(|vm| self.unread.contains(vm))
    }

    #[must_use]
    pub fn has_host(&self, host: HostId) -> bool {
        self.hosts.contains_key(&host)
    }

    #[must_use]
    pub fn network_name(&self, network: NetworkId) -> Option<&str> {
        self.networks.get(&network).map(|network| network.name.as_str())
    }

    /// Whether [`Self::take_changed`] has anybody.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty() || !self.changed_tags.is_empty()
    }

    /// Hosts that may have to have something else than before, since the last call.
    pub fn take_changed(&mut self) -> HashSet<HostId> {
        for name in std::mem::take(&mut self.changed_tags) {
            let groups = self.tags.get(&name).map(|tag| tag.named_by.clone()).unwrap_or_default();
            groups.into_iter().for_each(|group| self.touch_group(group));
        }
        std::mem::take(&mut self.changed)
    }

    /// A host has to be looked at once more.
    pub fn touch(&mut self, host: HostId) {
        self.changed.insert(host);
    }

    /// Takes in what changed.
    pub fn apply(&mut self, news: News, known: &mut impl Known) {
        let had_rules = self.has_rules();
        let News { networks, groups, vifs, unread, placed } = news;
        let (mut look, mut tags) = (placed.vms, HashSet::new());
        for (id, network) in networks {
            self.put_network(id, network);
        }
        for (id, group) in groups {
            tags.extend(self.put_group(id, group));
        }
        for vm in unread {
            self.change(vm, |picture| {
                picture.vifs.remove(&vm);
                picture.unread.insert(vm);
            });
            look.insert(vm);
        }
        for (vm, vifs) in vifs {
            self.change(vm, |picture| {
                picture.unread.remove(&vm);
                match vifs {
                    Some(vifs) => picture.vifs.insert(vm, vifs),
                    None => picture.vifs.remove(&vm),
                };
            });
            look.insert(vm);
        }
        if !tags.is_empty() {
            look.extend(known.tagged(&tags));
        }
        for host in placed.hosts {
            self.put_host(host, known.host(host));
        }
        for vm in look {
            self.put_vm(vm, known.vm(vm));
        }
        if !self.has_rules() {
            return self.places.forget_seen();
        }
        let seen = if had_rules { placed.domains.into_iter().collect() } else { known.hosts() };
        for host in seen {
            self.put_seen(host, known.with_domain(host));
        }
    }

    fn put_network(&mut self, id: NetworkId, network: Option<Network>) {
        let after = network.as_ref().map(|network| network.pool);
        let before = match network {
            Some(network) => self.networks.insert(id, network),
            None => self.networks.remove(&id),
        };
        let pools: BTreeSet<PoolId> = before.map(|network| network.pool).into_iter().chain(after).collect();
        pools.into_iter().for_each(|pool| self.touch_pool(pool));
        self.look_at_keys(self.now);
    }

    /// The tags that nobody named before.
    fn put_group(&mut self, id: SecurityGroupId, group: Option<SecurityGroup>) -> HashSet<String> {
        self.touch_group(id);
        let mut unnamed = BTreeSet::new();
        if let Some(before) = self.groups.remove(&id) {
            if let Some(tag) = self.tags.get_mut(&before.tag) {
                tag.groups.remove(&id);
            }
            for name in tags_named(&before) {
                if let Some(tag) = self.tags.get_mut(name) {
                    tag.named_by.remove(&id);
                }
                unnamed.insert(name.to_owned());
            }
            unnamed.insert(before.tag);
        }
        let mut new = HashSet::new();
        if let Some(group) = group {
            named(&mut self.tags, &group.tag, &mut new).groups.insert(id);
            for name in tags_named(&group) {
                named(&mut self.tags, name, &mut new).named_by.insert(id);
            }
            self.groups.insert(id, group);
        }
        self.touch_group(id);
        unnamed.into_iter().for_each(|name| self.drop_unnamed(&name));
        new
    }

    /// Forgets a tag that nobody names any more, and the VMs that nobody asks for without it.
    fn drop_unnamed(&mut self, name: &str) {
        let is_unnamed = |tag: &Tag| tag.groups.is_empty() && tag.named_by.is_empty();
        if !self.tags.get(name).is_some_and(is_unnamed) {
            return;
        }
        for vm in self.tags.remove(name).map(|tag| tag.vms).unwrap_or_default() {
            if self.vms.get(&vm).is_some_and(|picture| !self.concerns(vm, picture)) {
                self.change(vm, |picture| drop(picture.vms.remove(&vm)));
            }
        }
    }

    /// Whether anything that is declared may speak of it.
    fn concerns(&self, vm: VmId, picture: &VmPicture) -> bool {
        self.vifs.contains_key(&vm)
            || self.unread.contains(&vm)
            || picture.tags.iter().any(|tag| self.tags.contains_key(tag))
    }

    fn put_vm(&mut self, vm: VmId, picture: Option<VmPicture>) {
        let other = picture.as_ref().and_then(|picture| picture.standby_of);
        let before = self.places.put_standby(vm, other);
        let picture = picture.filter(|picture| self.concerns(vm, picture));
        self.change(vm, |all| {
            match picture {
                Some(picture) => all.vms.insert(vm, picture),
                None => all.vms.remove(&vm),
            };
        });
        if before != other {
            before.into_iter().chain(other).for_each(|other| self.change(other, |_| {}));
        }
    }

    fn put_host(&mut self, host: HostId, now: Option<(PoolId, Option<IpAddr>)>) {
        let before = match now {
            Some(now) => self.hosts.insert(host, now),
            None => self.hosts.remove(&host),
        };
        self.changed.insert(host);
        if before == now {
            return;
        }
        if now.is_none() {
            self.keys.remove(&host);
        }
        self.look_at_keys(self.now);
        // The others of the pool send to it.
        for (pool, _) in before.into_iter().chain(now) {
            let private = |network: &Network| {
                network.pool == pool && matches!(network.uplink, Some(Uplink::Private { .. }))
            };
            if self.networks.values().any(private) {
                self.touch_pool(pool);
            }
        }
    }

    /// A host's address was found out.
    pub fn put_address(&mut self, host: HostId, address: IpAddr) {
        if let Some((pool, _)) = self.hosts.get(&host).copied() {
            self.put_host(host, Some((pool, Some(address))));
        }
    }

    fn put_seen(&mut self, host: HostId, vms: BTreeSet<VmId>) {
        for vm in self.places.put_seen(host, vms) {
            self.change(vm, |_| {});
            // One that another took over from runs under the MACs of that other, should its host come back.
            if let Some(other) = self.places.stands_by_for(vm) {
                self.change(other, |_| {});
            }
        }
    }

    /// A VM is about to be on a host: it is on both until its record, or what is seen, says where it is.
    pub fn comes(&mut self, vm: VmId, host: HostId, until: Instant) {
        self.change(vm, |picture| picture.places.put_coming(vm, Some((host, until))));
    }

    /// Forgets who was about to come and is there, and who did not come in time.
    pub fn arrived(&mut self, now: Instant) {
        let recorded = |vm: VmId, host: HostId| self.vms.get(&vm).is_some_and(|known| known.host == host);
        for vm in self.places.no_longer_coming(now, recorded) {
            self.change(vm, |picture| picture.places.put_coming(vm, None));
        }
    }

    fn touch_pool(&mut self, pool: PoolId) {
        let of_it = self.hosts.iter().filter(|(_, (of, _))| *of == pool);
        self.changed.extend(of_it.map(|(host, _)| *host));
    }

    /// The hosts with a VM of the group.
    fn touch_group(&mut self, group: SecurityGroupId) {
        let Some(tag) = self.groups.get(&group).and_then(|group| self.tags.get(&group.tag)) else { return };
        for vm in &tag.vms {
            self.changed.extend(self.places.hosts_of(*vm));
        }
    }
}
