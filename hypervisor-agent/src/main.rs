//! `xenith-agent`, the agent of one host.

mod cli;

use std::process::ExitCode;
use std::time::Duration;

/// For threads that are about to end: systemd kills what does not within 90 s.
const LAST_THREADS: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    // The agent's program is also that of its helper VMs.
    if let Some(code) = xenith_vmware_import::guest::helper::inside::asked() {
        return code;
    }
    xenith_common_pki::install_provider();
    xenith_common_telemetry::init();
    // dom0 has few virtual CPUs and better uses for them; the work is waiting for Xen, not computing.
    let threads = std::thread::available_parallelism().map_or(2, |cpus| cpus.get().min(4));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(cli::main());
            // What blocks a thread by now waits for a disk or a network that may never answer. It is found as a kill
            // would leave it, which each is made for; a host without an agent is worse.
            runtime.shutdown_timeout(LAST_THREADS);
            ended
        }
        Err(error) => {
            eprintln!("xenith-agent: cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}
