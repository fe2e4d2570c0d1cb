//! A snapshot of VDIs of one host, whichever SRs they are in.

use std::time::Instant;

use xenith_hypervisor_agent_storage::PendingSnapshot;
use xenith_hypervisor_agent_types::{Fault, VdiFacts};

use super::busy::Hold;

/// Dropped before [`Self::commit`], it leaves nothing behind.
pub struct PendingSnapshots {
    parts: Vec<Box<dyn PendingSnapshot>>,
    _holds: Vec<Hold>,
}

impl PendingSnapshots {
    pub(super) fn new(parts: Vec<Box<dyn PendingSnapshot>>, holds: Vec<Hold>) -> Self {
        Self { parts, _holds: holds }
    }

    /// Takes it, while the VDIs stand still. Gives up at `deadline` where an SR has to copy.
    pub fn take(&mut self, deadline: Option<Instant>) -> Result<(), Fault> {
        for part in &mut self.parts {
            part.take(deadline)?;
        }
        Ok(())
    }

    /// The VDIs may be written again.
    pub fn commit(self) -> Result<Vec<VdiFacts>, Fault> {
        let mut snapshots = Vec::new();
        for part in self.parts {
            snapshots.extend(part.commit()?);
        }
        Ok(snapshots)
    }
}
