//! The orchestrator's settings: a TOML file, every field with a default.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use xenith_common_files::{SettingsError, settings};
use xenith_orchestrator_types::Role;

/// Where the settings are looked for when no other file is named.
pub const DEFAULT_PATH: &str = "/etc/xenith/orchestrator.toml";

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub listen: SocketAddr,
    /// Store and master key.
    pub data: PathBuf,
    /// Names and addresses under which people and hosts reach us; they go into the certificate.
    pub names: Vec<String>,
    pub addresses: Vec<IpAddr>,
    /// `host:port` in join tokens, as hosts reach us. Empty: the first name or address, and the port of `listen`.
    pub join_address: String,
    /// A certificate chain and its key (PEM) for browsers and the CLI, instead of our own.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// Roles whose users need two-factor sign-in, such as `["admin"]`: until they have it, only their own account is open
    /// to them.
    pub require_second_factor: Vec<Role>,
    /// Where the agent of the machine that we run on takes its join token from: while no host has joined, it finds one
    /// there, and joins by itself.
    pub first_host_token: Option<PathBuf>,
    /// Not to be set in the file; tests have small ones.
    #[serde(skip)]
    pub limits: Limits,
}

/// How often one caller may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of one user, or of one address where nobody has signed in. A busy browser tab makes ten a second, a script in a
    /// loop a few hundred; more is a mistake or an attack.
    pub calls: Allowance,
    /// Of one address, of calls that change something without being signed in, which is signing in. A whole office may
    /// come in through one address in the morning; who fails is slowed much further.
    pub changes_of_strangers: Allowance,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// That may be kept up.
    pub per_second: u32,
    /// At once.
    pub burst: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls: Allowance { per_second: 500, burst: 2000 },
            changes_of_strangers: Allowance { per_second: 5, burst: 20 },
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 8443)),
            data: PathBuf::from("/var/lib/xenith-orchestrator"),
            names: vec!["localhost".to_owned()],
            addresses: vec![IpAddr::from([127, 0, 0, 1])],
            join_address: String::new(),
            certificate: None,
            key: None,
            require_second_factor: Vec::new(),
            first_host_token: None,
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// Reads `path`; without one, [`DEFAULT_PATH`] where it exists, else the defaults.
    pub fn load(path: Option<&Path>) -> Result<Self, SettingsError> {
        settings(path, Path::new(DEFAULT_PATH))
    }

    /// What goes into join tokens when nothing else is said.
    #[must_use]
    pub fn join_address(&self, port: u16) -> String {
        if !self.join_address.is_empty() {
            return self.join_address.clone();
        }
        let address = self.addresses.first().map(|address| match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        });
        let host = self.names.iter().find(|name| *name != "localhost").cloned().or(address);
        format!("{}:{port}", host.unwrap_or_else(|| "localhost".to_owned()))
    }
}
