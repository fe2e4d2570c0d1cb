//! The helper VM: the only place where a stranger's filesystems are mounted.
//!
//! ```text
//! host                                     helper VM, without a network
//! initramfs (our program, its libraries,
//!   modules, the job)            ------->  overlay on each disk -> find the root -> mount -> plan -> change
//! copied disks, work disk                       |                                       |
//!   report on the work disk      <-------  "failed", off: the disks are as copied   "merging" -> "done", off
//! ```
//!
//! What always holds: the disks are not written before everything has succeeded on overlays (`dm-snapshot`) whose
//! blocks lie on the work disk. The commit point is the report "merging": from there a helper that dies is started
//! again with the same work disk and only goes on merging ([`Phase::Merging`]); before it, a new one begins anew with
//! an empty work disk. What the helper reports was written in reach of a stranger's programs: the host reads it as
//! foreign data ([`report`]).

pub mod inside;
pub mod machine;
pub mod report;

mod disks;
mod root;
mod system;

use serde::{Deserialize, Serialize};

pub use report::{Phase, Report};

/// The words after `--` on the helper's kernel command line: the program is told to be the helper's first process.
pub const INIT_COMMAND: &str = "helper-init";
/// The program calls itself so, with a mounted root, to work inside it.
pub const ROOT_COMMAND: &str = "helper-root";
/// Where the job lies in the initramfs.
pub(crate) const JOB: &str = "/job.json";
pub(crate) const MODULES: &str = "/modules.list";

/// What a helper is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Block devices as the helper sees them, such as `xvda`, in the order that they had at their source.
    pub disks: Vec<String>,
    /// The block device for the report and the overlays' blocks.
    pub work: String,
    /// MAC addresses in the order of the adapters.
    pub macs: Vec<String>,
}

/// The size of a work disk for disks of `capacities` bytes. It is sparse: what counts is what is changed.
#[must_use]
pub fn work_size(capacities: &[u64]) -> u64 {
    report::SIZE + capacities.iter().map(|capacity| overlay_size(*capacity)).sum::<u64>()
}

/// Bytes for the changes on one disk: an initramfs or two, a journal, and much more; never more than the disk itself
/// and its tables.
pub(crate) fn overlay_size(capacity: u64) -> u64 {
    const MOST: u64 = 8 << 30;
    const TABLES: u64 = 16 << 20;
    (capacity + capacity / 64 + TABLES).min(MOST).next_multiple_of(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_work_disk_has_room_for_all_of_a_small_disk_and_some_of_a_large_one() {
        assert!(overlay_size(1 << 30) > (1 << 30) + (1 << 24));
        assert_eq!(overlay_size(1 << 40), 8 << 30);
        assert_eq!(work_size(&[1 << 40, 1 << 40]), report::SIZE + (16 << 30));
    }
}
