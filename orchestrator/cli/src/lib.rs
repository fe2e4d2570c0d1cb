//! The command `xenith`: one client of the orchestrator among others, with no rights of its own.
//!
//! What always holds:
//! * Standard output carries results only, standard error everything else: progress, questions, errors.
//! * What a program reads (`-o json|yaml|name|id`, exit codes) does not depend on whether a terminal is there;
//!   what a person reads may. Nothing waits for a person where none is.
//! * Text that came from elsewhere is printed without its control characters ([`output::clean`]).
//! * Secrets are read without echo, never taken as arguments (others could read them in the list of processes),
//!   and kept in a file that only its owner can read.
//!
//! Names are resolved by the orchestrator; filters, too. A crash or Ctrl-C leaves a started task running.

pub mod cli;

mod app;
mod ask;
mod config;
mod error;
mod live;
mod output;
mod run;
mod spec;
mod table;
mod wait;
mod words;

use std::process::ExitCode;

use app::App;

/// Runs the command that this process' arguments say.
#[must_use]
pub fn main() -> ExitCode {
    // A person at a terminal is not helped by a stack trace.
    std::panic::set_hook(Box::new(|panic| eprintln!("{}", words::of_panic(panic))));
    // Only warnings, unless asked for more: what happened is said by the error itself.
    if std::env::var_os("XENITH_LOG").is_some() {
        xenith_common_telemetry::init();
    }
    xenith_common_pki::install_provider();
    let cli = cli::parse();
    let app = App::new(cli.global);
    // One thread is enough to wait for answers, and starts faster than a pool.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("xenith: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(Box::pin(run::run(&app, cli.command)));
    // A question or a read of standard input may still block a thread; nobody needs it any more.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            app.report(&error);
            ExitCode::from(error.exit_code())
        }
    }
}
