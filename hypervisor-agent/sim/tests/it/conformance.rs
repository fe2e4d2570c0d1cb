//! The simulator keeps every promise of the seam: in real time, in paused time at the pace of a real host, and
//! under a clock moved by hand, over several seeds and every kind of guest.

use std::sync::Arc;
use std::time::Duration;

use xenith_hypervisor_agent_backend::conformance::{Backend, Verdict, cases, may_skip, run};
use xenith_hypervisor_agent_sim::{Files, ManualClock, SimConfig, SimHypervisor};
use xenith_hypervisor_agent_types::PlatformKind;

use crate::fixture::SimFixture;

async fn keeps_all(fixture: &SimFixture, leave_out: &[&str]) {
    let mut broken = Vec::new();
    for case in cases().into_iter().filter(|case| !leave_out.contains(&case.name)) {
        let report = run(case, fixture).await;
        let may_skip = may_skip(case.name, Backend::Simulated, fixture.kind);
        match report.verdict {
            Verdict::Kept => {}
            Verdict::Skipped(_) if may_skip => {}
            Verdict::Skipped(_) | Verdict::Broken(_) => broken.push(report.to_string()),
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

fn config(mut config: SimConfig, seed: u64) -> SimConfig {
    config.seed = seed;
    config.host.files = Files::Check;
    config
}

/// A host on which everything takes a moment.
fn brisk() -> SimConfig {
    SimConfig::from_toml(
        r#"
        [guest]
        boot = "0s..3ms"
        shutdown = "0s..3ms"
        [delays]
        create = "1ms..3ms"
        suspend = "0s..2ms"
        resume = "0s..2ms"
        attach-disk = "0s..1ms"
        detach-disk = "0s..1ms"
        set-memory = "0s..1ms"
        "#,
    )
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_real_time() {
    for (kind, seed) in PlatformKind::ALL.into_iter().zip(1..) {
        let sim = SimHypervisor::builder().config(config(brisk(), seed)).build();
        // Hundreds of creates in real time: once is enough.
        let leave_out: &[&str] = if seed == 1 { &[] } else { &["late_subscriber_lists_again"] };
        keeps_all(&SimFixture::new(sim.clone(), kind), leave_out).await;
        sim.shut_down(Duration::from_secs(5)).await.unwrap();
    }
}

/// Minutes of a data centre's host in a moment: tokio's paused time jumps to the next timer.
#[tokio::test(start_paused = true)]
async fn at_the_pace_of_a_real_host() {
    for (kind, seed) in PlatformKind::ALL.into_iter().cycle().zip(10..19) {
        let sim = SimHypervisor::builder().config(config(SimConfig::lifelike(), seed)).build();
        let mut fixture = SimFixture::new(sim, kind);
        fixture.patience = Duration::from_secs(300);
        fixture.pace = Duration::from_millis(100);
        keeps_all(&fixture, &[]).await;
    }
}

/// The suite's own waits are real; the host's time stands still unless somebody jumps to the next timer.
#[tokio::test]
async fn under_a_clock_moved_by_hand() {
    for seed in 20..23 {
        let hand = ManualClock::new();
        let sim: Arc<SimHypervisor> =
            SimHypervisor::builder().config(config(SimConfig::lifelike(), seed)).manual_clock(&hand).build();
        let fixture = SimFixture::new(sim, PlatformKind::Pvh);
        let mover = async {
            loop {
                if !hand.advance_to_next().await {
                    // CPU time is only used while time passes.
                    hand.advance(Duration::from_millis(1)).await;
                }
                tokio::time::sleep(Duration::from_micros(100)).await;
            }
        };
        tokio::select! {
            () = keeps_all(&fixture, &["late_subscriber_lists_again"]) => {}
            () = mover => {}
        }
    }
}

/// What may be skipped are cases that there are.
#[test]
fn what_may_be_skipped() {
    use PlatformKind::{Hvm, Pv, Pvh};
    let skipped = |backend, kind| -> Vec<&'static str> {
        let names = cases().into_iter().map(|case| case.name);
        names.filter(|name| may_skip(name, backend, kind)).collect()
    };
    let (cd, vnc, late) = ("cd_in_and_out", "vnc_console", "late_subscriber_lists_again");
    assert_eq!(skipped(Backend::Simulated, Hvm), ["missing_kernel_is_refused"]);
    for kind in [Pv, Pvh] {
        let (mut simulated, mut real) = (skipped(Backend::Simulated, kind), skipped(Backend::Real, kind));
        simulated.sort_unstable();
        real.sort_unstable();
        let live = ["live_stream_through_a_pipe", "suspend_live_and_resume"];
        let on_real = match kind {
            Pv => vec![cd, late, live[0], live[1], vnc],
            _ => vec![cd, late, vnc],
        };
        assert_eq!((simulated, real), (vec![cd, vnc], on_real), "{kind}");
    }
}

#[test]
fn names_are_unique_and_promises_are_said() {
    let mut names: Vec<_> = cases().into_iter().map(|case| case.name).collect();
    assert!(cases().iter().all(|case| !case.promise.is_empty()));
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(count >= 50, "{count}");
}
