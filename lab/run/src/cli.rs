//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Runs an orchestrator with hosts on this machine until Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "xenith-run", version)]
pub struct Arguments {
    /// What the hosts are
    #[arg(long, value_enum, default_value = "auto")]
    pub kind: Kind,
    /// How many of them, for lab and sim
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    pub hosts: u8,
    /// Port of the orchestrator
    #[arg(long, default_value_t = 8443)]
    pub port: u16,
    /// Where data is kept between runs [default: ~/.local/share/xenith/run]
    #[arg(long)]
    pub data: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// This machine if it is a Xen host, else a lab host
    Auto,
    /// This machine, which must be a Xen dom0
    Local,
    /// Real Xen hosts inside QEMU
    Lab,
    /// Simulated hosts
    Sim,
}

pub fn parse() -> Arguments {
    Arguments::parse()
}
