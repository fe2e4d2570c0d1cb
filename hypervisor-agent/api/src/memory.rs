//! Commands about memory that is kept with a snapshot, on the wire.

use xenith_common_ids::VmId;
use xenith_hypervisor_agent_types::{KeptMemory, MemoryOf, SnapshotOf, WrittenWhile};

use crate::convert::id;
use crate::storage::{disks_from_wire, disks_to_wire};
use crate::wire::execute_request::Command as Wire;
use crate::{RevertPart, VmAction, WireError, wire};

pub(crate) fn snapshot_to_wire(vm: VmId, disks: &[SnapshotOf], memory: MemoryOf) -> Wire {
    Wire::SnapshotMemory(wire::SnapshotMemory {
        vm_id: vm.to_string(),
        disks: disks_to_wire(disks),
        memory_vdi_id: memory.vdi.to_string(),
        memory_sr_id: memory.sr.to_string(),
    })
}

pub(crate) fn snapshot_from_wire(snapshot: &wire::SnapshotMemory) -> Result<VmAction, WireError> {
    let memory = MemoryOf {
        vdi: id("memory_vdi_id", &snapshot.memory_vdi_id)?,
        sr: id("memory_sr_id", &snapshot.memory_sr_id)?,
    };
    Ok(VmAction::SnapshotWithMemory { disks: disks_from_wire(&snapshot.disks)?, memory })
}

/// Of a [`VmAction::RevertWithMemory`].
pub(crate) fn revert_to_wire(vm: VmId, action: &VmAction) -> Wire {
    let mut revert = wire::RevertMemory { vm_id: vm.to_string(), ..Default::default() };
    if let VmAction::RevertWithMemory { incarnation, disks, memory, part } = action {
        revert.incarnation_id = incarnation.to_string();
        revert.disks = disks_to_wire(disks);
        revert.memory_vdi_id = memory.vdi.to_string();
        revert.memory_sr_id = memory.sr.to_string();
        revert.check_only = *part == RevertPart::Check;
    }
    Wire::RevertMemory(revert)
}

pub(crate) fn revert_from_wire(revert: &wire::RevertMemory) -> Result<VmAction, WireError> {
    Ok(VmAction::RevertWithMemory {
        incarnation: id("incarnation_id", &revert.incarnation_id)?,
        disks: disks_from_wire(&revert.disks)?,
        memory: MemoryOf {
            vdi: id("memory_vdi_id", &revert.memory_vdi_id)?,
            sr: id("memory_sr_id", &revert.memory_sr_id)?,
        },
        part: if revert.check_only { RevertPart::Check } else { RevertPart::Whole },
    })
}

impl From<&KeptMemory> for wire::KeptMemory {
    fn from(kept: &KeptMemory) -> Self {
        Self {
            bytes: kept.bytes,
            standing: kept.written_while == WrittenWhile::Standing,
            cpu_model: kept.cpu_model.clone(),
            xen_major: kept.xen_major,
            xen_minor: kept.xen_minor,
        }
    }
}

impl From<wire::KeptMemory> for KeptMemory {
    fn from(kept: wire::KeptMemory) -> Self {
        Self {
            bytes: kept.bytes,
            written_while: if kept.standing { WrittenWhile::Standing } else { WrittenWhile::Running },
            cpu_model: kept.cpu_model,
            xen_major: kept.xen_major,
            xen_minor: kept.xen_minor,
        }
    }
}
