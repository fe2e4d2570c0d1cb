//! What can go wrong with an SR, in an administrator's words.

use std::io;

use xenith_common_block::BlockError;
use xenith_common_ids::{HostId, SrId, VdiId};
use xenith_hypervisor_agent_types::{Fault, FaultReason, VdiLease, VdiSize};

#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("VDI {vdi} is not in SR {sr}")]
    NotFound { vdi: VdiId, sr: SrId },
    #[error("SR {0} is not on this host")]
    OtherSr(SrId),
    #[error("VDI {vdi} is {found} large already, not {wanted}; resize it instead")]
    OtherSize { vdi: VdiId, found: VdiSize, wanted: VdiSize },
    #[error(
        "VDI {vdi} is {found} large and cannot be made smaller ({wanted}); copy what is needed to a new one"
    )]
    Shrink { vdi: VdiId, found: VdiSize, wanted: VdiSize },
    #[error("{vdi} is a snapshot and never changes; clone it and use the clone")]
    IsSnapshot { vdi: VdiId },
    #[error("{vdi} is not a snapshot")]
    NotASnapshot { vdi: VdiId },
    /// The id is taken by something else.
    #[error("VDI {vdi} is there already and is something else")]
    Exists { vdi: VdiId },
    #[error("SR {sr} is full; free space in it, or enlarge it ({action} VDI {vdi})")]
    Full { sr: SrId, vdi: VdiId, action: &'static str },
    /// A copy while the guest stands would take too long.
    #[error(
        "SR {sr} cannot share blocks, and copying VDI {vdi} would hold the VM up for longer than allowed; shut the \
         VM down first, or move its disks to an SR that shares blocks (XFS with reflink, btrfs, lvm-thin)"
    )]
    TooSlow { sr: SrId, vdi: VdiId },
    /// The image is not what was written down about it.
    #[error("VDI {vdi} is damaged: {detail}")]
    Damaged { vdi: VdiId, detail: String },
    /// Another host may write it.
    #[error(
        "VDI {vdi} is leased to {lease}, and has one writer only: stop the VM there, or wait until that host has let go \
         of it; if that host is dead for good, break its lease: xenith vdi break-lease {vdi}"
    )]
    LeasedElsewhere { vdi: VdiId, lease: Box<VdiLease> },
    /// Its memory is from before.
    #[error(
        "the lease of VDI {vdi} was lost while the memory of the VM was saved: somebody else may have written the VDI \
         since, and that memory would ruin it; discard the memory: xenith vm power-off --discard-memory"
    )]
    LeaseLost { vdi: VdiId },
    /// Another host is changing the lease, or died while it did.
    #[error(
        "host {host} is changing the lease of VDI {vdi}; try again, and if that host is dead for good: xenith vdi \
         break-lease {vdi} --host {host}"
    )]
    LeaseChanging { vdi: VdiId, host: HostId },
    #[error("{0}")]
    Unsupported(String),
    #[error("cannot {action} VDI {vdi}")]
    Io {
        action: &'static str,
        vdi: VdiId,
        #[source]
        source: io::Error,
    },
    /// The SR as a whole: its folder, its volume group.
    #[error("cannot {action} SR {sr}")]
    Sr {
        action: &'static str,
        sr: SrId,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Block(#[from] BlockError),
}

/// Whether the file system said that there is no room.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl StorageError {
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::Io { source, .. } | Self::Sr { source, .. } => is_full(source),
            Self::Block(BlockError::Io { source, .. }) => is_full(source),
            _ => false,
        }
    }
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Self {
        let reason = match &error {
            full if full.is_full() => FaultReason::StorageFull,
            StorageError::NotFound { .. } | StorageError::OtherSr(_) => FaultReason::NotFound,
            StorageError::LeasedElsewhere { .. } => FaultReason::LeasedElsewhere,
            StorageError::LeaseLost { .. } => FaultReason::WrongState,
            StorageError::LeaseChanging { .. } => FaultReason::NotReady,
            StorageError::OtherSize { .. }
            | StorageError::Shrink { .. }
            | StorageError::IsSnapshot { .. }
            | StorageError::NotASnapshot { .. }
            | StorageError::Exists { .. } => FaultReason::Invalid,
            StorageError::TooSlow { .. } | StorageError::Unsupported(_) => FaultReason::Unsupported,
            StorageError::Block(error) if error.is_retryable() => FaultReason::NotReady,
            _ => FaultReason::Internal,
        };
        Self::new(reason, xenith_common_text::chain(&error))
    }
}
