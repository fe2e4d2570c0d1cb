//! The agent of one host: runs VMs over a [`Hypervisor`](xenith_hypervisor_agent_backend::Hypervisor), keeps
//! their definitions, and tells its orchestrator what it sees.
//!
//! VMs keep running, restart with the host and keep their settings with the orchestrator gone: all that is
//! needed for that is in the [`journal`].

pub mod agent;
pub mod backends;
pub mod backup;
pub mod config;
pub mod console;
pub mod disk;
pub mod doctor;
pub mod enrol;
mod fault;
pub mod fence;
pub mod guest_agent;
pub mod ha;
pub mod identity;
pub mod import;
pub mod instant;
pub mod journal;
mod lock;
pub mod management;
pub mod metrics;
pub mod migration;
pub mod network;
mod notify;
pub mod operations;
pub mod progress;
pub mod proof;
pub mod run;
pub mod server;
pub mod system;
pub mod transfer;
pub mod vm;
