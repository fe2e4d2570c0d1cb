//! Many callers at once, faults, callers that go away: the host's books balance all the same.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use xenith_hypervisor_agent_backend::{Hypervisor, ShutdownRequest, Start};
use xenith_hypervisor_agent_sim::{SimConfig, SimHypervisor};

use crate::fixture::{mib, spec};

const CALLERS: u64 = 8;
const CALLS: usize = 150;

fn stormy(seed: u64) -> SimConfig {
    let text = r#"
        faults = [
            "fail 10% create with device",
            "spoil 5% create with timed-out",
            "hang 10% create for 3ms",
            "fail 10% destroy with failed",
            "spoil 10% destroy with timed-out",
            "fail 10% suspend with failed",
            "lose 20% died",
        ]
        [host]
        memory = "4GiB"
        [guest]
        boot = "0s..2ms"
        shutdown = "0s..2ms"
        patience = "5ms"
        manners = { "guest-3" = "deaf", "guest-5" = "crashes-at-boot" }
        [delays]
        create = "0s..2ms"
        destroy = "0s..2ms"
        suspend = "0s..2ms"
        pause = "0s..1ms"
    "#;
    let mut config = SimConfig::from_toml(text).unwrap();
    config.seed = seed;
    config
}

/// Names clash between callers on purpose.
async fn call(sim: &SimHypervisor, dice: &mut fastrand::Rng) {
    let domains = sim.domains().await.unwrap();
    if domains.is_empty() || dice.u8(0..4) == 0 {
        let mut spec = spec(&format!("guest-{}", dice.u8(0..12)));
        spec.memory.target = mib(dice.u64(64..512));
        let _may_fail = sim.create(&spec, Start::Running).await;
        return;
    }
    let domid = domains[dice.usize(0..domains.len())].domid;
    let _may_fail = match dice.u8(0..8) {
        0 | 1 => sim.destroy(domid).await,
        2 => sim.pause(domid).await,
        3 => sim.unpause(domid).await,
        4 => sim.shutdown(domid, ShutdownRequest::PowerOff).await.map(drop),
        5 => sim.set_memory(domid, mib(dice.u64(64..512))).await,
        6 => {
            let null = std::fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
            sim.suspend(domid, null.into()).await
        }
        _ => sim.cancel_suspend(domid).await,
    };
}

/// What must hold at any moment, seen in one list and one look at the host.
async fn balanced(sim: &SimHypervisor) {
    let domains = sim.domains().await.unwrap();
    let names: BTreeSet<_> = domains.iter().map(|info| &info.name).collect();
    assert_eq!(names.len(), domains.len(), "names are unique: {domains:?}");
    let held: u64 = domains.iter().map(|info| info.memory.mib()).sum();
    assert!(held <= 2048, "{held} MiB of 2048 are held");
    assert!(domains.iter().all(|info| info.identity.is_some() && info.memory <= info.memory_max));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_books_balance() {
    for seed in 1..4 {
        let sim = SimHypervisor::builder().config(stormy(seed)).build();
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let sim: Arc<SimHypervisor> = Arc::clone(&sim);
                let mut dice = fastrand::Rng::with_seed(seed * 100 + caller);
                tokio::spawn(async move {
                    for _ in 0..CALLS {
                        // Some go away in the middle of their call.
                        let patience = Duration::from_micros(dice.u64(0..6000));
                        let _went_away = tokio::time::timeout(patience, call(&sim, &mut dice)).await;
                        balanced(&sim).await;
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
        sim.clear_faults();
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        // Calls whose caller went away may still be under way, so one round may not be enough.
        while sim.host().await.unwrap().memory_free != mib(2048) {
            assert!(std::time::Instant::now() < deadline, "{:?}", sim.domains().await);
            for info in sim.domains().await.unwrap() {
                let _being_destroyed = sim.destroy(info.domid).await;
            }
        }
        sim.shut_down(Duration::from_secs(5)).await.unwrap();
    }
}
