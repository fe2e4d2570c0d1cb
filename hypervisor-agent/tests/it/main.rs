//! The agent from outside: the real server over the simulated host, spoken to by the real client over mutual
//! TLS. One file per promise.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where by panicking")]

mod adoption;
mod autostart;
mod certificates;
mod commands;
mod console;
mod encrypted;
mod enrolment;
mod fence;
mod frames;
mod full_disk;
mod full_sr;
mod guest_agent;
mod guest_facts;
mod ha;
mod harness;
mod imports;
mod instant;
mod leases;
mod lost;
mod lost_marks;
mod memory_snapshots;
mod migrations;
mod networks;
mod old_records;
mod packets;
mod policies;
mod prepare;
mod program;
mod proofs;
mod quiesce;
mod repeats;
mod snapshots;
mod srs;
mod stopping;
mod systems;
mod transfers;
mod tunnels;
mod unmanaged;
mod watching;
