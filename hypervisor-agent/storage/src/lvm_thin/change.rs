//! The commands that change volumes: each is one step, which is done or not.

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use xenith_common_ids::VdiId;

use super::LvmThinDriver;
use super::names::dm_name;
use super::programs::Call;
use crate::Result;

/// A volume that was just closed is looked at once more by udev, which has it open for a moment.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(100);

/// How a volume that shares blocks is made.
pub(super) struct Sharer<'a> {
    /// As LVM calls it: `r`, `rw`.
    pub permission: &'a str,
    pub tags: &'a [String],
    pub action: &'static str,
}

pub(super) const CLONE: Sharer<'static> = Sharer { permission: "rw", tags: &[], action: "clone" };
pub(super) const REVERT: Sharer<'static> = Sharer { permission: "rw", tags: &[], action: "revert" };

impl LvmThinDriver {
    pub(super) fn rename_volume(&self, vdi: VdiId, from: &str, to: &str) -> Result<()> {
        let call = Call::change("lvrename").and(&self.pool.group).and(from).and(to);
        self.machine.run(&call).map_err(self.io("rename", vdi))
    }

    /// How many have it open; `None`: nobody can tell.
    pub(super) fn openers(&self, volume: &str) -> Option<u64> {
        let device = dm_name(&self.pool.group, volume);
        let call = Call::new("dmsetup info --columns --noheadings --options open").and(device);
        self.machine.ask(&call, 4096).ok()?.trim().parse().ok()
    }

    /// The same, when who looks at it in passing has gone.
    pub(super) fn lasting_openers(&self, volume: &str) -> Option<u64> {
        let until = Instant::now() + CLOSED_WITHIN;
        loop {
            match self.openers(volume) {
                Some(1..) if Instant::now() < until => std::thread::sleep(LOOK),
                found => return found,
            }
        }
    }

    /// A volume that is no VDI any more. Its blocks go back to the pool, and to the disks under it where these want them.
    pub(super) fn remove(&self, vdi: VdiId, volume: &str) -> Result<()> {
        // LVM itself refuses one that somebody has open, but not to trim it.
        if self.lasting_openers(volume) == Some(0) {
            let trim = Call::long("blkdiscard").and(self.device(volume).display().to_string());
            let trimmed = self.machine.run(&trim).or_else(|_| {
                // A snapshot's volume is for reading.
                let call = Call::change("lvchange --permission rw").and(self.path_in_group(volume));
                self.machine.run(&call).and_then(|()| self.machine.run(&trim))
            });
            if let Err(error) = trimmed {
                tracing::debug!(%vdi, %error, "the disk under it is not told of free blocks");
            }
        }
        let call = Call::change("lvremove --yes").and(self.path_in_group(volume));
        self.machine.run(&call).map_err(self.io("delete", vdi))
    }

    /// A volume that shares the blocks of another until they are written.
    pub(super) fn share(&self, (from, to): (&str, &str), vdi: VdiId, what: &Sharer<'_>) -> Result<()> {
        let call =
            Call::change("lvcreate --snapshot --setactivationskip n --permission").and(what.permission);
        let call = what.tags.iter().fold(call, |call, tag| call.and("--addtag").and(tag));
        let call = call.and("--name").and(to).and(self.path_in_group(from));
        self.machine.run(&call).map_err(self.io(what.action, vdi))
    }

    /// What dom0 holds back is written out: the kernel shares blocks as they are in the pool.
    pub(super) fn flush(&self, volume: &str) -> io::Result<()> {
        File::open(self.device(volume))?.sync_all()
    }
}
