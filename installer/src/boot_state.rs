//! Which system starts next, and making the one that runs the good one.
//!
//! ```text
//!   good A                       an installation, or a confirmed boot
//!     | upgrade writes slot B, then: trial = B, trial_left = 1          <- commit point of an upgrade
//!   good A, trial B (1 left)
//!     | GRUB: trial_left = 0, starts B
//!   good A, trial B (0 left)
//!     | B is healthy: good = B           | B hangs, panics, loses power, or is not healthy in time: next start is A
//!   good B                             good A, and A finds a trial that was used up: it says so and forgets it
//! ```
//!
//! The block is overwritten in place: GRUB keeps the sectors of the file, and a rename would give it others. It is 1 KiB,
//! two sectors of a FAT; a power cut between them is a block that GRUB does not take, and then it starts slot A.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use xenith_hypervisor_agent_types::system::SystemSlot;

use crate::plan::{ENV_FILE, ENV_SIZE};

/// Where the installed system mounts its EFI system partition.
pub const ESP: &str = "/boot/esp";
/// What the installer wrote down.
pub const RECORD: &str = "/etc/xenith/installed.toml";

/// What the boot menu reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootState {
    pub good: SystemSlot,
    pub trial: Option<Trial>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    pub slot: SystemSlot,
    /// Whether GRUB has started it already.
    pub used: Used,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Used {
    Yes,
    No,
}

/// `installed.toml`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    pub slots: [String; 2],
    pub esp: Vec<String>,
    pub dom0_mib: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum BootStateError {
    #[error("cannot {doing} {path}")]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is no environment block of GRUB; is the EFI system partition mounted?")]
    Block { path: PathBuf },
    #[error("{path}: {detail}")]
    Record { path: PathBuf, detail: String },
    #[error("the running system is in neither slot of this disk ({cmdline})")]
    Elsewhere { cmdline: String },
    #[error(
        "the system in slot {slot} is on trial, and the other one is all that there is to go back to; wait until it was found \
         healthy (`journalctl -u xenith-boot-good`)"
    )]
    OnTrial { slot: SystemSlot },
}

/// What a boot means, decided without IO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boot {
    /// Nothing to do: the good system runs.
    Ordinary,
    /// The system on trial runs, for the first time.
    OnTrial,
    /// The good system runs, because the other one did not come up.
    FellBack { from: SystemSlot },
    /// Somebody chose the other slot in the menu. It is not made the good one by that.
    ByHand,
}

impl BootState {
    /// What it means that `running` runs.
    #[must_use]
    pub fn judge(&self, running: SystemSlot) -> Boot {
        match self.trial {
            Some(trial) if trial.slot == running && trial.used == Used::Yes => Boot::OnTrial,
            Some(trial) if trial.used == Used::Yes && running == self.good => {
                Boot::FellBack { from: trial.slot }
            }
            _ if running == self.good => Boot::Ordinary,
            _ => Boot::ByHand,
        }
    }

    fn parse(block: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(block).ok()?;
        if block.len() != ENV_SIZE || !text.starts_with("# GRUB Environment Block\n") {
            return None;
        }
        let value = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')))
        };
        let slot = |name: &str| value(name).and_then(|text| text.parse().ok());
        let used = if value("trial_left") == Some("1") { Used::No } else { Used::Yes };
        // As the menu does: what is not there is slot A.
        Some(Self {
            good: slot("slot").unwrap_or(SystemSlot::A),
            trial: slot("trial").map(|slot| Trial { slot, used }),
        })
    }

    fn block(self) -> Vec<u8> {
        let mut variables = vec![("slot", self.good.as_str())];
        if let Some(trial) = self.trial {
            variables.push(("trial", trial.slot.as_str()));
            variables.push(("trial_left", if trial.used == Used::No { "1" } else { "0" }));
        }
        crate::plan::env_block(&variables)
    }

    /// From the ESP mounted at `esp`.
    pub fn read(esp: &Path) -> Result<Self, BootStateError> {
        let path = esp.join(ENV_FILE);
        let block = fs::read(&path).map_err(|source| io_error("read", &path, source))?;
        Self::parse(&block).ok_or(BootStateError::Block { path })
    }

    /// To the ESP mounted at `esp`, on the disk when this returns.
    pub fn write(self, esp: &Path) -> Result<(), BootStateError> {
        let path = esp.join(ENV_FILE);
        let write = || -> io::Result<()> {
            let mut file: File = OpenOptions::new().write(true).open(&path)?;
            file.write_all(&self.block())?;
            file.sync_all()
        };
        write().map_err(|source| io_error("write", &path, source))
    }
}

fn io_error(doing: &'static str, path: &Path, source: io::Error) -> BootStateError {
    BootStateError::Io { doing, path: path.to_owned(), source }
}

impl Record {
    pub fn load(path: &Path) -> Result<Self, BootStateError> {
        let text = fs::read_to_string(path).map_err(|source| io_error("read", path, source))?;
        toml::from_str(&text).map_err(|error| BootStateError::Record {
            path: path.to_owned(),
            detail: error.message().to_owned(),
        })
    }

    /// The slot that runs, by the kernel's command line.
    pub fn running(&self, cmdline: &str) -> Result<SystemSlot, BootStateError> {
        let root = cmdline.split_whitespace().find_map(|word| word.strip_prefix("root=UUID="));
        match root {
            Some(uuid) if uuid == self.slots[0] => Ok(SystemSlot::A),
            Some(uuid) if uuid == self.slots[1] => Ok(SystemSlot::B),
            _ => Err(BootStateError::Elsewhere { cmdline: cmdline.trim().to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(good: SystemSlot, trial: Option<(SystemSlot, Used)>) -> BootState {
        BootState { good, trial: trial.map(|(slot, used)| Trial { slot, used }) }
    }

    #[test]
    fn every_state_survives_its_block() {
        for written in [
            state(SystemSlot::A, None),
            state(SystemSlot::B, None),
            state(SystemSlot::A, Some((SystemSlot::B, Used::No))),
            state(SystemSlot::B, Some((SystemSlot::A, Used::Yes))),
        ] {
            assert_eq!(BootState::parse(&written.block()), Some(written));
        }
        for damaged in [&b""[..], b"# GRUB Environment Block\nslot=a\n", &[b'#'; ENV_SIZE]] {
            assert_eq!(BootState::parse(damaged), None);
        }
    }

    #[test]
    fn what_a_boot_means() {
        use SystemSlot::{A, B};
        for (name, state, running, meaning) in [
            ("after an installation", state(A, None), A, Boot::Ordinary),
            ("by hand", state(A, None), B, Boot::ByHand),
            ("an upgrade that waits", state(A, Some((B, Used::No))), A, Boot::Ordinary),
            ("the new one's first start", state(A, Some((B, Used::Yes))), B, Boot::OnTrial),
            ("it did not come up", state(A, Some((B, Used::Yes))), A, Boot::FellBack { from: B }),
            ("confirmed", state(B, None), B, Boot::Ordinary),
            ("upgrade back to A", state(B, Some((A, Used::Yes))), A, Boot::OnTrial),
            ("chosen by hand while it waits", state(A, Some((B, Used::No))), B, Boot::ByHand),
        ] {
            assert_eq!(state.judge(running), meaning, "{name}");
        }
    }

    #[test]
    fn the_block_is_written_in_place() {
        use std::os::unix::fs::MetadataExt;
        let esp = tempfile::tempdir().unwrap();
        fs::create_dir(esp.path().join("grub")).unwrap();
        let path = esp.path().join(ENV_FILE);
        assert!(
            state(SystemSlot::A, None).write(esp.path()).is_err(),
            "a block that is not there is not made here"
        );
        fs::write(&path, state(SystemSlot::A, None).block()).unwrap();
        let before = fs::metadata(&path).unwrap().ino();
        state(SystemSlot::B, None).write(esp.path()).unwrap();
        assert_eq!(BootState::read(esp.path()).unwrap().good, SystemSlot::B);
        assert_eq!(fs::metadata(&path).unwrap().ino(), before);
    }

    #[test]
    fn the_running_slot_is_the_one_the_kernel_was_told() {
        let record: Record =
            toml::from_str("slots = [\"aa\", \"bb\"]\nesp = [\"1\"]\ndom0_mib = 1024\n").unwrap();
        assert_eq!(record.running("placeholder root=UUID=bb rw").unwrap(), SystemSlot::B);
        assert!(record.running("root=/dev/vda").is_err());
    }
}
