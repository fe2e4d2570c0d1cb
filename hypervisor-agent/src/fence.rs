//! The newest epoch seen. Two orchestrators that both believe to be in charge cannot both command a host.
//!
//! A newer epoch is written down before the first command under it is done, so that a restart of the agent
//! does not forget it.

use tokio::sync::Mutex;
use xenith_common_ids::Epoch;
use xenith_hypervisor_agent_types::ha::Arms;
use xenith_hypervisor_agent_types::{Fault, FaultReason};

use crate::fault::from_journal;
use crate::journal::{HostRecord, Journal};

#[derive(Debug)]
pub struct Fence {
    journal: Journal,
    record: Mutex<HostRecord>,
}

impl Fence {
    #[must_use]
    pub fn new(journal: Journal, record: HostRecord) -> Self {
        Self { journal, record: Mutex::new(record) }
    }

    /// Lets a caller of `epoch` pass, or says who is in charge.
    pub async fn pass(&self, epoch: Epoch) -> Result<(), Fault> {
        let mut record = self.record.lock().await;
        if epoch < record.epoch {
            return Err(Fault::new(
                FaultReason::StaleEpoch,
                format_args!(
                    "an orchestrator of epoch {} commands this host, yours is {}; it was replaced and should stop",
                    record.epoch.0, epoch.0
                ),
            ));
        }
        if epoch > record.epoch {
            let newer = HostRecord { epoch, ..record.clone() };
            self.save(&mut record, newer).await?;
        }
        Ok(())
    }

    /// What is to start with the host was started for this boot. Here because this is who owns the record.
    pub async fn note_boot(&self, boot: String) -> Result<(), Fault> {
        let mut record = self.record.lock().await;
        let newer = HostRecord { boot, ..record.clone() };
        self.save(&mut record, newer).await
    }

    /// Durable when it returns.
    pub async fn note_arms(&self, arms: Option<Arms>) -> Result<(), Fault> {
        let mut record = self.record.lock().await;
        let newer = HostRecord { arms, ..record.clone() };
        self.save(&mut record, newer).await
    }

    async fn save(&self, record: &mut HostRecord, newer: HostRecord) -> Result<(), Fault> {
        let (journal, to_save) = (self.journal.clone(), newer.clone());
        tokio::task::spawn_blocking(move || journal.save_host(&to_save))
            .await
            .map_err(|error| Fault::new(FaultReason::Internal, error))?
            .map_err(|error| from_journal(&error))?;
        *record = newer;
        Ok(())
    }
}
