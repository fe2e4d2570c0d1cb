//! Holds what hosts have against what is recorded, and lets go of VMs that a saga which is over still holds.
//!
//! Only hosts that are heard are looked at; what a saga is working on is left out. See [`crate::orphans`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use xenith_common_ids::{HostId, SagaId, SrId, TaskId, VdiId, VmId};
use xenith_common_text::counted;
use xenith_hypervisor_agent_types::{ObservedVm, SrFacts};
use xenith_orchestrator_saga::{Phase, SagaError};
use xenith_orchestrator_store::StoreError;
use xenith_orchestrator_types::event::Severity;
use xenith_orchestrator_types::orphan::OrphanKind;
use xenith_orchestrator_types::vdi::Vdi;

use crate::app::App;
use crate::events::Happened;
use crate::fleet::HostState;
use crate::model::{HostRecord, VmRecord};
use crate::orphans::{Findings, Found, MOST, News, Where};
use crate::views::KnownVm;

pub const EVERY: Duration = Duration::from_secs(30);
/// Names and addresses are far more than anything that goes wrong with them.
pub const RECORDS_EVERY: Duration = Duration::from_secs(3600);
/// More of one look are told in one event.
const EVENTS: usize = 20;
/// A half-written file that somebody writes is nobody's left-over.
const IDLE: u64 = 3600;

/// One look at every host that is heard. In memory; a host at a time, so that nothing else waits for it.
pub async fn look_at_hosts(app: &App) {
    let (mut found, mut unseen) = (Findings::default(), HashSet::new());
    for (host, record) in app.views.hosts() {
        let Some(state) = app.fleet.state(host).filter(|state| state.is_heard()) else {
            unseen.insert(record.name.clone());
            continue;
        };
        look_at_host(app, (host, &record), &state, &mut found);
        tokio::task::yield_now().await;
    }
    if !found.is_empty() {
        match worked_on(app).await {
            Ok(ids) => found.retain(|id| !ids.contains(id)),
            Err(error) => return tracing::warn!(%error, "tasks cannot be read; hosts are looked at later"),
        }
    }
    tell(app, Where::Hosts, found, &unseen).await;
}

fn look_at_host(
    app: &App,
    (host, record): (HostId, &Arc<HostRecord>),
    state: &HostState,
    found: &mut Findings,
) {
    let observed = state.vms();
    let pool = app.views.pool(record.pool).map(|pool| pool.name);
    let mut add = |kind, vm: VmId, name: &str, message: String| {
        let (name, host, pool) = (name.to_owned(), Some(record.name.clone()), pool.clone());
        found.add(vm, || Found { kind, subject: format!("vm/{vm}"), name, host, pool, message });
    };
    for seen in &observed {
        let known = app.views.vm(seen.vm);
        if let Some((kind, message)) = stray((host, &record.name), seen, known.as_deref()) {
            add(kind, seen.vm, &seen.name, message);
        }
    }
    let there: HashSet<VmId> = observed.iter().map(|seen| seen.vm).collect();
    for vm in app.views.ids_of(host).into_iter().filter(|vm| !there.contains(vm)) {
        let Some(lost) = app.views.vm(vm).filter(|lost| lost.held_by().is_none()) else { continue };
        let name = lost.name.to_string();
        let message = format!(
            "{name} is recorded on {}, which does not know it any more; `xenith vm start` defines it there again, \
             `xenith vm delete` forgets it",
            record.name
        );
        add(OrphanKind::Lost, vm, &name, message);
    }
}

/// What is wrong with a VM that a host has, by its record if there is one.
fn stray(
    (host, host_name): (HostId, &str),
    seen: &ObservedVm,
    record: Option<&KnownVm>,
) -> Option<(OrphanKind, String)> {
    let (name, power) = (&seen.name, seen.power);
    match record {
        Some(record) if record.held_by().is_some() || record.host == host => None,
        Some(_) => Some((
            OrphanKind::Elsewhere,
            format!(
                "{host_name} has {name} ({power}), which is recorded on another host; it must not be started in both \
                 places"
            ),
        )),
        None if seen.managed => Some((
            OrphanKind::Definition,
            format!(
                "{host_name} has a definition of {name} ({power}) that no record knows, such as after the \
                 orchestrator was restored from an older backup; nothing was done to it"
            ),
        )),
        // A domain that an agent of ours made, and that has lost its definition. Others' domains are their own.
        None if seen.incarnation.is_some() => Some((
            OrphanKind::Domain,
            format!(
                "{host_name} runs the domain {name}, which was made by Xenith and has neither definition nor \
                 record; nothing was done to it"
            ),
        )),
        None => None,
    }
}

/// What SRs must hold, by what is recorded: each id with its name.
pub struct Recorded {
    /// The disks of snapshots and templates, which are few; VDIs are looked up SR by SR.
    kept: HashMap<SrId, BTreeMap<VdiId, String>>,
    /// VDIs that a saga makes, fills or moves: one is not there yet, of another there are snapshots for as long as that takes.
    held: HashSet<VdiId>,
    /// SRs that were looked at: one that several hosts share is looked at on the first.
    seen: HashSet<SrId>,
    /// Found so far.
    found: Findings,
    /// The names of hosts that could not be looked at.
    unseen: HashSet<String>,
}

impl Recorded {
    pub async fn read(app: &App) -> Result<Self, StoreError> {
        let mut kept: HashMap<SrId, BTreeMap<VdiId, String>> = HashMap::new();
        let (snapshots, _) = app.db.snapshots.all().await?;
        for snapshot in snapshots {
            for (vdi, sr) in snapshot.value.kept() {
                kept.entry(sr).or_default().insert(vdi, snapshot.value.name.clone());
            }
        }
        let (templates, _) = app.db.templates.all().await?;
        for template in templates {
            for disk in template.value.disks {
                kept.entry(disk.sr).or_default().insert(disk.vdi, template.value.name.clone());
            }
        }
        let held = app.views.held_vdis().into_iter().map(|(vdi, _)| vdi).collect();
        let (seen, unseen) = (HashSet::new(), HashSet::new());
        Ok(Self { kept, held, seen, found: Findings::default(), unseen })
    }

    /// A host, or an SR of it, could not be looked at.
    pub fn missed(&mut self, host: &HostRecord) {
        self.unseen.insert(host.name.clone());
    }

    /// What an SR must hold, to be read before it is looked at. `None`: it was compared already.
    pub fn of(&self, app: &App, sr: SrId) -> Option<BTreeMap<VdiId, String>> {
        if self.seen.contains(&sr) {
            return None;
        }
        let mut known = self.kept.get(&sr).cloned().unwrap_or_default();
        known.extend(app.views.vdis_in(sr).iter().map(|vdi| (vdi.id, vdi.name.clone())));
        Some(known)
    }

    /// Holds what is in an SR against what must be.
    pub fn compare(
        &mut self,
        (sr_name, host): (&str, &HostRecord),
        pool: Option<&String>,
        (known, facts): (&BTreeMap<VdiId, String>, &SrFacts),
    ) {
        self.seen.insert(facts.sr);
        let found = &mut self.found;
        let mut add = |kind, (id, subject): (String, &str), name: String, message: String| {
            let (subject, host) = (format!("{subject}/{id}"), Some(host.name.clone()));
            found.add(id, || Found { kind, subject, name, host, pool: pool.cloned(), message });
        };
        let mut there = BTreeSet::new();
        for vdi in &facts.vdis {
            there.insert(vdi.vdi);
            if known.contains_key(&vdi.vdi) || vdi.snapshot_of.is_some_and(|of| self.held.contains(&of)) {
                continue;
            }
            let mib = vdi.size.bytes() >> 20;
            let message = match vdi.snapshot_of {
                Some(of) => format!("{sr_name} holds a snapshot of {of}, {mib} MiB, that no record knows"),
                None => format!(
                    "{sr_name} holds an image of {mib} MiB that no record knows; `xenith sr adopt {sr_name} {} NAME` \
                     makes it a VDI again, which can be looked at and deleted",
                    vdi.vdi
                ),
            };
            add(OrphanKind::Image, (vdi.vdi.to_string(), "vdi"), vdi.vdi.to_string(), message);
        }
        for damaged in &facts.damaged {
            there.insert(damaged.vdi);
            let name = known.get(&damaged.vdi).cloned().unwrap_or_else(|| damaged.vdi.to_string());
            let message = format!("{name} in {sr_name} cannot be used: {}", damaged.problem);
            add(OrphanKind::Damaged, (damaged.vdi.to_string(), "vdi"), name, message);
        }
        let held = &self.held;
        for (vdi, name) in known.iter().filter(|(vdi, _)| !there.contains(vdi) && !held.contains(vdi)) {
            let message = format!("{name} ({vdi}) is recorded in {sr_name}, which does not hold it");
            add(OrphanKind::Missing, (vdi.to_string(), "vdi"), name.clone(), message);
        }
        for left in facts.left_overs.iter().filter(|left| left.idle_s > IDLE) {
            let message = format!(
                "{sr_name} holds the file {}, {} MiB, which is no image and which nobody has written for {}",
                left.name,
                left.bytes >> 20,
                counted(left.idle_s / 3600, "hour")
            );
            add(
                OrphanKind::LeftOver,
                (format!("{}/{}", facts.sr, left.name), "file"),
                left.name.clone(),
                message,
            );
        }
    }

    /// Tells what was found in all SRs that could be looked at.
    pub async fn tell(mut self, app: &App) {
        if !self.found.is_empty() {
            match worked_on(app).await {
                Ok(ids) => self.found.retain(|id| !ids.contains(id)),
                Err(error) => return tracing::warn!(%error, "tasks cannot be read; SRs are looked at later"),
            }
            match abandoned(app).await {
                Ok(tasks) => {
                    for (id, found) in self.found.iter_mut() {
                        if let Some(task) = tasks.get(id) {
                            found
                                .message
                                .push_str(&format!("; it was left by task {task}, which was abandoned"));
                        }
                    }
                }
                Err(error) => tracing::warn!(%error, "abandoned tasks cannot be read"),
            }
        }
        tell(app, Where::Storage, self.found, &self.unseen).await;
    }
}

/// What was held by a saga that is over, at the last look.
#[derive(Debug, Default)]
pub struct Holds {
    vms: HashMap<VmId, SagaId>,
    vdis: HashMap<VdiId, SagaId>,
    hosts: HashMap<HostId, SagaId>,
}

/// Lets go of VMs, VDIs and hosts that are held by a saga which is over. The saga clears its hold with its last step or its
/// undo; one that a person abandoned, or whose end was lost with a store that was restored, may not have. A saga that is
/// not over is always in the log, so there is nothing here that could be somebody's.
pub async fn release(app: &App, before: &mut Holds) {
    let looked = async {
        let hosts = over(app, app.views.held_hosts()).await?;
        Ok((over(app, app.views.held()).await?, over(app, app.views.held_vdis()).await?, hosts))
    };
    let (vms, vdis, hosts) = match looked.await {
        Ok(found) => found,
        Err(error) => {
            let error: SagaError = error;
            return tracing::warn!(%error, "a task cannot be read; holds are looked at later");
        }
    };
    for (vm, saga) in vms.iter().filter(|(vm, saga)| before.vms.get(vm) == Some(saga)) {
        let released = app.db.vms.modify(vm, |record: &mut VmRecord| {
            record.held_by = record.held_by.filter(|holder| holder != saga);
        });
        if let Err(error) = released.await {
            tracing::warn!(%error, "a VM could not be let go of");
            continue;
        }
        let Some(record) = app.views.vm(*vm) else { continue };
        let message = format!("{} was held by task {saga}, which is over; it is free again", record.name);
        let (severity, kind, subject) = (Severity::Warning, "vm.released", format!("vm/{vm}"));
        app.events.note(Happened { severity, kind, subject, message, pool: Some(record.pool) }).await;
    }
    for (vdi, saga) in vdis.iter().filter(|(vdi, saga)| before.vdis.get(vdi) == Some(saga)) {
        let task = TaskId::from(*saga);
        let released = app.db.vdis.modify(vdi, |record: &mut Vdi| {
            record.held_by = record.held_by.filter(|holder| *holder != task);
        });
        if let Err(error) = released.await {
            tracing::warn!(%error, "a VDI could not be let go of");
            continue;
        }
        let Some(record) = app.views.vdi(*vdi) else { continue };
        let message = format!(
            "{} was held by task {saga}, which is over; it is free again, but may not be whole",
            record.name
        );
        let (severity, kind, subject) = (Severity::Warning, "vdi.released", format!("vdi/{vdi}"));
        let pool = app.views.host(record.host).map(|host| host.pool);
        app.events.note(Happened { severity, kind, subject, message, pool }).await;
    }
    for (host, saga) in hosts.iter().filter(|(host, saga)| before.hosts.get(host) == Some(saga)) {
        let released = app.db.hosts.modify(host, |record: &mut HostRecord| record.let_go(*saga));
        if let Err(error) = released.await {
            tracing::warn!(%error, "a host could not be let go of");
            continue;
        }
        let Some(record) = app.views.host(*host) else { continue };
        let message = format!(
            "{} was held by task {saga}, which is over; it is free again, and in maintenance until you end that",
            record.name
        );
        let (severity, kind, subject) = (Severity::Warning, "host.released", format!("host/{host}"));
        app.events.note(Happened { severity, kind, subject, message, pool: Some(record.pool) }).await;
    }
    *before = Holds { vms, vdis, hosts };
}

/// Those of `held` whose saga is over.
async fn over<I: Eq + Hash>(app: &App, held: Vec<(I, SagaId)>) -> Result<HashMap<I, SagaId>, SagaError> {
    let mut over = HashMap::new();
    for (id, saga) in held {
        match app.engine.get(saga).await {
            Ok(record) if !matches!(record.phase, Phase::Ended { .. }) => continue,
            Ok(_) | Err(SagaError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        over.insert(id, saga);
    }
    Ok(over)
}

/// One look at names, addresses and snapshots whose VM is gone.
pub async fn look_at_records(app: &App) {
    match stale_records(app).await {
        Ok(found) => tell(app, Where::Records, found, &HashSet::new()).await,
        Err(error) => tracing::warn!(%error, "records cannot be looked at"),
    }
}

async fn stale_records(app: &App) -> Result<Findings, StoreError> {
    let mut found = Findings::default();
    let mut add = |(what, name): (&str, String), vm: VmId, pool: Option<String>| {
        let message = format!("the {what} {name} is taken by VM {vm}, which is not there");
        let subject = format!("{what}/{name}");
        found.add(vm, || Found { kind: OrphanKind::Record, subject, name, host: None, pool, message });
    };
    let mut after = None;
    loop {
        let page = app.db.vm_names.page(after, 500).await?;
        for record in &page.records {
            if app.views.vm(record.value).is_none() && app.db.vms.get(&record.value).await?.is_none() {
                let pool = app.views.pool(record.key.1).map(|pool| pool.name);
                add(("name", record.key.0.clone()), record.value, pool);
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    loop {
        let page = app.db.macs.page(after, 500).await?;
        for record in &page.records {
            if app.views.vm(record.value).is_none() && app.db.vms.get(&record.value).await?.is_none() {
                add(("mac", record.key.clone()), record.value, None);
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let (snapshots, _) = app.db.snapshots.all().await?;
    for snapshot in snapshots {
        let vm = snapshot.value.vm;
        if app.views.vm(vm).is_none() && app.db.vms.get(&vm).await?.is_none() {
            add(("snapshot", snapshot.key.to_string()), vm, None);
        }
    }
    Ok(found)
}

/// The ids that any saga which is not over speaks of.
pub(crate) async fn worked_on(app: &App) -> Result<HashSet<String>, SagaError> {
    let (mut ids, mut after) = (HashSet::new(), None);
    loop {
        let (page, next) = app.engine.active(after, 500).await?;
        for (_, record) in &page {
            for value in std::iter::once(&record.params).chain(record.outputs.values()) {
                collect(value, &mut |id| {
                    ids.insert(id);
                });
            }
        }
        match next {
            Some(next) => after = Some(next),
            None => return Ok(ids),
        }
    }
}

/// The ids that abandoned sagas speak of, with the saga.
async fn abandoned(app: &App) -> Result<HashMap<String, SagaId>, SagaError> {
    let mut ids = HashMap::new();
    for saga in app.tasks.abandoned() {
        let record = match app.engine.get(saga).await {
            Ok(record) => record,
            Err(SagaError::NotFound(_)) => continue,
            Err(error) => return Err(error),
        };
        for value in std::iter::once(&record.params).chain(record.outputs.values()) {
            collect(value, &mut |id| {
                ids.insert(id, saga);
            });
        }
    }
    Ok(ids)
}

/// Every text that could be an id.
fn collect(value: &Value, put: &mut dyn FnMut(String)) {
    match value {
        Value::String(text) if text.len() == 36 => put(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| collect(value, put)),
        Value::Object(fields) => fields.values().for_each(|value| collect(value, put)),
        _ => {}
    }
}

async fn tell(app: &App, at: Where, found: Findings, unseen: &HashSet<String>) {
    let News { found: new, beyond } = app.orphans.take(at, found, unseen);
    let pool_of = |found: &Found| {
        let name = found.pool.as_ref()?;
        app.views.pools().into_iter().find(|pool| pool.name == *name).map(|pool| pool.id)
    };
    for found in new.iter().take(EVENTS) {
        let happened = Happened {
            severity: Severity::Warning,
            kind: "orphan.found",
            subject: found.subject.clone(),
            message: found.message.clone(),
            pool: pool_of(found),
        };
        app.events.note(happened).await;
    }
    let more = new.len().saturating_sub(EVENTS);
    let more = (more > 0).then(|| {
        format!(
            "{} found that hosts and records do not agree on; see `xenith orphan list`",
            counted(more, "more thing")
        )
    });
    let beyond = beyond.map(|beyond| {
        format!(
            "hosts and records disagree on {} more than the {MOST} that `xenith orphan list` shows of one kind of look: \
             look for one cause, such as an SR that is empty or a store of another site",
            counted(beyond, "thing")
        )
    });
    for message in more.into_iter().chain(beyond) {
        let (severity, kind, subject) = (Severity::Warning, "orphan.found", String::new());
        app.events.note(Happened { severity, kind, subject, message, pool: None }).await;
    }
}
