//! Disks on this host: its SRs, who uses which VDI, and what may be done with one now.
//!
//! Who copies the disks of a VM that may run (a backup, a move) does this: `Registry::execute` with
//! `VmAction::Snapshot`, which names a new id for each disk; then [`Storage::open_source`] of each of these ids;
//! then, with the sources dropped, [`Storage::delete`] of them.

mod answering;
mod attached;
mod busy;
mod copying;
mod full;
mod import;
mod in_use;
mod lease;
mod marks;
mod memory;
mod seed;
mod snapshot;
mod srs;
mod storage;

pub use attached::{AttachedSr, Attachments};
pub(crate) use busy::{Busy, Hold};
pub use full::SpaceGuard;
pub use import::Import;
pub(crate) use import::{download, scratch};
pub use in_use::InUse;
pub use lease::{Here, Wrong};
pub use marks::Point;
pub use memory::{MemoryHeader, MemoryImage, MemoryWriter};
pub use seed::SeedFile;
pub use snapshot::PendingSnapshots;
pub use storage::{Lent, Marked, Storage};
