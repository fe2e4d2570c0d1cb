//! What changed since a snapshot: the base of every incremental backup.

use xenith_common_block::{BaseId, ByteRange, ChangedRanges};
use xenith_common_ids::VdiId;

use super::{MIB, Scene, size};
use crate::Sharing;

const DISK_MIB: u64 = 12;
const ROUNDS: usize = 7;

/// Random writes, holes, growth, reverts and snapshots: whatever differs between two snapshots is told.
pub fn never_too_few(scene: &Scene) {
    for seed in 0..scene.rounds {
        let mut random = fastrand::Rng::with_seed(seed);
        let vdi = scene.disk(DISK_MIB);
        let mut mib = DISK_MIB;
        let mut taken: Vec<(VdiId, Vec<u8>)> = Vec::new();
        for _ in 0..ROUNDS {
            for _ in 0..random.usize(0..12) {
                change(scene, vdi, mib, &mut random);
            }
            if random.u8(0..4) == 0 {
                mib += 1;
                scene.driver.grow(vdi, size(mib)).expect("grow");
            }
            if random.u8(0..5) == 0
                && let Some((snapshot, bytes)) = taken.get(random.usize(0..taken.len().max(1)))
            {
                scene.driver.revert(vdi, *snapshot).expect("revert");
                mib = bytes.len() as u64 / MIB;
            }
            let snapshot = scene.snapshot_one(vdi);
            taken.push((snapshot, scene.whole(snapshot)));
        }
        for (base, base_bytes) in &taken {
            for (snapshot, bytes) in &taken {
                check(scene, (*snapshot, bytes), (*base, base_bytes), seed);
            }
        }
        for (snapshot, _) in taken {
            scene.driver.delete(snapshot).expect("delete");
        }
        scene.driver.delete(vdi).expect("delete");
    }
}

fn change(scene: &Scene, vdi: VdiId, mib: u64, random: &mut fastrand::Rng) {
    let sink = scene.driver.open_sink(vdi).expect("a sink");
    let len = 512 * random.u64(1..300);
    let offset = 512 * random.u64(0..(mib * MIB - len) / 512);
    if random.u8(0..5) == 0 {
        sink.zero(ByteRange::with_len(offset, len)).expect("zero");
    } else {
        let data = vec![random.u8(..); usize::try_from(len).expect("small")];
        sink.write_at(offset, &data).expect("write");
    }
    sink.flush().expect("flush");
}

fn check(scene: &Scene, (snapshot, bytes): (VdiId, &[u8]), (base, base_bytes): (VdiId, &[u8]), seed: u64) {
    let changed = scene.source(snapshot).changed_since(&BaseId(base.to_string())).expect("changes");
    let set = match changed {
        ChangedRanges::Known(set) => set,
        ChangedRanges::Unknown { reason } => {
            assert_eq!(scene.driver.sharing(), Sharing::FullCopy, "{reason}");
            assert!(!reason.is_empty());
            return;
        }
    };
    for (index, block) in bytes.chunks(512).enumerate() {
        let offset = index * 512;
        let before = base_bytes.get(offset..offset + 512);
        if before != Some(block) {
            assert!(set.contains(offset as u64), "seed {seed}: the change at {offset} is not told");
        }
    }
    if snapshot == base {
        assert!(set.is_empty(), "nothing changed since itself: {set:?}");
    }
}

pub fn unknown_base(scene: &Scene) {
    let vdi = scene.disk(4);
    let (first, second) = (scene.snapshot_one(vdi), scene.snapshot_one(vdi));
    scene.driver.delete(first).expect("delete");
    for base in [first.to_string(), vdi.to_string(), VdiId::new().to_string(), "yesterday".to_owned()] {
        let changed = scene.source(second).changed_since(&BaseId(base.clone())).expect("an answer");
        assert!(
            matches!(&changed, ChangedRanges::Unknown { reason } if !reason.is_empty()),
            "{base}: {changed:?}"
        );
    }
}
