//! Starts of one guest on one lab host, by turns: `xenith vm start --wait` through the orchestrator and the agent,
//! and `xl create` in dom0.
//!
//! Both make the same domain: kernel, initramfs, memory, a raw file as disk, a card on the same bridge. Each start
//! is timed until the program says that the guest runs, and the guest is ended at once, so that no guest's boot
//! takes the CPU from the next start. `xl` is reached over an open ssh connection, whose empty round trip is
//! measured beside it and taken off: what is left is `xl`'s own.
//!
//! `xenith-benches-start [TURNS]`, beside a built `xenith-orchestrator`, `xenith` and the lab's agent. Ends with a failure
//! where the ratio is above what is promised.

mod turn;

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use xenith_lab::Accel;
use xenith_lab_scenario::{Programs, Stage, by_turns, median};
use xenith_orchestrator_api::network;

use crate::turn::Turns;

const TURNS: usize = 7;
/// What a start through orchestrator and agent may take, to one by `xl`.
const RATIO: f64 = 1.1;

#[tokio::main]
async fn main() -> ExitCode {
    xenith_common_pki::install_provider();
    by_turns("xenith-benches-start", TURNS, bench).await
}

async fn bench(turns: usize) -> Result<()> {
    let programs = Programs::find()?;
    let stage = Box::pin(Stage::set(&programs, "bench")).await?;
    Box::pin(stage.enrol(&programs)).await?;
    stage.orchestrator.call::<network::Create>(json!({ "name": "lan", "bridge": "xenbr0" })).await?;
    let turns = Box::pin(Turns::new(&stage, &programs).await?.run(turns)).await?;
    let (mut xenith, mut xl): (Vec<_>, Vec<_>) = turns.iter().map(|turn| (turn.xenith, turn.xl)).unzip();
    let mut ratios: Vec<_> = turns.iter().map(|turn| turn.xenith / turn.xl).collect();
    println!("accelerator                {:?}", Accel::detect());
    println!("turns                      {}", turns.len());
    println!("xenith vm start, median    {:.2} s", median(&mut xenith).context("no turn")?);
    println!("xl create, median          {:.2} s", median(&mut xl).context("no turn")?);
    let ratio = median(&mut ratios).context("no turn")?;
    println!("ratio, median of turns     {ratio:.3}");
    ensure!(ratio <= RATIO, "missed: a ratio of {ratio:.3}, must be at most {RATIO}");
    Ok(())
}
