//! Building a domain, new or from a stream.
//!
//! Steps: look whether it can work (files, bridges, name), work out its memory, reserve that, build on a
//! worker, unpause. A crash of the agent between the build and the unpause leaves a paused domain with its
//! identity, which the next start lists. An error at any step leaves nothing: libxl removes what it made, and
//! a domain that cannot be unpaused is destroyed here.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;
use xenith_common_ids::DomId;
use xenith_hypervisor_agent_backend::{Hypervisor, HypervisorError, Start};
use xenith_hypervisor_agent_libxl_sys::libxl_domain_config;
use xenith_hypervisor_agent_types::DomainSpec;

use crate::disk::Ready;
use crate::domains::{Building, list};
use crate::error::{Subject, from_failure};
use crate::hotplug::Hotplug;
use crate::info::Dominfo;
use crate::memory::Reservation;
use crate::raw::{Context, Failure};
use crate::stream::Incoming;
use crate::suspend::{bad_stream, restore};
use crate::{Libxl, config, preflight};

/// What a build starts from.
pub enum Source {
    Kernel,
    Stream(Incoming),
}

impl Source {
    /// Reads the beginning of `stream`, away from the runtime: it may be a socket.
    pub async fn stream(stream: OwnedFd) -> Result<Self, HypervisorError> {
        let opened = tokio::task::spawn_blocking(move || Incoming::open(stream)).await;
        let opened = opened.map_err(|_panicked| HypervisorError::Closed)?;
        opened.map(Self::Stream).map_err(|error| bad_stream(&error))
    }
}

impl Libxl {
    pub(crate) async fn build(
        &self,
        spec: &DomainSpec,
        source: Source,
        start: Start,
    ) -> Result<DomId, HypervisorError> {
        let spec = Arc::new(spec.clone());
        let checked = Arc::clone(&spec);
        // Files may be on a network that hangs.
        let checked = tokio::task::spawn_blocking(move || preflight::check(&checked)).await;
        checked.map_err(|_panicked| HypervisorError::Closed)??;
        self.check_passthrough(&spec).await?;
        let building = self.domains.announce(&spec).ok_or_else(|| HypervisorError::Failed {
            operation: "creating the domain",
            code: "BUSY".to_owned(),
            log: format!("a domain of this VM or named {} is being created already", spec.name),
        })?;
        self.check_unique(&spec).await?;
        let reservation = self.reserve_for(&spec).await?;
        let hotplug = self.hotplug.of(spec.kind);
        let order = Order { spec, hotplug, source, start, _held: (building, reservation) };
        let domid = self.workers.run(move |context| order.carry_out(context)).await??;
        self.reader.look().await?;
        Ok(domid)
    }

    /// Without an IOMMU a device writes anywhere in the host's memory at its guest's wish.
    async fn check_passthrough(&self, spec: &DomainSpec) -> Result<(), HypervisorError> {
        if spec.hardware.pci.is_empty() {
            return Ok(());
        }
        match self.hardware().await?.passthrough_problem {
            Some(why) => {
                Err(HypervisorError::Unsupported { operation: "giving a PCI device to a guest", why })
            }
            None => Ok(()),
        }
    }

    /// Whether the VM has run comes first: where the name is taken by a domain of the VM itself, it is no way out to rename
    /// one of the two.
    async fn check_unique(&self, spec: &DomainSpec) -> Result<(), HypervisorError> {
        let listed = self.reader.ask(list).await??;
        if let Some(domid) = has_run_as(*spec.identity.vm.as_uuid(), &listed) {
            return Err(HypervisorError::VmTaken { domid });
        }
        let all = self.domains.all(&self.reader, &self.store).await?;
        let same_name = all.iter().find(|info| info.name == spec.name.as_str());
        if let Some(info) = same_name {
            return Err(HypervisorError::NameTaken { name: info.name.clone(), domid: info.domid });
        }
        let same_vm = all.iter().find(|info| info.identity.is_some_and(|id| id.vm == spec.identity.vm));
        match same_vm {
            Some(info) => Err(HypervisorError::VmTaken { domid: info.domid }),
            None => Ok(()),
        }
    }

    async fn reserve_for(&self, spec: &DomainSpec) -> Result<Reservation, HypervisorError> {
        // Disks take no memory, and nothing is run here.
        let json = config::domain(spec, &[], &Hotplug::Xens).to_string();
        let needed = self.reader.ask(move |context| {
            let mut config = context.parse::<libxl_domain_config>(PARSE, &json)?;
            context.need_memory(&mut config)
        });
        let needed = needed.await?.map_err(|failure| from_failure(&failure, Subject::New))?;
        let uuid = *spec.identity.vm.as_uuid();
        self.reserve(|now| self.ledger.reserve_build(uuid, needed, now)).await
    }
}

/// The domain that is this VM by Xen's own word, which stays when xenstore is lost, and with it names and marks. What is left
/// of a build is in nobody's way.
fn has_run_as(vm: Uuid, listed: &[Dominfo]) -> Option<DomId> {
    let found = listed.iter().find(|info| info.uuid == vm && info.has_run());
    found.map(|info| DomId(info.domid))
}

const PARSE: &str = "reading the domain's configuration";

/// Everything that a build holds until it is over, also when nobody waits for it any more.
struct Order {
    spec: Arc<DomainSpec>,
    hotplug: Hotplug,
    source: Source,
    start: Start,
    _held: (Building, Reservation),
}

impl Order {
    fn carry_out(self, context: &Context) -> Result<DomId, HypervisorError> {
        let disks: Vec<Ready> = self.spec.disks.iter().map(Ready::prepare).collect::<Result<_, _>>()?;
        let paths: Vec<&Path> = disks.iter().map(Ready::path).collect();
        let json = config::domain(&self.spec, &paths, &self.hotplug).to_string();
        let failed = |failure: Failure| from_failure(&failure, Subject::New);
        let mut config = context.parse::<libxl_domain_config>(PARSE, &json).map_err(failed)?;
        let domid = match self.source {
            Source::Kernel => context.create(&mut config).map_err(failed)?,
            Source::Stream(stream) => restore(context, &mut config, stream)?,
        };
        if self.start == Start::Running {
            start(context, domid).map_err(failed)?;
        }
        for disk in disks {
            disk.hand_over(domid);
        }
        Ok(domid)
    }
}

/// Lets a new domain run, or removes it.
fn start(context: &Context, domid: DomId) -> Result<(), Failure> {
    let started = context.unpause(domid);
    if started.is_err()
        && let Err(left) = context.destroy(domid)
    {
        tracing::error!(%domid, failure = %left, "a domain that cannot be started is left behind");
    }
    started
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vm_that_runs_without_its_mark_is_not_started_again() {
        let vm = Uuid::from_u128(7);
        let domain = |uuid| Dominfo { domid: 3, uuid, ..Dominfo::default() };
        for (case, info, expected) in [
            ("runs", domain(vm), Some(DomId(3))),
            ("another VM", domain(Uuid::from_u128(8)), None),
            ("half built", Dominfo { paused: true, ..domain(vm) }, None),
            ("has run, and was paused", Dominfo { paused: true, cpu_time: 1, ..domain(vm) }, Some(DomId(3))),
            ("has ended", Dominfo { shutdown: true, ..domain(vm) }, None),
            ("is being destroyed", Dominfo { dying: true, ..domain(vm) }, None),
        ] {
            assert_eq!(has_run_as(vm, &[info]), expected, "{case}");
        }
    }
}
