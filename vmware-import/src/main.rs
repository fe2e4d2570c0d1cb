//! The thin binary: everything is in the library and in `cli`.

use std::process::ExitCode;

mod cli;
mod guest_tool;
mod live;
mod output;

fn main() -> ExitCode {
    cli::run()
}
