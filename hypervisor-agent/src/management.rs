//! The management interface of this host: looked at, changed on trial, kept, and taken back.

mod installed;
mod programs;
mod trials;

use xenith_hypervisor_agent_backend::ManagementInterface;
use xenith_hypervisor_agent_types::Fault;
use xenith_hypervisor_agent_types::management::{ManagementCommand, ManagementReply};

pub use installed::InstalledManagement;
pub use programs::{HostPrograms, Programs};
pub use trials::{Places, Trials};

use crate::fault::from_hypervisor;

pub async fn execute(
    interface: &dyn ManagementInterface,
    command: ManagementCommand,
) -> Result<ManagementReply, Fault> {
    let done = match command {
        ManagementCommand::Look => {
            interface.look().await.map(|state| ManagementReply::State(Box::new(state)))
        }
        ManagementCommand::Try(trial) => {
            tracing::warn!(change = trial.change, wanted = %trial.wanted, "another management interface is tried");
            interface.try_out(&trial).await.map(|()| ManagementReply::Nothing)
        }
        ManagementCommand::Keep { change } => {
            interface.keep(&change).await.map(|keeping| ManagementReply::Keeping { keeping })
        }
        ManagementCommand::GoBack { change } => {
            tracing::warn!(change, "back to the management interface before");
            interface.go_back(&change).await.map(|()| ManagementReply::Nothing)
        }
    };
    done.map_err(|error| from_hypervisor(&error))
}
