//! The command line.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use xenith_lab::Progress;

use crate::iso;
use crate::tree::{self, Inputs, Locking};

/// Builds the installer medium.
#[derive(Debug, Parser)]
#[command(name = "xenith-iso", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the medium, its hash, signature and list of packages
    Build {
        #[command(flatten)]
        programs: Programs,
        /// The folder for the results
        #[arg(long, default_value = ".")]
        out: PathBuf,
    },
    /// Take the newest packages of Debian as the locked ones
    Lock {
        #[command(flatten)]
        programs: Programs,
    },
}

#[derive(Debug, clap::Args)]
struct Programs {
    /// The folder with xenith-agent and xenith-installer, as cargo builds them
    #[arg(long)]
    agent: PathBuf,
    /// The folder with xenith-orchestrator and xenith
    #[arg(long)]
    programs: PathBuf,
    /// How hard squashfs compresses: 1 is quick, 22 is small
    #[arg(long, default_value_t = 15)]
    level: u8,
}

impl Programs {
    fn inputs(&self, locking: Locking) -> Result<Inputs> {
        Inputs::new(&self.agent, &self.programs, self.level, locking)
    }
}

/// The whole program.
pub async fn main() -> Result<()> {
    let progress = Progress::stderr();
    match Cli::parse().command {
        Command::Build { programs, out } => {
            let cooked = tree::ensure(&programs.inputs(Locking::Strict)?, &progress).await?;
            std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
            let medium = iso::build(&cooked, &out)?;
            println!("{}", medium.path.display());
            println!("{} bytes, SHA-256 {}", medium.bytes, medium.sha256);
        }
        Command::Lock { programs } => {
            let cooked = tree::ensure(&programs.inputs(Locking::Renew)?, &progress).await?;
            let path = crate::lock::path();
            std::fs::copy(cooked.versions(), &path)
                .with_context(|| format!("cannot write {}", path.display()))?;
            println!("{} has the versions of today; commit it", path.display());
        }
    }
    Ok(())
}
