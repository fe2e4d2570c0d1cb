//! The test guest: Debian's kernel and an initramfs of a few megabytes that we make, for PV and PVH.
//!
//! The initramfs is busybox, Debian's `xenstore` client with the libraries it needs, two front-end modules,
//! and `lab/guest/init`, a shell script that reports over xenstore and obeys commands. That file's head says
//! what it understands. Beside it `lab/guest/agent` answers on the channel to a guest agent.

use std::fmt;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use cpio::newc::{Builder, ModeFileType};

use crate::error::{Doing, LabError};
use crate::paths::read;
use crate::rootfs::Rootfs;
use crate::ssh::{Shell, quote};

const INIT: &str = include_str!("../guest/init");
const AGENT: &str = include_str!("../guest/agent");
/// What the guest prints on its console when it is up.
pub const READY: &str = "XENITH-GUEST-READY";
/// The kernel, unpacked, as the recipe leaves it in dom0; and beside it our initramfs. The folder is the one
/// the agent accepts kernels from.
pub const KERNEL: &str = "/var/lib/xenith/boot/lab-vmlinux";
pub const INITRAMFS: &str = "/var/lib/xenith/boot/lab-initramfs";
const PUT_LIMIT: Duration = Duration::from_secs(400);
/// A look takes ten seconds by design; the rest is for a slow machine.
const ASK_LIMIT: Duration = Duration::from_secs(180);
/// How often dom0 looks before it reports that there is nothing yet: some ten seconds.
const LOOKS: u32 = 10;
/// The exit status that says so.
const NOT_YET: i32 = 1;

/// What kind of domain the guest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestKind {
    Pv,
    Pvh,
}

impl fmt::Display for GuestKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pv => "pv",
            Self::Pvh => "pvh",
        })
    }
}

/// A test guest as `xl create` takes it.
#[derive(Debug, Clone)]
pub struct XlGuest {
    pub name: String,
    pub kind: GuestKind,
    /// 128 is enough.
    pub memory_mib: u32,
    /// Static address on xenbr0; a network card only if there is one. 10.0.2.100 to 10.0.2.200 are free.
    pub address: Option<Ipv4Addr>,
    /// A block device in dom0 for xvda.
    pub disk: Option<String>,
}

impl XlGuest {
    /// The file for `xl create`. A crash destroys the domain, so that a test sees it gone.
    #[must_use]
    pub fn config(&self) -> String {
        let mut lines = vec![
            format!("name = '{}'", self.name),
            format!("type = '{}'", self.kind),
            format!("memory = {}", self.memory_mib),
            "vcpus = 1".into(),
            format!("kernel = '{KERNEL}'"),
            format!("ramdisk = '{INITRAMFS}'"),
            format!("extra = '{}'", kernel_arguments(self.address)),
            "on_crash = 'destroy'".into(),
        ];
        if self.address.is_some() {
            lines.push("vif = ['bridge=xenbr0']".into());
        }
        if let Some(disk) = &self.disk {
            lines.push(format!("disk = ['format=raw,vdev=xvda,target={disk}']"));
        }
        lines.join("\n") + "\n"
    }
}

/// The guest's kernel command line. `loglevel=3`: a PVH kernel complains about 128 ACPI events it has no handler
/// for, and each line on the console is a round trip to dom0.
#[must_use]
pub fn kernel_arguments(address: Option<Ipv4Addr>) -> String {
    let network = address.map_or(String::new(), |a| format!(" xenith.ip={a}/24 xenith.gw=10.0.2.2"));
    // Mitigations and self tests, which an emulated CPU is slow at, are off.
    format!("console=hvc0 loglevel=3 mitigations=off init_on_alloc=0 apparmor=0 cryptomgr.notests{network}")
}

/// Puts the initramfs beside the kernel in dom0; afterwards [`KERNEL`] and [`INITRAMFS`] can be booted.
pub async fn install(shell: &Shell, rootfs: &Rootfs) -> Result<(), LabError> {
    shell.put_bytes(&initramfs(rootfs)?, INITRAMFS, 0o644, PUT_LIMIT).await
}

/// The initramfs, uncompressed: dom0 under emulation copies faster than it unpacks.
pub fn initramfs(rootfs: &Rootfs) -> Result<Vec<u8>, LabError> {
    let parts = rootfs.guest_parts();
    let mut archive = Archive::default();
    for dir in ["bin", "sbin", "dev", "proc", "sys", "tmp", "lib", "lib64", "lib/x86_64-linux-gnu"] {
        archive.entry(dir, ModeFileType::Directory, 0o755, &[])?;
    }
    for (part, dir) in [
        ("busybox", "bin"),
        ("xenstore", "bin"),
        ("ld-linux-x86-64.so.2", "lib64"),
        ("libc.so.6", "lib/x86_64-linux-gnu"),
        ("libxenstore.so.4", "lib/x86_64-linux-gnu"),
        ("libxentoolcore.so.1", "lib/x86_64-linux-gnu"),
        ("xen-blkfront.ko", "lib"),
        ("xen-netfront.ko", "lib"),
    ] {
        archive.entry(&format!("{dir}/{part}"), ModeFileType::Regular, 0o755, &read(&parts.join(part))?)?;
    }
    for applet in applets(&parts.join("busybox"))? {
        archive.entry(&format!("bin/{applet}"), ModeFileType::Symlink, 0o777, b"busybox")?;
    }
    // The kernel calls these two when dom0 writes control/shutdown.
    for order in ["poweroff", "reboot"] {
        let script = format!("#!/bin/sh\nsync\nexec busybox {order} -f\n");
        archive.entry(&format!("sbin/{order}"), ModeFileType::Regular, 0o755, script.as_bytes())?;
    }
    archive.entry("agent", ModeFileType::Regular, 0o755, AGENT.as_bytes())?;
    archive.entry("init", ModeFileType::Regular, 0o755, INIT.as_bytes())?;
    archive.finish()
}

/// Asked of the binary itself, which is static and runs here as well.
fn applets(busybox: &Path) -> Result<Vec<String>, LabError> {
    let output = std::process::Command::new(busybox)
        .arg("--list")
        .output()
        .doing(|| format!("could not run {}", busybox.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().map(str::trim).filter(|a| !a.is_empty() && *a != "busybox").map(Into::into).collect())
}

/// An archive in the kernel's format (newc), in memory.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    /// Inode numbers only have to differ: equal ones would be hard links.
    last: u32,
}

impl Archive {
    fn entry(&mut self, name: &str, kind: ModeFileType, mode: u32, content: &[u8]) -> Result<(), LabError> {
        self.last += 1;
        let size = u32::try_from(content.len()).expect("a part of the guest is far below 4 GiB");
        let entry = Builder::new(name).ino(self.last).mode(mode).set_mode_file_type(kind);
        let mut writer = entry.write(&mut self.bytes, size);
        writer.write_all(content).and_then(|()| writer.finish().map(drop)).doing(|| format!("{name} in cpio"))
    }

    fn finish(mut self) -> Result<Vec<u8>, LabError> {
        cpio::newc::trailer(&mut self.bytes).doing(|| "end of cpio".into())?;
        Ok(self.bytes)
    }
}

/// A running test guest, seen from dom0.
#[derive(Debug, Clone)]
pub struct GuestView<'a> {
    shell: &'a Shell,
    domain: u32,
}

impl<'a> GuestView<'a> {
    #[must_use]
    pub const fn new(shell: &'a Shell, domain: u32) -> Self {
        Self { shell, domain }
    }

    /// A node of the guest such as `data/os_name`; `None` where it does not exist.
    pub async fn read(&self, node: &str) -> Result<Option<String>, LabError> {
        let command = format!("xenstore-read {}", quote(&self.path(node)));
        let output = self.shell.exec(&command, ASK_LIMIT).await?;
        Ok(output.success().then(|| output.text().trim_end().to_owned()))
    }

    /// Waits until the guest has reported its facts.
    pub async fn wait_ready(&self, limit: Duration) -> Result<(), LabError> {
        self.wait_for("data/xenith/ready", "1", limit, "the guest's start").await.map(drop)
    }

    /// Gives one order of `lab/guest/init` and returns what the guest says, `ok …` or `failed …`.
    pub async fn order(&self, order: &str, limit: Duration) -> Result<String, LabError> {
        // The present answer's number, so that an old answer is never taken for ours.
        let last = self.read("data/xenith/result").await?.unwrap_or_default();
        let number = last.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) + 1;
        let give = format!(
            "xenstore-write {} {}",
            quote(&self.path("xenith/command")),
            quote(&format!("{number} {order}"))
        );
        self.shell.run(&give, ASK_LIMIT).await?;
        let prefix = format!("{number} ");
        let said = self.wait_for("data/xenith/result", &prefix, limit, order).await?;
        Ok(said[prefix.len()..].trim_end().to_owned())
    }

    /// Waits until a node begins with `prefix`, and returns it.
    ///
    /// dom0 itself looks once a second: a look over ssh costs the one emulated CPU ten times as much, and the guest
    /// waits for that CPU.
    async fn wait_for(
        &self,
        node: &str,
        prefix: &str,
        limit: Duration,
        what: &str,
    ) -> Result<String, LabError> {
        let deadline = Instant::now() + limit;
        let node = quote(&self.path(node));
        let look = format!(
            "for i in $(seq {LOOKS}); do n=$(xenstore-read {node} 2>/dev/null); \
             case \"$n\" in {}*) echo \"$n\"; exit 0;; esac; sleep 1; done; exit {NOT_YET}",
            quote(prefix)
        );
        loop {
            let output = self.shell.exec(&look, ASK_LIMIT).await?;
            let said = output.text();
            if said.starts_with(prefix) {
                return Ok(said);
            }
            if output.status != NOT_YET {
                self.shell.insist(&look, &output)?;
            }
            if Instant::now() >= deadline {
                let what = format!("{what} in domain {}", self.domain);
                return Err(LabError::Deadline { name: self.shell.name.clone(), what, after: limit });
            }
        }
    }

    fn path(&self, node: &str) -> String {
        format!("/local/domain/{}/{node}", self.domain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_what_the_kernel_reads() {
        let mut archive = Archive::default();
        archive.entry("bin", ModeFileType::Directory, 0o755, &[]).unwrap();
        archive.entry("init", ModeFileType::Regular, 0o755, b"#!/bin/sh\n").unwrap();
        archive.entry("bin/sh", ModeFileType::Symlink, 0o777, b"busybox").unwrap();
        let bytes = archive.finish().unwrap();
        let mut rest = bytes.as_slice();
        let mut seen = Vec::new();
        loop {
            let reader = cpio::newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            seen.push((reader.entry().name().to_owned(), reader.entry().mode(), reader.entry().file_size()));
            rest = reader.finish().unwrap();
        }
        assert_eq!(
            seen,
            [
                ("bin".to_owned(), 0o040_755, 0),
                ("init".to_owned(), 0o100_755, 10),
                ("bin/sh".to_owned(), 0o120_777, 7)
            ]
        );
    }

    #[test]
    fn the_scripts_are_shell_scripts_without_mistakes_of_syntax() {
        for script in [INIT, AGENT] {
            let checked = std::process::Command::new("sh").args(["-n", "-c", script]).status().unwrap();
            assert!(checked.success());
        }
        assert!(INIT.contains(READY));
    }

    #[test]
    fn the_guest_answers_as_a_guest_agent() {
        use std::process::{Command, Stdio};
        let mut agent = Command::new("sh");
        agent.args(["-c", AGENT]).env("XENSTORE", "true").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut agent = agent.spawn().unwrap();
        let mut asks = agent.stdin.take().unwrap();
        let sync = br#"{"arguments":{"id":2147483647},"execute":"guest-sync-delimited"}"#;
        asks.write_all(&[&b"half of a quest\xff"[..], sync, b"\n"].concat()).unwrap();
        for command in ["status", "freeze", "status", "thaw", "thaw", "melt"] {
            writeln!(asks, r#"{{"execute":"guest-fsfreeze-{command}"}}"#).unwrap();
        }
        drop(asks);
        let said = agent.wait_with_output().unwrap().stdout;
        let lines: Vec<&[u8]> = said.split(|byte| *byte == b'\n').collect();
        assert_eq!(lines[0], b"\xff{\"return\": 2147483647}");
        let texts: Vec<_> =
            lines[1..].iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect();
        let expected = [
            r#"{"return": "thawed"}"#,
            r#"{"return": 1}"#,
            r#"{"return": "frozen"}"#,
            r#"{"return": 1}"#,
            r#"{"return": 0}"#,
            r#"{"error": {"class": "CommandNotFound", "desc": "the test guest does not know this"}}"#,
            "",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn a_guest_has_a_card_and_a_disk_only_if_asked() {
        let mut guest =
            XlGuest { name: "g".into(), kind: GuestKind::Pvh, memory_mib: 128, address: None, disk: None };
        let bare = guest.config();
        assert!(
            bare.contains("type = 'pvh'") && !bare.contains("vif =") && !bare.contains("\ndisk ="),
            "{bare}"
        );
        guest.address = Some(Ipv4Addr::new(10, 0, 2, 101));
        guest.disk = Some("/dev/vg/x".into());
        let full = guest.config();
        assert!(full.contains("xenith.ip=10.0.2.101/24") && full.contains("target=/dev/vg/x"), "{full}");
    }
}
