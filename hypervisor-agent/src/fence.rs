//! The newest epoch seen. Two orchestrators that both believe to be in charge cannot both command a host.
//!
//! A newer epoch is written down before the first command under it is done, so that a restart of the agent
//! does not forget it. Who writes the record holds it until it is written, also when who asked has gone: of two that write
//! it at once one truncates what the other has just made it.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};
use xenith_common_ids::Epoch;
use xenith_hypervisor_agent_types::ha::Arms;
use xenith_hypervisor_agent_types::{Fault, FaultReason};

use crate::fault::from_journal;
use crate::journal::{HostRecord, Journal, JournalError};

#[derive(Debug)]
pub struct Fence {
    journal: Journal,
    record: Arc<Mutex<HostRecord>>,
}

impl Fence {
    #[must_use]
    pub fn new(journal: Journal, record: HostRecord) -> Self {
        Self { journal, record: Arc::new(Mutex::new(record)) }
    }

    /// Lets a caller of `epoch` pass, or says who is in charge.
    pub async fn pass(&self, epoch: Epoch) -> Result<(), Fault> {
        let record = self.lock().await;
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
            self.save(record, newer).await?;
        }
        Ok(())
    }

    /// What is to start with the host was started for this boot. Here because this is who owns the record.
    pub async fn note_boot(&self, boot: String) -> Result<(), Fault> {
        let record = self.lock().await;
        let newer = HostRecord { boot, ..record.clone() };
        self.save(record, newer).await
    }

    /// Durable when it returns.
    pub async fn note_arms(&self, arms: Option<Arms>) -> Result<(), Fault> {
        let record = self.lock().await;
        let newer = HostRecord { arms, ..record.clone() };
        self.save(record, newer).await
    }

    async fn lock(&self) -> OwnedMutexGuard<HostRecord> {
        Arc::clone(&self.record).lock_owned().await
    }

    async fn save(&self, mut record: OwnedMutexGuard<HostRecord>, newer: HostRecord) -> Result<(), Fault> {
        let journal = self.journal.clone();
        let write = move || -> Result<(), JournalError> {
            journal.save_host(&newer)?;
            *record = newer;
            Ok(())
        };
        tokio::task::spawn_blocking(write)
            .await
            .map_err(|error| Fault::new(FaultReason::Internal, error))?
            .map_err(|error| from_journal(&error))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use tokio::time::timeout;
    use xenith_common_ids::SrId;

    use super::*;

    /// A disk that is slow, and a caller that does not wait for it.
    #[tokio::test]
    async fn who_goes_away_while_the_record_is_written_lets_nobody_else_write_it() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        let boot = String::new();
        let format = Journal::FORMAT;
        let record = HostRecord { format, epoch: Epoch(1), boot, local_sr: SrId::new(), arms: None };
        journal.save_host(&record).unwrap();
        let fence = Fence::new(journal.clone(), record);
        // Who opens it to write waits for a reader.
        let partial = folder.path().join("host.partial");
        assert!(Command::new("mkfifo").arg(&partial).status().unwrap().success());
        let gone = timeout(Duration::from_millis(50), fence.pass(Epoch(2))).await;
        let is_held = fence.record.try_lock().is_err();
        let before = journal.load_host().unwrap().unwrap().epoch;

        // A pipe cannot be made durable: that write fails, and the next one does what it should.
        let reader = std::thread::spawn(move || std::fs::read(partial));
        fence.pass(Epoch(3)).await.unwrap();
        reader.join().unwrap().unwrap();
        assert_eq!(journal.load_host().unwrap().unwrap().epoch, Epoch(3));
        assert!(gone.is_err() && is_held, "it was being written");
        assert_eq!(before, Epoch(1));
    }
}
