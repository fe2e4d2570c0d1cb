//! The seam to the machine that the agent runs on: which boot it is, its end, and the packages of its system.

use async_trait::async_trait;
use xenith_hypervisor_agent_types::system::PackagesDone;

use crate::Result;

/// Every call may be repeated. Whether anybody is in the way of the end of a boot is asked before, by who calls.
#[async_trait]
pub trait Machine: Send + Sync + 'static {
    /// The kernel's id of this boot.
    async fn boot(&self) -> Result<String>;

    /// Starts the machine anew, into the system that starts. Answers before it goes down.
    async fn restart(&self) -> Result<()>;

    /// Switches the machine off. Answers before it goes down.
    async fn power_off(&self) -> Result<()>;

    /// Brings the packages of the system up to date, which takes minutes. It goes on when nobody waits for it any more, and
    /// who asks then waits for that one. A host that was installed from the medium has no packages of its own, and says
    /// [`Unsupported`](crate::HypervisorError::Unsupported).
    async fn update_packages(&self) -> Result<PackagesDone>;
}
