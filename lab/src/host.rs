//! One lab host: a QEMU process of ours with a real Xen in it.
//!
//! ```text
//!            boot                    ready
//!   (off) ---------> Starting ----------------> Ready
//!     ^                 | not up: once more        |
//!     +-----------------+--- power_cut, shut_down--+
//! ```
//!
//! What always holds: while a [`LabHost`] lives, it holds the lock of the host's folder, so no second QEMU
//! opens the disks; QEMU ends when the handle is dropped and when this process dies. On a crash of ours the
//! disks are as after a power cut. Other processes reach a running host through [`crate::attach()`].

use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::accel::Accel;
use crate::attach::{check_name, shell, take_lock};
use crate::child::{self, Ending, OwnedChild, describe};
use crate::console::Console;
use crate::disks::{DiskPaths, Disks};
use crate::error::{Doing, LabError};
use crate::paths::{LabPaths, ensure_dir};
use crate::progress::Progress;
use crate::qemu::{LanPort, Machine, Sizes, lan_address};
use crate::qmp;
use crate::record::{HostRecord, choose_port};
use crate::rootfs::{self, Rootfs};
use crate::ssh::Shell;

const POLL: Duration = Duration::from_millis(250);
/// One try of the readiness command; under load a first SSH connection takes several seconds.
const PROBE_LIMIT: Duration = Duration::from_secs(40);
/// Several times what the quietest part of a good boot takes on a loaded machine.
const SILENCE_LIMIT: Duration = Duration::from_secs(180);
/// Xen's daemons run and libxl can talk to them.
const READY: &str = "systemctl is-active --quiet xen.service && xl list >/dev/null";
/// The shared connection only saves time, so it is not waited for longer.
const MASTER_LIMIT: Duration = Duration::from_secs(30);

/// What host to start.
#[derive(Debug, Clone)]
pub struct HostSpec {
    /// Host name in dom0 and folder name here.
    pub name: String,
    /// 1 for the first host of a lab; the last number of its addresses.
    pub number: u8,
    pub sizes: Sizes,
    pub disks: Disks,
    /// A second card, `eth1`, on the LAN of the lab.
    pub lan: Option<LanPort>,
}

impl HostSpec {
    /// `xen<number>` with the usual sizes, its old disks and no LAN.
    #[must_use]
    pub fn numbered(number: u8) -> Self {
        Self { name: format!("xen{number}"), number, sizes: Sizes::default(), disks: Disks::Keep, lan: None }
    }
}

/// A running (or, after a power cut, stopped) host. Dropping it cuts the power.
#[derive(Debug)]
pub struct LabHost {
    spec: HostSpec,
    dir: PathBuf,
    rootfs: Rootfs,
    accel: Accel,
    record: HostRecord,
    shell: Shell,
    console: Console,
    boot_position: u64,
    progress: Progress,
    restarted: Option<String>,
    qemu: Option<OwnedChild>,
    master: Option<OwnedChild>,
    _sockets: tempfile::TempDir,
    _lock: File,
}

impl LabHost {
    /// Starts the host and waits until Xen's tools answer. A host that does not come up at all is started
    /// once more; [`Self::restarted`] then says so, and so does `progress`.
    pub async fn boot(paths: &LabPaths, spec: HostSpec, progress: &Progress) -> Result<Self, LabError> {
        let newest = rootfs::ensure(paths, progress).await?;
        let mut host = Self::prepare(paths, spec, newest, progress).await?;
        host.power_on().await?;
        Ok(host)
    }

    async fn prepare(
        paths: &LabPaths,
        spec: HostSpec,
        newest: Rootfs,
        progress: &Progress,
    ) -> Result<Self, LabError> {
        check_name(&spec.name)?;
        let dir = paths.host(&spec.name);
        ensure_dir(&dir)?;
        let lock = take_lock(&dir, &spec.name)?;
        let disks = DiskPaths::in_dir(&dir);
        let old = HostRecord::load(&dir);
        let keep = spec.disks == Disks::Keep && disks.exist();
        let rootfs = match (&old, keep) {
            (Some(old), true) => Rootfs::by_hash(paths, &old.rootfs)
                .ok_or_else(|| LabError::StaleDisk { name: spec.name.clone() })?,
            _ => newest.clone(),
        };
        if rootfs != newest {
            progress.say(format!(
                "{} keeps the root file system of an older recipe; --fresh renews it",
                spec.name
            ));
        }
        if !keep || old.is_none() {
            disks.create(&rootfs, spec.sizes.data_gib).await?;
        }
        // In the system's temporary folder: a Unix socket's path has 108 bytes at most.
        let sockets = tempfile::Builder::new()
            .prefix("xenith-lab-")
            .tempdir()
            .doing(|| "no temporary folder".into())?;
        let record = HostRecord {
            rootfs: rootfs.hash(),
            number: spec.number,
            ssh_port: choose_port(old.as_ref().map(|old| old.ssh_port))?,
            agent_port: choose_port(old.as_ref().map(|old| old.agent_port))?,
            upload_port: choose_port(old.as_ref().map(|old| old.upload_port))?,
            sockets: sockets.path().to_owned(),
        };
        record.store(&dir)?;
        Ok(Self {
            shell: shell(paths, &spec.name, &record),
            console: Console::new(dir.join("console.log")),
            boot_position: 0,
            accel: Accel::detect(),
            progress: progress.clone(),
            restarted: None,
            qemu: None,
            master: None,
            _sockets: sockets,
            _lock: lock,
            spec,
            dir,
            rootfs,
            record,
        })
    }

    /// Starts a host that is off, as [`Self::boot`] does, on the same disks and ports.
    pub async fn power_on(&mut self) -> Result<(), LabError> {
        let limit = self.accel.boot_limit();
        let usual = if self.accel == Accel::Kvm { "15 s" } else { "1 to 2 minutes under emulation" };
        if let Some(fault) = self.accel.known_fault() {
            self.progress.say(fault);
        }
        self.progress.say(format!("starting {}; usually ready in {usual}", self.spec.name));
        let started = Instant::now();
        self.start_qemu()?;
        if let Err(error) = self.wait_ready(limit).await {
            if !error.is_boot_failure() {
                return Err(error);
            }
            self.progress.say(format!("{} did not come up; starting it once more. {error}", self.spec.name));
            self.restarted = Some(error.to_string());
            self.power_cut();
            self.start_qemu()?;
            self.wait_ready(limit).await?;
        }
        self.progress.say(format!("{} is ready ({} s)", self.spec.name, started.elapsed().as_secs()));
        Ok(())
    }

    fn start_qemu(&mut self) -> Result<(), LabError> {
        self.boot_position = self.console.position();
        let disks = DiskPaths::in_dir(&self.dir);
        let machine = Machine {
            name: &self.spec.name,
            number: self.spec.number,
            accel: self.accel,
            sizes: self.spec.sizes,
            rootfs: &self.rootfs,
            root_disk: &disks.root,
            data_disk: &disks.data,
            console: self.console.path(),
            qmp: &self.qmp_socket(),
            ssh_port: self.record.ssh_port,
            agent_port: self.record.agent_port,
            upload_port: self.record.upload_port,
            lan: self.spec.lan.as_ref(),
        };
        let said = File::create(self.said_path()).doing(|| "could not create qemu.log".into())?;
        let mut command = std::process::Command::new("qemu-system-x86_64");
        command.args(machine.arguments()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        self.qemu = Some(child::spawn(command, Ending::Kill).doing(|| "could not start QEMU".into())?);
        Ok(())
    }

    /// Waits until Xen's tools answer in dom0. Gives up after `limit`, or sooner if the console falls silent:
    /// an emulated host may be slow for a long time, but one that boots says something.
    pub async fn wait_ready(&mut self, limit: Duration) -> Result<(), LabError> {
        let started = Instant::now();
        let mut heard = (started, self.console.position());
        while !self.is_ready(started.elapsed()).await? {
            let position = self.console.position();
            if position != heard.1 {
                heard = (Instant::now(), position);
            }
            if started.elapsed() >= limit || heard.0.elapsed() >= SILENCE_LIMIT {
                let (after, tail) = (started.elapsed(), self.console_tail());
                return Err(LabError::NotReady { name: self.spec.name.clone(), after, tail });
            }
            tokio::time::sleep(POLL).await;
        }
        self.open_master().await
    }

    async fn is_ready(&mut self, waited: Duration) -> Result<bool, LabError> {
        self.check_alive()?;
        if !banner(self.record.ssh_port, waited).await {
            return Ok(false);
        }
        match self.shell.exec(READY, PROBE_LIMIT).await {
            Ok(output) => Ok(output.success()),
            Err(LabError::Unreachable { .. } | LabError::Deadline { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }

    async fn open_master(&mut self) -> Result<(), LabError> {
        self.master = None;
        // A socket left by a connection that was cut would be taken for the new one.
        let _ = std::fs::remove_file(&self.shell.control);
        let master =
            child::spawn(self.shell.master(), Ending::Kill).doing(|| "could not start ssh".into())?;
        self.master = Some(master);
        let deadline = Instant::now() + MASTER_LIMIT;
        while !self.shell.control.exists() && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    fn check_alive(&mut self) -> Result<(), LabError> {
        let Some(qemu) = &mut self.qemu else {
            return Err(LabError::NotRunning { name: self.spec.name.clone() });
        };
        let Some(status) = qemu.try_wait().doing(|| "could not ask for QEMU's status".into())? else {
            return Ok(());
        };
        let said = std::fs::read_to_string(self.said_path()).unwrap_or_default();
        let tail = format!("{}; {}\n{}", describe(status), said.trim(), self.console_tail());
        Err(LabError::Died { name: self.spec.name.clone(), tail })
    }

    /// Pulls the plug: dom0 loses what it had not flushed. Ports and disks stay for [`Self::power_on`].
    pub fn power_cut(&mut self) {
        self.master = None;
        self.qemu = None;
    }

    /// A clean shutdown of dom0; the plug is pulled if it takes longer than `limit`, and that is an error.
    pub async fn shut_down(&mut self, limit: Duration) -> Result<(), LabError> {
        let Some(mut qemu) = self.qemu.take() else { return Ok(()) };
        let asked = self.shell.exec("systemctl poweroff", limit).await;
        self.master = None;
        if let Err(error @ LabError::Io { .. }) = asked {
            return Err(error);
        }
        let ended = qemu.wait_for(limit).await.doing(|| "could not wait for QEMU".into())?;
        if ended.is_none() {
            let what = "the shutdown".into();
            return Err(LabError::Deadline { name: self.spec.name.clone(), what, after: limit });
        }
        Ok(())
    }

    /// A clean shutdown and a new start.
    pub async fn restart(&mut self, limit: Duration) -> Result<(), LabError> {
        self.shut_down(limit).await?;
        self.power_on().await
    }

    /// Presses the reset button: like [`Self::power_cut`] and a start, within one QEMU.
    pub async fn reset(&mut self) -> Result<(), LabError> {
        self.master = None;
        self.boot_position = self.console.position();
        self.order("system_reset", json!({})).await
    }

    /// Stops all CPUs: the host hangs, its connections stay open and silent.
    pub async fn freeze(&self) -> Result<(), LabError> {
        self.order("stop", json!({})).await
    }

    /// Ends [`Self::freeze`].
    pub async fn thaw(&self) -> Result<(), LabError> {
        self.order("cont", json!({})).await
    }

    /// Pulls or plugs a network cable. With [`Cable::Wan`] out, commands do not reach the host either.
    pub async fn set_cable(&self, cable: Cable, link: Link) -> Result<(), LabError> {
        let name = match cable {
            Cable::Wan => "wan",
            Cable::Lan => "lan",
        };
        self.order("set_link", json!({ "name": name, "up": link == Link::Up })).await
    }

    async fn order(&self, order: &str, arguments: Value) -> Result<(), LabError> {
        if self.qemu.is_none() {
            return Err(LabError::NotRunning { name: self.spec.name.clone() });
        }
        qmp::order(&self.qmp_socket(), order, arguments).await.map(drop).map_err(|error| LabError::Qemu {
            name: self.spec.name.clone(),
            order: order.into(),
            said: error.to_string(),
        })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Where the agent's port is reached from this machine.
    #[must_use]
    pub fn agent_address(&self) -> SocketAddr {
        self.record.agent_address()
    }

    /// What the agent's `agent.toml` has to say so that the agent, and disks on their way in and out, are reached from
    /// this machine.
    #[must_use]
    pub fn agent_settings(&self) -> String {
        self.record.agent_settings()
    }

    /// Where other hosts of the lab reach it, if it is on their LAN.
    #[must_use]
    pub fn lan_address(&self) -> Option<Ipv4Addr> {
        self.spec.lan.as_ref().map(|_| lan_address(self.spec.number))
    }

    /// Commands and files.
    #[must_use]
    pub const fn shell(&self) -> &Shell {
        &self.shell
    }

    #[must_use]
    pub const fn console(&self) -> &Console {
        &self.console
    }

    /// The end of this boot's console, for error messages.
    #[must_use]
    pub fn console_tail(&self) -> String {
        self.console.tail(self.boot_position)
    }

    /// The root filesystem this host runs, whose kernel test guests boot too.
    #[must_use]
    pub const fn rootfs(&self) -> &Rootfs {
        &self.rootfs
    }

    /// QEMU's process, to measure it.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.qemu.as_ref().map(OwnedChild::id)
    }

    #[must_use]
    pub const fn accel(&self) -> Accel {
        self.accel
    }

    /// Some if the host had to be started twice, with the reason. Reports must show it.
    #[must_use]
    pub fn restarted(&self) -> Option<&str> {
        self.restarted.as_deref()
    }

    fn qmp_socket(&self) -> PathBuf {
        self.record.sockets.join("qmp")
    }

    fn said_path(&self) -> PathBuf {
        self.dir.join("qemu.log")
    }
}

/// A network cable of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cable {
    /// `eth0`: the agent's port and SSH.
    Wan,
    /// `eth1`: the other hosts.
    Lan,
}

/// Whether the cable is plugged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Up,
    Down,
}

/// Whether an SSH server speaks behind the port. QEMU accepts the connection long before dom0 does and then
/// repeats its own SYN ever more slowly, so a short look is repeated often; the longer the boot has taken,
/// the slower this machine is and the longer the look.
async fn banner(port: u16, waited: Duration) -> bool {
    let patience = (waited / 10).clamp(Duration::from_secs(1), Duration::from_secs(10));
    let look = move || {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, patience).ok()?;
        stream.set_read_timeout(Some(patience)).ok()?;
        let mut greeting = [0; 4];
        stream.read_exact(&mut greeting).ok()?;
        (&greeting == b"SSH-").then_some(())
    };
    tokio::task::spawn_blocking(look).await.is_ok_and(|seen| seen.is_some())
}
