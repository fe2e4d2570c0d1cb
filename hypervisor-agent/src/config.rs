//! The agent's settings: a TOML file, every field with a default that fits a Debian host.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use xenith_common_files::{SettingsError, settings};
use xenith_common_units::MemoryMiB;

use crate::migration::StreamCount;

/// Where the settings are looked for when no other file is named.
pub const DEFAULT_PATH: &str = "/etc/xenith/agent.toml";

const PORT: u16 = 8444;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the orchestrator reaches this agent.
    pub listen: SocketAddr,
    /// Where disks are uploaded to, with a ticket of the orchestrator. Unset: the address of `listen` and the port
    /// after it (8445), any free port when `listen` has another than 8444.
    pub uploads: Option<SocketAddr>,
    /// What is told to the orchestrator as this agent's address; empty: the address it calls from, and the
    /// port of `listen`.
    pub advertise: String,
    /// Journal, keys, identity, and the script that libxl runs for disks and NICs.
    pub state: PathBuf,
    /// Kernels and ramdisks that VMs may boot directly.
    pub boot: PathBuf,
    /// The local SR.
    pub storage: PathBuf,
    /// Holds the join token of a host that has not joined yet; removed when it is spent.
    pub join_token: PathBuf,
    /// The shell that an administrator gets over the orchestrator: program and arguments. Empty: none is given.
    pub host_shell: Vec<String>,
    /// dom0 is ballooned down to make room for guests, never below this (`"1GiB"`). Unset: its size is fixed
    /// by `dom0_mem=` on Xen's command line, as we recommend.
    #[serde(deserialize_with = "memory")]
    pub dom0_memory_min: Option<MemoryMiB>,
    /// The running kernel, unpacked, for helper VMs. Unset: that in /boot, which Xen unpacks at each start.
    pub helper_kernel: Option<PathBuf>,
    /// Datastores of VMware that are mounted here, by the names they have there: imports read their files where they lie,
    /// not over the network.
    pub datastores: BTreeMap<String, PathBuf>,
    /// The most connections that the memory of a VM goes over when it moves to another host, or comes from one: 1 to 8.
    /// The smaller number of the two hosts counts. Unset: as many as dom0 has processors, at most 4.
    pub memory_streams: Option<StreamCount>,
}

fn memory<'de, D: Deserializer<'de>>(from: D) -> Result<Option<MemoryMiB>, D::Error> {
    String::deserialize(from)?.parse().map(Some).map_err(serde::de::Error::custom)
}

impl Default for Config {
    fn default() -> Self {
        let state = PathBuf::from("/var/lib/xenith");
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], PORT)),
            uploads: None,
            advertise: String::new(),
            boot: state.join("boot"),
            storage: state.join("sr"),
            state,
            join_token: PathBuf::from("/etc/xenith/join-token"),
            host_shell: vec!["/bin/bash".to_owned(), "--login".to_owned()],
            dom0_memory_min: None,
            helper_kernel: None,
            datastores: BTreeMap::new(),
            memory_streams: None,
        }
    }
}

impl Config {
    /// Where uploads are taken, by an agent that serves on `address`.
    #[must_use]
    pub fn uploads(&self, address: SocketAddr) -> SocketAddr {
        let port = if address.port() == PORT { PORT + 1 } else { 0 };
        self.uploads.unwrap_or_else(|| SocketAddr::new(address.ip(), port))
    }

    /// The most connections of one memory.
    #[must_use]
    pub fn streams(&self) -> StreamCount {
        self.memory_streams.unwrap_or_else(StreamCount::of_host)
    }

    /// What is told to the orchestrator as our address; an empty host stands for the address that we call from.
    #[must_use]
    pub fn advertised(&self) -> String {
        if self.advertise.is_empty() { format!(":{}", self.listen.port()) } else { self.advertise.clone() }
    }

    /// Reads `path`; without one, [`DEFAULT_PATH`] where it exists, else the defaults.
    pub fn load(path: Option<&Path>) -> Result<Self, SettingsError> {
        settings(path, Path::new(DEFAULT_PATH))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_example_shows_the_defaults() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/agent.toml");
        assert_eq!(Config::load(Some(&example)).unwrap(), Config::default());
    }

    #[test]
    fn unknown_settings_are_refused_with_their_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        fs::write(&path, "listen = \"127.0.0.1:9000\"\nlisen = 1\n").unwrap();
        let error = Config::load(Some(&path)).unwrap_err().to_string();
        assert!(error.contains("lisen") && error.contains("line 2"), "{error}");
        fs::write(&path, "listen = \"127.0.0.1:9000\"\ndom0_memory_min = \"1GiB\"\n").unwrap();
        let config = Config::load(Some(&path)).unwrap();
        assert_eq!((config.listen.port(), config.advertised().as_str()), (9000, ":9000"));
        assert_eq!(config.dom0_memory_min.map(MemoryMiB::mib), Some(1024));
        assert!(Config::load(Some(&folder.path().join("none"))).is_err());
        fs::write(&path, "memory_streams = 2\n").unwrap();
        assert_eq!(Config::load(Some(&path)).unwrap().streams().get(), 2);
        fs::write(&path, "memory_streams = 9\n").unwrap();
        assert!(Config::load(Some(&path)).is_err());
    }
}
