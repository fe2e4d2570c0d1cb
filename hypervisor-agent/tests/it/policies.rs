//! Crashes and reboots that nobody asked for.

use std::time::Duration;

use xenith_hypervisor_agent_api::VmAction;
use xenith_hypervisor_agent_backend::Hypervisor;
use xenith_hypervisor_agent_sim::{EventName, Failure, FaultRule, Manners, Operation};
use xenith_hypervisor_agent_types::{CrashAction, DeathReason, FaultReason, ObservedVm, Power, RebootAction};

use crate::harness::{Lab, power_off, spec, start, until};

/// Waits until the VM runs as another incarnation.
async fn runs_anew(lab: &Lab, before: &ObservedVm) -> ObservedVm {
    until("a new run", async || {
        lab.look(before.vm).await.is_some_and(|vm| {
            vm.power == Power::Running && vm.incarnation != before.incarnation && vm.incarnation.is_some()
        })
    })
    .await;
    lab.look(before.vm).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_is_followed_by_a_new_run_until_it_is_a_loop() {
    let mut lab = Lab::new().await;
    let mut up = lab.running("v").await;
    for crash in 0..3 {
        lab.sim.crash(up.domid.unwrap()).unwrap();
        up = runs_anew(&lab, &up).await;
        assert_eq!(up.last_death, Some(DeathReason::Crash), "{crash}");
        // Counted over restarts of the agent.
        lab.restart().await;
    }
    lab.sim.crash(up.domid.unwrap()).unwrap();
    lab.becomes(up.vm, Power::Crashed).await;
    until("its domain to go", async || lab.sim.domains().await.unwrap().is_empty()).await;
    // A person may start it all the same.
    lab.done(up.vm, start()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_crashes_at_boot_is_left_off_soon() {
    let lab = Lab::builder().sim(|sim| sim.manners("v", Manners::CrashesAtBoot)).start().await;
    let vm = lab.define("v").await;
    // It may be dead before the start is answered.
    let _started = lab.vm(vm, start()).await;
    lab.becomes(vm, Power::Crashed).await;
    until("the last crash", async || lab.sim.calls(Operation::Create) == 4).await;
}

/// As one with a broken boot loader, whose triple fault is a reboot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_reboots_at_boot_is_left_off_soon() {
    let lab = Lab::builder().sim(|sim| sim.manners("v", Manners::RebootsAtBoot)).start().await;
    let vm = lab.define("v").await;
    let _started = lab.vm(vm, start()).await;
    until("the last start", async || lab.sim.calls(Operation::Create) == 4).await;
    let off = lab.becomes(vm, Power::Stopped).await;
    assert_eq!(off.last_death, Some(DeathReason::Reboot));
    until("its domain to go", async || lab.sim.domains().await.unwrap().is_empty()).await;
    assert_eq!(lab.sim.calls(Operation::Create), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies() {
    for (case, on_crash, on_reboot, end, then) in [
        ("stop", CrashAction::Stop, RebootAction::Restart, DeathReason::Crash, Power::Crashed),
        ("watchdog", CrashAction::Stop, RebootAction::Restart, DeathReason::Watchdog, Power::Crashed),
        ("power off", CrashAction::Restart, RebootAction::Restart, DeathReason::PowerOff, Power::Stopped),
        ("no reboot", CrashAction::Restart, RebootAction::Stop, DeathReason::Reboot, Power::Stopped),
    ] {
        let lab = Lab::new().await;
        let mut spec = spec("v");
        (spec.on_crash, spec.on_reboot) = (on_crash, on_reboot);
        let vm = lab.define_as(spec).await;
        let up = lab.done(vm, start()).await;
        lab.sim.end_guest(up.domid.unwrap(), end).unwrap();
        assert_eq!(lab.becomes(vm, then).await.last_death, Some(end), "{case}");
        assert_eq!(lab.sim.calls(Operation::Create), 1, "{case}");
    }
    let lab = Lab::new().await;
    let up = lab.running("v").await;
    lab.sim.end_guest(up.domid.unwrap(), DeathReason::Reboot).unwrap();
    runs_anew(&lab, &up).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_corpse_is_kept_over_a_restart_of_the_agent() {
    let mut lab = Lab::new().await;
    let mut spec = spec("v");
    spec.on_crash = CrashAction::Preserve;
    let vm = lab.define_as(spec).await;
    let up = lab.done(vm, start()).await;
    lab.sim.crash(up.domid.unwrap()).unwrap();
    lab.becomes(vm, Power::Crashed).await;
    lab.restart().await;
    assert_eq!(lab.becomes(vm, Power::Crashed).await.domid, up.domid);
    lab.done(vm, VmAction::Destroy).await;
}

/// The list is read while the dead domain is still being released: its death, seen twice, must not be held
/// against the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_that_is_seen_twice_ends_one_run_only() {
    let lab = Lab::builder().sample(Duration::from_millis(20)).start().await;
    let up = lab.running("v").await;
    lab.sim.inject(FaultRule::hang(Operation::Destroy, Duration::from_millis(300)));
    lab.sim.crash(up.domid.unwrap()).unwrap();
    let back = runs_anew(&lab, &up).await;
    let lists = lab.sim.calls(Operation::Domains);
    until("more lists", async || lab.sim.calls(Operation::Domains) > lists + 5).await;
    assert_eq!(lab.look(up.vm).await.unwrap().incarnation, back.incarnation);
    assert_eq!(lab.sim.calls(Operation::Create), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_event_is_found_in_the_next_list() {
    for event in [EventName::Died, EventName::Gone] {
        let lab = Lab::builder().sample(Duration::from_millis(50)).start().await;
        let up = lab.running("v").await;
        lab.sim.inject(FaultRule::lose(event));
        let domid = up.domid.unwrap();
        match event {
            EventName::Gone => lab.sim.destroy_from_outside(domid).unwrap(),
            _ => lab.sim.end_guest(domid, DeathReason::PowerOff).unwrap(),
        }
        lab.becomes(up.vm, Power::Stopped).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_fails_is_tried_again_and_the_crash_counted_once() {
    let lab = Lab::builder().sample(Duration::from_millis(20)).start().await;
    let up = lab.running("v").await;
    lab.sim.inject(FaultRule::fail(Operation::Destroy, Failure::Failed).times(6));
    lab.sim.crash(up.domid.unwrap()).unwrap();
    runs_anew(&lab, &up).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_crashes_while_it_is_powered_off_stays_off() {
    let lab = Lab::builder().sim(|sim| sim.manners("v", Manners::Deaf)).start().await;
    let up = lab.running("v").await;
    let (asked, ()) = tokio::join!(lab.vm(up.vm, power_off()), async {
        lab.becomes(up.vm, Power::Stopping).await;
        lab.sim.crash(up.domid.unwrap()).unwrap();
    });
    asked.unwrap();
    assert_eq!(lab.look(up.vm).await.unwrap().power, Power::Crashed);
    assert_eq!(lab.sim.calls(Operation::Create), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_guest_that_crashes_and_is_kept_is_told_so() {
    let lab = Lab::builder().sim(|sim| sim.manners("v", Manners::Deaf)).start().await;
    let mut spec = spec("v");
    spec.on_crash = CrashAction::Preserve;
    let vm = lab.define_as(spec).await;
    let up = lab.done(vm, start()).await;
    let (asked, ()) = tokio::join!(lab.vm(vm, power_off()), async {
        lab.becomes(vm, Power::Stopping).await;
        lab.sim.crash(up.domid.unwrap()).unwrap();
    });
    let fault = asked.unwrap_err();
    assert_eq!(fault.reason, FaultReason::WrongState);
    assert!(fault.message.contains("crashed"), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_from_outside_is_seen_and_not_undone() {
    let mut lab = Lab::builder().sample(Duration::from_millis(50)).start().await;
    let up = lab.running("v").await;
    lab.sim.pause(up.domid.unwrap()).await.unwrap();
    lab.becomes(up.vm, Power::Paused).await;
    lab.restart().await;
    lab.becomes(up.vm, Power::Paused).await;
    lab.sim.unpause(up.domid.unwrap()).await.unwrap();
    lab.becomes(up.vm, Power::Running).await;
}
