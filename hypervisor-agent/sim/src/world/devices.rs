//! What can be changed about a simulated domain while it lives: memory, virtual CPUs, disks and NICs.

use std::path::PathBuf;
use std::time::Duration;

use xenith_common_ids::DomId;
use xenith_common_units::{MacAddr, MemoryMiB, VcpuCount};
use xenith_hypervisor_agent_backend::{HypervisorError, Result};
use xenith_hypervisor_agent_types::{CpuShare, DiskDevice, DomainDisk, DomainNic, HostHardware, NumaNode};

use super::domain::plain_is_none;
use super::lifecycle::invalid;
use super::{Domain, Run, World};
use crate::Operation;

impl World {
    /// A device can be given to a domain that lives, running or not: it is there when the guest looks.
    fn alive(&mut self, domid: DomId, operation: Operation) -> Result<&mut Domain> {
        self.in_status(domid, operation, "running or paused", |run| matches!(run, Run::Running | Run::Paused))
    }

    pub(crate) fn set_memory(&mut self, domid: DomId, target: MemoryMiB) -> Result<()> {
        let free = self.free();
        let domain = self.running(domid, Operation::SetMemory)?;
        if target > domain.memory_max {
            let max = domain.memory_max;
            return Err(invalid(
                "memory.target".to_owned(),
                format!("{target} is more than memory.max ({max})"),
            ));
        }
        let needed = target.saturating_sub(domain.memory);
        if needed > free {
            return Err(HypervisorError::NoMemory { needed, free });
        }
        domain.memory = target;
        self.facts_changed();
        Ok(())
    }

    pub(crate) fn set_vcpus(&mut self, domid: DomId, online: VcpuCount, at: Duration) -> Result<()> {
        let domain = self.running(domid, Operation::SetVcpus)?;
        if online > domain.vcpus.max {
            let max = domain.vcpus.max;
            return Err(invalid(
                "vcpus.online".to_owned(),
                format!("{online} is more than vcpus.max ({max})"),
            ));
        }
        domain.count_cpu(at);
        domain.vcpus.online = online;
        Ok(())
    }

    pub(crate) fn set_cpu_share(&mut self, domid: DomId, share: CpuShare) -> Result<()> {
        self.check_cpu_share(&share)?;
        let domain = self.alive(domid, Operation::SetCpuShare)?;
        let mut hardware = domain.hardware.take().unwrap_or_default();
        hardware.cpu = share;
        domain.hardware = plain_is_none(&hardware);
        Ok(())
    }

    pub(super) fn check_cpu_share(&self, share: &CpuShare) -> Result<()> {
        let cpus = self.config.host.topology().cpus;
        match &share.pin {
            Some(pin) if u32::from(pin.last()) >= cpus => {
                let problem =
                    format!("the host has no CPU {}, only 0 to {}", pin.last(), cpus.saturating_sub(1));
                Err(invalid("hardware.cpu.pin".to_owned(), problem))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn change_cd(&mut self, domid: DomId, image: Option<PathBuf>) -> Result<()> {
        let domain = self.alive(domid, Operation::ChangeCd)?;
        match domain.hardware.as_mut().and_then(|hardware| hardware.cd.as_mut()) {
            Some(cd) => {
                cd.path = image;
                Ok(())
            }
            None => Err(HypervisorError::NoSuchDevice { domid, device: "CD drive".to_owned() }),
        }
    }

    /// One NUMA node, and no PCI devices to give away.
    pub(crate) fn hardware(&self) -> HostHardware {
        let host = &self.config.host;
        let cpus = u16::try_from(host.topology().cpus).unwrap_or(u16::MAX);
        HostHardware {
            numa: vec![NumaNode {
                node: 0,
                memory_total: host.memory,
                memory_free: self.free(),
                cpus: (cpus > 0).then(|| (0..cpus).collect()),
            }],
            pci: Vec::new(),
            passthrough_problem: Some("a simulated host has no PCI devices".to_owned()),
        }
    }

    pub(crate) fn attach_disk(&mut self, domid: DomId, disk: DomainDisk) -> Result<()> {
        let domain = self.alive(domid, Operation::AttachDisk)?;
        if domain.disks.iter().any(|other| other.device == disk.device) {
            return Err(HypervisorError::AlreadyAttached { domid, device: disk.device.to_string() });
        }
        domain.disks.push(disk);
        Ok(())
    }

    pub(crate) fn detach_disk(&mut self, domid: DomId, device: DiskDevice) -> Result<()> {
        let domain = self.running(domid, Operation::DetachDisk)?;
        let before = domain.disks.len();
        domain.disks.retain(|disk| disk.device != device);
        if domain.disks.len() == before {
            return Err(HypervisorError::NoSuchDevice { domid, device: device.to_string() });
        }
        Ok(())
    }

    pub(crate) fn attach_nic(&mut self, domid: DomId, nic: DomainNic) -> Result<()> {
        self.get(domid)?;
        self.check_bridge("nic.bridge", &nic.bridge)?;
        let domain = self.alive(domid, Operation::AttachNic)?;
        if domain.nics.iter().any(|other| other.mac == nic.mac) {
            return Err(HypervisorError::AlreadyAttached { domid, device: nic.mac.to_string() });
        }
        domain.nics.push(nic);
        self.facts_changed();
        Ok(())
    }

    pub(crate) fn detach_nic(&mut self, domid: DomId, mac: MacAddr) -> Result<()> {
        let domain = self.running(domid, Operation::DetachNic)?;
        let before = domain.nics.len();
        domain.nics.retain(|nic| nic.mac != mac);
        if domain.nics.len() == before {
            return Err(HypervisorError::NoSuchDevice { domid, device: mac.to_string() });
        }
        self.facts_changed();
        Ok(())
    }
}
