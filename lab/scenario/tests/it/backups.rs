//! A running guest is backed up twice, destroyed, and boots from its backup at once, with its pattern right.

use anyhow::{Result, ensure};
use serde_json::json;
use xenith_lab_scenario::{Guest, Stage, until};
use xenith_orchestrator_api::{backup, backup_job, backup_run, repository, sr, vdi, vm};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::backup::{BackupRun, RunStatus};
use xenith_orchestrator_types::task::TaskStatus;

use crate::MINUTE;

/// In dom0: what the host backs up to is another question than whether it does.
const PLACE: &str = "/var/lib/xenith/backups";

/// Runs a job, which is of one VM.
pub async fn run(stage: &Stage, job: &str) -> Result<BackupRun> {
    let started = stage.orchestrator.call::<backup_job::Run>(json!({ "job": job })).await?;
    let run = until("the backup run is over", 6 * MINUTE, async || {
        let run = stage.orchestrator.call::<backup_run::Get>(json!({ "run": started.run })).await?;
        Ok(run.status.is_over().then_some(run))
    })
    .await?;
    ensure!(run.status == RunStatus::Done && run.vms.len() == 1, "{run:?}");
    let vm = &run.vms[0];
    eprintln!(
        "    {} KiB of {} KiB read, {} KiB new, {} KiB stored {:?}",
        vm.read >> 10,
        vm.size >> 10,
        vm.new_bytes >> 10,
        vm.stored >> 10,
        vm.whole_because
    );
    Ok(run)
}

/// An SR in an XFS: ext4, which dom0 has, cannot share blocks, and so cannot tell what changed.
async fn sharing_sr(stage: &Stage) -> Result<()> {
    let mount = "truncate -s 512M /srv/sharing.xfs && mkfs.xfs -q -m reflink=1 /srv/sharing.xfs
        mkdir -p /srv/sharing && mount -o loop /srv/sharing.xfs /srv/sharing";
    stage.dom0(mount).await?;
    let folder = json!({ "kind": "folder", "path": "/srv/sharing/sr" });
    let create = json!({ "name": "sharing", "host": "xen-lab", "spec": folder });
    stage.orchestrator.done::<sr::Create>(create, 2 * MINUTE).await.map(drop)
}

async fn start_on_sharing_sr(stage: &Stage, guest: &Guest) -> Result<()> {
    let disk = json!({ "name": guest.name, "size": 64 << 20, "sr": "sharing", "host": "xen-lab" });
    stage.orchestrator.done::<vdi::Create>(disk, MINUTE).await?;
    let mut create = guest.create();
    create["disks"] = json!([{ "vdi": guest.name }]);
    stage.orchestrator.done::<vm::Create>(create, MINUTE).await?;
    stage.orchestrator.done::<vm::Start>(json!({ "vm": guest.name }), 3 * MINUTE).await.map(drop)
}

pub async fn delete(stage: &Stage, guest: &Guest) -> Result<()> {
    stage.orchestrator.done::<vm::PowerOff>(json!({ "vm": guest.name }), 2 * MINUTE).await?;
    stage.orchestrator.done::<vm::Delete>(json!({ "vm": guest.name }), 2 * MINUTE).await?;
    let known = stage.orchestrator.refused::<vm::Get>(json!({ "vm": guest.name })).await?;
    ensure!(known == Reason::NotFound, "{known:?}");
    Ok(())
}

pub async fn back_up_destroy_restore(stage: &Stage, guest: &Guest) -> Result<()> {
    // One guest at a time leaves the emulated CPU to it.
    crate::life::ensure_stopped(stage, &crate::PVH).await?;
    sharing_sr(stage).await?;
    start_on_sharing_sr(stage, guest).await?;
    let place = json!({ "name": "lab", "place": { "kind": "folder", "path": PLACE } });
    stage.orchestrator.done::<repository::Create>(place, 2 * MINUTE).await?;
    let job = json!({ "name": "lab", "filter": format!("name:{}", guest.name), "repositories": ["lab"] });
    stage.orchestrator.call::<backup_job::Create>(job).await?;
    let before = stage.running(guest).await?;
    stage.order(&before, "write-pattern 11 8").await?;
    let first = run(stage, "lab").await?;
    stage.order(&before, "write-pattern 12 1").await?;
    let second = run(stage, "lab").await?;
    let (first, second) = (&first.vms[0], &second.vms[0]);
    ensure!(second.new_bytes < first.new_bytes, "{second:?}");
    ensure!(second.read < second.size / 4 && second.whole_because.is_empty(), "{second:?}");
    ensure!(stage.running(guest).await?.domid == before.domid, "the guest was restarted for its backup");

    delete(stage, guest).await?;
    boot_instantly(stage, guest).await?;
    let after = stage.running(guest).await?;
    ensure!(after.vm != before.vm, "it should be a new VM");
    let verify = json!({ "repository": "lab", "deep": true });
    stage.orchestrator.done::<repository::Verify>(verify, 5 * MINUTE).await?;
    delete(stage, guest).await
}

/// Slower than the guest boots and its agent dies and comes back, on a slow machine too: it has to read from the repository.
/// Eight MiB were written: at this rate they take four minutes.
const BEHIND: u64 = 32 << 10;

/// The guest runs from its backup, with its pattern right, before its disk is there; the agent dies meanwhile.
async fn boot_instantly(stage: &Stage, guest: &Guest) -> Result<()> {
    let restore = json!({
        "backup": format!("{}@latest", guest.name),
        "target": { "kind": "new_vm", "name": guest.name },
        "instant": true,
        "bandwidth": BEHIND,
    });
    let began = std::time::Instant::now();
    let task = stage.orchestrator.call::<backup::Restore>(restore).await?.task;
    until("the VM is there", 2 * MINUTE, async || Ok(stage.vm(guest.name).await.ok())).await?;
    let booted = stage.running(guest).await?;
    eprintln!("    it runs after {:.0} s", began.elapsed().as_secs_f64());
    let disks = stage.dom0("ls -d /sys/block/nbd*/pid").await?;
    ensure!(disks.lines().count() == 1, "{disks}");
    stage.order(&booted, "check-pattern 12 1").await?;
    stage.order(&booted, "write-pattern 13 1").await?;
    let since = crate::faults::now(stage).await?;
    stage.dom0("kill -9 $(systemctl show -p MainPID --value xenith-agent)").await?;
    crate::faults::agent_is_back(stage, &since).await?;
    let after = stage.running(guest).await?;
    ensure!(after.domid == booted.domid, "{booted:?} became {after:?}");
    stage.order(&after, "check-pattern 13 1").await?;
    let unfinished = stage.dom0("ls -d /sys/block/nbd*/pid").await?;
    ensure!(unfinished == disks, "{unfinished}");
    let over = stage.orchestrator.over(task, 6 * MINUTE).await?;
    ensure!(over.status == TaskStatus::Done, "{over:?}");
    eprintln!("    its disk is there after {:.0} s", began.elapsed().as_secs_f64());
    stage.order(&after, "check-pattern 13 1").await?;
    // From its next start on it has a disk as any other, and nothing is left of the server.
    stage.orchestrator.done::<vm::PowerOff>(json!({ "vm": guest.name }), 2 * MINUTE).await?;
    stage.orchestrator.done::<vm::Start>(json!({ "vm": guest.name }), 3 * MINUTE).await?;
    let plain = stage.running(guest).await?;
    stage.order(&plain, "check-pattern 13 1").await?;
    stage.dom0("! ls -d /sys/block/nbd*/pid && ! pgrep -f serve[-]disk").await.map(drop)
}
