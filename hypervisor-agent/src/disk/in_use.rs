//! Which VDIs a domain has open or a suspended VM will need: these are not deleted, whoever asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use xenith_common_ids::{VdiId, VmId};

/// Written by the owners of VMs, read by the commands about VDIs. All clones are one table.
#[derive(Debug, Clone, Default)]
pub struct InUse(Arc<Mutex<HashMap<VmId, Vec<VdiId>>>>);

impl InUse {
    pub fn set(&self, vm: VmId, disks: Vec<VdiId>) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if disks.is_empty() {
            table.remove(&vm);
        } else {
            table.insert(vm, disks);
        }
    }

    /// Whether some VM has one of which this holds.
    #[must_use]
    pub fn any(&self, mut holds: impl FnMut(VdiId) -> bool) -> Option<VmId> {
        // Copied out: asking may take a while, and owners must not wait for it.
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        table.into_iter().find(|(_, disks)| disks.iter().any(|vdi| holds(*vdi))).map(|(vm, _)| vm)
    }

    /// Everybody, with what they have.
    #[must_use]
    pub fn all(&self) -> HashMap<VmId, Vec<VdiId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a VM has.
    #[must_use]
    pub fn of(&self, vm: VmId) -> Vec<VdiId> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.get(&vm).cloned().unwrap_or_default()
    }

    /// Who has it.
    #[must_use]
    pub fn by(&self, vdi: VdiId) -> Option<VmId> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.iter().find(|(_, disks)| disks.contains(&vdi)).map(|(vm, _)| *vm)
    }
}
