//! The seam to the two systems of a host.

use std::path::Path;

use async_trait::async_trait;
use xenith_hypervisor_agent_types::system::{HostSystem, SystemSlot};

use crate::Result;

/// The slots of a host that was installed from the medium. One that was not has none, and says
/// [`Unsupported`](crate::HypervisorError::Unsupported) to every call. Every call may be repeated.
#[async_trait]
pub trait SystemSlots: Send + Sync + 'static {
    /// What runs.
    async fn look(&self) -> Result<HostSystem>;

    /// The public key (minisign, `RW…`) that the running system came with: whoever signed that one signs the next.
    async fn image_key(&self) -> Result<String>;

    /// Puts the system in `folder` (image.json, its signature, the squashfs) into the slot that does not run. `told` hears
    /// how far it is, in percent. The next start is still the running system's.
    async fn fill(&self, folder: &Path, told: &(dyn Fn(u8) + Send + Sync)) -> Result<()>;

    /// Ends a [`Self::fill`] that runs, whoever began it.
    async fn stop_filling(&self) -> Result<()>;

    /// Starts the host anew, into `slot`, which is tried once. Answers before the host goes down.
    async fn start(&self, slot: SystemSlot) -> Result<()>;
}
