//! What a spec names must be there before libxl begins: its own messages for a missing file are numbers and
//! places in its source, and come after seconds of work.

use std::path::Path;

use xenith_hypervisor_agent_backend::HypervisorError;
use xenith_hypervisor_agent_types::{DomainDisk, DomainNic, DomainSpec};

use crate::channel;
use crate::host::{self, is_bridge};

/// Checks files and bridges. What vanishes after this is libxl's error.
pub fn check(spec: &DomainSpec) -> Result<(), HypervisorError> {
    if let Some(boot) = &spec.direct_boot {
        regular_file("platform.boot.kernel", Path::new(&boot.kernel))?;
        if let Some(ramdisk) = &boot.ramdisk {
            regular_file("platform.boot.ramdisk", Path::new(ramdisk))?;
        }
    }
    for (index, disk) in spec.disks.iter().enumerate() {
        self::disk(&format!("disks[{index}]"), disk)?;
    }
    if let Some(image) = spec.hardware.cd.as_ref().and_then(|cd| cd.path.as_deref()) {
        self::image("hardware.cd", image)?;
    }
    if spec.hardware.guest_agent {
        channel::ensure_folder()?;
    }
    for (index, address) in spec.hardware.pci.iter().enumerate() {
        if !host::has_pci(*address) {
            let problem = format!("this host has no PCI device {address}; `xenith host hardware` lists them");
            return Err(invalid(&format!("hardware.pci[{index}]"), problem));
        }
    }
    for (index, nic) in spec.nics.iter().enumerate() {
        self::nic(&format!("nics[{index}]"), nic)?;
    }
    Ok(())
}

pub fn disk(field: &str, disk: &DomainDisk) -> Result<(), HypervisorError> {
    image(field, &disk.path)
}

pub fn image(field: &str, path: &Path) -> Result<(), HypervisorError> {
    let shown = path.display();
    if path.to_str().is_none() {
        return Err(invalid(field, format!("the path {shown} is not text (UTF-8)")));
    }
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            Err(invalid(field, format!("{shown} is a folder, not an image")))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(invalid(field, format!("{shown} cannot be opened on this host: {error}"))),
    }
}

pub fn nic(field: &str, nic: &DomainNic) -> Result<(), HypervisorError> {
    if is_bridge(&nic.bridge) {
        return Ok(());
    }
    let there: Vec<String> = host::bridges().into_iter().map(|bridge| bridge.name).collect();
    let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
    Err(invalid(field, format!("this host has no bridge {:?}; it has {there}", nic.bridge)))
}

fn regular_file(field: &str, path: &Path) -> Result<(), HypervisorError> {
    let problem = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => return Ok(()),
        Ok(_) => "is not a file".to_owned(),
        Err(error) => format!("cannot be opened on this host: {error}"),
    };
    Err(invalid(field, format!("{} {problem}", path.display())))
}

fn invalid(field: &str, problem: String) -> HypervisorError {
    HypervisorError::InvalidSpec { field: field.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use xenith_hypervisor_agent_types::PlatformKind;

    use super::*;
    use crate::fixtures::spec;

    #[test]
    fn the_first_missing_thing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let mut spec = spec(PlatformKind::Pvh);
        let expect = |spec: &DomainSpec, expected: &str| {
            let error = check(spec).unwrap_err();
            assert!(
                matches!(&error, HypervisorError::InvalidSpec { field, .. } if field == expected),
                "{error}"
            );
        };
        expect(&spec, "platform.boot.kernel");
        let boot = spec.direct_boot.as_mut().unwrap();
        boot.kernel = file.to_str().unwrap().to_owned();
        boot.ramdisk = Some(folder.path().to_str().unwrap().to_owned());
        expect(&spec, "platform.boot.ramdisk");
        spec.direct_boot.as_mut().unwrap().ramdisk = None;
        expect(&spec, "disks[0]");
        spec.disks[0].path = file;
        spec.nics[0].bridge = "../lo".to_owned();
        expect(&spec, "nics[0]");
        let error = check(&spec).unwrap_err().to_string();
        assert!(error.contains("no bridge \"../lo\"; it has "), "{error}");
    }
}
