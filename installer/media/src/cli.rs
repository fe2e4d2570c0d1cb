//! The command line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use xenith_lab::Progress;

use crate::tree::{self, Inputs, LEVEL, Locking};
use crate::{compare, iso};

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
    /// Build it twice, each time from Debian's packages on, and say what differs, if anything does
    Compare {
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
    #[arg(long, default_value_t = LEVEL)]
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
            ensure_folder(&out)?;
            show(&iso::build(&cooked, &out)?)?;
        }
        Command::Compare { programs, out } => {
            ensure_folder(&out)?;
            let medium = compare::twice(&programs.inputs(Locking::Strict)?, &out, &progress).await?;
            println!("two builds are the same bytes");
            show(&medium)?;
        }
        Command::Lock { programs } => {
            let cooked = tree::again(&programs.inputs(Locking::Renew)?, &progress).await?;
            let path = crate::lock::path();
            std::fs::copy(cooked.versions(), &path)
                .with_context(|| format!("cannot write {}", path.display()))?;
            tree::adopt(&cooked, &programs.inputs(Locking::Strict)?)?;
            println!("{} has the versions of today; commit it", path.display());
        }
    }
    Ok(())
}

fn ensure_folder(out: &Path) -> Result<()> {
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))
}

/// Fails for one that is too large, after it is there to be looked at.
fn show(medium: &iso::Medium) -> Result<()> {
    println!("{}", medium.path.display());
    println!("{} bytes, SHA-256 {}", medium.bytes, medium.sha256);
    medium.ensure_small()
}
