//! The seam to the management interface of a host.

use async_trait::async_trait;
use xenith_hypervisor_agent_types::management::{Keeping, ManagementState, ManagementTrial};

use crate::Result;

/// The management interface, as our medium sets it up. A host that has another kind of configuration says
/// [`Unsupported`](crate::HypervisorError::Unsupported) to every call, and names the file to edit. Every call may be
/// repeated.
///
/// What always holds: until a change is kept nothing is written that outlives a power cut, and the way back does not need
/// the agent to be alive.
#[async_trait]
pub trait ManagementInterface: Send + Sync + 'static {
    async fn look(&self) -> Result<ManagementState>;

    /// Arms the way back and answers; the change is made a moment later.
    async fn try_out(&self, trial: &ManagementTrial) -> Result<()>;

    /// Makes a change that is in place what the host starts with.
    async fn keep(&self, change: &str) -> Result<Keeping>;

    /// Answers; a moment later the host has what it had before this change, kept or not. Nothing where it has.
    async fn go_back(&self, change: &str) -> Result<()>;
}
