//! Where the lab keeps what it keeps.
//!
//! ```text
//! ~/.cache/xenith/lab/
//!   key, key.pub            the SSH key of all lab hosts on this machine
//!   rootfs/<recipe hash>/   root.qcow2, xen, vmlinuz, initrd.img, guest/, versions; read-only once there
//!   hosts/<name>/           root.qcow2 over the image of that name, data.qcow2, console.log, host.json, lock
//! ```
//!
//! Disks stand beside the image they are made over: a cache that is wiped loses both, never half.

use std::path::{Path, PathBuf};

use crate::error::{Doing, LabError};

/// The lab's folder.
#[derive(Debug, Clone)]
pub struct LabPaths {
    base: PathBuf,
}

impl LabPaths {
    /// `$XENITH_LAB_DIR`, else `xenith/lab` in the user's cache folder.
    #[must_use]
    pub fn from_env() -> Self {
        let given = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let base = given("XENITH_LAB_DIR").unwrap_or_else(|| {
            given("XDG_CACHE_HOME")
                .or_else(|| given("HOME").map(|home| home.join(".cache")))
                .unwrap_or_else(std::env::temp_dir)
                .join("xenith/lab")
        });
        Self::at(base)
    }

    /// A folder of the caller's choice. It must be absolute: QEMU resolves an overlay's image from elsewhere.
    #[must_use]
    pub fn at(base: impl Into<PathBuf>) -> Self {
        let base = base.into();
        Self { base: std::path::absolute(&base).unwrap_or(base) }
    }

    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.base.join("key")
    }

    #[must_use]
    pub fn rootfs(&self) -> PathBuf {
        self.base.join("rootfs")
    }

    #[must_use]
    pub fn host(&self, name: &str) -> PathBuf {
        self.base.join("hosts").join(name)
    }
}

/// `mkdir -p` with a name in the error.
pub(crate) fn ensure_dir(path: &Path) -> Result<(), LabError> {
    std::fs::create_dir_all(path).doing(|| format!("could not create {}", path.display()))
}

/// Like `fs::read`, naming the file in the error.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, LabError> {
    std::fs::read(path).doing(|| format!("could not read {}", path.display()))
}

/// Like `fs::write`, naming the file in the error.
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<(), LabError> {
    std::fs::write(path, content).doing(|| format!("could not write {}", path.display()))
}
