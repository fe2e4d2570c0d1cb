//! What a VM is to others: where it is, which tags it has, and what it adds to their members.
//!
//! What always holds: whatever changes about a VM goes through [`Picture::change`], which takes the VM out before and puts
//! it in after, and so sees whom the change concerns.

use std::collections::{BTreeSet, HashMap};
use std::sync::OnceLock;

use xenith_common_ids::{HostId, PoolId, VmId};
use xenith_hypervisor_agent_types::filter::Members;

use super::{Picture, VmPicture};
use crate::networking::wanted::Vifs;

/// What a VM is to others.
#[derive(Debug, Default)]
struct Trace {
    hosts: Box<[HostId]>,
    /// Of those that somebody names.
    tags: BTreeSet<String>,
    member: Option<(PoolId, Members)>,
}

/// What a VM is as one of the members of its tags.
fn member(vm: &VmPicture, written: Option<&Vifs>) -> Members {
    let written = written.into_iter().flatten().filter(|(mac, _)| vm.macs.contains(mac));
    let addresses = written.flat_map(|(_, settings)| settings.addresses.iter().copied()).collect();
    Members { macs: vm.macs.iter().copied().collect(), addresses }
}

impl Picture {
    /// Changes something about a VM, and notes whom that concerns: the hosts where it is, and those with rules that name
    /// one of its tags, where it is another member of that than before.
    pub(super) fn change(&mut self, vm: VmId, with: impl FnOnce(&mut Self)) {
        let before = self.take_out(vm);
        with(self);
        let after = self.put_in(vm);
        self.changed.extend(before.hosts.iter().chain(after.hosts.iter()));
        let is_another = before.member != after.member;
        for name in before.tags.union(&after.tags) {
            if (is_another || !before.tags.contains(name) || !after.tags.contains(name))
                && let Some(tag) = self.tags.get_mut(name)
            {
                tag.members = OnceLock::new();
                self.changed_tags.insert(name.clone());
            }
        }
    }

    fn take_out(&mut self, vm: VmId) -> Trace {
        let Some(picture) = self.vms.get(&vm) else { return Trace::default() };
        let mut tags = BTreeSet::new();
        for name in picture.tags.iter() {
            if self.tags.get_mut(name).is_some_and(|tag| tag.vms.remove(&vm)) {
                tags.insert(name.clone());
            }
        }
        let member = Some((picture.pool, member(picture, self.vifs.get(&vm))));
        Trace { hosts: self.places.take_out(vm), tags, member }
    }

    fn put_in(&mut self, vm: VmId) -> Trace {
        let Some(picture) = self.vms.get(&vm) else { return Trace::default() };
        let mut tags = BTreeSet::new();
        for name in picture.tags.iter() {
            if let Some(tag) = self.tags.get_mut(name) {
                tag.vms.insert(vm);
                tags.insert(name.clone());
            }
        }
        let member = Some((picture.pool, member(picture, self.vifs.get(&vm))));
        Trace { hosts: self.places.put_in(vm, picture.host), tags, member }
    }

    /// The members of a tag in a pool.
    pub(in crate::networking) fn members(&self, pool: PoolId, name: &str) -> Members {
        let Some(tag) = self.tags.get(name) else { return Members::default() };
        let by_pool = tag.members.get_or_init(|| {
            let mut by_pool: HashMap<PoolId, Members> = HashMap::new();
            for (vm, picture) in tag.vms.iter().filter_map(|vm| Some((vm, self.vms.get(vm)?))) {
                let members = by_pool.entry(picture.pool).or_default();
                let Members { macs, addresses } = member(picture, self.vifs.get(vm));
                members.macs.extend(macs);
                members.addresses.extend(addresses);
            }
            by_pool
        });
        by_pool.get(&pool).cloned().unwrap_or_default()
    }
}
