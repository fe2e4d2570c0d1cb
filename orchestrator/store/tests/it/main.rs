//! The store's tests: the conformance suite on each backend, and what only a disk can do wrong.
#![allow(clippy::unwrap_used, reason = "tests say by panicking what went wrong")]

mod conformance;
mod crash;
mod damage;
mod full_disk;
mod migration;
mod opening;
mod small_disk;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Set for a child: what it works on.
const CHILD_FOLDER: &str = "XENITH_STORE_TEST_FOLDER";

/// The folder given to this process, if it is a child of a test.
fn child_folder() -> Option<PathBuf> {
    std::env::var_os(CHILD_FOLDER).map(PathBuf::from)
}

/// Runs one test of this binary as a process of its own.
fn spawn_child(test: &str, folder: &std::path::Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD_FOLDER, folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}
