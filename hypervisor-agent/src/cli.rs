//! The command line. Exit status: 0 done; 1 failed (of `doctor`: something to look at); 2 a wrong command
//! line, or somebody has to do something first (of `doctor`: something is missing); 3 no Xen here.

use std::error::Error;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use xenith_common_text::chain;
use xenith_hypervisor_agent::backends::Kind;
use xenith_hypervisor_agent::config::Config;
use xenith_hypervisor_agent::management::Trials;
use xenith_hypervisor_agent::{doctor, enrol, instant, run};

/// Runs the VMs of one Xen host for a Xenith orchestrator.
#[derive(Debug, Parser)]
#[command(name = "xenith-agent", version, max_term_width = 100)]
struct Cli {
    /// Settings; without this, /etc/xenith/agent.toml where it exists
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Join with the token file if this host has not joined yet, then serve until told to stop
    Run {
        /// sim: a host that exists in memory only, set by the file that XENITH_SIM_CONFIG names
        #[arg(long, value_enum, default_value_t = Backend::Libxl)]
        hypervisor: Backend,
    },
    /// Join an orchestrator once; `xenith host add` prints the token
    Join {
        /// The token, or - to read it from standard input, where other users cannot see it
        token: String,
        /// Where the orchestrator reaches this host, if not where it calls from
        #[arg(long, value_name = "HOST:PORT")]
        address: Option<String>,
    },
    /// Serve a disk that is being restored; started by `run`, which says on standard input what
    #[command(hide = true)]
    ServeDisk,
    /// Put a management interface on trial, or go back from it; started by a timer that `run` armed
    #[command(hide = true)]
    Management {
        #[arg(value_enum)]
        what: Turn,
    },
    /// Say what this host has, lacks, and why it matters
    Doctor {
        #[arg(short, long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Backend {
    Libxl,
    Sim,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Turn {
    Try,
    Back,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// The whole program.
pub async fn main() -> ExitCode {
    let cli = Cli::parse();
    if matches!(cli.command, Command::ServeDisk) {
        return tokio::task::spawn_blocking(instant::serve_disk).await.unwrap_or(ExitCode::FAILURE);
    }
    if let Command::Management { what } = cli.command {
        return tokio::task::spawn_blocking(move || management(what)).await.unwrap_or(ExitCode::FAILURE);
    }
    let config = match Config::load(cli.config.as_deref()) {
        Ok(config) => config,
        Err(error) => return failed(&error, 2),
    };
    match cli.command {
        Command::Run { hypervisor } => {
            let kind = match hypervisor {
                Backend::Libxl => Kind::Libxl,
                Backend::Sim => Kind::Sim,
            };
            match run::run(&config, kind).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => failed(&error, error.exit_code()),
            }
        }
        Command::ServeDisk | Command::Management { .. } => {
            unreachable!("it was looked at before the settings")
        }
        Command::Join { token, address } => join(config, &token, address).await,
        Command::Doctor { output } => {
            let report = doctor::examine(&config).await;
            match output {
                Output::Table => print!("{report}"),
                Output::Json => println!("{}", report.to_json()),
            }
            ExitCode::from(report.exit_code())
        }
    }
}

/// Needs neither settings nor Xen: it is the way back of a host that nobody hears.
fn management(what: Turn) -> ExitCode {
    let trials = Trials::of_this_host();
    let done = match what {
        Turn::Try => trials.apply(),
        Turn::Back => trials.back(),
    };
    done.map_or_else(|error| failed(&error, 1), |()| ExitCode::SUCCESS)
}

async fn join(mut config: Config, token: &str, address: Option<String>) -> ExitCode {
    if let Some(address) = address {
        config.advertise = address;
    }
    let mut text = token.to_owned();
    if token == "-" {
        text.clear();
        if let Err(error) = std::io::stdin().take(4096).read_to_string(&mut text) {
            return failed(&error, 1);
        }
    }
    match enrol::join_once(&config, &text).await {
        Ok(identity) => {
            println!("joined as host {}; start the agent: systemctl start xenith-agent", identity.host());
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error, error.exit_code()),
    }
}

/// One line for a person, causes included. The log is for what happens while it runs.
fn failed(error: &dyn Error, code: u8) -> ExitCode {
    eprintln!("xenith-agent: {}", chain(error));
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
