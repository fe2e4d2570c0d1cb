//! `xenith-agent`, the agent of one host.

mod cli;

use std::process::ExitCode;

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
        Ok(runtime) => runtime.block_on(cli::main()),
        Err(error) => {
            eprintln!("xenith-agent: cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}
