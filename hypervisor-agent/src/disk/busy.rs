//! What is being done with VDIs: several may read one, or one may change it. Nobody waits; who comes second is told.
//!
//! A reader that takes long (a copy, an export) also needs that no VM begins to write: what it read would be of two
//! moments. A snapshot of a VM's disks is no such reader, because the VM itself takes it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use xenith_common_ids::{SrId, VdiId};
use xenith_hypervisor_agent_types::{DiskAccess, Fault, FaultReason};

#[derive(Debug, Clone, Copy)]
struct Use {
    readers: usize,
    /// Of the readers, those that no VM may write under.
    still: usize,
    changing: bool,
    /// Where it is being made; until it is there, its SR does not know it.
    made_in: Option<SrId>,
    /// "being copied"; of the last one that came.
    what: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    ReadStill,
    Change,
}

/// All clones are one table.
#[derive(Debug, Clone, Default)]
pub struct Busy(Arc<Mutex<HashMap<VdiId, Use>>>);

/// Lets go when dropped.
#[derive(Debug)]
pub struct Hold {
    busy: Busy,
    vdi: VdiId,
    kind: Kind,
}

fn refused(vdi: VdiId, what: &str) -> Fault {
    Fault::new(FaultReason::WrongState, format_args!("VDI {vdi} is {what}; wait until that is done"))
}

impl Busy {
    fn lock(&self) -> MutexGuard<'_, HashMap<VdiId, Use>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Together with other readers.
    pub fn read(&self, vdi: VdiId, what: &'static str) -> Result<Hold, Fault> {
        self.read_as(Kind::Read, vdi, what)
    }

    /// Together with other readers, and no VM begins to write it.
    pub fn read_still(&self, vdi: VdiId, what: &'static str) -> Result<Hold, Fault> {
        self.read_as(Kind::ReadStill, vdi, what)
    }

    fn read_as(&self, kind: Kind, vdi: VdiId, what: &'static str) -> Result<Hold, Fault> {
        let mut table = self.lock();
        let new = Use { readers: 0, still: 0, changing: false, made_in: None, what };
        let entry = table.entry(vdi).or_insert(new);
        if entry.changing {
            return Err(refused(vdi, entry.what));
        }
        entry.readers += 1;
        entry.still += usize::from(kind == Kind::ReadStill);
        entry.what = what;
        Ok(Hold { busy: self.clone(), vdi, kind })
    }

    /// Alone.
    pub fn change(&self, vdi: VdiId, what: &'static str) -> Result<Hold, Fault> {
        self.change_as(vdi, None, what)
    }

    /// Alone, one that is made in `sr`.
    pub fn make(&self, vdi: VdiId, sr: SrId, what: &'static str) -> Result<Hold, Fault> {
        self.change_as(vdi, Some(sr), what)
    }

    fn change_as(&self, vdi: VdiId, made_in: Option<SrId>, what: &'static str) -> Result<Hold, Fault> {
        let mut table = self.lock();
        if let Some(other) = table.get(&vdi) {
            return Err(refused(vdi, other.what));
        }
        table.insert(vdi, Use { readers: 0, still: 0, changing: true, made_in, what });
        Ok(Hold { busy: self.clone(), vdi, kind: Kind::Change })
    }

    /// Whether somebody changes or makes it.
    #[must_use]
    pub fn is_changing(&self, vdi: VdiId) -> bool {
        self.lock().get(&vdi).is_some_and(|known| known.changing)
    }

    /// One that is made in the SR, or is worked on and of which `holds` says that it is there.
    #[must_use]
    pub fn any_in(&self, sr: SrId, mut holds: impl FnMut(VdiId) -> bool) -> Option<VdiId> {
        // Copied out: asking may take a while.
        let table: Vec<(VdiId, Option<SrId>)> =
            self.lock().iter().map(|(vdi, known)| (*vdi, known.made_in)).collect();
        let here = |(vdi, made_in): &(VdiId, Option<SrId>)| *made_in == Some(sr) || holds(*vdi);
        table.into_iter().find(here).map(|(vdi, _)| vdi)
    }

    /// Refuses a VM what is being changed, and to write what must stand still.
    pub fn check_opens(&self, vdi: VdiId, access: DiskAccess) -> Result<(), Fault> {
        match self.lock().get(&vdi) {
            Some(other) if other.changing || (access == DiskAccess::ReadWrite && other.still > 0) => {
                Err(refused(vdi, other.what))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut table = self.busy.lock();
        let Some(entry) = table.get_mut(&self.vdi) else { return };
        match self.kind {
            Kind::Change => {}
            Kind::Read => entry.readers -= 1,
            Kind::ReadStill => {
                entry.readers -= 1;
                entry.still -= 1;
            }
        }
        if entry.readers == 0 {
            table.remove(&self.vdi);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_read_or_one_changes() {
        let busy = Busy::default();
        let vdi = VdiId::new();
        let (first, second) = (busy.read(vdi, "being read").unwrap(), busy.read(vdi, "being read").unwrap());
        let refused = busy.change(vdi, "being deleted").unwrap_err();
        assert_eq!(refused.reason, FaultReason::WrongState);
        assert!(refused.message.contains("being read"), "{refused}");
        busy.check_opens(vdi, DiskAccess::ReadWrite).unwrap();
        drop(first);
        assert!(busy.change(vdi, "being deleted").is_err());
        drop(second);
        assert!(!busy.is_changing(vdi));
        let change = busy.change(vdi, "being written").unwrap();
        assert!(busy.is_changing(vdi));
        assert!(
            busy.read(vdi, "being read").is_err() && busy.check_opens(vdi, DiskAccess::ReadOnly).is_err()
        );
        assert!(busy.change(vdi, "being deleted").is_err());
        busy.change(VdiId::new(), "being deleted").unwrap();
        drop(change);
        busy.read(vdi, "being read").unwrap();
    }

    #[test]
    fn nobody_writes_under_a_reader_that_takes_long() {
        let busy = Busy::default();
        let vdi = VdiId::new();
        let (snapshot, copy) =
            (busy.read(vdi, "being snapshotted").unwrap(), busy.read_still(vdi, "being copied").unwrap());
        let refused = busy.check_opens(vdi, DiskAccess::ReadWrite).unwrap_err();
        assert!(refused.message.contains("being copied"), "{refused}");
        busy.check_opens(vdi, DiskAccess::ReadOnly).unwrap();
        drop(copy);
        busy.check_opens(vdi, DiskAccess::ReadWrite).unwrap();
        drop(snapshot);
        busy.change(vdi, "being deleted").unwrap();
    }

    #[test]
    fn what_is_being_made_counts_for_its_sr() {
        let busy = Busy::default();
        let (sr, vdi) = (SrId::new(), VdiId::new());
        let making = busy.make(vdi, sr, "being imported").unwrap();
        assert_eq!(busy.any_in(sr, |_| false), Some(vdi));
        assert_eq!(busy.any_in(SrId::new(), |_| false), None);
        assert_eq!(busy.any_in(SrId::new(), |one| one == vdi), Some(vdi));
        drop(making);
        assert_eq!(busy.any_in(sr, |_| true), None);
    }
}
