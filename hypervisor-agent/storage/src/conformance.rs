//! What every driver promises, as tests. A driver's own tests call [`run`] with an empty SR.

mod changes;
mod life;
mod snapshots;

use std::sync::Arc;

use xenith_common_block::BlockSource;
use xenith_common_ids::VdiId;
use xenith_hypervisor_agent_types::{SnapshotOf, VdiFacts, VdiSize};

use crate::{Result, StorageDriver};

const MIB: u64 = 1 << 20;

/// An SR under test.
#[derive(Clone)]
pub struct Scene {
    pub driver: Arc<dyn StorageDriver>,
    /// Rounds of what is random, each of some four hundred calls.
    pub rounds: u64,
}

/// Every case, by name.
pub const CASES: &[(&str, fn(&Scene))] = &[
    ("ensuring and deleting may be repeated", life::repeats),
    ("what is not there is said to be not there", life::not_there),
    ("a disk grows and never shrinks", life::grows),
    ("what was written is read, the rest is zero", life::contents),
    ("everything is listed", life::listed),
    ("a disk made aside appears under its id", life::renamed),
    ("a clone and its source go their own ways", life::clones),
    ("a snapshot never changes", snapshots::stand_still),
    ("several disks are snapshotted together or not at all", snapshots::together),
    ("a snapshot that is given up leaves nothing", snapshots::given_up),
    ("snapshots are deleted in any order", snapshots::any_order),
    ("a disk goes back to a snapshot", snapshots::revert),
    ("changed ranges are never too few", changes::never_too_few),
    ("an unknown base is said to be unknown", changes::unknown_base),
];

/// Runs every case; the SR is empty after each.
pub fn run(scene: &Scene) {
    for (name, case) in CASES {
        run_one(scene, name, *case);
    }
}

pub fn run_one(scene: &Scene, name: &str, case: fn(&Scene)) {
    case(scene);
    for vdi in scene.driver.list().expect(name).vdis {
        scene.driver.delete(vdi.vdi).expect(name);
    }
    let rest = scene.driver.list().expect(name);
    assert!(rest.vdis.is_empty() && rest.left_overs.is_empty(), "{name} left {rest:?}");
}

impl Scene {
    /// With as many rounds as a machine that is not emulated does in a second or two.
    #[must_use]
    pub fn new(driver: impl StorageDriver) -> Self {
        Self { driver: Arc::new(driver), rounds: 4 }
    }

    fn disk(&self, mib: u64) -> VdiId {
        let vdi = VdiId::new();
        self.driver.ensure(vdi, size(mib)).expect("a new disk");
        vdi
    }

    fn write(&self, vdi: VdiId, offset: u64, data: &[u8]) {
        let sink = self.driver.open_sink(vdi).expect("a disk to write");
        sink.write_at(offset, data).expect("a write");
        sink.flush().expect("a flush");
    }

    fn read(&self, vdi: VdiId, offset: u64, len: usize) -> Vec<u8> {
        let mut buf = vec![0xEE; len];
        self.source(vdi).read_at(offset, &mut buf).expect("a read");
        buf
    }

    fn source(&self, vdi: VdiId) -> Box<dyn BlockSource> {
        self.driver.open_source(vdi).expect("a disk to read")
    }

    fn whole(&self, vdi: VdiId) -> Vec<u8> {
        let source = self.source(vdi);
        let mut bytes = vec![0; usize::try_from(source.size()).expect("a small disk")];
        source.read_at(0, &mut bytes).expect("a read");
        bytes
    }

    fn snapshot(&self, disks: &[SnapshotOf]) -> Result<Vec<VdiFacts>> {
        let mut pending = self.driver.prepare_snapshot(disks)?;
        pending.take(None)?;
        pending.commit()
    }

    fn snapshot_one(&self, vdi: VdiId) -> VdiId {
        let snapshot = VdiId::new();
        self.snapshot(&[SnapshotOf { vdi, snapshot }]).expect("a snapshot");
        snapshot
    }

    fn present(&self, vdi: VdiId) -> bool {
        self.driver.list().expect("a list").vdis.iter().any(|facts| facts.vdi == vdi)
    }
}

fn size(mib: u64) -> VdiSize {
    VdiSize::from_bytes(mib * MIB).expect("a size")
}
