//! The orchestrator with real agents over simulated hypervisors, over real TLS, through the API's client.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails, which is its purpose")]

mod access;
mod admins;
mod alarms;
mod audit_ends;
mod backups;
mod browser;
mod company;
mod console;
mod enrolment;
mod faults;
mod full_disk;
mod hardware;
mod harness;
mod import;
mod journal;
mod life;
mod listings;
mod lists;
mod mail;
mod metrics;
mod old_records;
mod orphans;
mod own_backup;
mod parked;
mod plans;
mod program;
mod proxy;
mod renewal;
mod resume;
mod sagas;
mod shared_storage;
mod skew;
mod standbys;
mod surface;
mod wire;
