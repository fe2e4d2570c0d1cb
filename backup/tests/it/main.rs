//! Integration tests of the backup engine and tool.

mod cli;
mod collect;
mod crash;
mod damage;
mod gc_model;
mod roundtrip;
mod support;
