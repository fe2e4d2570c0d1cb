//! Where VMs are: recorded, seen, or about to be.
//!
//! What always holds: [`Places::hosts_of`] a VM are the hosts that it was put in with last, and [`Places::vms_on`] says the
//! same the other way round. What is seen or coming counts from the next time that the VM is put in.

use std::collections::{BTreeSet, HashMap};
use std::iter;

use tokio::time::Instant;
use xenith_common_ids::{HostId, VmId};

const FIRST_HOST: HostId = HostId::from_bytes([0; 16]);
const LAST_HOST: HostId = HostId::from_bytes([0xff; 16]);
const FIRST_VM: VmId = VmId::from_bytes([0; 16]);
const LAST_VM: VmId = VmId::from_bytes([0xff; 16]);

/// See the module.
#[derive(Debug, Default)]
pub struct Places {
    /// Where VMs have a domain, by host and by VM.
    seen: HashMap<HostId, BTreeSet<VmId>>,
    seen_on: BTreeSet<(VmId, HostId)>,
    /// Which host a VM comes to, and how long that is believed.
    coming: HashMap<VmId, (HostId, Instant)>,
    /// For whom a VM stands by, and who stands by for one.
    stands_by: HashMap<VmId, VmId>,
    standbys: BTreeSet<(VmId, VmId)>,
    hosts_of: HashMap<VmId, Box<[HostId]>>,
    vms_on: HashMap<HostId, BTreeSet<VmId>>,
}

impl Places {
    /// Where a VM was put in.
    #[must_use]
    pub fn hosts_of(&self, vm: VmId) -> &[HostId] {
        self.hosts_of.get(&vm).map(|hosts| &**hosts).unwrap_or_default()
    }

    /// Those that were put in there, in the order of their ids.
    pub fn vms_on(&self, host: HostId) -> impl Iterator<Item = VmId> + '_ {
        self.vms_on.get(&host).into_iter().flatten().copied()
    }

    /// Puts in a VM that is recorded on a host. Where it is now.
    pub fn put_in(&mut self, vm: VmId, recorded: HostId) -> Box<[HostId]> {
        let standbys = self.standbys.range((vm, FIRST_VM)..=(vm, LAST_VM)).map(|(_, standby)| *standby);
        let mut hosts: Vec<HostId> = iter::once(vm).chain(standbys).flat_map(|vm| self.seen_on(vm)).collect();
        hosts.push(recorded);
        hosts.extend(self.coming.get(&vm).map(|(host, _)| *host));
        hosts.sort_unstable();
        hosts.dedup();
        for host in &hosts {
            self.vms_on.entry(*host).or_default().insert(vm);
        }
        let hosts: Box<[HostId]> = hosts.into();
        self.hosts_of.insert(vm, hosts.clone());
        hosts
    }

    /// Takes a VM out. Where it was.
    pub fn take_out(&mut self, vm: VmId) -> Box<[HostId]> {
        let hosts = self.hosts_of.remove(&vm).unwrap_or_default();
        for host in &hosts {
            if let Some(vms) = self.vms_on.get_mut(host) {
                vms.remove(&vm);
                if vms.is_empty() {
                    self.vms_on.remove(host);
                }
            }
        }
        hosts
    }

    fn seen_on(&self, vm: VmId) -> impl Iterator<Item = HostId> + '_ {
        self.seen_on.range((vm, FIRST_HOST)..=(vm, LAST_HOST)).map(|(_, host)| *host)
    }

    /// The VMs that have a domain on a host. Of which that is news.
    pub fn put_seen(&mut self, host: HostId, vms: BTreeSet<VmId>) -> Vec<VmId> {
        let before = self.seen.remove(&host).unwrap_or_default();
        let news: Vec<VmId> = before.symmetric_difference(&vms).copied().collect();
        for vm in &news {
            if !self.seen_on.remove(&(*vm, host)) {
                self.seen_on.insert((*vm, host));
            }
        }
        if !vms.is_empty() {
            self.seen.insert(host, vms);
        }
        news
    }

    /// Only while no VM is put in.
    pub fn forget_seen(&mut self) {
        self.seen.clear();
        self.seen_on.clear();
    }

    /// For whom a VM stands by now. For whom it did.
    pub fn put_standby(&mut self, vm: VmId, of: Option<VmId>) -> Option<VmId> {
        let before = match of {
            Some(of) => self.stands_by.insert(vm, of),
            None => self.stands_by.remove(&vm),
        };
        if let Some(before) = before {
            self.standbys.remove(&(before, vm));
        }
        if let Some(of) = of {
            self.standbys.insert((of, vm));
        }
        before
    }

    #[must_use]
    pub fn stands_by_for(&self, vm: VmId) -> Option<VmId> {
        self.stands_by.get(&vm).copied()
    }

    pub fn put_coming(&mut self, vm: VmId, coming: Option<(HostId, Instant)>) {
        match coming {
            Some(coming) => self.coming.insert(vm, coming),
            None => self.coming.remove(&vm),
        };
    }

    /// VMs that are where they were coming to, or were not there in time.
    pub fn no_longer_coming(&self, now: Instant, is_recorded: impl Fn(VmId, HostId) -> bool) -> Vec<VmId> {
        let over = |(vm, (host, until)): &(&VmId, &(HostId, Instant))| {
            *until <= now || self.seen_on.contains(&(**vm, *host)) || is_recorded(**vm, *host)
        };
        self.coming.iter().filter(over).map(|(vm, _)| *vm).collect()
    }

    /// Who comes, from a picture that is given up.
    pub fn take_coming_of(&mut self, other: Self) {
        self.coming = other.coming;
    }

    #[cfg(test)]
    pub fn coming(&self) -> std::collections::BTreeMap<VmId, HostId> {
        self.coming.iter().map(|(vm, (host, _))| (*vm, *host)).collect()
    }
}
