//! Snapshots with memory: whether it can be kept, and whether a VM can go on from it. The agent looks again at all of this
//! before it does anything; here it is said before a task is begun.

use serde_json::{Value, json};
use xenith_common_ids::{IncarnationId, VdiId, VmId};
use xenith_hypervisor_agent_types::{MemoryOf, Power, Quiesce};
use xenith_orchestrator_api::Call;
use xenith_orchestrator_store::Record;
use xenith_orchestrator_types::snapshot::{CreateSnapshot, SnapshotDisk, SnapshotMemory};
use xenith_orchestrator_types::{ApiError, Reason};

use super::App;
use super::vm::protected;
use crate::model::{SnapshotRecord, VmRecord};
use crate::sagas::snapshot_revert::GoingOn;

impl App {
    /// Where the memory will be, beside the first disk. `None`: it was not asked for.
    pub(super) fn memory_to_keep(
        &self,
        vm: &Record<VmId, VmRecord>,
        request: &CreateSnapshot,
        disks: &[SnapshotDisk],
    ) -> Result<Option<SnapshotMemory>, ApiError> {
        if !request.memory {
            return Ok(None);
        }
        if request.quiesce == Quiesce::Demand {
            let problem =
                "a guest that is quiesced would come back from its memory as it stood; leave one of them out";
            return Err(ApiError::invalid("quiesce", problem));
        }
        let name = &vm.value.spec.name;
        if let Some((_, observed)) = self.fleet.vm(vm.key)
            && matches!(observed.power, Power::Stopped | Power::Crashed | Power::Paused | Power::Suspended)
        {
            let message = format_args!(
                "{name} is {}; memory is kept of a VM that runs: let it run, or snapshot its disks only",
                observed.power
            );
            return Err(ApiError::new(Reason::WrongState, message));
        }
        if !vm.value.spec.hardware.pci.is_empty() {
            let message = format_args!(
                "{name} has a PCI device of its host, whose state nobody can read; snapshot its disks only"
            );
            return Err(ApiError::new(Reason::WrongState, message));
        }
        let beside = disks.first().ok_or_else(|| ApiError::invalid("memory", "the VM has no disks"))?;
        Ok(Some(SnapshotMemory { vdi: VdiId::new(), sr: beside.sr, kept: None }))
    }

    /// How a VM goes on from the memory of a snapshot, when it can.
    pub(super) async fn going_on(
        &self,
        call: &Call,
        (snapshot, memory): (&SnapshotRecord, &SnapshotMemory),
        vm: &VmRecord,
    ) -> Result<GoingOn, ApiError> {
        let cannot = |why: String| {
            let message = format_args!(
                "{} cannot go on from the memory of {}: {why}; or revert its disks only (--disks-only)",
                vm.spec.name, snapshot.name
            );
            Err(ApiError::new(Reason::Conflict, message))
        };
        let unlike = snapshot.spec.unlike(&vm.spec);
        if !unlike.is_empty() {
            return cannot(format!(
                "{} are not what they were then; make them so again (`xenith snapshot get {} -o json` has what they were)",
                unlike.join(", "),
                snapshot.name
            ));
        }
        let machine = self.host_views().into_iter().find(|view| view.host == vm.host);
        if let (Some(kept), Some(machine)) = (&memory.kept, machine.and_then(|view| view.machine))
            && let Some(why) = kept.unlike(&machine.cpu, machine.xen)
        {
            return cannot(format!("{why}; move the VM to a host like that one"));
        }
        if vm.protection.start {
            return Err(protected(vm, "start"));
        }
        self.may_start_on(call, vm.host).await?;
        let memory = MemoryOf { vdi: memory.vdi, sr: memory.sr };
        Ok(GoingOn { memory, incarnation: IncarnationId::new() })
    }
}

/// What taking a snapshot does to the VM.
pub(super) fn create_told(
    title: &str,
    (vm, disks): (&VmRecord, &[SnapshotDisk]),
    memory: Option<&SnapshotMemory>,
) -> Value {
    let keeps: Vec<_> =
        disks.iter().map(|disk| format!("the disk {} ({})", disk.device, disk.size)).collect();
    let mut plan = json!({ "title": title, "host": vm.host, "keeps": keeps });
    let size = vm.spec.memory.target;
    match memory {
        None => {
            plan["left_out"] =
                "what the guest has in memory: after a revert it boots as after a power cut".into();
            plan["vm"] = "stands for under a second, if it runs".into();
        }
        Some(memory) => {
            plan["memory"] = json!({ "size": size.to_string(), "sr": memory.sr });
            plan["vm"] = format!(
                "runs while its {size} of memory are written, and stands for what it changes last and while its disks \
                 are taken; a PV guest stands while all of it is written"
            )
            .into();
        }
    }
    plan
}

/// What a VM that is made from a snapshot does not get is told with the plan of it.
pub(super) fn without_memory(mut plan: Value, snapshot: &SnapshotRecord) -> Value {
    if snapshot.memory.is_some() {
        plan["left_out"] = "the memory: a second VM would go on with the addresses of the first one".into();
    }
    plan
}
