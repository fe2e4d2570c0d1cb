//! VMs on this host: one owner task each.
//!
//! [`state`] decides (pure), [`driver`] does (every call that can block or fail), [`owner`] is the task that
//! ties the two together, [`adopt`] finds the way back after a restart of the agent, [`registry`] knows all
//! owners, [`publisher`] tells the world.

pub mod adopt;
pub mod apply;
mod ask;
mod change;
mod cpu;
pub mod domain_spec;
pub mod driver;
mod keep_memory;
mod leases;
mod migrate;
pub mod owner;
pub mod publisher;
pub mod registry;
mod revert_memory;
mod snapshot;
pub mod state;
