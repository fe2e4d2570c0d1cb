//! A host's two disks: the root, a thin layer over a cooked image, and an empty one for storage tests.

use std::path::{Path, PathBuf};

use crate::error::{Doing, LabError};
use crate::rootfs::Rootfs;

/// What becomes of the disks of an earlier run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disks {
    /// The host finds its data again.
    Keep,
    /// A new, empty host.
    Fresh,
}

#[derive(Debug, Clone)]
pub(crate) struct DiskPaths {
    pub root: PathBuf,
    pub data: PathBuf,
}

impl DiskPaths {
    pub fn in_dir(dir: &Path) -> Self {
        Self { root: dir.join("root.qcow2"), data: dir.join("data.qcow2") }
    }

    /// Both, or none that counts: a host that lost one starts anew.
    pub fn exist(&self) -> bool {
        self.root.is_file() && self.data.is_file()
    }

    pub async fn create(&self, rootfs: &Rootfs, data_gib: u32) -> Result<(), LabError> {
        let image = rootfs.image();
        let root = [Path::new("-F"), Path::new("qcow2"), Path::new("-b"), &image, &self.root];
        // The data disk last: its presence says that both are whole.
        remove(&self.data)?;
        qemu_img(&root, None).await?;
        let half = self.data.with_extension("part");
        qemu_img(&[&half], Some(data_gib)).await?;
        std::fs::rename(&half, &self.data).doing(|| format!("could not rename to {}", self.data.display()))
    }
}

fn remove(path: &Path) -> Result<(), LabError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(LabError::Io { doing: format!("could not remove {}", path.display()), source: error })
        }
        _ => Ok(()),
    }
}

async fn qemu_img(arguments: &[&Path], gib: Option<u32>) -> Result<(), LabError> {
    let mut command = tokio::process::Command::new("qemu-img");
    command.args(["create", "-q", "-f", "qcow2"]).args(arguments).kill_on_drop(true);
    if let Some(gib) = gib {
        command.arg(format!("{gib}G"));
    }
    let output = command.output().await.doing(|| "could not run qemu-img".into())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(LabError::Io { doing: "qemu-img made no disk".into(), source: std::io::Error::other(said) })
}
