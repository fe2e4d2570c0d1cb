//! Disks and NICs of a running domain.

use std::ffi::CString;
use std::time::Duration;

use xenith_common_ids::DomId;
use xenith_common_units::MacAddr;
use xenith_hypervisor_agent_libxl_sys::libxl_error;

use crate::raw::context::{Context, Failure};
use crate::raw::opaque::{Disk, Nic};

/// A hotplug script may take 40 s, a guest that does not let go of a device as long; libxl limits both.
const DEVICE: Duration = Duration::from_secs(5 * 60);

impl Context {
    pub fn add_disk(&self, domid: DomId, disk: &mut Disk) -> Result<(), Failure> {
        self.begin();
        let pointer = disk.as_mut_ptr();
        self.finish("attaching the disk", DEVICE, |how| {
            // SAFETY: an initialised struct that outlives the operation.
            unsafe { self.xl().libxl_device_disk_add(self.ptr(), domid.0, pointer, how) }
        })
    }

    /// Removes the disk that the guest sees as `vdev`. `None`: there is none.
    pub fn remove_disk(&self, domid: DomId, vdev: &str) -> Result<Option<()>, Failure> {
        const OPERATION: &str = "detaching the disk";
        self.begin();
        let mut disk: Disk = self.new_opaque(OPERATION)?;
        let Ok(vdev) = CString::new(vdev) else {
            return Err(self.failure(OPERATION, libxl_error::ERROR_INVAL.0));
        };
        let pointer = disk.as_mut_ptr();
        // SAFETY: a C string and an initialised struct to fill.
        let rc = unsafe { self.xl().libxl_vdev_to_device_disk(self.ptr(), domid.0, vdev.as_ptr(), pointer) };
        if rc != 0 {
            return Ok(None);
        }
        self.finish(OPERATION, DEVICE, |how| {
            // SAFETY: an initialised struct that outlives the operation.
            unsafe { self.xl().libxl_device_disk_remove(self.ptr(), domid.0, pointer, how) }
        })?;
        Ok(Some(()))
    }

    /// Changes the medium of the CD drive that `cd` names.
    pub fn insert_cd(&self, domid: DomId, cd: &mut Disk) -> Result<(), Failure> {
        self.begin();
        let pointer = cd.as_mut_ptr();
        self.finish("changing the CD", DEVICE, |how| {
            // SAFETY: an initialised struct that outlives the operation.
            unsafe { self.xl().libxl_cdrom_insert(self.ptr(), domid.0, pointer, how) }
        })
    }

    /// Whether there is a disk that the guest sees as `vdev`.
    pub fn has_disk(&self, domid: DomId, vdev: &str) -> Result<bool, Failure> {
        const OPERATION: &str = "looking for the disk";
        self.begin();
        let mut disk: Disk = self.new_opaque(OPERATION)?;
        let Ok(vdev) = CString::new(vdev) else {
            return Err(self.failure(OPERATION, libxl_error::ERROR_INVAL.0));
        };
        let pointer = disk.as_mut_ptr();
        // SAFETY: a C string and an initialised struct to fill.
        Ok(unsafe { self.xl().libxl_vdev_to_device_disk(self.ptr(), domid.0, vdev.as_ptr(), pointer) } == 0)
    }

    pub fn add_nic(&self, domid: DomId, nic: &mut Nic) -> Result<(), Failure> {
        self.begin();
        let pointer = nic.as_mut_ptr();
        self.finish("attaching the NIC", DEVICE, |how| {
            // SAFETY: an initialised struct that outlives the operation.
            unsafe { self.xl().libxl_device_nic_add(self.ptr(), domid.0, pointer, how) }
        })
    }

    /// Whether there is a NIC with this address.
    pub fn has_nic(&self, domid: DomId, mac: MacAddr) -> Result<bool, Failure> {
        self.begin();
        let mut nic: Nic = self.new_opaque("looking for the NIC")?;
        let mac = CString::new(mac.to_string()).expect("hexadecimal digits and colons hold no NUL");
        let pointer = nic.as_mut_ptr();
        // SAFETY: a C string and an initialised struct to fill.
        Ok(unsafe { self.xl().libxl_mac_to_device_nic(self.ptr(), domid.0, mac.as_ptr(), pointer) } == 0)
    }

    /// Removes the NIC with this address. `None`: there is none.
    pub fn remove_nic(&self, domid: DomId, mac: MacAddr) -> Result<Option<()>, Failure> {
        const OPERATION: &str = "detaching the NIC";
        self.begin();
        let mut nic: Nic = self.new_opaque(OPERATION)?;
        let mac = CString::new(mac.to_string()).expect("hexadecimal digits and colons hold no NUL");
        let pointer = nic.as_mut_ptr();
        // SAFETY: a C string and an initialised struct to fill.
        let rc = unsafe { self.xl().libxl_mac_to_device_nic(self.ptr(), domid.0, mac.as_ptr(), pointer) };
        if rc != 0 {
            return Ok(None);
        }
        self.finish(OPERATION, DEVICE, |how| {
            // SAFETY: an initialised struct that outlives the operation.
            unsafe { self.xl().libxl_device_nic_remove(self.ptr(), domid.0, pointer, how) }
        })?;
        Ok(Some(()))
    }
}
