//! Snapshots for which the guest holds its filesystems still.

use std::time::Duration;

use xenith_common_ids::VmId;
use xenith_hypervisor_agent_api::{Command, CommandResult, Snapshotted, VmAction};
use xenith_hypervisor_agent_sim::{Failure, FaultRule, GuestAgentManners, Operation};
use xenith_hypervisor_agent_types::{
    Consistency, DeathReason, Fault, FaultReason, Power, Quiesce, Quiesced, SnapshotOf, VmSpec,
};

use crate::harness::{Lab, spec, start, until};
use crate::snapshots::{each, files, with_disks_as};

fn with_channel() -> VmSpec {
    let mut spec = spec("v");
    spec.hardware.guest_agent = true;
    spec
}

async fn snapshot(lab: &Lab, vm: VmId, disks: &[SnapshotOf], quiesce: Quiesce) -> Result<Snapshotted, Fault> {
    match lab.vm(vm, VmAction::Snapshot { disks: disks.to_vec(), quiesce }).await? {
        CommandResult::Snapshotted(made) => Ok(made),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filesystems_are_whole_where_the_guest_can() {
    let lab = Lab::new().await;
    let (vm, _, vdis) = with_disks_as(&lab, with_channel()).await;
    // A VM that is off has nothing to hold still.
    for quiesce in Quiesce::ALL {
        let made = snapshot(&lab, vm, &each(vdis), quiesce).await.unwrap();
        assert_eq!(made.quiesced, Quiesced::OFFLINE);
    }
    let up = lab.done(vm, start()).await;
    let domid = up.domid.unwrap();
    for (quiesce, is_asked) in [(Quiesce::Never, 0), (Quiesce::Try, 1), (Quiesce::Demand, 2)] {
        let made = snapshot(&lab, vm, &each(vdis), quiesce).await.unwrap();
        let expected = if is_asked == 0 { Quiesced::default() } else { Quiesced::FROZEN };
        assert_eq!((made.quiesced, lab.sim.freezes(domid)), (expected, is_asked));
        assert!(!lab.sim.is_frozen(domid));
    }
    let after = lab.look(vm).await.unwrap();
    assert_eq!((after.power, after.domid), (Power::Running, up.domid));
    lab.done(vm, VmAction::Pause).await;
    let made = snapshot(&lab, vm, &each(vdis), Quiesce::Try).await.unwrap();
    assert!(made.quiesced.because.unwrap().contains("paused"));
    let fault = snapshot(&lab, vm, &each(vdis), Quiesce::Demand).await.unwrap_err();
    assert_eq!(fault.reason, FaultReason::WrongState);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_cannot_is_told_of_or_fails_what_demands_it() {
    let lab = Lab::new().await;
    let (vm, _, vdis) = with_disks_as(&lab, with_channel()).await;
    let domid = lab.done(vm, start()).await.domid.unwrap();
    for (manners, reason, words) in [
        (GuestAgentManners::Refuses, FaultReason::Unsupported, "failed to freeze /srv"),
        (GuestAgentManners::ThawsItself, FaultReason::GuestUnresponsive, "thawed by itself"),
        (GuestAgentManners::Silent, FaultReason::GuestUnresponsive, "does not answer"),
    ] {
        lab.sim.set_guest_agent(domid, manners).unwrap();
        let before = files(&lab, ".snap");
        let fault = snapshot(&lab, vm, &each(vdis), Quiesce::Demand).await.unwrap_err();
        assert_eq!(fault.reason, reason, "{fault}");
        assert!(fault.message.contains(words), "{fault}");
        assert_eq!((files(&lab, ".snap"), files(&lab, ".partial")), (before, 0), "nothing is half done");
        let made = snapshot(&lab, vm, &each(vdis), Quiesce::Try).await.unwrap();
        assert_eq!(made.quiesced.consistency, Consistency::CrashConsistent);
        assert!(made.quiesced.because.unwrap().contains(words));
        assert!(!lab.sim.is_frozen(domid));
        assert_eq!(lab.look(vm).await.unwrap().power, Power::Running);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_without_a_channel_says_how_to_get_one() {
    let lab = Lab::new().await;
    let (vm, _, vdis) = with_disks_as(&lab, spec("v")).await;
    lab.done(vm, start()).await;
    let made = snapshot(&lab, vm, &each(vdis), Quiesce::Try).await.unwrap();
    assert!(made.quiesced.because.unwrap().contains("--guest-agent on"));
    let fault = snapshot(&lab, vm, &each(vdis), Quiesce::Demand).await.unwrap_err();
    assert_eq!(fault.reason, FaultReason::Unsupported);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_fails_leaves_no_guest_frozen() {
    let lab = Lab::new().await;
    let (vm, _, vdis) = with_disks_as(&lab, with_channel()).await;
    let domid = lab.done(vm, start()).await.domid.unwrap();
    lab.sim.inject(FaultRule::fail(Operation::Pause, Failure::Failed));
    let fault = snapshot(&lab, vm, &each(vdis), Quiesce::Demand).await.unwrap_err();
    assert_eq!(fault.reason, FaultReason::Hypervisor);
    assert_eq!((lab.sim.is_frozen(domid), lab.sim.freezes(domid)), (false, 1));
    // One that stays paused cannot thaw; it does when it is let run.
    lab.sim.inject(FaultRule::fail(Operation::Unpause, Failure::Failed));
    let fault = snapshot(&lab, vm, &each(vdis), Quiesce::Try).await.unwrap_err();
    assert!(fault.message.contains("stays so"), "{fault}");
    assert!(lab.sim.is_frozen(domid));
    lab.done(vm, VmAction::Unpause).await;
    until("the guest to be thawed", async || !lab.sim.is_frozen(domid)).await;
    assert_eq!(files(&lab, ".snap"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_killed_thaws_when_it_is_back() {
    let mut lab = Lab::new().await;
    let (vm, _, vdis) = with_disks_as(&lab, with_channel()).await;
    let domid = lab.done(vm, start()).await.domid.unwrap();
    lab.sim.inject(FaultRule::hang(Operation::Pause, Duration::from_secs(600)));
    let before = lab.sim.calls(Operation::Pause);
    let action = VmAction::Snapshot { disks: each(vdis), quiesce: Quiesce::Demand };
    let (client, envelope) = (lab.client(), lab.envelope(Command::Vm { vm, action }));
    let sent = tokio::spawn(async move { client.execute(&envelope).await });
    lab.called(Operation::Pause, before).await;
    assert!(lab.sim.is_frozen(domid), "it stands still before it is paused");
    lab.kill().await;
    assert!(sent.await.unwrap().is_err());
    assert!(lab.sim.is_frozen(domid), "nobody was there to thaw it");
    lab.sim.clear_faults();
    lab.start().await;
    until("the guest to be thawed", async || !lab.sim.is_frozen(domid)).await;
    assert_eq!(lab.becomes(vm, Power::Running).await.domid, Some(domid));
    let made = snapshot(&lab, vm, &each(vdis), Quiesce::Demand).await.unwrap();
    assert_eq!(made.quiesced, Quiesced::FROZEN);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_reboots_is_held_no_longer() {
    let lab = Lab::new().await;
    let (vm, _, vdis) = with_disks_as(&lab, with_channel()).await;
    let up = lab.done(vm, start()).await;
    lab.sim.set_guest_agent(up.domid.unwrap(), GuestAgentManners::DiesFrozen).unwrap();
    let made = snapshot(&lab, vm, &each(vdis), Quiesce::Try).await.unwrap();
    assert!(made.quiesced.because.unwrap().contains("did not say that it thawed"));
    let note = lab.config.state.join("frozen").join(vm.to_string());
    assert!(note.exists());
    lab.sim.end_guest(up.domid.unwrap(), DeathReason::Reboot).unwrap();
    until("it runs anew", async || {
        lab.look(vm).await.unwrap().domid.is_some_and(|domid| Some(domid) != up.domid)
    })
    .await;
    assert!(!note.exists());
    until("it can be frozen again", async || {
        snapshot(&lab, vm, &each(vdis), Quiesce::Demand)
            .await
            .is_ok_and(|made| made.quiesced == Quiesced::FROZEN)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_agent_before_made_is_called_whole_only_if_it_had_to_be() {
    let mut lab = Lab::new().await;
    let (vm, _, vdis) = with_disks_as(&lab, with_channel()).await;
    let domid = lab.done(vm, start()).await.domid.unwrap();
    let (tried, demanded) = (each(vdis), each(vdis));
    snapshot(&lab, vm, &tried, Quiesce::Try).await.unwrap();
    snapshot(&lab, vm, &demanded, Quiesce::Demand).await.unwrap();
    lab.restart().await;
    let made = snapshot(&lab, vm, &tried, Quiesce::Try).await.unwrap();
    assert!(made.quiesced.because.unwrap().contains("is not known"));
    let made = snapshot(&lab, vm, &demanded, Quiesce::Demand).await.unwrap();
    assert_eq!(made.quiesced, Quiesced::FROZEN);
    assert_eq!(lab.sim.freezes(domid), 2, "nothing is frozen for what is there");
}
