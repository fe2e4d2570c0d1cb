//! VDIs that are filled from elsewhere: uploads ([`upload`]) and passes over VMs of other hypervisors ([`pass`]), and
//! made ready to boot here ([`prepare`]).
//!
//! What always holds: a VDI that a VM has open is never written here, and nobody else writes one while it is
//! ([`Storage`]); what is known of an upload or an import
//! lies in a folder of its own below the agent's state and is enough to go on after a crash; passwords are never
//! written there. Who else touches the VDIs: nobody, as their VM is not defined before the orchestrator's saga has
//! come to that. Formats of strangers are read by `xenith-vmware-import`, which forbids `unsafe` and bounds its memory.

pub mod http;
mod pass;
mod prepare;
mod target;
pub mod upload;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use xenith_common_ids::{ImportId, VdiId};
use xenith_common_text::chain;
use xenith_hypervisor_agent_api::{CommandResult, ImportCommand, VdiProgress};
use xenith_hypervisor_agent_types::{Fault, FaultReason};
use xenith_vmware_import::ImportError;
use xenith_vmware_import::vsphere::route::Mounts;

pub use prepare::Helpers;

use crate::disk::Storage;
use crate::transfer::download::Downloads;

/// All of it, shared by the gRPC server and the listener for uploads.
pub struct Imports {
    folder: PathBuf,
    storage: Storage,
    uploads: Mutex<HashMap<VdiId, upload::Upload>>,
    running: Mutex<HashMap<ImportId, Arc<pass::Lane>>>,
    progress: Mutex<HashMap<VdiId, VdiProgress>>,
    port: OnceLock<Result<u16, String>>,
    /// The sender of some upload has gone.
    sender_left: tokio::sync::Notify,
    helpers: Helpers,
    datastores: Mounts,
    pub(crate) downloads: Downloads,
}

impl Imports {
    /// `state` is the agent's folder; `datastores` of VMware are mounted here.
    #[must_use]
    pub fn new(state: &Path, storage: Storage, (helpers, datastores): (Helpers, Mounts)) -> Arc<Self> {
        Arc::new(Self {
            folder: state.join("imports"),
            storage,
            uploads: Mutex::default(),
            running: Mutex::default(),
            progress: Mutex::default(),
            port: OnceLock::new(),
            sender_left: tokio::sync::Notify::new(),
            helpers,
            datastores,
            downloads: Downloads::default(),
        })
    }

    pub(crate) const fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Where senders and readers are served on this host.
    pub(crate) fn listening(&self) -> Result<u16, Fault> {
        match self.port.get() {
            Some(Ok(port)) => Ok(*port),
            Some(Err(why)) => {
                let refusal = format_args!("this host serves no transfers: {why}");
                Err(Fault::new(FaultReason::Unsupported, refusal))
            }
            None => Err(Fault::new(FaultReason::NotReady, "transfers are not served yet")),
        }
    }

    pub async fn execute(self: &Arc<Self>, command: ImportCommand) -> Result<CommandResult, Fault> {
        match command {
            ImportCommand::OpenUpload(open) => {
                let this = Arc::clone(self);
                blocking(move || this.open_upload(open)).await.map(CommandResult::UploadOpen)
            }
            ImportCommand::CloseUpload(vdi) => {
                self.close_upload(vdi).await?;
                Ok(CommandResult::Nothing)
            }
            ImportCommand::Pass(pass) => self.pass(*pass).await.map(CommandResult::ImportPassed),
            ImportCommand::Stop(import) => {
                self.stop(import).await?;
                Ok(CommandResult::Nothing)
            }
            ImportCommand::Prepare(prepare) => {
                self.prepare(prepare).await.map(|prepared| CommandResult::GuestPrepared(Box::new(prepared)))
            }
        }
    }

    /// Of those that anything is known of.
    #[must_use]
    pub fn progress(&self, vdis: &[VdiId]) -> Vec<VdiProgress> {
        let uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        let passes = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let find = |vdi| uploads.get(vdi).map(|upload| upload.progress(*vdi)).or(passes.get(vdi).cloned());
        vdis.iter().filter_map(find).collect()
    }
}

async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    tokio::task::spawn_blocking(call).await.map_err(|error| Fault::new(FaultReason::Internal, error))?
}

/// "Not ready" stands for what may be tried again.
fn fault(error: &ImportError) -> Fault {
    use xenith_common_block::BlockError;
    use xenith_vmware_import::Retry;
    let full = |source: &std::io::Error| source.kind() == std::io::ErrorKind::StorageFull;
    let reason = match error {
        ImportError::Io { source, .. } | ImportError::Block(BlockError::Io { source, .. })
            if full(source) =>
        {
            FaultReason::StorageFull
        }
        ImportError::Server { retry: Retry::Later | Retry::Mended, .. }
        | ImportError::Block(BlockError::Unreachable { .. })
        | ImportError::Truncated { .. } => FaultReason::NotReady,
        ImportError::Usage(_) | ImportError::Unsupported { .. } => FaultReason::Unsupported,
        ImportError::Missing { .. } => FaultReason::NotFound,
        ImportError::Cancelled | ImportError::Target { .. } => FaultReason::WrongState,
        _ => FaultReason::Internal,
    };
    Fault::new(reason, chain(error))
}
