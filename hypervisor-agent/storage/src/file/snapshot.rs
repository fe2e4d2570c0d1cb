//! A snapshot of several images at one instant.
//!
//! Before it, empty files are made; while the guests stand, blocks are shared (or, where the file system cannot,
//! copied against a deadline); after it, everything is made durable and renamed. A crash between the renames leaves
//! some of the set: the call made again takes all of them anew, because nobody was told of them.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use xenith_common_ids::VdiId;
use xenith_hypervisor_agent_types::{SnapshotOf, VdiFacts};

use super::{FileDriver, Found, Kind, Meta, Partial, loops};
use crate::{PendingSnapshot, Result, StorageError};

struct One {
    of: SnapshotOf,
    from: Found,
    partial: Partial,
}

pub struct Pending {
    driver: FileDriver,
    making: Vec<One>,
    /// Set where all were there already.
    there: Vec<VdiId>,
}

impl Pending {
    pub fn prepare(driver: &FileDriver, disks: &[SnapshotOf]) -> Result<Self> {
        let mut there = Vec::new();
        for of in disks {
            match driver.find(of.snapshot) {
                Ok(found) if found.kind == Kind::Snapshot && found.snapshot_of == Some(of.vdi) => {
                    there.push(of.snapshot)
                }
                Ok(_) => return Err(StorageError::Exists { vdi: of.snapshot }),
                Err(StorageError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if there.len() == disks.len() {
            return Ok(Self { driver: driver.clone(), making: Vec::new(), there });
        }
        for half_made in there {
            crate::StorageDriver::delete(driver, half_made)?;
        }
        let one = |of: &SnapshotOf| {
            let from = driver.find_writable(of.vdi)?;
            let partial = Partial::create(driver.frozen(of.snapshot).with_extension("snap.partial"));
            Ok(One { of: *of, from, partial: partial.map_err(driver.io("snapshot", of.vdi))? })
        };
        let making = disks.iter().map(one).collect::<Result<_>>()?;
        Ok(Self { driver: driver.clone(), making, there: Vec::new() })
    }
}

impl PendingSnapshot for Pending {
    fn take(&mut self, deadline: Option<Instant>) -> Result<()> {
        for one in &self.making {
            loops::flush(&one.from.path).map_err(self.driver.io("flush", one.of.vdi))?;
        }
        for one in &self.making {
            self.driver.fill(one.of.vdi, &one.from, &one.partial.path, deadline)?;
        }
        Ok(())
    }

    fn commit(self: Box<Self>) -> Result<Vec<VdiFacts>> {
        let Self { driver, making, there } = *self;
        let mut ids = there;
        for one in making {
            let io = driver.io("snapshot", one.of.vdi);
            File::open(&one.partial.path).and_then(|file| file.sync_all()).map_err(&io)?;
            driver.note(one.of.snapshot, &Meta::new(one.from.size, Some(one.of.vdi)))?;
            fs::set_permissions(&one.partial.path, fs::Permissions::from_mode(0o400)).map_err(&io)?;
            one.partial.commit(&driver.frozen(one.of.snapshot)).map_err(&io)?;
            ids.push(one.of.snapshot);
        }
        if let Some(first) = ids.first() {
            driver.sync_folder().map_err(driver.io("snapshot", *first))?;
        }
        ids.into_iter().map(|id| crate::StorageDriver::facts(&driver, id)).collect()
    }
}
