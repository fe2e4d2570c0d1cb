//! How soon a guest's serial console shows its first byte: from the call for a ticket, through orchestrator and agent, over
//! a simulated host. Checks the promise of benches/SPECIFICATION.md, section "Console"; the exit status tells.
//!
//! `cargo bench -p xenith-orchestrator --bench console`. What a browser or `xenith console vm` adds to draw it is not in
//! this; the network between the three is loopback, with TLS.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on says where by panicking")]
#![allow(clippy::large_futures, reason = "each is awaited once")]

#[path = "../tests/it/harness.rs"]
#[allow(dead_code, reason = "the orchestrator's tests use the rest")]
mod harness;

use std::time::{Duration, Instant};

use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator_api::{console, vm};
use xenith_orchestrator_types::console::{ConsoleKind, OpenVmConsole};

use crate::harness::{Installation, small, until};

const TURNS: usize = 50;
/// What is promised, of the slowest.
const MOST: Duration = Duration::from_millis(300);

#[tokio::main]
async fn main() {
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    let mut guest = small("web");
    guest.start = true;
    installation.run::<vm::Create>(&guest).await;
    // The guest says something first: what it has not said cannot be shown.
    until("the guest boots", async || first_byte(&installation).await).await;
    let mut times = Vec::new();
    for _ in 0..TURNS {
        times.push(first_byte(&installation).await.unwrap());
    }
    installation.stop().await;
    times.sort_unstable();
    let (median, slowest) = (times[TURNS / 2], times[TURNS - 1]);
    println!(
        "first byte of a serial console: median {median:.1?}, slowest {slowest:.1?} of {TURNS} (at most {MOST:?})"
    );
    assert!(slowest <= MOST, "the promise is not kept");
}

/// From asking to the first byte. `None`: the console ended before.
async fn first_byte(installation: &Installation) -> Option<Duration> {
    let began = Instant::now();
    let request = OpenVmConsole { vm: "web".into(), kind: ConsoleKind::Serial, history: None };
    let ticket = installation.admin.call::<console::Vm>(&request).await.unwrap();
    let mut console = installation.admin.console(&ticket).await.unwrap();
    // An empty message shows nothing.
    while console.reader.next().await.unwrap()?.is_empty() {}
    let took = began.elapsed();
    console.writer.close().await;
    Some(took)
}
