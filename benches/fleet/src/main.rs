//! A fleet beside the real orchestrator: `xenith-benches-fleet [HOSTS] [VMS A HOST] [SECONDS A PHASE]`.
//!
//! This process hosts the agents: their real code, each over a simulated hypervisor, each with a port, a
//! certificate and a journal of its own. The orchestrator is the program that users run, found beside this one,
//! started over a store that was filled before. What goes between them is real gRPC over mutual TLS on loopback.
//! Agents' folders are in memory (`/dev/shm`), the orchestrator's store is on disk (`TMPDIR`).
#![allow(clippy::large_futures, reason = "a few of them, each awaited once")]

mod clients;
mod hosts;
mod load;
mod orchestrator;
mod report;
mod run;

use std::process::ExitCode;

/// All that is random follows from it.
const SEED: u64 = 20_260_901;

#[tokio::main]
async fn main() -> ExitCode {
    xenith_common_pki::install_provider();
    let number = |at: usize, otherwise: usize| {
        std::env::args().nth(at).map_or(Ok(otherwise), |text| text.parse::<usize>())
    };
    let wanted = (number(1, 2500), number(2, 100), number(3, 20));
    let (Ok(hosts), Ok(vms), Ok(seconds)) = wanted else {
        eprintln!("usage: xenith-benches-fleet [HOSTS] [VMS A HOST] [SECONDS A PHASE]");
        return ExitCode::FAILURE;
    };
    match run::run(run::Size { hosts, vms, seconds: seconds as u64 }).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xenith-benches-fleet: {error:#}");
            ExitCode::FAILURE
        }
    }
}
