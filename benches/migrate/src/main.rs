//! Moves of one guest between two lab hosts as it runs and writes memory, by turns: `xenith vm migrate --wait` through the
//! orchestrator and the agents, and `xl migrate` over ssh from dom0 to dom0.
//!
//! `xenith-benches-migrate [TURNS]`, beside a built `xenith-orchestrator`, `xenith` and the lab's agent. Ends with a failure
//! where a ratio is above what is promised.

mod beats;
mod report;
mod turn;

use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;
use xenith_lab::Accel;
use xenith_lab_scenario::{Programs, Stage, by_turns, join_pool};
use xenith_orchestrator_api::network;

use crate::turn::{Turn, Turns};

const TURNS: usize = 6;

#[tokio::main]
async fn main() -> ExitCode {
    xenith_common_pki::install_provider();
    by_turns("xenith-benches-migrate", TURNS, bench).await
}

async fn bench(turns: usize) -> Result<()> {
    let programs = Programs::find()?;
    let (one, other, _lan) = Box::pin(Stage::pair(&programs, "bench-migrate")).await?;
    let hosts = [&one, &other];
    let done = Box::pin(measure(hosts, &programs, turns)).await;
    if done.is_err() {
        for stage in hosts {
            eprintln!("--- {}\n{}", stage.name, stage.logs().await);
        }
    }
    println!("accelerator                     {:?}", Accel::detect());
    report::print(&done?)
}

async fn measure(hosts: [&Stage; 2], programs: &Programs, turns: usize) -> Result<Vec<Turn>> {
    Box::pin(join_pool(hosts, programs)).await?;
    let lan = json!({ "name": "lan", "bridge": "xenbr0" });
    hosts[0].orchestrator.call::<network::Create>(lan).await?;
    let ready = Box::pin(Turns::new(hosts)).await?;
    Box::pin(ready.run(turns)).await
}
