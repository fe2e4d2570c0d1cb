//! From what an administrator asks for to what the hypervisor of this host builds.

use std::path::{Path, PathBuf};

use xenith_common_ids::{IncarnationId, VdiId, VmId};
use xenith_hypervisor_agent_storage::Taking;
use xenith_hypervisor_agent_types::{
    BootDevice, CdDrive, DirectBoot, DiskAccess, DiskSpec, DomainCd, DomainDisk, DomainHardware,
    DomainIdentity, DomainNic, DomainSpec, Fault, Firmware, Hardware, LeasedTo, NicSpec, Platform, VmSpec,
};

use crate::disk::Storage;

/// Finds on this host what a spec only names.
#[derive(Debug, Clone)]
pub struct Resolver {
    /// Kernels and ramdisks for direct boot.
    pub boot: PathBuf,
    pub storage: Storage,
}

/// What could be asked for instead, and no more of it than somebody reads.
fn files_of(folder: &Path) -> String {
    const MOST: usize = 10;
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.path().is_file());
    let mut names: Vec<String> = files.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    let more = names.len().saturating_sub(MOST);
    names.truncate(MOST);
    match (names.is_empty(), more) {
        (true, _) => "there is none; put kernels and ramdisks there".to_owned(),
        (false, 0) => format!("there are {}", names.join(", ")),
        (false, more) => format!("there are {}, and {more} more", names.join(", ")),
    }
}

impl Resolver {
    /// Blocks on the filesystem: every file that the domain needs is looked for, so that what is missing is
    /// named before Xen is asked. Then the leases of what it writes are taken.
    pub fn domain_spec(
        &self,
        vm: VmId,
        incarnation: IncarnationId,
        spec: &VmSpec,
        taking: Taking,
    ) -> Result<DomainSpec, Fault> {
        let (firmware, boot_order) = match &spec.platform {
            Platform::Hvm { firmware, boot_order } if boot_order.is_empty() => {
                (*firmware, vec![BootDevice::Disk, BootDevice::Cdrom])
            }
            Platform::Hvm { firmware, boot_order } => (*firmware, boot_order.clone()),
            Platform::Pv { .. } | Platform::Pvh { .. } => (Firmware::Bios, Vec::new()),
        };
        let domain = DomainSpec {
            identity: DomainIdentity { vm, incarnation },
            name: spec.name.clone(),
            kind: spec.platform.kind(),
            direct_boot: spec.platform.direct_boot().map(|boot| self.boot(boot)).transpose()?,
            firmware,
            boot_order,
            vcpus: spec.vcpus,
            memory: spec.memory,
            disks: spec.disks.iter().map(|disk| self.disk(disk)).collect::<Result<_, _>>()?,
            nics: spec.nics.iter().map(nic).collect(),
            graphics: spec.graphics,
            hardware: self.hardware(&spec.hardware)?,
        };
        self.storage.take_leases(&leased_to(vm, spec, incarnation), &written(spec), taking)?;
        Ok(domain)
    }

    fn boot(&self, boot: &DirectBoot) -> Result<DirectBoot, Fault> {
        let ramdisk = boot.ramdisk.as_deref().map(|name| self.boot_file("platform.boot.ramdisk", name));
        Ok(DirectBoot {
            kernel: self.boot_file("platform.boot.kernel", &boot.kernel)?,
            ramdisk: ramdisk.transpose()?,
            cmdline: boot.cmdline.clone(),
        })
    }

    fn boot_file(&self, field: &str, name: &str) -> Result<String, Fault> {
        let path: PathBuf = self.boot.join(name);
        if !path.is_file() {
            let (folder, there) = (self.boot.display(), files_of(&self.boot));
            return Err(Fault::invalid(
                field,
                format_args!("there is no {name:?} in {folder} on this host; {there}"),
            ));
        }
        Ok(path.display().to_string())
    }

    fn hardware(&self, hardware: &Hardware) -> Result<DomainHardware, Fault> {
        let cd = |drive: CdDrive| {
            let path =
                drive.vdi.map(|vdi| self.image("hardware.cd", vdi, DiskAccess::ReadOnly)).transpose()?;
            Ok::<_, Fault>(DomainCd { path })
        };
        Ok(DomainHardware {
            cd: hardware.cd.map(cd).transpose()?,
            video: hardware.video,
            cpu: hardware.cpu.clone(),
            pci: hardware.pci.clone(),
            guest_agent: hardware.guest_agent,
            cpu_level: None,
        })
    }

    /// Where a VDI is; `what` is told when it is nowhere.
    pub fn image(&self, what: &str, vdi: VdiId, access: DiskAccess) -> Result<PathBuf, Fault> {
        let told = |fault: Fault| Fault { message: format!("{what}: {}", fault.message), ..fault };
        self.storage.path_for_domain(vdi, access).map_err(told)
    }

    pub fn disk(&self, disk: &DiskSpec) -> Result<DomainDisk, Fault> {
        let path = self.image(&format!("disk {}", disk.device), disk.vdi, disk.access)?;
        Ok(DomainDisk { device: disk.device, path, access: disk.access })
    }
}

/// The VDIs that a domain writes.
pub fn written(spec: &VmSpec) -> Vec<VdiId> {
    let writes = |disk: &&DiskSpec| disk.access == DiskAccess::ReadWrite;
    spec.disks.iter().filter(writes).map(|disk| disk.vdi).collect()
}

/// The run, as its leases tell of it.
pub fn leased_to(vm: VmId, spec: &VmSpec, run: IncarnationId) -> LeasedTo {
    LeasedTo { vm, name: spec.name.to_string(), run, sent: false }
}

pub fn nic(nic: &NicSpec) -> DomainNic {
    DomainNic { mac: nic.mac, bridge: nic.bridge.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_folder_has_is_told_in_a_line() {
        let folder = tempfile::tempdir().unwrap();
        assert!(files_of(&folder.path().join("none")).contains("there is none"));
        std::fs::create_dir(folder.path().join("a-folder")).unwrap();
        assert!(files_of(folder.path()).contains("there is none"));
        for name in ["vmlinuz", "initrd.img"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(files_of(folder.path()), "there are initrd.img, vmlinuz");
        for number in 0..10 {
            std::fs::write(folder.path().join(format!("k{number}")), "").unwrap();
        }
        assert!(files_of(folder.path()).ends_with("k8, and 2 more"), "{}", files_of(folder.path()));
    }
}
