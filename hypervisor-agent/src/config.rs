//! The agent's settings: a TOML file, every field with a default that fits a Debian host.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::Deserialize;

/// Where the settings are looked for when no other file is named.
pub const DEFAULT_PATH: &str = "/etc/xenith/agent.toml";

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the orchestrator reaches this agent.
    pub listen: SocketAddr,
    /// What is told to the orchestrator as this agent's address; empty: the address it calls from, and the
    /// port of `listen`.
    pub advertise: String,
    /// Journal, keys, identity.
    pub state: PathBuf,
    /// Kernels and ramdisks that VMs may boot directly.
    pub boot: PathBuf,
    /// The local SR.
    pub storage: PathBuf,
    /// Holds the join token of a host that has not joined yet; removed when it is spent.
    pub join_token: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        let state = PathBuf::from("/var/lib/xenith");
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8444)),
            advertise: String::new(),
            boot: state.join("boot"),
            storage: state.join("sr"),
            state,
            join_token: PathBuf::from("/etc/xenith/join-token"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path}: {detail}")]
    Syntax { path: PathBuf, detail: String },
}

impl Config {
    /// Reads `path`; without one, [`DEFAULT_PATH`] where it exists, else the defaults.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let (path, must_exist) = path.map_or((Path::new(DEFAULT_PATH), false), |path| (path, true));
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => {
                return Ok(Self::default());
            }
            Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }),
        };
        toml::from_str(&text)
            .map_err(|error| ConfigError::Syntax { path: path.to_owned(), detail: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_settings_are_refused_with_their_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        fs::write(&path, "listen = \"127.0.0.1:9000\"\nlisen = 1\n").unwrap();
        let error = Config::load(Some(&path)).unwrap_err().to_string();
        assert!(error.contains("lisen") && error.contains("line 2"), "{error}");
        fs::write(&path, "listen = \"127.0.0.1:9000\"\n").unwrap();
        assert_eq!(Config::load(Some(&path)).unwrap().listen.port(), 9000);
        assert!(Config::load(Some(&folder.path().join("none"))).is_err());
    }
}
