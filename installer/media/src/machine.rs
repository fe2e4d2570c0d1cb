//! A machine in QEMU that boots from what it is given, as bare metal does: no kernel from outside.
//!
//! What always holds: QEMU ends with the handle, at once, as when the plug is pulled. What was written to the disks and
//! flushed is there for the next [`Machine`].

mod keyboard;

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use xenith_lab::child::{self, Ending, OwnedChild};
use xenith_lab::{Accel, Console, LanPort, Shell};

use self::keyboard::Keyboard;

const POLL: Duration = Duration::from_millis(500);
/// OVMF as Debian's package `ovmf` has it.
const OVMF_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const OVMF_VARS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
/// The socket of the serial line.
const SERIAL: &str = "serial";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    Bios,
    Uefi,
}

/// What the medium is to the machine, which starts from it before any disk.
#[derive(Debug, Clone)]
pub enum Drive {
    Disc(PathBuf),
    /// On USB, with the image written to it byte by byte.
    Stick(PathBuf),
}

/// How the machine reaches the network outside.
#[derive(Debug, Clone, Default)]
pub enum Wiring {
    /// One card.
    #[default]
    Card,
    /// One card, which the machine is started from before any disk: its firmware asks for an address, and fetches this URL.
    Pxe(String),
    /// Two cards on one trunk. Whoever has the other ends passes frames between the two sockets.
    Trunk {
        /// Where the network outside is.
        outside: LanPort,
        /// Where both cards are.
        cards: LanPort,
    },
}

/// What the machine is made of.
#[derive(Debug, Clone)]
pub struct Boot {
    pub firmware: Firmware,
    /// qcow2, the first is `/dev/vda`.
    pub disks: Vec<PathBuf>,
    pub medium: Option<Drive>,
    /// Further volumes that are only read.
    pub volumes: Vec<PathBuf>,
    pub memory_mib: u32,
    pub wiring: Wiring,
}

/// A running machine.
#[derive(Debug)]
pub struct Machine {
    qemu: OwnedChild,
    console: Console,
    /// Plugged in when it is first typed on.
    keyboard: Option<Keyboard>,
    /// What QEMU itself says.
    said: PathBuf,
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

/// A volume with the label XENITH-ANSWERS and these files.
pub fn answers_volume(path: &Path, files: &[(&str, &str)]) -> Result<()> {
    let dir = tempfile::tempdir()?;
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text)?;
    }
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
    /// Switches it on. Its console is appended to `console`, and what QEMU says is beside it. A restart from inside ends
    /// it (`-no-reboot`).
    pub fn start(boot: &Boot, ports: Ports, console: &Path) -> Result<Self> {
        // In the system's temporary folder: a Unix socket's path has 108 bytes at most.
        let sockets = tempfile::Builder::new().prefix("xenith-iso-").tempdir()?;
        let serial = sockets.path().join(SERIAL);
        let variables = sockets.path().join("vars.fd");
        if boot.firmware == Firmware::Uefi {
            std::fs::copy(OVMF_VARS, &variables)
                .with_context(|| format!("cannot copy {OVMF_VARS}; is ovmf installed?"))?;
        }
        let mut command = Command::new("qemu-system-x86_64");
        command.args(arguments(boot, ports, &serial, console, &variables));
        let said = console.with_extension("qemu");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(&said)?);
        let qemu = child::spawn(command, Ending::Kill).context("cannot start QEMU")?;
        Ok(Self {
            qemu,
            console: Console::new(console.to_owned()),
            keyboard: None,
            said,
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
        self.watch(text, None, position, limit).await
    }

    /// The same, and fails as soon as the console shows `fault`, after which nobody need wait.
    pub async fn shows_or_fails(
        &mut self,
        (text, fault): (&str, &str),
        position: u64,
        limit: Duration,
    ) -> Result<()> {
        self.watch(text, Some(fault), position, limit).await
    }

    async fn watch(&mut self, text: &str, fault: Option<&str>, position: u64, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let shown = self.console.since(position);
            if shown.contains(text) {
                return Ok(());
            }
            if let Some(fault) = fault.filter(|fault| shown.contains(fault)) {
                bail!("it shows {fault:?} in place of {text:?}; {}", self.last_words(position));
            }
            let ended = self.qemu.try_wait()?;
            if let Some(status) = ended {
                // What it wrote last may have come since.
                if self.console.since(position).contains(text) {
                    return Ok(());
                }
                let how = child::describe(status);
                bail!("the machine ended ({how}) before it showed {text:?}; {}", self.last_words(position));
            }
            ensure!(
                Instant::now() < deadline,
                "waited {} s in vain for {text:?}; {}",
                limit.as_secs(),
                self.last_words(position)
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// Whether it has not switched itself off, or restarted.
    pub fn is_on(&mut self) -> Result<bool> {
        Ok(self.qemu.try_wait()?.is_none())
    }

    /// Waits until it switches itself off, or restarts.
    pub async fn ends(&mut self, limit: Duration) -> Result<()> {
        let ended = self.qemu.wait_for(limit).await?;
        ensure!(ended.is_some(), "still on after {} s; {}", limit.as_secs(), self.last_words(0));
        Ok(())
    }

    /// The end of the console since `position`, and what QEMU said, for a failure.
    #[must_use]
    pub fn last_words(&self, position: u64) -> String {
        let qemu = std::fs::read_to_string(&self.said).unwrap_or_default();
        let qemu = if qemu.trim().is_empty() { String::new() } else { format!("\nQEMU: {}", qemu.trim()) };
        let console = self.console.path().display();
        format!("the console ends ({console}):\n{}{qemu}", self.console.tail(position))
    }

    /// Types a line on the serial console.
    pub fn types(&mut self, line: &str) -> Result<()> {
        let keyboard = match self.keyboard.take() {
            Some(keyboard) => keyboard,
            None => Keyboard::plug_in(&self.sockets.path().join(SERIAL))?,
        };
        self.keyboard.insert(keyboard).types(line)
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
    match &boot.medium {
        Some(Drive::Disc(image)) => {
            let file = image.display();
            add("-drive", format!("if=none,id=medium,format=raw,media=cdrom,readonly=on,file={file}"));
            add("-device", "ide-cd,drive=medium,bus=ide.0,bootindex=0".into());
        }
        Some(Drive::Stick(image)) => {
            let file = image.display();
            // What is written to a stick is lost with the machine: all of them have the same file.
            add("-drive", format!("if=none,id=medium,format=raw,snapshot=on,file={file}"));
            add("-device", "qemu-xhci".into());
            add("-device", "usb-storage,drive=medium,bootindex=0".into());
        }
        None => {}
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
    network(&boot.wiring, ports, &mut add);
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

/// Addresses of the cards.
pub const CARDS: [&str; 2] = ["52:54:00:77:02:01", "52:54:00:77:02:02"];

fn network(wiring: &Wiring, Ports { ssh, agent }: Ports, add: &mut impl FnMut(&str, String)) {
    let forwarded = format!("hostfwd=tcp:127.0.0.1:{ssh}-:22,hostfwd=tcp:127.0.0.1:{agent}-:8444");
    let [first, second] = CARDS;
    match wiring {
        Wiring::Card => {
            add("-netdev", format!("user,id=wan,{forwarded}"));
            // The firmware of the card would offer to boot from the network, and wait for it.
            add("-device", format!("virtio-net-pci,netdev=wan,mac={first},romfile="));
        }
        Wiring::Pxe(url) => {
            add("-netdev", format!("user,id=wan,bootfile={url},{forwarded}"));
            add("-device", format!("virtio-net-pci,netdev=wan,mac={first},bootindex=0"));
        }
        Wiring::Trunk { outside, cards } => {
            add("-netdev", format!("user,id=wan,{forwarded}"));
            for (id, port) in [("outside", outside), ("trunk", cards)] {
                let (local, remote) = (port.local.display(), port.remote.display());
                let ends =
                    format!("local.type=unix,local.path={local},remote.type=unix,remote.path={remote}");
                add("-netdev", format!("dgram,id={id},{ends}"));
            }
            // Hub 0 joins the network outside to its socket, hub 1 both cards to theirs.
            for (hub, peer) in [(0, "wan"), (0, "outside"), (1, "trunk")] {
                add("-netdev", format!("hubport,id={peer}-port,hubid={hub},netdev={peer}"));
            }
            for (number, mac) in [first, second].into_iter().enumerate() {
                add("-netdev", format!("hubport,id=card{number},hubid=1"));
                add("-device", format!("virtio-net-pci,netdev=card{number},mac={mac},romfile="));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(wiring: Wiring) -> String {
        started_from(Drive::Disc("/d/x.iso".into()), wiring)
    }

    fn started_from(medium: Drive, wiring: Wiring) -> String {
        let boot = Boot {
            firmware: Firmware::Bios,
            disks: vec!["/d/a.qcow2".into()],
            medium: Some(medium),
            volumes: vec!["/d/answers.iso".into()],
            memory_mib: 2048,
            wiring,
        };
        let ports = Ports { ssh: 1, agent: 2 };
        let args = arguments(&boot, ports, Path::new("/s"), Path::new("/c"), Path::new("/v"));
        args.iter().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_medium_is_started_first_and_only_loopback_reaches_the_machine() {
        let text = shown(Wiring::Card);
        assert!(text.contains("drive=medium,bus=ide.0,bootindex=0"), "{text}");
        assert!(text.contains("drive=disk0,serial=DISK0,bootindex=1"), "{text}");
        assert_eq!(text.matches("hostfwd=tcp:127.0.0.1:").count(), 2);
        assert!(!text.contains("pflash"), "{text}");
    }

    #[test]
    fn a_stick_is_on_usb_and_stays_as_it_is() {
        let text = started_from(Drive::Stick("/d/x.iso".into()), Wiring::Card);
        assert!(
            text.contains("usb-storage,drive=medium,bootindex=0") && text.contains("snapshot=on"),
            "{text}"
        );
        assert!(!text.contains("ide-cd"), "{text}");
    }

    #[test]
    fn a_machine_that_starts_from_the_network_asks_its_card_before_its_disks() {
        let text = shown(Wiring::Pxe("http://10.0.2.2:1/boot.ipxe".into()));
        assert!(text.contains("bootfile=http://10.0.2.2:1/boot.ipxe,hostfwd="), "{text}");
        assert!(text.contains("mac=52:54:00:77:02:01,bootindex=0") && !text.contains("romfile="), "{text}");
    }

    #[test]
    fn on_a_trunk_the_cards_reach_the_network_outside_over_sockets_only() {
        let port = |name: &str| LanPort { local: format!("/t/{name}").into(), remote: "/t/trunk".into() };
        let text = shown(Wiring::Trunk { outside: port("outside"), cards: port("cards") });
        assert_eq!(text.matches("hubid=0").count(), 2, "{text}");
        assert_eq!(text.matches("hubid=1").count(), 3, "{text}");
        assert_eq!(text.matches("remote.path=/t/trunk").count(), 2, "{text}");
        for mac in CARDS {
            assert!(text.contains(mac), "{text}");
        }
    }
}
