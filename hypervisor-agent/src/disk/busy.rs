//! What is being done with VDIs: several may read one, or one may change it. Nobody waits; who comes second is told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use xenith_common_ids::VdiId;
use xenith_hypervisor_agent_types::{Fault, FaultReason};

#[derive(Debug, Clone, Copy)]
struct Use {
    readers: usize,
    changing: bool,
    /// "being copied"; of the last one that came.
    what: &'static str,
}

/// All clones are one table.
#[derive(Debug, Clone, Default)]
pub struct Busy(Arc<Mutex<HashMap<VdiId, Use>>>);

/// Lets go when dropped.
#[derive(Debug)]
pub struct Hold {
    busy: Busy,
    vdi: VdiId,
    changing: bool,
}

fn refused(vdi: VdiId, what: &str) -> Fault {
    Fault::new(FaultReason::WrongState, format_args!("VDI {vdi} is {what}; wait until that is done"))
}

impl Busy {
    /// Together with other readers.
    pub fn read(&self, vdi: VdiId, what: &'static str) -> Result<Hold, Fault> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = table.entry(vdi).or_insert(Use { readers: 0, changing: false, what });
        if entry.changing {
            return Err(refused(vdi, entry.what));
        }
        entry.readers += 1;
        entry.what = what;
        Ok(Hold { busy: self.clone(), vdi, changing: false })
    }

    /// Alone.
    pub fn change(&self, vdi: VdiId, what: &'static str) -> Result<Hold, Fault> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = table.get(&vdi) {
            return Err(refused(vdi, other.what));
        }
        table.insert(vdi, Use { readers: 0, changing: true, what });
        Ok(Hold { busy: self.clone(), vdi, changing: true })
    }

    /// One that is worked on and of which this holds.
    #[must_use]
    pub fn any(&self, mut holds: impl FnMut(VdiId) -> bool) -> Option<VdiId> {
        let table: Vec<VdiId> =
            self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect();
        table.into_iter().find(|vdi| holds(*vdi))
    }

    /// Refuses a VDI whose contents are being changed.
    pub fn check_still(&self, vdi: VdiId) -> Result<(), Fault> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match table.get(&vdi) {
            Some(other) if other.changing => Err(refused(vdi, other.what)),
            _ => Ok(()),
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut table = self.busy.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = table.get_mut(&self.vdi) else { return };
        if !self.changing {
            entry.readers -= 1;
        }
        if self.changing || entry.readers == 0 {
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
        busy.check_still(vdi).unwrap();
        drop(first);
        assert!(busy.change(vdi, "being deleted").is_err());
        drop(second);
        let change = busy.change(vdi, "being written").unwrap();
        assert!(busy.read(vdi, "being read").is_err() && busy.check_still(vdi).is_err());
        assert!(busy.change(vdi, "being deleted").is_err());
        busy.change(VdiId::new(), "being deleted").unwrap();
        drop(change);
        busy.read(vdi, "being read").unwrap();
    }
}
