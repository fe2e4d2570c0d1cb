//! The same on a thin pool of LVM, on a disk that is empty before and after.

use std::time::Instant;

use xenith_common_ids::{SrId, VdiId};
use xenith_hypervisor_agent_storage::StorageDriver;
use xenith_hypervisor_agent_storage::lvm_thin::{LvmThinDriver, Machine, Pool};
use xenith_hypervisor_agent_types::{SnapshotOf, VdiSize};

use crate::verdict::Verdict;
use crate::{DISKS, LARGE, MOST, TURNS};

/// A thin pool gives a block of 64 KiB for each.
const PIECES: u64 = 1_000;

pub fn measure(disk: &str, verdict: &mut Verdict) {
    let (machine, sr, disks) = (Machine::host(), SrId::new(), [disk.to_owned()]);
    let pool = Pool::of(sr);
    LvmThinDriver::make(&machine, sr, &pool, &disks).unwrap();
    let driver = LvmThinDriver::attach(machine.clone(), sr, pool.clone()).unwrap();
    let vdis: Vec<VdiId> = (0..DISKS).map(|_| large_vdi(&driver)).collect();
    let mut clones = Vec::new();
    for _ in 0..TURNS {
        let began = Instant::now();
        driver.clone_vdi(vdis[0], VdiId::new()).unwrap();
        clones.push(began.elapsed());
    }
    verdict.times("clone of 100 GiB, lvm-thin", &clones, MOST);
    let mut pauses = Vec::new();
    for _ in 0..TURNS {
        let of: Vec<_> = vdis.iter().map(|&vdi| SnapshotOf { vdi, snapshot: VdiId::new() }).collect();
        let mut pending = driver.prepare_snapshot(&of).unwrap();
        let began = Instant::now();
        pending.take(None).unwrap();
        pauses.push(began.elapsed());
        pending.commit().unwrap();
    }
    verdict.times("what a VM with 4 disks of 100 GiB stands for in a snapshot, lvm-thin", &pauses, MOST);
    for facts in driver.list().unwrap().vdis {
        driver.delete(facts.vdi).unwrap();
    }
    LvmThinDriver::unmake(&machine, sr, &pool, &disks).unwrap();
}

fn large_vdi(driver: &LvmThinDriver) -> VdiId {
    let vdi = VdiId::new();
    driver.ensure(vdi, VdiSize::from_bytes(LARGE).unwrap()).unwrap();
    let sink = driver.open_sink(vdi).unwrap();
    for piece in 0..PIECES {
        sink.write_at(piece * (LARGE / PIECES / 4096 * 4096), &[1; 4096]).unwrap();
    }
    sink.flush().unwrap();
    vdi
}
