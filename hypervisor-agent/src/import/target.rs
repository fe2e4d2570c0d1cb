//! VDIs as targets of an import.

use xenith_common_block::{BlockError, ByteRange};
use xenith_common_ids::{SrId, VdiId};
use xenith_hypervisor_agent_types::{Fault, FaultReason};
use xenith_vmware_import::ImportError;
use xenith_vmware_import::error::Result;
use xenith_vmware_import::vsphere::transfer::TargetDisk;

use crate::disk::Storage;

/// Opens a VDI for writing and for reading what was written, alone. It was made before: one that is not there is an
/// error.
pub fn open(storage: &Storage, sr: SrId, vdi: VdiId) -> Result<TargetDisk> {
    let sink = storage.open_sink(vdi).map_err(|fault| refused(vdi, &fault))?;
    // Nobody changes it but the holder of the sink, which is us.
    let driver = storage.driver(sr).map_err(|fault| refused(vdi, &fault))?;
    let source = driver.open_source(vdi).map_err(|error| refused(vdi, &error.into()))?;
    Ok(TargetDisk { sink, source: source.into() })
}

/// Makes all of it read as zeros.
pub fn clear(disk: &TargetDisk) -> std::result::Result<(), BlockError> {
    disk.sink.zero(ByteRange::new(0, disk.sink.size()))
}

fn refused(vdi: VdiId, fault: &Fault) -> ImportError {
    let target = format!("VDI {vdi}");
    if fault.reason == FaultReason::StorageFull {
        let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
        return ImportError::io("open", target, source);
    }
    ImportError::Target { target, detail: fault.message.clone() }
}
