//! Integration tests of the backup engine and tool.
// Helpers outside `#[test]` functions are test code too.
#![allow(clippy::unwrap_used)]

mod cli;
mod collect;
mod corpus;
mod crash;
mod damage;
mod gc_model;
mod nbd;
mod roundtrip;
mod s3;
mod support;
