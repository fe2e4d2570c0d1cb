//! Which guests may be frozen by us: an empty file for each, in `frozen` below the state folder.
//!
//! Written before a freeze is ordered and removed after the guest said that it is thawed, so a crash anywhere leaves at
//! worst a note of a guest that is not frozen, and thawing that changes nothing.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use xenith_common_ids::VmId;

#[derive(Debug, Clone)]
pub struct Notes {
    folder: PathBuf,
}

impl Notes {
    #[must_use]
    pub fn below(state: &Path) -> Self {
        Self { folder: state.join("frozen") }
    }

    fn path(&self, vm: VmId) -> PathBuf {
        self.folder.join(vm.to_string())
    }

    pub fn add(&self, vm: VmId) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        File::create(self.path(vm))?.sync_all()?;
        File::open(&self.folder)?.sync_all()
    }

    /// Not flushed: one that comes back after a power cut is of a guest that is gone.
    pub fn remove(&self, vm: VmId) -> io::Result<()> {
        match fs::remove_file(self.path(vm)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    pub fn all(&self) -> io::Result<Vec<VmId>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut vms = Vec::new();
        for entry in entries {
            // What is not called like a VM is nobody's note.
            vms.extend(entry?.file_name().to_str().and_then(|name| name.parse::<VmId>().ok()));
        }
        Ok(vms)
    }
}
