//! From nothing to a running product, and back.

use std::path::Path;

use anyhow::{Result, bail};
use xenith_lab::Progress;
use xenith_orchestrator_client::Client;

use crate::bridge::Bridges;
use crate::cli::{Arguments, Kind};
use crate::host::{self, Hosts};
use crate::orchestrator::Orchestrator;
use crate::place::Place;
use crate::stop::Stop;
use crate::welcome;

pub async fn run(arguments: &Arguments) -> Result<()> {
    let mut stop = Stop::listen()?;
    let place = Place::find(arguments.data.as_deref())?;
    let progress = Progress::stderr();
    let kind = resolve(arguments.kind, Machine::this())?;
    progress.say("starting the orchestrator; usually 2 s");
    let mut orchestrator = Orchestrator::start(&place, arguments.port).await?;
    // At once: the first boot of a host takes long, and who ends it has seen the password all the same.
    welcome::access(&orchestrator, arguments.port);
    let starting = async {
        let hosts = start_hosts(&place, &orchestrator.client, arguments, kind, &progress).await?;
        progress.say("waiting until the hosts are heard; usually 5 s");
        host::wait_connected(&orchestrator.client, hosts.count()).await?;
        let bridges = if kind == Kind::Local { Bridges::of_this_machine() } else { Bridges::ours() };
        let nic = bridges.ensure_network(&orchestrator.client).await?;
        Ok::<_, anyhow::Error>((hosts, nic))
    };
    let started = tokio::select! {
        started = starting => started,
        () = stop.asked() => {
            // What was being started goes with its handle.
            return orchestrator.stop().await;
        }
    };
    let (hosts, nic) = match started {
        Ok(started) => started,
        Err(error) => {
            orchestrator.stop().await?;
            return Err(error);
        }
    };
    welcome::say(&place, &orchestrator, arguments.port, (kind, &nic));
    let ended = tokio::select! {
        () = stop.asked() => None,
        why = orchestrator.ended() => Some(why),
    };
    progress.say("stopping; usually 15 s, again Ctrl-C cuts the power");
    let stopping = async {
        hosts.stop(&progress).await;
        match ended {
            Some(why) => bail!("{why}; its log is in {}", place.data.join("orchestrator.log").display()),
            None => orchestrator.stop().await,
        }
    };
    tokio::select! {
        result = stopping => result,
        () = stop.asked() => Ok(()),
    }
}

/// What of this machine decides which hosts can be run on it.
#[derive(Debug, Clone, Copy)]
struct Machine {
    user: User,
    xen: Xen,
    qemu: Qemu,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    Root,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Xen {
    Dom0,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Qemu {
    Installed,
    Missing,
}

impl Machine {
    fn this() -> Self {
        // Xen lists the control domain's powers here, and nowhere else is there such a file.
        let capabilities = std::fs::read_to_string("/proc/xen/capabilities").unwrap_or_default();
        Self {
            user: if is_root() { User::Root } else { User::Other },
            xen: if capabilities.contains("control_d") { Xen::Dom0 } else { Xen::None },
            qemu: if on_path("qemu-system-x86_64") { Qemu::Installed } else { Qemu::Missing },
        }
    }
}

fn resolve(kind: Kind, machine: Machine) -> Result<Kind> {
    match (kind, machine.xen) {
        (Kind::Auto | Kind::Local, Xen::Dom0) if machine.user == User::Other => bail!(
            "this machine is a Xen dom0, and only root may use it: run it with sudo, or `make run HOSTS=1` (a Xen host \
             in QEMU), or `make run HOSTS=sim`"
        ),
        (Kind::Auto | Kind::Local, Xen::Dom0) => Ok(Kind::Local),
        (Kind::Local, Xen::None) => bail!("this machine is not a Xen dom0; use the kind lab, or sim"),
        (Kind::Auto | Kind::Lab, _) if machine.qemu == Qemu::Installed => Ok(Kind::Lab),
        (Kind::Auto | Kind::Lab, _) => bail!(
            "there is no Xen here and no qemu-system-x86_64 to run one in; install it, or run `make run HOSTS=sim`"
        ),
        (Kind::Sim, _) => Ok(Kind::Sim),
    }
}

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        status.lines().any(|line| {
            line.strip_prefix("Uid:").is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0"))
        })
    })
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| Path::new(&folder).join(program).is_file())
}

async fn start_hosts(
    place: &Place,
    client: &Client,
    arguments: &Arguments,
    kind: Kind,
    progress: &Progress,
) -> Result<Hosts> {
    match kind {
        Kind::Sim => host::sim(place, client, arguments.port, arguments.hosts).await,
        Kind::Local => host::local(place, client, arguments.port).await,
        Kind::Lab | Kind::Auto => host::lab(place, client, arguments.hosts, progress).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_hosts_are_follows_from_the_machine() {
        use super::Qemu::{Installed, Missing};
        use super::User::{Other, Root};
        let machine = |user, xen, qemu| Machine { user, xen, qemu };
        let table: [(&str, Kind, Machine, Result<Kind, &str>); 10] = [
            ("a dom0", Kind::Auto, machine(Root, Xen::Dom0, Missing), Ok(Kind::Local)),
            ("a dom0, somebody", Kind::Auto, machine(Other, Xen::Dom0, Installed), Err("sudo")),
            ("a dom0, asked for, somebody", Kind::Local, machine(Other, Xen::Dom0, Missing), Err("sudo")),
            (
                "a dom0 that is to run a lab host",
                Kind::Lab,
                machine(Other, Xen::Dom0, Installed),
                Ok(Kind::Lab),
            ),
            ("no Xen", Kind::Auto, machine(Other, Xen::None, Installed), Ok(Kind::Lab)),
            ("no Xen, no QEMU", Kind::Auto, machine(Other, Xen::None, Missing), Err("HOSTS=sim")),
            ("no QEMU", Kind::Lab, machine(Root, Xen::None, Missing), Err("qemu-system-x86_64")),
            ("no Xen, asked for", Kind::Local, machine(Root, Xen::None, Installed), Err("not a Xen dom0")),
            ("simulated", Kind::Sim, machine(Other, Xen::None, Missing), Ok(Kind::Sim)),
            ("simulated on a dom0", Kind::Sim, machine(Other, Xen::Dom0, Missing), Ok(Kind::Sim)),
        ];
        for (case, kind, machine, expected) in table {
            match (resolve(kind, machine), expected) {
                (Ok(kind), Ok(expected)) => assert_eq!(kind, expected, "{case}"),
                (Err(error), Err(word)) => assert!(error.to_string().contains(word), "{case}: {error}"),
                (result, _) => panic!("{case}: {result:?}"),
            }
        }
    }
}
