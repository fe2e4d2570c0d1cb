//! What the read model keeps of a VM's record: what lists, placement and rights ask for, and nothing else. There are
//! hundreds of thousands of them; a whole record in memory is four times as large, and is a read of the store away.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use time::OffsetDateTime;
use xenith_common_ids::{HostId, NetworkId, PoolId, SagaId, SnapshotId, VdiId, VmId};
use xenith_common_units::{MacAddr, MemoryMiB};
use xenith_hypervisor_agent_types::PlatformKind;

use crate::model::VmRecord;

/// See the module's documentation.
#[derive(Debug)]
pub struct KnownVm {
    pub name: Box<str>,
    pub description: Box<str>,
    pub tags: Arc<BTreeSet<String>>,
    pub pool: PoolId,
    pub host: HostId,
    pub created: OffsetDateTime,
    /// The saga that works on it.
    pub held_by: Option<SagaId>,
    /// The VM that it stands by for.
    pub standby_of: Option<VmId>,
    /// The snapshot that its disks go on from.
    pub snapshot: Option<SnapshotId>,
    pub kind: PlatformKind,
    pub vcpus: u32,
    pub memory: MemoryMiB,
    pub disks: Box<[VdiId]>,
    /// What is in its CD drive.
    pub medium: Option<VdiId>,
    pub networks: Box<[NetworkId]>,
    /// Of its NICs, in their order.
    pub macs: Box<[MacAddr]>,
    /// Most have none.
    pub company: Option<Box<Company>>,
    pub fixed: Option<Fixed>,
}

/// The VMs that one is to stay apart from, and those that it is to be together with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Company {
    pub apart_from: Box<[VmId]>,
    pub together_with: Box<[VmId]>,
}

impl Company {
    fn of(record: &VmRecord) -> Option<Box<Self>> {
        let (apart, together) = (&record.apart_from, &record.together_with);
        let some = !apart.is_empty() || !together.is_empty();
        some.then(|| {
            Box::new(Self { apart_from: apart.as_slice().into(), together_with: together.as_slice().into() })
        })
    }

    pub(super) fn all(&self) -> impl Iterator<Item = VmId> {
        self.apart_from.iter().chain(self.together_with.iter()).copied()
    }
}

/// Why a VM moves to no other host, whatever it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fixed {
    Protected,
    Pci,
}

impl Fixed {
    fn of(record: &VmRecord) -> Option<Self> {
        if record.protection.migration {
            return Some(Self::Protected);
        }
        (!record.spec.hardware.pci.is_empty()).then_some(Self::Pci)
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Protected => "is protected against migration",
            Self::Pci => "has PCI devices of its host",
        }
    }
}

/// Sets of tags, each once: a fleet has a few dozen, however many VMs.
#[derive(Debug, Default)]
pub(super) struct TagSets {
    sets: HashSet<Arc<BTreeSet<String>>>,
    /// How many there were when unused ones were dropped last.
    cleaned: usize,
}

impl TagSets {
    fn share(&mut self, tags: BTreeSet<String>) -> Arc<BTreeSet<String>> {
        if let Some(known) = self.sets.get(&tags) {
            return Arc::clone(known);
        }
        if self.sets.len() >= 2 * self.cleaned.max(64) {
            self.sets.retain(|set| Arc::strong_count(set) > 1);
            self.cleaned = self.sets.len();
        }
        let new = Arc::new(tags);
        self.sets.insert(Arc::clone(&new));
        new
    }
}

impl KnownVm {
    pub(super) fn new(record: VmRecord, sets: &mut TagSets) -> Self {
        let (company, fixed) = (Company::of(&record), Fixed::of(&record));
        let spec = record.spec;
        Self {
            name: spec.name.to_string().into(),
            description: record.description.into(),
            tags: sets.share(record.tags),
            pool: record.pool,
            host: record.host,
            created: record.created,
            held_by: record.held_by,
            standby_of: record.standby_of,
            snapshot: record.snapshot,
            kind: spec.platform.kind(),
            vcpus: spec.vcpus.online.get(),
            memory: spec.memory.target,
            disks: spec.disks.iter().map(|disk| disk.vdi).collect(),
            medium: spec.hardware.cd.and_then(|cd| cd.vdi),
            networks: spec.nics.iter().map(|nic| nic.network).collect(),
            macs: spec.nics.iter().map(|nic| nic.mac).collect(),
            company,
            fixed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sets_of_tags_are_one_and_unused_ones_go() {
        let set = |number: usize| BTreeSet::from(["prod".to_owned(), format!("n{number}")]);
        let mut sets = TagSets::default();
        let kept = sets.share(set(0));
        assert!(Arc::ptr_eq(&kept, &sets.share(set(0))));
        for number in 1..1000 {
            sets.share(set(number));
        }
        assert!(sets.sets.len() < 200, "{} sets are kept, one is used", sets.sets.len());
        assert!(Arc::ptr_eq(&kept, &sets.share(set(0))));
    }
}
