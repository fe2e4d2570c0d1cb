//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Parser;
use xenith_orchestrator::config::Config;

/// Manages Xen hosts: the API, the schedule and the catalogue of one installation.
#[derive(Debug, Parser)]
#[command(name = "xenith-orchestrator", version)]
pub struct Arguments {
    /// The settings file [default: /etc/xenith/orchestrator.toml, where it exists]
    #[arg(long, env = "XENITH_ORCHESTRATOR_CONFIG")]
    pub config: Option<PathBuf>,
    /// Address and port to listen on, instead of the file's
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Folder of the store and the master key, instead of the file's
    #[arg(long)]
    data: Option<PathBuf>,
    /// A name that people reach this orchestrator by; may be repeated
    #[arg(long = "name")]
    names: Vec<String>,
    /// An address that people reach this orchestrator by; may be repeated
    #[arg(long = "address")]
    addresses: Vec<IpAddr>,
    /// host:port for join tokens, as hosts reach this orchestrator
    #[arg(long)]
    join_address: Option<String>,
}

pub fn parse() -> Arguments {
    Arguments::parse()
}

impl Arguments {
    /// The file's settings with those of the command line over them.
    pub fn apply(&self, mut config: Config) -> Config {
        if let Some(listen) = self.listen {
            config.listen = listen;
        }
        if let Some(data) = &self.data {
            config.data.clone_from(data);
        }
        config.names.extend(self.names.iter().cloned());
        config.addresses.extend(self.addresses.iter().copied());
        if let Some(join_address) = &self.join_address {
            config.join_address.clone_from(join_address);
        }
        config
    }
}
