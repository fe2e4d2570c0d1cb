//! VMs that start with their host, with no orchestrator anywhere.

use std::time::Duration;

use xenith_common_ids::VmId;
use xenith_hypervisor_agent_api::VmAction;
use xenith_hypervisor_agent_backend::Hypervisor;
use xenith_hypervisor_agent_sim::{Failure, FaultRule, Operation};
use xenith_hypervisor_agent_types::{Autostart, Power};

use crate::harness::{Lab, spec, start};

async fn defined(lab: &Lab, name: &str, order: u16, delay_s: u16) -> VmId {
    let mut spec = spec(name);
    spec.autostart = Some(Autostart { order, delay_s });
    lab.define_as(spec).await
}

/// The host loses power and boots.
async fn reboot(lab: &mut Lab, boot: &str) {
    lab.kill().await;
    lab.sim.reboot_host();
    lab.boot = boot.to_owned();
    lab.start().await;
}

async fn names(lab: &Lab) -> Vec<String> {
    lab.sim.domains().await.unwrap().into_iter().map(|info| info.name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_order_with_delay_and_only_those() {
    let mut lab = Lab::new().await;
    let second = defined(&lab, "second", 2, 0).await;
    defined(&lab, "first", 1, 1).await;
    let manual = lab.running("manual").await.vm;
    let began = std::time::Instant::now();
    reboot(&mut lab, "second boot").await;
    lab.becomes(second, Power::Running).await;
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(names(&lab).await, ["first", "second"]);
    // It ran when the power went.
    let stopped = lab.look(manual).await.unwrap();
    assert_eq!(stopped.power, Power::Stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_for_each_boot() {
    let mut lab = Lab::new().await;
    let vm = defined(&lab, "v", 0, 0).await;
    reboot(&mut lab, "second boot").await;
    lab.becomes(vm, Power::Running).await;
    lab.done(vm, VmAction::Destroy).await;
    lab.restart().await;
    // An autostart would be under way before this is answered: both are messages in one queue.
    lab.done(vm, VmAction::Apply).await;
    assert_eq!(lab.look(vm).await.unwrap().power, Power::Stopped);
    assert_eq!(lab.sim.calls(Operation::Create), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_dies_half_way_goes_on_and_starts_nothing_twice() {
    let mut lab = Lab::new().await;
    let first = defined(&lab, "first", 1, 0).await;
    let second = defined(&lab, "second", 2, 0).await;
    lab.sim.inject(FaultRule::hang(Operation::Create, Duration::from_secs(600)).of("second"));
    reboot(&mut lab, "second boot").await;
    lab.called(Operation::Create, 1).await;
    // A person stops one that was started; the agent dies, and must not take that back.
    lab.done(first, VmAction::Destroy).await;
    lab.kill().await;
    lab.sim.clear_faults();
    lab.start().await;
    lab.becomes(second, Power::Running).await;
    assert_eq!(names(&lab).await, ["second"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_cannot_start_does_not_hold_up_the_others() {
    let mut lab = Lab::new().await;
    let bad = defined(&lab, "bad", 1, 0).await;
    let good = defined(&lab, "good", 2, 0).await;
    lab.sim.inject(FaultRule::fail(Operation::Create, Failure::NoMemory).of("bad"));
    reboot(&mut lab, "second boot").await;
    lab.becomes(good, Power::Running).await;
    let bad = lab.look(bad).await.unwrap();
    assert!(bad.failure.is_some_and(|failure| failure.message.contains("memory")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_vm_stays_suspended_over_a_boot() {
    let mut lab = Lab::new().await;
    let vm = defined(&lab, "v", 0, 0).await;
    let last = defined(&lab, "last", 1, 0).await;
    lab.done(vm, start()).await;
    lab.done(vm, VmAction::Suspend).await;
    reboot(&mut lab, "second boot").await;
    // It comes behind: when it runs, that one had its turn.
    lab.becomes(last, Power::Running).await;
    assert_eq!(lab.look(vm).await.unwrap().power, Power::Suspended);
}
