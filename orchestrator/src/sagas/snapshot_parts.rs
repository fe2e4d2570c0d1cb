//! What the sagas that snapshot disks share: snapshots, templates and backups are made of the same contents.

use std::time::Duration;

use xenith_common_ids::{HostId, OperationId, SrId, VdiId, VmId};
use xenith_hypervisor_agent_api::{Command, CommandResult, Snapshotted, VmAction};
use xenith_hypervisor_agent_client::AgentClientError;
use xenith_hypervisor_agent_types::{Consistency, FaultReason, MemoryOf, Quiesce, SnapshotOf};
use xenith_orchestrator_saga::{Saga, StepCtx, StepError};

use super::{Deps, step_error};

impl Deps {
    /// Keeps the contents of a VM's disks at one instant; returns how long the VM stood.
    pub(super) async fn snapshot_disks<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        (host, vm): (HostId, VmId),
        disks: Vec<SnapshotOf>,
    ) -> Result<Duration, StepError> {
        self.snapshot_quiesced(ctx, (host, vm), disks, Quiesce::Never).await.map(|made| made.paused)
    }

    /// The same, with a guest that is asked to hold its filesystems still. With a demand, what is not whole is an error,
    /// and the step's undo drops it.
    pub(super) async fn snapshot_quiesced<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        (host, vm): (HostId, VmId),
        disks: Vec<SnapshotOf>,
        quiesce: Quiesce,
    ) -> Result<Snapshotted, StepError> {
        match self.tell_vm(ctx, host, vm, VmAction::Snapshot { disks, quiesce }).await? {
            // An agent of an earlier version does not know what is demanded.
            CommandResult::Snapshotted(Snapshotted { quiesced, .. })
                if quiesce == Quiesce::Demand && quiesced.consistency == Consistency::CrashConsistent =>
            {
                let why = quiesced.because.as_deref().unwrap_or("the agent on its host is too old for that");
                let text = format!("the guest was not quiesced, which is demanded: {why}");
                Err(StepError::permanent(text))
            }
            CommandResult::Snapshotted(made) => Ok(made),
            other => Err(StepError::permanent(format!("the host answered something else: {other:?}"))),
        }
    }

    /// Keeps the memory of a running VM with its disks. Told how far it is, and stopped with the saga.
    pub(super) async fn snapshot_with_memory<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        (host, vm): (HostId, VmId),
        disks: Vec<SnapshotOf>,
        memory: MemoryOf,
    ) -> Result<Snapshotted, StepError> {
        let action = VmAction::SnapshotWithMemory { disks, memory };
        match self.send_long(ctx, host, Command::Vm { vm, action }).await? {
            CommandResult::Snapshotted(made) => Ok(made),
            other => Err(StepError::permanent(format!("the host answered something else: {other:?}"))),
        }
    }

    /// Makes sure that a snapshot is gone; one of a host that is gone is.
    pub(super) async fn delete_snapshot<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        host: HostId,
        snapshot: (VdiId, SrId),
    ) -> Result<(), StepError> {
        self.ask_to_delete(ctx, host, snapshot).await.map_err(|error| step_error(&error))
    }

    /// Leaves it where somebody else is at work on it: another backup of this host may be tidying up as well.
    pub(super) async fn discard_snapshot<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        host: HostId,
        snapshot: (VdiId, SrId),
    ) -> Result<Discarded, StepError> {
        match self.ask_to_delete(ctx, host, snapshot).await {
            Ok(()) => Ok(Discarded::Gone),
            Err(AgentClientError::Refused(fault)) if fault.reason == FaultReason::WrongState => {
                Ok(Discarded::Busy)
            }
            Err(error) => Err(step_error(&error)),
        }
    }

    /// One that is gone, or whose host was removed, needs no more.
    async fn ask_to_delete<S: Saga>(
        &self,
        ctx: &StepCtx<S>,
        host: HostId,
        (snapshot, sr): (VdiId, SrId),
    ) -> Result<(), AgentClientError> {
        // Several in one step: each needs an id of its own.
        let operation = OperationId::from_uuid(ctx.derived_uuid(&format!("delete {snapshot}")));
        match self.send_as(ctx, operation, host, Command::DeleteVdi { vdi: snapshot, sr }).await {
            Ok(_) | Err(None) => Ok(()),
            Err(Some(AgentClientError::Refused(fault))) if fault.reason == FaultReason::NotFound => Ok(()),
            Err(Some(error)) => Err(error),
        }
    }
}

/// What became of a snapshot that nothing counts from any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Discarded {
    Gone,
    Busy,
}

impl Discarded {
    /// For who needs it gone. A host that was told before, and whom nobody waits for any more, comes to an end by itself,
    /// however long that waits for a network that has gone: it is asked again, and nothing is given up for it.
    pub(super) fn or_again(self, what: &str) -> Result<(), StepError> {
        match self {
            Self::Gone => Ok(()),
            Self::Busy => Err(StepError::retryable(format!("the host is still at work on {what}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_still_read_is_asked_for_again_and_parks_nothing() {
        assert!(Discarded::Gone.or_again("it").is_ok());
        let busy = Discarded::Busy.or_again("what is kept of web-1-xvda").unwrap_err();
        assert!(matches!(&busy, StepError::Retryable { .. }), "{busy}");
        assert!(busy.to_string().contains("web-1-xvda"), "{busy}");
    }
}
