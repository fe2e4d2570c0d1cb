//! The conformance suite of SRs on a thin pool of LVM: copy this program into dom0 and run it there as root.
//!
//! `lvm_thin_check <disk> [case…]`: the disk is empty, and is so again when every case is well; without cases all are run.
//! A promise that is broken ends it. `cargo xtask lab-test disks` does all of it.

use std::error::Error;
use std::time::{Duration, Instant};

use xenith_common_ids::{SrId, VdiId};
use xenith_hypervisor_agent_storage::StorageDriver;
use xenith_hypervisor_agent_storage::conformance::{CASES, Scene, run_one};
use xenith_hypervisor_agent_storage::lvm_thin::{LvmThinDriver, Machine, Pool};
use xenith_hypervisor_agent_types::VdiSize;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let disks = [words.next().ok_or("which disk?")?];
    let only: Vec<String> = words.collect();
    let (machine, sr) = (Machine::host(), SrId::new());
    let pool = Pool::of(sr);
    LvmThinDriver::make(&machine, sr, &pool, &disks)?;
    let driver = LvmThinDriver::attach(machine.clone(), sr, pool.clone())?;
    // Each round is some four hundred commands, and emulated a command takes a second.
    let scene = Scene { rounds: 1, ..Scene::new(driver.clone()) };
    let mut ran = 0;
    for (name, case) in CASES.iter().filter(|(name, _)| only.is_empty() || only.iter().any(|one| one == name))
    {
        let began = Instant::now();
        run_one(&scene, name, *case);
        println!("{name}: kept in {:.1} s", began.elapsed().as_secs_f64());
        ran += 1;
    }
    room_comes_back(&driver)?;
    clones_at_once(&driver)?;
    // Attached again, as after a start of the agent: nothing is lost.
    let vdi = VdiId::new();
    driver.ensure(vdi, VdiSize::from_bytes(4 << 20)?)?;
    let again = LvmThinDriver::attach(machine.clone(), sr, pool.clone())?;
    again.facts(vdi)?;
    again.delete(vdi)?;
    LvmThinDriver::unmake(&machine, sr, &pool, &disks)?;
    println!("{ran} cases kept; {} is empty again", disks[0]);
    Ok(())
}

/// What a deleted VDI had is free again, in the pool.
fn room_comes_back(driver: &LvmThinDriver) -> Result<(), Box<dyn Error>> {
    let before = driver.room()?.0;
    let vdi = VdiId::new();
    driver.ensure(vdi, VdiSize::from_bytes(64 << 20)?)?;
    let sink = driver.open_sink(vdi)?;
    for mib in 0..32 {
        sink.write_at(mib << 20, &vec![7; 1 << 20])?;
    }
    sink.flush()?;
    drop(sink);
    let (taken, facts) = (before.saturating_sub(driver.room()?.0), driver.facts(vdi)?);
    if taken < 32 << 20 || facts.physical != 32 << 20 {
        return Err(format!("32 MiB were written, and {taken} bytes are taken: {facts:?}").into());
    }
    driver.delete(vdi)?;
    let after = driver.room()?.0;
    if after < before {
        return Err(format!("{} bytes did not come back", before - after).into());
    }
    println!("32 MiB came back");
    Ok(())
}

/// However large a VDI is. Under emulation each command takes a second, so how long it takes is held against a small one.
fn clones_at_once(driver: &LvmThinDriver) -> Result<(), Box<dyn Error>> {
    let mut took = Vec::new();
    for size in [64 << 20, 100 << 30] {
        let (vdi, clone) = (VdiId::new(), VdiId::new());
        driver.ensure(vdi, VdiSize::from_bytes(size)?)?;
        driver.open_sink(vdi)?.write_at(0, &[7; 4096])?;
        let began = Instant::now();
        let facts = driver.clone_vdi(vdi, clone)?;
        took.push(began.elapsed());
        if facts.size.bytes() != size {
            return Err(format!("a clone of {size} bytes is another disk: {facts:?}").into());
        }
        driver.delete(clone)?;
        driver.delete(vdi)?;
    }
    let (small, large) = (took[0], took[1]);
    if large > small * 2 + Duration::from_secs(1) {
        return Err(format!("a clone of 100 GiB takes {large:?}, one of 64 MiB {small:?}").into());
    }
    println!(
        "a clone of 100 GiB takes {:.1} s, one of 64 MiB {:.1} s",
        large.as_secs_f64(),
        small.as_secs_f64()
    );
    Ok(())
}
