//! Commands about VDIs that are filled from elsewhere, in domain types.

use std::fmt;
use std::time::Duration;

use xenith_common_ids::{ImportId, SrId, VdiId, VmId};
use xenith_common_units::MacAddr;
use xenith_hypervisor_agent_types::VdiSize;

use crate::convert::{asked, id, optional_id, required, under};
use crate::wire::import_command::What;
use crate::{WireError, wire};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportCommand {
    /// Takes a VDI's contents from whoever shows the ticket. Asked again, it tells how far that is.
    OpenUpload(OpenUpload),
    /// Takes nothing more, and forgets the upload. The VDI stays.
    CloseUpload(VdiId),
    /// Reads what a VM elsewhere has, or what changed there since the pass before.
    Pass(Box<ImportPass>),
    /// Ends the pass of an import that runs, and forgets the import. VDIs stay.
    Stop(ImportId),
    /// Makes the guest on whole disks ready to boot here, in a helper VM.
    Prepare(PrepareGuest),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenUpload {
    pub vdi: VdiId,
    pub sr: SrId,
    pub size: VdiSize,
    /// Bytes of the disk that comes: at most `size`.
    pub capacity: u64,
    /// BLAKE3 of the ticket, hexadecimal.
    pub ticket_hash: String,
    /// The ticket ends when nothing came for so long.
    pub idle: Duration,
    /// The one VM that may have the VDI open: paused, and not let run before all came.
    pub under: Option<VmId>,
}

/// Where an upload goes, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadOpen {
    pub port: u16,
    pub progress: VdiProgress,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VdiProgress {
    pub vdi: VdiId,
    pub done: u64,
    pub total: u64,
    /// Everything came and was found the same.
    pub whole: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportPass {
    pub import: ImportId,
    pub source: VsphereAccess,
    /// The VM's managed object id at the source.
    pub vm: String,
    pub disks: Vec<ImportDisk>,
    pub kind: PassKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassKind {
    /// The VM may run: there will be another pass.
    Copy,
    /// The VM is off: afterwards the VDIs are what the source is.
    Last,
    /// Both sides are read and compared.
    Compare,
}

/// How to reach an ESXi host or vCenter. `Debug` does not show the password: commands are logged.
#[derive(Clone, PartialEq, Eq)]
pub struct VsphereAccess {
    pub address: String,
    pub user: String,
    pub password: String,
    /// SHA-256 of its certificate, hexadecimal.
    pub fingerprint: String,
    pub datacenter: String,
}

impl fmt::Debug for VsphereAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VsphereAccess({} as {})", self.address, self.user)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportDisk {
    /// The device key at the source.
    pub key: u64,
    pub vdi: VdiId,
    pub sr: SrId,
    pub capacity: u64,
}

/// What a pass did with one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskPassed {
    pub key: u64,
    /// `allocated`, `everything`, `changed` or `compared`.
    pub method: String,
    /// Why not less was read; may be empty.
    pub reason: String,
    pub read: u64,
    pub written: u64,
    pub took: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrepareGuest {
    pub import: ImportId,
    /// In the order that the guest knows them in.
    pub disks: Vec<(VdiId, SrId)>,
    /// In the order of the adapters.
    pub macs: Vec<MacAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrepareOutcome {
    /// The disks were changed.
    Prepared,
    /// Nothing had to be changed, or nothing is known that could be.
    Unchanged,
    /// This host runs no helpers.
    Skipped,
    /// The disks are as they were.
    Failed,
    /// Some of the changes are on the disks: asked again, it goes on.
    HalfWritten,
}

/// What came of it. Texts are of a stranger's disk: for people's eyes only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestPrepared {
    pub outcome: PrepareOutcome,
    pub os: String,
    pub changes: Vec<String>,
    pub warnings: Vec<String>,
    /// Why it failed or was skipped.
    pub message: String,
    pub log: Vec<String>,
}

impl From<&ImportCommand> for wire::ImportCommand {
    fn from(command: &ImportCommand) -> Self {
        let what = match command {
            ImportCommand::OpenUpload(open) => What::OpenUpload(wire::OpenUpload {
                vdi_id: open.vdi.to_string(),
                sr_id: open.sr.to_string(),
                size: open.size.bytes(),
                capacity: open.capacity,
                ticket_hash: open.ticket_hash.clone(),
                idle_s: u32::try_from(open.idle.as_secs()).unwrap_or(u32::MAX),
                under_vm_id: open.under.map(|vm| vm.to_string()).unwrap_or_default(),
            }),
            ImportCommand::CloseUpload(vdi) => What::CloseUpload(vdi.to_string()),
            ImportCommand::Pass(pass) => What::Pass((&**pass).into()),
            ImportCommand::Stop(import) => What::Stop(import.to_string()),
            ImportCommand::Prepare(prepare) => What::Prepare(prepare.into()),
        };
        Self { what: Some(what) }
    }
}

impl TryFrom<wire::ImportCommand> for ImportCommand {
    type Error = WireError;

    fn try_from(command: wire::ImportCommand) -> Result<Self, WireError> {
        Ok(match asked("what", "command", command.what)? {
            What::OpenUpload(open) => Self::OpenUpload(under("open_upload", open.try_into())?),
            What::CloseUpload(vdi) => Self::CloseUpload(id("close_upload", &vdi)?),
            What::Pass(pass) => Self::Pass(Box::new(under("pass", pass.try_into())?)),
            What::Stop(import) => Self::Stop(id("stop", &import)?),
            What::Prepare(prepare) => Self::Prepare(under("prepare", prepare.try_into())?),
        })
    }
}

impl TryFrom<wire::OpenUpload> for OpenUpload {
    type Error = WireError;

    fn try_from(open: wire::OpenUpload) -> Result<Self, WireError> {
        let size = VdiSize::from_bytes(open.size).map_err(|error| WireError::new("size", error))?;
        if open.capacity > size.bytes() {
            return Err(WireError::new("capacity", "more than the VDI holds"));
        }
        Ok(Self {
            vdi: id("vdi_id", &open.vdi_id)?,
            sr: id("sr_id", &open.sr_id)?,
            size,
            capacity: open.capacity,
            ticket_hash: open.ticket_hash,
            idle: Duration::from_secs(open.idle_s.into()),
            under: optional_id("under_vm_id", &open.under_vm_id)?,
        })
    }
}

impl From<&ImportPass> for wire::ImportPass {
    fn from(pass: &ImportPass) -> Self {
        let source = &pass.source;
        let disk = |disk: &ImportDisk| wire::ImportDisk {
            key: disk.key,
            vdi_id: disk.vdi.to_string(),
            sr_id: disk.sr.to_string(),
            capacity: disk.capacity,
        };
        let kind = match pass.kind {
            PassKind::Copy => wire::ImportPassKind::Copy,
            PassKind::Last => wire::ImportPassKind::Last,
            PassKind::Compare => wire::ImportPassKind::Compare,
        };
        Self {
            import_id: pass.import.to_string(),
            source: Some(wire::VsphereAccess {
                address: source.address.clone(),
                user: source.user.clone(),
                password: source.password.clone(),
                fingerprint: source.fingerprint.clone(),
                datacenter: source.datacenter.clone(),
            }),
            vm: pass.vm.clone(),
            disks: pass.disks.iter().map(disk).collect(),
            kind: kind.into(),
        }
    }
}

impl TryFrom<wire::ImportPass> for ImportPass {
    type Error = WireError;

    fn try_from(pass: wire::ImportPass) -> Result<Self, WireError> {
        let kind = match pass.kind() {
            wire::ImportPassKind::Copy => PassKind::Copy,
            wire::ImportPassKind::Last => PassKind::Last,
            wire::ImportPassKind::Compare => PassKind::Compare,
            wire::ImportPassKind::Unspecified => {
                return Err(WireError::new("kind", "missing, or not known to this version"));
            }
        };
        let wire::VsphereAccess { address, user, password, fingerprint, datacenter } =
            required("source", pass.source)?;
        let disk = |disk: wire::ImportDisk| {
            Ok(ImportDisk {
                key: disk.key,
                vdi: id("vdi_id", &disk.vdi_id)?,
                sr: id("sr_id", &disk.sr_id)?,
                capacity: disk.capacity,
            })
        };
        Ok(Self {
            import: id("import_id", &pass.import_id)?,
            source: VsphereAccess { address, user, password, fingerprint, datacenter },
            vm: pass.vm,
            disks: under("disks", pass.disks.into_iter().map(disk).collect())?,
            kind,
        })
    }
}

impl From<&PrepareGuest> for wire::PrepareGuest {
    fn from(prepare: &PrepareGuest) -> Self {
        let disk =
            |(vdi, sr): &(VdiId, SrId)| wire::PrepareDisk { vdi_id: vdi.to_string(), sr_id: sr.to_string() };
        Self {
            import_id: prepare.import.to_string(),
            disks: prepare.disks.iter().map(disk).collect(),
            macs: prepare.macs.iter().map(ToString::to_string).collect(),
        }
    }
}

impl TryFrom<wire::PrepareGuest> for PrepareGuest {
    type Error = WireError;

    fn try_from(prepare: wire::PrepareGuest) -> Result<Self, WireError> {
        let disk = |disk: &wire::PrepareDisk| Ok((id("vdi_id", &disk.vdi_id)?, id("sr_id", &disk.sr_id)?));
        let mac = |mac: &String| mac.parse::<MacAddr>().map_err(|error| WireError::new("macs", error));
        Ok(Self {
            import: id("import_id", &prepare.import_id)?,
            disks: under("disks", prepare.disks.iter().map(disk).collect())?,
            macs: prepare.macs.iter().map(mac).collect::<Result<_, _>>()?,
        })
    }
}

impl From<&GuestPrepared> for wire::GuestPrepared {
    fn from(prepared: &GuestPrepared) -> Self {
        let outcome = match prepared.outcome {
            PrepareOutcome::Prepared => wire::PrepareOutcome::Prepared,
            PrepareOutcome::Unchanged => wire::PrepareOutcome::Unchanged,
            PrepareOutcome::Skipped => wire::PrepareOutcome::Skipped,
            PrepareOutcome::Failed => wire::PrepareOutcome::Failed,
            PrepareOutcome::HalfWritten => wire::PrepareOutcome::HalfWritten,
        };
        let GuestPrepared { os, changes, warnings, message, log, .. } = prepared.clone();
        Self { outcome: outcome.into(), os, changes, warnings, message, log }
    }
}

impl TryFrom<wire::GuestPrepared> for GuestPrepared {
    type Error = WireError;

    fn try_from(prepared: wire::GuestPrepared) -> Result<Self, WireError> {
        let outcome = match prepared.outcome() {
            wire::PrepareOutcome::Prepared => PrepareOutcome::Prepared,
            wire::PrepareOutcome::Unchanged => PrepareOutcome::Unchanged,
            wire::PrepareOutcome::Skipped => PrepareOutcome::Skipped,
            wire::PrepareOutcome::Failed => PrepareOutcome::Failed,
            wire::PrepareOutcome::HalfWritten => PrepareOutcome::HalfWritten,
            wire::PrepareOutcome::Unspecified => {
                return Err(WireError::new("outcome", "missing, or not known to this version"));
            }
        };
        let wire::GuestPrepared { os, changes, warnings, message, log, .. } = prepared;
        Ok(Self { outcome, os, changes, warnings, message, log })
    }
}

impl From<&VdiProgress> for wire::VdiProgress {
    fn from(progress: &VdiProgress) -> Self {
        let VdiProgress { vdi, done, total, whole } = progress;
        Self { vdi_id: vdi.to_string(), done: *done, total: *total, whole: *whole }
    }
}

impl TryFrom<wire::VdiProgress> for VdiProgress {
    type Error = WireError;

    fn try_from(progress: wire::VdiProgress) -> Result<Self, WireError> {
        let wire::VdiProgress { vdi_id, done, total, whole } = progress;
        Ok(Self { vdi: id("vdi_id", &vdi_id)?, done, total, whole })
    }
}

impl From<&UploadOpen> for wire::UploadOpen {
    fn from(open: &UploadOpen) -> Self {
        Self { port: open.port.into(), progress: Some((&open.progress).into()) }
    }
}

impl TryFrom<wire::UploadOpen> for UploadOpen {
    type Error = WireError;

    fn try_from(open: wire::UploadOpen) -> Result<Self, WireError> {
        let port = u16::try_from(open.port).map_err(|error| WireError::new("port", error))?;
        Ok(Self { port, progress: under("progress", required("progress", open.progress)?.try_into())? })
    }
}

impl From<&DiskPassed> for wire::DiskPassed {
    fn from(disk: &DiskPassed) -> Self {
        Self {
            key: disk.key,
            method: disk.method.clone(),
            reason: disk.reason.clone(),
            read: disk.read,
            written: disk.written,
            milliseconds: u64::try_from(disk.took.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl From<wire::DiskPassed> for DiskPassed {
    fn from(disk: wire::DiskPassed) -> Self {
        let wire::DiskPassed { key, method, reason, read, written, milliseconds } = disk;
        Self { key, method, reason, read, written, took: Duration::from_millis(milliseconds) }
    }
}

/// The VDIs that are asked about.
pub fn vdi_ids(request: &wire::ImportProgressRequest) -> Result<Vec<VdiId>, WireError> {
    request.vdi_ids.iter().map(|vdi| id("vdi_ids", vdi)).collect()
}
