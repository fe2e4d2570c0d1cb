//! What goes wrong when a rule says so, as a caller sees it.

use std::sync::Arc;
use std::time::Duration;

use xenith_common_ids::DomId;
use xenith_hypervisor_agent_backend::{
    DomainEventKind, Hypervisor, HypervisorError, ShutdownRequest, Start, conformance,
};
use xenith_hypervisor_agent_sim::{
    Delay, EventName, Failure, FaultRule, ManualClock, Operation, SimConfig, SimHypervisor,
};
use xenith_hypervisor_agent_types::{DeathReason, DiskAccess, DiskDevice, DomainDisk, PlatformKind};

use crate::fixture::{SimFixture, mib, spec, until};

const SECOND: Duration = Duration::from_secs(1);

fn host(rule: FaultRule) -> Arc<SimHypervisor> {
    SimHypervisor::builder().memory(mib(4096)).fault(rule).build()
}

async fn create(sim: &SimHypervisor, name: &str) -> Result<DomId, HypervisorError> {
    sim.create(&spec(name), Start::Running).await
}

#[tokio::test]
async fn the_third_create_has_no_memory() {
    let sim = host("fail the 3rd create with no-memory".parse().unwrap());
    assert!(create(&sim, "a").await.is_ok());
    assert!(create(&sim, "b").await.is_ok());
    // 4 GiB less dom0's 2 GiB and two guests of 256 MiB.
    let exact = HypervisorError::NoMemory { needed: mib(256), free: mib(1536) };
    assert_eq!(create(&sim, "c").await, Err(exact));
    assert!(create(&sim, "c").await.is_ok());
    assert_eq!(sim.calls(Operation::Create), 4);
}

#[tokio::test]
async fn a_failed_create_was_listed_and_is_gone() {
    let sim = host(FaultRule::fail(Operation::Create, Failure::Device));
    let mut events = sim.events();
    assert!(matches!(create(&sim, "a").await, Err(HypervisorError::Device { .. })));
    assert_eq!(sim.domains().await.unwrap(), []);
    assert_eq!(sim.host().await.unwrap().memory_free, mib(2048));
    let kinds = [events.next().await.unwrap().kind, events.next().await.unwrap().kind];
    assert_eq!(kinds, [DomainEventKind::Appeared, DomainEventKind::Gone]);
}

#[tokio::test]
async fn a_spoiled_create_is_done_all_the_same() {
    let sim = host(FaultRule::spoil(Operation::Create, Failure::TimedOut).of("a"));
    assert!(create(&sim, "b").await.is_ok());
    assert!(matches!(create(&sim, "a").await, Err(HypervisorError::TimedOut { .. })));
    let names: Vec<_> = sim.domains().await.unwrap().into_iter().map(|info| info.name).collect();
    assert_eq!(names, ["b", "a"]);
}

#[tokio::test]
async fn devices_are_matched_by_their_name() {
    let sim = host("fail every attach-disk of xvdb with device".parse().unwrap());
    let domid = create(&sim, "a").await.unwrap();
    let disk = |index| DomainDisk {
        device: DiskDevice::nth(index).unwrap(),
        path: "/dev/null".into(),
        access: DiskAccess::ReadWrite,
    };
    assert!(sim.attach_disk(domid, &disk(0)).await.is_ok());
    for _ in 0..2 {
        let error = sim.attach_disk(domid, &disk(1)).await.unwrap_err();
        assert!(matches!(error, HypervisorError::Device { ref device, .. } if device == "xvdb"), "{error:?}");
    }
    assert_eq!(sim.devices(domid).unwrap().disks, [disk(0)]);
}

#[tokio::test]
async fn a_hung_shutdown_delays_nobody_and_is_carried_out_without_its_caller() {
    let hand = ManualClock::new();
    let sim = SimHypervisor::builder()
        .fault("hang the next shutdown for 10s".parse().unwrap())
        .manual_clock(&hand)
        .build();
    let (hung, other) = (create(&sim, "a").await.unwrap(), create(&sim, "b").await.unwrap());
    let mut events = sim.events();
    let request = sim.shutdown(hung, ShutdownRequest::PowerOff);
    assert!(tokio::time::timeout(Duration::from_millis(1), request).await.is_err());
    sim.pause(other).await.unwrap();
    assert_eq!(hand.now(), Duration::ZERO);
    hand.advance(SECOND * 10).await;
    let died = events.next().await.unwrap();
    assert_eq!((died.domid, died.kind), (hung, DomainEventKind::Died(DeathReason::PowerOff)));
}

#[tokio::test]
async fn what_hangs_goes_on_when_a_test_says_so_and_what_comes_later_hangs() {
    let hand = ManualClock::new();
    let sim = SimHypervisor::builder()
        .fault("hang every pause for 600s".parse().unwrap())
        .manual_clock(&hand)
        .build();
    let domid = create(&sim, "a").await.unwrap();
    // Also where the word comes before the call has begun to wait.
    for calls in 1..=20 {
        let pausing = tokio::spawn({
            let sim = sim.clone();
            async move { sim.pause(domid).await }
        });
        until("the pause to be under way", || sim.calls(Operation::Pause) == calls).await;
        sim.hurry();
        pausing.await.unwrap().unwrap();
        sim.unpause(domid).await.unwrap();
    }
    let later = sim.pause(domid);
    assert!(tokio::time::timeout(Duration::from_millis(1), later).await.is_err());
    assert_eq!(hand.now(), Duration::ZERO);
}

#[tokio::test]
async fn a_domain_may_be_destroyed_while_something_hangs_on_it() {
    let hand = ManualClock::new();
    let sim = SimHypervisor::builder().delay(Operation::Create, SECOND).manual_clock(&hand).build();
    let pending = tokio::spawn({
        let sim = sim.clone();
        async move { create(&sim, "a").await }
    });
    until("the build to be listed", || sim.calls(Operation::Create) == 1).await;
    let building = loop {
        if let [info] = &sim.domains().await.unwrap()[..] {
            break info.domid;
        }
        tokio::task::yield_now().await;
    };
    sim.destroy(building).await.unwrap();
    hand.advance(SECOND).await;
    assert!(matches!(pending.await.unwrap(), Err(HypervisorError::Failed { .. })));
    assert_eq!(sim.host().await.unwrap().memory_free, mib(62 << 10));
}

#[tokio::test]
async fn a_lost_event_leaves_the_list_true() {
    let sim = host(FaultRule::lose(EventName::Died));
    let domid = create(&sim, "a").await.unwrap();
    let mut events = sim.events();
    sim.crash(domid).unwrap();
    sim.destroy(domid).await.unwrap();
    assert_eq!(events.next().await.unwrap().kind, DomainEventKind::Gone);
}

#[tokio::test]
async fn every_failure_can_be_injected_while_the_host_runs() {
    let sim = SimHypervisor::builder().build();
    let domid = create(&sim, "a").await.unwrap();
    for (failure, name) in Failure::ALL {
        sim.inject(FaultRule::fail(Operation::Pause, failure));
        assert!(sim.pause(domid).await.is_err(), "{name}");
        assert!(sim.pause(domid).await.is_ok(), "{name} fires once");
    }
    sim.inject(FaultRule::fail(Operation::Pause, Failure::Failed).every());
    sim.clear_faults();
    assert!(sim.pause(domid).await.is_ok());
}

/// As a rule spells it, and as a caller gets it.
#[tokio::test]
async fn each_failure_is_the_error_of_its_name() {
    let table = [
        ("no-memory", "NoMemory {"),
        ("out-of-memory", "OutOfMemory {"),
        ("not-a-xen-host", "NotAXenHost {"),
        ("no-such-domain", "NoSuchDomain("),
        ("no-such-device", "NoSuchDevice {"),
        ("already-attached", "AlreadyAttached {"),
        ("wrong-status", "WrongStatus {"),
        ("name-taken", "NameTaken {"),
        ("invalid-spec", "InvalidSpec {"),
        ("device", "Device {"),
        ("unsupported", "Unsupported {"),
        ("unresponsive", "GuestUnresponsive {"),
        ("timed-out", "TimedOut {"),
        ("failed", "Failed {"),
        ("closed", "Closed"),
    ];
    assert!(Failure::ALL.iter().all(|(_, name)| table.iter().any(|(spelled, _)| spelled == name)));
    let sim = SimHypervisor::builder().build();
    let domid = create(&sim, "a").await.unwrap();
    let device = DiskDevice::nth(1).unwrap();
    for (failure, variant) in table {
        sim.inject(format!("fail the next detach-disk of xvdb with {failure}").parse().unwrap());
        let error = sim.detach_disk(domid, device).await.unwrap_err();
        assert!(format!("{error:?}").starts_with(variant), "{failure}: {error:?}");
        // What is concerned is named, as a real host would.
        let named = match &error {
            HypervisorError::NoSuchDevice { domid: of, device }
            | HypervisorError::AlreadyAttached { domid: of, device } => *of == domid && device == "xvdb",
            HypervisorError::NoSuchDomain(of) | HypervisorError::WrongStatus { domid: of, .. } => {
                *of == domid
            }
            _ => true,
        };
        assert!(named, "{error:?}");
    }
}

#[tokio::test]
async fn a_taken_name_is_found_out_before_anything_is_built() {
    let sim = host(FaultRule::fail(Operation::Create, Failure::NameTaken));
    let mut events = sim.events();
    let taken = create(&sim, "a").await.unwrap_err();
    assert!(matches!(&taken, HypervisorError::NameTaken { name, .. } if name == "a"), "{taken:?}");
    let made = create(&sim, "a").await.unwrap();
    let first = events.next().await.unwrap();
    assert_eq!(
        (first.domid, first.kind),
        (made, DomainEventKind::Appeared),
        "of the first there was nothing"
    );
}

#[tokio::test]
async fn whether_a_guest_took_a_request_up_is_a_call_of_its_own() {
    let sim = host(FaultRule::fail(Operation::HasTakenUp, Failure::Unresponsive));
    let domid = create(&sim, "a").await.unwrap();
    assert!(sim.domain(domid).await.is_ok());
    let asked = sim.has_taken_up(domid).await;
    assert!(matches!(asked, Err(HypervisorError::GuestUnresponsive { .. })), "{asked:?}");
    assert!(sim.has_taken_up(domid).await.is_ok());
    assert_eq!((sim.calls(Operation::HasTakenUp), sim.calls(Operation::Domain)), (2, 1));
}

/// What ran when, for one seed.
async fn history(seed: u64) -> Vec<(bool, Duration)> {
    let hand = ManualClock::new();
    let mut config = SimConfig::from_toml("faults = [\"fail 30% create with failed\"]").unwrap();
    config.delays.set(Operation::Create, "10ms median 1s p99".parse::<Delay>().unwrap());
    let sim = SimHypervisor::builder().config(config).seed(seed).manual_clock(&hand).build();
    let mut history = Vec::new();
    for index in 0..20 {
        let spec = spec(&format!("web-{index}"));
        let mut pending = std::pin::pin!(sim.create(&spec, Start::Running));
        let made = loop {
            tokio::select! {
                biased;
                made = &mut pending => break made,
                _ = hand.advance_to_next() => {}
            }
        };
        history.push((made.is_ok(), hand.now()));
    }
    history
}

#[tokio::test]
async fn a_seed_decides_everything() {
    let first = history(1).await;
    assert_eq!(first, history(1).await);
    assert_ne!(first, history(2).await);
    assert!(first.iter().any(|(ok, _)| *ok) && first.iter().any(|(ok, _)| !*ok), "{first:?}");
}

/// The suite is worth something: it notices a host that breaks a promise.
#[tokio::test]
async fn the_suite_notices_broken_promises() {
    for (rule, case) in [
        ("lose every died", "power_off"),
        ("lose every died", "crash_is_noticed"),
        ("lose every appeared", "made_and_gone_are_told"),
        ("lose every gone", "destroy_running"),
        ("fail every pause with failed", "pause_is_idempotent"),
        ("fail the 2nd pause with failed", "pause_is_idempotent"),
        ("hang every create for 1s", "name_taken"),
        ("hang every pause for 1s", "create_delays_nobody"),
        ("fail every create with unsupported", "no_memory"),
        ("spoil every create with no-memory", "two_creates_race"),
        ("spoil every create with invalid-spec", "creates_side_by_side"),
        ("fail every destroy with failed", "destroy_twice"),
        ("fail every destroy with no-such-domain", "memory_comes_back"),
        ("spoil every set-memory with failed", "balloon_within_the_maximum"),
        ("fail every detach-disk with failed", "disk_not_there"),
        ("fail every suspend with failed", "suspended_is_dead"),
        ("fail every cancel-suspend with failed", "cancelled_suspend_runs_on"),
        ("spoil every resume with failed", "resume_paused"),
        ("fail every resume with failed", "resume_without_memory"),
        ("spoil every set-cpu-share with failed", "cpu_share"),
        ("fail every usage with failed", "host_is_plausible"),
        ("fail every has-taken-up with failed", "unknown_domain"),
        ("fail every suspend with timed-out", "unknown_domain"),
        ("fail every consoles with device", "serial_console"),
    ] {
        let sim = host(rule.parse().unwrap());
        let mut fixture = SimFixture::new(sim, PlatformKind::Pvh);
        fixture.patience = Duration::from_millis(50);
        let case = conformance::case(case).unwrap();
        let report = conformance::run(case, &fixture).await;
        let noticed = matches!(report.verdict, conformance::Verdict::Broken(_));
        assert!(noticed, "{rule}: {report}");
    }
}
