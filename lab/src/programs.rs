//! The programs the lab calls, and the Debian packages they come from.

use std::path::PathBuf;

use crate::error::LabError;

/// Program and package. `mke2fs` is asked for because mmdebstrap's pack step calls it outside the tree.
const NEEDED: &[(&str, &str)] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("qemu-img", "qemu-utils"),
    ("mmdebstrap", "mmdebstrap"),
    ("mke2fs", "e2fsprogs"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
];

/// Fails with all that is missing at once.
pub fn check() -> Result<(), LabError> {
    check_in(&search_path())
}

fn check_in(path: &[PathBuf]) -> Result<(), LabError> {
    let missing: Vec<_> =
        NEEDED.iter().filter(|(program, _)| !path.iter().any(|dir| dir.join(program).is_file())).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<_> = missing.iter().map(|(_, package)| (*package).to_owned()).collect();
    packages.dedup();
    let programs = missing.iter().map(|(program, _)| (*program).to_owned()).collect();
    Err(LabError::MissingPrograms { programs, packages })
}

/// `$PATH`, and the folders of administration that a plain user's path lacks on Debian.
pub(crate) fn search_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_every_missing_program_and_each_package_once() {
        let dir = tempfile::tempdir().unwrap();
        for there in ["qemu-system-x86_64", "qemu-img", "mmdebstrap", "mke2fs"] {
            std::fs::write(dir.path().join(there), "").unwrap();
        }
        let Err(LabError::MissingPrograms { programs, packages }) = check_in(&[dir.path().to_owned()]) else {
            panic!("two are missing");
        };
        assert_eq!(programs, ["ssh", "ssh-keygen"]);
        assert_eq!(packages, ["openssh-client"]);
    }
}
