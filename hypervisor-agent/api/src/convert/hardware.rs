//! [`Hardware`] and [`HostHardware`].

use xenith_common_units::MemoryMiB;
use xenith_hypervisor_agent_types::{
    CdDrive, CpuShare, Hardware, HostHardware, NumaNode, PciDevice, Video, VideoAdapter,
};

use super::fields::{enums, id, optional_id, under};
use crate::{WireError, wire};

enums! {
    fn adapter_to_wire, adapter: VideoAdapter <-> VideoAdapter {
        Std = VideoAdapter::Std, Cirrus = VideoAdapter::Cirrus,
    }
}

fn memory(field: &str, mib: u64) -> Result<MemoryMiB, WireError> {
    MemoryMiB::new(mib).map_err(|error| WireError::new(field, error))
}

impl From<&Hardware> for wire::Hardware {
    fn from(hardware: &Hardware) -> Self {
        let cpu = &hardware.cpu;
        Self {
            cd: hardware
                .cd
                .map(|cd| wire::CdDrive { vdi_id: cd.vdi.map(|vdi| vdi.to_string()).unwrap_or_default() }),
            video: hardware.video.map(|video| wire::Video {
                adapter: adapter_to_wire(video.adapter),
                memory_mib: video.memory.mib(),
            }),
            cpu: (!cpu.is_plain()).then(|| wire::CpuShare {
                weight: cpu.weight.map(Into::into),
                cap: cpu.cap.map(Into::into),
                pin: cpu.pin.as_ref().map(ToString::to_string).unwrap_or_default(),
            }),
            pci: hardware.pci.iter().map(ToString::to_string).collect(),
            guest_agent: hardware.guest_agent,
        }
    }
}

impl TryFrom<wire::Hardware> for Hardware {
    type Error = WireError;

    fn try_from(hardware: wire::Hardware) -> Result<Self, WireError> {
        let video = |video: wire::Video| {
            Ok::<_, WireError>(Video {
                adapter: adapter("video.adapter", video.adapter)?,
                memory: memory("video.memory_mib", video.memory_mib)?,
            })
        };
        let cd =
            |cd: wire::CdDrive| Ok::<_, WireError>(CdDrive { vdi: optional_id("cd.vdi_id", &cd.vdi_id)? });
        Ok(Self {
            cd: hardware.cd.map(cd).transpose()?,
            video: hardware.video.map(video).transpose()?,
            cpu: under("cpu", hardware.cpu.unwrap_or_default().try_into())?,
            pci: hardware.pci.iter().map(|address| id("pci", address)).collect::<Result<_, _>>()?,
            guest_agent: hardware.guest_agent,
        })
    }
}

impl TryFrom<wire::CpuShare> for CpuShare {
    type Error = WireError;

    fn try_from(share: wire::CpuShare) -> Result<Self, WireError> {
        let small = |field, value: Option<u32>| {
            value.map(|value| u16::try_from(value).map_err(|error| WireError::new(field, error))).transpose()
        };
        Ok(Self {
            weight: small("weight", share.weight)?,
            cap: small("cap", share.cap)?,
            pin: optional_id("pin", &share.pin)?,
        })
    }
}

impl From<&HostHardware> for wire::HostHardware {
    fn from(hardware: &HostHardware) -> Self {
        let node = |node: &NumaNode| wire::NumaNode {
            node: node.node,
            memory_total_mib: node.memory_total.mib(),
            memory_free_mib: node.memory_free.mib(),
            cpus: node.cpus.as_ref().map(ToString::to_string).unwrap_or_default(),
        };
        let device = |device: &PciDevice| wire::PciDevice {
            address: device.address.to_string(),
            id: device.id.clone(),
            class: device.class.clone(),
            driver: device.driver.clone().unwrap_or_default(),
        };
        Self {
            numa: hardware.numa.iter().map(node).collect(),
            pci: hardware.pci.iter().map(device).collect(),
            passthrough_problem: hardware.passthrough_problem.clone().unwrap_or_default(),
        }
    }
}

impl TryFrom<wire::HostHardware> for HostHardware {
    type Error = WireError;

    fn try_from(hardware: wire::HostHardware) -> Result<Self, WireError> {
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let node = |node: wire::NumaNode| {
            Ok::<_, WireError>(NumaNode {
                node: node.node,
                memory_total: memory("numa.memory_total_mib", node.memory_total_mib)?,
                memory_free: memory("numa.memory_free_mib", node.memory_free_mib)?,
                cpus: optional_id("numa.cpus", &node.cpus)?,
            })
        };
        let device = |device: wire::PciDevice| {
            Ok::<_, WireError>(PciDevice {
                address: id("pci.address", &device.address)?,
                id: device.id,
                class: device.class,
                driver: some(device.driver),
            })
        };
        Ok(Self {
            numa: hardware.numa.into_iter().map(node).collect::<Result<_, _>>()?,
            pci: hardware.pci.into_iter().map(device).collect::<Result<_, _>>()?,
            passthrough_problem: some(hardware.passthrough_problem),
        })
    }
}
