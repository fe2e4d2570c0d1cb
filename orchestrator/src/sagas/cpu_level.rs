//! What a VM that is started is given of the processors' features.

use xenith_common_ids::HostId;
use xenith_hypervisor_agent_types::CpuFeatures;
use xenith_orchestrator_saga::StepError;

use super::Deps;

impl Deps {
    /// By the level that the host's pool has now. A step that is done again may find another one: the host answers as it did
    /// before, or has not begun.
    pub(super) async fn cpu_level(&self, host: HostId) -> Result<Option<CpuFeatures>, StepError> {
        let Some(record) = self.db.hosts.get(&host).await? else { return Ok(None) };
        let Some(level) = self.db.cpu_levels.get(&record.value.pool).await? else { return Ok(None) };
        let told = self.fleet()?.facts(host).and_then(|facts| facts.cpu_features);
        let features = told.or_else(|| level.value.hosts.get(&host).copied());
        Ok(features.and_then(|features| level.value.level_of(&features)))
    }
}
