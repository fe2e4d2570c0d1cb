//! `xenith`: the administrator's command.

use std::process::ExitCode;

fn main() -> ExitCode {
    xenith_orchestrator_cli::main()
}
