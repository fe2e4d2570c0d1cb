//! A small disk with files for cloud-init: FAT with the label that its NoCloud source looks for
//! (https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html).

use std::io::{Cursor, Write};

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions};
use xenith_common_ids::{SrId, VdiId};
use xenith_hypervisor_agent_storage::StorageError;
use xenith_hypervisor_agent_types::{Fault, FaultReason, VdiFacts, VdiSize};

use super::Storage;

const LABEL: [u8; 11] = *b"CIDATA     ";
const SIZE: usize = 1 << 20;
/// What fits beside FAT's own tables.
const MOST: usize = 512 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedFile {
    pub name: String,
    pub content: String,
}

fn image(files: &[SeedFile]) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; SIZE];
    fatfs::format_volume(Cursor::new(&mut bytes[..]), FormatVolumeOptions::new().volume_label(LABEL))?;
    {
        let volume = FileSystem::new(Cursor::new(&mut bytes[..]), FsOptions::new())?;
        for file in files {
            let mut target = volume.root_dir().create_file(&file.name)?;
            target.write_all(file.content.as_bytes())?;
            target.flush()?;
        }
        volume.unmount()?;
    }
    Ok(bytes)
}

impl Storage {
    /// Makes sure that the VDI is there with these files.
    pub fn seed(&self, sr: SrId, vdi: VdiId, files: &[SeedFile]) -> Result<VdiFacts, Fault> {
        let total: usize = files.iter().map(|file| file.content.len()).sum();
        if total > MOST {
            let problem = format_args!("{total} bytes are too many; at most {} KiB fit", MOST / 1024);
            return Err(Fault::invalid("files", problem));
        }
        let _hold = self.hold_for_import(sr, vdi)?;
        let driver = self.driver(sr)?;
        match driver.facts(vdi) {
            Ok(facts) => return Ok(facts),
            Err(StorageError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let bytes = image(files).map_err(|error| Fault::new(FaultReason::Internal, error))?;
        let size =
            VdiSize::from_bytes(SIZE as u64).map_err(|error| Fault::new(FaultReason::Internal, error))?;
        let aside = super::import::scratch(vdi);
        driver.delete(aside)?;
        driver.ensure(aside, size)?;
        let sink = driver.open_sink(aside)?;
        sink.write_at(0, &bytes).and_then(|()| sink.flush()).map_err(StorageError::from)?;
        drop(sink);
        Ok(driver.rename(aside, vdi)?)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_cloud_init_looks_for_is_there() {
        let files = [
            ("meta-data", "instance-id: a\n"),
            ("user-data", "#cloud-config\n"),
            ("network-config", "version: 2\n"),
        ];
        let files =
            files.map(|(name, content)| SeedFile { name: name.to_owned(), content: content.to_owned() });
        let mut bytes = image(&files).unwrap();
        let volume = FileSystem::new(Cursor::new(&mut bytes[..]), FsOptions::new()).unwrap();
        assert_eq!(volume.volume_label_as_bytes().trim_ascii_end(), b"CIDATA");
        for file in &files {
            let mut content = String::new();
            volume.root_dir().open_file(&file.name).unwrap().read_to_string(&mut content).unwrap();
            assert_eq!(content, file.content);
        }
    }
}
