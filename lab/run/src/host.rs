//! The hosts: this machine, real Xen in QEMU, or simulated ones.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::process::Child;
use xenith_lab::agent::{AgentFile, install_agent};
use xenith_lab::{HostSpec, LabHost, LabPaths, Progress, Switch, guest};
use xenith_orchestrator_api::host;
use xenith_orchestrator_client::Client;
use xenith_orchestrator_types::ListRequest;
use xenith_orchestrator_types::host::{AddHost, HostAddress, HostStatus};

use crate::orchestrator::owned;
use crate::place::Place;

const SHUT_DOWN: Duration = Duration::from_secs(60);
/// Emulation under load: an agent is up in seconds on an idle machine.
const CONNECT: Duration = Duration::from_secs(180);
const COMMAND: Duration = Duration::from_secs(60);

/// What runs, and how it is ended.
pub enum Hosts {
    Lab(Vec<LabHost>),
    Agents(Vec<Child>),
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
pub async fn lab(place: &Place, client: &Client, count: u8, progress: &Progress) -> Result<Hosts> {
    let paths = LabPaths::from_env();
    let binary = place.lab_agent()?;
    let mut specs: Vec<_> = (1..=count).map(HostSpec::numbered).collect();
    let lan = Switch::start(specs.len())?;
    for (port, spec) in (1..).zip(&mut specs) {
        spec.lan = Some(lan.port(port));
    }
    let mut hosts = Vec::new();
    for spec in specs {
        let host = LabHost::boot(&paths, spec, progress).await?;
        progress.say(format!("putting the agent into {}; usually 20 s", host.name()));
        enrol(client, &host, &binary).await.with_context(|| format!("{} cannot be enrolled", host.name()))?;
        guest::install(host.shell(), host.rootfs()).await?;
        hosts.push(host);
    }
    Ok(Hosts::Lab(hosts))
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

/// Simulated hosts: the real agent over a hypervisor in memory.
pub async fn sim(place: &Place, client: &Client, port: u16, count: u8) -> Result<Hosts> {
    let mut agents = Vec::new();
    for number in 1..=count {
        let name = format!("sim{number}");
        // Each beside the orchestrator's port, the same in every run.
        let listen = format!("127.0.0.1:{}", port + 100 + u16::from(number));
        let state = place.data.join(&name);
        fs::create_dir_all(state.join("boot"))?;
        // What a simulated guest boots is never read, but it must be there as on a real host.
        fs::write(state.join("boot/lab-vmlinux"), b"")?;
        fs::write(state.join("boot/lab-initramfs"), b"")?;
        agents.push(agent(place, client, &Local { name, listen, state, hypervisor: "sim", port }).await?);
    }
    Ok(Hosts::Agents(agents))
}

/// This machine.
pub async fn local(place: &Place, client: &Client, port: u16) -> Result<Hosts> {
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
    let agent = agent(place, client, &Local { name, listen, state, hypervisor: "libxl", port }).await?;
    Ok(Hosts::Agents(vec![agent]))
}

struct Local {
    name: String,
    listen: String,
    state: PathBuf,
    hypervisor: &'static str,
    port: u16,
}

async fn agent(place: &Place, client: &Client, host: &Local) -> Result<Child> {
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
        let token = join_token(client, name).await?.replace("10.0.2.2:", "127.0.0.1:");
        fs::write(state.join("join-token"), token)?;
    }
    let log = fs::OpenOptions::new().create(true).append(true).open(state.join("agent.log"))?;
    let child = owned(&place.program("xenith-agent")?)
        .args(["run", "--hypervisor", hypervisor, "--config"])
        .arg(&settings)
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start the agent of {name} beside port {port}"))?;
    Ok(child)
}

impl Hosts {
    pub fn count(&self) -> usize {
        match self {
            Self::Lab(hosts) => hosts.len(),
            Self::Agents(agents) => agents.len(),
        }
    }

    /// Ends them; their data stays.
    pub async fn stop(self, progress: &Progress) {
        match self {
            Self::Lab(hosts) => {
                for mut host in hosts {
                    if let Err(error) = host.shut_down(SHUT_DOWN).await {
                        progress.say(error.to_string());
                    }
                }
            }
            Self::Agents(agents) => {
                for mut agent in agents {
                    // VMs of a local Xen run on: an agent that ends leaves them alone.
                    if let Err(error) = agent.kill().await {
                        progress.say(error.to_string());
                    }
                }
            }
        }
    }
}
