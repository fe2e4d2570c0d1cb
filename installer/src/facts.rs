//! What the machine has, as plain values: read by [`crate::disks`] and [`crate::nics`], judged by [`crate::plan`].

use std::path::Path;

use crate::disks::Disk;
use crate::nics::Nic;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub firmware: Firmware,
    /// Physical memory, MiB.
    pub memory_mib: u64,
    pub disks: Vec<Disk>,
    pub nics: Vec<Nic>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    Bios,
    Uefi,
    /// It starts only what is signed, and Debian's Xen is not.
    UefiSecureBoot,
}

#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    #[error("cannot run {program}")]
    Run {
        program: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("{program} failed: {said}")]
    Failed { program: &'static str, said: String },
    #[error("{program} answered what we cannot read: {detail}")]
    Answer { program: &'static str, detail: String },
    #[error("cannot read {path}")]
    Read {
        path: String,
        #[source]
        source: std::io::Error,
    },
}

impl Facts {
    /// Looks at this machine. Nothing is changed.
    pub fn gather() -> Result<Self, FactsError> {
        Ok(Self {
            firmware: firmware(Path::new("/sys/firmware/efi")),
            memory_mib: memory_mib(&read("/proc/meminfo")?),
            disks: crate::disks::list()?,
            nics: crate::nics::list(Path::new("/sys/class/net"))?,
        })
    }
}

fn read(path: &str) -> Result<String, FactsError> {
    std::fs::read_to_string(path).map_err(|source| FactsError::Read { path: path.to_owned(), source })
}

fn firmware(efi: &Path) -> Firmware {
    const SECURE_BOOT: &str = "efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
    if !efi.is_dir() {
        return Firmware::Bios;
    }
    // Four bytes of attributes, one of value (UEFI specification, 3.3).
    match std::fs::read(efi.join(SECURE_BOOT)).as_deref() {
        Ok([_, _, _, _, 1]) => Firmware::UefiSecureBoot,
        _ => Firmware::Uefi,
    }
}

fn memory_mib(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib =
        line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firmware_is_told_from_the_variable() {
        let dir = tempfile::tempdir().unwrap();
        let efi = dir.path().join("efi");
        assert_eq!(firmware(&efi), Firmware::Bios);
        std::fs::create_dir_all(efi.join("efivars")).unwrap();
        assert_eq!(firmware(&efi), Firmware::Uefi);
        let variable = efi.join("efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c");
        for (value, expected) in [
            (&[6, 0, 0, 0, 0][..], Firmware::Uefi),
            (&[6, 0, 0, 0, 1], Firmware::UefiSecureBoot),
            (&[1], Firmware::Uefi),
        ] {
            std::fs::write(&variable, value).unwrap();
            assert_eq!(firmware(&efi), expected, "{value:?}");
        }
    }

    #[test]
    fn memory_is_read_in_mib() {
        assert_eq!(memory_mib("MemTotal:        2048000 kB\nMemFree: 1 kB\n"), 2000);
        assert_eq!(memory_mib(""), 0);
    }
}
