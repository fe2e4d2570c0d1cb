//! `xenith-orchestrator`.

mod cli;
mod memory;
mod restore;
mod threads;

use std::process::ExitCode;
use std::time::Duration;

use tokio::runtime::Handle;
use xenith_common_tasks::Stop;
use xenith_orchestrator::config::Config;
use xenith_orchestrator::orchestrator::Orchestrator;

/// For threads that are about to end: systemd kills what does not within 90 s.
const LAST_THREADS: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    memory::bound_glibc();
    xenith_common_pki::install_provider();
    let arguments = cli::parse();
    xenith_common_telemetry::init();
    match serve(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xenith-orchestrator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &cli::Arguments) -> anyhow::Result<()> {
    let (calls, background) = (threads::for_calls()?, threads::for_background()?);
    let ended = calls.block_on(run(arguments, background.handle()));
    // What blocks a thread by now waits for a disk or a network that may never answer; it is left as by a kill.
    background.shutdown_timeout(LAST_THREADS);
    calls.shutdown_timeout(LAST_THREADS);
    ended
}

async fn run(arguments: &cli::Arguments, background: &Handle) -> anyhow::Result<()> {
    let config = arguments.apply(Config::load(arguments.config.as_deref())?);
    match &arguments.command {
        Some(cli::Command::Restore(arguments)) => return restore::run(arguments, &config).await,
        Some(cli::Command::MasterKey) => return restore::show_master_key(&config),
        None => {}
    }
    let orchestrator = Orchestrator::start_beside(&config, background.clone()).await?;
    // Before who reads that may ask for its end.
    let mut stop = Stop::listen()?;
    print!("{}", orchestrator.first_words());
    stop.asked().await;
    tracing::info!("stopping");
    if let Err(stragglers) = orchestrator.stop().await {
        tracing::warn!(%stragglers, "not everything ended in time");
    }
    Ok(())
}
