//! What dies under a VM, and what becomes of the VM.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::json;
use xenith_hypervisor_agent_types::{DeathReason, ObservedVm, Power};
use xenith_lab_scenario::{Guest, SLACK, Stage, told, until};
use xenith_orchestrator_api::vm;
use xenith_orchestrator_types::host::HostStatus;
use xenith_orchestrator_types::task::{Task, TaskStarted, TaskStatus};

use crate::MINUTE;
use crate::life::{ensure_running, ensure_stopped, same_domain};

const KILL: &str = "kill -9 $agent";
/// What is promised: a host that is gone is known to be unknown within this.
const UNKNOWN_WITHIN: Duration = Duration::from_secs(15);

/// Waits in dom0 until the agent begins `activity`, then does `then` at once: from outside, over SSH, the moment
/// would be gone. The journal is read from `since`, so that it does not matter which of the two comes first.
fn trap(activity: &str, since: &str, then: &str) -> String {
    format!(
        "agent=$(systemctl show -p MainPID --value xenith-agent)
         exec 3< <(exec timeout 300 journalctl -f -o cat -u xenith-agent --since @{since})
         while read -r line <&3; do
             case $line in *' begin '*'activity={activity}'*) {then}; exit 0;; esac
         done
         echo 'the agent never began {activity}' >&2; exit 1"
    )
}

/// Calls, and kills the agent in dom0 as soon as it is at work on it. Returns the task when it is over.
pub async fn kill_agent_in(
    stage: &Stage,
    activity: &str,
    call: impl Future<Output = Result<TaskStarted>>,
) -> Result<Task> {
    let since = now(stage).await?;
    let script = trap(activity, &since, KILL);
    let (trapped, started) = tokio::join!(stage.dom0(&script), call);
    trapped?;
    let task = stage.orchestrator.over(started?.task, 4 * MINUTE).await?;
    eprintln!("    {}", told(&task));
    ensure!(matches!(task.status, TaskStatus::Done | TaskStatus::RolledBack), "{}", told(&task));
    agent_is_back(stage, &since).await?;
    Ok(task)
}

/// dom0's clock, a second ago: journald's time of a line may be rounded.
pub async fn now(stage: &Stage) -> Result<String> {
    Ok(stage.dom0("sleep 1; date +%s.%N").await?.trim().to_owned())
}

pub async fn agent_is_back(stage: &Stage, since: &str) -> Result<()> {
    let script = format!("journalctl -o cat -u xenith-agent --since @{since} | grep -c 'the agent serves'");
    until("the agent is back", MINUTE, async || {
        let output = stage.shell.exec(&script, MINUTE * SLACK).await?;
        Ok(output.success().then_some(()))
    })
    .await?;
    stage.host_is(HostStatus::Connected, MINUTE).await.map(drop)
}

pub async fn agent_at_rest(stage: &Stage, guest: &Guest) -> Result<()> {
    let before = ensure_running(stage, guest).await?;
    let boot = stage.boot_id(&before).await?;
    let since = now(stage).await?;
    stage.dom0("kill -9 $(systemctl show -p MainPID --value xenith-agent)").await?;
    agent_is_back(stage, &since).await?;
    let adopted =
        format!("journalctl -o cat -u xenith-agent --since @{since} | grep 'adopted.*{}'", guest.name);
    stage.dom0(&adopted).await?;
    let after = stage.running(guest).await?;
    ensure!(same_domain(&before, &after), "{before:?} became {after:?}");
    ensure!(stage.boot_id(&after).await? == boot, "the guest has booted anew");
    Ok(())
}

/// The resume that follows is disturbed by nobody.
pub async fn agent_in_suspend(stage: &Stage, guest: &Guest) -> Result<()> {
    let before = ensure_running(stage, guest).await?;
    let boot = stage.boot_id(&before).await?;
    let call = stage.orchestrator.call::<vm::Suspend>(json!({ "vm": guest.name }));
    let task = kill_agent_in(stage, "Suspending", call).await?;
    // Suspended, or running on as if nothing had been: both are right, half of each is not.
    if task.status == TaskStatus::Done {
        stage.observed(guest.name, "is suspended", |seen| seen.power == Power::Suspended).await?;
        ensure!(stage.domains(guest.name).await?.is_empty(), "the domain is still there");
    } else {
        let after = stage.running(guest).await?;
        ensure!(same_domain(&before, &after), "{before:?} became {after:?}");
    }
    let after = ensure_running(stage, guest).await?;
    ensure!(stage.boot_id(&after).await? == boot, "the guest has booted anew: its memory is lost");
    stage.order(&after, "check-pattern 7 1").await.map(drop)
}

/// The same run of the VM goes on, whatever became of what was asked for.
async fn runs_on(stage: &Stage, guest: &Guest, (before, boot): (&ObservedVm, &str)) -> Result<ObservedVm> {
    let after = ensure_running(stage, guest).await?;
    ensure!(same_domain(before, &after), "{before:?} became {after:?}");
    ensure!(stage.boot_id(&after).await? == boot, "the guest has booted anew");
    stage.order(&after, "uptime").await?;
    Ok(after)
}

pub async fn agent_in_pause(stage: &Stage, guest: &Guest) -> Result<()> {
    let before = ensure_running(stage, guest).await?;
    let boot = stage.boot_id(&before).await?;
    let call = stage.orchestrator.call::<vm::Pause>(json!({ "vm": guest.name }));
    let task = kill_agent_in(stage, "Pausing", call).await?;
    let power = if task.status == TaskStatus::Done { Power::Paused } else { Power::Running };
    stage.observed(guest.name, "is as the task says", |seen| seen.power == power).await?;
    runs_on(stage, guest, (&before, &boot)).await.map(drop)
}

pub async fn agent_in_memory(stage: &Stage, guest: &Guest) -> Result<()> {
    let before = ensure_running(stage, guest).await?;
    let boot = stage.boot_id(&before).await?;
    // The step before it has taken some away; else this takes it.
    let (now, less) = (before.memory.mib(), guest.memory_mib - 48);
    let target = if now > less + 2 { less } else { guest.memory_mib };
    let update = json!({ "vm": guest.name, "memory": { "target": target, "max": guest.memory_mib } });
    let task = kill_agent_in(stage, "Applying", stage.orchestrator.call::<vm::Update>(update)).await?;
    let wanted = if task.status == TaskStatus::Done { target } else { now };
    let has = |seen: &ObservedVm| seen.memory.mib().abs_diff(wanted) <= 2;
    stage.observed(guest.name, "has the memory that the task says", has).await?;
    runs_on(stage, guest, (&before, &boot)).await.map(drop)
}

pub async fn agent_in_attach(stage: &Stage, guest: &Guest) -> Result<()> {
    let before = ensure_running(stage, guest).await?;
    let boot = stage.boot_id(&before).await?;
    let disks =
        async || Ok::<_, anyhow::Error>(stage.vm(guest.name).await?.spec.map_or(0, |spec| spec.disks.len()));
    let had = disks().await?;
    let disk = json!({ "vm": guest.name, "disk": { "size": 16 << 20 } });
    let task = kill_agent_in(stage, "Applying", stage.orchestrator.call::<vm::AttachDisk>(disk)).await?;
    let after = runs_on(stage, guest, (&before, &boot)).await?;
    let has = disks().await?;
    if task.status == TaskStatus::Done {
        ensure!(has == had + 1, "{had} disks became {has}");
        let device = char::from(b'a' + u8::try_from(had)?);
        stage.order(&after, &format!("write-pattern 5 1 xvd{device}")).await?;
        stage.order(&after, &format!("check-pattern 5 1 xvd{device}")).await.map(drop)
    } else {
        ensure!(has == had, "{had} disks became {has}, although nothing was done");
        Ok(())
    }
}

/// The suspend before it is disturbed by nobody.
pub async fn agent_in_resume(stage: &Stage, guest: &Guest) -> Result<()> {
    let before = ensure_running(stage, guest).await?;
    let boot = stage.boot_id(&before).await?;
    let vm = json!({ "vm": guest.name });
    stage.orchestrator.done::<vm::Suspend>(vm.clone(), 3 * MINUTE).await?;
    ensure!(stage.domains(guest.name).await?.is_empty(), "the domain is still there");
    let task = kill_agent_in(stage, "Resuming", stage.orchestrator.call::<vm::Resume>(vm)).await?;
    if task.status == TaskStatus::Done {
        // The agent that is back may be heard later than the task ended: until then the VM is said to be suspended.
        stage.running_anew(guest, &before).await?;
    } else {
        // Its memory is kept until it runs.
        stage.observed(guest.name, "is suspended", |seen| seen.power == Power::Suspended).await?;
    }
    let after = ensure_running(stage, guest).await?;
    ensure!(stage.domains(guest.name).await?.len() == 1, "it runs more than once");
    ensure!(after.domid != before.domid, "a new domain has a new id");
    ensure!(stage.boot_id(&after).await? == boot, "the guest has booted anew: its memory is lost");
    stage.order(&after, "check-pattern 7 1").await.map(drop)
}

/// The guest dies while nobody looks; who looks again says how.
pub async fn agent_gone_in_crash(stage: &Stage, guest: &Guest) -> Result<()> {
    let before = ensure_running(stage, guest).await?;
    let domid = before.domid.map_or(0, |domid| domid.0);
    let since = now(stage).await?;
    let script = format!(
        "systemctl kill -s KILL xenith-agent; xenstore-write /local/domain/{domid}/xenith/command '99 crash'"
    );
    stage.dom0(&script).await?;
    agent_is_back(stage, &since).await?;
    let after = stage.observed(guest.name, "is crashed", |seen| seen.power == Power::Crashed).await?;
    ensure!(after.last_death == Some(DeathReason::Crash), "{after:?}");
    ensure!(stage.domains(guest.name).await?.is_empty(), "the dead domain is still there");
    Ok(())
}

pub async fn agent_in_shutdown(stage: &Stage, guest: &Guest) -> Result<()> {
    ensure_running(stage, guest).await?;
    let call = stage.orchestrator.call::<vm::Shutdown>(json!({ "vm": guest.name }));
    let task = kill_agent_in(stage, "ShuttingDown", call).await?;
    // The guest was asked before the agent died, and it obeys without it.
    ensure!(task.status == TaskStatus::Done, "{}", told(&task));
    stage.observed(guest.name, "is stopped", |seen| seen.power == Power::Stopped).await?;
    ensure!(stage.domains(guest.name).await?.is_empty(), "the domain is still there");
    Ok(())
}

pub async fn agent_in_start(stage: &Stage, guest: &Guest) -> Result<()> {
    ensure_stopped(stage, guest).await?;
    let call = stage.orchestrator.call::<vm::Start>(json!({ "vm": guest.name }));
    let task = kill_agent_in(stage, "Starting", call).await?;
    ended_whole(stage, guest, &task).await
}

pub async fn orchestrator_in_start(stage: &mut Stage, guest: &Guest) -> Result<()> {
    ensure_stopped(stage, guest).await?;
    let script = trap("Starting", &now(stage).await?, "true");
    let started = stage.orchestrator.call::<vm::Start>(json!({ "vm": guest.name })).await?;
    stage.dom0(&script).await?;
    stage.orchestrator.kill().await?;
    stage.orchestrator.start().await?;
    let task = stage.orchestrator.over(started.task, 4 * MINUTE).await?;
    eprintln!("    {}", told(&task));
    ended_whole(stage, guest, &task).await
}

/// A start that was disturbed is done and the VM runs once, or undone and nothing is left of it.
async fn ended_whole(stage: &Stage, guest: &Guest, task: &Task) -> Result<()> {
    match task.status {
        TaskStatus::Done => {
            let seen = stage.running(guest).await?;
            let domains = stage.domains(guest.name).await?;
            ensure!(domains.len() == 1 && seen.domid.is_some_and(|id| id.0 == domains[0]), "{domains:?}");
            stage.order(&seen, "check-pattern 7 1").await.map(drop)
        }
        TaskStatus::RolledBack => {
            stage.observed(guest.name, "is off", |seen| !seen.power.has_domain()).await?;
            let domains = stage.domains(guest.name).await?;
            ensure!(domains.is_empty(), "domains are left: {domains:?}");
            Ok(())
        }
        _ => bail!("{}", told(task)),
    }
}

pub async fn power_loss(stage: &mut Stage, guest: &Guest) -> Result<()> {
    let before = ensure_running(stage, guest).await?;
    let autostart = json!({ "vm": guest.name, "autostart": { "order": 1 } });
    stage.orchestrator.done::<vm::Update>(autostart, MINUTE).await?;
    let Some(host) = &mut stage.host else { bail!("not with XENITH_LAB_HOST: its power is somebody else's") };
    host.power_cut();
    let cut = Instant::now();
    stage.host_is(HostStatus::Unknown, UNKNOWN_WITHIN).await?;
    let unknown = cut.elapsed();
    eprintln!("    unknown after {:.1} s", unknown.as_secs_f64());
    ensure!(unknown <= UNKNOWN_WITHIN, "that took {:.1} s", unknown.as_secs_f64());
    let power = stage.vm(guest.name).await?.power;
    ensure!(power == Power::Unknown, "the VM is said to be {power}");
    // Its agent may only be starting anew, so it is tried for a while; then it is undone, and not made up for later.
    let start = stage.orchestrator.call::<vm::Start>(json!({ "vm": guest.name })).await?;
    let start = stage.orchestrator.over(start.task, 2 * MINUTE).await?;
    eprintln!("    {}", told(&start));
    ensure!(start.status == TaskStatus::RolledBack, "{}", told(&start));
    if let Some(host) = &mut stage.host {
        host.power_on().await?;
    }
    stage.host_is(HostStatus::Connected, 3 * MINUTE).await?;
    let after = stage.running(guest).await?;
    ensure!(after.incarnation != before.incarnation, "this is another run of the VM");
    stage.order(&after, "check-pattern 7 1").await.map(drop)
}
