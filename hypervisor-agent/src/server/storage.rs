//! Commands about VDIs and SRs.

use std::sync::Arc;

use xenith_hypervisor_agent_api::{CommandResult, LeaseFound, Snapshotted, StorageCommand};
use xenith_hypervisor_agent_storage::Broken;
use xenith_hypervisor_agent_types::{Fault, FaultReason, Quiesced};

use crate::disk::{AttachedSr, Import, SeedFile, Storage};
use crate::progress::Progress;

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

pub(super) async fn execute(
    storage: &Storage,
    command: StorageCommand,
    progress: Arc<Progress>,
) -> Result<CommandResult, Fault> {
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
        StorageCommand::Import { vdi, sr, url, sha256 } => {
            let import = Import { vdi, sr, url, sha256 };
            blocking(storage, move |storage| storage.import(&import, &progress)).await?
        }
        StorageCommand::DropImport { vdi } => {
            blocking(storage, move |storage| {
                storage.drop_import(vdi);
                Ok(())
            })
            .await?;
            return Ok(CommandResult::Nothing);
        }
        StorageCommand::Seed { vdi, sr, files } => {
            let files: Vec<SeedFile> =
                files.into_iter().map(|(name, content)| SeedFile { name, content }).collect();
            blocking(storage, move |storage| storage.seed(sr, vdi, &files)).await?
        }
        StorageCommand::Attach { sr, spec, make } => {
            let attached = AttachedSr { sr, spec };
            let facts = blocking(storage, move |storage| storage.attach(&attached, make)).await?;
            return Ok(CommandResult::Sr(Box::new(facts)));
        }
        StorageCommand::Detach { sr } => {
            blocking(storage, move |storage| storage.detach(sr)).await?;
            return Ok(CommandResult::Nothing);
        }
        StorageCommand::Unmake { sr } => {
            blocking(storage, move |storage| storage.unmake(sr)).await?;
            return Ok(CommandResult::Nothing);
        }
        StorageCommand::Scan { sr } => {
            let facts = blocking(storage, move |storage| storage.scan(sr)).await?;
            return Ok(CommandResult::Sr(Box::new(facts)));
        }
        StorageCommand::BreakLease { vdi, sr, of } => {
            let Broken { found: lease, broken } =
                blocking(storage, move |storage| storage.break_lease(sr, vdi, &of)).await?;
            return Ok(CommandResult::Lease(Box::new(LeaseFound { lease, broken })));
        }
        StorageCommand::Snapshot { disks } => {
            let snapshots = blocking(storage, move |storage| storage.snapshot_closed(&disks)).await?;
            let paused = std::time::Duration::ZERO;
            return Ok(CommandResult::Snapshotted(Snapshotted {
                snapshots,
                paused,
                quiesced: Quiesced::OFFLINE,
                memory: None,
            }));
        }
    };
    Ok(CommandResult::Vdi(facts))
}
