//! From what a domain has to what its definition says: the changes that can be made while it runs, in the
//! order in which they are made, and the fields that must wait for the next start.

use xenith_common_ids::VdiId;
use xenith_common_units::{MacAddr, MemoryMiB, VcpuCount};
use xenith_hypervisor_agent_types::{CdDrive, CpuShare, DiskDevice, DiskSpec, NicSpec, VmSpec};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    DetachDisk(DiskDevice),
    DetachNic(MacAddr),
    SetMemory(MemoryMiB),
    SetVcpus(VcpuCount),
    AttachDisk(DiskSpec),
    AttachNic(NicSpec),
    SetCpuShare(CpuShare),
    /// `None`: out.
    ChangeCd(Option<VdiId>),
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    pub changes: Vec<Change>,
    pub after_restart: Vec<String>,
}

/// Detaching comes first: a device name may be used again at once.
#[must_use]
pub fn plan(applied: &VmSpec, wanted: &VmSpec) -> Plan {
    let mut plan = Plan::default();
    for disk in &applied.disks {
        if !wanted.disks.contains(disk) {
            plan.changes.push(Change::DetachDisk(disk.device));
        }
    }
    for nic in &applied.nics {
        if !wanted.nics.contains(nic) {
            plan.changes.push(Change::DetachNic(nic.mac));
        }
    }
    if wanted.memory.target > applied.memory.max {
        plan.after_restart.push("memory.target".to_owned());
    } else if wanted.memory.target != applied.memory.target {
        plan.changes.push(Change::SetMemory(wanted.memory.target));
    }
    if wanted.vcpus.online > applied.vcpus.max {
        plan.after_restart.push("vcpus.online".to_owned());
    } else if wanted.vcpus.online != applied.vcpus.online {
        plan.changes.push(Change::SetVcpus(wanted.vcpus.online));
    }
    let added_disks = wanted.disks.iter().filter(|disk| !applied.disks.contains(disk));
    plan.changes.extend(added_disks.cloned().map(Change::AttachDisk));
    let added_nics = wanted.nics.iter().filter(|nic| !applied.nics.contains(nic));
    plan.changes.extend(added_nics.cloned().map(Change::AttachNic));
    let (has, wants) = (&applied.hardware, &wanted.hardware);
    if has.cpu != wants.cpu {
        plan.changes.push(Change::SetCpuShare(wants.cpu.clone()));
    }
    if let (Some(now), Some(then)) = (has.cd, wants.cd)
        && now != then
    {
        plan.changes.push(Change::ChangeCd(then.vdi));
    }

    let fixed = [
        ("name", applied.name == wanted.name),
        ("platform", applied.platform == wanted.platform),
        ("memory.max", applied.memory.max == wanted.memory.max),
        ("vcpus.max", applied.vcpus.max == wanted.vcpus.max),
        ("graphics", applied.graphics == wanted.graphics),
        ("hardware.cd", has.cd.is_some() == wants.cd.is_some()),
        ("hardware.video", has.video == wants.video),
        ("hardware.pci", has.pci == wants.pci),
        ("hardware.guest_agent", has.guest_agent == wants.guest_agent),
    ];
    plan.after_restart.extend(fixed.into_iter().filter(|(_, same)| !same).map(|(field, _)| field.to_owned()));
    plan
}

/// Notes in `applied` that `change` was made.
pub fn note(applied: &mut VmSpec, change: &Change) {
    match change {
        Change::DetachDisk(device) => applied.disks.retain(|disk| disk.device != *device),
        Change::DetachNic(mac) => applied.nics.retain(|nic| nic.mac != *mac),
        Change::SetMemory(target) => applied.memory.target = *target,
        Change::SetVcpus(online) => applied.vcpus.online = *online,
        Change::AttachDisk(disk) => applied.disks.push(disk.clone()),
        Change::AttachNic(nic) => applied.nics.push(nic.clone()),
        Change::SetCpuShare(share) => applied.hardware.cpu = share.clone(),
        Change::ChangeCd(vdi) => applied.hardware.cd = Some(CdDrive { vdi: *vdi }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xenith_hypervisor_agent_types::test_support::small;
    use xenith_hypervisor_agent_types::{DiskAccess, Graphics, MemorySpec};

    fn disk(index: u8) -> DiskSpec {
        let device = DiskDevice::nth(index).unwrap();
        DiskSpec { device, vdi: VdiId::new(), access: DiskAccess::ReadWrite }
    }

    #[test]
    fn a_replaced_disk_is_detached_before_the_new_one_is_attached() {
        let (mut applied, mut wanted) = (small("v"), small("v"));
        applied.disks = vec![disk(0), disk(1)];
        let new = disk(1);
        wanted.disks = vec![applied.disks[0].clone(), new.clone()];
        let changes = plan(&applied, &wanted).changes;
        assert_eq!(changes, [Change::DetachDisk(new.device), Change::AttachDisk(new)]);
    }

    #[test]
    fn what_cannot_change_live_waits() {
        let mut wanted = small("v");
        wanted.memory = MemorySpec { target: 1024.try_into().unwrap(), max: 1024.try_into().unwrap() };
        wanted.vcpus.online = 2.try_into().unwrap();
        wanted.graphics = Graphics::Vnc;
        let plan = plan(&small("v"), &wanted);
        assert_eq!(plan.changes, [Change::SetVcpus(2.try_into().unwrap())]);
        assert_eq!(plan.after_restart, ["memory.target", "memory.max", "graphics"]);
    }

    #[test]
    fn a_medium_changes_live_and_a_drive_at_the_next_start() {
        let (mut applied, mut wanted) = (small("v"), small("v"));
        let iso = VdiId::new();
        wanted.hardware.cd = Some(CdDrive { vdi: Some(iso) });
        let first = plan(&applied, &wanted);
        assert_eq!((first.changes, first.after_restart), (vec![], vec!["hardware.cd".to_owned()]));
        applied.hardware.cd = Some(CdDrive { vdi: None });
        wanted.hardware.cpu.weight = Some(512);
        let plan_now = plan(&applied, &wanted);
        let share = wanted.hardware.cpu.clone();
        assert_eq!(plan_now.changes, [Change::SetCpuShare(share), Change::ChangeCd(Some(iso))]);
        for change in &plan_now.changes {
            note(&mut applied, change);
        }
        assert_eq!(plan(&applied, &wanted), Plan::default());
    }

    #[test]
    fn applying_a_plan_leaves_nothing_to_apply() {
        let (mut applied, mut wanted) = (small("v"), small("v"));
        applied.disks = vec![disk(0), disk(1)];
        wanted.disks = vec![disk(1), disk(2)];
        wanted.memory.target = 200.try_into().unwrap();
        for change in plan(&applied, &wanted).changes {
            note(&mut applied, &change);
        }
        assert_eq!(plan(&applied, &wanted), Plan::default());
    }
}
