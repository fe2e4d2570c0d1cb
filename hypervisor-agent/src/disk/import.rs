//! A VDI from an image that lies somewhere else.
//!
//! The image is downloaded into a file beside the local SR, where an interrupted download goes on; then its format is
//! recognised by its contents and it is written into a VDI under an id that nobody knows, which gets its own when all
//! is well. A raw image is not written once more where the VDI can have the blocks of that file. The renaming is the
//! commit point: a crash before it leaves a left-over and the download, which the command made again takes up; nobody
//! ever sees half an image.
//!
//! VMDKs are read by `vmware-import`, other formats by `qemu-img` (`docs/adr/0041-image-formats.md`).

pub(crate) mod download;
mod format;
mod qemu_img;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;
use xenith_common_block::{BlockError, BlockSink, BlockSource, CopyProgress, FileSource, copy};
use xenith_common_ids::{SrId, VdiId};
use xenith_hypervisor_agent_storage::StorageError;
use xenith_hypervisor_agent_types::{Fault, FaultReason, VdiFacts, VdiSize};

use xenith_vmware_import::ImportError;
use xenith_vmware_import::bytes::{ByteSource, FileBytes, Folder};
use xenith_vmware_import::vmdk::{OpenOptions, open_image};

use super::Storage;
use crate::progress::Progress;
use format::Format;

/// What to import and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    pub vdi: VdiId,
    pub sr: SrId,
    pub url: String,
    /// Of the file as it is downloaded, in hexadecimal; empty: not checked.
    pub sha256: String,
}

impl Import {
    /// A disk image is as large as it is.
    fn remote(&self) -> download::Remote<'_> {
        download::Remote { url: &self.url, sha256: &self.sha256, most: u64::MAX }
    }
}

/// The id under which a VDI is filled.
pub(crate) fn scratch(vdi: VdiId) -> VdiId {
    VdiId::from_uuid(Uuid::new_v5(&Uuid::from_bytes(*vdi.as_bytes()), b"import"))
}

fn cancelled() -> Fault {
    Fault::new(FaultReason::WrongState, "the import was cancelled")
}

fn block_fault(error: BlockError) -> Fault {
    match error {
        BlockError::Cancelled => cancelled(),
        other => StorageError::from(other).into(),
    }
}

impl Storage {
    /// Blocks for as long as it takes.
    pub fn import(&self, import: &Import, progress: &Progress) -> Result<VdiFacts, Fault> {
        let _hold = self.hold_for_import(import.sr, import.vdi)?;
        let driver = self.driver(import.sr)?;
        match driver.facts(import.vdi) {
            Ok(facts) => return Ok(facts),
            Err(StorageError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let file = self.download_of(import.vdi)?;
        download::download(&import.remote(), &file, progress)?;
        let vdi = scratch(import.vdi);
        // Of an import that a crash ended.
        driver.delete(vdi)?;
        let filled = self.fill(import.sr, vdi, &file, progress);
        let done = filled.and_then(|()| Ok(driver.rename(vdi, import.vdi)?));
        if done.is_err() {
            driver.delete(vdi)?;
        }
        // A download that cannot be used is not taken up again; one that was cancelled may be.
        if done.is_ok() || progress.check().is_ok() {
            download::forget(&file);
        }
        done
    }

    /// Drops what an import has left, for one that is not wanted any more.
    pub fn drop_import(&self, vdi: VdiId) {
        if let Ok(file) = self.download_of(vdi) {
            download::forget(&file);
        }
    }

    fn download_of(&self, vdi: VdiId) -> Result<PathBuf, Fault> {
        let folder =
            self.downloads().ok_or_else(|| Fault::new(FaultReason::NotReady, "the agent is starting"))?;
        std::fs::create_dir_all(folder).map_err(|error| {
            Fault::new(FaultReason::Internal, format_args!("cannot create {}: {error}", folder.display()))
        })?;
        Ok(folder.join(format!("{vdi}.download")))
    }

    /// Writes the image in `file` into a new VDI.
    fn fill(&self, sr: SrId, vdi: VdiId, file: &Path, progress: &Progress) -> Result<(), Fault> {
        let driver = self.driver(sr)?;
        let format = format::recognise(file)?;
        tracing::info!(%vdi, ?format, "an image is written into a VDI");
        match format {
            Format::Raw => {
                let source = FileSource::open(file).map_err(block_fault)?;
                driver.ensure(vdi, disk_size(source.size())?)?;
                if driver.share(vdi, source.file())? {
                    progress.set(source.size(), source.size());
                    return Ok(());
                }
                let sink = driver.open_sink(vdi)?;
                fill_from(&source, &*sink, progress)
            }
            Format::Vmdk => {
                let bytes = FileBytes::open(file).map_err(|error| unusable(&error))?;
                let image = open_image(Arc::new(bytes), Arc::new(NoNeighbours), OpenOptions::default())
                    .map_err(|error| unusable(&error))?;
                // Before a byte is written: a few grains that are used over and over would fill the SR.
                image.audit().map_err(|error| unusable(&error))?;
                driver.ensure(vdi, disk_size(image.size())?)?;
                let sink = driver.open_sink(vdi)?;
                fill_from(&image, &*sink, progress)
            }
            Format::Qemu(format) => {
                let size = qemu_img::check(file, format)?;
                driver.ensure(vdi, disk_size(size)?)?;
                qemu_img::convert(file, format, &driver.path(vdi)?, progress)
            }
        }
    }
}

/// A download stands for itself: whatever it names is not opened.
struct NoNeighbours;

impl Folder for NoNeighbours {
    fn open(
        &self,
        from: &str,
        field: &'static str,
        name: &str,
    ) -> xenith_vmware_import::Result<Arc<dyn ByteSource>> {
        Err(ImportError::Outside { file: from.to_owned(), field, name: name.to_owned() })
    }
}

fn unusable(error: &dyn std::fmt::Display) -> Fault {
    Fault::invalid("url", format_args!("the image cannot be used: {error}"))
}

/// Up to the next MiB.
fn disk_size(bytes: u64) -> Result<VdiSize, Fault> {
    VdiSize::holding(bytes).map_err(|error| unusable(&error))
}

fn fill_from(source: &dyn BlockSource, sink: &dyn BlockSink, progress: &Progress) -> Result<(), Fault> {
    let step = |done: CopyProgress| {
        progress.set(done.copied + done.skipped, done.total);
        progress.check()
    };
    copy(source, sink, step).map(|_| ()).map_err(block_fault)
}
