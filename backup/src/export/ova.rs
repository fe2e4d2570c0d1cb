//! OVA: the disks of a backup, and a plain machine around them.

use std::io::{self, Write};
use std::path::Path;

use xenith_common_block::BlockSource;
use xenith_common_image::ova::{OvaVm, OvaWriter};

use super::{failed, in_place, stream};
use crate::error::{BackupError, Result};
use crate::reader::BackupDisk;
use crate::restore::RestoreProgress;

/// The machine an OVA describes: what a backup of disks alone does not know.
#[derive(Debug, Clone)]
pub struct Machine {
    pub name: String,
    pub vcpus: u32,
    pub memory_mib: u64,
}

/// Why a disk is not in the OVA.
enum NotWritten {
    /// It could not be read, or its stream not be written.
    Disk(BackupError),
    File(io::Error),
}

impl From<io::Error> for NotWritten {
    fn from(source: io::Error) -> Self {
        Self::File(source)
    }
}

/// Writes all `disks` (name and disk) to the new file `path`.
pub fn ova(
    machine: &Machine,
    disks: &[(String, BackupDisk)],
    path: &Path,
    progress: &RestoreProgress,
) -> Result<()> {
    let vm = OvaVm {
        name: machine.name.clone(),
        vcpus: machine.vcpus,
        memory_mib: machine.memory_mib,
        disks: disks.iter().map(|(_, disk)| disk.size()).collect(),
        nics: vec![("VM Network".to_owned(), String::new())],
        ..OvaVm::default()
    };
    in_place(path, |out, _| {
        let io = |source: io::Error| failed("write", path, source);
        let mut writer = OvaWriter::new(out, &vm).map_err(io)?;
        for (_, disk) in disks {
            let fill = |file: &str, out: &mut dyn Write| {
                stream(disk, out, file, progress).map(drop).map_err(NotWritten::Disk)
            };
            writer.disk(fill).map_err(|problem| match problem {
                NotWritten::Disk(error) => error,
                NotWritten::File(source) => io(source),
            })?;
        }
        writer.finish().map(|_| ()).map_err(io)
    })
}
