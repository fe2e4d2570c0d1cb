//! Disks on this host: its SRs, who uses which VDI, and what may be done with one now.
//!
//! Who copies the disks of a VM that may run (a backup, a move) does this: `Registry::execute` with
//! `VmAction::Snapshot`, which names a new id for each disk; then [`Storage::open_source`] of each of these ids;
//! then, with the sources dropped, [`Storage::delete`] of them.

mod busy;
mod in_use;
mod snapshot;
mod storage;

pub use in_use::InUse;
pub use snapshot::PendingSnapshots;
pub use storage::Storage;
