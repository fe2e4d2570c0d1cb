//! Points in time.

use std::time::Instant;

use xenith_common_ids::VdiId;
use xenith_hypervisor_agent_types::SnapshotOf;

use super::{MIB, Scene, size};
use crate::{Sharing, StorageError};

pub fn stand_still(scene: &Scene) {
    let vdi = scene.disk(8);
    scene.write(vdi, 0, &[1; 65536]);
    let snapshot = scene.snapshot_one(vdi);
    scene.write(vdi, 4096, &[2; 4096]);
    scene.driver.grow(vdi, size(16)).expect("grow");
    assert_eq!(scene.read(snapshot, 0, 65536), [1; 65536]);
    assert_eq!(scene.source(snapshot).size(), 8 * MIB);
    assert_eq!(scene.read(vdi, 4096, 4096), [2; 4096]);
    assert!(matches!(scene.driver.open_sink(snapshot), Err(StorageError::IsSnapshot { .. })));
    assert!(matches!(scene.driver.grow(snapshot, size(16)), Err(StorageError::IsSnapshot { .. })));
    let of_it = [SnapshotOf { vdi: snapshot, snapshot: VdiId::new() }];
    assert!(matches!(scene.snapshot(&of_it), Err(StorageError::IsSnapshot { .. })));
    // A clone of it is a disk like any other.
    let clone = VdiId::new();
    scene.driver.clone_vdi(snapshot, clone).expect("clone");
    scene.write(clone, 0, &[4; 512]);
    assert_eq!(scene.read(snapshot, 0, 512), [1; 512]);
}

pub fn together(scene: &Scene) {
    let disks = [scene.disk(4), scene.disk(4), scene.disk(8)];
    for (index, vdi) in (1..).zip(disks) {
        scene.write(vdi, 0, &[index; 4096]);
    }
    let of = disks.map(|vdi| SnapshotOf { vdi, snapshot: VdiId::new() });
    let facts = scene.snapshot(&of).expect("a snapshot");
    for (index, (of, facts)) in (1..).zip(of.iter().zip(&facts)) {
        assert_eq!((facts.vdi, facts.snapshot_of), (of.snapshot, Some(of.vdi)));
        assert_eq!(scene.read(of.snapshot, 0, 4096), [index; 4096]);
    }
    // Again: done already, whatever the disks are by now.
    scene.write(disks[0], 0, &[99; 4096]);
    assert_eq!(scene.snapshot(&of).expect("a repeat"), facts);
    assert_eq!(scene.read(of[0].snapshot, 0, 4096), [1; 4096]);
    // One of the set is gone, as after a crash in the middle: all are taken anew, at one instant.
    scene.driver.delete(of[1].snapshot).expect("delete");
    scene.snapshot(&of).expect("all anew");
    assert_eq!(scene.read(of[0].snapshot, 0, 4096), [99; 4096]);
    // An id that is something else is never touched.
    let taken = [SnapshotOf { vdi: disks[1], snapshot: of[0].snapshot }];
    assert!(matches!(scene.snapshot(&taken), Err(StorageError::Exists { .. })));
    let missing = [of[0], SnapshotOf { vdi: VdiId::new(), snapshot: VdiId::new() }];
    scene.driver.delete(of[0].snapshot).expect("delete");
    assert!(matches!(scene.snapshot(&missing), Err(StorageError::NotFound { .. })));
    assert!(!scene.present(of[0].snapshot), "none without the other");
}

pub fn given_up(scene: &Scene) {
    let vdi = scene.disk(4);
    scene.write(vdi, 0, &[1; 65536]);
    let of = [SnapshotOf { vdi, snapshot: VdiId::new() }];
    drop(scene.driver.prepare_snapshot(&of).expect("prepare"));
    let mut pending = scene.driver.prepare_snapshot(&of).expect("prepare");
    let taken = pending.take(Some(Instant::now()));
    if scene.driver.sharing() == Sharing::FullCopy {
        assert!(matches!(taken, Err(StorageError::TooSlow { .. })), "{taken:?}");
    }
    drop(pending);
    let listing = scene.driver.list().expect("a list");
    assert_eq!((listing.vdis.len(), listing.left_overs.len()), (1, 0), "{listing:?}");
}

pub fn any_order(scene: &Scene) {
    let vdi = scene.disk(4);
    let snapshots: Vec<VdiId> = (0..6u8)
        .map(|round| {
            scene.write(vdi, u64::from(round) * 65536, &[round + 1; 65536]);
            scene.snapshot_one(vdi)
        })
        .collect();
    let holds = |index: usize| {
        let bytes = scene.whole(snapshots[index]);
        (0..6).all(|round| {
            let expected = if round <= index { u8::try_from(round).expect("small") + 1 } else { 0 };
            bytes[round * 65536..(round + 1) * 65536].iter().all(|&byte| byte == expected)
        })
    };
    let mut left: Vec<usize> = (0..6).collect();
    for gone in [2, 0, 5, 3] {
        scene.driver.delete(snapshots[gone]).expect("delete");
        left.retain(|&index| index != gone);
        assert!(left.iter().all(|&index| holds(index)), "without {gone}");
    }
    scene.driver.delete(vdi).expect("delete");
    assert!(left.iter().all(|&index| holds(index)), "without the disk");
}

pub fn revert(scene: &Scene) {
    let vdi = scene.disk(4);
    scene.write(vdi, 0, &[1; 4096]);
    let early = scene.snapshot_one(vdi);
    scene.driver.grow(vdi, size(8)).expect("grow");
    scene.write(vdi, 0, &[2; 4096]);
    let late = scene.snapshot_one(vdi);
    for _ in 0..2 {
        assert_eq!(scene.driver.revert(vdi, early).expect("revert").size, size(4));
        assert_eq!(scene.read(vdi, 0, 4096), [1; 4096]);
    }
    scene.write(vdi, 0, &[3; 4096]);
    assert_eq!(scene.read(early, 0, 4096), [1; 4096]);
    assert_eq!(scene.driver.revert(vdi, late).expect("forward").size, size(8));
    assert_eq!(scene.read(vdi, 0, 4096), [2; 4096]);
    let not = scene.driver.revert(early, vdi);
    assert!(matches!(not, Err(StorageError::NotASnapshot { .. })), "{not:?}");
}
