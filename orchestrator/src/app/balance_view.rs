//! A pool as the planner sees it: every host by its sums, and the VMs of those that are looked into.
//!
//! What that costs grows with the hosts of the pool, which have their sums ready, and with the VMs of those that are
//! looked into; other VMs are asked for only where they are company of these. What this cannot see from memory (a disk that
//! comes in, a snapshot in an SR that is gone) the move itself is refused for.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use time::OffsetDateTime;
use xenith_common_ids::{HostId, NetworkId, PoolId, SrId, VmId};
use xenith_hypervisor_agent_types::{ObservedVm, PlatformKind, Power};
use xenith_orchestrator_metrics::Entity;
use xenith_orchestrator_types::ApiError;
use xenith_orchestrator_types::balance::{BalancePlan, BalancedHost, EmptyHost, PlannedMove};
use xenith_orchestrator_types::metrics::Metric;

use super::App;
use crate::balance::{self, HostLoad, Plan, Settings, VmView, Vms};
use crate::errors::store_error;
use crate::metering;
use crate::model::HostRecord;
use crate::placement::{HostView, NeededSr, Wish};
use crate::views::KnownVm;

/// Measured longer ago, it says nothing of now.
const FRESH: u64 = 60;
/// What a virtual CPU takes of a physical one where nothing is measured, in thousandths: eight on one are a full one, as
/// placement has it.
const GUESS: u64 = 125;

/// Whose VMs a plan may move.
#[derive(Debug, Clone)]
pub(super) enum Look {
    Everywhere,
    Into(HashSet<HostId>),
}

/// What VMs need, read once for a plan.
struct Needs {
    srs: HashMap<SrId, NeededSr>,
    bridges: HashMap<NetworkId, String>,
}

impl App {
    /// Every host of a pool by its sums.
    pub(super) fn sums(&self, pool: PoolId) -> Vec<HostLoad> {
        let hosts = self.views.hosts().into_iter().filter(|(_, record)| record.pool == pool);
        hosts.map(|(host, record)| self.sum(host, &record)).collect()
    }

    fn sum(&self, host: HostId, record: &HostRecord) -> HostLoad {
        let view = self.host_view(host, record, BTreeSet::new());
        let cpus = u64::from(view.cpus);
        let cpu = self.busy(Entity::Host(host), cpus);
        let cpu = cpu.unwrap_or_else(|| u64::from(view.vcpus_used) * GUESS);
        let used = self
            .fleet
            .facts(host)
            .map(|facts| facts.memory_total.mib().saturating_sub(facts.memory_free.mib()));
        HostLoad {
            view,
            memory_used: used.unwrap_or(0),
            cpu,
            count: self.views.count_of(host),
            vms: Vms::NotLookedAt,
        }
    }

    /// How busy it was when it was measured last, in thousandths of a processor.
    fn busy(&self, entity: Entity, cpus: u64) -> Option<u64> {
        let (at, values) = self.metering.series.latest(entity)?;
        if at + FRESH < metering::now() {
            return None;
        }
        let (_, percent) = values.into_iter().find(|(metric, _)| *metric == Metric::Cpu)?;
        // Of all of them; nobody measures below zero, or more than a few thousand percent.
        Some((percent.clamp(0.0, 100_000.0) * 10.0).round() as u64 * cpus)
    }

    async fn needs(&self) -> Result<Needs, ApiError> {
        let srs = self.all_srs().await?.into_iter();
        let sr = |name: String, hosts: BTreeSet<HostId>| NeededSr { name, hosts: Arc::new(hosts) };
        let srs = srs.map(|found| (found.id, sr(found.record.name, found.record.hosts))).collect();
        let (networks, _) = self.db.networks.all().await.map_err(|error| store_error(&error))?;
        let bridges = networks.into_iter().map(|network| (network.key, network.value.bridge)).collect();
        Ok(Needs { srs, bridges })
    }

    /// Looks into hosts: their VMs, and who of the pool is company of these.
    async fn look_into(
        &self,
        loads: &mut [HostLoad],
        look: &Look,
        cooling: &HashSet<VmId>,
    ) -> Result<(), ApiError> {
        let needs = self.needs().await?;
        let mut others = BTreeSet::new();
        for load in loads.iter_mut() {
            let host = load.view.host;
            if matches!(look, Look::Into(hosts) if !hosts.contains(&host)) {
                continue;
            }
            let mut vms = Vec::new();
            for (vm, known) in self.views.vms_of(host) {
                let mut view = self.vm_view((vm, &*known), &load.view, &needs);
                if view.stays.is_none() && cooling.contains(&vm) {
                    view.stays = Some("was moved a short while ago");
                }
                if view.wish.memory > 0 {
                    load.view.vms.insert(vm);
                }
                others.extend(view.wish.apart_from.iter().chain(&view.wish.together_with).copied());
                vms.push(view);
            }
            load.vms = Vms::Are(vms);
            // Many hosts with many VMs: others want the thread, too.
            tokio::task::yield_now().await;
        }
        let places: HashMap<HostId, usize> =
            loads.iter().enumerate().map(|(place, load)| (load.view.host, place)).collect();
        for other in others {
            let Some((host, seen)) = self.fleet.vm(other) else { continue };
            if let Some(place) = places.get(&host).filter(|_| seen.power.has_domain()) {
                loads[*place].view.vms.insert(other);
            }
        }
        Ok(())
    }

    fn vm_view(&self, (vm, known): (VmId, &KnownVm), host: &HostView, needs: &Needs) -> VmView {
        let seen = self.fleet.vm(vm).filter(|(at, _)| *at == known.host).map(|(_, seen)| seen);
        let runs = seen.as_ref().is_some_and(|seen| seen.power.has_domain());
        let (apart_from, together_with) = self.views.company_of(vm);
        let mut wish = Wish {
            vcpus: known.vcpus,
            pool: Some(known.pool),
            bridges: known
                .networks
                .iter()
                .filter_map(|network| needs.bridges.get(network).cloned())
                .collect(),
            apart_from,
            together_with,
            srs: self.srs_in_memory(known, needs),
            not: Some(known.host),
            ..Wish::default()
        };
        let mut cpu = 0;
        if runs {
            // What it has; one without memory would count as off.
            wish.memory = known.memory.mib().max(1);
            wish.like = host.machine.clone();
            wish.given = seen.as_ref().and_then(|seen| seen.cpu_given.as_deref().copied());
            let vcpus = u64::from(seen.as_ref().map_or(known.vcpus, |seen| seen.vcpus_online));
            cpu = self.busy(Entity::Vm(vm), vcpus).unwrap_or(vcpus * GUESS);
        }
        VmView { vm, name: known.name.to_string(), wish, cpu, stays: stays(known, seen.as_deref()) }
    }

    /// Where its disks and its ISO are, as far as is known without reading anything.
    fn srs_in_memory(&self, known: &KnownVm, needs: &Needs) -> Vec<NeededSr> {
        let mut srs: Vec<NeededSr> = Vec::new();
        for vdi in known.disks.iter().copied().chain(known.medium()) {
            let Some(vdi) = self.views.vdi(vdi) else { continue };
            let here = || NeededSr { name: vdi.sr.to_string(), hosts: Arc::new(BTreeSet::from([vdi.host])) };
            let sr = needs.srs.get(&vdi.sr).cloned().unwrap_or_else(here);
            if !srs.contains(&sr) {
                srs.push(sr);
            }
        }
        srs
    }

    /// The plan for a pool as it is now.
    pub(super) async fn plan_balance(
        &self,
        pool: PoolId,
        cooling: &HashSet<VmId>,
        settings: &Settings,
        look: Look,
    ) -> Result<BalancePlan, ApiError> {
        let mut loads = self.sums(pool);
        self.look_into(&mut loads, &look, cooling).await?;
        let names = loads.iter().map(|load| (load.view.host, load.view.name.clone())).collect();
        let settings = *settings;
        // Seconds, for the largest pools.
        let planned = tokio::task::spawn_blocking(move || balance::plan(loads, &settings)).await;
        Ok(api_plan(planned.map_err(ApiError::internal)?, &settings, &names))
    }
}

/// Why a VM is left where it is, as a move of it would be refused.
fn stays(known: &KnownVm, seen: Option<&ObservedVm>) -> Option<&'static str> {
    if known.held_by().is_some() {
        return Some("is being worked on");
    }
    if known.standby_of().is_some() {
        return Some("stands by for another VM");
    }
    if let Some(fixed) = known.fixed {
        return Some(fixed.as_str());
    }
    let Some(seen) = seen else { return Some("is not told of by its host") };
    match seen.power {
        Power::Stopped | Power::Crashed if seen.domid.is_none() => None,
        Power::Running if known.kind == PlatformKind::Pv => Some("is a pv guest that runs"),
        Power::Running if seen.incarnation.is_none() => Some("is not known to its host any more"),
        Power::Running => None,
        Power::Paused => Some("is paused"),
        Power::Suspended => Some("is suspended"),
        _ => Some("is neither running nor off"),
    }
}

fn api_plan(plan: Plan, settings: &Settings, names: &HashMap<HostId, String>) -> BalancePlan {
    let name = |host: HostId| names.get(&host).cloned().unwrap_or_else(|| host.to_string());
    let percent = |thousandths: u64| u8::try_from((thousandths + 5) / 10).unwrap_or(u8::MAX);
    let moves = plan.moves.into_iter().map(|one| PlannedMove {
        vm: one.vm,
        name: one.name,
        from: one.from,
        from_name: name(one.from),
        to: one.to,
        to_name: name(one.to),
        memory: one.memory,
        reason: one.reason,
    });
    let hosts = plan.hosts.into_iter().map(|changed| BalancedHost {
        host: changed.host,
        name: changed.name,
        memory_percent: percent(changed.before.memory),
        memory_percent_after: percent(changed.after.memory),
        cpu_percent: percent(changed.before.cpu),
        cpu_percent_after: percent(changed.after.cpu),
    });
    BalancePlan {
        goal: settings.goal,
        made: OffsetDateTime::now_utc(),
        moves: moves.collect(),
        hosts: hosts.collect(),
        power_off: plan.empty.into_iter().map(|host| EmptyHost { host, name: name(host) }).collect(),
        notes: plan.notes,
    }
}
