//! The seam between the agent and what keeps disks: one [`StorageDriver`] per SR.
//!
//! What always holds, for every driver:
//! * Calls block; they are made from worker threads. Calls about different VDIs may be made at the same time;
//!   the caller makes sure that there is one writer per VDI and that nothing is deleted while it is read.
//! * A VDI is found by its id. It is there completely or not at all: what a crash leaves half made is a left-over
//!   that [`StorageDriver::list`] shows and that no other call takes for a VDI.
//! * A snapshot is a VDI that never changes. Snapshots of one VDI are independent: each is deleted by itself, in
//!   any order, and nothing has to be merged.
//! * Repeating a call that was done is done at once.
//! * Where more than one host may have the SR, a driver has leases ([`StorageDriver::leases`]): the caller takes a VDI's
//!   before it writes it, or has it written.
//! * What changed since a snapshot is never too few; where a driver cannot tell, it says so and why.

pub mod changed;
#[cfg(feature = "test-support")]
pub mod conformance;
mod error;
mod extent_map;
pub mod file;
mod lease;
pub mod lvm_thin;
mod vdi_lease;

use std::fs::File;
use std::path::PathBuf;
use std::time::Instant;

use xenith_common_block::{BlockSink, BlockSource};
use xenith_common_ids::{SrId, VdiId};
use xenith_hypervisor_agent_types::{DamagedVdi, LeftOver, SnapshotOf, SrSpace, VdiFacts, VdiSize};

pub use error::{StorageError, is_full};
pub use lease::{LEASES, LeaseFolder};
pub use vdi_lease::{Broken, Taken, Taking, VDI_LEASES, VdiLeases};

pub type Result<T, E = StorageError> = std::result::Result<T, E>;

/// How a driver makes a snapshot or a clone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Blocks are shared until they are written: at once, whatever the size.
    CopyOnWrite,
    /// The contents are copied, which takes as long as it takes.
    FullCopy,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    pub vdis: Vec<VdiFacts>,
    pub left_overs: Vec<LeftOver>,
    /// VDIs that are there and cannot be used.
    pub damaged: Vec<DamagedVdi>,
}

/// Keeps disks. Implemented by `file` (raw images in a folder) and `lvm-thin`.
pub trait StorageDriver: Send + Sync + std::fmt::Debug + 'static {
    fn sr(&self) -> SrId;

    fn sharing(&self) -> Sharing;

    /// Of its VDIs. `None`: the SR is one host's, whose agent alone says who writes.
    fn leases(&self) -> Option<&VdiLeases> {
        None
    }

    fn space(&self) -> Result<SrSpace>;

    /// Bytes that are free, of all there are. Quick: it is asked again and again.
    fn room(&self) -> Result<(u64, u64)>;

    /// Everything that is there.
    fn list(&self) -> Result<Listing>;

    fn facts(&self, vdi: VdiId) -> Result<VdiFacts>;

    /// Makes sure that the VDI is there with this size; a new one is thin and reads as zeros.
    fn ensure(&self, vdi: VdiId, size: VdiSize) -> Result<VdiFacts>;

    /// Makes sure that the VDI or snapshot is not there.
    fn delete(&self, vdi: VdiId) -> Result<()>;

    /// Makes the VDI this large; a running guest's device too. Shrinking is refused.
    fn grow(&self, vdi: VdiId, size: VdiSize) -> Result<VdiFacts>;

    /// Begins a snapshot of several VDIs at one instant: everything that takes time and does not need them to
    /// stand still.
    fn prepare_snapshot(&self, disks: &[SnapshotOf]) -> Result<Box<dyn PendingSnapshot>>;

    /// Makes sure that `to` is there as a VDI with the contents of `from`, which stands still meanwhile.
    fn clone_vdi(&self, from: VdiId, to: VdiId) -> Result<VdiFacts>;

    /// Gives a VDI another id, which nothing has: how something that was made aside appears all at once.
    fn rename(&self, from: VdiId, to: VdiId) -> Result<VdiFacts>;

    /// Gives the VDI the contents and the size of a snapshot. Nobody may have it open.
    fn revert(&self, vdi: VdiId, snapshot: VdiId) -> Result<VdiFacts>;

    /// Gives a VDI that was made and never written the contents of a file of this host, by sharing its blocks: at once, and
    /// nothing is stored twice. `false`, with nothing done, where the two cannot share: then it is for the caller to copy.
    fn share(&self, vdi: VdiId, file: &File) -> Result<bool> {
        let _ = (vdi, file);
        Ok(false)
    }

    /// The raw image or block device that a domain is given.
    fn path(&self, vdi: VdiId) -> Result<PathBuf>;

    /// Reads a snapshot, or a VDI that nobody writes. Bases of [`BlockSource::changed_since`] are ids of snapshots
    /// in this SR.
    fn open_source(&self, vdi: VdiId) -> Result<Box<dyn BlockSource>>;

    /// Writes a VDI that nobody else has open.
    fn open_sink(&self, vdi: VdiId) -> Result<Box<dyn BlockSink>>;
}

/// A snapshot that is being made. Dropped before [`PendingSnapshot::commit`], it leaves nothing behind.
pub trait PendingSnapshot: Send {
    /// Takes it, while the VDIs stand still: as short as the driver can. Gives up at `deadline` where it copies.
    fn take(&mut self, deadline: Option<Instant>) -> Result<()>;

    /// Makes it durable and visible; the VDIs may be written again.
    fn commit(self: Box<Self>) -> Result<Vec<VdiFacts>>;
}
