//! The hosts: this machine, real Xen in QEMU, or simulated ones.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use tokio::process::Child;
use xenith_lab::agent::{AgentFile, install_agent};
use xenith_lab::{HostSpec, LabError, LabHost, LabPaths, Progress, Switch, guest};
use xenith_orchestrator_api::host;
use xenith_orchestrator_client::Client;
use xenith_orchestrator_types::ListRequest;
use xenith_orchestrator_types::host::{AddHost, HostAddress, HostPeerAddress, HostStatus};

use crate::child;
use crate::place::Place;

/// An agent closes its streams and its hypervisor in a second; a busy machine gets more.
const END: Duration = Duration::from_secs(10);
const SHUT_DOWN: Duration = Duration::from_secs(60);
/// Emulation under load: an agent is up in seconds on an idle machine.
const CONNECT: Duration = Duration::from_secs(180);
const COMMAND: Duration = Duration::from_secs(60);

/// What runs, in the order of its start, and how it is ended. Filled while hosts are started, so that an end in the middle
/// finds those that are up.
#[derive(Default)]
pub struct Hosts {
    lab: Vec<LabHost>,
    agents: Vec<Agent>,
    /// Between the lab hosts, as long as they run.
    lan: Option<Switch>,
}

struct Agent {
    name: String,
    process: Child,
}

async fn join_token(client: &Client, name: &str) -> Result<String> {
    let request = AddHost { name: Some(name.to_owned()), pool: None, minutes: 60 };
    Ok(client.call::<host::Add>(&request).await?.token)
}

async fn known_hosts(client: &Client) -> Result<Vec<xenith_orchestrator_types::host::Host>> {
    let all = ListRequest { limit: 1000, ..ListRequest::default() };
    Ok(client.call::<host::List>(&all).await?.items)
}

/// Waits until as many hosts are heard.
pub async fn wait_connected(client: &Client, wanted: usize) -> Result<()> {
    let begun = Instant::now();
    loop {
        let hosts = known_hosts(client).await?;
        if hosts.iter().filter(|host| host.status == HostStatus::Connected).count() >= wanted {
            return Ok(());
        }
        if begun.elapsed() > CONNECT {
            let problems: Vec<String> = hosts
                .iter()
                .filter_map(|host| Some(format!("{}: {}", host.name, host.problem.as_deref()?)))
                .collect();
            bail!("not all hosts are heard after {} s; {}", CONNECT.as_secs(), problems.join("; "));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Real Xen inside QEMU, its disks kept from run to run.
pub async fn lab(
    place: &Place,
    client: &Client,
    count: u8,
    (hosts, progress): (&mut Hosts, &Progress),
) -> Result<()> {
    let paths = LabPaths::from_env();
    let binary = place.lab_agent()?;
    let mut specs: Vec<_> = (1..=count).map(HostSpec::numbered).collect();
    let lan = Switch::start(specs.len())?;
    for (port, spec) in (1..).zip(&mut specs) {
        spec.lan = Some(lan.port(port));
    }
    hosts.lan = Some(lan);
    for spec in specs {
        // Up from here on, and so shut down whatever becomes of the rest.
        hosts.lab.push(LabHost::boot(&paths, spec, progress).await.map_err(or_simulated)?);
        let host = hosts.lab.last().context("a host was started just now")?;
        progress.say(format!("putting the agent into {}; usually 20 s", host.name()));
        enrol(client, host, &binary).await.with_context(|| format!("{} cannot be enrolled", host.name()))?;
        guest::install(host.shell(), host.rootfs()).await?;
    }
    Ok(())
}

/// The way out comes last: a boot that failed brings the end of its console along.
fn or_simulated(error: LabError) -> anyhow::Error {
    anyhow!(
        "{:#}\nSimulated hosts need neither an image nor QEMU: make run HOSTS=sim",
        anyhow::Error::from(error)
    )
}

/// Installs the agent of this build. A host that has joined an orchestrator of another run joins anew.
async fn enrol(client: &Client, host: &LabHost, binary: &std::path::Path) -> Result<()> {
    let shell = host.shell();
    let identity = shell.exec("cat /var/lib/xenith/identity.json", COMMAND).await?;
    let known = known_hosts(client).await?;
    let joined = serde_json::from_slice::<serde_json::Value>(&identity.stdout)
        .ok()
        .and_then(|identity| identity.get("host")?.as_str().map(ToOwned::to_owned))
        .is_some_and(|id| known.iter().any(|host| host.id.to_string() == id));
    let settings = host.agent_settings();
    let mut files =
        vec![AgentFile { path: "/etc/xenith/agent.toml", content: settings.as_bytes(), mode: 0o644 }];
    let token;
    if !joined {
        shell.exec("rm -f /var/lib/xenith/identity.json", COMMAND).await?;
        token = join_token(client, host.name()).await?;
        files.push(AgentFile { path: "/etc/xenith/join-token", content: token.as_bytes(), mode: 0o600 });
    }
    install_agent(shell, binary, &files).await?;
    // Its port here may have been taken meanwhile.
    let moved = known.iter().find(|known| joined && known.name == host.name());
    if let Some(known) = moved.filter(|known| known.address != host.agent_address().to_string()) {
        let address = HostAddress { host: known.id.to_string(), address: host.agent_address().to_string() };
        client.call::<host::SetAddress>(&address).await?;
    }
    Ok(())
}

/// Lab hosts that are several reach each other on their LAN: the orchestrator's way to them ends at this machine.
pub async fn introduce(client: &Client, hosts: &Hosts) -> Result<()> {
    if hosts.lab.len() < 2 {
        return Ok(());
    }
    for host in &hosts.lab {
        let address = host.lan_address().map(|address| address.to_string());
        client
            .call::<host::SetPeerAddress>(&HostPeerAddress { host: host.name().to_owned(), address })
            .await?;
    }
    Ok(())
}

/// Simulated hosts: the real agent over a hypervisor in memory.
pub async fn sim(place: &Place, client: &Client, (port, count): (u16, u8), hosts: &mut Hosts) -> Result<()> {
    for number in 1..=count {
        let name = format!("sim{number}");
        // Each beside the orchestrator's port, the same in every run.
        let listen = format!("127.0.0.1:{}", port + 100 + u16::from(number));
        let state = place.data.join(&name);
        fs::create_dir_all(state.join("boot"))?;
        // What a simulated guest boots is never read, but it must be there as on a real host.
        fs::write(state.join("boot/lab-vmlinux"), b"")?;
        fs::write(state.join("boot/lab-initramfs"), b"")?;
        let host = Local { name, listen, state, hypervisor: "sim", port };
        hosts.agents.push(agent(place, client, host).await?);
    }
    Ok(())
}

/// This machine.
pub async fn local(place: &Place, client: &Client, port: u16, hosts: &mut Hosts) -> Result<()> {
    let state = place.data.join("local");
    let boot = state.join("boot");
    fs::create_dir_all(&boot)?;
    // The kernel that this machine runs is one that its guests can run.
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned();
    for file in ["vmlinuz", "initrd.img"] {
        let from = format!("/boot/{file}-{release}");
        fs::copy(&from, boot.join(file)).with_context(|| format!("cannot copy {from}"))?;
    }
    let name = fs::read_to_string("/proc/sys/kernel/hostname")?.trim().to_owned();
    let listen = format!("127.0.0.1:{}", port + 1);
    let host = Local { name, listen, state, hypervisor: "libxl", port };
    hosts.agents.push(agent(place, client, host).await?);
    Ok(())
}

struct Local {
    name: String,
    listen: String,
    state: PathBuf,
    hypervisor: &'static str,
    port: u16,
}

async fn agent(place: &Place, client: &Client, host: Local) -> Result<Agent> {
    let Local { name, listen, state, hypervisor, port } = host;
    let settings = state.join("agent.toml");
    let folder = state.display();
    let text = format!(
        "listen = \"{listen}\"\nadvertise = \"{listen}\"\nstate = \"{folder}\"\nboot = \"{folder}/boot\"\n\
         storage = \"{folder}/sr\"\njoin_token = \"{folder}/join-token\"\n"
    );
    fs::write(&settings, text).with_context(|| format!("cannot write {}", settings.display()))?;
    if !state.join("identity.json").exists() {
        // Join tokens carry the address for lab hosts; from here the orchestrator is on loopback.
        let token = join_token(client, &name).await?.replace("10.0.2.2:", "127.0.0.1:");
        fs::write(state.join("join-token"), token)?;
    }
    let log = fs::OpenOptions::new().create(true).append(true).open(state.join("agent.log"))?;
    let process = child::owned(&place.program("xenith-agent")?)
        .args(["run", "--hypervisor", hypervisor, "--config"])
        .arg(&settings)
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start the agent of {name} beside port {port}"))?;
    Ok(Agent { name, process })
}

impl Hosts {
    pub fn count(&self) -> usize {
        self.lab.len() + self.agents.len()
    }

    /// Ends them; their data stays. VMs of a local Xen run on: an agent that ends leaves them alone.
    pub async fn stop(mut self, progress: &Progress) {
        for host in &mut self.lab {
            if let Err(error) = host.shut_down(SHUT_DOWN).await {
                progress.say(error.to_string());
            }
        }
        let deadline = Instant::now() + END;
        for agent in &self.agents {
            if let Err(error) = child::ask(&agent.process).await {
                progress.say(format!("the agent of {} cannot be asked to end: {error}", agent.name));
            }
        }
        for Agent { name, process } in &mut self.agents {
            let left = deadline.saturating_duration_since(Instant::now());
            match child::ended(process, left).await {
                Ok(Some(_)) => {}
                Ok(None) => {
                    progress
                        .say(format!("the agent of {name} did not end within {} s: killed", END.as_secs()));
                }
                Err(error) => progress.say(format!("the agent of {name} cannot be ended: {error}")),
            }
        }
        // Last: the hosts were on it.
        drop(self.lan);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_cannot_be_had_ends_with_the_offer_of_simulated_ones() {
        let source = std::io::Error::other("no space");
        let errors = [
            LabError::Build { log: "/x/cook.log".into() },
            LabError::NotReady {
                name: "xen1".into(),
                after: Duration::from_secs(1),
                tail: "(XEN) panic".into(),
            },
            LabError::Io { doing: "could not create /x".into(), source },
        ];
        for (error, word) in errors.into_iter().zip(["/x/cook.log", "(XEN) panic", "no space"]) {
            let said = format!("{:#}", or_simulated(error));
            assert!(said.contains(word) && said.ends_with("make run HOSTS=sim"), "{said}");
        }
    }
}
