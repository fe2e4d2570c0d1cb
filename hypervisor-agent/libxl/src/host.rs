//! What the Linux of the control domain says about the machine: its name, CPU model and bridges.

use std::fs;
use std::path::Path;

use xenith_hypervisor_agent_types::network::is_guest_interface;
use xenith_hypervisor_agent_types::{Bridge, PciAddress, PciDevice, ProofBridge};

/// The name of this machine.
pub fn hostname() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

/// The first CPU's model, as the kernel shows it.
pub fn cpu_model() -> String {
    parse_cpu_model(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default())
}

fn parse_cpu_model(cpuinfo: &str) -> String {
    cpuinfo
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == "model name")
        .map_or_else(|| "unknown".to_owned(), |(_, model)| model.trim().to_owned())
}

/// All bridges, by name, but those of proofs: nobody may put a network on one.
pub fn bridges() -> Vec<Bridge> {
    bridges_under(Path::new("/sys/class/net"))
}

/// Whether NICs can be plugged into an interface of this name.
pub fn is_bridge(name: &str) -> bool {
    // A name with a slash would leave the folder.
    !name.contains('/') && Path::new("/sys/class/net").join(name).join("bridge").is_dir()
}

fn bridges_under(folder: &Path) -> Vec<Bridge> {
    let mut bridges: Vec<Bridge> = names(folder)
        .into_iter()
        .filter(|name| folder.join(name).join("bridge").is_dir() && !ProofBridge::is_one(name))
        .map(|name| Bridge {
            uplinks: names(&folder.join(&name).join("brif"))
                .into_iter()
                .filter(|port| !is_guest_interface(port))
                .collect(),
            mtu: read_number(&folder.join(&name).join("mtu")),
            name,
        })
        .collect();
    bridges.sort();
    bridges
}

/// Whether there is such a device.
pub fn has_pci(address: PciAddress) -> bool {
    Path::new(PCI).join(address.to_string()).exists()
}

/// All PCI devices, bridges left out: those stay with the host.
pub fn pci() -> Vec<PciDevice> {
    pci_under(Path::new(PCI))
}

const PCI: &str = "/sys/bus/pci/devices";

fn pci_under(folder: &Path) -> Vec<PciDevice> {
    const BRIDGE: u32 = 0x06;
    let device = |name: String| {
        let at = folder.join(&name);
        let hex = |file: &str| {
            let text = fs::read_to_string(at.join(file)).ok()?;
            u32::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
        };
        let class = hex("class")?;
        let driver = fs::read_link(at.join("driver")).ok();
        let driver = driver.and_then(|link| Some(link.file_name()?.to_str()?.to_owned()));
        (class >> 16 != BRIDGE).then_some(())?;
        Some(PciDevice {
            address: name.parse().ok()?,
            id: format!("{:04x}:{:04x}", hex("vendor")?, hex("device")?),
            class: pci_class(class >> 8).to_owned(),
            driver,
        })
    };
    names(folder).into_iter().filter_map(device).collect()
}

/// The classes of the PCI Code and ID Assignment Specification that administrators look for.
const fn pci_class(class: u32) -> &'static str {
    match class {
        0x0101 => "IDE controller",
        0x0104 => "RAID controller",
        0x0106 => "SATA controller",
        0x0107 => "SAS controller",
        0x0108 => "NVMe drive",
        0x0200 => "network card",
        0x0300 => "graphics card",
        0x0302 => "3D controller",
        0x0403 => "sound card",
        0x0c03 => "USB controller",
        0x0c04 => "Fibre Channel controller",
        _ => match class >> 8 {
            0x01 => "storage controller",
            0x02 => "network controller",
            0x03 => "display controller",
            0x04 => "multimedia device",
            0x10 => "encryption controller",
            0x12 => "accelerator",
            _ => "device",
        },
    }
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn read_number(path: &Path) -> u32 {
    fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bridges_and_their_uplinks() {
        let folder = tempfile::tempdir().unwrap();
        for path in [
            "xp-b302099a8057/bridge",
            "xenbr0/bridge",
            "xenbr0/brif/eth0",
            "xenbr0/brif/vif3.0",
            "xenbr0/brif/tap7",
            "xenbr0/brif/x002OV00001-emu",
            "eth0",
        ] {
            fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        fs::write(folder.path().join("xenbr0/mtu"), "9000\n").unwrap();
        let expected = Bridge { name: "xenbr0".into(), uplinks: vec!["eth0".into()], mtu: 9000 };
        assert_eq!(bridges_under(folder.path()), [expected]);
        assert_eq!(bridges_under(Path::new("/nonexistent")), []);
    }

    #[test]
    fn pci_devices_without_bridges() {
        let folder = tempfile::tempdir().unwrap();
        for (address, class) in [("0000:00:00.0", "0x060000"), ("0000:03:00.0", "0x020000")] {
            let at = folder.path().join(address);
            fs::create_dir(&at).unwrap();
            for (file, text) in [("class", class), ("vendor", "0x8086"), ("device", "0x1533")] {
                fs::write(at.join(file), format!("{text}\n")).unwrap();
            }
        }
        std::os::unix::fs::symlink("../../drivers/igb", folder.path().join("0000:03:00.0/driver")).unwrap();
        let expected = PciDevice {
            address: "0000:03:00.0".parse().unwrap(),
            id: "8086:1533".into(),
            class: "network card".into(),
            driver: Some("igb".into()),
        };
        assert_eq!(pci_under(folder.path()), [expected]);
    }

    #[test]
    fn cpu_models() {
        assert_eq!(parse_cpu_model("processor\t: 0\nmodel name\t: Some CPU @ 2: GHz\n"), "Some CPU @ 2: GHz");
        assert_eq!(parse_cpu_model(""), "unknown");
    }
}
