//! A snapshot of VDIs of one host, whichever SRs they are in.

use std::time::Instant;

use xenith_hypervisor_agent_storage::PendingSnapshot;
use xenith_hypervisor_agent_types::{Fault, VdiFacts};

use super::busy::Hold;

/// Dropped before [`Self::commit`], it leaves nothing behind.
pub struct PendingSnapshots {
    parts: Vec<Box<dyn PendingSnapshot>>,
    was_there: bool,
    _holds: Vec<Hold>,
}

impl PendingSnapshots {
    pub(crate) fn new(parts: Vec<Box<dyn PendingSnapshot>>, holds: Vec<Hold>) -> Self {
        Self { parts, was_there: false, _holds: holds }
    }

    /// Of a call whose answer was lost.
    pub(super) fn made_before(self) -> Self {
        Self { was_there: true, ..self }
    }

    /// Whether it was made by the same call before: then it is of that moment.
    #[must_use]
    pub const fn was_there(&self) -> bool {
        self.was_there
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
