//! From an image or block device to something that the kernel's back end serves.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use xenith_common_ids::DomId;
use xenith_hypervisor_agent_backend::HypervisorError;
use xenith_hypervisor_agent_types::{DiskDevice, DomainDisk};

use crate::raw::LoopDevice;

/// How long the kernel's back end may take to open a device that its hotplug script has named.
const OPENED_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

/// A disk that is ready to be attached.
#[derive(Debug)]
pub struct Ready {
    device: DiskDevice,
    path: PathBuf,
    loop_device: Option<LoopDevice>,
}

impl Ready {
    /// # Errors
    /// `Device` when there is no loop device to be had.
    pub fn prepare(disk: &DomainDisk) -> Result<Self, HypervisorError> {
        let prepared = (|| -> io::Result<Self> {
            if is_device(&disk.path)? {
                return Ok(Self { device: disk.device, path: disk.path.clone(), loop_device: None });
            }
            let loop_device = LoopDevice::attach(&disk.path, disk.access)?;
            let path = loop_device.path().to_owned();
            Ok(Self { device: disk.device, path, loop_device: Some(loop_device) })
        })();
        prepared.map_err(|error| HypervisorError::Device {
            device: disk.device.to_string(),
            detail: format!("{} cannot be made a loop device: {error}", disk.path.display()),
        })
    }

    /// The block device.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets go of the disk once the back end of `domid` has opened it. libxl returns when the hotplug script
    /// has named the device; the kernel opens it a moment later, and without us there might be nothing left.
    pub fn hand_over(self, domid: DomId) {
        if self.loop_device.is_none() {
            return;
        }
        let number = device_number(self.device);
        let opened = format!("/sys/bus/xen-backend/devices/vbd-{domid}-{number}/physical_device");
        let began = Instant::now();
        while !Path::new(&opened).exists() {
            if began.elapsed() > OPENED_WITHIN {
                tracing::warn!(%domid, device = %self.device, "the back end has not opened the disk");
                return;
            }
            std::thread::sleep(POLL);
        }
    }
}

/// A block device is one of this host's only where the host makes them. In the folder of an SR, whoever else can write
/// there may have put a link to one in the image's place, after it was looked at.
fn is_device(path: &Path) -> io::Result<bool> {
    Ok(path.starts_with("/dev") && std::fs::metadata(path)?.file_type().is_block_device())
}

/// Xen's number of a virtual disk (xen-vbd-interface(7)): major 202 for the first 16, "extended" after that.
const fn device_number(device: DiskDevice) -> u32 {
    let index = device.index() as u32;
    if index < 16 { (202 << 8) | (index << 4) } else { (1 << 28) | (index << 8) }
}

#[cfg(test)]
mod tests {
    use xenith_hypervisor_agent_types::DiskAccess;

    use super::*;

    #[test]
    fn what_stands_in_an_images_place_gives_no_guest_a_device_of_the_host() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("image");
        for target in ["/dev/null", "/dev/sda", "/dev/zero"] {
            std::os::unix::fs::symlink(target, &link).unwrap();
            let disk = DomainDisk {
                device: "xvda".parse().unwrap(),
                path: link.clone(),
                access: DiskAccess::ReadOnly,
            };
            let refused = Ready::prepare(&disk).unwrap_err();
            assert!(matches!(refused, HypervisorError::Device { .. }), "{target}: {refused}");
            std::fs::remove_file(&link).unwrap();
        }
        let disk = DomainDisk {
            device: "xvda".parse().unwrap(),
            path: "/dev/null".into(),
            access: DiskAccess::ReadOnly,
        };
        assert!(Ready::prepare(&disk).unwrap_err().to_string().contains("no file"));
    }

    #[test]
    fn numbers_are_those_of_xen_vbd_interface() {
        for (device, number) in [("xvda", 51712), ("xvdb", 51728), ("xvdp", 51952), ("xvdq", 268_439_552)] {
            assert_eq!(device_number(device.parse().unwrap()), number, "{device}");
        }
    }
}
