//! The agent is killed in the middle of everything, and finds its way back. The guest is never harmed.

use std::time::Duration;

use xenith_common_ids::{DomId, NetworkId, VdiId, VmId};
use xenith_hypervisor_agent::agent::AgentError;
use xenith_hypervisor_agent_api::{Command, VmAction};
use xenith_hypervisor_agent_backend::Hypervisor;
use xenith_hypervisor_agent_sim::{Failure, FaultRule, Operation};
use xenith_hypervisor_agent_types::{
    DeathReason, DiskAccess, DiskDevice, DiskSpec, DomainStatus, FaultReason, NicSpec, Power,
};

use crate::harness::{Lab, define, mib, power_off, resume, spec, start, until};

const LONG: Duration = Duration::from_secs(600);

/// Sends a command that hangs in `at`, and kills the agent there.
pub async fn killed(lab: &mut Lab, vm: VmId, action: VmAction, at: Operation) {
    lab.sim.inject(FaultRule::hang(at, LONG));
    let before = lab.sim.calls(at);
    let (client, envelope) = (lab.client(), lab.envelope(Command::Vm { vm, action }));
    let sent = tokio::spawn(async move { client.execute(&envelope).await });
    lab.called(at, before).await;
    lab.kill().await;
    assert!(sent.await.unwrap().is_err());
    lab.sim.clear_faults();
}

/// How many domains the host has.
async fn domains(lab: &Lab) -> usize {
    lab.sim.domains().await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_builds() {
    let mut lab = Lab::new().await;
    let vm = lab.define("v").await;
    killed(&mut lab, vm, start(), Operation::Create).await;
    assert_eq!(domains(&lab).await, 1, "the half-built domain is left behind");
    lab.start().await;
    lab.becomes(vm, Power::Stopped).await;
    until("the half-built domain to go", async || domains(&lab).await == 0).await;
    lab.done(vm, start()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_it_lets_a_guest_run() {
    let mut lab = Lab::new().await;
    let vm = lab.define("v").await;
    let action = start();
    killed(&mut lab, vm, action.clone(), Operation::Unpause).await;
    lab.start().await;
    let up = lab.becomes(vm, Power::Running).await;
    until("the guest to run", async || lab.sim.is_up(up.domid.unwrap())).await;
    lab.done(vm, action).await;
    assert_eq!(lab.sim.calls(Operation::Create), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_a_guest_is_written_out() {
    let mut lab = Lab::new().await;
    let up = lab.running("v").await;
    killed(&mut lab, up.vm, VmAction::Suspend, Operation::Suspend).await;
    lab.start().await;
    assert_eq!(lab.becomes(up.vm, Power::Running).await.domid, up.domid);
    lab.done(up.vm, VmAction::Suspend).await;
}

/// The host went down with it: nothing lets the guest run on, and nobody suspends it again soon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspend_that_ends_with_its_host_leaves_no_file() {
    let mut lab = Lab::new().await;
    let vm = lab.running("v").await.vm;
    killed(&mut lab, vm, VmAction::Suspend, Operation::Suspend).await;
    let partial = lab.config.state.join("suspended").join(format!("{vm}.partial"));
    assert!(partial.exists());
    lab.sim.reboot_host();
    lab.boot = "second boot".to_owned();
    lab.start().await;
    lab.becomes(vm, Power::Stopped).await;
    assert!(!partial.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_between_the_guests_suspend_and_the_images_commit() {
    let mut lab = Lab::new().await;
    let up = lab.running("v").await;
    lab.sim.inject(FaultRule::spoil(Operation::Suspend, Failure::Failed));
    killed(&mut lab, up.vm, VmAction::Suspend, Operation::CancelSuspend).await;
    let dead = lab.sim.domain(up.domid.unwrap()).await.unwrap().status;
    assert_eq!(dead, DomainStatus::Dead(DeathReason::Suspend));
    lab.start().await;
    assert_eq!(lab.becomes(up.vm, Power::Running).await.domid, up.domid);
    until("the guest to run on", async || {
        lab.sim.domain(up.domid.unwrap()).await.unwrap().status == DomainStatus::Running
    })
    .await;
}

/// The hypervisor did not let it run on when its suspend failed, and does when it is seen to stand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_a_failed_suspend_left_standing_runs_on() {
    let lab = Lab::builder().sample(Duration::from_millis(100)).start().await;
    let up = lab.running("v").await;
    lab.sim.inject(FaultRule::spoil(Operation::Suspend, Failure::Failed));
    lab.sim.inject(FaultRule::fail(Operation::CancelSuspend, Failure::Failed));
    assert_eq!(lab.refused(up.vm, VmAction::Suspend).await, FaultReason::Hypervisor);
    until("the guest to run on", async || {
        lab.sim.domain(up.domid.unwrap()).await.unwrap().status == DomainStatus::Running
    })
    .await;
    assert_eq!(lab.becomes(up.vm, Power::Running).await.incarnation, up.incarnation);
    lab.done(up.vm, VmAction::Suspend).await;
}

/// As a commit leaves it that fails behind its rename. A host that goes down then must not resume that memory: the guest has
/// written on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_runs_on_leaves_no_image() {
    let lab = Lab::new().await;
    let vm = lab.running("v").await.vm;
    lab.sim.inject(FaultRule::hang(Operation::Suspend, LONG));
    lab.sim.inject(FaultRule::fail(Operation::Suspend, Failure::Failed));
    let image = lab.config.state.join("suspended").join(format!("{vm}.image"));
    let meanwhile = async {
        lab.called(Operation::Suspend, 0).await;
        std::fs::write(&image, b"memory").unwrap();
        lab.sim.hurry();
    };
    let (refused, ()) = tokio::join!(lab.refused(vm, VmAction::Suspend), meanwhile);
    assert_eq!(refused, FaultReason::Hypervisor);
    assert!(!image.exists());
    lab.becomes(vm, Power::Running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_after_the_images_commit() {
    let mut lab = Lab::new().await;
    let up = lab.running("v").await;
    killed(&mut lab, up.vm, VmAction::Suspend, Operation::Destroy).await;
    assert_eq!(domains(&lab).await, 1);
    lab.start().await;
    lab.becomes(up.vm, Power::Suspended).await;
    until("the domain to be released", async || domains(&lab).await == 0).await;
    // It is written down as suspended, not only seen so: another restart says the same.
    lab.restart().await;
    lab.becomes(up.vm, Power::Suspended).await;
    lab.done(up.vm, resume()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_reads_a_guest_back() {
    let mut lab = Lab::new().await;
    let vm = lab.running("v").await.vm;
    lab.done(vm, VmAction::Suspend).await;
    killed(&mut lab, vm, resume(), Operation::Resume).await;
    lab.start().await;
    lab.becomes(vm, Power::Suspended).await;
    until("the half-built domain to go", async || domains(&lab).await == 0).await;
    lab.done(vm, resume()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_a_guest_that_was_read_back_runs() {
    let mut lab = Lab::new().await;
    let vm = lab.running("v").await.vm;
    lab.done(vm, VmAction::Suspend).await;
    killed(&mut lab, vm, resume(), Operation::Unpause).await;
    lab.start().await;
    lab.becomes(vm, Power::Running).await;
}

/// Its disks have moved on: to resume that memory again would ruin them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_was_resumed_is_never_resumed_again() {
    let mut lab = Lab::new().await;
    let vm = lab.running("v").await.vm;
    lab.done(vm, VmAction::Suspend).await;
    let image = lab.config.state.join("suspended").join(format!("{vm}.image"));
    let copy = std::fs::read(&image).unwrap();
    lab.done(vm, resume()).await;
    // As a crash between the commit of the resume and the removal of the image leaves it.
    lab.kill().await;
    std::fs::write(&image, copy).unwrap();
    lab.start().await;
    lab.becomes(vm, Power::Running).await;
    lab.done(vm, VmAction::Destroy).await;
    lab.restart().await;
    assert_eq!(lab.look(vm).await.unwrap().power, Power::Stopped);
    assert!(!image.exists());
}

/// Between the record and the image.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_saved_memory_is_discarded() {
    let mut lab = Lab::new().await;
    let vm = lab.running("v").await.vm;
    lab.done(vm, VmAction::Suspend).await;
    let image = lab.config.state.join("suspended").join(format!("{vm}.image"));
    let copy = std::fs::read(&image).unwrap();
    lab.done(vm, VmAction::DiscardSuspended).await;
    lab.kill().await;
    std::fs::write(&image, copy).unwrap();
    lab.start().await;
    assert_eq!(lab.look(vm).await.unwrap().power, Power::Stopped);
    assert!(!image.exists());
    // By who did not hear the answer.
    assert_eq!(lab.done(vm, VmAction::DiscardSuspended).await.power, Power::Stopped);
    assert_eq!(lab.refused(vm, resume()).await, FaultReason::WrongState);
    lab.done(vm, start()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_is_resumed_as_what_it_was_suspended_as() {
    let lab = Lab::new().await;
    let vm = lab.running("v").await.vm;
    lab.done(vm, VmAction::Suspend).await;
    let mut changed = spec("v");
    changed.memory.target = mib(400);
    lab.done(vm, define(2, changed)).await;
    let up = lab.done(vm, resume()).await;
    assert_eq!(lab.sim.domain(up.domid.unwrap()).await.unwrap().memory, mib(256));
    lab.done(vm, VmAction::Apply).await;
    assert_eq!(lab.sim.domain(up.domid.unwrap()).await.unwrap().memory, mib(400));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_destroys() {
    let mut lab = Lab::new().await;
    let up = lab.running("v").await;
    killed(&mut lab, up.vm, VmAction::Destroy, Operation::Destroy).await;
    lab.start().await;
    assert_eq!(lab.becomes(up.vm, Power::Running).await.domid, up.domid);
    lab.done(up.vm, VmAction::Destroy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_waits_for_a_guest_that_goes_down_meanwhile() {
    let mut lab = Lab::builder()
        .sim(|sim| sim.guest_shutdown("1500ms".parse::<xenith_hypervisor_agent_sim::Delay>().unwrap()))
        .start()
        .await;
    let up = lab.running("v").await;
    let before = lab.sim.calls(Operation::Shutdown);
    let (client, envelope) = (lab.client(), lab.envelope(Command::Vm { vm: up.vm, action: power_off() }));
    let sent = tokio::spawn(async move { client.execute(&envelope).await });
    lab.called(Operation::Shutdown, before).await;
    lab.kill().await;
    assert!(sent.await.unwrap().is_err());
    until("the guest to be down", async || {
        matches!(lab.sim.domain(up.domid.unwrap()).await.unwrap().status, DomainStatus::Dead(_))
    })
    .await;
    lab.start().await;
    assert_eq!(lab.becomes(up.vm, Power::Stopped).await.last_death, Some(DeathReason::PowerOff));
    until("the domain to be released", async || domains(&lab).await == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_applies() {
    let mut lab = Lab::new().await;
    let up = lab.running("v").await;
    let mut changed = spec("v");
    changed.memory.target = mib(300);
    changed.vcpus.online = 3.try_into().unwrap();
    lab.done(up.vm, define(2, changed)).await;
    killed(&mut lab, up.vm, VmAction::Apply, Operation::SetVcpus).await;
    lab.start().await;
    assert_eq!(lab.becomes(up.vm, Power::Running).await.domid, up.domid);
    lab.done(up.vm, VmAction::Apply).await;
    let domain = lab.sim.domain(up.domid.unwrap()).await.unwrap();
    assert_eq!((domain.memory, domain.vcpus_online), (mib(300), 3));
    assert_eq!(lab.sim.calls(Operation::SetMemory), 1, "what was noted as done is not done again");
}

/// The hypervisor does what it was told, and nobody is left to note it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_it_notes_that_a_device_is_attached() {
    for at in [Operation::AttachDisk, Operation::AttachNic] {
        let mut lab = Lab::new().await;
        let up = lab.running("v").await;
        let domid = up.domid.unwrap();
        let mut changed = spec("v");
        match at {
            Operation::AttachDisk => changed.disks.push(disk(vdi(&lab).await)),
            _ => changed.nics.push(NicSpec {
                mac: "00:16:3e:00:00:01".parse().unwrap(),
                network: NetworkId::new(),
                bridge: "xenbr0".into(),
            }),
        }
        lab.done(up.vm, define(2, changed)).await;
        lab.sim.inject(FaultRule::hang(at, LONG));
        let before = lab.sim.calls(at);
        let (client, envelope) =
            (lab.client(), lab.envelope(Command::Vm { vm: up.vm, action: VmAction::Apply }));
        let (again, sent) = (envelope.clone(), tokio::spawn(async move { client.execute(&envelope).await }));
        lab.called(at, before).await;
        lab.kill().await;
        lab.sim.hurry();
        assert!(sent.await.unwrap().is_err());
        until("the device to be there", async || plugged_in(&lab, domid) == 1).await;
        lab.start().await;
        lab.client().execute(&again).await.unwrap();
        assert_eq!(plugged_in(&lab, domid), 1, "{at}");
    }
}

/// Another definition came between: what is there is of the old one, and must not be taken for the new.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_of_an_older_definition_is_not_taken_for_the_new_one() {
    let mut lab = Lab::new().await;
    let up = lab.running("v").await;
    let domid = up.domid.unwrap();
    let (first, second) = (vdi(&lab).await, vdi(&lab).await);
    let mut changed = spec("v");
    changed.disks = vec![disk(first)];
    lab.done(up.vm, define(2, changed.clone())).await;
    lab.sim.inject(FaultRule::hang(Operation::AttachDisk, LONG));
    let (client, envelope) = (lab.client(), lab.envelope(Command::Vm { vm: up.vm, action: VmAction::Apply }));
    let sent = tokio::spawn(async move { client.execute(&envelope).await });
    lab.called(Operation::AttachDisk, 0).await;
    lab.kill().await;
    lab.sim.hurry();
    assert!(sent.await.unwrap().is_err());
    until("the disk to be there", async || plugged_in(&lab, domid) == 1).await;
    lab.start().await;
    changed.disks = vec![disk(second)];
    lab.done(up.vm, define(3, changed)).await;
    lab.done(up.vm, VmAction::Apply).await;
    let paths = disk_paths(&lab, domid);
    assert!(paths.len() == 1 && paths[0].contains(&second.to_string()), "{paths:?}");
}

fn plugged_in(lab: &Lab, domid: DomId) -> usize {
    let devices = lab.sim.devices(domid).unwrap();
    devices.disks.len() + devices.nics.len()
}

fn disk_paths(lab: &Lab, domid: DomId) -> Vec<String> {
    let devices = lab.sim.devices(domid).unwrap();
    devices.disks.iter().map(|disk| disk.path.display().to_string()).collect()
}

fn disk(vdi: VdiId) -> DiskSpec {
    DiskSpec { device: DiskDevice::nth(1).unwrap(), vdi, access: DiskAccess::ReadWrite }
}

async fn vdi(lab: &Lab) -> VdiId {
    let sr = lab.client().hello(lab.epoch, "test").await.unwrap().local_sr;
    let vdi = VdiId::new();
    lab.execute(Command::EnsureVdi { vdi, sr, size: "1MiB".parse().unwrap() }).await.unwrap();
    vdi
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_pauses() {
    let mut lab = Lab::new().await;
    let up = lab.running("v").await;
    killed(&mut lab, up.vm, VmAction::Pause, Operation::Pause).await;
    lab.start().await;
    lab.done(up.vm, VmAction::Pause).await;
    lab.restart().await;
    assert_eq!(lab.look(up.vm).await.unwrap().power, Power::Paused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_a_crashed_guest_is_brought_back() {
    for at in [Operation::Destroy, Operation::Create, Operation::Unpause] {
        let mut lab = Lab::new().await;
        let up = lab.running("v").await;
        lab.sim.inject(FaultRule::hang(at, LONG));
        let before = lab.sim.calls(at);
        lab.sim.crash(up.domid.unwrap()).unwrap();
        lab.called(at, before).await;
        lab.kill().await;
        lab.sim.clear_faults();
        lab.start().await;
        let back = lab.becomes(up.vm, Power::Running).await;
        assert_ne!(back.incarnation, up.incarnation, "{at}");
        assert_eq!(domains(&lab).await, 1, "{at}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_stop_leaves_guests_alone() {
    let mut lab = Lab::new().await;
    let up = lab.running("v").await;
    let calls = lab.sim.calls(Operation::Destroy);
    lab.stop().await;
    assert!(lab.sim.is_up(up.domid.unwrap()));
    lab.start().await;
    assert_eq!(lab.look(up.vm).await.unwrap().domid, up.domid);
    assert_eq!(lab.sim.calls(Operation::Destroy), calls);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_agent_is_refused_before_it_touches_anything() {
    let mut lab = Lab::new().await;
    let mut config = lab.config.clone();
    config.listen.set_port(0);
    std::mem::swap(&mut lab.config, &mut config);
    let listed = lab.sim.calls(Operation::Domains);
    let error = lab.try_start().await.unwrap_err();
    assert!(matches!(error, AgentError::Running { .. }), "{error}");
    assert_eq!(lab.sim.calls(Operation::Domains), listed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_failed_create_left_behind_is_cleared_away() {
    let lab = Lab::new().await;
    let vm = lab.define("v").await;
    // Made, but the toolstack said that it gave up.
    lab.sim.inject(FaultRule::spoil(Operation::Create, Failure::TimedOut));
    assert_eq!(lab.refused(vm, start()).await, FaultReason::Hypervisor);
    assert_eq!(domains(&lab).await, 0);
    // Even when the clearing failed at first.
    lab.sim.inject(FaultRule::spoil(Operation::Create, Failure::TimedOut));
    lab.sim.inject(FaultRule::fail(Operation::Destroy, Failure::Failed));
    lab.refused(vm, start()).await;
    assert_eq!(domains(&lab).await, 1);
    lab.done(vm, start()).await;
    assert_eq!(domains(&lab).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_cannot_be_let_run_is_not_called_running() {
    let lab = Lab::new().await;
    let vm = lab.define("v").await;
    lab.sim.inject(FaultRule::fail(Operation::Unpause, Failure::Failed));
    lab.refused(vm, start()).await;
    assert_eq!((lab.look(vm).await.unwrap().power, domains(&lab).await), (Power::Stopped, 0));
    // The answer got lost: it does run.
    lab.sim.inject(FaultRule::spoil(Operation::Unpause, Failure::TimedOut));
    lab.done(vm, start()).await;
    // A guest with a past is kept.
    lab.done(vm, VmAction::Suspend).await;
    lab.sim.inject(FaultRule::fail(Operation::Unpause, Failure::Failed));
    lab.refused(vm, resume()).await;
    assert_eq!(lab.look(vm).await.unwrap().power, Power::Paused);
    assert_eq!(lab.done(vm, VmAction::Unpause).await.power, Power::Running);
}
