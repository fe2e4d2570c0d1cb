//! The counters of a real host's control domain, read from `/sys` and `/proc`.
//!
//! Formats: `Documentation/ABI/testing/sysfs-driver-xen-blkback` (`rd_req`, `wr_req`, `rd_sect`, `wr_sect`,
//! `oo_req`), `sysfs-class-net-statistics` and `Documentation/admin-guide/iostats.rst` (`stat` of a block device) of
//! Linux. Disks that no `blkback` serves have no such files and are left out.

mod energy;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use xenith_common_ids::DomId;
use xenith_common_units::MemoryMiB;
use xenith_hypervisor_agent_backend::Meters;
use xenith_hypervisor_agent_types::DiskDevice;
use xenith_hypervisor_agent_types::metrics::{DeviceReadings, DiskCounters, KernelReadings, NicCounters};
use xenith_hypervisor_agent_types::network::is_guest_interface;

use energy::Energy;

/// Block devices count in sectors of this size, whatever their own is.
const SECTOR: u64 = 512;

/// Files below one folder: `/` on a host.
#[derive(Debug)]
pub struct SysMeters {
    root: PathBuf,
    began: Instant,
    energy: Mutex<Energy>,
}

impl SysMeters {
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), began: Instant::now(), energy: Mutex::default() }
    }

    fn devices(&self, domids: &[DomId]) -> HashMap<DomId, DeviceReadings> {
        let wanted: HashSet<DomId> = domids.iter().copied().collect();
        let mut devices: HashMap<DomId, DeviceReadings> = HashMap::new();
        let folder = self.root.join("sys/bus/xen-backend/devices");
        for name in names(&folder) {
            let Some((domid, number)) = name.strip_prefix("vbd-").and_then(|rest| pair(rest, '-')) else {
                continue;
            };
            let Some(device) = disk_device(number).filter(|_| wanted.contains(&domid)) else { continue };
            if let Some(counters) = blkback(&folder.join(&name).join("statistics")) {
                devices.entry(domid).or_default().disks.push((device, counters));
            }
        }
        let folder = self.root.join("sys/class/net");
        for name in names(&folder) {
            let Some((domid, number)) = guest_card(&folder, &name) else { continue };
            let Some(number) = u16::try_from(number).ok().filter(|_| wanted.contains(&domid)) else {
                continue;
            };
            if let Some(ours) = card(&folder.join(&name).join("statistics")) {
                devices.entry(domid).or_default().nics.push((number, seen_from_the_other_end(ours)));
            }
        }
        for readings in devices.values_mut() {
            readings.disks.sort_unstable_by_key(|(device, _)| *device);
            readings.nics.sort_unstable_by_key(|(number, _)| *number);
        }
        devices
    }

    /// All cards that are hardware.
    fn cards(&self) -> Option<NicCounters> {
        let folder = self.root.join("sys/class/net");
        let hardware = |name: &String| folder.join(name).join("device").exists() && !is_guest_interface(name);
        let all = names(&folder).into_iter().filter(hardware);
        all.filter_map(|name| card(&folder.join(name).join("statistics"))).reduce(|sum, one| NicCounters {
            received_bytes: sum.received_bytes + one.received_bytes,
            sent_bytes: sum.sent_bytes + one.sent_bytes,
            received_packets: sum.received_packets + one.received_packets,
            sent_packets: sum.sent_packets + one.sent_packets,
            dropped: sum.dropped + one.dropped,
        })
    }

    /// All disks that are hardware.
    fn disks(&self) -> Option<DiskCounters> {
        let folder = self.root.join("sys/block");
        let all = names(&folder).into_iter().filter(|name| folder.join(name).join("device").exists());
        all.filter_map(|name| block_device(&folder.join(name).join("stat"))).reduce(|sum, one| DiskCounters {
            read_ops: sum.read_ops + one.read_ops,
            write_ops: sum.write_ops + one.write_ops,
            read_bytes: sum.read_bytes + one.read_bytes,
            written_bytes: sum.written_bytes + one.written_bytes,
            queue_full: 0,
        })
    }
}

impl Meters for SysMeters {
    fn read(&self, domids: &[DomId]) -> KernelReadings {
        let load = fs::read_to_string(self.root.join("proc/loadavg")).ok();
        let memory = fs::read_to_string(self.root.join("proc/meminfo")).ok();
        let mut energy = self.energy.lock().unwrap_or_else(PoisonError::into_inner);
        KernelReadings {
            load: load.and_then(|text| text.split_whitespace().next()?.parse().ok()),
            dom0_memory_available: memory.as_deref().and_then(available),
            energy_uj: energy.count(&self.root, self.began.elapsed()),
            disk: self.disks(),
            nic: self.cards(),
            devices: self.devices(domids),
        }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// `3-51712`: a domain and one of its devices.
fn pair(text: &str, between: char) -> Option<(DomId, u32)> {
    let (domid, device) = text.split_once(between)?;
    Some((DomId(domid.parse().ok()?), device.parse().ok()?))
}

/// Whose an interface is, by its device in the xenbus (`vif-3-0`) where it is named after its MAC. The emulated twin has
/// no such device, and is not counted twice.
fn guest_card(folder: &Path, name: &str) -> Option<(DomId, u32)> {
    if let Some(found) = name.strip_prefix("vif").and_then(|rest| pair(rest, '.')) {
        return Some(found);
    }
    if !is_guest_interface(name) {
        return None;
    }
    let device = fs::read_link(folder.join(name).join("device")).ok()?;
    pair(device.file_name()?.to_str()?.strip_prefix("vif-")?, '-')
}

/// The number of a virtual disk as a name (`docs/man/xen-vbd-interface.7` of Xen): `xvda` to `xvdp` have major
/// number 202 and 16 minor ones each, those behind them the extended form.
fn disk_device(number: u32) -> Option<DiskDevice> {
    let index = if number >> 28 == 1 {
        (number & 0x0fff_ffff) >> 8
    } else if number >> 8 == 202 {
        (number & 0xff) >> 4
    } else {
        return None;
    };
    DiskDevice::nth(u8::try_from(index).ok()?)
}

fn blkback(statistics: &Path) -> Option<DiskCounters> {
    let read = |name: &str| number(&statistics.join(name));
    Some(DiskCounters {
        read_ops: read("rd_req")?,
        write_ops: read("wr_req")?,
        read_bytes: read("rd_sect")? * SECTOR,
        written_bytes: read("wr_sect")? * SECTOR,
        queue_full: read("oo_req")?,
    })
}

fn block_device(stat: &Path) -> Option<DiskCounters> {
    let text = fs::read_to_string(stat).ok()?;
    let fields: Vec<u64> = text.split_whitespace().map_while(|field| field.parse().ok()).collect();
    let [read_ops, _, read_sectors, _, write_ops, _, written_sectors, ..] = fields[..] else { return None };
    Some(DiskCounters {
        read_ops,
        write_ops,
        read_bytes: read_sectors * SECTOR,
        written_bytes: written_sectors * SECTOR,
        queue_full: 0,
    })
}

fn card(statistics: &Path) -> Option<NicCounters> {
    let read = |name: &str| number(&statistics.join(name));
    Some(NicCounters {
        received_bytes: read("rx_bytes")?,
        sent_bytes: read("tx_bytes")?,
        received_packets: read("rx_packets")?,
        sent_packets: read("tx_packets")?,
        dropped: read("rx_dropped")? + read("tx_dropped")?,
    })
}

/// What the back-end receives, the guest has sent.
const fn seen_from_the_other_end(ours: NicCounters) -> NicCounters {
    NicCounters {
        received_bytes: ours.sent_bytes,
        sent_bytes: ours.received_bytes,
        received_packets: ours.sent_packets,
        sent_packets: ours.received_packets,
        dropped: ours.dropped,
    }
}

fn available(meminfo: &str) -> Option<MemoryMiB> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(MemoryMiB::from_bytes_floor(kib << 10))
}

#[cfg(test)]
mod tests;
