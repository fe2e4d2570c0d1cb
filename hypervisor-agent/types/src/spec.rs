//! What a VM is made of, and when that makes sense.
//!
//! [`VmSpec`] is what came over the wire; [`ValidVmSpec`] is the only thing that is stored or built. All
//! problems of a spec are found at once, each with its field and what is allowed there.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xenith_common_units::{MemoryMiB, VcpuCount};

use crate::{CdDrive, DiskSpec, Hardware, NicSpec, Platform, PlatformKind, Video, VmName};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VmSpec {
    pub name: VmName,
    pub platform: Platform,
    pub vcpus: VcpuSpec,
    pub memory: MemorySpec,
    #[serde(default)]
    pub disks: Vec<DiskSpec>,
    #[serde(default)]
    pub nics: Vec<NicSpec>,
    #[serde(default)]
    pub graphics: Graphics,
    #[serde(default)]
    pub on_crash: CrashAction,
    #[serde(default)]
    pub on_reboot: RebootAction,
    /// Started by the agent when its host boots, with or without an orchestrator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autostart: Option<Autostart>,
    #[serde(default, skip_serializing_if = "Hardware::is_plain")]
    pub hardware: Hardware,
}

/// Virtual CPUs: those a guest starts with, and how many it can be given while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VcpuSpec {
    pub online: VcpuCount,
    pub max: VcpuCount,
}

/// Memory in MiB: what a guest starts with, and how far it can be ballooned up while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemorySpec {
    pub target: MemoryMiB,
    pub max: MemoryMiB,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Graphics {
    #[default]
    None,
    /// A framebuffer over VNC, listening on the host's loopback only.
    Vnc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CrashAction {
    /// Start it again, at most a few times in a row.
    #[default]
    Restart,
    /// Leave it off; the VM is shown as crashed.
    Stop,
    /// Keep the dead domain for a look inside.
    Preserve,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RebootAction {
    #[default]
    Restart,
    Stop,
}

/// Lower `order` first; `delay_s` seconds are waited after this VM before the next order begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Autostart {
    pub order: u16,
    #[serde(default)]
    pub delay_s: u16,
}

/// One problem of a spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FieldError {
    /// Where, as a path: `disks[1].device`.
    pub field: String,
    /// What is wrong, and what is allowed.
    pub problem: String,
}

/// All problems of a spec; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct SpecErrors(pub Vec<FieldError>);

impl fmt::Display for SpecErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", error.field, error.problem)?;
        }
        Ok(())
    }
}

/// A spec without a problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "VmSpec", into = "VmSpec")]
pub struct ValidVmSpec(VmSpec);

impl ValidVmSpec {
    /// HVM guests cannot have more virtual CPUs (Xen's `HVM_MAX_VCPUS`).
    pub const HVM_MAX_VCPUS: u32 = 128;
    /// Less does not boot any kernel of today.
    pub const MIN_MEMORY: MemoryMiB = MemoryMiB::from_bytes_floor(32 << 20);
    /// netfront handles more, but no administrator means it.
    pub const MAX_NICS: usize = 16;

    #[must_use]
    pub const fn get(&self) -> &VmSpec {
        &self.0
    }

    #[must_use]
    pub fn into_inner(self) -> VmSpec {
        self.0
    }
}

impl TryFrom<VmSpec> for ValidVmSpec {
    type Error = SpecErrors;

    fn try_from(spec: VmSpec) -> Result<Self, SpecErrors> {
        let mut check = Check(Vec::new());
        check.cpus_and_memory(&spec);
        check.boot(&spec.platform);
        check.disks(&spec.disks);
        check.nics(&spec.nics);
        check.hardware(&spec);
        if check.0.is_empty() { Ok(Self(spec)) } else { Err(SpecErrors(check.0)) }
    }
}

impl From<ValidVmSpec> for VmSpec {
    fn from(spec: ValidVmSpec) -> Self {
        spec.0
    }
}

struct Check(Vec<FieldError>);

impl Check {
    fn refuse(&mut self, field: impl Into<String>, problem: impl Into<String>) {
        self.0.push(FieldError { field: field.into(), problem: problem.into() });
    }

    fn cpus_and_memory(&mut self, spec: &VmSpec) {
        let VcpuSpec { online, max } = spec.vcpus;
        if online > max {
            self.refuse("vcpus.online", format!("{online} is more than vcpus.max ({max})"));
        }
        if spec.platform.kind() == PlatformKind::Hvm && max.get() > ValidVmSpec::HVM_MAX_VCPUS {
            let limit = ValidVmSpec::HVM_MAX_VCPUS;
            self.refuse("vcpus.max", format!("{max} is more than an hvm guest can have ({limit})"));
        }
        let MemorySpec { target, max } = spec.memory;
        if target < ValidVmSpec::MIN_MEMORY {
            let least = ValidVmSpec::MIN_MEMORY;
            self.refuse("memory.target", format!("{target} is too little; give at least {least}"));
        }
        if target > max {
            self.refuse("memory.target", format!("{target} is more than memory.max ({max})"));
        }
    }

    fn boot(&mut self, platform: &Platform) {
        if let Some(boot) = platform.direct_boot() {
            self.boot_file("platform.boot.kernel", &boot.kernel);
            if let Some(ramdisk) = &boot.ramdisk {
                self.boot_file("platform.boot.ramdisk", ramdisk);
            }
            // The kernel's own limit for x86 (COMMAND_LINE_SIZE).
            if boot.cmdline.len() > 2047 || boot.cmdline.contains(['\0', '\n']) {
                self.refuse("platform.boot.cmdline", "must be one line of at most 2047 bytes");
            }
        }
        if let Platform::Hvm { boot_order, .. } = platform {
            for (index, device) in boot_order.iter().enumerate() {
                if boot_order[..index].contains(device) {
                    self.refuse(format!("platform.boot_order[{index}]"), "is named twice");
                }
            }
        }
    }

    fn hardware(&mut self, spec: &VmSpec) {
        let Hardware { cd, video, cpu, pci, guest_agent: _ } = &spec.hardware;
        let kind = spec.platform.kind();
        if cd.is_some() && kind != PlatformKind::Hvm {
            let problem = format!("a {kind} guest has no CD drive; attach the VDI as a read-only disk");
            self.refuse("hardware.cd", problem);
        }
        let place = CdDrive::place();
        if cd.is_some()
            && let Some(index) = spec.disks.iter().position(|disk| disk.device == place)
        {
            self.refuse(format!("disks[{index}].device"), format!("{place} is where the CD drive is"));
        }
        if let Some(video) = video {
            self.video(video, kind);
        }
        if cpu.weight == Some(0) {
            self.refuse("hardware.cpu.weight", "give 1 to 65535; 256 is what others have");
        }
        let most = spec.vcpus.max.get().saturating_mul(100);
        if let Some(cap) = cpu.cap
            && !(1..=most).contains(&u32::from(cap))
        {
            let problem = format!("give 1 to {most}, hundredths of a CPU; leave it out for no limit");
            self.refuse("hardware.cpu.cap", problem);
        }
        for (index, address) in pci.iter().enumerate() {
            if pci[..index].contains(address) {
                self.refuse(format!("hardware.pci[{index}]"), format!("{address} is given twice"));
            }
        }
        // Their tables would have to be emulated; neither Xen 4.17 nor Linux does that for PVH.
        if !pci.is_empty() && kind == PlatformKind::Pvh {
            self.refuse("hardware.pci", "a pvh guest cannot have PCI devices; use hvm or pv");
        }
    }

    fn video(&mut self, video: &Video, kind: PlatformKind) {
        if kind != PlatformKind::Hvm {
            self.refuse("hardware.video", format!("a {kind} guest has no video card to choose"));
        }
        let (least, most) = Video::range(video.adapter);
        if !(least..=most).contains(&video.memory.mib()) {
            self.refuse("hardware.video.memory", format!("give {least} to {most} MiB for this adapter"));
        }
    }

    fn boot_file(&mut self, field: &str, name: &str) {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '~');
        let fine =
            !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && name.chars().all(allowed);
        if !fine {
            self.refuse(field, format!("{name:?} is not the name of a file in the host's boot folder"));
        }
    }

    fn disks(&mut self, disks: &[DiskSpec]) {
        for (index, disk) in disks.iter().enumerate() {
            if disks[..index].iter().any(|other| other.device == disk.device) {
                self.refuse(format!("disks[{index}].device"), format!("{} is used twice", disk.device));
            }
            if disks[..index].iter().any(|other| other.vdi == disk.vdi) {
                self.refuse(format!("disks[{index}].vdi"), format!("{} is attached twice", disk.vdi));
            }
        }
    }

    fn nics(&mut self, nics: &[NicSpec]) {
        if nics.len() > ValidVmSpec::MAX_NICS {
            self.refuse("nics", format!("{} are too many; at most {}", nics.len(), ValidVmSpec::MAX_NICS));
        }
        for (index, nic) in nics.iter().enumerate() {
            if nics[..index].iter().any(|other| other.mac == nic.mac) {
                self.refuse(format!("nics[{index}].mac"), format!("{} is used twice", nic.mac));
            }
            // The kernel's limit for an interface name (IFNAMSIZ without its final zero).
            let fine = (1..=15).contains(&nic.bridge.len())
                && nic.bridge.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
            if !fine {
                self.refuse(format!("nics[{index}].bridge"), format!("{:?} is not a bridge", nic.bridge));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::small;
    use crate::{BootDevice, DirectBoot, DiskAccess, DiskDevice, Firmware, VideoAdapter};
    use xenith_common_ids::{NetworkId, VdiId};

    fn spec() -> VmSpec {
        small("web-1")
    }

    fn disk(letter: u8) -> DiskSpec {
        let device = DiskDevice::nth(letter).unwrap();
        DiskSpec { device, vdi: VdiId::new(), access: DiskAccess::ReadWrite }
    }

    type Change = fn(&mut VmSpec);

    #[test]
    fn problems_name_their_field() {
        let nic = |spec: &mut VmSpec, bridge: &str| {
            spec.nics.push(NicSpec {
                mac: "00:16:3e:00:00:01".parse().unwrap(),
                network: NetworkId::new(),
                bridge: bridge.into(),
            });
        };
        assert!(ValidVmSpec::try_from(spec()).is_ok());
        let table: [(&str, Change); 8] = [
            ("vcpus.online", |s| s.vcpus.max = VcpuCount::ONE),
            ("memory.target", |s| s.memory.max = MemoryMiB::new(128).unwrap()),
            ("memory.target", |s| s.memory.target = MemoryMiB::new(8).unwrap()),
            ("disks[1].device", |s| s.disks = vec![disk(0), disk(0)]),
            ("vcpus.max", |s| {
                s.platform = Platform::Hvm { firmware: Firmware::Bios, boot_order: vec![] };
                s.vcpus.max = VcpuCount::new(200).unwrap();
            }),
            ("platform.boot.kernel", |s| {
                let boot =
                    DirectBoot { kernel: "../etc/shadow".into(), ramdisk: None, cmdline: String::new() };
                s.platform = Platform::Pv { boot };
            }),
            ("platform.boot.cmdline", |s| {
                let boot = DirectBoot { kernel: "k".into(), ramdisk: None, cmdline: "a\nb".into() };
                s.platform = Platform::Pv { boot };
            }),
            ("platform.boot_order[1]", |s| {
                let boot_order = vec![BootDevice::Disk, BootDevice::Disk];
                s.platform = Platform::Hvm { firmware: Firmware::Bios, boot_order };
            }),
        ];
        for (index, (field, change)) in table.into_iter().enumerate() {
            let mut bad = spec();
            if index == 0 {
                bad.vcpus.online = VcpuCount::new(2).unwrap();
            }
            change(&mut bad);
            let errors = ValidVmSpec::try_from(bad).unwrap_err();
            assert_eq!(errors.0[0].field, field, "{errors}");
        }
        let mut bad = spec();
        nic(&mut bad, "xenbr0");
        nic(&mut bad, "a/b");
        let errors = ValidVmSpec::try_from(bad).unwrap_err();
        let fields: Vec<_> = errors.0.iter().map(|e| e.field.as_str()).collect();
        assert_eq!(fields, ["nics[1].mac", "nics[1].bridge"]);
    }

    #[test]
    fn hardware_fits_the_kind_of_guest() {
        let hvm = |spec: &mut VmSpec| {
            spec.platform = Platform::Hvm { firmware: Firmware::Bios, boot_order: vec![] };
        };
        let video = |adapter, mib| Some(Video { adapter, memory: MemoryMiB::new(mib).unwrap() });
        let table: [(&str, &dyn Fn(&mut VmSpec)); 9] = [
            ("hardware.cd", &|s| s.hardware.cd = Some(CdDrive::default())),
            ("disks[0].device", &|s| {
                hvm(s);
                s.hardware.cd = Some(CdDrive::default());
                s.disks = vec![disk(3)];
            }),
            ("hardware.video", &|s| s.hardware.video = video(VideoAdapter::Std, 16)),
            ("hardware.video.memory", &|s| {
                hvm(s);
                s.hardware.video = video(VideoAdapter::Std, 8);
            }),
            ("hardware.video.memory", &|s| {
                hvm(s);
                s.hardware.video = video(VideoAdapter::Cirrus, 32);
            }),
            ("hardware.cpu.weight", &|s| s.hardware.cpu.weight = Some(0)),
            ("hardware.cpu.cap", &|s| s.hardware.cpu.cap = Some(401)),
            ("hardware.pci", &|s| s.hardware.pci = vec!["03:00.0".parse().unwrap()]),
            ("hardware.pci[1]", &|s| {
                hvm(s);
                s.hardware.pci = vec!["03:00.0".parse().unwrap(), "0000:03:00.0".parse().unwrap()];
            }),
        ];
        for (field, change) in table {
            let mut bad = spec();
            change(&mut bad);
            let errors = ValidVmSpec::try_from(bad).unwrap_err();
            assert_eq!(errors.0[0].field, field, "{errors}");
        }
        let mut good = spec();
        hvm(&mut good);
        good.hardware.cd = Some(CdDrive { vdi: Some(VdiId::new()) });
        good.hardware.video = video(VideoAdapter::Cirrus, 8);
        good.hardware.cpu.cap = Some(400);
        good.hardware.pci = vec!["03:00.0".parse().unwrap()];
        assert!(ValidVmSpec::try_from(good).is_ok());
    }

    #[test]
    fn unknown_fields_are_refused() {
        let mut json = serde_json::to_value(spec()).unwrap();
        json["cpus"] = 4.into();
        let error = serde_json::from_value::<VmSpec>(json).unwrap_err().to_string();
        assert!(error.contains("cpus"), "{error}");
    }
}
