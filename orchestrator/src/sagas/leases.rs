//! Leases of VDIs that hosts have which run nothing any more.
//!
//! What always holds: a lease is taken from a host here only while the record says that the host is fenced and that this VM
//! was moved from it for that reason. Until the host has said that it does not have the VM any more it stays so, and it
//! starts nothing before. The command carries our epoch: an orchestrator that was replaced breaks nothing.

use xenith_common_ids::{HostId, OperationId, VdiId, VmId};
use xenith_hypervisor_agent_api::{Command, StorageCommand};
use xenith_hypervisor_agent_client::AgentClientError;
use xenith_hypervisor_agent_types::FaultReason;
use xenith_orchestrator_saga::{Saga, StepCtx, StepError};

use super::{Deps, host_removed, step_error};

impl Deps {
    /// Before `host` starts a VM or writes its disks: what hosts from which it was moved because they were fenced had of these
    /// is free.
    pub(super) async fn end_leases_of_fenced<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        (host, vm): (HostId, VmId),
        vdis: &[VdiId],
    ) -> Result<(), StepError> {
        let (kept, _) = self.db.ha_hosts.all().await?;
        let of: Vec<HostId> = kept
            .into_iter()
            .filter(|kept| kept.value.fenced.as_ref().is_some_and(|fenced| fenced.moved.contains(&vm)))
            .map(|kept| kept.key)
            .collect();
        if of.is_empty() {
            return Ok(());
        }
        for vdi in vdis.iter().copied() {
            let Some(record) = self.db.vdis.get(&vdi).await? else { continue };
            let (sr, of) = (record.value.sr, of.clone());
            let operation = OperationId::from_uuid(ctx.derived_uuid(&format!("end the lease of {vdi}")));
            let command = Command::Storage(StorageCommand::BreakLease { vdi, sr, of });
            match self.send_as(ctx, operation, host, command).await {
                Ok(_) => {}
                // An agent that knows no such command takes no leases either.
                Err(Some(AgentClientError::Refused(fault))) if fault.reason == FaultReason::Unsupported => {}
                Err(error) => {
                    return Err(error.map_or_else(|| host_removed(host), |error| step_error(&error)));
                }
            }
        }
        Ok(())
    }
}
