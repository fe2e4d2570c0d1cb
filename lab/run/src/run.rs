//! From nothing to a running product, and back.

use std::path::Path;

use anyhow::{Result, bail};
use xenith_lab::Progress;
use xenith_orchestrator_api::network;
use xenith_orchestrator_client::Client;
use xenith_orchestrator_types::network::CreateNetwork;

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
    let kind = resolve(arguments.kind)?;
    progress.say("starting the orchestrator; usually 2 s");
    let mut orchestrator = Orchestrator::start(&place, arguments.port).await?;
    // At once: the first boot of a host takes long, and who ends it has seen the password all the same.
    welcome::access(&orchestrator, arguments.port);
    let starting = async {
        let hosts = start_hosts(&place, &orchestrator.client, arguments, kind, &progress).await?;
        progress.say("waiting until the hosts are heard; usually 5 s");
        host::wait_connected(&orchestrator.client, hosts.count()).await?;
        ensure_network(&orchestrator.client).await?;
        Ok::<_, anyhow::Error>(hosts)
    };
    let hosts = tokio::select! {
        hosts = starting => hosts,
        () = stop.asked() => {
            // What was being started goes with its handle.
            return orchestrator.stop().await;
        }
    };
    let hosts = match hosts {
        Ok(hosts) => hosts,
        Err(error) => {
            orchestrator.stop().await?;
            return Err(error);
        }
    };
    welcome::say(&place, &orchestrator, arguments.port, kind);
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

fn resolve(kind: Kind) -> Result<Kind> {
    // Xen lists the control domain's powers here, and nowhere else is there such a file.
    let capabilities = std::fs::read_to_string("/proc/xen/capabilities").unwrap_or_default();
    let dom0 = capabilities.contains("control_d");
    match kind {
        Kind::Auto | Kind::Local if dom0 && !is_root() => bail!(
            "this machine is a Xen dom0, and only root may use it: run it with sudo, or `make run HOSTS=1` (a Xen host \
             in QEMU), or `make run HOSTS=sim`"
        ),
        Kind::Auto if dom0 => Ok(Kind::Local),
        Kind::Local if !dom0 => bail!("this machine is not a Xen dom0; use the kind lab, or sim"),
        Kind::Auto | Kind::Lab => {
            if on_path("qemu-system-x86_64") {
                Ok(Kind::Lab)
            } else {
                bail!(
                    "there is no Xen here and no qemu-system-x86_64 to run one in; install it, or run `make run HOSTS=sim`"
                )
            }
        }
        other => Ok(other),
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

/// The network that the commands to try name.
async fn ensure_network(client: &Client) -> Result<()> {
    let networks = client.all::<network::List, _>("").await?;
    if networks.iter().any(|network| network.name == "default") {
        return Ok(());
    }
    let network = CreateNetwork {
        name: "default".to_owned(),
        bridge: "xenbr0".to_owned(),
        pool: None,
        description: String::new(),
    };
    client.call::<network::Create>(&network).await?;
    Ok(())
}
