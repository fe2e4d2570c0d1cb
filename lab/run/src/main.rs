//! `xenith-run`: the product on one machine, for `make run`. Starts an orchestrator and hosts for it, owns
//! them, and ends them together.

mod bridge;
mod child;
mod cli;
mod host;
mod orchestrator;
mod place;
mod run;
mod welcome;

use std::process::ExitCode;

// One thread: children end with the thread that started them, and this one lives as long as the program.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    xenith_common_pki::install_provider();
    match run::run(&cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("run: {error:#}");
            ExitCode::FAILURE
        }
    }
}
