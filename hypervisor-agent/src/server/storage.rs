//! Commands about VDIs and SRs.

use xenith_hypervisor_agent_api::{CommandResult, Snapshotted, StorageCommand};
use xenith_hypervisor_agent_types::{Fault, FaultReason};

use crate::disk::Storage;

/// Calls storage on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    storage: &Storage,
    call: impl FnOnce(&Storage) -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    let storage = storage.clone();
    tokio::task::spawn_blocking(move || call(&storage))
        .await
        .map_err(|error| Fault::new(FaultReason::Internal, error))?
}

pub(super) async fn execute(storage: &Storage, command: StorageCommand) -> Result<CommandResult, Fault> {
    let facts = match command {
        StorageCommand::Grow { vdi, sr, size } => {
            blocking(storage, move |storage| storage.grow(sr, vdi, size)).await?
        }
        StorageCommand::Clone { from, to, sr } => {
            blocking(storage, move |storage| storage.clone_vdi(sr, from, to)).await?
        }
        StorageCommand::Revert { vdi, snapshot, sr } => {
            blocking(storage, move |storage| storage.revert(sr, vdi, snapshot)).await?
        }
        StorageCommand::Snapshot { disks } => {
            let snapshots = blocking(storage, move |storage| storage.snapshot_closed(&disks)).await?;
            let paused = std::time::Duration::ZERO;
            return Ok(CommandResult::Snapshotted(Snapshotted { snapshots, paused }));
        }
    };
    Ok(CommandResult::Vdi(facts))
}
