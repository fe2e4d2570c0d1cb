//! An SR on a thin pool of LVM, on the host's second disk: a guest on it, and what every SR promises.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use xenith_lab::agent::put_program;
use xenith_lab_scenario::{Guest, SLACK, Stage};
use xenith_orchestrator_api::{backup_job, repository, snapshot, sr, vdi, vm};

use crate::MINUTE;
use crate::life::{ensure_stopped, same_domain};

const DISK: &str = "/dev/vdb";
const PROGRAM: &str = "/root/lvm_thin_check";
/// Some six hundred commands of LVM, of a second each under emulation.
const LIMIT: Duration = Duration::from_secs(40 * 60);

/// Of a step that failed, or of an earlier test on this host. No lab host has anything else in LVM.
async fn empty_the_disk(stage: &Stage) -> Result<()> {
    let command = format!(
        "for group in $(vgs --noheadings -o vg_name); do vgremove --yes $group; done
        wipefs --quiet --all {DISK}"
    );
    stage.dom0(&command).await.map(drop)
}

/// A running guest is snapshotted, its disk grows, it is backed up by its changes, and goes back; nothing is left.
pub async fn life(stage: &Stage, guest: &Guest) -> Result<()> {
    // One guest at a time leaves the emulated CPU to it.
    ensure_stopped(stage, &crate::PVH).await?;
    empty_the_disk(stage).await?;
    let spec = json!({ "kind": "lvm-thin", "disks": [DISK] });
    let create = json!({ "name": "thin", "host": "xen-lab", "spec": spec });
    stage.orchestrator.done::<sr::Create>(create, 5 * MINUTE).await?;
    let disk = json!({ "name": guest.name, "size": 64 << 20, "sr": "thin", "host": "xen-lab" });
    stage.orchestrator.done::<vdi::Create>(disk, MINUTE).await?;
    let mut create = guest.create();
    create["disks"] = json!([{ "vdi": guest.name }]);
    stage.orchestrator.done::<vm::Create>(create, MINUTE).await?;
    stage.orchestrator.done::<vm::Start>(json!({ "vm": guest.name }), 3 * MINUTE).await?;
    let before = stage.running(guest).await?;
    stage.order(&before, "write-pattern 31 8").await?;
    let of = json!({ "snapshot": "before", "vm": guest.name });
    let take = json!({ "vm": guest.name, "name": "before" });
    stage.orchestrator.done::<snapshot::Create>(take, 5 * MINUTE).await?;
    let made = stage.orchestrator.call::<snapshot::Get>(of.clone()).await?;
    let paused = made.paused_ms.context("how long it stood")?;
    // Emulated, one command of LVM takes a second: no limit would say anything of a real host.
    eprintln!("    the guest stood for {paused} ms");
    grow(stage, guest).await?;
    back_up(stage, guest).await?;
    ensure!(same_domain(&before, &stage.running(guest).await?), "the guest was restarted");
    ensure_stopped(stage, guest).await?;
    stage.orchestrator.done::<snapshot::Revert>(of.clone(), 5 * MINUTE).await?;
    stage.orchestrator.done::<vm::Start>(json!({ "vm": guest.name }), 3 * MINUTE).await?;
    let back = stage.running(guest).await?;
    stage.order(&back, "check-pattern 31 8").await?;
    stage.orchestrator.done::<snapshot::Delete>(of, 3 * MINUTE).await?;
    crate::backups::delete(stage, guest).await?;
    leave_nothing(stage).await
}

/// While the guest runs, whose back end sees it with the next request.
async fn grow(stage: &Stage, guest: &Guest) -> Result<()> {
    let running = stage.running(guest).await?;
    let size = 96 << 20;
    stage.orchestrator.done::<vdi::Resize>(json!({ "vdi": guest.name, "size": size }), 2 * MINUTE).await?;
    stage.order(&running, "write-pattern 32 1").await?;
    crate::storage::tells_size(stage, &running, ("51712", size)).await
}

/// The second backup reads what changed and no more.
async fn back_up(stage: &Stage, guest: &Guest) -> Result<()> {
    let running = stage.running(guest).await?;
    let place = json!({ "kind": "folder", "path": "/var/lib/xenith/thin-backups" });
    let create = json!({ "name": "thin", "place": place });
    stage.orchestrator.done::<repository::Create>(create, 2 * MINUTE).await?;
    let job = json!({ "name": "thin", "filter": format!("name:{}", guest.name), "repositories": ["thin"] });
    stage.orchestrator.call::<backup_job::Create>(job).await?;
    let first = crate::backups::run(stage, "thin").await?;
    stage.order(&running, "write-pattern 33 1").await?;
    let second = crate::backups::run(stage, "thin").await?;
    let (first, second) = (&first.vms[0], &second.vms[0]);
    ensure!(second.new_bytes < first.new_bytes, "{second:?}");
    ensure!(second.read < second.size / 4 && second.whole_because.is_empty(), "{second:?}");
    Ok(())
}

async fn leave_nothing(stage: &Stage) -> Result<()> {
    let left = stage.dom0("lvs --noheadings -o lv_name").await?;
    ensure!(left.trim() == "pool", "left in the pool: {left}");
    let held = stage.dom0("dmsetup status --target thin-pool | grep -v -- ' - rw ' | wc -l").await?;
    ensure!(held.trim() == "0", "a copy of the pool's metadata is still held, or it takes no writes");
    let on = json!({ "sr": "thin", "host": "xen-lab" });
    stage.orchestrator.done::<sr::Detach>(on, 2 * MINUTE).await?;
    stage.orchestrator.call::<sr::Forget>(json!({ "sr": "thin" })).await?;
    empty_the_disk(stage).await
}

/// The suite that every driver passes, as a program of its own.
pub async fn promises(stage: &Stage, program: &Path) -> Result<()> {
    empty_the_disk(stage).await?;
    put_program(&stage.shell, program, PROGRAM).await?;
    let said = stage.shell.run(&format!("{PROGRAM} {DISK} 2>&1"), LIMIT * SLACK).await?;
    eprint!("{said}");
    ensure!(said.contains("is empty again"), "it did not come to its end");
    Ok(())
}
