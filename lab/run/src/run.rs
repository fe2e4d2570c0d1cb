//! From nothing to a running product, and back.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use xenith_common_tasks::Stop;
use xenith_lab::Progress;
use xenith_orchestrator_client::Client;

use crate::bridge::{Bridges, Nic};
use crate::cli::{Arguments, Kind};
use crate::host::{self, Hosts};
use crate::orchestrator::Orchestrator;
use crate::place::Place;
use crate::welcome;

pub async fn run(arguments: &Arguments) -> Result<()> {
    let mut stop = Stop::listen().context("cannot listen for signals")?;
    let place = Place::find(arguments.data.as_deref())?;
    let progress = Progress::stderr();
    let kind = resolve(arguments.kind, Machine::this())?;
    progress.say("starting the orchestrator; usually 2 s");
    let mut orchestrator = Orchestrator::start(&place, arguments.port).await?;
    // At once: the first boot of a host takes long, and who ends it has seen the password all the same.
    welcome::access(&orchestrator, arguments.port);
    let mut hosts = Hosts::default();
    let setting = Setting { place: &place, arguments, kind, progress: &progress };
    let outcome = tokio::select! {
        fault = Box::pin(serve(&setting, &mut orchestrator, &mut hosts)) => Err(fault),
        () = stop.asked() => Ok(()),
    };
    progress.say("stopping; usually 15 s, again Ctrl-C cuts the power");
    let stopping = async {
        hosts.stop(&progress).await;
        orchestrator.stop().await
    };
    let stopped = tokio::select! {
        stopped = stopping => stopped,
        () = stop.asked() => Ok(()),
    };
    outcome.and(stopped)
}

/// One run.
struct Setting<'a> {
    place: &'a Place,
    arguments: &'a Arguments,
    kind: Kind,
    progress: &'a Progress,
}

/// Starts the hosts, says what can be done with them, and watches. Returns only with what went wrong; may be dropped at
/// any time: hosts that are up are in `hosts` then, and one that is still booting loses its power, as it has nothing
/// that could be lost.
async fn serve(setting: &Setting<'_>, orchestrator: &mut Orchestrator, hosts: &mut Hosts) -> anyhow::Error {
    let port = setting.arguments.port;
    match start(setting, &orchestrator.client, hosts).await {
        Ok(nic) => welcome::say(setting.place, orchestrator, port, (setting.kind, &nic)),
        Err(error) => return error,
    }
    let why = orchestrator.ended().await;
    anyhow!("{why}; its log is in {}", setting.place.data.join("orchestrator.log").display())
}

async fn start(setting: &Setting<'_>, client: &Client, hosts: &mut Hosts) -> Result<Nic> {
    let Setting { place, arguments, kind, progress } = *setting;
    match kind {
        Kind::Sim => host::sim(place, client, (arguments.port, arguments.hosts), hosts).await?,
        Kind::Local => host::local(place, client, arguments.port, hosts).await?,
        Kind::Lab | Kind::Auto => host::lab(place, client, arguments.hosts, (&mut *hosts, progress)).await?,
    }
    progress.say("waiting until the hosts are heard; usually 5 s");
    host::wait_connected(client, hosts.count()).await?;
    host::introduce(client, hosts).await?;
    let bridges = if kind == Kind::Local { Bridges::of_this_machine() } else { Bridges::ours() };
    bridges.ensure_network(client).await
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
