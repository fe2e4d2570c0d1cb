//! The command as scripts and people see it: a process with arguments, an environment and two outputs, against a
//! server with canned answers.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails, which is its purpose")]

mod coverage;
mod errors;
mod files;
#[path = "../../../tests/it/harness.rs"]
#[allow(dead_code, reason = "the orchestrator's tests use the rest")]
mod harness;
mod import;
mod lists;
mod login;
mod program;
mod samples;
#[path = "../../../client/tests/it/server.rs"]
#[allow(dead_code, reason = "the client's tests use the rest")]
mod server;
mod tasks;
mod texts;
mod vm_flags;
