//! A fleet beside the real orchestrator: `xenith-benches-fleet [HOSTS] [VMS A HOST] [SECONDS A PHASE] [SECONDS BETWEEN
//! TELLINGS]`, or `xenith-benches-fleet rules [HOSTS] [VMS A HOST] [CHANGES] [SECONDS BETWEEN TELLINGS]`.
//!
//! This process hosts the agents: their real code, each over a simulated hypervisor, each with a port, a
//! certificate and a journal of its own. The orchestrator is the program that users run, found beside this one,
//! started over a store that was filled before. What goes between them is real gRPC over mutual TLS on loopback.
//! Agents' folders are in memory (`/dev/shm`), the orchestrator's store is on disk (`TMPDIR`).
//!
//! With 0 seconds a phase nothing is measured here: the fleet stands there for a browser (`stand`).
//!
//! Ends with a failure, and names them, where figures miss what must be kept.
#![allow(clippy::large_futures, reason = "a few of them, each awaited once")]

mod asked;
mod clients;
mod hosts;
mod load;
mod orchestrator;
mod report;
mod rules;
mod run;
mod stand;

use std::process::ExitCode;

use rustix::process::setpriority_process;
use rustix::thread::gettid;

/// All that is random follows from it.
const SEED: u64 = 20_260_901;

fn main() -> ExitCode {
    xenith_common_pki::install_provider();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some((size, work)) = asked::parse(&words) else {
        eprintln!("{}", asked::USAGE);
        return ExitCode::FAILURE;
    };
    // Agents have machines of their own: here they take the CPU time that the orchestrator leaves. This thread, which
    // starts it, is none of theirs.
    let give_way = || {
        let _lower_is_never_refused = setpriority_process(Some(gettid()), 5);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().on_thread_start(give_way).build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run::run(size, work))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xenith-benches-fleet: {error:#}");
            ExitCode::FAILURE
        }
    }
}
