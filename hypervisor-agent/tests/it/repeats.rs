//! The same call twice, whatever came between.

use std::time::Duration;

use xenith_common_ids::DomId;
use xenith_hypervisor_agent_api::{Command, CommandResult, Envelope, ShutdownKind, VmAction};
use xenith_hypervisor_agent_backend::Hypervisor;
use xenith_hypervisor_agent_client::AgentClientError;
use xenith_hypervisor_agent_sim::{Delay, Failure, FaultRule, Manners, Operation};
use xenith_hypervisor_agent_types::{DeathReason, DomainStatus, FaultReason, ObservedVm, Power};

use crate::harness::{Lab, power_off, start, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_operation_id_is_done_once_and_answered_twice() {
    let lab = Lab::new().await;
    let vm = lab.define("v").await;
    let envelope = lab.envelope(Command::Vm { vm, action: start() });
    let first = lab.client().execute(&envelope).await.unwrap();
    let second = lab.client().execute(&envelope).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(lab.sim.calls(Operation::Create), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_outlives_its_connection_and_the_repeat_joins_it() {
    let lab = Lab::new().await;
    let vm = lab.define("v").await;
    lab.sim.inject(FaultRule::hang(Operation::Create, Duration::from_secs(600)));
    let envelope = lab.envelope(Command::Vm { vm, action: start() });
    let (client, sent) = (lab.client(), envelope.clone());
    let broken = tokio::spawn(async move { client.execute(&sent).await });
    lab.called(Operation::Create, 0).await;
    broken.abort();
    assert!(broken.await.unwrap_err().is_cancelled());
    assert_eq!(lab.look(vm).await.unwrap().power, Power::Starting);
    // Nothing tells that the repeat has come: it is given a moment for that.
    let client = lab.client();
    let mut repeated = std::pin::pin!(client.execute(&envelope));
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut repeated).await.is_err());
    lab.sim.hurry();
    repeated.await.unwrap();
    assert_eq!((lab.sim.calls(Operation::Create), lab.look(vm).await.unwrap().power), (1, Power::Running));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_after_a_restart_of_the_agent_changes_nothing() {
    let mut lab = Lab::new().await;
    let vm = lab.define("v").await;
    let start = lab.envelope(Command::Vm { vm, action: start() });
    lab.client().execute(&start).await.unwrap();
    lab.restart().await;
    lab.client().execute(&start).await.unwrap();
    let suspend = lab.envelope(Command::Vm { vm, action: VmAction::Suspend });
    lab.client().execute(&suspend).await.unwrap();
    lab.restart().await;
    lab.client().execute(&suspend).await.unwrap();
    assert_eq!((lab.sim.calls(Operation::Create), lab.sim.calls(Operation::Suspend)), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_pass_is_tried_again_under_the_same_id() {
    let lab = Lab::new().await;
    let vm = lab.define("v").await;
    lab.sim.inject(FaultRule::fail(Operation::Create, Failure::NoMemory));
    let envelope = lab.envelope(Command::Vm { vm, action: start() });
    let refused = lab.client().execute(&envelope).await.unwrap_err();
    assert!(refused.is_retryable(), "{refused}");
    lab.client().execute(&envelope).await.unwrap();
    assert_eq!(lab.look(vm).await.unwrap().power, Power::Running);
}

fn reboot() -> VmAction {
    VmAction::Shutdown { kind: ShutdownKind::Reboot, deadline: Duration::from_secs(20) }
}

/// A host whose guests take a moment to go down, one of which runs: longer than a slow machine takes to kill an agent.
async fn slow_to_go_down() -> (Lab, ObservedVm) {
    let takes = "1500ms".parse::<Delay>().unwrap();
    let lab = Lab::builder().sim(|sim| sim.guest_shutdown(takes)).start().await;
    let up = lab.running("v").await;
    (lab, up)
}

/// Sends a command and kills the agent when it has called `at`; the guest lives on.
async fn killed_at(lab: &mut Lab, envelope: &Envelope, at: Operation) {
    let before = lab.sim.calls(at);
    let (client, sent) = (lab.client(), envelope.clone());
    let sent = tokio::spawn(async move { client.execute(&sent).await });
    lab.called(at, before).await;
    lab.kill().await;
    assert!(sent.await.unwrap().is_err());
    lab.sim.clear_faults();
}

async fn dead(lab: &Lab, domid: DomId) {
    until("the guest to be down", async || {
        matches!(lab.sim.domain(domid).await.unwrap().status, DomainStatus::Dead(_))
    })
    .await;
}

fn vm_of(result: CommandResult) -> ObservedVm {
    match result {
        CommandResult::Vm(vm) => *vm,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reboot_that_is_repeated_after_a_restart_of_the_agent_is_one_reboot() {
    let mut lab = Lab::new().await;
    let up = lab.running("v").await;
    let envelope = lab.envelope(Command::Vm { vm: up.vm, action: reboot() });
    let first = vm_of(lab.client().execute(&envelope).await.unwrap());
    assert_ne!(first.incarnation, up.incarnation);
    lab.restart().await;
    let second = vm_of(lab.client().execute(&envelope).await.unwrap());
    assert_eq!((second.incarnation, second.power), (first.incarnation, Power::Running));
    assert_eq!((lab.sim.calls(Operation::Shutdown), lab.sim.calls(Operation::Create)), (1, 2));
    // Another one is another one.
    let third = lab.done(up.vm, reboot()).await;
    assert_ne!(third.incarnation, first.incarnation);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reboot_whose_vm_could_not_be_started_again_says_so_each_time() {
    let mut lab = Lab::new().await;
    let up = lab.running("v").await;
    let envelope = lab.envelope(Command::Vm { vm: up.vm, action: reboot() });
    let refused = async |lab: &Lab| match lab.client().execute(&envelope).await {
        Err(AgentClientError::Refused(fault)) => fault,
        other => panic!("{other:?}"),
    };
    lab.sim.inject(FaultRule::fail(Operation::Create, Failure::NoMemory));
    let first = refused(&lab).await;
    assert_eq!(first.reason, FaultReason::NoMemory);
    let again = refused(&lab).await;
    assert_eq!(again.reason, FaultReason::NoMemory);
    let told = format!("the guest went down, but the VM could not be started again: {first}");
    assert_eq!(again.message, told);
    lab.restart().await;
    assert_eq!(refused(&lab).await, again, "also by an agent that did not see it");
    assert_eq!(lab.look(up.vm).await.unwrap().power, Power::Stopped);
    assert_eq!((lab.sim.calls(Operation::Shutdown), lab.sim.calls(Operation::Create)), (1, 2));
    // Somebody saw to it.
    lab.done(up.vm, start()).await;
    assert_eq!(vm_of(lab.client().execute(&envelope).await.unwrap()).power, Power::Running);
}

/// The agent is killed at each step of a reboot; whatever the guest did meanwhile, it is one reboot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reboot_is_one_reboot_wherever_the_agent_is_killed() {
    for (at, ended) in [
        (Operation::Shutdown, None),
        (Operation::Shutdown, Some(DeathReason::Reboot)),
        // It does what it can.
        (Operation::Shutdown, Some(DeathReason::PowerOff)),
        (Operation::Destroy, None),
        (Operation::Create, None),
        (Operation::Unpause, None),
    ] {
        let (mut lab, up) = slow_to_go_down().await;
        let envelope = lab.envelope(Command::Vm { vm: up.vm, action: reboot() });
        let creates = lab.sim.calls(Operation::Create);
        if at != Operation::Shutdown {
            lab.sim.inject(FaultRule::hang(at, Duration::from_secs(600)));
        }
        killed_at(&mut lab, &envelope, at).await;
        if let Some(reason) = ended {
            lab.sim.end_guest(up.domid.unwrap(), reason).unwrap();
        }
        lab.start().await;
        let after = vm_of(lab.client().execute(&envelope).await.unwrap());
        assert_eq!(after.power, Power::Running, "{at} {ended:?}");
        assert_ne!(after.incarnation, up.incarnation, "{at} {ended:?}");
        lab.restart().await;
        let again = vm_of(lab.client().execute(&envelope).await.unwrap());
        assert_eq!(again.incarnation, after.incarnation, "{at} {ended:?}");
        // A domain that was half built when the agent was killed is built again.
        let built = lab.sim.calls(Operation::Create) - creates;
        let most = if at == Operation::Create { 2 } else { 1 };
        assert_eq!(built, most, "{at} {ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_was_asked_to_go_off_and_reboots_while_no_agent_looks_is_left_off() {
    let (mut lab, up) = slow_to_go_down().await;
    let envelope = lab.envelope(Command::Vm { vm: up.vm, action: power_off() });
    killed_at(&mut lab, &envelope, Operation::Shutdown).await;
    let domid = up.domid.unwrap();
    lab.sim.end_guest(domid, DeathReason::Reboot).unwrap();
    dead(&lab, domid).await;
    lab.start().await;
    lab.becomes(up.vm, Power::Stopped).await;
    let after = vm_of(lab.client().execute(&envelope).await.unwrap());
    assert_eq!((after.power, lab.sim.calls(Operation::Create)), (Power::Stopped, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_whose_guest_has_rebooted_since_is_answered_when_it_is_repeated() {
    let mut lab = Lab::new().await;
    let vm = lab.define("v").await;
    let envelope = lab.envelope(Command::Vm { vm, action: start() });
    let up = vm_of(lab.client().execute(&envelope).await.unwrap());
    lab.kill().await;
    lab.sim.end_guest(up.domid.unwrap(), DeathReason::Reboot).unwrap();
    lab.start().await;
    lab.client().execute(&envelope).await.unwrap();
    let next = lab.becomes(vm, Power::Running).await;
    assert_ne!(next.incarnation, up.incarnation);
    // And what ran is not started once more when its guest has gone for good.
    lab.sim.end_guest(next.domid.unwrap(), DeathReason::PowerOff).unwrap();
    lab.becomes(vm, Power::Stopped).await;
    lab.restart().await;
    let refused = lab.client().execute(&envelope).await.unwrap_err();
    assert!(
        matches!(&refused, AgentClientError::Refused(fault) if fault.reason == FaultReason::IncarnationEnded)
    );
    assert_eq!(lab.sim.calls(Operation::Create), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_did_not_answer_is_asked_again_under_the_same_id() {
    let lab = Lab::builder().sim(|sim| sim.manners("v", Manners::Deaf)).start().await;
    let up = lab.running("v").await;
    let action = VmAction::Shutdown { kind: ShutdownKind::PowerOff, deadline: Duration::from_secs(1) };
    let envelope = lab.envelope(Command::Vm { vm: up.vm, action });
    assert!(lab.client().execute(&envelope).await.is_err());
    // It reboots for a reason of its own: the next run has not been asked for anything.
    lab.sim.end_guest(up.domid.unwrap(), DeathReason::Reboot).unwrap();
    until("the next run", async || {
        let seen = lab.look(up.vm).await.unwrap();
        seen.power == Power::Running && seen.incarnation != up.incarnation
    })
    .await;
    assert!(lab.client().execute(&envelope).await.is_err(), "it is deaf still");
    assert_eq!(lab.sim.calls(Operation::Shutdown), 2);
}
