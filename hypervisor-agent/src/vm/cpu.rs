//! What a guest of this host is given of the processors' features.
//!
//! What always holds: a guest that was started under a level never runs on where a part of what it was given is missing.
//! The orchestrator asks that before it moves one; here it is asked once more, of the host itself, before anything is
//! built from the memory that comes in. The sender has its guest still, and lets it run on.

use xenith_hypervisor_agent_types::{CpuFeatures, CpuLevel, Fault, FaultReason};

use crate::fault::from_hypervisor;
use crate::vm::driver::Driver;

impl Driver {
    /// What a level means on this host. `None`: there is no level, or it says nothing of processors like these.
    pub(super) async fn level_here(&self, level: Option<&CpuFeatures>) -> Result<Option<CpuLevel>, Fault> {
        let Some(level) = level else { return Ok(None) };
        let host = self.hypervisor.host().await.map_err(|error| from_hypervisor(&error))?;
        Ok(host.cpu_features.and_then(|features| CpuLevel::on(features, level)))
    }

    /// Refuses a guest that was given what this host has not.
    pub(super) async fn has_features(&self, given: &CpuFeatures) -> Result<(), Fault> {
        let host = self.hypervisor.host().await.map_err(|error| from_hypervisor(&error))?;
        let why = match &host.cpu_features {
            Some(features) if features.has_all_of(given) => return Ok(()),
            Some(features) => format!("its processors lack {}", features.lacks(given).join(", ")),
            None => "Xen does not tell here what its processors can do".to_owned(),
        };
        let message = format_args!(
            "{} cannot take the VM as it runs: {why}; shut the VM down and start it under the level of this pool",
            host.hostname
        );
        Err(Fault::new(FaultReason::Unsupported, message))
    }
}
