//! `.vmx` and `.vmsd`: what a folder of a datastore or of Workstation says about its VM.
//!
//! Every disk of every controller is listed, NVMe included; one that cannot come along is listed with the reason.
//! A MAC is taken from the static address as well as from the generated one.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::{ImportError, Result};

const MAX_TEXT: usize = 1 << 20;

/// Keys (lower case) and values of a `.vmx`-like file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    /// `key = "value"` lines; `|22` in a value is a quote, `|0A` a line end, and so on.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_TEXT {
            return Err(ImportError::damaged(file, 0, "settings", "are larger than 1 MiB"));
        }
        let text = decode(bytes);
        let mut map = BTreeMap::new();
        for line in text.lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((key, value)) = line.split_once('=') else { continue };
            let value = value.trim();
            let value = value.strip_prefix('"').map_or(value, |v| v.strip_suffix('"').unwrap_or(v));
            map.insert(key.trim().to_ascii_lowercase(), unescape(value));
        }
        Ok(Self(map))
    }

    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(&key.to_ascii_lowercase()).map(String::as_str)
    }

    fn is_true(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.get(key).and_then(|value| value.trim().parse().ok())
    }
}

fn decode(bytes: &[u8]) -> String {
    let label = bytes.split(|&b| b == b'\n').find_map(|line| {
        let line = String::from_utf8_lossy(line);
        let (key, value) = line.split_once('=')?;
        let value = value.trim().trim_matches('"').to_owned();
        key.trim().trim_start_matches('.').eq_ignore_ascii_case("encoding").then_some(value)
    });
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.trim_start_matches('\u{feff}').to_owned();
    }
    let encoding = label.and_then(|label| encoding_rs::Encoding::for_label(label.as_bytes()));
    encoding.unwrap_or(encoding_rs::WINDOWS_1252).decode(bytes).0.into_owned()
}

fn unescape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('|') {
        out.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(code) => {
                out.push(char::from(code));
                rest = &rest[at + 3..];
            }
            None => {
                out.push('|');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VmxDisk {
    /// `scsi0:1`.
    pub slot: String,
    /// `scsi`, `ide`, `sata` or `nvme`.
    pub bus: &'static str,
    /// As written: a plain name, or a path of the datastore.
    pub file: String,
    /// `independent-persistent` and the like; empty for the usual.
    pub mode: String,
    pub shared: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VmxNic {
    pub slot: String,
    pub network: String,
    pub mac: Option<String>,
    pub static_mac: bool,
    pub device: String,
    pub connected: bool,
}

/// A VM as its folder describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VmxVm {
    pub name: String,
    pub os: String,
    pub hardware: u64,
    pub vcpus: u64,
    pub cores_per_socket: u64,
    pub memory_mib: u64,
    pub uuid: Option<String>,
    pub efi: bool,
    pub secure_boot: bool,
    pub vtpm: bool,
    pub encrypted: bool,
    pub change_tracking: bool,
    pub disks: Vec<VmxDisk>,
    pub nics: Vec<VmxNic>,
    /// Devices that cannot come along: CD-ROMs, USB, passthrough, serial ports.
    pub left_out: Vec<String>,
}

const BUSES: [(&str, &str, u32, u32); 4] =
    [("scsi", "scsi", 4, 64), ("sata", "sata", 4, 30), ("nvme", "nvme", 4, 64), ("ide", "ide", 2, 2)];

impl VmxVm {
    /// Reads a `.vmx`.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self> {
        let settings = Settings::parse(file, bytes)?;
        if settings.get("config.version").is_none() && settings.get("virtualHW.version").is_none() {
            return Err(ImportError::damaged(
                file,
                0,
                "vmx",
                "has neither config.version nor virtualHW.version",
            ));
        }
        let (disks, mut left_out) = disks(&settings);
        left_out.extend(others(&settings));
        Ok(Self {
            name: settings.get("displayName").unwrap_or_default().to_owned(),
            os: settings.get("guestOS").unwrap_or_default().to_owned(),
            hardware: settings.number("virtualHW.version").unwrap_or(0),
            vcpus: settings.number("numvcpus").unwrap_or(1),
            cores_per_socket: settings.number("cpuid.coresPerSocket").unwrap_or(1),
            memory_mib: settings.number("memsize").unwrap_or(0),
            uuid: settings.get("uuid.bios").map(str::to_owned),
            efi: settings.get("firmware").is_some_and(|value| value.eq_ignore_ascii_case("efi")),
            secure_boot: settings.is_true("uefi.secureBoot.enabled"),
            vtpm: settings.is_true("vtpm.present"),
            encrypted: settings.get("encryption.keySafe").is_some()
                || settings.get("encryption.data").is_some(),
            change_tracking: settings.is_true("ctkEnabled"),
            nics: nics(&settings),
            disks,
            left_out,
        })
    }
}

fn disks(settings: &Settings) -> (Vec<VmxDisk>, Vec<String>) {
    let (mut disks, mut left_out) = (Vec::new(), Vec::new());
    for (bus, prefix, controllers, units) in BUSES {
        for controller in 0..controllers {
            for unit in 0..units {
                let slot = format!("{prefix}{controller}:{unit}");
                let key = |name: &str| format!("{slot}.{name}");
                let Some(file) = settings.get(&key("fileName")) else { continue };
                if !settings.is_true(&key("present")) {
                    continue;
                }
                let kind = settings.get(&key("deviceType")).unwrap_or_default().to_ascii_lowercase();
                if kind.contains("cdrom") || kind.contains("atapi") {
                    left_out.push(format!("{slot}: CD-ROM {file}"));
                    continue;
                }
                let sharing = settings.get(&key("sharing")).unwrap_or_default();
                let bus_sharing =
                    settings.get(&format!("{prefix}{controller}.sharedBus")).unwrap_or_default();
                let on = |value: &str| !value.is_empty() && !value.eq_ignore_ascii_case("none");
                disks.push(VmxDisk {
                    bus,
                    file: file.to_owned(),
                    mode: settings.get(&key("mode")).unwrap_or_default().to_owned(),
                    shared: on(bus_sharing) || sharing.eq_ignore_ascii_case("multi-writer"),
                    slot,
                });
            }
        }
    }
    (disks, left_out)
}

fn nics(settings: &Settings) -> Vec<VmxNic> {
    let mut nics = Vec::new();
    for index in 0..10 {
        let slot = format!("ethernet{index}");
        let key = |name: &str| format!("{slot}.{name}");
        if !settings.is_true(&key("present")) {
            continue;
        }
        let given = settings.get(&key("address")).filter(|mac| !mac.is_empty());
        let generated = settings.get(&key("generatedAddress")).filter(|mac| !mac.is_empty());
        let network = settings.get(&key("networkName")).or_else(|| settings.get(&key("vnet")));
        let connected =
            !settings.get(&key("startConnected")).is_some_and(|v| v.eq_ignore_ascii_case("false"));
        nics.push(VmxNic {
            network: network.or_else(|| settings.get(&key("connectionType"))).unwrap_or_default().to_owned(),
            mac: given.or(generated).map(str::to_ascii_lowercase),
            static_mac: given.is_some(),
            device: settings.get(&key("virtualDev")).unwrap_or("e1000").to_owned(),
            connected,
            slot,
        });
    }
    nics
}

fn others(settings: &Settings) -> Vec<String> {
    let mut found = Vec::new();
    for prefix in ["pciPassthru", "usb_xhci", "usb", "ehci", "serial", "parallel", "floppy", "sound"] {
        for index in ["", "0", "1", "2", "3"] {
            if settings.is_true(&format!("{prefix}{index}.present")) {
                found.push(format!("{prefix}{index}"));
            }
        }
    }
    found
}

/// A snapshot of a `.vmsd`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VmsdSnapshot {
    pub uid: String,
    pub name: String,
    pub parent: Option<String>,
    /// Disk files, one for each disk.
    pub disks: Vec<String>,
    pub current: bool,
}

/// Reads a `.vmsd`.
pub fn parse_vmsd(file: &str, bytes: &[u8]) -> Result<Vec<VmsdSnapshot>> {
    let settings = Settings::parse(file, bytes)?;
    let count = settings.number("snapshot.numSnapshots").unwrap_or(0);
    if count > 1000 {
        return Err(ImportError::damaged(file, 0, "snapshot.numSnapshots", format!("is {count}")));
    }
    let current = settings.get("snapshot.current").unwrap_or_default().to_owned();
    let mut found = Vec::new();
    // Numbers of removed snapshots may be left out: more slots than snapshots are looked at.
    for index in 0..count * 2 + 8 {
        let key = |name: &str| format!("snapshot{index}.{name}");
        let Some(uid) = settings.get(&key("uid")) else { continue };
        let disks = settings.number(&key("numDisks")).unwrap_or(0).min(256);
        found.push(VmsdSnapshot {
            uid: uid.to_owned(),
            name: settings.get(&key("displayName")).unwrap_or_default().to_owned(),
            parent: settings.get(&key("parent")).map(str::to_owned),
            disks: (0..disks)
                .filter_map(|disk| settings.get(&key(&format!("disk{disk}.fileName"))).map(str::to_owned))
                .collect(),
            current: uid == current,
        });
    }
    Ok(found)
}
