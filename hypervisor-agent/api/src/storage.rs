//! What an agent can be told to do with its storage, in domain types.

use std::collections::BTreeMap;
use std::time::Duration;

use xenith_common_ids::{HostId, SrId, VdiId, VmId};
use xenith_hypervisor_agent_types::{
    Consistency, KeptMemory, Quiesce, Quiesced, SnapshotOf, SrSpec, VdiFacts, VdiSize,
};

use crate::convert::{id, required, under};
use crate::wire::execute_request::Command as Wire;
use crate::{VmAction, WireError, wire};

/// Each is idempotent: asked again when it holds already, it answers at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StorageCommand {
    /// Also a running guest's device. Never smaller.
    Grow { vdi: VdiId, sr: SrId, size: VdiSize },
    /// Within one SR, sharing blocks where it can.
    Clone { from: VdiId, to: VdiId, sr: SrId },
    /// Back to a snapshot, contents and size. No VM may have it open.
    Revert { vdi: VdiId, snapshot: VdiId, sr: SrId },
    /// Of VDIs that no VM has open, at one instant. A VM's are snapshotted through it
    /// ([`VmAction::Snapshot`](crate::VmAction::Snapshot)).
    Snapshot { disks: Vec<SnapshotOf> },
    /// Makes an SR usable on this host, now and after a restart. With `New`, makes it where there is none.
    Attach { sr: SrId, spec: SrSpec, make: MakeSr },
    /// Lets go of an SR that no VM uses. What is in it stays.
    Detach { sr: SrId },
    /// The same; and one that is empty is an SR no more. Takes back [`MakeSr::New`].
    Unmake { sr: SrId },
    /// Makes a VDI from an image that a web server has. Takes as long as it takes: see
    /// `AgentClient::progress`.
    Import { vdi: VdiId, sr: SrId, url: String, sha256: String },
    /// Drops what an import has left that is not wanted any more.
    DropImport { vdi: VdiId },
    /// Makes a small disk with files for cloud-init.
    Seed { vdi: VdiId, sr: SrId, files: BTreeMap<String, String> },
    /// Reads what is in it.
    Scan { sr: SrId },
    /// Ends the lease of a VDI that one of these hosts has, and says who had it: who asks knows that they write nothing any
    /// more. With none, it is only looked at.
    BreakLease { vdi: VdiId, sr: SrId, of: Vec<HostId> },
}

/// Whether an SR is made or must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MakeSr {
    New,
    MustExist,
}

/// Snapshots that were made, and how long the VM stood for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshotted {
    pub snapshots: Vec<VdiFacts>,
    pub paused: Duration,
    pub quiesced: Quiesced,
    /// Of a snapshot with memory.
    pub memory: Option<KeptMemory>,
}

impl From<&StorageCommand> for Wire {
    fn from(command: &StorageCommand) -> Self {
        match command {
            StorageCommand::Grow { vdi, sr, size } => Self::GrowVdi(wire::GrowVdi {
                vdi_id: vdi.to_string(),
                sr_id: sr.to_string(),
                size: size.bytes(),
            }),
            StorageCommand::Clone { from, to, sr } => Self::CloneVdi(wire::CloneVdi {
                from_id: from.to_string(),
                to_id: to.to_string(),
                sr_id: sr.to_string(),
            }),
            StorageCommand::Revert { vdi, snapshot, sr } => Self::RevertVdi(wire::RevertVdi {
                vdi_id: vdi.to_string(),
                snapshot_id: snapshot.to_string(),
                sr_id: sr.to_string(),
            }),
            StorageCommand::Snapshot { disks } => {
                Self::SnapshotVdis(wire::SnapshotVdis { disks: disks_to_wire(disks) })
            }
            StorageCommand::Attach { sr, spec, make } => Self::AttachSr(wire::AttachSr {
                sr_id: sr.to_string(),
                spec: Some(spec.into()),
                create: *make == MakeSr::New,
            }),
            StorageCommand::Import { vdi, sr, url, sha256 } => Self::ImportVdi(wire::ImportVdi {
                vdi_id: vdi.to_string(),
                sr_id: sr.to_string(),
                url: url.clone(),
                sha256: sha256.clone(),
            }),
            StorageCommand::DropImport { vdi } => {
                Self::DropImport(wire::DropImport { vdi_id: vdi.to_string() })
            }
            StorageCommand::Seed { vdi, sr, files } => Self::SeedVdi(wire::SeedVdi {
                vdi_id: vdi.to_string(),
                sr_id: sr.to_string(),
                files: files.clone().into_iter().collect(),
            }),
            StorageCommand::Detach { sr } => {
                Self::DetachSr(wire::SrRef { sr_id: sr.to_string(), unmake: false })
            }
            StorageCommand::Unmake { sr } => {
                Self::DetachSr(wire::SrRef { sr_id: sr.to_string(), unmake: true })
            }
            StorageCommand::BreakLease { vdi, sr, of } => Self::BreakLease(wire::BreakLease {
                vdi_id: vdi.to_string(),
                sr_id: sr.to_string(),
                host_ids: of.iter().map(ToString::to_string).collect(),
            }),
            StorageCommand::Scan { sr } => Self::ScanSr(wire::SrRef { sr_id: sr.to_string(), unmake: false }),
        }
    }
}

/// `None`: it is not about storage.
pub(crate) fn from_wire(command: &Wire) -> Option<Result<StorageCommand, WireError>> {
    Some(match command {
        Wire::GrowVdi(grow) => parse_grow(grow),
        Wire::CloneVdi(clone) => parse_clone(clone),
        Wire::RevertVdi(revert) => parse_revert(revert),
        Wire::SnapshotVdis(snapshot) => {
            disks_from_wire(&snapshot.disks).map(|disks| StorageCommand::Snapshot { disks })
        }
        Wire::AttachSr(attach) => parse_attach(attach),
        Wire::ImportVdi(import) => parse_import(import),
        Wire::DropImport(import) => {
            id("vdi_id", &import.vdi_id).map(|vdi| StorageCommand::DropImport { vdi })
        }
        Wire::SeedVdi(seed) => parse_seed(seed),
        Wire::DetachSr(sr) if sr.unmake => id("sr_id", &sr.sr_id).map(|sr| StorageCommand::Unmake { sr }),
        Wire::DetachSr(sr) => id("sr_id", &sr.sr_id).map(|sr| StorageCommand::Detach { sr }),
        Wire::BreakLease(lease) => crate::lease::parse_break(lease),
        Wire::ScanSr(sr) => id("sr_id", &sr.sr_id).map(|sr| StorageCommand::Scan { sr }),
        _ => return None,
    })
}

fn parse_grow(grow: &wire::GrowVdi) -> Result<StorageCommand, WireError> {
    Ok(StorageCommand::Grow {
        vdi: id("vdi_id", &grow.vdi_id)?,
        sr: id("sr_id", &grow.sr_id)?,
        size: VdiSize::from_bytes(grow.size).map_err(|error| WireError::new("size", error))?,
    })
}

fn parse_attach(attach: &wire::AttachSr) -> Result<StorageCommand, WireError> {
    Ok(StorageCommand::Attach {
        sr: id("sr_id", &attach.sr_id)?,
        spec: under("spec", required("spec", attach.spec.clone())?.try_into())?,
        make: if attach.create { MakeSr::New } else { MakeSr::MustExist },
    })
}

fn parse_import(import: &wire::ImportVdi) -> Result<StorageCommand, WireError> {
    Ok(StorageCommand::Import {
        vdi: id("vdi_id", &import.vdi_id)?,
        sr: id("sr_id", &import.sr_id)?,
        url: import.url.clone(),
        sha256: import.sha256.clone(),
    })
}

fn parse_seed(seed: &wire::SeedVdi) -> Result<StorageCommand, WireError> {
    Ok(StorageCommand::Seed {
        vdi: id("vdi_id", &seed.vdi_id)?,
        sr: id("sr_id", &seed.sr_id)?,
        files: seed.files.clone().into_iter().collect(),
    })
}

fn parse_clone(clone: &wire::CloneVdi) -> Result<StorageCommand, WireError> {
    Ok(StorageCommand::Clone {
        from: id("from_id", &clone.from_id)?,
        to: id("to_id", &clone.to_id)?,
        sr: id("sr_id", &clone.sr_id)?,
    })
}

fn parse_revert(revert: &wire::RevertVdi) -> Result<StorageCommand, WireError> {
    Ok(StorageCommand::Revert {
        vdi: id("vdi_id", &revert.vdi_id)?,
        snapshot: id("snapshot_id", &revert.snapshot_id)?,
        sr: id("sr_id", &revert.sr_id)?,
    })
}

pub(crate) fn snapshot_vm_to_wire(vm: VmId, disks: &[SnapshotOf], quiesce: Quiesce) -> Wire {
    let quiesce = match quiesce {
        Quiesce::Never => wire::Quiesce::Unspecified,
        Quiesce::Try => wire::Quiesce::Try,
        Quiesce::Demand => wire::Quiesce::Demand,
    };
    Wire::SnapshotVm(wire::SnapshotVm {
        vm_id: vm.to_string(),
        disks: disks_to_wire(disks),
        quiesce: quiesce.into(),
        sent: false,
    })
}

pub(crate) fn snapshot_sent_to_wire(vm: VmId, disks: &[SnapshotOf]) -> Wire {
    Wire::SnapshotVm(wire::SnapshotVm {
        vm_id: vm.to_string(),
        disks: disks_to_wire(disks),
        quiesce: wire::Quiesce::Unspecified.into(),
        sent: true,
    })
}

pub(crate) fn snapshot_vm(snapshot: &wire::SnapshotVm) -> Result<VmAction, WireError> {
    if snapshot.sent {
        return Ok(VmAction::SnapshotSent { disks: disks_from_wire(&snapshot.disks)? });
    }
    let known = wire::Quiesce::try_from(snapshot.quiesce).map_err(|e| WireError::new("quiesce", e))?;
    let quiesce = match known {
        wire::Quiesce::Unspecified => Quiesce::Never,
        wire::Quiesce::Try => Quiesce::Try,
        wire::Quiesce::Demand => Quiesce::Demand,
    };
    Ok(VmAction::Snapshot { disks: disks_from_wire(&snapshot.disks)?, quiesce })
}

pub(crate) fn disks_to_wire(disks: &[SnapshotOf]) -> Vec<wire::SnapshotOf> {
    disks
        .iter()
        .map(|of| wire::SnapshotOf { vdi_id: of.vdi.to_string(), snapshot_id: of.snapshot.to_string() })
        .collect()
}

pub(crate) fn disks_from_wire(disks: &[wire::SnapshotOf]) -> Result<Vec<SnapshotOf>, WireError> {
    let one = |(index, of): (usize, &wire::SnapshotOf)| {
        let parsed = (|| {
            Ok(SnapshotOf { vdi: id("vdi_id", &of.vdi_id)?, snapshot: id("snapshot_id", &of.snapshot_id)? })
        })();
        under(format_args!("disks[{index}]"), parsed)
    };
    disks.iter().enumerate().map(one).collect()
}

impl From<&Snapshotted> for wire::Snapshotted {
    fn from(made: &Snapshotted) -> Self {
        Self {
            snapshots: made.snapshots.iter().map(Into::into).collect(),
            // Of one that stood at all, at least 1.
            paused_ms: u32::try_from(made.paused.as_micros().div_ceil(1000)).unwrap_or(u32::MAX),
            consistency: match made.quiesced.consistency {
                Consistency::CrashConsistent => wire::Consistency::Unspecified,
                Consistency::FilesystemConsistent => wire::Consistency::Filesystem,
                Consistency::Offline => wire::Consistency::Offline,
            }
            .into(),
            not_quiesced_because: made.quiesced.because.clone().unwrap_or_default(),
            memory: made.memory.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<wire::Snapshotted> for Snapshotted {
    type Error = WireError;

    fn try_from(made: wire::Snapshotted) -> Result<Self, WireError> {
        let snapshots = made.snapshots.into_iter().map(VdiFacts::try_from).collect::<Result<_, _>>()?;
        // A word that a newer agent has promises nothing to us.
        let consistency = match wire::Consistency::try_from(made.consistency) {
            Ok(wire::Consistency::Filesystem) => Consistency::FilesystemConsistent,
            Ok(wire::Consistency::Offline) => Consistency::Offline,
            Ok(wire::Consistency::Unspecified) | Err(_) => Consistency::CrashConsistent,
        };
        let because = Some(made.not_quiesced_because).filter(|because| !because.is_empty());
        let quiesced = Quiesced { consistency, because };
        let memory = made.memory.map(KeptMemory::from);
        Ok(Self { snapshots, paused: Duration::from_millis(made.paused_ms.into()), quiesced, memory })
    }
}
