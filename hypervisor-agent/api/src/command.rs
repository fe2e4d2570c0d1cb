//! What an agent can be told to do, in domain types.

use std::time::Duration;

use xenith_common_ids::{Epoch, IncarnationId, OperationId, SrId, VdiId, VmId};
use xenith_hypervisor_agent_types::backup::{BackupCommand, BackupReply};
use xenith_hypervisor_agent_types::management::{ManagementCommand, ManagementReply};
use xenith_hypervisor_agent_types::network::{HostNetworks, Realised};
use xenith_hypervisor_agent_types::system::{SystemCommand, SystemReply};
use xenith_hypervisor_agent_types::{
    CpuFeatures, HostHardware, MemoryOf, ObservedVm, Quiesce, SnapshotOf, SrFacts, ValidVmSpec, VdiFacts,
    VdiSize,
};

use crate::arrival::{self, ArrivalCommand, Exchanged, SendVm};
use crate::convert::{answered, asked, id, optional_id, required, under};
use crate::import::{DiskPassed, GuestPrepared, ImportCommand, UploadOpen};
use crate::lease::LeaseFound;
use crate::memory;
use crate::storage::{self, Snapshotted, StorageCommand};
use crate::transfer::TransferCommand;
use crate::wire::execute_reply::Result as WireResult;
use crate::wire::execute_request::Command as WireCommand;
use crate::{WireError, wire};

/// A command with what makes it safe to repeat and impossible to send from the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    pub operation: OperationId,
    pub epoch: Epoch,
    pub command: Command,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Vm {
        vm: VmId,
        action: VmAction,
    },
    EnsureVdi {
        vdi: VdiId,
        sr: SrId,
        size: VdiSize,
    },
    DeleteVdi {
        vdi: VdiId,
        sr: SrId,
    },
    Storage(StorageCommand),
    Import(ImportCommand),
    Backup(Box<BackupCommand>),
    /// What the host has that VMs can be bound to.
    LookAtHardware,
    Transfer(TransferCommand),
    Arrival(ArrivalCommand),
    /// All that the host must have of networks.
    Networks(Box<HostNetworks>),
    /// About the system that the host runs, and the one in its other slot.
    System(SystemCommand),
    /// About the management interface.
    Management(Box<ManagementCommand>),
}

/// What one VM can be told. Each is safe to repeat under its operation id: asked again when it holds already, or
/// when its run has ended meanwhile, it answers at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VmAction {
    /// Keeps a definition in the journal. Definitions only go up.
    Define {
        definition: u64,
        spec: Box<ValidVmSpec>,
    },
    /// Drops the definition of a VM that has no domain.
    Forget,
    Start {
        incarnation: IncarnationId,
        /// The most that the guest is given of the processors' features. Stays the VM's until the next start, for those that
        /// the agent makes by itself.
        cpu_level: Option<CpuFeatures>,
    },
    /// Asks the guest, and waits for it at most `deadline`.
    Shutdown {
        kind: ShutdownKind,
        deadline: Duration,
    },
    Destroy,
    Pause,
    Unpause,
    /// Saves the memory to a file and frees it.
    Suspend,
    /// From that file.
    Resume {
        incarnation: IncarnationId,
    },
    /// Drops that file; the VM is then stopped, as after a power cut.
    DiscardSuspended,
    /// Keeps the contents of its disks as they are at one instant. A running VM is paused for it.
    Snapshot {
        disks: Vec<SnapshotOf>,
        quiesce: Quiesce,
    },
    /// Keeps the memory of a running VM together with its disks, of one instant. It runs on.
    SnapshotWithMemory {
        disks: Vec<SnapshotOf>,
        memory: MemoryOf,
    },
    /// Gives the disks of a stopped VM the contents of such a snapshot, and lets it go on from its memory.
    RevertWithMemory {
        incarnation: IncarnationId,
        disks: Vec<SnapshotOf>,
        memory: MemoryOf,
        part: RevertPart,
    },
    /// Keeps the contents of disks that this host alone has, of a VM that was sent and runs nowhere yet.
    SnapshotSent {
        disks: Vec<SnapshotOf>,
    },
    /// The saved memory of a suspended VM goes with another VDI from now on, which has the same contents.
    Exchange(Exchanged),
    /// Makes the running domain agree with the definition as far as that can be done live.
    Apply,
    /// Writes the memory to another host while the VM runs. Then the VM is suspended here and paused there; it is
    /// unpaused there and destroyed here, or destroyed there and taken back here.
    Send(Box<SendVm>),
    /// Lets a VM that was sent run on here. Only after the other host has said that it will never run it.
    TakeBack,
}

/// How far a revert to a snapshot with memory goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevertPart {
    /// It is made sure that all of it can be done; nothing is changed.
    Check,
    Whole,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownKind {
    PowerOff,
    Reboot,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandResult {
    Nothing,
    Vm(Box<ObservedVm>),
    /// `after_restart` names the fields that wait for the next start.
    Applied {
        vm: Box<ObservedVm>,
        after_restart: Vec<String>,
    },
    Vdi(VdiFacts),
    Snapshotted(Snapshotted),
    UploadOpen(UploadOpen),
    ImportPassed(Vec<DiskPassed>),
    GuestPrepared(Box<GuestPrepared>),
    Sr(Box<SrFacts>),
    Lease(Box<LeaseFound>),
    Backup(Box<BackupReply>),
    Hardware(Box<HostHardware>),
    /// Bytes that were copied.
    Copied(u64),
    /// On which port a VM's memory is taken.
    ArrivalOpen(u16),
    Networks(Box<Realised>),
    System(SystemReply),
    Management(ManagementReply),
}

impl From<&Envelope> for wire::ExecuteRequest {
    fn from(envelope: &Envelope) -> Self {
        let command = match &envelope.command {
            Command::Vm { vm, action } => vm_action_to_wire(*vm, action),
            Command::EnsureVdi { vdi, sr, size } => WireCommand::EnsureVdi(wire::EnsureVdi {
                vdi_id: vdi.to_string(),
                sr_id: sr.to_string(),
                size: size.bytes(),
            }),
            Command::DeleteVdi { vdi, sr } => {
                WireCommand::DeleteVdi(wire::DeleteVdi { vdi_id: vdi.to_string(), sr_id: sr.to_string() })
            }
            Command::Storage(command) => command.into(),
            Command::Import(command) => WireCommand::Import(command.into()),
            Command::Backup(command) => crate::backup::to_wire(command),
            Command::Transfer(command) => WireCommand::Transfer(command.into()),
            Command::Arrival(command) => WireCommand::Arrival(command.into()),
            Command::LookAtHardware => WireCommand::LookAtHardware(wire::Nothing {}),
            Command::Networks(networks) => crate::network::to_wire(networks),
            Command::System(command) => crate::system::to_wire(command),
            Command::Management(command) => crate::management::to_wire(command),
        };
        Self { operation_id: envelope.operation.to_string(), epoch: envelope.epoch.0, command: Some(command) }
    }
}

fn vm_action_to_wire(vm: VmId, action: &VmAction) -> WireCommand {
    let vm_id = vm.to_string();
    let plain = wire::VmCommand { vm_id: vm_id.clone() };
    match action {
        VmAction::Define { definition, spec } => WireCommand::DefineVm(wire::DefineVm {
            vm_id,
            definition: *definition,
            spec: Some((&**spec).into()),
        }),
        VmAction::Forget => WireCommand::ForgetVm(plain),
        VmAction::Start { incarnation, cpu_level } => WireCommand::StartVm(wire::StartVm {
            vm_id,
            incarnation_id: incarnation.to_string(),
            cpu_level: cpu_level.map(|level| level.to_string()).unwrap_or_default(),
        }),
        VmAction::Shutdown { kind, deadline } => WireCommand::ShutdownVm(wire::ShutdownVm {
            vm_id,
            reboot: *kind == ShutdownKind::Reboot,
            deadline_s: u32::try_from(deadline.as_secs()).unwrap_or(u32::MAX),
        }),
        VmAction::Destroy => WireCommand::DestroyVm(plain),
        VmAction::Pause => WireCommand::PauseVm(plain),
        VmAction::Unpause => WireCommand::UnpauseVm(plain),
        VmAction::Suspend => WireCommand::SuspendVm(plain),
        VmAction::Resume { incarnation } => {
            let incarnation_id = incarnation.to_string();
            WireCommand::ResumeVm(wire::StartVm { vm_id, incarnation_id, cpu_level: String::new() })
        }
        VmAction::DiscardSuspended => WireCommand::DiscardSuspendedVm(plain),
        VmAction::Snapshot { disks, quiesce } => storage::snapshot_vm_to_wire(vm, disks, *quiesce),
        VmAction::SnapshotWithMemory { disks, memory } => memory::snapshot_to_wire(vm, disks, *memory),
        VmAction::RevertWithMemory { .. } => memory::revert_to_wire(vm, action),
        VmAction::SnapshotSent { disks } => storage::snapshot_sent_to_wire(vm, disks),
        VmAction::Exchange(exchanged) => {
            WireCommand::ExchangeDisk(wire::ExchangeDisk { vm_id, disk: Some(exchanged.into()) })
        }
        VmAction::Apply => WireCommand::ApplyVm(plain),
        VmAction::Send(send) => WireCommand::SendVm(arrival::send_to_wire(vm_id, send)),
        VmAction::TakeBack => WireCommand::TakeBackVm(plain),
    }
}

impl TryFrom<wire::ExecuteRequest> for Envelope {
    type Error = WireError;

    fn try_from(request: wire::ExecuteRequest) -> Result<Self, WireError> {
        Ok(Self {
            operation: id("operation_id", &request.operation_id)?,
            epoch: Epoch(request.epoch),
            command: asked("command", "command", request.command)?.try_into()?,
        })
    }
}

impl TryFrom<WireCommand> for Command {
    type Error = WireError;

    fn try_from(command: WireCommand) -> Result<Self, WireError> {
        let plain = |vm: wire::VmCommand, action| Ok(Self::Vm { vm: id("vm_id", &vm.vm_id)?, action });
        if let Some(command) = storage::from_wire(&command) {
            return command.map(Self::Storage);
        }
        match command {
            WireCommand::DefineVm(define) => {
                let spec = under("spec", required("spec", define.spec)?.try_into())?;
                let action = VmAction::Define { definition: define.definition, spec: Box::new(spec) };
                Ok(Self::Vm { vm: id("vm_id", &define.vm_id)?, action })
            }
            WireCommand::StartVm(start) => {
                let incarnation = id("incarnation_id", &start.incarnation_id)?;
                let cpu_level = optional_id("cpu_level", &start.cpu_level)?;
                let action = VmAction::Start { incarnation, cpu_level };
                Ok(Self::Vm { vm: id("vm_id", &start.vm_id)?, action })
            }
            WireCommand::ResumeVm(start) => {
                let incarnation = id("incarnation_id", &start.incarnation_id)?;
                Ok(Self::Vm { vm: id("vm_id", &start.vm_id)?, action: VmAction::Resume { incarnation } })
            }
            WireCommand::ShutdownVm(shutdown) => {
                let kind = if shutdown.reboot { ShutdownKind::Reboot } else { ShutdownKind::PowerOff };
                let deadline = Duration::from_secs(shutdown.deadline_s.into());
                let action = VmAction::Shutdown { kind, deadline };
                Ok(Self::Vm { vm: id("vm_id", &shutdown.vm_id)?, action })
            }
            WireCommand::ForgetVm(vm) => plain(vm, VmAction::Forget),
            WireCommand::DestroyVm(vm) => plain(vm, VmAction::Destroy),
            WireCommand::PauseVm(vm) => plain(vm, VmAction::Pause),
            WireCommand::UnpauseVm(vm) => plain(vm, VmAction::Unpause),
            WireCommand::SuspendVm(vm) => plain(vm, VmAction::Suspend),
            WireCommand::DiscardSuspendedVm(vm) => plain(vm, VmAction::DiscardSuspended),
            WireCommand::ApplyVm(vm) => plain(vm, VmAction::Apply),
            WireCommand::TakeBackVm(vm) => plain(vm, VmAction::TakeBack),
            WireCommand::SendVm(send) => {
                let (vm, action) = arrival::send_from_wire(send)?;
                Ok(Self::Vm { vm, action })
            }
            WireCommand::ExchangeDisk(exchange) => {
                let exchanged = under("disk", required("disk", exchange.disk)?.try_into())?;
                Ok(Self::Vm { vm: id("vm_id", &exchange.vm_id)?, action: VmAction::Exchange(exchanged) })
            }
            WireCommand::Arrival(command) => Ok(Self::Arrival(under("arrival", command.try_into())?)),
            WireCommand::EnsureVdi(vdi) => Ok(Self::EnsureVdi {
                vdi: id("vdi_id", &vdi.vdi_id)?,
                sr: id("sr_id", &vdi.sr_id)?,
                size: VdiSize::from_bytes(vdi.size).map_err(|error| WireError::new("size", error))?,
            }),
            WireCommand::DeleteVdi(vdi) => {
                Ok(Self::DeleteVdi { vdi: id("vdi_id", &vdi.vdi_id)?, sr: id("sr_id", &vdi.sr_id)? })
            }
            WireCommand::SnapshotVm(snapshot) => {
                Ok(Self::Vm { vm: id("vm_id", &snapshot.vm_id)?, action: storage::snapshot_vm(&snapshot)? })
            }
            WireCommand::SnapshotMemory(snapshot) => {
                let action = memory::snapshot_from_wire(&snapshot)?;
                Ok(Self::Vm { vm: id("vm_id", &snapshot.vm_id)?, action })
            }
            WireCommand::RevertMemory(revert) => {
                Ok(Self::Vm { vm: id("vm_id", &revert.vm_id)?, action: memory::revert_from_wire(&revert)? })
            }
            WireCommand::Transfer(command) => Ok(Self::Transfer(under("transfer", command.try_into())?)),
            WireCommand::LookAtHardware(wire::Nothing {}) => Ok(Self::LookAtHardware),
            WireCommand::Import(command) => Ok(Self::Import(under("import", command.try_into())?)),
            WireCommand::Backup(backup) => crate::backup::from_wire(&backup).map(Self::Backup),
            WireCommand::Networks(networks) => crate::network::from_wire(&networks).map(Self::Networks),
            WireCommand::System(system) => crate::system::from_wire(&system).map(Self::System),
            WireCommand::Management(management) => {
                crate::management::from_wire(&management).map(Self::Management)
            }
            // Parsed above.
            other => Err(WireError::new("command", format_args!("{other:?} has no meaning here"))),
        }
    }
}

impl From<&CommandResult> for wire::ExecuteReply {
    fn from(result: &CommandResult) -> Self {
        let result = match result {
            CommandResult::Nothing => WireResult::Nothing(wire::Nothing {}),
            CommandResult::Vm(vm) => WireResult::Vm((&**vm).into()),
            CommandResult::Applied { vm, after_restart } => WireResult::Applied(wire::Applied {
                vm: Some((&**vm).into()),
                after_restart: after_restart.clone(),
            }),
            CommandResult::Vdi(vdi) => WireResult::Vdi(vdi.into()),
            CommandResult::Hardware(hardware) => WireResult::Hardware((&**hardware).into()),
            CommandResult::Copied(bytes) => WireResult::Copied(wire::Copied { bytes: *bytes }),
            CommandResult::ArrivalOpen(port) => {
                WireResult::ArrivalOpen(wire::ArrivalOpen { port: u32::from(*port) })
            }
            CommandResult::Sr(sr) => WireResult::Sr((&**sr).into()),
            CommandResult::Lease(found) => WireResult::Lease((&**found).into()),
            CommandResult::Snapshotted(made) => WireResult::Snapshotted(made.into()),
            CommandResult::UploadOpen(open) => WireResult::UploadOpen(open.into()),
            CommandResult::ImportPassed(disks) => {
                WireResult::ImportPassed(wire::ImportPassed { disks: disks.iter().map(Into::into).collect() })
            }
            CommandResult::Backup(reply) => WireResult::Backup(crate::backup::reply_to_wire(reply)),
            CommandResult::Networks(realised) => {
                WireResult::Networks(crate::network::realised_to_wire(realised))
            }
            CommandResult::System(reply) => WireResult::System(crate::system::reply_to_wire(reply)),
            CommandResult::Management(reply) => {
                WireResult::Management(crate::management::reply_to_wire(reply))
            }
            CommandResult::GuestPrepared(prepared) => WireResult::GuestPrepared((&**prepared).into()),
        };
        Self { result: Some(result) }
    }
}

impl TryFrom<wire::ExecuteReply> for CommandResult {
    type Error = WireError;

    fn try_from(reply: wire::ExecuteReply) -> Result<Self, WireError> {
        Ok(match answered("result", reply.result)? {
            WireResult::Nothing(wire::Nothing {}) => Self::Nothing,
            WireResult::Vm(vm) => Self::Vm(Box::new(under("vm", vm.try_into())?)),
            WireResult::Applied(applied) => Self::Applied {
                vm: Box::new(under("vm", required("vm", applied.vm)?.try_into())?),
                after_restart: applied.after_restart,
            },
            WireResult::Vdi(vdi) => Self::Vdi(under("vdi", vdi.try_into())?),
            WireResult::Hardware(hardware) => {
                Self::Hardware(Box::new(under("hardware", hardware.try_into())?))
            }
            WireResult::Copied(copied) => Self::Copied(copied.bytes),
            WireResult::ArrivalOpen(open) => Self::ArrivalOpen(
                u16::try_from(open.port).map_err(|error| WireError::new("arrival_open.port", error))?,
            ),
            WireResult::Sr(sr) => Self::Sr(Box::new(under("sr", sr.try_into())?)),
            WireResult::Lease(found) => Self::Lease(Box::new(under("lease", found.try_into())?)),
            WireResult::Snapshotted(made) => Self::Snapshotted(under("snapshotted", made.try_into())?),
            WireResult::UploadOpen(open) => Self::UploadOpen(under("upload_open", open.try_into())?),
            WireResult::ImportPassed(passed) => {
                Self::ImportPassed(passed.disks.into_iter().map(Into::into).collect())
            }
            WireResult::Backup(done) => Self::Backup(crate::backup::reply_from_wire(&done)?),
            WireResult::Networks(done) => Self::Networks(crate::network::realised_from_wire(&done)?),
            WireResult::System(done) => Self::System(crate::system::reply_from_wire(&done)?),
            WireResult::Management(done) => Self::Management(crate::management::reply_from_wire(&done)?),
            WireResult::GuestPrepared(prepared) => {
                Self::GuestPrepared(Box::new(under("guest_prepared", prepared.try_into())?))
            }
        })
    }
}
