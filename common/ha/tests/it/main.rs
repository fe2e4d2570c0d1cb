//! Ten thousand simulated partitions: never do two hosts run one VM.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]
#![allow(clippy::collapsible_match, reason = "a guard that changes something reads badly")]

mod host;
mod orchestrator;
mod partitions;
mod world;
