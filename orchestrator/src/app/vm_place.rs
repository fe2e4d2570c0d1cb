//! Where a VM goes: what placement is told of hosts and of the wish, and what its answer may tell.

use std::collections::BTreeSet;
use std::sync::Arc;

use xenith_common_ids::{HostId, VmId};
use xenith_hypervisor_agent_types::VmSpec;
use xenith_orchestrator_api::Call;
use xenith_orchestrator_types::vm::{Candidate, CreateVm, PlaceVm, Placement};
use xenith_orchestrator_types::{ApiError, Permission, Reason};

use super::App;
use super::vm_spec::Disks;
use crate::errors::store_error;
use crate::model::{HostRecord, VmRecord};
use crate::placement::{HostView, Machine, Wish, place};

/// Leaves out what is not `visible`.
fn tell(placement: &mut Placement, visible: impl Fn(HostId) -> bool) {
    placement.candidates.retain(|candidate| visible(candidate.host));
    placement.host = placement.host.filter(|host| visible(*host));
}

impl App {
    pub(super) fn host_views(&self) -> Vec<HostView> {
        let view = |(host, record): (HostId, Arc<HostRecord>)| {
            let running = self.fleet.state(host).map(|state| state.vms()).unwrap_or_default();
            let running = running.iter().filter(|vm| vm.power.has_domain());
            self.host_view(host, &record, running.map(|vm| vm.vm).collect())
        };
        self.views.hosts().into_iter().map(view).collect()
    }

    /// As placement sees a host; of the VMs that run there it is told of `vms`. Costs the same however many there are.
    pub(super) fn host_view(&self, host: HostId, record: &HostRecord, vms: BTreeSet<VmId>) -> HostView {
        let state = self.fleet.state(host);
        let facts = state.as_ref().and_then(|state| state.facts());
        let free = facts.as_ref().map_or(0, |facts| facts.memory_free.mib());
        HostView {
            host,
            name: record.name.clone(),
            pool: record.pool,
            heard: state.as_ref().is_some_and(|state| state.is_heard()),
            maintenance: record.maintenance,
            memory_total: facts.as_ref().map_or(0, |facts| facts.memory_total.mib()),
            memory_free: free.saturating_sub(self.promised(host)),
            cpus: facts.as_ref().map_or(0, |facts| facts.topology.cpus),
            vcpus_used: state.as_ref().map_or(0, |state| state.running().vcpus),
            bridges: facts
                .iter()
                .flat_map(|facts| &facts.bridges)
                .map(|bridge| bridge.name.clone())
                .chain(self.networking.bridges_on(host))
                .collect(),
            vms,
            machine: facts.as_ref().map(|facts| Machine {
                cpu: facts.cpu_model.clone(),
                xen: (facts.xen.major, facts.xen.minor),
                features: facts.cpu_features,
            }),
        }
    }

    /// The best host, or why there is none. Hosts that are not `visible` are chosen among, but not told of.
    pub(super) fn placed(
        &self,
        wish: &Wish,
        visible: impl Fn(HostId) -> bool,
    ) -> Result<(HostId, Placement), ApiError> {
        Self::placed_among(wish, &self.host_views(), visible)
    }

    /// The same among some.
    pub(super) fn placed_among(
        wish: &Wish,
        views: &[HostView],
        visible: impl Fn(HostId) -> bool,
    ) -> Result<(HostId, Placement), ApiError> {
        let mut placement = place(wish, views);
        let none = placement.candidates.is_empty();
        let host = placement.host;
        tell(&mut placement, visible);
        if let Some(host) = host {
            return Ok((host, placement));
        }
        let message = if none {
            "there is no host yet; add one with `xenith host add`"
        } else {
            "no host can take this VM"
        };
        let mut error = ApiError::new(Reason::NoPlacement, message);
        let why = |candidate: &Candidate| format!("{} {}", candidate.name, candidate.reasons.join("; "));
        error.data.detail = placement.candidates.iter().map(why).collect();
        Err(error)
    }

    /// Which hosts a placement may tell of.
    pub(super) fn visible_hosts(&self, call: &Call) -> impl Fn(HostId) -> bool {
        let sees = call.caller.sight(Permission::View);
        move |host| self.views.host(host).is_some_and(|host| sees.covers(Some(host.pool), []))
    }

    pub(super) async fn wish(
        &self,
        call: &Call,
        spec: &VmSpec,
        create: &CreateVm,
        disks: &Disks,
    ) -> Result<Wish, ApiError> {
        let pool = self.find_pool(call, create.pool.as_deref())?;
        let mut wish = Wish {
            memory: if create.start { spec.memory.target.mib() } else { 0 },
            vcpus: spec.vcpus.online.get(),
            pool: Some(pool.id),
            bridges: spec.nics.iter().map(|nic| nic.bridge.clone()).collect(),
            srs: disks.srs.clone(),
            ..Wish::default()
        };
        if let Some(reference) = &create.host {
            let host = self.find_host(call, reference).await?;
            if let Some(sr) = disks.out_of_reach(host.key) {
                let problem = format_args!("does not reach SR {}, which this VM needs", sr.name);
                return Err(ApiError::invalid("host", problem));
            }
            wish.only = Some(host.key);
            if create.pool.is_none() {
                wish.pool = Some(host.value.pool);
            }
        }
        let (apart, together) = (&create.apart_from, &create.together_with);
        (wish.apart_from, wish.together_with) = self.company(call, apart, together).await?;
        Ok(wish)
    }

    /// The VMs to stay apart from, and those to be together with.
    pub(super) async fn company(
        &self,
        call: &Call,
        apart_from: &[String],
        together_with: &[String],
    ) -> Result<(BTreeSet<VmId>, BTreeSet<VmId>), ApiError> {
        let (mut apart, mut together) = (BTreeSet::new(), BTreeSet::new());
        for reference in apart_from {
            apart.insert(self.find_vm(call, reference, Permission::View).await?.key);
        }
        for reference in together_with {
            let found = self.find_vm(call, reference, Permission::View).await?;
            if apart.contains(&found.key) {
                let problem = format_args!("{} is in apart_from too", found.value.spec.name);
                return Err(ApiError::invalid("together_with", problem));
            }
            together.insert(found.key);
        }
        Ok((apart, together))
    }

    /// Replaces the lists that are given. One that is not given stays as it is.
    pub(super) async fn change_company(
        &self,
        call: &Call,
        vm: &mut VmRecord,
        (apart, together): (Option<&[String]>, Option<&[String]>),
    ) -> Result<(), ApiError> {
        let named = self.company(call, apart.unwrap_or_default(), together.unwrap_or_default());
        let (apart_from, together_with) = named.await?;
        if apart.is_some() {
            vm.apart_from = self.with_hidden(call, &vm.apart_from, apart_from).await?;
        }
        if together.is_some() {
            vm.together_with = self.with_hidden(call, &vm.together_with, together_with).await?;
        }
        if vm.apart_from.iter().any(|other| vm.together_with.contains(other)) {
            return Err(ApiError::invalid("together_with", "names a VM that apart_from names too"));
        }
        Ok(())
    }

    /// A list of company that replaces another one: the VMs that are named, and those of `before` that the caller does not
    /// see, for nobody means to take out what they are not told of. One that is gone goes.
    async fn with_hidden(
        &self,
        call: &Call,
        before: &[VmId],
        mut named: BTreeSet<VmId>,
    ) -> Result<Vec<VmId>, ApiError> {
        let sees = call.caller.sight(Permission::View);
        for vm in before {
            let record = self.db.vms.get(vm).await.map_err(|error| store_error(&error))?;
            let hidden = record.is_some_and(|other| !sees.covers(Some(other.value.pool), &other.value.tags));
            if hidden {
                named.insert(*vm);
            }
        }
        Ok(named.into_iter().collect())
    }

    /// Where a VM that is described so would go.
    pub(super) async fn placement(&self, call: &Call, request: PlaceVm) -> Result<Placement, ApiError> {
        let mut wish = Wish { memory: request.memory.mib(), vcpus: request.vcpus, ..Wish::default() };
        if let Some(pool) = &request.pool {
            wish.pool = Some(self.find_pool(call, Some(pool))?.id);
        }
        for network in &request.networks {
            wish.bridges.insert(self.find_network(call, network).await?.value.bridge);
        }
        let mut disks = Disks::default();
        for vdi in &request.vdis {
            let found = self.find_vdi(call, &vdi.to_string()).await?;
            disks.need(self.reach_of(&found.value).await?);
        }
        wish.srs = disks.srs;
        (wish.apart_from, wish.together_with) =
            self.company(call, &request.apart_from, &request.together_with).await?;
        let mut placement = place(&wish, &self.host_views());
        tell(&mut placement, self.visible_hosts(call));
        Ok(placement)
    }
}
