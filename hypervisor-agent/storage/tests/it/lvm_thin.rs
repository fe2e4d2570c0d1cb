//! The driver of thin pools over a model of LVM: how an SR is made, and what a crash between any two commands leaves.

use std::sync::Arc;

use xenith_common_block::ByteRange;
use xenith_common_ids::{SrId, VdiId};
use xenith_hypervisor_agent_storage::lvm_thin::{LvmThinDriver, Pool};
use xenith_hypervisor_agent_storage::{StorageDriver, StorageError};
use xenith_hypervisor_agent_types::{Fault, FaultReason, SnapshotOf, VdiSize};

use crate::lvm_model::Model;

fn size(mib: u64) -> VdiSize {
    VdiSize::from_bytes(mib << 20).unwrap()
}

fn disks() -> Vec<String> {
    vec!["/dev/vdb".to_owned(), "/dev/vdc".to_owned()]
}

/// An SR, made and attached.
pub struct Sr {
    pub model: Arc<Model>,
    pub driver: LvmThinDriver,
    id: SrId,
    _folder: tempfile::TempDir,
}

impl Sr {
    pub fn new() -> Self {
        let (folder, id) = (tempfile::tempdir().unwrap(), SrId::new());
        let model = Model::new(folder.path());
        LvmThinDriver::make(&model.machine(), id, &Pool::of(id), &disks()).unwrap();
        let driver = LvmThinDriver::attach(model.machine(), id, Pool::of(id)).unwrap();
        Self { model, driver, id, _folder: folder }
    }

    /// A new agent, after the old one was killed.
    fn revive(&mut self) {
        self.model.live();
        self.driver = LvmThinDriver::attach(self.model.machine(), self.id, Pool::of(self.id)).unwrap();
    }

    fn fill(&self, vdi: VdiId, byte: u8) {
        let sink = self.driver.open_sink(vdi).unwrap();
        sink.write_at(0, &[byte; 4096]).unwrap();
    }

    /// The first byte, and the size in MiB; `None`: it is not there.
    fn look(&self, vdi: VdiId) -> Option<(u8, u64)> {
        let source = match self.driver.open_source(vdi) {
            Ok(source) => source,
            Err(StorageError::NotFound { .. }) => return None,
            Err(error) => panic!("{error}"),
        };
        let mut byte = [0xEE; 4096];
        source.read_at(0, &mut byte).unwrap();
        Some((byte[0], source.size() >> 20))
    }

    fn snapshot(&self, disks: &[SnapshotOf]) -> Result<(), StorageError> {
        let mut pending = self.driver.prepare_snapshot(disks)?;
        pending.take(None)?;
        pending.commit().map(drop)
    }
}

#[test]
fn an_sr_is_made_attached_and_taken_away() {
    let (folder, id) = (tempfile::tempdir().unwrap(), SrId::new());
    let model = Model::new(folder.path());
    let (machine, pool) = (model.machine(), Pool::of(id));
    let attach = |id| LvmThinDriver::attach(machine.clone(), id, pool.clone());
    let gone = attach(id).unwrap_err().to_string();
    assert!(gone.contains("are its disks there?"), "{gone}");
    model.use_disk("/dev/vdc");
    let used = LvmThinDriver::make(&machine, id, &pool, &disks()).unwrap_err().to_string();
    assert!(used.contains("signature detected") && used.contains("wipefs"), "{used}");
    let one = [disks()[0].clone()];
    // Killed at any moment, and made again.
    for changes in 0..3 {
        model.die_after(changes);
        let made = LvmThinDriver::make(&machine, id, &pool, &one);
        assert_eq!(made.is_ok(), changes >= 1 && model.names().len() == 1, "{changes}: {made:?}");
        model.live();
    }
    assert_eq!(model.names(), ["pool"]);
    LvmThinDriver::make(&machine, id, &pool, &one).unwrap();
    let other = SrId::new();
    for refused in [attach(other).map(drop), LvmThinDriver::make(&machine, other, &pool, &[])] {
        assert!(refused.unwrap_err().to_string().contains(&id.to_string()));
    }
    let driver = attach(id).unwrap();
    assert_eq!(std::fs::read(folder.path().join("dm_thin_pool/parameters/no_space_timeout")).unwrap(), b"0");
    let (free, total) = driver.room().unwrap();
    assert!(free > 0 && free <= total);
    driver.ensure(VdiId::new(), size(4)).unwrap();
    // Somebody's volumes are in it: only the mark goes.
    LvmThinDriver::unmake(&machine, id, &pool, &one).unwrap();
    assert!(attach(id).is_err() && model.names().len() == 2);
    let lost = driver.facts(VdiId::new()).unwrap_err();
    assert!(matches!(lost, StorageError::Unsupported(_)), "it is an SR no more: {lost}");
}

#[test]
fn an_sr_that_was_made_for_nothing_leaves_its_disks_as_they_were() {
    let mut sr = Sr::new();
    for changes in 0..4 {
        sr.model.die_after(changes);
        let _killed = LvmThinDriver::unmake(&sr.model.machine(), sr.id, &Pool::of(sr.id), &disks());
        sr.model.live();
    }
    assert_eq!((sr.model.names().len(), sr.model.disks().len()), (0, 0));
    LvmThinDriver::make(&sr.model.machine(), sr.id, &Pool::of(sr.id), &disks()).unwrap();
    sr.revive();
    assert!(sr.driver.list().unwrap().vdis.is_empty());
}

#[test]
fn a_task_is_told_that_the_pool_is_full_before_its_writes_wait() {
    let sr = Sr::new();
    // 128 MiB.
    sr.model.resize_pool(2048);
    let (vdi, other) = (VdiId::new(), VdiId::new());
    sr.driver.ensure(vdi, size(1024)).unwrap();
    let sink = sr.driver.open_sink(vdi).unwrap();
    let written = (0..128).find_map(|mib| sink.write_at(mib << 20, &[7; 1 << 20]).err()).unwrap();
    let fault = Fault::from(StorageError::from(written));
    assert_eq!(fault.reason, FaultReason::StorageFull, "{fault}");
    let left = sr.driver.room().unwrap().0;
    assert!(left > 32 << 20, "{left} bytes are left for guests");
    // What there is can be read, snapshotted and deleted, by which there is room again.
    assert_eq!(sr.look(vdi), Some((7, 1024)));
    sr.snapshot(&[SnapshotOf { vdi, snapshot: other }]).unwrap();
    sr.driver.delete(vdi).unwrap();
    sr.driver.delete(other).unwrap();
    assert_eq!(sr.driver.room().unwrap().0, 128 << 20);
}

#[test]
fn zeroing_leaves_holes_as_they_are() {
    let sr = Sr::new();
    let vdi = VdiId::new();
    sr.driver.ensure(vdi, size(1 << 20)).unwrap();
    let sink = sr.driver.open_sink(vdi).unwrap();
    for mib in [0, 3, 500_000] {
        sink.write_at(mib << 20, &[7; 4096]).unwrap();
    }
    // A TiB, of which little is there.
    sink.zero(ByteRange::new(1 << 20, 1 << 40)).unwrap();
    sink.zero(ByteRange::new(512, 8 << 20)).unwrap();
    let mut bytes = [9; 8192];
    for (mib, first) in [(0, 7), (3, 0), (500_000, 0)] {
        sr.driver.open_source(vdi).unwrap().read_at(mib << 20, &mut bytes).unwrap();
        assert!(bytes[0] == first && bytes[512..].iter().all(|&byte| byte == 0), "{mib}");
    }
    assert!(sink.zero(ByteRange::new(0, (1 << 40) + 512)).is_err());
    assert!(sr.driver.facts(vdi).unwrap().physical < 1 << 20);
}

/// What a case works on: a VDI with twos that was snapshotted with ones in it, another VDI, and ids for new ones.
struct Ids {
    vdi: VdiId,
    other: VdiId,
    snapshot: VdiId,
    new: VdiId,
    second: VdiId,
}

type Operation = fn(&Sr, &Ids) -> Result<(), StorageError>;

fn reverted(sr: &Sr, ids: &Ids) -> bool {
    sr.look(ids.vdi) == Some((1, 4))
}

/// Name, operation, whether it has been done. Until then the VDI is as it was, whatever else.
const OPERATIONS: &[(&str, Operation, fn(&Sr, &Ids) -> bool)] = &[
    (
        "ensure",
        |sr, ids| sr.driver.ensure(ids.new, size(2)).map(drop),
        |sr, ids| sr.look(ids.new) == Some((0, 2)),
    ),
    ("delete", |sr, ids| sr.driver.delete(ids.vdi), |sr, ids| sr.look(ids.vdi).is_none()),
    (
        "grow",
        |sr, ids| sr.driver.grow(ids.vdi, size(6)).map(drop),
        |sr, ids| sr.look(ids.vdi) == Some((2, 6)),
    ),
    (
        "clone",
        |sr, ids| sr.driver.clone_vdi(ids.vdi, ids.new).map(drop),
        |sr, ids| sr.look(ids.new) == Some((2, 5)),
    ),
    (
        "rename",
        |sr, ids| match sr.driver.rename(ids.vdi, ids.new) {
            // It was done before.
            Err(StorageError::NotFound { .. }) => Ok(()),
            result => result.map(drop),
        },
        |sr, ids| sr.look(ids.new) == Some((2, 5)) && sr.look(ids.vdi).is_none(),
    ),
    ("revert", |sr, ids| sr.driver.revert(ids.vdi, ids.snapshot).map(drop), reverted),
    (
        "snapshot",
        |sr, ids| {
            sr.snapshot(&[
                SnapshotOf { vdi: ids.vdi, snapshot: ids.new },
                SnapshotOf { vdi: ids.other, snapshot: ids.second },
            ])
        },
        |sr, ids| sr.look(ids.new) == Some((2, 5)) && sr.look(ids.second) == Some((3, 4)),
    ),
];

#[test]
fn a_kill_between_any_two_commands_loses_nothing_and_leaves_nothing() {
    for (name, operation, is_done) in OPERATIONS {
        for changes in 0.. {
            let mut sr = Sr::new();
            let [vdi, other, snapshot, new, second] = [(); 5].map(|()| VdiId::new());
            let ids = Ids { vdi, other, snapshot, new, second };
            sr.driver.ensure(vdi, size(4)).unwrap();
            sr.driver.ensure(other, size(4)).unwrap();
            sr.fill(vdi, 1);
            sr.fill(other, 3);
            sr.snapshot(&[SnapshotOf { vdi, snapshot }]).unwrap();
            sr.fill(vdi, 2);
            sr.driver.grow(vdi, size(5)).unwrap();
            sr.model.die_after(changes);
            let lived = operation(&sr, &ids).is_ok();
            sr.revive();
            let listing = sr.driver.list().unwrap();
            let case = format!("{name}, killed after {changes} changes");
            assert!(listing.left_overs.is_empty() && listing.damaged.is_empty(), "{case}: {listing:?}");
            assert_eq!((sr.look(other), sr.look(snapshot)), (Some((3, 4)), Some((1, 4))), "{case}");
            assert!(is_done(&sr, &ids) || sr.look(vdi) == Some((2, 5)), "{case}: {:?}", sr.look(vdi));
            assert!(!lived || is_done(&sr, &ids), "{case}: it said that it was done");
            operation(&sr, &ids).unwrap();
            assert!(is_done(&sr, &ids), "{case}: not done when it was repeated");
            if lived {
                assert!(changes > 0, "{name} changes nothing");
                break;
            }
        }
    }
}
