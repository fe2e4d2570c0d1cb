//! The trait, operation by operation.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use xenith_common_ids::DomId;
use xenith_common_units::{MacAddr, MemoryMiB, VcpuCount};
use xenith_hypervisor_agent_backend::{
    AskedBy, DomainEvents, Hypervisor, HypervisorError, Result, ShutdownRequest, Start,
};
use xenith_hypervisor_agent_libxl_sys::{libxl_device_disk, libxl_device_nic, libxl_error};
use xenith_hypervisor_agent_types::metrics::MachineUsage;
use xenith_hypervisor_agent_types::{
    CdDrive, ConsolePaths, CpuShare, DeathReason, DiskDevice, DomainDisk, DomainInfo, DomainNic, DomainSpec,
    DomainStatus, HostFacts, HostHardware, NumaNode, PlatformKind,
};

use crate::create::Source;
use crate::disk::Ready;
use crate::domains::parse;
use crate::error::{Subject, from_failure};
use crate::hotplug::Hotplug;
use crate::info::{Dominfo, Physinfo, Version};
use crate::memory::Ledger;
use crate::raw::{Context, Failure};
use crate::reserve::moment;
use crate::store::kib_to_mib;
use crate::suspend::{WriteOut, suspend};
use crate::{Libxl, config, cpu, device_model, host, preflight, store};

/// A destroyed domain is gone when the last of its memory is freed, which back ends may still hold.
const GONE_WITHIN: Duration = Duration::from_secs(120);

/// Xen counts pauses; more than a tool or two never add up to this.
const MOST_PAUSES: u32 = 16;

impl Libxl {
    /// Runs an operation on a domain that must be in one of some states.
    async fn operate<T, F>(&self, domid: DomId, needs: Needs, operation: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Context) -> std::result::Result<T, Failure> + Send + 'static,
    {
        self.expect(domid, needs).await?;
        let result = self.workers.run(operation).await?;
        result.map_err(|failure| from_failure(&failure, Subject::Domain(domid)))
    }

    async fn write_out(&self, domid: DomId, to: OwnedFd, how: WriteOut) -> Result<()> {
        self.expect(domid, Needs::running("suspend")).await?;
        let suspended = self.workers.run(move |context| suspend(context, domid, to, how)).await?;
        // A failed one may have been noticed as a death; this notices that the guest runs on.
        self.reader.look().await?;
        suspended
    }

    async fn expect(&self, domid: DomId, needs: Needs) -> Result<DomainInfo> {
        let info = self.domain(domid).await?;
        if (needs.fits)(info.status) {
            return Ok(info);
        }
        let status = describe(info.status);
        Err(HypervisorError::WrongStatus { domid, status, operation: needs.operation, needs: needs.what })
    }

    async fn dominfo(&self, domid: DomId) -> Result<Dominfo> {
        let json = self.reader.ask(move |context| context.domain_info(domid)).await?;
        parse(&json.map_err(|failure| from_failure(&failure, Subject::Domain(domid)))?)
    }
}

/// What an operation asks of a domain.
#[derive(Clone, Copy)]
struct Needs {
    operation: &'static str,
    what: &'static str,
    fits: fn(DomainStatus) -> bool,
}

impl Needs {
    const fn alive(operation: &'static str) -> Self {
        let fits = |status| matches!(status, DomainStatus::Running | DomainStatus::Paused);
        Self { operation, what: "running or paused", fits }
    }

    const fn running(operation: &'static str) -> Self {
        Self { operation, what: "running", fits: |status| matches!(status, DomainStatus::Running) }
    }

    const fn suspended(operation: &'static str) -> Self {
        let fits = |status| matches!(status, DomainStatus::Dead(DeathReason::Suspend));
        Self { operation, what: "suspended", fits }
    }
}

fn describe(status: DomainStatus) -> String {
    match status {
        DomainStatus::Running => "running".to_owned(),
        DomainStatus::Paused => "paused".to_owned(),
        DomainStatus::Dead(DeathReason::Suspend) => "suspended".to_owned(),
        DomainStatus::Dead(reason) => format!("dead ({reason:?})").to_lowercase(),
        DomainStatus::Dying => "being destroyed".to_owned(),
    }
}

#[async_trait]
impl Hypervisor for Libxl {
    async fn host(&self) -> Result<HostFacts> {
        let facts = self.reader.ask(|context| {
            let machine = |failure: Failure| from_failure(&failure, Subject::Host);
            let now = moment(context)?;
            let version = Version::parse(&context.version().map_err(machine)?).unwrap_or_default();
            let topology = now.physinfo.topology(&context.topology().unwrap_or_default());
            let scheduler = context.scheduler().map_err(machine)?;
            // No reason not to tell the rest.
            let features = context.physinfo_with_bytes().ok();
            Ok::<_, HypervisorError>((now, version, topology, scheduler, features))
        });
        let (now, version, topology, scheduler, features) = facts.await??;
        let features =
            features.and_then(|(json, bytes)| cpu::features(&Physinfo::parse(&json).ok()?, &bytes));
        Ok(HostFacts {
            hostname: host::hostname(),
            xen: version.into(),
            cpu_model: host::cpu_model(),
            cpu_features: features,
            topology,
            memory_total: MemoryMiB::from_bytes_floor(now.physinfo.total_kib() << 10),
            memory_free: MemoryMiB::from_bytes_floor(now.physinfo.free_kib() << 10),
            memory_dom0: kib_to_mib(now.dom0_kib()),
            scheduler,
            capabilities: now.physinfo.capabilities(),
            bridges: host::bridges(),
        })
    }

    async fn hardware(&self) -> Result<HostHardware> {
        let asked = self.reader.ask(|context| {
            let machine = |failure: Failure| from_failure(&failure, Subject::Host);
            let now = moment(context)?;
            let cpus = context.topology().map_err(machine)?;
            let nodes = context.nodes().map_err(machine)?;
            Ok::<_, HypervisorError>((now, cpus, nodes))
        });
        let (now, cpus, nodes) = asked.await??;
        // Where Xen does not know where its CPUs are, they are in the one node that there is.
        let untold = if cpus.is_empty() && nodes.len() == 1 { now.physinfo.nr_cpus } else { 0 };
        let node = |(node, found): (u32, &crate::raw::Node)| {
            let here = cpus.iter().filter(|cpu| cpu.node == node).map(|cpu| cpu.cpu).chain(0..untold);
            let here: Vec<u16> = here.filter_map(|cpu| u16::try_from(cpu).ok()).collect();
            NumaNode {
                node,
                memory_total: MemoryMiB::from_bytes_floor(found.size),
                memory_free: MemoryMiB::from_bytes_floor(found.free),
                cpus: (!here.is_empty()).then(|| here.into_iter().collect()),
            }
        };
        let iommu = now.physinfo.capabilities().iter().any(|word| word == "hvm_directio");
        let problem = "Xen uses no IOMMU here: switch VT-d or AMD-Vi on in the firmware, and do not switch it off \
                       on Xen's command line";
        Ok(HostHardware {
            numa: (0..).zip(&nodes).map(node).collect(),
            pci: tokio::task::spawn_blocking(host::pci).await.unwrap_or_default(),
            passthrough_problem: (!iommu).then(|| problem.to_owned()),
        })
    }

    async fn domains(&self) -> Result<Vec<DomainInfo>> {
        self.domains.all(&self.reader, &self.store).await
    }

    async fn usage(&self) -> Result<MachineUsage> {
        self.domains.usage(&self.reader, &self.store).await
    }

    async fn domain(&self, domid: DomId) -> Result<DomainInfo> {
        self.domains.one(domid, &self.reader, &self.store).await
    }

    async fn create(&self, spec: &DomainSpec, start: Start) -> Result<DomId> {
        self.build(spec, Source::Kernel, start).await
    }

    async fn resume(&self, spec: &DomainSpec, from: OwnedFd, start: Start) -> Result<DomId> {
        let source = Source::stream(from).await?;
        self.build(spec, source, start).await
    }

    async fn suspend(&self, domid: DomId, to: OwnedFd) -> Result<()> {
        self.write_out(domid, to, Context::suspend).await
    }

    async fn suspend_live(&self, domid: DomId, to: OwnedFd) -> Result<()> {
        self.write_out(domid, to, Context::suspend_live).await
    }

    async fn cancel_suspend(&self, domid: DomId) -> Result<()> {
        self.operate(domid, Needs::suspended("cancelling a suspend"), move |context| context.resume(domid))
            .await?;
        self.reader.look().await
    }

    async fn pause(&self, domid: DomId) -> Result<()> {
        let info = self.expect(domid, Needs::alive("pause")).await?;
        if info.status == DomainStatus::Paused {
            return Ok(());
        }
        self.operate(domid, Needs::alive("pause"), move |context| context.pause(domid)).await
    }

    async fn unpause(&self, domid: DomId) -> Result<()> {
        self.operate(domid, Needs::alive("unpause"), move |context| {
            for _ in 0..MOST_PAUSES {
                if !is_paused(context, domid)? {
                    break;
                }
                context.unpause(domid)?;
            }
            Ok(())
        })
        .await
    }

    /// libxl waits for the guest to take the request up, and leaves it standing when it gives up after a minute.
    async fn shutdown(&self, domid: DomId, request: ShutdownRequest) -> Result<AskedBy> {
        let operation = match request {
            ShutdownRequest::PowerOff => "shutdown",
            ShutdownRequest::Reboot => "reboot",
        };
        let info = self.expect(domid, Needs::alive(operation)).await?;
        let asked = self.workers.run(move |context| match request {
            ShutdownRequest::Reboot => context.reboot(domid).map(|()| AskedBy::ControlNode),
            ShutdownRequest::PowerOff => match context.shutdown(domid) {
                Err(failure)
                    if info.kind == PlatformKind::Hvm && failure.code == libxl_error::ERROR_NOPARAVIRT.0 =>
                {
                    context.press_power(domid).map(|()| AskedBy::PowerButton)
                }
                result => result.map(|()| AskedBy::ControlNode),
            },
        });
        asked.await?.map_err(|failure| not_taken_up(&failure, domid))
    }

    async fn has_taken_up(&self, domid: DomId) -> Result<bool> {
        self.domain(domid).await?;
        store::has_taken_up(&self.store, domid).await
    }

    async fn destroy(&self, domid: DomId) -> Result<()> {
        self.domain(domid).await?;
        let destroyed = self.workers.run(move |context| destroy(context, domid)).await?;
        self.reader.look().await?;
        destroyed
    }

    async fn set_memory(&self, domid: DomId, target: MemoryMiB) -> Result<()> {
        let info = self.expect(domid, Needs::running("setting the memory")).await?;
        if target > info.memory_max {
            let problem =
                format!("{target} is more than the {} that the domain was made with", info.memory_max);
            return Err(HypervisorError::InvalidSpec { field: "memory.target".to_owned(), problem });
        }
        let reservation = self.reserve(|now| self.ledger.reserve_growth(domid, target.kib(), now)).await?;
        let kib = target.kib();
        self.operate(domid, Needs::running("setting the memory"), move |context| {
            context.set_memory_target(domid, kib)
        })
        .await?;
        self.hold_until_grown(domid, target, reservation);
        Ok(())
    }

    async fn set_vcpus(&self, domid: DomId, online: VcpuCount) -> Result<()> {
        self.expect(domid, Needs::running("setting the virtual CPUs")).await?;
        let most = self.dominfo(domid).await?.vcpu_max_id + 1;
        let count = online.get();
        if count > most {
            let problem = format!("{count} are more than the {most} that the domain was made with");
            return Err(HypervisorError::InvalidSpec { field: "vcpus.online".to_owned(), problem });
        }
        self.operate(domid, Needs::running("setting the virtual CPUs"), move |context| {
            context.set_vcpus_online(domid, count)
        })
        .await
    }

    async fn set_cpu_share(&self, domid: DomId, share: &CpuShare) -> Result<()> {
        self.expect(domid, Needs::alive("setting the share of the CPUs")).await?;
        let vcpus = self.dominfo(domid).await?.vcpu_max_id + 1;
        let share = share.clone();
        self.workers.run(move |context| set_cpu_share(context, (domid, vcpus), &share)).await?
    }

    async fn change_cd(&self, domid: DomId, image: Option<&Path>) -> Result<()> {
        self.expect(domid, Needs::alive("changing the CD")).await?;
        if let Some(image) = image {
            preflight::image("hardware.cd", image)?;
        }
        let json = config::cd(image).to_string();
        self.workers.run(move |context| change_cd(context, domid, &json)).await?
    }

    async fn attach_disk(&self, domid: DomId, disk: &DomainDisk) -> Result<()> {
        let info = self.expect(domid, Needs::alive("attaching a disk")).await?;
        preflight::disk("disk", disk)?;
        let (disk, hotplug) = (disk.clone(), self.hotplug.of(info.kind));
        self.workers.run(move |context| attach_disk(context, domid, &disk, &hotplug)).await?
    }

    async fn detach_disk(&self, domid: DomId, device: DiskDevice) -> Result<()> {
        self.expect(domid, Needs::alive("detaching a disk")).await?;
        let vdev = device.to_string();
        let removed = self.workers.run(move |context| context.remove_disk(domid, &vdev)).await?;
        let device = device.to_string();
        detached(removed, domid, device)
    }

    async fn attach_nic(&self, domid: DomId, nic: &DomainNic) -> Result<()> {
        let info = self.expect(domid, Needs::alive("attaching a NIC")).await?;
        preflight::nic("nic", nic)?;
        let json = config::nic(nic, info.kind, &self.hotplug.of(info.kind)).to_string();
        let mac = nic.mac;
        self.workers.run(move |context| attach_nic(context, (domid, mac), &json)).await?
    }

    async fn detach_nic(&self, domid: DomId, mac: MacAddr) -> Result<()> {
        self.expect(domid, Needs::alive("detaching a NIC")).await?;
        let removed = self.workers.run(move |context| context.remove_nic(domid, mac)).await?;
        detached(removed, domid, mac.to_string())
    }

    async fn consoles(&self, domid: DomId) -> Result<ConsolePaths> {
        let kind = self.domain(domid).await?.kind;
        let serial = self.reader.ask(move |context| context.console(domid)).await?;
        let paths = ConsolePaths {
            // An error means that xenconsoled or QEMU has not made it yet.
            serial: serial.ok().flatten().map(PathBuf::from),
            vnc_port: store::vnc_port(&self.store, domid).await?,
            guest_agent: store::guest_agent(&self.store, domid).await?,
        };
        device_model::own(&self.store, (domid, kind), paths).await
    }

    fn events(&self) -> DomainEvents {
        self.events.subscribe()
    }
}

impl Libxl {
    /// Keeps the memory of a growing guest set aside until it has taken it. A guest whose balloon driver
    /// does not move keeps it for a while and then loses it, to whoever asks first.
    fn hold_until_grown(&self, domid: DomId, target: MemoryMiB, reservation: crate::memory::Reservation) {
        let reader = self.reader.clone();
        self.tasks.spawn("libxl growth", async move {
            let deadline = tokio::time::Instant::now() + GROWN_WITHIN;
            while tokio::time::Instant::now() < deadline {
                match reader.ask(moment).await {
                    Ok(Ok(now)) if Ledger::lacks(domid, target.kib(), &now.domains) > 0 => {}
                    _ => break,
                }
                tokio::time::sleep(GROWTH_POLL).await;
            }
            drop(reservation);
        });
    }
}

const GROWN_WITHIN: Duration = Duration::from_secs(60);
const GROWTH_POLL: Duration = Duration::from_secs(1);

/// Whom libxl waits for when it asks a guest is the guest, though its code is that of its own deadlines.
fn not_taken_up(failure: &Failure, domid: DomId) -> HypervisorError {
    match from_failure(failure, Subject::Domain(domid)) {
        HypervisorError::TimedOut { operation, after, log } => {
            HypervisorError::GuestUnresponsive { domid, operation, after, log }
        }
        error => error,
    }
}

fn is_paused(context: &Context, domid: DomId) -> std::result::Result<bool, Failure> {
    let json = context.domain_info(domid)?;
    Ok(parse(&json).is_ok_and(|info| info.paused))
}

fn destroy(context: &Context, domid: DomId) -> Result<()> {
    let failed = |failure: Failure| from_failure(&failure, Subject::Domain(domid));
    let is_gone =
        || matches!(context.domain_info(domid).map_err(failed), Err(HypervisorError::NoSuchDomain(_)));
    match context.destroy(domid).map_err(failed) {
        Ok(()) | Err(HypervisorError::NoSuchDomain(_)) => {}
        // Of two destroys at once the second may trip over what the first has removed.
        Err(_) if is_gone() => return Ok(()),
        Err(error) => return Err(error),
    }
    let began = Instant::now();
    while began.elapsed() < GONE_WITHIN {
        match context.domain_info(domid).map_err(failed) {
            Err(HypervisorError::NoSuchDomain(_)) => return Ok(()),
            Err(error) => return Err(error),
            Ok(_) => context.turn(Duration::from_millis(20)),
        }
    }
    let operation = "destroying the domain";
    Err(HypervisorError::TimedOut { operation, after: Some(GONE_WITHIN), log: String::new() })
}

fn attach_disk(context: &Context, domid: DomId, disk: &DomainDisk, hotplug: &Hotplug) -> Result<()> {
    let device = disk.device.to_string();
    let failed = |failure: Failure| from_failure(&failure, Subject::Device { domid, device: device.clone() });
    if context.has_disk(domid, &device).map_err(failed)? {
        return Err(HypervisorError::AlreadyAttached { domid, device });
    }
    let ready = Ready::prepare(disk)?;
    let json = config::disk(disk, ready.path(), hotplug).to_string();
    let added = context
        .parse::<libxl_device_disk>("attaching the disk", &json)
        .and_then(|mut disk| context.add_disk(domid, &mut disk));
    added.map_err(failed)?;
    ready.hand_over(domid);
    Ok(())
}

/// libxl would give a domain two NICs with one address.
fn attach_nic(context: &Context, (domid, mac): (DomId, MacAddr), json: &str) -> Result<()> {
    let device = mac.to_string();
    let failed = |failure: Failure| from_failure(&failure, Subject::Device { domid, device: device.clone() });
    if context.has_nic(domid, mac).map_err(failed)? {
        return Err(HypervisorError::AlreadyAttached { domid, device });
    }
    let mut nic = context.parse::<libxl_device_nic>("attaching the NIC", json).map_err(failed)?;
    context.add_nic(domid, &mut nic).map_err(failed)
}

fn set_cpu_share(context: &Context, (domid, vcpus): (DomId, u32), share: &CpuShare) -> Result<()> {
    let failed = |failure: Failure| from_failure(&failure, Subject::Domain(domid));
    // Numbers have gaps where CPUs are offline; some machines do not tell where theirs are.
    let last = context.topology().map_err(failed)?.iter().map(|cpu| cpu.cpu + 1).max();
    let cpus = moment(context)?.physinfo.nr_cpus.max(last.unwrap_or(1));
    if let Some(pin) = &share.pin
        && u32::from(pin.last()) >= cpus
    {
        let problem = format!("the host has no CPU {}, only 0 to {}", pin.last(), cpus - 1);
        return Err(HypervisorError::InvalidSpec { field: "hardware.cpu.pin".to_owned(), problem });
    }
    context.set_scheduling(domid, &config::scheduling(share).to_string()).map_err(failed)?;
    match &share.pin {
        Some(pin) => context.set_affinity((domid, vcpus), cpus, pin.iter().map(u32::from)),
        None => context.set_affinity((domid, vcpus), cpus, 0..cpus),
    }
    .map_err(failed)
}

fn change_cd(context: &Context, domid: DomId, json: &str) -> Result<()> {
    const DEVICE: &str = "CD drive";
    let failed =
        |failure: Failure| from_failure(&failure, Subject::Device { domid, device: DEVICE.to_owned() });
    if !context.has_disk(domid, CdDrive::VDEV).map_err(failed)? {
        return Err(HypervisorError::NoSuchDevice { domid, device: DEVICE.to_owned() });
    }
    let mut cd = context.parse::<libxl_device_disk>("changing the CD", json).map_err(failed)?;
    context.insert_cd(domid, &mut cd).map_err(failed)
}

fn detached(removed: std::result::Result<Option<()>, Failure>, domid: DomId, device: String) -> Result<()> {
    match removed {
        Ok(Some(())) => Ok(()),
        Ok(None) => Err(HypervisorError::NoSuchDevice { domid, device }),
        Err(failure) => Err(from_failure(&failure, Subject::Device { domid, device })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_takes_nothing_up_is_not_a_toolstack_that_is_late() {
        let failure = |code: libxl_error| Failure {
            operation: "shutdown",
            code: code.0,
            log: Vec::new(),
            gave_up_after: None,
        };
        let late = not_taken_up(&failure(libxl_error::ERROR_TIMEDOUT), DomId(7));
        assert!(matches!(late, HypervisorError::GuestUnresponsive { domid: DomId(7), .. }), "{late}");
        let gone = not_taken_up(&failure(libxl_error::ERROR_DOMAIN_NOTFOUND), DomId(7));
        assert_eq!(gone, HypervisorError::NoSuchDomain(DomId(7)));
    }
}
