//! `xenith-orchestrator`.

mod cli;
mod memory;
mod restore;

use std::process::ExitCode;

use xenith_orchestrator::config::Config;
use xenith_orchestrator::orchestrator::Orchestrator;

fn main() -> ExitCode {
    memory::share_arenas();
    serve()
}

#[tokio::main]
async fn serve() -> ExitCode {
    xenith_common_pki::install_provider();
    let arguments = cli::parse();
    xenith_common_telemetry::init();
    match run(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xenith-orchestrator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &cli::Arguments) -> anyhow::Result<()> {
    let config = arguments.apply(Config::load(arguments.config.as_deref())?);
    match &arguments.command {
        Some(cli::Command::Restore(arguments)) => return restore::run(arguments, &config).await,
        Some(cli::Command::MasterKey) => return restore::show_master_key(&config),
        None => {}
    }
    let orchestrator = Orchestrator::start(&config).await?;
    println!("listening  https://{}", orchestrator.address);
    println!("authority  {}", orchestrator.fingerprint);
    if let Some(password) = &orchestrator.first_password {
        println!("password   {password}  (of the user admin; shown this once)");
    }
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result?,
        _ = terminate.recv() => {}
    }
    tracing::info!("stopping");
    if let Err(stragglers) = orchestrator.stop().await {
        tracing::warn!(%stragglers, "not everything ended in time");
    }
    Ok(())
}
