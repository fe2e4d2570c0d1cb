//! The conformance suite on each driver and file system, and what only one of them can do wrong.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where by panicking")]

mod conformance;
mod file;
mod lvm_model;
mod lvm_thin;
mod xfs;
