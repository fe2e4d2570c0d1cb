//! `xenith-lab`: the command line over the library. Exit status 1 on an error, 2 on a wrong command line;
//! `exec` ends with the command's own.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use xenith_common_tasks::Stop;

use crate::{Disks, HostSpec, LabError, LabHost, LabPaths, Progress, Switch, attach, rootfs};

const SHUT_DOWN_LIMIT: Duration = Duration::from_secs(90);
const A_DAY: Duration = Duration::from_secs(24 * 3600);

/// Real Xen hosts in QEMU.
#[derive(Debug, Parser)]
#[command(name = "xenith-lab", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Order,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Build the hosts' root file system if the cache has none, and print its folder
    Rootfs,
    /// Start hosts and keep them until Ctrl-C
    Up {
        /// How many: xen1, xen2 and so on
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
        hosts: u8,
        /// One host of this name instead
        #[arg(long, conflicts_with = "hosts")]
        name: Option<String>,
        /// Empty disks
        #[arg(long)]
        fresh: bool,
        /// Memory of each host
        #[arg(long, default_value_t = 3072)]
        memory_mib: u32,
        /// The part of it that dom0 gets
        #[arg(long, default_value_t = 1024)]
        dom0_mib: u32,
    },
    /// Run a command in the dom0 of a running host
    Exec {
        host: String,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Copy a file into a running host
    Put {
        host: String,
        local: PathBuf,
        path: String,
        /// File mode, octal
        #[arg(long, default_value = "755", value_parser = |text: &str| u32::from_str_radix(text, 8))]
        mode: u32,
    },
    /// Copy a file out of a running host to standard output
    Get { host: String, path: String },
    /// Print the ssh command for a running host
    Ssh { host: String },
}

/// The whole program.
pub async fn main() -> ExitCode {
    match run(Cli::parse().command, &LabPaths::from_env()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lab: {error}");
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                eprintln!("lab:   because: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(order: Order, paths: &LabPaths) -> Result<ExitCode, LabError> {
    let progress = Progress::stderr();
    match order {
        Order::Rootfs => println!("{}", rootfs::ensure(paths, &progress).await?.dir().display()),
        Order::Up { hosts, name, fresh, memory_mib, dom0_mib } => {
            let disks = if fresh { Disks::Fresh } else { Disks::Keep };
            let mut specs: Vec<_> = (1..=hosts).map(HostSpec::numbered).collect();
            for spec in &mut specs {
                spec.disks = disks;
                spec.sizes.memory_mib = memory_mib;
                spec.sizes.dom0_mib = dom0_mib;
            }
            if let (Some(name), [spec]) = (name, specs.as_mut_slice()) {
                spec.name = name;
            }
            let lan = Switch::start(specs.len())?;
            for (port, spec) in (1..).zip(&mut specs) {
                spec.lan = Some(lan.port(port));
            }
            return up(paths, specs, &progress).await;
        }
        Order::Exec { host, command } => {
            let output = attach(paths, &host)?.exec(&command.join(" "), A_DAY).await?;
            // A reader that went away is no failure of the command.
            let _ = std::io::stdout().write_all(&output.stdout);
            let _ = std::io::stderr().write_all(&output.stderr);
            return Ok(ExitCode::from(u8::try_from(output.status).unwrap_or(1)));
        }
        Order::Put { host, local, path, mode } => {
            attach(paths, &host)?.put(&local, &path, mode, A_DAY).await?;
        }
        Order::Get { host, path } => {
            let content = attach(paths, &host)?.get(&path, A_DAY).await?;
            let _ = std::io::stdout().write_all(&content);
        }
        Order::Ssh { host } => println!("{}", attach(paths, &host)?.command_line()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Stops on Ctrl-C or SIGTERM at any time, also in the middle of a start: what was started goes with us.
async fn up(paths: &LabPaths, specs: Vec<HostSpec>, progress: &Progress) -> Result<ExitCode, LabError> {
    let mut stop = Stop::listen()
        .map_err(|source| LabError::Io { doing: "could not listen for signals".into(), source })?;
    let mut running = Vec::new();
    for spec in specs {
        let host = tokio::select! {
            host = LabHost::boot(paths, spec, progress) => host?,
            () = stop.asked() => return Ok(ExitCode::from(130)),
        };
        println!(
            "{}\n  agent    {}\n  ssh      {}\n  console  {}",
            host.name(),
            host.agent_address(),
            host.shell().command_line(),
            host.console().path().display()
        );
        running.push(host);
    }
    println!("Ctrl-C stops everything; the disks stay for the next start.");
    stop.asked().await;
    progress.say("shutting down; usually 10 s, again Ctrl-C cuts the power");
    let shut_down = async {
        for host in &mut running {
            if let Err(error) = host.shut_down(SHUT_DOWN_LIMIT).await {
                progress.say(error.to_string());
            }
        }
    };
    tokio::select! {
        () = shut_down => {}
        () = stop.asked() => progress.say("power cut"),
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_command_keeps_its_own_dashes() {
        let cli = Cli::parse_from(["xenith-lab", "exec", "xen1", "xl", "list", "-l"]);
        assert!(matches!(cli.command, Order::Exec { command, .. } if command == ["xl", "list", "-l"]));
    }
}
