//! Exercises the wrapper on a real Xen host: copy the program into dom0 and run it there as root.
//!
//! `dom0_check <kernel> <ramdisk> <scratch folder> [bridge]` creates, changes, suspends, resumes and destroys
//! domains of its own, prints how long each step took, and touches no other domain.

use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use xenith_common_ids::{DomId, IncarnationId, VmId};
use xenith_common_tasks::TaskSet;
use xenith_common_units::{MemoryMiB, VcpuCount};
use xenith_hypervisor_agent_backend::{
    DomainEventKind, DomainEvents, Hypervisor, HypervisorError, ShutdownRequest, Start,
};
use xenith_hypervisor_agent_libxl::{Libxl, Options};
use xenith_hypervisor_agent_types::{
    BootDevice, DeathReason, DirectBoot, DiskAccess, DiskDevice, DomainDisk, DomainIdentity, DomainNic,
    DomainSpec, DomainStatus, Firmware, Graphics, MemorySpec, PlatformKind, VcpuSpec,
};
use xenith_hypervisor_agent_xenstore::Xenstore;

struct Check {
    xen: Libxl,
    kernel: String,
    ramdisk: String,
    scratch: PathBuf,
    bridge: Option<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let level = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned());
    tracing_subscriber::fmt().with_env_filter(level).with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next();
    let (Some(kernel), Some(ramdisk), Some(scratch)) = (next(), next(), next()) else {
        bail!("usage: dom0_check <kernel> <ramdisk> <scratch folder> [bridge]");
    };
    let tasks = TaskSet::new();
    let store = Xenstore::connect(Default::default(), &tasks).await?;
    let xen = Libxl::open(Options::default(), store, &tasks).await?;
    println!("opened {}", xen.library_name());
    let check = Check { xen, kernel, ramdisk, scratch: scratch.into(), bridge: next() };
    println!("host: {:#?}", check.xen.host().await?);
    println!("domains: {:#?}", check.xen.domains().await?);
    let only = next();
    for kind in [PlatformKind::Pvh, PlatformKind::Pv, PlatformKind::Hvm] {
        if only.as_deref().is_none_or(|only| only == kind.as_str()) {
            check.one_life(kind).await.with_context(|| format!("{kind}"))?;
        }
    }
    check.refusals().await?;
    check.xen.close().await;
    tasks.shut_down(Duration::from_secs(10)).await?;
    println!("all is well");
    Ok(())
}

/// Runs a step and says how long it took.
async fn step<T, E: std::error::Error + Send + Sync + 'static>(
    name: &str,
    work: impl Future<Output = Result<T, E>>,
) -> anyhow::Result<T> {
    let began = Instant::now();
    let result = work.await.with_context(|| name.to_owned());
    println!("  {name}: {} in {:.2?}", if result.is_ok() { "done" } else { "FAILED" }, began.elapsed());
    result
}

async fn wait_for(events: &mut DomainEvents, domid: DomId, kind: DomainEventKind) -> anyhow::Result<()> {
    let patience = Duration::from_secs(180);
    let seen = async {
        while let Some(event) = events.next().await {
            if event.domid == domid && event.kind == kind {
                return true;
            }
        }
        false
    };
    ensure!(tokio::time::timeout(patience, seen).await.unwrap_or(false), "no event {kind:?} of {domid}");
    println!("  event {kind:?}");
    Ok(())
}

impl Check {
    fn spec(&self, kind: PlatformKind) -> anyhow::Result<DomainSpec> {
        let boot = DirectBoot {
            kernel: self.kernel.clone(),
            ramdisk: Some(self.ramdisk.clone()),
            cmdline: "console=hvc0 quiet".to_owned(),
        };
        let nics = self
            .bridge
            .iter()
            .map(|bridge| Ok(DomainNic { mac: "00:16:3e:00:00:77".parse()?, bridge: bridge.clone() }));
        Ok(DomainSpec {
            identity: DomainIdentity { vm: VmId::new(), incarnation: IncarnationId::new() },
            name: format!("check-{kind}").parse()?,
            kind,
            direct_boot: (kind != PlatformKind::Hvm).then_some(boot),
            firmware: Firmware::Bios,
            boot_order: vec![BootDevice::Disk],
            vcpus: VcpuSpec { online: VcpuCount::ONE, max: VcpuCount::new(2)? },
            memory: MemorySpec { target: MemoryMiB::new(256)?, max: MemoryMiB::new(256)? },
            disks: Vec::new(),
            nics: nics.collect::<anyhow::Result<_>>()?,
            graphics: if kind == PlatformKind::Hvm { Graphics::Vnc } else { Graphics::None },
        })
    }

    async fn one_life(&self, kind: PlatformKind) -> anyhow::Result<()> {
        println!("{kind}:");
        let (xen, spec) = (&self.xen, self.spec(kind)?);
        let mut events = xen.events();
        let domid = step("create", xen.create(&spec, Start::Paused)).await?;
        wait_for(&mut events, domid, DomainEventKind::Appeared).await?;
        let info = xen.domain(domid).await?;
        println!("  {info:?}");
        ensure!(info.identity == Some(spec.identity), "the identity is {:?}", info.identity);
        ensure!(info.kind == kind && info.status == DomainStatus::Paused, "{info:?}");
        ensure!(matches!(xen.create(&spec, Start::Paused).await, Err(HypervisorError::NameTaken { .. })));
        step("unpause", xen.unpause(domid)).await?;
        step("pause", xen.pause(domid)).await?;
        step("pause again", xen.pause(domid)).await?;
        step("unpause", xen.unpause(domid)).await?;
        println!("  consoles: {:?}", xen.consoles(domid).await?);
        if kind != PlatformKind::Hvm {
            self.while_it_runs(domid, &spec).await?;
            self.suspend_and_resume(domid, &spec, &mut events).await?;
        }
        let all = xen.domains().await?;
        let info = all.iter().find(|info| info.identity.is_some_and(|id| id.vm == spec.identity.vm));
        let domid = info.context("the domain is not listed")?.domid;
        if kind != PlatformKind::Hvm {
            step("shutdown", xen.shutdown(domid, ShutdownRequest::PowerOff)).await?;
            wait_for(&mut events, domid, DomainEventKind::Died(DeathReason::PowerOff)).await?;
        }
        step("destroy", xen.destroy(domid)).await?;
        wait_for(&mut events, domid, DomainEventKind::Gone).await?;
        ensure!(matches!(xen.domain(domid).await, Err(HypervisorError::NoSuchDomain(_))));
        Ok(())
    }

    async fn while_it_runs(&self, domid: DomId, spec: &DomainSpec) -> anyhow::Result<()> {
        let xen = &self.xen;
        self.booted(domid).await?;
        let image = self.scratch.join("check.img");
        File::create(&image)?.set_len(8 << 20)?;
        let device = DiskDevice::nth(1).context("xvdb")?;
        let disk = DomainDisk { device, path: image.clone(), access: DiskAccess::ReadWrite };
        step("attach a disk", xen.attach_disk(domid, &disk)).await?;
        let twice = xen.attach_disk(domid, &disk).await;
        println!("  attached twice: {twice:?}");
        ensure!(twice.is_err());
        step("detach the disk", xen.detach_disk(domid, device)).await?;
        let absent = xen.detach_disk(domid, device).await;
        ensure!(matches!(absent, Err(HypervisorError::NoSuchDevice { .. })), "{absent:?}");
        if let Some(bridge) = &self.bridge {
            let nic = DomainNic { mac: "00:16:3e:00:00:78".parse()?, bridge: bridge.clone() };
            step("attach a NIC", xen.attach_nic(domid, &nic)).await?;
            step("detach the NIC", xen.detach_nic(domid, nic.mac)).await?;
            let absent = xen.detach_nic(domid, nic.mac).await;
            ensure!(matches!(absent, Err(HypervisorError::NoSuchDevice { .. })), "{absent:?}");
        }
        step("set the memory", xen.set_memory(domid, MemoryMiB::new(192)?)).await?;
        step("set the virtual CPUs", xen.set_vcpus(domid, spec.vcpus.max)).await?;
        ensure!(xen.set_vcpus(domid, VcpuCount::new(3)?).await.is_err(), "more than the maximum was allowed");
        Ok(())
    }

    /// The guest's kernel listens once its drivers are there.
    async fn booted(&self, domid: DomId) -> anyhow::Result<()> {
        let began = Instant::now();
        let store = Xenstore::connect(Default::default(), &TaskSet::new()).await?;
        let path = format!("/local/domain/{domid}/control/feature-poweroff");
        while store.read_if_there(&path).await?.as_deref() != Some("1") {
            ensure!(began.elapsed() < Duration::from_secs(300), "the guest does not boot");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        println!("  booted after {:.2?}", began.elapsed());
        Ok(())
    }

    async fn suspend_and_resume(
        &self,
        domid: DomId,
        spec: &DomainSpec,
        events: &mut DomainEvents,
    ) -> anyhow::Result<()> {
        let xen = &self.xen;
        let file = self.scratch.join("check.save");
        let full = File::options().write(true).open("/dev/full")?;
        let failed = xen.suspend(domid, full.into()).await;
        println!("  suspend to a full disk: {failed:?}");
        ensure!(failed.is_err(), "a suspend to a full disk succeeded");
        let status = xen.domain(domid).await?.status;
        ensure!(status == DomainStatus::Running, "after a failed suspend: {status:?}");
        step("suspend", xen.suspend(domid, File::create(&file)?.into())).await?;
        println!("  stream: {} KiB", file.metadata()?.len() >> 10);
        wait_for(events, domid, DomainEventKind::Died(DeathReason::Suspend)).await?;
        step("cancel the suspend", xen.cancel_suspend(domid)).await?;
        ensure!(xen.domain(domid).await?.status == DomainStatus::Running);
        step("suspend", xen.suspend(domid, File::create(&file)?.into())).await?;
        wait_for(events, domid, DomainEventKind::Died(DeathReason::Suspend)).await?;
        step("destroy", xen.destroy(domid)).await?;
        let again = step("resume", xen.resume(spec, File::open(&file)?.into(), Start::Running)).await?;
        ensure!(again != domid, "the number was reused at once");
        std::fs::remove_file(&file)?;
        Ok(())
    }

    async fn refusals(&self) -> anyhow::Result<()> {
        println!("refusals:");
        let mut spec = self.spec(PlatformKind::Pvh)?;
        spec.memory = MemorySpec { target: MemoryMiB::new(1 << 20)?, max: MemoryMiB::new(1 << 20)? };
        let error = self.xen.create(&spec, Start::Paused).await;
        println!("  too much memory: {error:?}");
        ensure!(matches!(error, Err(HypervisorError::NoMemory { .. })));
        let mut spec = self.spec(PlatformKind::Pvh)?;
        let image = self.scratch.join("not a kernel");
        std::fs::write(&image, "this is not a kernel")?;
        spec.direct_boot.as_mut().context("direct boot")?.kernel =
            image.to_str().context("a path of text")?.to_owned();
        let error = self.xen.create(&spec, Start::Paused).await;
        println!("  not a kernel: {error:?}");
        ensure!(error.is_err());
        println!("  left: {:?}", self.xen.domains().await?);
        Ok(())
    }
}
