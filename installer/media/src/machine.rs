//! A machine in QEMU that boots from what it is given, as bare metal does: no kernel from outside.
//!
//! What always holds: QEMU ends with the handle, at once, as when the plug is pulled. What was written to the disks and
//! flushed is there for the next [`Machine`].

use std::ffi::OsString;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use xenith_lab::child::{self, Ending, OwnedChild};
use xenith_lab::{Accel, Console, Shell};

const POLL: Duration = Duration::from_millis(500);
/// OVMF as Debian's package `ovmf` has it.
const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const OVMF_VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    Bios,
    Uefi,
}

/// What the machine is made of.
#[derive(Debug, Clone)]
pub struct Boot {
    pub firmware: Firmware,
    /// qcow2, the first is `/dev/vda`.
    pub disks: Vec<PathBuf>,
    /// The medium in the drive, which is started first.
    pub medium: Option<PathBuf>,
    /// Further volumes that are only read.
    pub volumes: Vec<PathBuf>,
    pub memory_mib: u32,
}

/// A running machine.
#[derive(Debug)]
pub struct Machine {
    qemu: OwnedChild,
    console: Console,
    serial: PathBuf,
    /// Of SSH and of the agent, on loopback.
    pub ssh_port: u16,
    pub agent_port: u16,
    sockets: tempfile::TempDir,
}

/// Free ports, chosen once: a token names the agent's.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    pub ssh: u16,
    pub agent: u16,
}

impl Ports {
    pub fn choose() -> Result<Self> {
        let free = || -> Result<u16> { Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port()) };
        Ok(Self { ssh: free()?, agent: free()? })
    }
}

/// An empty disk; it takes only what is written.
pub fn empty_disk(path: &Path, gib: u32) -> Result<()> {
    let status = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2"])
        .arg(path)
        .arg(format!("{gib}G"))
        .status()?;
    ensure!(status.success(), "qemu-img made no disk");
    Ok(())
}

/// A volume with the label XENITH-ANSWERS.
pub fn answers_volume(path: &Path, answers: &str) -> Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join(xenith_installer::source::FILE), answers)?;
    let mut command = Command::new("xorriso");
    command
        .args(["-as", "mkisofs", "-quiet", "-r", "-V", xenith_installer::source::LABEL, "-o"])
        .arg(path)
        .arg(dir.path());
    let output = command.output().context("cannot start xorriso")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

impl Machine {
    /// Switches it on. Its console is appended to `console`. A restart from inside ends it (`-no-reboot`).
    pub fn start(boot: &Boot, ports: Ports, console: &Path) -> Result<Self> {
        // In the system's temporary folder: a Unix socket's path has 108 bytes at most.
        let sockets = tempfile::Builder::new().prefix("xenith-iso-").tempdir()?;
        let serial = sockets.path().join("serial");
        let variables = sockets.path().join("vars.fd");
        if boot.firmware == Firmware::Uefi {
            std::fs::copy(OVMF_VARS, &variables)
                .with_context(|| format!("cannot copy {OVMF_VARS}; is ovmf installed?"))?;
        }
        let mut command = Command::new("qemu-system-x86_64");
        command.args(arguments(boot, ports, &serial, console, &variables));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(console.with_extension("qemu"))?);
        let qemu = child::spawn(command, Ending::Kill).context("cannot start QEMU")?;
        Ok(Self {
            qemu,
            console: Console::new(console.to_owned()),
            serial,
            ssh_port: ports.ssh,
            agent_port: ports.agent,
            sockets,
        })
    }

    #[must_use]
    pub const fn console(&self) -> &Console {
        &self.console
    }

    /// Waits until the console shows `text` after `position`. Ends early when the machine does.
    pub async fn shows(&mut self, text: &str, position: u64, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            if self.console.since(position).contains(text) {
                return Ok(());
            }
            let ended = self.qemu.try_wait()?;
            if let Some(status) = ended {
                // What it wrote last may have come since.
                if self.console.since(position).contains(text) {
                    return Ok(());
                }
                bail!(
                    "the machine ended ({status}) before it showed {text:?}:\n{}",
                    self.console.tail(position)
                );
            }
            ensure!(
                Instant::now() < deadline,
                "waited {} s in vain for {text:?}:\n{}",
                limit.as_secs(),
                self.console.tail(position)
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until it switches itself off, or restarts.
    pub async fn ends(&mut self, limit: Duration) -> Result<()> {
        let ended = self.qemu.wait_for(limit).await?;
        ensure!(ended.is_some(), "still on after {} s:\n{}", limit.as_secs(), self.console.tail(0));
        Ok(())
    }

    /// Types a line on the serial console.
    pub fn types(&self, line: &str) -> Result<()> {
        let mut stream = UnixStream::connect(&self.serial).context("the serial line is not there")?;
        stream.write_all(format!("{line}\r").as_bytes())?;
        Ok(())
    }

    /// The way in, for who has the key.
    #[must_use]
    pub fn shell(&self, key: &Path) -> Shell {
        Shell::new("iso", self.ssh_port, key.to_owned(), self.sockets.path().join("ssh"))
    }
}

fn arguments(boot: &Boot, ports: Ports, serial: &Path, console: &Path, variables: &Path) -> Vec<OsString> {
    let accel = Accel::detect();
    let mut args: Vec<OsString> = Vec::new();
    let mut add = |option: &str, value: String| {
        args.push(option.into());
        args.push(value.into());
    };
    add("-machine", "q35".into());
    add("-accel", accel.accel_argument().into());
    add("-cpu", accel.cpu_argument());
    add("-m", boot.memory_mib.to_string());
    add("-smp", accel.cpus().to_string());
    if boot.firmware == Firmware::Uefi {
        add("-drive", format!("if=pflash,format=raw,readonly=on,file={OVMF_CODE}"));
        add("-drive", format!("if=pflash,format=raw,file={}", variables.display()));
    }
    if let Some(medium) = &boot.medium {
        add(
            "-drive",
            format!("if=none,id=medium,format=raw,media=cdrom,readonly=on,file={}", medium.display()),
        );
        add("-device", "ide-cd,drive=medium,bus=ide.0,bootindex=0".into());
    }
    for (number, disk) in boot.disks.iter().enumerate() {
        add(
            "-drive",
            format!(
                "if=none,id=disk{number},format=qcow2,cache=writeback,discard=unmap,file={}",
                disk.display()
            ),
        );
        add(
            "-device",
            format!("virtio-blk-pci,drive=disk{number},serial=DISK{number},bootindex={}", number + 1),
        );
    }
    for (number, volume) in boot.volumes.iter().enumerate() {
        add("-drive", format!("if=none,id=volume{number},format=raw,readonly=on,file={}", volume.display()));
        add("-device", format!("virtio-blk-pci,drive=volume{number}"));
    }
    let Ports { ssh, agent } = ports;
    add(
        "-netdev",
        format!("user,id=wan,hostfwd=tcp:127.0.0.1:{ssh}-:22,hostfwd=tcp:127.0.0.1:{agent}-:8444"),
    );
    // The firmware of the card would offer to boot from the network, and wait for it.
    add("-device", "virtio-net-pci,netdev=wan,mac=52:54:00:77:02:01,romfile=".into());
    add(
        "-chardev",
        format!(
            "socket,id=serial,path={},server=on,wait=off,logfile={},logappend=on",
            serial.display(),
            console.display()
        ),
    );
    add("-serial", "chardev:serial".into());
    add("-display", "none".into());
    args.push("-no-reboot".into());
    args.push("-nodefaults".into());
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_medium_is_started_first_and_only_loopback_reaches_the_machine() {
        let boot = Boot {
            firmware: Firmware::Bios,
            disks: vec!["/d/a.qcow2".into()],
            medium: Some("/d/x.iso".into()),
            volumes: vec!["/d/answers.iso".into()],
            memory_mib: 2048,
        };
        let ports = Ports { ssh: 1, agent: 2 };
        let args = arguments(&boot, ports, Path::new("/s"), Path::new("/c"), Path::new("/v"));
        let text = args.iter().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ");
        assert!(text.contains("drive=medium,bus=ide.0,bootindex=0"), "{text}");
        assert!(text.contains("drive=disk0,serial=DISK0,bootindex=1"), "{text}");
        assert_eq!(text.matches("hostfwd=tcp:127.0.0.1:").count(), 2);
        assert!(!text.contains("pflash"), "{text}");
    }
}
