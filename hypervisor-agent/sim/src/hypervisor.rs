//! The seam's calls on a simulated host. Each is a [`Call`] (for rules and delays) and an effect on the
//! world; only create, resume and suspend have more than one step.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use xenith_common_ids::DomId;
use xenith_common_units::{MacAddr, MemoryMiB, VcpuCount};
use xenith_hypervisor_agent_backend::{
    AskedBy, DomainEvents, Hypervisor, HypervisorError, Result, ShutdownRequest, Start,
};
use xenith_hypervisor_agent_types::metrics::MachineUsage;
use xenith_hypervisor_agent_types::{
    ConsolePaths, CpuShare, DiskDevice, DomainDisk, DomainInfo, DomainNic, DomainSpec, HostFacts,
    HostHardware,
};

use crate::console::Consoles;
use crate::fault::{Failure, Verdict};
use crate::stream::SavedGuest;
use crate::world::{Begun, Call, NeedsGuest};
use crate::{Files, Inner, Operation, SimHypervisor};

impl Call {
    fn host(operation: Operation) -> Self {
        Self::on(operation, DomId::DOM0)
    }

    fn on(operation: Operation, domid: DomId) -> Self {
        Self { operation, domid, subject: None, memory: MemoryMiB::ZERO, guest: NeedsGuest::No }
    }

    fn building(operation: Operation, spec: &DomainSpec) -> Self {
        let subject = Some(spec.name.to_string());
        Self { subject, memory: spec.memory.target, ..Self::host(operation) }
    }

    fn of(mut self, subject: impl ToString) -> Self {
        self.subject = Some(subject.to_string());
        self
    }

    fn with_guest(mut self) -> Self {
        self.guest = NeedsGuest::Yes;
        self
    }
}

/// A create or resume whose files and stream were looked at.
struct Checked {
    call: Call,
    begun: Begun,
    spec: DomainSpec,
    saved: Option<SavedGuest>,
    start: Start,
}

#[async_trait]
impl Hypervisor for SimHypervisor {
    async fn host(&self) -> Result<HostFacts> {
        self.inner.perform(Call::host(Operation::Host), |world, _| Ok(world.host())).await
    }

    async fn hardware(&self) -> Result<HostHardware> {
        self.inner.perform(Call::host(Operation::Hardware), |world, _| Ok(world.hardware())).await
    }

    async fn domains(&self) -> Result<Vec<DomainInfo>> {
        let epoch = self.inner.epoch;
        self.inner
            .perform(Call::host(Operation::Domains), move |world, at| {
                Ok(world.domains.iter().map(|(domid, domain)| domain.info(*domid, at, epoch)).collect())
            })
            .await
    }

    async fn usage(&self) -> Result<MachineUsage> {
        let epoch = self.inner.epoch;
        self.inner.perform(Call::host(Operation::Usage), move |world, at| Ok(world.usage(at, epoch))).await
    }

    async fn domain(&self, domid: DomId) -> Result<DomainInfo> {
        let epoch = self.inner.epoch;
        self.inner
            .perform(Call::on(Operation::Domain, domid), move |world, at| {
                world.get(domid).map(|domain| domain.info(domid, at, epoch))
            })
            .await
    }

    async fn create(&self, spec: &DomainSpec, start: Start) -> Result<DomId> {
        self.inner.build(Operation::Create, spec, None, start).await
    }

    async fn resume(&self, spec: &DomainSpec, from: OwnedFd, start: Start) -> Result<DomId> {
        self.inner.build(Operation::Resume, spec, Some(from), start).await
    }

    async fn suspend(&self, domid: DomId, to: OwnedFd) -> Result<()> {
        self.inner.write_out(Operation::Suspend, domid, to).await
    }

    async fn suspend_live(&self, domid: DomId, to: OwnedFd) -> Result<()> {
        self.inner.write_out(Operation::SuspendLive, domid, to).await
    }

    async fn cancel_suspend(&self, domid: DomId) -> Result<()> {
        let call = Call::on(Operation::CancelSuspend, domid);
        self.inner.perform(call, move |world, at| world.cancel_suspend(domid, at)).await
    }

    async fn pause(&self, domid: DomId) -> Result<()> {
        self.inner.perform(Call::on(Operation::Pause, domid), move |world, at| world.pause(domid, at)).await
    }

    async fn unpause(&self, domid: DomId) -> Result<()> {
        let call = Call::on(Operation::Unpause, domid);
        self.inner.perform(call, move |world, at| world.unpause(domid, at)).await
    }

    async fn shutdown(&self, domid: DomId, request: ShutdownRequest) -> Result<AskedBy> {
        let call = Call::on(Operation::Shutdown, domid);
        self.inner.perform(call, move |world, at| world.shutdown(domid, request, at)).await
    }

    async fn has_taken_up(&self, domid: DomId) -> Result<bool> {
        self.inner
            .perform(Call::on(Operation::HasTakenUp, domid), move |world, _| world.has_taken_up(domid))
            .await
    }

    async fn destroy(&self, domid: DomId) -> Result<()> {
        self.inner.perform(Call::on(Operation::Destroy, domid), move |world, _| world.remove(domid)).await
    }

    async fn set_memory(&self, domid: DomId, target: MemoryMiB) -> Result<()> {
        let call = Call { memory: target, ..Call::on(Operation::SetMemory, domid).with_guest() };
        self.inner.perform(call, move |world, _| world.set_memory(domid, target)).await
    }

    async fn set_vcpus(&self, domid: DomId, online: VcpuCount) -> Result<()> {
        let call = Call::on(Operation::SetVcpus, domid).with_guest();
        self.inner.perform(call, move |world, at| world.set_vcpus(domid, online, at)).await
    }

    async fn set_cpu_share(&self, domid: DomId, share: &CpuShare) -> Result<()> {
        let share = share.clone();
        let call = Call::on(Operation::SetCpuShare, domid);
        self.inner.perform(call, move |world, _| world.set_cpu_share(domid, share)).await
    }

    async fn change_cd(&self, domid: DomId, image: Option<&Path>) -> Result<()> {
        if let Some(image) = image {
            self.inner.check_file("hardware.cd", image).await?;
        }
        let image = image.map(Path::to_owned);
        let call = Call::on(Operation::ChangeCd, domid);
        self.inner.perform(call, move |world, _| world.change_cd(domid, image)).await
    }

    async fn attach_disk(&self, domid: DomId, disk: &DomainDisk) -> Result<()> {
        self.inner.check_file("disk.path", &disk.path).await?;
        let disk = disk.clone();
        let call = Call::on(Operation::AttachDisk, domid).of(disk.device);
        self.inner.perform(call, move |world, _| world.attach_disk(domid, disk)).await
    }

    async fn detach_disk(&self, domid: DomId, device: DiskDevice) -> Result<()> {
        let call = Call::on(Operation::DetachDisk, domid).of(device).with_guest();
        self.inner.perform(call, move |world, _| world.detach_disk(domid, device)).await
    }

    async fn attach_nic(&self, domid: DomId, nic: &DomainNic) -> Result<()> {
        let nic = nic.clone();
        let call = Call::on(Operation::AttachNic, domid).of(nic.mac);
        self.inner.perform(call, move |world, _| world.attach_nic(domid, nic)).await
    }

    async fn detach_nic(&self, domid: DomId, mac: MacAddr) -> Result<()> {
        let call = Call::on(Operation::DetachNic, domid).of(mac).with_guest();
        self.inner.perform(call, move |world, _| world.detach_nic(domid, mac)).await
    }

    async fn consoles(&self, domid: DomId) -> Result<ConsolePaths> {
        let (tasks, home) = (self.inner.tasks.clone(), self.inner.home.clone());
        self.inner
            .perform(Call::on(Operation::Consoles, domid), move |world, _| {
                let _at_home = home.enter();
                let domain = world.get_mut(domid)?;
                if let Some(consoles) = &domain.consoles {
                    return Ok(consoles.paths.clone());
                }
                let opened = Consoles::open(domain, &tasks);
                let consoles = opened.map_err(|error| HypervisorError::Device {
                    device: "console".to_owned(),
                    detail: error.to_string(),
                })?;
                let paths = consoles.paths.clone();
                domain.consoles = Some(Box::new(consoles));
                Ok(paths)
            })
            .await
    }

    fn events(&self) -> DomainEvents {
        self.inner.world().events.subscribe()
    }
}

impl Inner {
    async fn build(
        self: &Arc<Self>,
        operation: Operation,
        spec: &DomainSpec,
        from: Option<OwnedFd>,
        start: Start,
    ) -> Result<DomId> {
        let call = Call::building(operation, spec);
        let begun = self.with(|world, at| world.begin(&call, at));
        let inner = Arc::clone(self);
        let spec = spec.clone();
        self.carry_out(operation.as_str(), async move {
            inner.check_spec_files(&spec).await?;
            let saved = match from {
                Some(from) => Some(read_saved(&spec, from).await?),
                None => None,
            };
            inner.build_checked(&Checked { call, begun, spec, saved, start }).await
        })
        .await
    }

    /// From the reservation on: an error takes the half-built domain off the list again.
    async fn build_checked(&self, build: &Checked) -> Result<DomId> {
        let Checked { call, begun, spec, saved, start } = build;
        let begun = *begun;
        let domid = self.with(|world, at| match begun.verdict {
            // What a real host finds out before it begins.
            Verdict::Fail(
                failure @ (Failure::NoMemory
                | Failure::InvalidSpec
                | Failure::NotAXenHost
                | Failure::Unsupported
                | Failure::NameTaken
                | Failure::Closed),
            ) => Err(world.error(failure, call)),
            _ => world.admit(spec, at),
        })?;
        self.until_due(begun).await;
        self.with(|world, at| {
            world.check(begun)?;
            if let Verdict::Fail(failure) = begun.verdict {
                let error = world.error(failure, call);
                // It may have been destroyed meanwhile, which is as good.
                let _gone_already = world.remove(domid);
                return Err(error);
            }
            if world.get(domid).is_err() {
                return Err(HypervisorError::Failed {
                    operation: call.operation.as_str(),
                    code: "destroyed".to_owned(),
                    log: format!("domain {domid} was destroyed while it was built"),
                });
            }
            world.built(domid, saved.as_ref(), *start, at)?;
            match begun.verdict {
                Verdict::Spoil(failure) => Err(world.error(failure, call)),
                Verdict::Pass | Verdict::Fail(_) => Ok(domid),
            }
        })
    }

    async fn write_out(self: &Arc<Self>, operation: Operation, domid: DomId, to: OwnedFd) -> Result<()> {
        let call = Call::on(operation, domid).with_guest();
        let begun = self.with(|world, at| world.begin(&call, at));
        let inner = Arc::clone(self);
        let (caller, gone) = oneshot::channel();
        let suspend = async move {
            tokio::select! {
                () = inner.dies_with(gone) => Err(HypervisorError::Closed),
                done = inner.suspend(call, begun, to) => done,
            }
        };
        let done = self.carry_out(operation.as_str(), suspend).await;
        drop(caller);
        done
    }

    /// Returns when the caller is gone, where that ends its streams.
    async fn dies_with(&self, caller: oneshot::Receiver<()>) {
        // Nothing is ever sent: the error is the caller's end.
        let _gone = caller.await;
        if !self.streams_die.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    /// While the delay of the call passes the guest runs: that is all the difference that "live" makes here, where a
    /// guest has no memory.
    async fn suspend(&self, call: Call, begun: Begun, to: OwnedFd) -> Result<()> {
        self.until_due(begun).await;
        let domid = call.domid;
        let saved = self.with(|world, at| {
            world.check(begun)?;
            match begun.verdict {
                Verdict::Fail(failure) => Err(world.error(failure, &call)),
                Verdict::Pass | Verdict::Spoil(_) => world.begin_suspend(domid, at),
            }
        })?;
        let written = spawn_blocking(move || saved.write(File::from(to))).await;
        let problem = match written {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(panic) => Some(panic.to_string()),
        };
        self.with(|world, at| {
            world.check(begun)?;
            if let Some(log) = problem {
                world.not_suspended(domid, at);
                let operation = call.operation.as_str();
                return Err(HypervisorError::Failed { operation, code: "write".to_owned(), log });
            }
            world.suspended(domid, at)?;
            match begun.verdict {
                Verdict::Spoil(failure) => Err(world.error(failure, &call)),
                Verdict::Pass | Verdict::Fail(_) => Ok(()),
            }
        })
    }

    async fn check_spec_files(&self, spec: &DomainSpec) -> Result<()> {
        if let Some(boot) = &spec.direct_boot {
            self.check_file("direct_boot.kernel", Path::new(&boot.kernel)).await?;
            if let Some(ramdisk) = &boot.ramdisk {
                self.check_file("direct_boot.ramdisk", Path::new(ramdisk)).await?;
            }
        }
        for (index, disk) in spec.disks.iter().enumerate() {
            self.check_file(&format!("disks[{index}].path"), &disk.path).await?;
        }
        if let Some(image) = spec.hardware.cd.as_ref().and_then(|cd| cd.path.as_ref()) {
            self.check_file("hardware.cd", image).await?;
        }
        Ok(())
    }

    async fn check_file(&self, field: &str, path: &Path) -> Result<()> {
        let files = self.world().config.host.files;
        if files == Files::Trust || tokio::fs::try_exists(path).await.unwrap_or(false) {
            return Ok(());
        }
        let problem = format!("{} does not exist", path.display());
        Err(HypervisorError::InvalidSpec { field: field.to_owned(), problem })
    }
}

/// Reads and checks a stream on a thread of its own: it may be a slow disk or a pipe.
async fn read_saved(spec: &DomainSpec, from: OwnedFd) -> Result<SavedGuest> {
    let refuse =
        |log: String| HypervisorError::Failed { operation: "resume", code: "damaged-stream".to_owned(), log };
    let saved = spawn_blocking(move || SavedGuest::read(File::from(from)))
        .await
        .map_err(|panic| refuse(panic.to_string()))?
        .map_err(|error| refuse(error.to_string()))?;
    if saved.vm.is_some_and(|vm| vm != spec.identity.vm) {
        return Err(HypervisorError::InvalidSpec {
            field: "identity.vm".to_owned(),
            problem: "the stream is another VM's".to_owned(),
        });
    }
    Ok(saved)
}
