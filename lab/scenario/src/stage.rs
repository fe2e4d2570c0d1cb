//! The stage: one lab host with an agent that joined the scenario's orchestrator.
//!
//! The test owns all of it: the host's QEMU, the orchestrator's process, their folders. Nothing outlives it.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use xenith_hypervisor_agent_types::{Firmware, ObservedVm, Power};
use xenith_lab::agent::{AgentFile, agent_log, install_agent};
use xenith_lab::guest::{self, GuestKind, GuestView, kernel_arguments};
use xenith_lab::{
    Disks, HostSpec, LabHost, LabPaths, Progress, Rootfs, Shell, Switch, agent_settings, attach, rootfs,
};
use xenith_orchestrator_api::{host, vm};
use xenith_orchestrator_types::host::{Host, HostStatus};
use xenith_orchestrator_types::vm::Vm;

use crate::kept_host;
use crate::orchestrator::Orchestrator;
use crate::programs::Programs;

const POLL: Duration = Duration::from_millis(250);
const MINUTE: Duration = Duration::from_secs(60);
/// Limits are named for a machine as it mostly is, and one and the same was seen to be five times slower on another day: all
/// that is waited for here gets so many times its limit. A limit that the product promises is looked at besides.
pub const SLACK: u32 = 4;
/// A new host is heard a moment after it joined; under emulation TLS alone takes seconds.
const JOIN_LIMIT: Duration = Duration::from_secs(120);
/// From the agent's answer to the inventory, and from the guest's kernel to its facts, under emulation.
const SEE_LIMIT: Duration = Duration::from_secs(180);

/// The same through a firmware and a boot loader, whose every sector is a round trip to dom0.
const FIRMWARE_LIMIT: Duration = Duration::from_secs(25 * 60);

/// Everything a step works with.
#[derive(Debug)]
pub struct Stage {
    /// The host's name in the orchestrator.
    pub name: String,
    /// `None` for a host that another process keeps: its power is not ours to cut.
    pub host: Option<LabHost>,
    pub shell: Shell,
    pub orchestrator: Orchestrator,
    agent_config: String,
}

/// What a VM boots from.
#[derive(Debug, Clone, Copy)]
pub enum Boot {
    /// The lab's kernel and initramfs, which Xen loads.
    Direct(GuestKind),
    /// The CD of [`xenith_lab::write_boot_medium`], which is the VDI of this name, by the firmware of a whole machine.
    Medium(&'static str, Firmware),
}

impl Boot {
    /// From its start to its facts.
    const fn limit(&self) -> Duration {
        match self {
            Self::Direct(_) => SEE_LIMIT,
            Self::Medium(..) => FIRMWARE_LIMIT,
        }
    }
}

/// A VM to make.
#[derive(Debug, Clone, Copy)]
pub struct Guest {
    pub name: &'static str,
    pub boot: Boot,
    pub memory_mib: u64,
    /// The last number of its address on the host's bridge, 100 to 200.
    pub number: u8,
}

impl Guest {
    #[must_use]
    pub const fn new(name: &'static str, kind: GuestKind, number: u8) -> Self {
        Self { name, boot: Boot::Direct(kind), memory_mib: 128, number }
    }

    #[must_use]
    pub const fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 2, self.number)
    }

    /// Parameters of `vm.create`: one disk of 64 MiB, one NIC in the network `lan`.
    #[must_use]
    pub fn create(&self) -> Value {
        let (platform, hardware, graphics, on_reboot) = match self.boot {
            Boot::Direct(kind) => {
                let file = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
                let boot = json!({
                    "kernel": file(guest::KERNEL),
                    "ramdisk": file(guest::INITRAMFS),
                    "cmdline": kernel_arguments(Some(self.address())),
                });
                // A guest that resets itself is a finding, not a reason to go on.
                (json!({ "kind": kind.to_string(), "boot": boot }), json!({}), "none", "stop")
            }
            Boot::Medium(vdi, firmware) => {
                let platform = json!({ "kind": "hvm", "firmware": firmware, "boot_order": ["cdrom"] });
                (platform, json!({ "cd": { "iso": vdi } }), "vnc", "restart")
            }
        };
        json!({
            "name": self.name,
            "platform": platform,
            "hardware": hardware,
            "graphics": graphics,
            "vcpus": { "online": 1, "max": 1 },
            "memory": { "target": self.memory_mib, "max": self.memory_mib },
            "disks": [{ "size": 64 << 20 }],
            "nics": [{ "network": "lan" }],
            "on_crash": "stop",
            "on_reboot": on_reboot,
        })
    }
}

/// The host, if it is ours, the way into it, and what its agent has to be told.
type Place = (Option<LabHost>, Shell, String, Rootfs);

fn fresh(name: &str, number: u8) -> HostSpec {
    HostSpec { name: name.into(), disks: Disks::Fresh, ..HostSpec::numbered(number) }
}

async fn own_host(paths: &LabPaths, spec: HostSpec) -> Result<Place> {
    let host = LabHost::boot(paths, spec, &Progress::stderr()).await?;
    if let Some(why) = host.restarted() {
        eprintln!("    the host was started twice: {why}");
    }
    let (shell, settings, rootfs) = (host.shell().clone(), host.agent_settings(), host.rootfs().clone());
    Ok((Some(host), shell, settings, rootfs))
}

async fn cleaned(paths: &LabPaths, name: &str) -> Result<Place> {
    let shell = attach(paths, name)?;
    let settings = agent_settings(paths, name)?;
    let rootfs = rootfs::ensure(paths, &Progress::stderr()).await?;
    // An agent of an earlier run, its VMs and its identity are not this run's.
    let clean =
        "systemctl stop xenith-agent; for d in $(xl list | awk 'NR > 2 {print $2}'); do xl destroy $d; done
        find /var/lib/xenith -mindepth 1 -maxdepth 1 ! -name boot -exec rm -rf {} +";
    shell.exec(clean, 2 * MINUTE * SLACK).await?;
    Ok((None, shell, settings, rootfs))
}

/// Polls until `look` finds something, for [`SLACK`] times the limit. What it finds wrong ends the wait.
pub async fn until<T>(what: &str, limit: Duration, look: impl AsyncFn() -> Result<Option<T>>) -> Result<T> {
    let limit = limit * SLACK;
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "waited {} s in vain until {what}", limit.as_secs());
        tokio::time::sleep(POLL).await;
    }
}

impl Stage {
    /// Boots a host of this name with empty disks, or takes the [`kept_host`], puts guest and agent into it and starts
    /// an orchestrator. Not joined yet.
    pub async fn set(programs: &Programs, name: &str) -> Result<Self> {
        let paths = LabPaths::from_env();
        let place = match kept_host() {
            Some(kept) => cleaned(&paths, &kept).await?,
            None => own_host(&paths, fresh(name, 1)).await?,
        };
        Self::furnish("xen-lab", place, Orchestrator::new(programs).await?).await
    }

    /// Two hosts of one orchestrator, `xen1` and `xen2`, with a LAN between them, which is there as long as the switch.
    pub async fn pair(programs: &Programs, test: &str) -> Result<(Self, Self, Switch)> {
        let paths = LabPaths::from_env();
        let lan = Switch::start(2)?;
        let host = |number: u8| {
            let spec = fresh(&format!("{test}-{number}"), number);
            own_host(&paths, HostSpec { lan: Some(lan.port(usize::from(number))), ..spec })
        };
        let (one, other) = tokio::try_join!(host(1), host(2))?;
        let orchestrator = Orchestrator::new(programs).await?;
        let beside = orchestrator.beside();
        let one = Self::furnish("xen1", one, orchestrator);
        let (one, other) = tokio::try_join!(one, Self::furnish("xen2", other, beside))?;
        Ok((one, other, lan))
    }

    async fn furnish(name: &str, place: Place, orchestrator: Orchestrator) -> Result<Self> {
        let (host, shell, settings, rootfs) = place;
        guest::install(&shell, &rootfs).await?;
        // The kernel for helper VMs: emulated, Xen takes half a minute to unpack the one in /boot.
        let agent_config = format!("{settings}helper_kernel = \"{}\"\n", guest::KERNEL);
        Ok(Self { name: name.to_owned(), host, shell, orchestrator, agent_config })
    }

    /// A line more in the `agent.toml` of an agent that is not installed yet.
    #[must_use]
    pub fn with_setting(mut self, line: &str) -> Self {
        self.agent_config += line;
        self.agent_config.push('\n');
        self
    }

    /// Installs the agent with a join token, and waits until the orchestrator hears it.
    pub async fn enrol(&self, programs: &Programs) -> Result<Host> {
        let issued = self.orchestrator.call::<host::Add>(json!({ "name": self.name })).await?;
        let files = [
            AgentFile { path: "/etc/xenith/agent.toml", content: self.agent_config.as_bytes(), mode: 0o600 },
            AgentFile { path: "/etc/xenith/join-token", content: issued.token.as_bytes(), mode: 0o600 },
        ];
        install_agent(&self.shell, &programs.agent, &files).await?;
        // What was installed is not what a power cut tests.
        self.dom0("sync").await?;
        self.host_is(HostStatus::Connected, JOIN_LIMIT).await
    }

    /// Waits for the host's status.
    pub async fn host_is(&self, status: HostStatus, limit: Duration) -> Result<Host> {
        until(&format!("{} is {status:?}", self.name), limit, async || {
            let page = self.orchestrator.call::<host::List>(json!({})).await?;
            Ok(page.items.into_iter().find(|host| host.name == self.name && host.status == status))
        })
        .await
    }

    pub async fn vm(&self, name: &str) -> Result<Vm> {
        self.orchestrator.call::<vm::Get>(json!({ "vm": name })).await
    }

    /// Waits until what the host says of a VM satisfies `look`.
    pub async fn observed(
        &self,
        name: &str,
        what: &str,
        look: impl Fn(&ObservedVm) -> bool,
    ) -> Result<ObservedVm> {
        self.observed_within(SEE_LIMIT, name, what, look).await
    }

    async fn observed_within(
        &self,
        limit: Duration,
        name: &str,
        what: &str,
        look: impl Fn(&ObservedVm) -> bool,
    ) -> Result<ObservedVm> {
        let waited = until(&format!("{name} {what}"), limit, async || {
            Ok(self.vm(name).await?.observed.filter(|observed| look(observed)))
        })
        .await;
        match waited {
            Ok(observed) => Ok(observed),
            Err(error) => {
                let last = self.vm(name).await.map(|vm| format!("{:?}", vm.observed));
                Err(error.context(format!("last seen: {}", last.unwrap_or_default())))
            }
        }
    }

    /// Waits until the VM runs, and its guest has told its facts.
    pub async fn running(&self, guest: &Guest) -> Result<ObservedVm> {
        self.running_in(guest, |_| true).await
    }

    /// The same, in another domain than `before`.
    pub async fn running_anew(&self, guest: &Guest, before: &ObservedVm) -> Result<ObservedVm> {
        self.running_in(guest, |observed| observed.domid != before.domid).await
    }

    /// The same, in this domain: of a VM that has left another host, that one may still be told.
    pub async fn running_as(&self, guest: &Guest, domid: u32) -> Result<ObservedVm> {
        self.running_in(guest, |observed| observed.domid.is_some_and(|told| told.0 == domid)).await
    }

    /// Waits until the guest hears an answer to its ping: the first may be lost while the way to the other end is being found.
    pub async fn pings(&self, observed: &ObservedVm, other: Ipv4Addr) -> Result<()> {
        until(&format!("{} hears {other}", observed.name), MINUTE, async || {
            let said = self.view(observed)?.order(&format!("ping {other}"), MINUTE * SLACK).await?;
            Ok(said.starts_with("ok").then_some(()))
        })
        .await
    }

    async fn running_in(&self, guest: &Guest, domain: impl Fn(&ObservedVm) -> bool) -> Result<ObservedVm> {
        let address = guest.address().into();
        let up = |seen: &ObservedVm| seen.power == Power::Running && seen.guest.addresses.contains(&address);
        let limit = guest.boot.limit();
        let seen = self
            .observed_within(limit, guest.name, "runs and tells its address", |seen| up(seen) && domain(seen))
            .await?;
        ensure!(seen.managed && seen.incarnation.is_some() && seen.domid.is_some(), "{seen:?}");
        Ok(seen)
    }

    /// The guest of a VM, through xenstore.
    pub fn view(&self, observed: &ObservedVm) -> Result<GuestView<'_>> {
        let domid = observed.domid.with_context(|| format!("{} has no domain", observed.name))?;
        Ok(GuestView::new(&self.shell, domid.0))
    }

    /// Gives the guest an order that has to go well.
    pub async fn order(&self, observed: &ObservedVm, order: &str) -> Result<String> {
        let said = self.view(observed)?.order(order, 2 * MINUTE * SLACK).await?;
        if !said.starts_with("ok") {
            bail!("the guest {} says to {order:?}: {said}", observed.name);
        }
        Ok(said.trim_start_matches("ok").trim().to_owned())
    }

    /// Names this run of the guest's kernel: the same after a suspend and resume, another after a start.
    pub async fn boot_id(&self, observed: &ObservedVm) -> Result<String> {
        self.view(observed)?.read("data/xenith/boot").await?.context("the guest has told no boot id")
    }

    /// A command in dom0.
    pub async fn dom0(&self, command: &str) -> Result<String> {
        Ok(self.shell.run(command, 2 * MINUTE * SLACK).await?)
    }

    /// Ids of the domains of this name.
    pub async fn domains(&self, name: &str) -> Result<Vec<u32>> {
        let command = format!("xl list | awk '$1 == \"{name}\" {{print $2}}'");
        let text = self.dom0(&command).await?;
        text.split_whitespace().map(|id| id.parse().context("xl list has an odd id")).collect()
    }

    /// The end of both logs, for a step that failed.
    pub async fn logs(&self) -> String {
        let agent = agent_log(&self.shell, 40).await.unwrap_or_else(|error| error.to_string());
        format!("--- agent\n{agent}\n--- orchestrator\n{}", self.orchestrator.log_tail(25))
    }
}
