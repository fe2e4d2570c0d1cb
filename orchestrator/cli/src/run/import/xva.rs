//! A whole VM from XenServer or XCP-ng.

use std::path::Path;

use xenith_common_image::xva::{Xva, XvaNic};
use xenith_vmware_import::whole::{WholeNic, WholeVm};

use super::send::Disk;
use crate::error::CliError;

/// `None`: it is no XVA.
pub fn open(path: &Path) -> Result<Option<(WholeVm, Vec<Disk>)>, CliError> {
    // What cannot be opened is told by who opens it next.
    if path.is_dir() || !Xva::is(path).unwrap_or(false) {
        return Ok(None);
    }
    let xva = Xva::open(path).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        CliError::usage(format!("{error}{cause}"))
    })?;
    let vm = &xva.vm;
    let mut warnings = Vec::new();
    if vm.paravirtual {
        warnings.push(
            "it is paravirtual, and the boot loader that starts it is not here: it is made as an emulated machine, \
             which boots where its disk has a boot loader and its kernel the drivers"
                .to_owned(),
        );
    }
    if vm.memory_max > vm.memory || vm.vcpus_max > vm.vcpus {
        warnings.push("how far memory and CPUs could grow is not taken over".to_owned());
    }
    let nic = |nic: &XvaNic| WholeNic {
        network: nic.network.clone(),
        mac: Some(nic.mac.clone()).filter(|mac| !mac.is_empty()),
    };
    let whole = WholeVm {
        name: vm.name.clone(),
        os: String::new(),
        vcpus: Some(vm.vcpus),
        memory_mib: Some(vm.memory >> 20),
        efi: vm.uefi,
        nics: vm.nics.iter().map(nic).collect(),
        disks: vm.disks.iter().map(|disk| disk.name.clone()).collect(),
        warnings,
    };
    Ok(Some((whole, xva.disks().into_iter().map(|disk| disk as Disk).collect())))
}
