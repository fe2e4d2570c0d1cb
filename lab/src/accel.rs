//! Choosing how QEMU runs: hardware virtualisation where a Xen host can use it, emulation elsewhere.
//!
//! `/dev/kvm` alone says little. It may exist without the CPU's support; and with KVM but without nesting
//! the host would boot and then offer no HVM and no PVH. So all four are asked: the CPU's flag, the device,
//! the module's `nested` parameter, and QEMU itself.

use std::path::Path;
use std::process::{Command, Stdio};

/// How QEMU executes the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// KVM with nested virtualisation.
    Kvm,
    /// QEMU's own emulation, on any machine.
    Tcg,
}

/// CPU features TCG offers and Xen must not see, each with what happens otherwise (QEMU 7.2, Xen 4.17).
const TCG_WITHOUT: &[(&str, &str)] = &[
    ("smap", "dom0 takes a page fault as soon as Xen builds its first bounce frame"),
    ("smep", "goes with smap"),
    ("pku", "never needed; one thing less that Xen switches"),
    ("la57", "five-level paging makes every emulated page walk longer"),
    ("rdtscp", "HVM and PVH die with 'Insn len emulation failed': TCG's SVM has no next-RIP saving"),
    ("xsave", "dom0's vector registers are corrupted while an HVM or PVH guest runs"),
    ("avx", "see xsave"),
    ("avx2", "see xsave"),
];

/// The first QEMU with the fault that [`Accel::known_fault`] describes. 7.2 is right and 10.0 was seen to be wrong;
/// the decoder that has it came in between, with 9.1.
const FAULTY_SINCE: u32 = 9;

impl Accel {
    /// What works on this machine. Starts QEMU for a moment when the CPU could do it.
    #[must_use]
    pub fn detect() -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let nested = ["kvm_intel", "kvm_amd"]
            .map(|module| format!("/sys/module/{module}/parameters/nested"))
            .into_iter()
            .find_map(|path| std::fs::read_to_string(path).ok());
        let usable = can_virtualise(&cpuinfo)
            && can_nest(nested.as_deref())
            && std::fs::File::options().read(true).write(true).open("/dev/kvm").is_ok()
            && qemu_agrees(Path::new("qemu-system-x86_64"));
        if usable { Self::Kvm } else { Self::Tcg }
    }

    #[must_use]
    pub const fn accel_argument(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg,thread=multi",
        }
    }

    /// The CPU that Xen works on.
    #[must_use]
    pub fn cpu_argument(self) -> String {
        match self {
            Self::Kvm => "host".into(),
            Self::Tcg => {
                TCG_WITHOUT.iter().fold("max".into(), |cpu, (feature, _)| format!("{cpu},-{feature}"))
            }
        }
    }

    /// Physical CPUs of the host.
    ///
    /// One under emulation: with two, guests died of triple faults that were none of their doing. Of 8 PVH guests 5 died
    /// with two CPUs and none with one. What Xen showed of the dead ones were its own registers, RIP after VMRUN: as
    /// if QEMU 7.2 had carried out a VMEXIT twice and the second time saved the host's state as the guest's.
    #[must_use]
    pub const fn cpus(self) -> u32 {
        match self {
            Self::Kvm => 2,
            Self::Tcg => 1,
        }
    }

    /// What is known to go wrong with this QEMU, for whoever starts a host.
    pub(crate) fn known_fault(self) -> Option<String> {
        let version = match self {
            Self::Kvm => None,
            Self::Tcg => qemu_version(Path::new("qemu-system-x86_64")),
        }?;
        (version.0 >= FAULTY_SINCE).then(|| {
            format!(
                "QEMU {}.{} emulates SVM wrongly (a read of CR2 ends as a read of CR0): HVM and PVH guests will power \
                 off at once; PV guests work. QEMU 7.2 of Debian 12 is right",
                version.0, version.1
            )
        })
    }

    /// How long a boot may take. Emulation takes 30 s on two idle cores and was seen to take 270 s at a load
    /// of 12.
    #[must_use]
    pub const fn boot_limit(self) -> std::time::Duration {
        std::time::Duration::from_secs(match self {
            Self::Kvm => 180,
            Self::Tcg => 600,
        })
    }
}

/// The CPU shows Intel's or AMD's virtualisation.
fn can_virtualise(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .filter(|line| line.starts_with("flags"))
        .any(|line| line.split_whitespace().any(|flag| flag == "svm" || flag == "vmx"))
}

/// The loaded KVM module lets guests virtualise too.
fn can_nest(parameter: Option<&str>) -> bool {
    parameter.is_some_and(|value| matches!(value.trim(), "1" | "Y" | "y"))
}

/// QEMU can really open a KVM machine: containers often have the device without the right to use it.
fn qemu_agrees(qemu: &Path) -> bool {
    use std::io::Write;
    let child = Command::new(qemu)
        .args(["-machine", "none", "-accel", "kvm", "-nodefaults", "-display", "none", "-qmp", "stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return false };
    if let Some(mut orders) = child.stdin.take() {
        // A QEMU that has already given up closes the pipe; its status tells.
        let _ = orders.write_all(b"{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"quit\"}\n");
    }
    child.wait().is_ok_and(|status| status.success())
}

/// Major and minor number.
fn qemu_version(qemu: &Path) -> Option<(u32, u32)> {
    let output = Command::new(qemu).arg("--version").stdin(Stdio::null()).output().ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let number = text.strip_prefix("QEMU emulator version ")?.split_whitespace().next()?;
    let mut parts = number.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_must_show_svm_or_vmx_as_a_whole_word() {
        for (name, cpuinfo, expected) in [
            ("amd", "flags\t\t: fpu svm sse", true),
            ("intel", "flags\t\t: fpu vmx sse", true),
            ("neither", "flags\t\t: fpu sse", false),
            ("part of a word", "flags\t\t: svm_lock vmx_flags", false),
            ("elsewhere", "vmx flags\t: ept\nmodel name : svm", false),
        ] {
            assert_eq!(can_virtualise(cpuinfo), expected, "{name}");
        }
    }

    #[test]
    fn nesting_must_be_switched_on() {
        for (parameter, expected) in [
            (Some("1\n"), true),
            (Some("Y\n"), true),
            (Some("0\n"), false),
            (Some("N\n"), false),
            (None, false),
        ] {
            assert_eq!(can_nest(parameter), expected, "{parameter:?}");
        }
    }

    #[test]
    fn qemus_version_is_read() {
        for (text, version) in [
            ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright", Some((7, 2))),
            ("QEMU emulator version 10.0.2\n", Some((10, 0))),
            ("QEMU emulator version ten", None),
            ("", None),
        ] {
            assert_eq!(parse_version(text), version, "{text}");
        }
    }

    #[test]
    fn a_qemu_that_is_not_there_does_not_agree() {
        assert!(!qemu_agrees(Path::new("/nonexistent/qemu")));
    }

    #[test]
    fn the_emulated_cpu_is_the_one_the_lab_was_measured_with() {
        assert_eq!(Accel::Tcg.cpu_argument(), "max,-smap,-smep,-pku,-la57,-rdtscp,-xsave,-avx,-avx2");
    }
}
