//! What the Linux of dom0 says about itself.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use super::Check;

/// Kernel modules (as `/sys/module` names them) and what does not work without each.
pub(super) const MODULES: [(&str, &str); 4] = [
    ("xen_blkback", "disks"),
    ("xen_netback", "NICs"),
    ("xen_gntdev", "consoles and emulated devices"),
    ("xen_evtchn", "everything"),
];

/// Programs that are called by name, what does not work without each, and what brings it on Debian.
const PROGRAMS: [(&str, &str, &str); 7] = [
    ("ip", "NICs and networks", "iproute2"),
    ("bridge", "private networks", "iproute2"),
    ("nft", "security groups, locks and rates of NICs, and encrypted networks", "nftables"),
    ("xenstore-read", "disks and NICs", "xenstore-utils"),
    ("xenstore-write", "disks and NICs", "xenstore-utils"),
    ("qemu-img", "imports of images other than raw ones", "qemu-utils"),
    ("mount.nfs", "SRs on NFS servers", "nfs-common"),
];

/// As systemd gives them to the agent.
const PATH: [&str; 6] = ["usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin"];

/// Where QEMU for HVM guests is on Debian, on others, and where Xen's own build puts it.
const DEVICE_MODELS: [&str; 5] = [
    "usr/libexec/xen-qemu-system-i386",
    "usr/lib/xen/bin/qemu-system-i386",
    "usr/libexec/xen/bin/qemu-system-i386",
    "usr/local/lib/xen/bin/qemu-system-i386",
    "usr/bin/qemu-system-i386",
];

/// The files of a machine.
#[derive(Debug, Clone)]
pub struct Machine {
    root: PathBuf,
}

impl Machine {
    #[must_use]
    pub fn here() -> Self {
        Self::at("/")
    }

    /// A machine whose `/` is this folder.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// A small text file; `None` where it cannot be read.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok().map(|text| text.trim().to_owned())
    }

    pub(super) fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.root.join(path).exists()
    }

    fn names(&self, path: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.root.join(path)) else { return Vec::new() };
        let mut names: Vec<_> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    pub(super) fn bridges(&self) -> Check {
        let net = "sys/class/net";
        let mut bridges = self.names(net);
        bridges.retain(|name| self.exists(format!("{net}/{name}/bridge")));
        if bridges.is_empty() {
            return Check::warn("bridges", "there is none")
                .because("the NICs of VMs plug into bridges; only VMs without NICs can be started")
                .fix("make one and put a network card into it (Debian: interfaces(5), bridge_ports)");
        }
        Check::ok("bridges", bridges.join(", "))
    }

    pub(super) fn modules(&self) -> Check {
        let missing: Vec<_> =
            MODULES.iter().filter(|(name, _)| !self.exists(format!("sys/module/{name}"))).collect();
        if missing.is_empty() {
            return Check::ok("modules", MODULES.map(|(name, _)| name).join(", "));
        }
        let join = |text: fn(&(&'static str, &'static str)) -> &'static str, by: &str| {
            missing.iter().map(|module| text(module)).collect::<Vec<_>>().join(by)
        };
        Check::warn("modules", format_args!("not loaded: {}", join(|module| module.0, ", ")))
            .because(format_args!("VMs lack {} without them", join(|module| module.1, ", ")))
            .fix(format_args!(
                "modprobe -a {}, and name them in /etc/modules-load.d/xen.conf",
                join(|module| module.0, " ")
            ))
    }

    /// The kernel loads the module when it is needed first.
    pub(super) fn encryption(&self) -> Check {
        let release = self.text("proc/sys/kernel/osrelease").unwrap_or_default();
        let module = format!("lib/modules/{release}/kernel/drivers/net/wireguard");
        let kernel = self.exists("sys/module/wireguard") || self.exists(module);
        let program = PATH.iter().any(|folder| self.exists(format!("{folder}/wg")));
        let (found, fix) = match (kernel, program) {
            (true, true) => return Check::ok("encryption", "WireGuard"),
            (false, _) => {
                ("the kernel has no WireGuard", "run a kernel with CONFIG_WIREGUARD, such as Debian's")
            }
            (true, false) => ("there is no wg", "apt install wireguard-tools"),
        };
        Check::warn("encryption", found).because("private networks cannot be encrypted on this host").fix(fix)
    }

    pub(super) fn programs(&self) -> Check {
        let there = |program: &str| PATH.iter().any(|folder| self.exists(format!("{folder}/{program}")));
        let missing: Vec<_> = PROGRAMS.iter().filter(|(program, ..)| !there(program)).collect();
        if missing.is_empty() {
            return Check::ok("programs", PROGRAMS.map(|(program, ..)| program).join(", "));
        }
        let list = |text: fn(&(&'static str, &'static str, &'static str)) -> &'static str, by: &str| {
            let texts: BTreeSet<_> = missing.iter().map(|program| text(program)).collect();
            texts.into_iter().collect::<Vec<_>>().join(by)
        };
        Check::warn("programs", format_args!("not there: {}", list(|program| program.0, ", ")))
            .because(format_args!("without them there are no {}", list(|program| program.1, "; no ")))
            .fix(format_args!("apt install {}", list(|program| program.2, " ")))
    }

    pub(super) fn device_model(&self) -> Check {
        let versions = self.names("usr/lib").into_iter().filter(|name| name.starts_with("xen-"));
        let versioned = versions.map(|name| format!("usr/lib/{name}/bin/qemu-system-i386"));
        let mut candidates = DEVICE_MODELS.iter().map(|path| (*path).to_owned()).chain(versioned);
        match candidates.find(|path| self.exists(path)) {
            Some(path) => Check::ok("qemu", format_args!("/{path}")),
            None => Check::warn("qemu", "there is none for Xen")
                .because("HVM guests need it, and PV and PVH guests with VNC")
                .fix("apt install qemu-system-xen (Debian 12 and newer)"),
        }
    }
}

/// Asks systemd, which knows of any NTP client that tells the kernel.
pub(super) async fn clock() -> Check {
    let mut asked = Command::new("timedatectl");
    asked.args(["show", "--property=NTPSynchronized", "--value"]).kill_on_drop(true);
    let answer = tokio::time::timeout(Duration::from_secs(5), asked.output()).await;
    let answer = match answer {
        Ok(Ok(output)) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        _ => String::new(),
    };
    match answer.as_str() {
        "yes" => Check::ok("clock", "synchronised"),
        "no" => Check::warn("clock", "not synchronised")
            .because("certificates are valid for a time, and logs of several hosts are read together")
            .fix("apt install systemd-timesyncd or chrony, and let it reach a time server"),
        _ => Check::warn("clock", "it is not known whether it is synchronised (timedatectl did not answer)")
            .because("certificates are valid for a time")
            .fix("compare `date -u` with another clock"),
    }
}
