//! A snapshot of several volumes at one instant.
//!
//! While the guests stand, a volume is made of each, with a tag that says that not all are there yet. One command takes
//! the tags off. A crash before leaves volumes that are no VDIs, and that the next attaching of the SR, or the same call,
//! removes; one in the middle of it leaves some of the set: the call made again takes all of them anew, because nobody was
//! told of them.

use std::time::Instant;

use xenith_common_ids::VdiId;
use xenith_hypervisor_agent_types::{SnapshotOf, VdiFacts};

use super::change::Sharer;
use super::names::{MAKING, Role, name, of_tag};
use super::programs::Call;
use super::{Found, LvmThinDriver};
use crate::{PendingSnapshot, Result, StorageDriver, StorageError};

pub struct Pending {
    driver: LvmThinDriver,
    making: Vec<(SnapshotOf, Found)>,
    /// How many of them have a volume.
    taken: usize,
    /// Set where all were there already.
    there: Vec<VdiId>,
}

impl Pending {
    pub fn prepare(driver: &LvmThinDriver, disks: &[SnapshotOf]) -> Result<Self> {
        let mut there = Vec::new();
        for of in disks {
            match driver.settled(of.snapshot) {
                Ok(found) if found.snapshot_of == Some(of.vdi) => there.push(of.snapshot),
                Ok(_) => return Err(StorageError::Exists { vdi: of.snapshot }),
                Err(StorageError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let pending = |making, there| Self { driver: driver.clone(), making, taken: 0, there };
        if there.len() == disks.len() {
            return Ok(pending(Vec::new(), there));
        }
        for half_made in there {
            driver.delete(half_made)?;
        }
        let one = |of: &SnapshotOf| Ok((*of, super::writable(of.vdi, driver.find(of.vdi)?)?));
        Ok(pending(disks.iter().map(one).collect::<Result<_>>()?, Vec::new()))
    }
}

impl PendingSnapshot for Pending {
    /// Takes no account of a deadline: nothing is copied.
    fn take(&mut self, _: Option<Instant>) -> Result<()> {
        let driver = &self.driver;
        for (of, from) in &self.making {
            driver.flush(&from.volume.name).map_err(driver.io("flush", of.vdi))?;
        }
        for (of, from) in &self.making {
            let tags = [of_tag(of.vdi), MAKING.to_owned()];
            let how = Sharer { permission: "r", tags: &tags, action: "snapshot" };
            // Counted before: the command may be done although it failed.
            self.taken += 1;
            driver.share((&from.volume.name, &name(of.snapshot, Role::Main)), of.vdi, &how)?;
        }
        Ok(())
    }

    fn commit(mut self: Box<Self>) -> Result<Vec<VdiFacts>> {
        let driver = self.driver.clone();
        if let Some((first, _)) = self.making.first() {
            let call = Call::change("lvchange --deltag").and(MAKING);
            let volumes =
                self.making.iter().map(|(of, _)| driver.path_in_group(&name(of.snapshot, Role::Main)));
            let call = volumes.fold(call, Call::and);
            driver.machine.run(&call).map_err(driver.io("snapshot", first.vdi))?;
        }
        self.taken = 0;
        let made = self.making.iter().map(|(of, _)| of.snapshot);
        self.there.iter().copied().chain(made).map(|id| driver.facts(id)).collect()
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        for (of, _) in self.making.iter().take(self.taken) {
            // What cannot be removed is listed as a left-over, and tidied later.
            if let Err(error) = self.driver.delete(of.snapshot) {
                tracing::warn!(vdi = %of.snapshot, %error, "what was made of a snapshot cannot be removed");
            }
        }
    }
}
