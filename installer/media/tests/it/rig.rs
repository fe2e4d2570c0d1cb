//! What the steps share: the medium, an orchestrator outside, a web server; and what the steps on one machine share: its
//! disks, its key, its console.
//!
//! Consoles and reports are kept in `~/.cache/xenith/iso/test-logs` after the test, disks are not.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tempfile::TempDir;
use xenith_installer_media::machine::{answers_volume, empty_disk};
use xenith_installer_media::{
    Boot, Drive, Firmware, Inputs, LEVEL, Locking, Machine, Medium, Ports, Wiring, build, cook,
};
use xenith_lab::{Console, Progress, Shell};
use xenith_lab_scenario::{Orchestrator, Programs, until};
use xenith_orchestrator_api::host;
use xenith_orchestrator_types::host::{Host, HostStatus};

use crate::trunk::Trunk;
use crate::web::Web;

/// Large enough for the layout, and sparse.
pub const DISK_GIB: u32 = 24;
const MEMORY_MIB: u32 = 3072;
const MINUTE: Duration = Duration::from_secs(60);
/// Of the image, below `live` of the medium and of the web server.
pub const IMAGE_FILES: [&str; 3] = ["image.json", "image.json.minisig", "filesystem.squashfs"];

/// Set by `cargo xtask iso-test`.
pub fn asked() -> bool {
    std::env::var_os("XENITH_ISO").is_some_and(|value| !value.is_empty() && value != "0")
}

/// Whether a step is to be run: `XENITH_ISO_STEPS` has parts of names, separated by commas.
pub fn wanted(name: &str) -> bool {
    let chosen = std::env::var("XENITH_ISO_STEPS").unwrap_or_default();
    chosen.is_empty() || chosen.split(',').any(|part| name.contains(part))
}

/// What the medium is made of: the programs that run outside too, packed as they are shipped.
pub fn inputs(programs: &Programs) -> Result<Inputs> {
    let folder = |program: &Path| program.parent().map(Path::to_owned).context("a folder");
    Inputs::new(&folder(&programs.agent)?, &folder(&programs.orchestrator)?, LEVEL, Locking::from_env())
}

pub struct Rig {
    pub medium: Medium,
    /// What is in `live` of the medium, and what steps put there.
    pub web: Arc<Web>,
    /// The same files.
    pub live: PathBuf,
    pub orchestrator: Orchestrator,
    pub dir: PathBuf,
    pub key: PathBuf,
    pub ports: Ports,
    /// The host of the last step, if it still runs.
    pub machine: Option<Machine>,
    pub firmware: Firmware,
    /// What the medium is to this machine.
    pub drive: fn(PathBuf) -> Drive,
    pub wiring: Wiring,
    /// What the machine of the last step is wired to, if to one.
    pub trunk: Option<Trunk>,
    /// Of the installation before, from the answers to its end.
    pub installed_in: Option<Duration>,
    /// The plug was pulled while it was installed.
    pub half_installed: bool,
    console: PathBuf,
    /// Where the console was when the step began.
    began: u64,
    own: Arc<TempDir>,
}

impl Rig {
    /// Builds the medium and starts what is outside. `name` is that of its machine.
    pub async fn new(name: &str, programs: &Programs, inputs: &Inputs) -> Result<Self> {
        let cooked = cook(inputs, &Progress::stderr()).await?;
        let own = Arc::new(tempfile::Builder::new().prefix("xenith-iso-test-").tempdir()?);
        let medium = build(&cooked, own.path())?;
        eprintln!("    the medium has {} MB", medium.bytes / 1_000_000);
        let live = own.path().join("live");
        extract(&medium.path, &live)?;
        let web = Web::start()?;
        for file in IMAGE_FILES.into_iter().chain(["vmlinuz", "initrd.img"]) {
            web.put_file(&format!("live/{file}"), &live.join(file));
        }
        let key = own.path().join("key");
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "iso-test", "-f"])
            .arg(&key)
            .status()?;
        ensure!(made.success(), "ssh-keygen made no key");
        let logs = logs()?;
        if logs.exists() {
            fs::remove_dir_all(&logs).with_context(|| format!("cannot empty {}", logs.display()))?;
        }
        let orchestrator = Orchestrator::new(programs).await?;
        Self::assemble(name, Parts { medium, web: Arc::new(web), live, orchestrator, key, own })
    }

    /// Another machine with the same medium and the same orchestrator.
    pub fn beside(&self, name: &str) -> Result<Self> {
        Self::assemble(
            name,
            Parts {
                medium: self.medium.clone(),
                web: Arc::clone(&self.web),
                live: self.live.clone(),
                orchestrator: self.orchestrator.beside(),
                key: self.key.clone(),
                own: Arc::clone(&self.own),
            },
        )
    }

    fn assemble(name: &str, parts: Parts) -> Result<Self> {
        let Parts { medium, web, live, orchestrator, key, own } = parts;
        let dir = own.path().join(name);
        fs::create_dir_all(&dir)?;
        let logs = logs()?;
        fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
        Ok(Self {
            medium,
            web,
            live,
            orchestrator,
            dir,
            key,
            ports: Ports::choose()?,
            machine: None,
            firmware: Firmware::Bios,
            drive: Drive::Disc,
            wiring: Wiring::Card,
            trunk: None,
            installed_in: None,
            half_installed: false,
            console: logs.join(format!("{name}.console.log")),
            began: 0,
            own,
        })
    }

    pub fn disk(&self) -> PathBuf {
        self.numbered_disk(0)
    }

    /// Of those that the machine has, the first is 0.
    pub fn numbered_disk(&self, number: usize) -> PathBuf {
        self.dir.join(format!("disk{number}.qcow2"))
    }

    /// Empty disks of these sizes in place of the last ones.
    pub fn fresh_disks(&mut self, gib: &[u32]) -> Result<()> {
        self.machine = None;
        for number in 0..8 {
            let disk = self.numbered_disk(number);
            if disk.exists() {
                fs::remove_file(&disk)?;
            }
        }
        gib.iter().enumerate().try_for_each(|(number, gib)| empty_disk(&self.numbered_disk(number), *gib))
    }

    /// A token for one host.
    pub async fn token(&self, name: &str) -> Result<String> {
        Ok(self.orchestrator.call::<host::Add>(json!({ "name": name })).await?.token)
    }

    /// The key of who may log in with SSH.
    pub fn public_key(&self) -> Result<String> {
        Ok(fs::read_to_string(self.key.with_extension("pub"))?.trim().to_owned())
    }

    /// Answers for this rig's machine, without a join.
    pub fn answers(&self, disks: &str) -> Result<String> {
        Ok(format!(
            "version = 1\n[target]\ndisks = {disks}\nerase = true\nafter = \"power-off\"\n\
             [system]\nname = \"iso-host\"\ntimezone = \"Europe/Berlin\"\nntp = [\"192.0.2.9\"]\n\
             [access]\nssh_keys = [\"{}\"]\n",
            self.public_key()?
        ))
    }

    /// Answers for a host on the first disk that joins.
    pub fn joining(&self, token: &str) -> Result<String> {
        let answers = self.answers("[\"serial:DISK0\"]")?;
        Ok(format!("{answers}[join]\ntoken = \"{token}\"\nadvertise = \"127.0.0.1:{}\"\n", self.ports.agent))
    }

    /// Starts the machine from the medium, with a volume of these files where there are any.
    pub fn boot_medium(&mut self, files: &[(&str, &str)]) -> Result<&mut Machine> {
        let mut volumes = Vec::new();
        if !files.is_empty() {
            let path = self.dir.join("answers.iso");
            answers_volume(&path, files)?;
            volumes.push(path);
        }
        self.start(Some((self.drive)(self.medium.path.clone())), volumes)
    }

    /// Starts the machine from its disks, or over the network where it is wired for that.
    pub fn boot_disk(&mut self) -> Result<&mut Machine> {
        self.start(None, Vec::new())
    }

    fn start(&mut self, medium: Option<Drive>, volumes: Vec<PathBuf>) -> Result<&mut Machine> {
        // The last one ends first: it has the disks and the ports.
        self.machine = None;
        let disks = (0..8).map(|number| self.numbered_disk(number)).filter(|disk| disk.exists()).collect();
        let boot = Boot {
            firmware: self.firmware,
            disks,
            medium,
            volumes,
            memory_mib: MEMORY_MIB,
            wiring: self.wiring.clone(),
        };
        let machine = Machine::start(&boot, self.ports, &self.console)?;
        Ok(self.machine.insert(machine))
    }

    /// Where the console is now: what comes later is what this step caused.
    pub fn position(&self) -> u64 {
        Console::new(self.console.clone()).position()
    }

    /// What the console has shown since.
    pub fn shown(&self, position: u64) -> String {
        Console::new(self.console.clone()).since(position)
    }

    /// Waits until the orchestrator hears the host.
    pub async fn connected(&self, name: &str, limit: Duration) -> Result<Host> {
        until(&format!("{name} is connected"), limit, async || {
            let page = self.orchestrator.call::<host::List>(json!({})).await?;
            Ok(page.items.into_iter().find(|host| host.name == name && host.status == HostStatus::Connected))
        })
        .await
    }

    pub fn running(&mut self) -> Result<&mut Machine> {
        self.machine.as_mut().context("no host runs: the step that installs it failed, or was not run")
    }

    pub fn shell(&mut self) -> Result<Shell> {
        let key = self.key.clone();
        Ok(self.running()?.shell(&key))
    }

    /// Says in the console's log which step begins.
    pub fn begin(&mut self, step: &str) {
        self.began = self.position();
        let log = fs::File::options().create(true).append(true).open(&self.console);
        // Only a heading: the step itself says when there is no log.
        let _no_log = log.and_then(|mut log| writeln!(log, "\n\n===== {step}"));
    }

    /// For a step that failed: the console, the host's own logs where it can be reached, the orchestrator's log.
    pub async fn report(&mut self, step: &str) -> String {
        let console = Console::new(self.console.clone());
        let host = match self.shell() {
            Ok(shell) => dom0_report(&shell).await,
            Err(none) => format!("{none:#}"),
        };
        let report = format!(
            "--- {step}: console ({})\n{}\n--- the host itself\n{host}\n--- orchestrator\n{}",
            self.console.display(),
            console.tail(self.began),
            self.orchestrator.log_tail(25)
        );
        let file = self.console.with_file_name(format!("failed: {}.log", step.replace('/', " ")));
        let whole = format!("{report}\n--- the whole console of this step\n{}", console.since(self.began));
        match fs::write(&file, whole) {
            Ok(()) => format!("{report}\n--- all of it: {}", file.display()),
            Err(error) => format!("{report}\n--- {} cannot be written: {error}", file.display()),
        }
    }
}

struct Parts {
    medium: Medium,
    web: Arc<Web>,
    live: PathBuf,
    orchestrator: Orchestrator,
    key: PathBuf,
    own: Arc<TempDir>,
}

fn logs() -> Result<PathBuf> {
    Ok(xenith_installer_media::cache()?.join("test-logs"))
}

/// What an administrator would look at first.
async fn dom0_report(shell: &Shell) -> String {
    let look = "systemctl --failed --no-legend --plain; cat /proc/mdstat 2>/dev/null; ip -brief address; \
                journalctl --no-pager --boot --lines=60 -u xenith-agent -u xenith-boot-good -u xenith-first-boot \
                -u xenith-orchestrator -u systemd-networkd";
    match shell.run(look, MINUTE).await {
        Ok(said) => said,
        Err(error) => format!("it cannot be asked: {error}"),
    }
}

/// The folder `live` of the medium, as somebody has it who mounts it.
fn extract(medium: &Path, to: &Path) -> Result<()> {
    let output = Command::new("xorriso")
        .args(["-osirrox", "on", "-indev"])
        .arg(medium)
        .args(["-extract", "/live"])
        .arg(to)
        .output()
        .context("cannot start xorriso")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "xorriso extracts nothing: {}", said.trim());
    // On a medium nothing can be written to, and from such a folder nothing can be removed.
    let writable = Command::new("chmod").args(["-R", "u+w"]).arg(to).status()?;
    ensure!(writable.success(), "chmod failed on {}", to.display());
    Ok(())
}

/// Whether nothing at all was written to a qcow2.
pub fn untouched(disk: &Path) -> Result<bool> {
    let output = Command::new("qemu-img").args(["map", "--output=json"]).arg(disk).output()?;
    let map: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    Ok(map.as_array().context("a list")?.iter().all(|extent| extent["data"] == false))
}
