//! The orchestrator: owns what is intended, listens to what is observed, and closes the gap in logged steps.
//!
//! A call comes in through [`http`] and [`rpc`], is decided in [`app`], done by [`sagas`] over the [`fleet`], and
//! is seen in [`views`]. [`orchestrator`] puts it all together.

pub mod alarms;
pub mod app;
pub mod audit;
pub mod authn;
pub mod authority;
pub mod background;
pub mod backup_runner;
pub mod balance;
mod by_id;
pub mod catalogue;
pub mod changes;
pub mod config;
pub mod console;
pub mod cpu_level;
pub mod db;
pub mod enrol;
mod errors;
pub mod events;
pub mod fleet;
mod forget;
mod gathered;
pub mod ha;
pub mod http;
pub mod identities;
pub mod imports;
pub mod mail;
pub mod metering;
pub mod model;
pub mod networking;
mod odd_change;
pub mod orchestrator;
pub mod orphans;
mod outbox;
pub mod own_backup;
pub mod own_host;
mod pieces;
pub mod placement;
pub mod power;
mod protection;
pub mod readers;
mod records;
pub mod rpc;
mod runs;
pub mod sagas;
pub mod schedule;
pub mod secret;
mod snapshots;
mod upkeep;
pub mod views;
mod vsphere;
