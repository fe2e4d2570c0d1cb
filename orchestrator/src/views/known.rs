//! What the read model keeps of a VM's record: what lists, placement and rights ask for, and nothing else. There are
//! hundreds of thousands of them; a whole record in memory is four times as large, and is a read of the store away.

use std::collections::{BTreeSet, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use time::OffsetDateTime;
use xenith_common_ids::{HostId, NetworkId, PoolId, SagaId, SnapshotId, VdiId, VmId};
use xenith_common_units::{MacAddr, MemoryMiB};
use xenith_hypervisor_agent_types::PlatformKind;

use crate::by_id::HasId;
use crate::model::VmRecord;

/// See the module's documentation.
#[derive(Debug)]
pub struct KnownVm {
    pub id: VmId,
    pub name: Box<str>,
    pub description: Box<str>,
    pub tags: Arc<BTreeSet<String>>,
    pub pool: PoolId,
    pub host: HostId,
    pub created: OffsetDateTime,
    pub kind: PlatformKind,
    pub vcpus: u32,
    pub memory: MemoryMiB,
    pub disks: Box<[VdiId]>,
    /// Of its NICs, in their order.
    pub networks: Arc<Vec<NetworkId>>,
    /// Of its NICs, in their order.
    pub macs: Box<[MacAddr]>,
    /// Most have none.
    pub company: Option<Box<Company>>,
    pub fixed: Option<Fixed>,
    seldom: Option<Box<Seldom>>,
}

impl HasId for KnownVm {
    type Id = VmId;

    fn id(&self) -> VmId {
        self.id
    }
}

/// What few VMs have at a time.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seldom {
    held_by: Option<SagaId>,
    standby_of: Option<VmId>,
    snapshot: Option<SnapshotId>,
    medium: Option<VdiId>,
}

impl Seldom {
    fn of(record: &VmRecord) -> Option<Box<Self>> {
        let seldom = Self {
            held_by: record.held_by,
            standby_of: record.standby_of,
            snapshot: record.snapshot,
            medium: record.spec.hardware.cd.and_then(|cd| cd.vdi),
        };
        (seldom != Self::default()).then(|| Box::new(seldom))
    }
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

/// Sets that many VMs have in common, each once: a fleet has a few dozen, however many VMs.
#[derive(Debug, Default)]
struct Shared<T> {
    sets: HashSet<Arc<T>>,
    /// How many there were when unused ones were dropped last.
    cleaned: usize,
}

impl<T: Eq + Hash> Shared<T> {
    fn share(&mut self, set: T) -> Arc<T> {
        if let Some(known) = self.sets.get(&set) {
            return Arc::clone(known);
        }
        if self.sets.len() >= 2 * self.cleaned.max(64) {
            self.sets.retain(|set| Arc::strong_count(set) > 1);
            self.cleaned = self.sets.len();
        }
        let new = Arc::new(set);
        self.sets.insert(Arc::clone(&new));
        new
    }
}

/// What VMs have in common.
#[derive(Debug, Default)]
pub(super) struct Shares {
    tags: Shared<BTreeSet<String>>,
    networks: Shared<Vec<NetworkId>>,
}

impl KnownVm {
    pub(super) fn new(id: VmId, record: VmRecord, shares: &mut Shares) -> Self {
        let (company, fixed, seldom) = (Company::of(&record), Fixed::of(&record), Seldom::of(&record));
        let spec = record.spec;
        Self {
            id,
            name: spec.name.to_string().into(),
            description: record.description.into(),
            tags: shares.tags.share(record.tags),
            pool: record.pool,
            host: record.host,
            created: record.created,
            kind: spec.platform.kind(),
            vcpus: spec.vcpus.online.get(),
            memory: spec.memory.target,
            disks: spec.disks.iter().map(|disk| disk.vdi).collect(),
            networks: shares.networks.share(spec.nics.iter().map(|nic| nic.network).collect()),
            macs: spec.nics.iter().map(|nic| nic.mac).collect(),
            company,
            fixed,
            seldom,
        }
    }

    /// The saga that works on it.
    #[must_use]
    pub fn held_by(&self) -> Option<SagaId> {
        self.seldom.as_ref()?.held_by
    }

    /// The VM that it stands by for.
    #[must_use]
    pub fn standby_of(&self) -> Option<VmId> {
        self.seldom.as_ref()?.standby_of
    }

    /// The snapshot that its disks go on from.
    #[must_use]
    pub fn snapshot(&self) -> Option<SnapshotId> {
        self.seldom.as_ref()?.snapshot
    }

    /// What is in its CD drive.
    #[must_use]
    pub fn medium(&self) -> Option<VdiId> {
        self.seldom.as_ref()?.medium
    }
}

#[cfg(test)]
mod tests {
    use xenith_hypervisor_agent_types::CdDrive;
    use xenith_hypervisor_agent_types::test_support::small;

    use super::*;

    /// With the counts of an `Arc` it fits into 192 bytes, which is a size that allocators have; the next one is 224.
    #[test]
    fn a_fleet_of_them_is_small() {
        let bytes = size_of::<KnownVm>();
        assert!(bytes <= 176, "{bytes} bytes; put what few VMs have into `Seldom`");
    }

    #[test]
    fn what_few_vms_have_takes_room_where_they_have_it() {
        let plain = VmRecord::new(small("web-1"), (PoolId::new(), HostId::new()));
        let known = |record: &VmRecord| KnownVm::new(VmId::new(), record.clone(), &mut Shares::default());
        let told = |known: &KnownVm| (known.held_by(), known.standby_of(), known.snapshot(), known.medium());
        assert_eq!(told(&known(&plain)), (None, None, None, None));
        assert!(known(&plain).seldom.is_none());
        let (saga, of, snapshot, iso) = (SagaId::new(), VmId::new(), SnapshotId::new(), VdiId::new());
        let mut busy =
            VmRecord { held_by: Some(saga), standby_of: Some(of), snapshot: Some(snapshot), ..plain };
        busy.spec.hardware.cd = Some(CdDrive { vdi: Some(iso) });
        assert_eq!(told(&known(&busy)), (Some(saga), Some(of), Some(snapshot), Some(iso)));
    }

    #[test]
    fn equal_sets_of_tags_are_one_and_unused_ones_go() {
        let set = |number: usize| BTreeSet::from(["prod".to_owned(), format!("n{number}")]);
        let mut sets = Shared::default();
        let kept = sets.share(set(0));
        assert!(Arc::ptr_eq(&kept, &sets.share(set(0))));
        for number in 1..1000 {
            sets.share(set(number));
        }
        assert!(sets.sets.len() < 200, "{} sets are kept, one is used", sets.sets.len());
        assert!(Arc::ptr_eq(&kept, &sets.share(set(0))));
    }
}
