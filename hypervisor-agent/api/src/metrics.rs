//! Samples of what a host counts, by columns on the wire.
//!
//! What always holds: a reply whose columns are not of one length, or that names a VM that it has not, is refused
//! with the name of the column; nothing is allocated before that is known.

use xenith_common_ids::DomId;
use xenith_common_units::MemoryMiB;
use xenith_hypervisor_agent_types::DiskDevice;
use xenith_hypervisor_agent_types::metrics::{
    DeviceReadings, DiskCounters, HostSample, NicCounters, Sample, VmSample,
};

use crate::convert::{required, under};
use crate::observed::{id_column, ids_of_column};
use crate::{WireError, wire};

/// One message of the stream of samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    /// Of the agent's run: numbers of another one mean nothing here.
    pub instance: String,
    pub samples: Vec<Sample>,
}

/// What both kinds of columns do.
macro_rules! columns {
    ($columns:ident of $counters:ident { $($field:ident),* }) => {
        impl wire::$columns {
            fn push(&mut self, (vm, device): (u32, u32), counters: &$counters) {
                self.vm.push(vm);
                self.device.push(device);
                self.add(counters);
            }

            fn add(&mut self, counters: &$counters) {
                $(self.$field.push(counters.$field);)*
            }

            /// How many rows all columns have.
            fn rows(&self) -> Result<usize, WireError> {
                let lengths = [$((stringify!($field), self.$field.len())),*];
                let rows = lengths[0].1;
                match lengths.iter().find(|(_, length)| *length != rows) {
                    Some((name, length)) => {
                        Err(WireError::new(*name, format!("has {length} rows where others have {rows}")))
                    }
                    None => Ok(rows),
                }
            }

            fn row(&self, row: usize) -> $counters {
                $counters { $($field: self.$field[row]),* }
            }

            /// Each row with its VM and device.
            fn placed(&self) -> Result<Vec<(usize, u32, $counters)>, WireError> {
                let rows = self.rows()?;
                for (name, length) in [("vm", self.vm.len()), ("device", self.device.len())] {
                    if length != rows {
                        return Err(WireError::new(name, format!("has {length} rows where others have {rows}")));
                    }
                }
                Ok((0..rows).map(|row| (self.vm[row] as usize, self.device[row], self.row(row))).collect())
            }

            /// Where there is to be one row.
            fn only(&self) -> Result<$counters, WireError> {
                match self.rows()? {
                    1 => Ok(self.row(0)),
                    rows => Err(WireError::new("rows", format!("are {rows}, not one"))),
                }
            }

            fn one(counters: &$counters) -> Self {
                let mut columns = Self::default();
                columns.add(counters);
                columns
            }
        }
    };
}

columns!(DiskColumns of DiskCounters { read_ops, write_ops, read_bytes, written_bytes, queue_full });
columns!(NicColumns of NicCounters { received_bytes, sent_bytes, received_packets, sent_packets, dropped });

impl From<&HostSample> for wire::HostCounters {
    fn from(host: &HostSample) -> Self {
        Self {
            cpus: host.cpus,
            busy_ns: host.busy_ns,
            dom0_cpu_time_ns: host.dom0_cpu_time_ns,
            memory_total_mib: host.memory_total.mib(),
            memory_free_mib: host.memory_free.mib(),
            memory_dom0_mib: host.dom0_memory.mib(),
            dom0_memory_available_mib: host.dom0_memory_available.map(MemoryMiB::mib),
            load: host.load,
            energy_uj: host.energy_uj,
            disk: host.disk.as_ref().map(wire::DiskColumns::one),
            nic: host.nic.as_ref().map(wire::NicColumns::one),
        }
    }
}

fn memory(field: &str, mib: u64) -> Result<MemoryMiB, WireError> {
    MemoryMiB::new(mib).map_err(|error| WireError::new(field, error))
}

impl TryFrom<wire::HostCounters> for HostSample {
    type Error = WireError;

    fn try_from(host: wire::HostCounters) -> Result<Self, WireError> {
        let available = host.dom0_memory_available_mib;
        Ok(Self {
            cpus: host.cpus,
            busy_ns: host.busy_ns,
            dom0_cpu_time_ns: host.dom0_cpu_time_ns,
            memory_total: memory("memory_total_mib", host.memory_total_mib)?,
            memory_free: memory("memory_free_mib", host.memory_free_mib)?,
            dom0_memory: memory("memory_dom0_mib", host.memory_dom0_mib)?,
            dom0_memory_available: available
                .map(|mib| memory("dom0_memory_available_mib", mib))
                .transpose()?,
            load: host.load.filter(|load| load.is_finite()),
            energy_uj: host.energy_uj,
            disk: host.disk.map(|disk| under("disk", disk.only())).transpose()?,
            nic: host.nic.map(|nic| under("nic", nic.only())).transpose()?,
        })
    }
}

impl From<&Sample> for wire::MetricsSample {
    fn from(sample: &Sample) -> Self {
        let (mut disks, mut nics) = (wire::DiskColumns::default(), wire::NicColumns::default());
        for (place, vm) in (0..).zip(&sample.vms) {
            for (device, counters) in &vm.devices.disks {
                disks.push((place, u32::from(device.index())), counters);
            }
            for (number, counters) in &vm.devices.nics {
                nics.push((place, u32::from(*number)), counters);
            }
        }
        Self {
            number: sample.number,
            clock_ms: sample.clock_ms,
            host: Some((&sample.host).into()),
            vm_ids: id_column(sample.vms.iter().map(|vm| &vm.vm)),
            domids: sample.vms.iter().map(|vm| vm.domid.0).collect(),
            cpu_time_ns: sample.vms.iter().map(|vm| vm.cpu_time_ns).collect(),
            vcpus_online: sample.vms.iter().map(|vm| vm.vcpus_online).collect(),
            memory_mib: sample.vms.iter().map(|vm| vm.memory.mib()).collect(),
            disks: Some(disks),
            nics: Some(nics),
        }
    }
}

impl TryFrom<wire::MetricsSample> for Sample {
    type Error = WireError;

    fn try_from(sample: wire::MetricsSample) -> Result<Self, WireError> {
        let rows = sample.domids.len();
        for (name, length) in [
            ("cpu_time_ns", sample.cpu_time_ns.len()),
            ("vcpus_online", sample.vcpus_online.len()),
            ("memory_mib", sample.memory_mib.len()),
        ] {
            if length != rows {
                return Err(WireError::new(name, format!("has {length} rows where others have {rows}")));
            }
        }
        let ids = ids_of_column("vm_ids", &sample.vm_ids, rows)?;
        let mut vms = Vec::with_capacity(rows);
        for (row, vm) in ids.into_iter().enumerate() {
            vms.push(VmSample {
                vm,
                domid: DomId(sample.domids[row]),
                cpu_time_ns: sample.cpu_time_ns[row],
                vcpus_online: sample.vcpus_online[row],
                memory: memory("memory_mib", sample.memory_mib[row])?,
                devices: DeviceReadings::default(),
            });
        }
        let stranger = |vm| WireError::new("vm", format!("{vm} is not the place of one of {rows} VMs"));
        for (vm, device, counters) in under("disks", sample.disks.unwrap_or_default().placed())? {
            let device = u8::try_from(device).ok().and_then(DiskDevice::nth);
            let device =
                device.ok_or_else(|| WireError::new("disks.device", "is not one of xvda to xvdz"))?;
            let place = vms.get_mut(vm).ok_or_else(|| stranger(vm));
            under("disks", place)?.devices.disks.push((device, counters));
        }
        for (vm, device, counters) in under("nics", sample.nics.unwrap_or_default().placed())? {
            let number = u16::try_from(device).map_err(|error| WireError::new("nics.device", error))?;
            let place = vms.get_mut(vm).ok_or_else(|| stranger(vm));
            under("nics", place)?.devices.nics.push((number, counters));
        }
        let host = under("host", required("host", sample.host)?.try_into())?;
        Ok(Self { number: sample.number, clock_ms: sample.clock_ms, host, vms })
    }
}

impl From<&Samples> for wire::MetricsReply {
    fn from(samples: &Samples) -> Self {
        let instance = samples.instance.clone();
        Self { instance, samples: samples.samples.iter().map(Into::into).collect() }
    }
}

impl TryFrom<wire::MetricsReply> for Samples {
    type Error = WireError;

    fn try_from(reply: wire::MetricsReply) -> Result<Self, WireError> {
        let samples = reply.samples.into_iter().enumerate();
        let samples = samples.map(|(n, sample)| under(format_args!("samples[{n}]"), sample.try_into()));
        Ok(Self { instance: reply.instance, samples: samples.collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use xenith_common_ids::VmId;

    use super::*;

    fn samples() -> Samples {
        let device = DiskDevice::nth(1).unwrap();
        let disk =
            DiskCounters { read_ops: 1, write_ops: 2, read_bytes: 3, written_bytes: u64::MAX, queue_full: 0 };
        let nic = NicCounters { received_bytes: 9, ..NicCounters::default() };
        let vm = |domid| VmSample {
            vm: VmId::new(),
            domid: DomId(domid),
            cpu_time_ns: 5,
            vcpus_online: 2,
            memory: MemoryMiB::new(512).unwrap(),
            devices: DeviceReadings::default(),
        };
        let devices = DeviceReadings { disks: vec![(device, disk)], nics: vec![(0, nic), (1, nic)] };
        let host = HostSample {
            cpus: 8,
            busy_ns: 1,
            dom0_cpu_time_ns: 2,
            memory_total: MemoryMiB::new(4096).unwrap(),
            memory_free: MemoryMiB::new(1024).unwrap(),
            dom0_memory: MemoryMiB::new(512).unwrap(),
            dom0_memory_available: None,
            load: Some(0.5),
            energy_uj: Some(7),
            disk: Some(disk),
            nic: None,
        };
        let sample =
            Sample { number: 3, clock_ms: 4, host, vms: vec![vm(1), VmSample { devices, ..vm(2) }, vm(3)] };
        Samples { instance: "1".into(), samples: vec![sample] }
    }

    #[test]
    fn samples_round_trip() {
        let samples = samples();
        assert_eq!(Samples::try_from(wire::MetricsReply::from(&samples)).unwrap(), samples);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let spoil = |spoil: fn(&mut wire::MetricsSample)| {
            let mut told = wire::MetricsReply::from(&samples());
            spoil(&mut told.samples[0]);
            Samples::try_from(told).unwrap_err().to_string()
        };
        for (error, field) in [
            (spoil(|sample| sample.vm_ids.truncate(40)), "samples[0].vm_ids"),
            (spoil(|sample| sample.memory_mib.push(1)), "samples[0].memory_mib"),
            (spoil(|sample| sample.host = None), "samples[0].host"),
            (spoil(|sample| sample.disks.as_mut().unwrap().vm[0] = 3), "samples[0].disks.vm"),
            (spoil(|sample| sample.disks.as_mut().unwrap().device[0] = 26), "samples[0].disks.device"),
            (spoil(|sample| sample.nics.as_mut().unwrap().sent_bytes.clear()), "samples[0].nics.sent_bytes"),
            (spoil(|sample| sample.nics.as_mut().unwrap().device.clear()), "samples[0].nics.device"),
        ] {
            assert!(error.starts_with(field), "{error} names not {field}");
        }
    }
}
