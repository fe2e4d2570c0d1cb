//! What the VMs of a host had counted, until its next sample: packed, because a fleet holds it all the time.

use xenith_common_ids::{DomId, VmId};
use xenith_hypervisor_agent_types::DiskDevice;
use xenith_hypervisor_agent_types::metrics::{DiskCounters, NicCounters, VmSample};

/// In the order of their ids; devices in the same order, those of one VM together.
#[derive(Debug, Default)]
pub struct Counted {
    vms: Box<[Vm]>,
    disks: Box<[(DiskDevice, DiskCounters)]>,
    nics: Box<[(u16, NicCounters)]>,
}

#[derive(Debug)]
struct Vm {
    vm: VmId,
    domid: DomId,
    cpu_time_ns: u64,
    /// Where the devices of the next one begin.
    disks_end: u32,
    nics_end: u32,
}

/// One VM's.
#[derive(Debug, Clone, Copy, Default)]
pub struct Before<'a> {
    pub cpu_time_ns: u64,
    pub disks: &'a [(DiskDevice, DiskCounters)],
    pub nics: &'a [(u16, NicCounters)],
}

impl Counted {
    pub fn of(mut samples: Vec<VmSample>) -> Self {
        samples.sort_unstable_by_key(|sample| sample.vm);
        let (mut vms, mut disks, mut nics) = (Vec::with_capacity(samples.len()), Vec::new(), Vec::new());
        for sample in samples {
            disks.extend(sample.devices.disks);
            nics.extend(sample.devices.nics);
            vms.push(Vm {
                vm: sample.vm,
                domid: sample.domid,
                cpu_time_ns: sample.cpu_time_ns,
                // A message is far smaller than so many.
                disks_end: disks.len() as u32,
                nics_end: nics.len() as u32,
            });
        }
        Self { vms: vms.into(), disks: disks.into(), nics: nics.into() }
    }

    /// `None`: there was no such VM, or it was another domain.
    pub fn before(&self, vm: VmId, domid: DomId) -> Option<Before<'_>> {
        let place = self.vms.binary_search_by_key(&vm, |known| known.vm).ok()?;
        let known = self.vms.get(place).filter(|known| known.domid == domid)?;
        let first = place.checked_sub(1).and_then(|place| self.vms.get(place));
        let (disks, nics) = first.map_or((0, 0), |first| (first.disks_end, first.nics_end));
        Some(Before {
            cpu_time_ns: known.cpu_time_ns,
            disks: self.disks.get(disks as usize..known.disks_end as usize)?,
            nics: self.nics.get(nics as usize..known.nics_end as usize)?,
        })
    }
}
