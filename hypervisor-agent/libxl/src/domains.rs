//! Domains as the agent sees them: libxl's list joined with what xenstore says of each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use time::OffsetDateTime;
use uuid::Uuid;
use xenith_common_ids::{DomId, DomainUuid};
use xenith_hypervisor_agent_backend::HypervisorError;
use xenith_hypervisor_agent_types::metrics::MachineUsage;
use xenith_hypervisor_agent_types::{DomainIdentity, DomainInfo, DomainSpec, PlatformKind, VmName};
use xenith_hypervisor_agent_xenstore::Xenstore;

use crate::error::{Subject, from_failure};
use crate::info::Dominfo;
use crate::raw::Context;
use crate::reader::Reader;
use crate::reserve::moment;
use crate::store::{self, Fixed, kib_to_mib};

/// A domain number is reused, its uuid (in practice) is not: both together are one life.
type Life = (DomId, Uuid);

/// One domain as libxl's thread reads it.
struct Row {
    info: Dominfo,
    name: Option<String>,
    started: Option<u32>,
}

/// The list, and a cache of what cannot change.
#[derive(Debug, Default)]
pub struct Domains {
    fixed: Mutex<HashMap<Life, Fixed>>,
    /// Domains that we are building now: they have their identity before the store says so.
    building: Mutex<HashMap<Uuid, Announced>>,
}

#[derive(Debug, Clone)]
struct Announced {
    identity: DomainIdentity,
    kind: PlatformKind,
    name: VmName,
}

/// A domain that is being built, until this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Building {
    domains: Arc<Domains>,
    uuid: Uuid,
}

impl Domains {
    /// Says that a domain of this spec is about to appear. `None`: one of this VM or name is being built.
    pub fn announce(self: &Arc<Self>, spec: &DomainSpec) -> Option<Building> {
        let uuid = *spec.identity.vm.as_uuid();
        let mut building = self.building.lock().unwrap_or_else(PoisonError::into_inner);
        if building.contains_key(&uuid) || building.values().any(|other| other.name == spec.name) {
            return None;
        }
        let announced = Announced { identity: spec.identity, kind: spec.kind, name: spec.name.clone() };
        building.insert(uuid, announced);
        Some(Building { domains: Arc::clone(self), uuid })
    }

    /// All domains but dom0, by id.
    pub async fn all(&self, reader: &Reader, store: &Xenstore) -> Result<Vec<DomainInfo>, HypervisorError> {
        let rows = reader.ask(|context| list(context).map(|all| rows(context, all))).await??;
        self.joined(rows, store).await
    }

    /// The machine with all domains, from one list.
    pub async fn usage(&self, reader: &Reader, store: &Xenstore) -> Result<MachineUsage, HypervisorError> {
        let asked = reader.ask(|context| {
            let now = moment(context)?;
            let dom0 = now.domains.iter().find(|info| DomId(info.domid) == DomId::DOM0);
            let dom0 = dom0.map_or((0, 0), |info| (info.current_memkb, info.cpu_time));
            Ok::<_, HypervisorError>((now.physinfo, dom0, rows(context, now.domains)))
        });
        let (physinfo, (dom0_kib, dom0_cpu_time_ns), rows) = asked.await??;
        Ok(MachineUsage {
            cpus: physinfo.nr_cpus,
            memory_total: kib_to_mib(physinfo.total_kib()),
            memory_free: kib_to_mib(physinfo.free_kib()),
            dom0_memory: kib_to_mib(dom0_kib),
            dom0_cpu_time_ns,
            domains: self.joined(rows, store).await?,
        })
    }

    async fn joined(&self, rows: Vec<Row>, store: &Xenstore) -> Result<Vec<DomainInfo>, HypervisorError> {
        let mut all = Vec::with_capacity(rows.len());
        for row in &rows {
            all.extend(self.join(row, store).await?);
        }
        self.forget_others(&rows);
        all.sort_by_key(|info| info.domid);
        Ok(all)
    }

    /// One domain.
    pub async fn one(
        &self,
        domid: DomId,
        reader: &Reader,
        store: &Xenstore,
    ) -> Result<DomainInfo, HypervisorError> {
        if domid == DomId::DOM0 {
            return Err(HypervisorError::NoSuchDomain(domid));
        }
        let row = reader.ask(move |context| row(context, domid)).await??;
        self.join(&row, store).await?.ok_or(HypervisorError::NoSuchDomain(domid))
    }

    /// `None`: the domain is in Xen's list but in nobody else's; it is being made or was just destroyed.
    async fn join(&self, row: &Row, store: &Xenstore) -> Result<Option<DomainInfo>, HypervisorError> {
        let info = &row.info;
        let domid = DomId(info.domid);
        let fixed = self.fixed(row, store).await?;
        let building = self.building(info.uuid);
        let kind = fixed.kind.or(building.as_ref().map(|announced| announced.kind)).or_else(|| kind_of(info));
        // What has run is never left out: its VM would be taken for one that is off.
        let Some(kind) = kind.or(info.has_run().then_some(PlatformKind::Hvm)) else { return Ok(None) };
        // Xen's own uuid must agree, or the mark belongs to another life of this number.
        let identity = fixed.identity.or(building.as_ref().map(|announced| announced.identity));
        let identity = identity.filter(|identity| *identity.vm.as_uuid() == info.uuid);
        let name = row.name.clone().or_else(|| Some(building?.name.to_string()));
        let name = name.unwrap_or_else(|| format!("domain {domid}"));
        Ok(Some(DomainInfo {
            domid,
            uuid: DomainUuid::from_uuid(info.uuid),
            name,
            identity,
            status: info.status(),
            kind,
            memory: kib_to_mib(info.current_memkb),
            memory_max: fixed.memory_max.unwrap_or_else(|| kib_to_mib(info.max_memkb)),
            vcpus_online: info.vcpu_online,
            cpu_time_ns: info.cpu_time,
            created: row
                .started
                .and_then(|seconds| OffsetDateTime::from_unix_timestamp(i64::from(seconds)).ok()),
        }))
    }

    fn building(&self, uuid: Uuid) -> Option<Announced> {
        self.building.lock().unwrap_or_else(PoisonError::into_inner).get(&uuid).cloned()
    }

    async fn fixed(&self, row: &Row, store: &Xenstore) -> Result<Fixed, HypervisorError> {
        let life = (DomId(row.info.domid), row.info.uuid);
        let cached = self.fixed.lock().unwrap_or_else(PoisonError::into_inner).get(&life).cloned();
        if let Some(fixed) = cached {
            return Ok(fixed);
        }
        let fixed = store::fixed(store, life.0).await?;
        if fixed.is_whole() {
            self.fixed.lock().unwrap_or_else(PoisonError::into_inner).insert(life, fixed.clone());
        }
        Ok(fixed)
    }

    fn forget_others(&self, rows: &[Row]) {
        let mut fixed = self.fixed.lock().unwrap_or_else(PoisonError::into_inner);
        if fixed.len() > rows.len() {
            let lives: std::collections::HashSet<Life> =
                rows.iter().map(|row| (DomId(row.info.domid), row.info.uuid)).collect();
            fixed.retain(|life, _| lives.contains(life));
        }
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        self.domains.building.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.uuid);
    }
}

/// Xen itself tells only these two apart.
fn kind_of(info: &Dominfo) -> Option<PlatformKind> {
    info.domain_type.as_deref().and_then(|kind| kind.parse().ok())
}

fn rows(context: &Context, all: Vec<Dominfo>) -> Vec<Row> {
    let guests = all.into_iter().filter(|info| DomId(info.domid) != DomId::DOM0);
    guests.map(|info| complete(context, info)).collect()
}

fn row(context: &Context, domid: DomId) -> Result<Row, HypervisorError> {
    let json =
        context.domain_info(domid).map_err(|failure| from_failure(&failure, Subject::Domain(domid)))?;
    Ok(complete(context, parse(&json)?))
}

fn complete(context: &Context, info: Dominfo) -> Row {
    let domid = DomId(info.domid);
    Row { name: context.domain_name(domid), started: context.start_time(domid), info }
}

/// Every domain as Xen lists it, dom0 included.
pub fn list(context: &Context) -> Result<Vec<Dominfo>, HypervisorError> {
    let json = context.list_domains().map_err(|failure| from_failure(&failure, Subject::Host))?;
    json.iter().map(|json| parse(json)).collect()
}

/// libxl's JSON that is not what it says: a version that we do not understand.
pub fn parse(json: &str) -> Result<Dominfo, HypervisorError> {
    Dominfo::parse(json).map_err(|error| HypervisorError::Failed {
        operation: "reading what libxl says",
        code: "JSON".to_owned(),
        log: format!("{error} in {json}"),
    })
}
