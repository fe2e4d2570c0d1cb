//! From what an administrator asks for to what the hypervisor of this host builds.

use std::path::PathBuf;

use xenith_common_ids::{IncarnationId, VdiId, VmId};
use xenith_hypervisor_agent_types::{
    BootDevice, CdDrive, DirectBoot, DiskAccess, DiskSpec, DomainCd, DomainDisk, DomainHardware,
    DomainIdentity, DomainNic, DomainSpec, Fault, Firmware, Hardware, NicSpec, Platform, VmSpec,
};

use crate::disk::Storage;

/// Finds on this host what a spec only names.
#[derive(Debug, Clone)]
pub struct Resolver {
    /// Kernels and ramdisks for direct boot.
    pub boot: PathBuf,
    pub storage: Storage,
}

impl Resolver {
    /// Blocks on the filesystem: every file that the domain needs is looked for, so that what is missing is
    /// named before Xen is asked.
    pub fn domain_spec(
        &self,
        vm: VmId,
        incarnation: IncarnationId,
        spec: &VmSpec,
    ) -> Result<DomainSpec, Fault> {
        let (firmware, boot_order) = match &spec.platform {
            Platform::Hvm { firmware, boot_order } if boot_order.is_empty() => {
                (*firmware, vec![BootDevice::Disk, BootDevice::Cdrom])
            }
            Platform::Hvm { firmware, boot_order } => (*firmware, boot_order.clone()),
            Platform::Pv { .. } | Platform::Pvh { .. } => (Firmware::Bios, Vec::new()),
        };
        Ok(DomainSpec {
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
        })
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
            let folder = self.boot.display();
            return Err(Fault::invalid(field, format!("there is no {name:?} in {folder} on this host")));
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

pub fn nic(nic: &NicSpec) -> DomainNic {
    DomainNic { mac: nic.mac, bridge: nic.bridge.clone() }
}
