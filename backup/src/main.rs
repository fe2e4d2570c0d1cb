//! `xenith-backup`: the repository tool.

mod cli;
mod cmd;

use std::process::ExitCode;

fn main() -> ExitCode {
    // The one TLS provider; fails only if it is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn")),
        )
        .without_time()
        .init();
    match cmd::run(cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xenith-backup: {error:#}");
            cmd::exit_code(&error)
        }
    }
}
