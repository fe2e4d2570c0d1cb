//! The thin binary: everything is in the library and in `cli`.

use std::process::ExitCode;

mod cli;
mod guest_tool;
mod live;
mod output;
mod package_tool;

fn main() -> ExitCode {
    xenith_vmware_import::guest::helper::inside::asked().unwrap_or_else(cli::run)
}
