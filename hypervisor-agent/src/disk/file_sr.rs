//! The SR in a folder of the host: one sparse raw image per VDI, named by its id.
//!
//! Creating is idempotent: an image is made under a temporary name and renamed when it has its size. Nothing
//! here scans; a VDI is found by its name.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use xenith_common_ids::{SrId, VdiId};
use xenith_hypervisor_agent_types::{Fault, FaultReason, VdiFacts, VdiSize};

#[derive(Debug, Clone)]
pub struct FileSr {
    pub id: SrId,
    pub folder: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("cannot {action} the image of VDI {vdi}")]
    Io {
        action: &'static str,
        vdi: VdiId,
        #[source]
        source: io::Error,
    },
    #[error("VDI {vdi} is {found} large already, not {wanted}; resize it instead")]
    OtherSize { vdi: VdiId, found: u64, wanted: VdiSize },
    #[error("SR {0} is not on this host")]
    OtherSr(SrId),
}

impl From<DiskError> for Fault {
    fn from(error: DiskError) -> Self {
        let reason = match &error {
            DiskError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                FaultReason::StorageFull
            }
            DiskError::Io { .. } => FaultReason::Internal,
            DiskError::OtherSize { .. } => FaultReason::Invalid,
            DiskError::OtherSr(_) => FaultReason::NotFound,
        };
        let source =
            std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        Self::new(reason, format_args!("{error}{source}"))
    }
}

impl FileSr {
    #[must_use]
    pub fn path(&self, vdi: VdiId) -> PathBuf {
        self.folder.join(format!("{vdi}.raw"))
    }

    fn check(&self, sr: SrId) -> Result<(), DiskError> {
        if sr == self.id { Ok(()) } else { Err(DiskError::OtherSr(sr)) }
    }

    /// Makes sure that the VDI is there with this size.
    pub fn ensure(&self, sr: SrId, vdi: VdiId, size: VdiSize) -> Result<VdiFacts, DiskError> {
        self.check(sr)?;
        let io_error = |action| move |source| DiskError::Io { action, vdi, source };
        let path = self.path(vdi);
        match fs::metadata(&path) {
            Ok(found) if found.len() == size.bytes() => {}
            Ok(found) => return Err(DiskError::OtherSize { vdi, found: found.len(), wanted: size }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let partial = path.with_extension("partial");
                OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .mode(0o600)
                    .open(&partial)
                    .and_then(|file| file.set_len(size.bytes()).and_then(|()| file.sync_all()))
                    .and_then(|()| fs::rename(&partial, &path))
                    .and_then(|()| File::open(&self.folder)?.sync_all())
                    .map_err(io_error("create"))?;
            }
            Err(error) => return Err(io_error("look at")(error)),
        }
        let physical = fs::metadata(&path).map_err(io_error("look at"))?.blocks() * 512;
        Ok(VdiFacts { vdi, sr, size, physical })
    }

    /// Makes sure that the VDI is not there.
    pub fn delete(&self, sr: SrId, vdi: VdiId) -> Result<(), DiskError> {
        self.check(sr)?;
        match fs::remove_file(self.path(vdi)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(DiskError::Io { action: "delete", vdi, source })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ensuring_and_deleting_may_be_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let sr = FileSr { id: SrId::new(), folder: folder.path().to_owned() };
        let (vdi, size) = (VdiId::new(), VdiSize::from_bytes(64 << 20).unwrap());
        for _ in 0..2 {
            let facts = sr.ensure(sr.id, vdi, size).unwrap();
            assert!(facts.physical < 1 << 20, "thin, but takes {}", facts.physical);
        }
        let other = VdiSize::from_bytes(32 << 20).unwrap();
        assert!(matches!(sr.ensure(sr.id, vdi, other), Err(DiskError::OtherSize { .. })));
        assert!(matches!(sr.ensure(SrId::new(), vdi, size), Err(DiskError::OtherSr(_))));
        for _ in 0..2 {
            sr.delete(sr.id, vdi).unwrap();
        }
        assert!(!sr.path(vdi).exists());
    }
}
