//! [`Trials`] behind the seam: they block, and the runtime must not.

use std::sync::Arc;

use async_trait::async_trait;
use xenith_hypervisor_agent_backend::{HypervisorError, ManagementInterface, Result};
use xenith_hypervisor_agent_types::management::{Keeping, ManagementState, ManagementTrial};

use super::programs::HostPrograms;
use super::trials::Trials;

/// The management interface of a host that our medium installed.
#[derive(Debug, Clone)]
pub struct InstalledManagement(Arc<Trials<HostPrograms>>);

impl Default for InstalledManagement {
    fn default() -> Self {
        Self(Arc::new(Trials::of_this_host()))
    }
}

impl InstalledManagement {
    async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Trials<HostPrograms>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let trials = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || call(&trials)).await.map_err(|error| HypervisorError::Failed {
            operation: "changing the management interface",
            code: "panic".to_owned(),
            log: error.to_string(),
        })?
    }
}

#[async_trait]
impl ManagementInterface for InstalledManagement {
    async fn look(&self) -> Result<ManagementState> {
        self.blocking(|trials| trials.look()).await
    }

    async fn try_out(&self, trial: &ManagementTrial) -> Result<()> {
        let trial = trial.clone();
        self.blocking(move |trials| trials.try_out(&trial)).await
    }

    async fn keep(&self, change: &str) -> Result<Keeping> {
        let change = change.to_owned();
        self.blocking(move |trials| trials.keep(&change)).await
    }

    async fn go_back(&self, change: &str) -> Result<()> {
        let change = change.to_owned();
        self.blocking(move |trials| trials.go_back(&change)).await
    }
}
