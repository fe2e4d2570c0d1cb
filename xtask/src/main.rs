//! All automation of the project. The Makefile only forwards to it; each verb is a file of its own.

mod cli;
mod crate_graph;
mod docs;
mod exec;
mod iso;
mod lab;
mod lab_test;
mod licences;
mod manifests;
mod run;
mod setup;
mod sizes;
mod step;
mod test;
mod tree;
mod ui;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
