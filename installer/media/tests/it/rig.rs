//! What all steps share: the medium, an orchestrator outside, a disk, a key.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use xenith_installer_media::machine::{answers_volume, empty_disk};
use xenith_installer_media::{Boot, Firmware, Inputs, Locking, Machine, Medium, Ports, build, cook};
use xenith_lab::Progress;
use xenith_lab_scenario::{Orchestrator, Programs, until};
use xenith_orchestrator_api::host;
use xenith_orchestrator_types::host::{Host, HostStatus};

/// Large enough for the layout, and sparse.
pub const DISK_GIB: u32 = 24;
const MEMORY_MIB: u32 = 3072;

/// Set by `cargo xtask iso-test`.
pub fn asked() -> bool {
    std::env::var_os("XENITH_ISO").is_some_and(|value| !value.is_empty() && value != "0")
}

/// Whether a step is to be run: `XENITH_ISO_STEPS` has parts of names, separated by commas.
pub fn wanted(name: &str) -> bool {
    let chosen = std::env::var("XENITH_ISO_STEPS").unwrap_or_default();
    chosen.is_empty() || chosen.split(',').any(|part| name.contains(part))
}

pub struct Rig {
    pub medium: Medium,
    pub orchestrator: Orchestrator,
    pub dir: PathBuf,
    pub key: PathBuf,
    pub ports: Ports,
    /// The host of the last step, if it still runs.
    pub machine: Option<Machine>,
    pub firmware: Firmware,
    _own: Option<tempfile::TempDir>,
}

impl Rig {
    pub async fn new() -> Result<Self> {
        let programs = Programs::find()?;
        let (agents, debug) = (
            programs.agent.parent().context("a folder")?,
            programs.orchestrator.parent().context("a folder")?,
        );
        // Quick instead of small: how small it gets is for `make iso` to say.
        let inputs = Inputs::new(agents, debug, 3, Locking::from_env())?;
        let cooked = cook(&inputs, &Progress::stderr()).await?;
        let (own, dir) = match std::env::var_os("XENITH_ISO_DIR") {
            Some(dir) => (None, PathBuf::from(dir)),
            None => {
                let own = tempfile::Builder::new().prefix("xenith-iso-test-").tempdir()?;
                let dir = own.path().to_owned();
                (Some(own), dir)
            }
        };
        std::fs::create_dir_all(&dir)?;
        let medium = build(&cooked, &dir)?;
        eprintln!("    the medium has {} MB", medium.bytes / 1_000_000);
        let key = dir.join("key");
        if !key.is_file() {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", "iso-test", "-f"])
                .arg(&key)
                .status()?;
            ensure!(made.success(), "ssh-keygen made no key");
        }
        let orchestrator = Orchestrator::new(&programs).await?;
        let ports = Ports::choose()?;
        Ok(Self { medium, orchestrator, dir, key, ports, machine: None, firmware: Firmware::Bios, _own: own })
    }

    pub fn disk(&self) -> PathBuf {
        self.dir.join("disk.qcow2")
    }

    pub fn console(&self) -> PathBuf {
        self.dir.join("console.log")
    }

    /// An empty disk in place of the last one.
    pub fn fresh_disk(&mut self, gib: u32) -> Result<()> {
        self.machine = None;
        let disk = self.disk();
        if disk.exists() {
            std::fs::remove_file(&disk)?;
        }
        empty_disk(&disk, gib)
    }

    /// A token for one host.
    pub async fn token(&self, name: &str) -> Result<String> {
        Ok(self.orchestrator.call::<host::Add>(json!({ "name": name })).await?.token)
    }

    /// Answers for this rig's machine.
    pub fn answers(&self, token: &str) -> Result<String> {
        let key = std::fs::read_to_string(self.key.with_extension("pub"))?;
        Ok(format!(
            "version = 1\n[target]\ndisks = [\"serial:DISK0\"]\nerase = true\nafter = \"power-off\"\n\
             [system]\nname = \"iso-host\"\ntimezone = \"Europe/Berlin\"\n\
             [access]\nssh_keys = [\"{}\"]\n\
             [join]\ntoken = \"{token}\"\nadvertise = \"127.0.0.1:{}\"\n",
            key.trim(),
            self.ports.agent
        ))
    }

    /// Starts the machine from the medium, with answers on a volume of their own where there are any.
    pub fn boot_medium(&self, answers: Option<&str>) -> Result<Machine> {
        let mut volumes = Vec::new();
        if let Some(answers) = answers {
            let path = self.dir.join("answers.iso");
            answers_volume(&path, answers)?;
            volumes.push(path);
        }
        self.start(Some(self.medium.path.clone()), volumes)
    }

    /// Starts the machine from its disk.
    pub fn boot_disk(&self) -> Result<Machine> {
        self.start(None, Vec::new())
    }

    fn start(&self, medium: Option<PathBuf>, volumes: Vec<PathBuf>) -> Result<Machine> {
        let boot = Boot {
            firmware: self.firmware,
            disks: vec![self.disk()],
            medium,
            volumes,
            memory_mib: MEMORY_MIB,
        };
        Machine::start(&boot, self.ports, &self.console())
    }

    /// Where the console is now: what comes later is what this step caused.
    pub fn position(&self) -> u64 {
        std::fs::metadata(self.console()).map_or(0, |meta| meta.len())
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

    /// For a report.
    pub fn logs(&self) -> String {
        let console = xenith_lab::Console::new(self.console());
        format!("--- console\n{}\n--- orchestrator\n{}", console.tail(0), self.orchestrator.log_tail(15))
    }
}

/// Whether nothing at all was written to a qcow2.
pub fn untouched(disk: &Path) -> Result<bool> {
    let output = Command::new("qemu-img").args(["map", "--output=json"]).arg(disk).output()?;
    let map: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    Ok(map.as_array().context("a list")?.iter().all(|extent| extent["data"] == false))
}
