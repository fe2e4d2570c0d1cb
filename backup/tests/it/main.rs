//! Integration tests of the backup engine and tool.
// Helpers outside `#[test]` functions are test code too.
#![allow(clippy::unwrap_used)]

mod cli;
mod clock;
mod collect;
mod corpus;
mod crash;
mod damage;
mod export;
mod files;
mod follow;
mod gc_model;
mod hostile;
mod immutable;
mod instant;
mod keep;
mod mirror;
mod mount;
mod mutations;
mod nbd;
mod paper_kit;
mod parsers;
mod roundtrip;
mod s3;
mod s3_server;
mod sealed;
mod support;
mod xo;
