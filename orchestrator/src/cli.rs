//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use xenith_orchestrator::config::Config;

/// Manages Xen hosts: the API, the schedule and the catalogue of one installation.
#[derive(Debug, Parser)]
#[command(name = "xenith-orchestrator", version)]
pub struct Arguments {
    /// The settings file [default: /etc/xenith/orchestrator.toml, where it exists]
    #[arg(long, global = true, env = "XENITH_ORCHESTRATOR_CONFIG")]
    pub config: Option<PathBuf>,
    /// Address and port to listen on, instead of the file's
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Folder of the store and the master key, instead of the file's
    #[arg(long, global = true)]
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
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring an orchestrator back from a repository that it was backed up into.
    ///
    /// The repository's key comes from XENITH_KEY (64 hex digits) or XENITH_PASSPHRASE, the master key from
    /// XENITH_MASTER_KEY or the file master.key in the data folder, the keys of S3 from AWS_ACCESS_KEY_ID and
    /// AWS_SECRET_ACCESS_KEY. The data folder (--data, or the settings file's) must have no
    /// store. Hosts and VMs are not touched.
    Restore(Restore),
    /// Print the master key, to be kept on paper: no backup has it, and none can be restored without it.
    MasterKey,
}

#[derive(Debug, Args)]
pub struct Restore {
    /// A folder, or s3://bucket/prefix
    pub repository: String,
    /// The S3 server; without one, AWS
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    #[arg(long)]
    pub region: Option<String>,
    /// The first digits of a backup's id; the newest without
    #[arg(long, value_name = "ID")]
    pub backup: Option<String>,
    /// Which orchestrator, where several are in the repository: its disk's name
    #[arg(long, value_name = "NAME")]
    pub disk: Option<String>,
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
