//! Waves: many imports from one source, within caps. Plans are made here, waves kept and steered; what makes them move is
//! [`App::drive_waves`], called by a background task.
//!
//! What always holds: what a wave wants is in its record; where its members are is read from their imports, never kept
//! twice. A member begins by `import.start` on behalf of who started the wave, with the rights that this user has then.
//! A crash between the begin of an import and the record is found by the VM's id at its source: the import is taken
//! over, never begun twice.

use std::collections::{BTreeSet, HashMap, HashSet};

use async_trait::async_trait;
use time::OffsetDateTime;
use xenith_common_ids::{ImportId, ImportPlanId, SrId, VdiId};
use xenith_orchestrator_api::wave::WaveApi;
use xenith_orchestrator_api::{Call, Caller};
use xenith_orchestrator_store::Record;
use xenith_orchestrator_types::import::{ImportOrigin, ImportPhase, LookAtSource, StartImport};
use xenith_orchestrator_types::wave::{
    CreateWave, FreedHosts, ImportPlan, PlanImports, PlannedWave, Wave, WaveMember, WaveRef, WaveStatus,
    WaveStep,
};
use xenith_orchestrator_types::{ApiError, Empty, ListRequest, Page, Reason};
use xenith_vmware_import::plan::inventory::{Inventory, Vm, VmDisk};
use xenith_vmware_import::plan::waves::{Rates, WaveLimits, Wish};
use xenith_vmware_import::plan::{self, Settings};

use super::App;
use super::import_source::{api_assessment, wanted};
use super::listings::filtered;
use super::listings::imports::WaveRow;
use super::wave_places::{Places, Target, Ways, srs_of};
use crate::errors::store_error;
use crate::model::{ImportRecord, WaveMemberRecord, WaveRecord};
use crate::vsphere;

type Imports = HashMap<ImportId, ImportRecord>;

fn step_of(member: &WaveMemberRecord, imports: &Imports) -> WaveStep {
    let import = member.import.and_then(|id| imports.get(&id));
    match (import.map(|import| import.phase), &member.refused) {
        (None, Some(_)) => WaveStep::Refused,
        (None, None) => WaveStep::Waiting,
        (Some(ImportPhase::Done), _) => WaveStep::Moved,
        (Some(ImportPhase::RolledBack), _) => WaveStep::RolledBack,
        (Some(ImportPhase::Following), _) if !is_due(import) => WaveStep::Following,
        (Some(ImportPhase::NotPrepared | ImportPhase::WaitingForShutdown), _) => WaveStep::Stuck,
        (Some(_), _) => WaveStep::Moving,
    }
}

/// It only passes through: its cut-over is due, and it keeps its place.
fn is_due(import: Option<&ImportRecord>) -> bool {
    let wish = import.and_then(|import| import.cut_over);
    wish.is_some_and(|wish| wish.at <= OffsetDateTime::now_utc())
}

const fn is_over(step: WaveStep) -> bool {
    matches!(step, WaveStep::Moved | WaveStep::RolledBack | WaveStep::Refused)
}

fn api_wave(id: ImportPlanId, record: &WaveRecord, imports: &Imports) -> Wave {
    let member = |member: &WaveMemberRecord| WaveMember {
        vm: member.vm.clone(),
        name: member.name.clone(),
        transfer_mib: member.transfer_mib,
        step: step_of(member, imports),
        import: member.import,
        message: member.refused.clone().or_else(|| member.waits_for.clone()).or_else(|| {
            member.import.and_then(|id| imports.get(&id)).and_then(|import| import.message.clone())
        }),
    };
    let members: Vec<WaveMember> = record.members.iter().map(member).collect();
    let moved = members.iter().filter(|member| member.step == WaveStep::Moved);
    Wave {
        id,
        name: record.name.clone(),
        source: record.source,
        status: record.status,
        options: record.options.clone(),
        caps: record.caps,
        total_mib: members.iter().map(|member| member.transfer_mib).sum(),
        moved_mib: moved.map(|member| member.transfer_mib).sum(),
        members,
        created: record.created,
        ended: record.ended,
    }
}

/// The import that a member is in already: one that is under way, whoever began it; or one that has ended well since the
/// wave was made, whose begin was not written down because the wave was paused at that moment. Begun anew, it would bring
/// the state in which the source was left.
fn known_import(record: &WaveRecord, member: &WaveMemberRecord, imports: &Imports) -> Option<ImportId> {
    let known = imports.iter().find(|(_, import)| {
        let same = matches!(&import.origin, ImportOrigin::Vsphere { source, vm, .. }
            if *source == record.source && *vm == member.vm);
        let moved = import.phase == ImportPhase::Done && import.created >= record.created;
        same && (moved || !import.phase.is_over())
    });
    known.map(|(id, _)| *id)
}

/// The VM that is called so, by its id or its name. Folders of a vCenter may hold several of one name.
fn one_of<'a>(inventory: &'a Inventory, reference: &str) -> Result<&'a Vm, ApiError> {
    if let Some(vm) = inventory.vms.iter().find(|vm| vm.id == reference) {
        return Ok(vm);
    }
    let named: Vec<&Vm> = inventory.vms.iter().filter(|vm| vm.name == reference).collect();
    match named[..] {
        [vm] => Ok(vm),
        [] => Err(ApiError::not_found("VM at the source", reference)),
        _ => {
            let text = format_args!("there are several VMs named {reference:?}; name one by its id");
            let mut error = ApiError::new(Reason::Ambiguous, text);
            error.data.candidates = named.iter().map(|vm| vm.id.clone()).collect();
            Err(error)
        }
    }
}

fn vdis_of(import: Option<&ImportRecord>) -> Vec<VdiId> {
    import.map(|import| import.disks.iter().map(|disk| disk.vdi).collect()).unwrap_or_default()
}

impl App {
    async fn imports_by_id(&self) -> Result<Imports, ApiError> {
        let (imports, _) = self.db.imports.all().await.map_err(|error| store_error(&error))?;
        Ok(imports.into_iter().map(|record| (record.key, record.value)).collect())
    }

    async fn find_wave(&self, reference: &str) -> Result<Record<ImportPlanId, WaveRecord>, ApiError> {
        let (all, _) = self.db.waves.all().await.map_err(|error| store_error(&error))?;
        let found =
            all.into_iter().find(|wave| wave.value.name == reference || wave.key.to_string() == reference);
        found.ok_or_else(|| ApiError::not_found("wave", reference))
    }

    async fn set_wave(&self, reference: &str, change: impl Fn(&mut WaveRecord)) -> Result<Wave, ApiError> {
        let found = self.find_wave(reference).await?;
        if found.value.status == WaveStatus::Done && found.value.members.iter().all(|m| m.refused.is_none()) {
            return Err(ApiError::new(
                Reason::WrongState,
                format_args!("the wave {} is done", found.value.name),
            ));
        }
        let mut changed = found.value.clone();
        change(&mut changed);
        self.db.waves.update(&found, &changed).await.map_err(|error| store_error(&error))?;
        self.imports.nudge();
        Ok(api_wave(found.key, &changed, &self.imports_by_id().await?))
    }

    /// What moves next, in every wave that runs. Repeated, it does nothing twice.
    pub async fn drive_waves(&self) -> Result<(), ApiError> {
        let (waves, _) = self.db.waves.all().await.map_err(|error| store_error(&error))?;
        let running: Vec<_> =
            waves.into_iter().filter(|wave| wave.value.status == WaveStatus::Running).collect();
        for wave in running {
            if let Err(error) = self.drive_wave(&wave).await {
                tracing::warn!(wave = wave.value.name, %error, "a wave does not move on");
            }
        }
        Ok(())
    }

    /// Begins one member at most for each look at the imports, so that every begin counts in the next.
    async fn drive_wave(&self, wave: &Record<ImportPlanId, WaveRecord>) -> Result<(), ApiError> {
        loop {
            let found = self.find_wave(&wave.key.to_string()).await?;
            let record = &found.value;
            if record.status != WaveStatus::Running {
                return Ok(());
            }
            let imports = self.imports_by_id().await?;
            if record.members.iter().all(|member| is_over(step_of(member, &imports))) {
                let mut done = record.clone();
                (done.status, done.ended) = (WaveStatus::Done, Some(OffsetDateTime::now_utc()));
                self.db.waves.update(&found, &done).await.map_err(|error| store_error(&error))?;
                return Ok(());
            }
            let places = self.places(record, &imports).await?;
            let caps = record.caps.or_default();
            let known = self.sr_names().await?;
            let mut ways = Ways { targets: self.targets(record), ..Ways::default() };
            let next = record.members.iter().position(|member| {
                ways.srs = srs_of(member, &record.options.storage, &known);
                step_of(member, &imports) == WaveStep::Waiting && places.have_room(member, caps, &ways)
            });
            let Some(next) = next else { return Ok(()) };
            let begun = self.begin_member(record, &record.members[next], &imports).await;
            let mut changed = record.clone();
            let member = &mut changed.members[next];
            let away = matches!(&begun, Err(error) if error.reason() == Reason::HostUnreachable);
            match begun {
                Ok(import) => (member.import, member.waits_for) = (Some(import), None),
                // Nobody has refused anything: a source that is away for a minute must not end a wave.
                Err(error) if away => member.waits_for = Some(error.to_string()),
                Err(error) => (member.refused, member.waits_for) = (Some(error.to_string()), None),
            }
            if changed != *record {
                self.db.waves.update(&found, &changed).await.map_err(|error| store_error(&error))?;
            }
            if away {
                return Ok(());
            }
        }
    }

    /// Of all waves from this source: the caps protect its hosts.
    async fn places(&self, record: &WaveRecord, imports: &Imports) -> Result<Places, ApiError> {
        let (waves, _) = self.db.waves.all().await.map_err(|error| store_error(&error))?;
        let mut places = Places::default();
        let here = waves.iter().filter(|wave| wave.value.source == record.source);
        let members = here.flat_map(|wave| &wave.value.members);
        let moving: Vec<&WaveMemberRecord> =
            members.filter(|member| step_of(member, imports) == WaveStep::Moving).collect();
        for member in moving {
            let import = member.import.and_then(|id| imports.get(&id));
            let mut srs = BTreeSet::new();
            for vdi in vdis_of(import) {
                let vdi = self.db.vdis.get(&vdi).await.map_err(|error| store_error(&error))?;
                srs.extend(vdi.map(|vdi| vdi.value.sr));
            }
            places.take(member, import.map(|import| import.host), &srs);
        }
        Ok(places)
    }

    async fn sr_names(&self) -> Result<Vec<(SrId, String)>, ApiError> {
        let srs = self.all_srs().await?;
        Ok(srs.into_iter().map(|sr| (sr.id, sr.record.name)).collect())
    }

    fn targets(&self, record: &WaveRecord) -> Vec<Target> {
        let wanted = record.options.host.as_deref();
        let hosts = self.views.hosts().into_iter();
        let mine = hosts
            .filter(|(id, host)| wanted.is_none_or(|wanted| host.name == wanted || id.to_string() == wanted));
        mine.map(|(id, host)| Target { host: id, local_sr: host.local_sr }).collect()
    }

    async fn begin_member(
        &self,
        record: &WaveRecord,
        member: &WaveMemberRecord,
        imports: &Imports,
    ) -> Result<ImportId, ApiError> {
        if let Some(id) = known_import(record, member, imports) {
            return Ok(id);
        }
        let source = self.find_source(&record.source.to_string()).await?;
        let Record { key: source, value: of_source, .. } = source;
        if self.imports.was_refused(source, &of_source.sealed_password) {
            return Err(ApiError::new(Reason::HostUnreachable, vsphere::refused_before(&of_source)));
        }
        let options = record.options.clone();
        let request = StartImport {
            source: record.source.to_string(),
            vm: member.vm.clone(),
            name: None,
            networks: options.networks,
            storage: options.storage,
            pool: options.pool,
            host: options.host,
            tags: options.tags,
            cut_over_at: options.cut_over_at,
            downtime_s: options.downtime_s,
            interval_s: options.interval_s,
            shutdown_s: options.shutdown_s,
            force: options.force,
            verify: options.verify,
            track: options.track,
            no_prepare: options.no_prepare,
            start: options.start,
        };
        let user = record.started_by;
        let user = user.ok_or_else(|| ApiError::new(Reason::WrongState, "nobody has started the wave"))?;
        let caller: Caller = self.authn.caller_now(user).await?;
        let call = Call::new(caller, None);
        let started = Box::pin(self.start_import(&call, request)).await;
        if started.as_ref().is_err_and(|error| vsphere::is_refused_login(&error.to_string())) {
            self.imports.note_refused(source, of_source.sealed_password);
        }
        let id = started?.object.and_then(|id| id.parse().ok());
        id.ok_or_else(|| ApiError::internal("an import without an id"))
    }

    /// The plan of `import.plan`: what is at the source, held against what is here.
    pub(super) async fn plan_imports(
        &self,
        call: &Call,
        request: PlanImports,
    ) -> Result<ImportPlan, ApiError> {
        let look = LookAtSource { source: request.source.clone(), vms: request.vms.clone() };
        let mut inventory = self.read_inventory(&look).await?;
        // Hosts stay all: which of them come free depends on who remains, too.
        let chosen: Vec<String> =
            inventory.vms.iter().filter(|vm| wanted(vm, &request.vms)).map(|vm| vm.id.clone()).collect();
        let all = chosen.len() == inventory.vms.len();
        if !all {
            inventory.vms.retain(|vm| chosen.contains(&vm.id));
        }
        let taken = self.taken_names(&inventory).await?;
        let mut settings = self.settings_of(&request, taken);
        self.map_storage(call, &request, &inventory, &mut settings).await?;
        let plan = plan::make(&inventory, &settings);
        let seconds = |seconds: f64| seconds.max(0.0).round() as u64;
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let wave = |wave: &plan::waves::Wave| PlannedWave {
            number: number(wave.number),
            vms: wave.vms.clone(),
            criticality: wave.criticality,
            transfer_mib: wave.estimate.mib,
            seconds: seconds(wave.estimate.seconds),
            best_seconds: seconds(wave.estimate.best_seconds),
            worst_seconds: seconds(wave.estimate.worst_seconds),
            narrowest: wave.estimate.narrowest.clone(),
            exceeds_window: wave.exceeds_window,
        };
        let freed = |freed: &plan::FreedHosts| FreedHosts {
            after_wave: number(freed.after_wave),
            after_seconds: seconds(freed.after_seconds),
            hosts: freed.clusters.iter().flat_map(|cluster| cluster.free.clone()).collect(),
        };
        let mut notes = plan.notes.clone();
        if !all {
            notes.push("which hosts come free is told only for a plan of all VMs".to_owned());
        }
        Ok(ImportPlan {
            vms: plan.vms.iter().map(api_assessment).collect(),
            waves: plan.waves.iter().map(wave).collect(),
            blocked: plan.blocked.clone(),
            freed: if all { plan.freed.iter().map(freed).collect() } else { Vec::new() },
            total_mib: plan.total_mib,
            notes,
        })
    }

    /// Datastores to SRs of ours, with what is free in them.
    async fn map_storage(
        &self,
        call: &Call,
        request: &PlanImports,
        inventory: &Inventory,
        settings: &mut Settings,
    ) -> Result<(), ApiError> {
        let used = inventory.vms.iter().flat_map(|vm| &vm.disks).map(VmDisk::datastore);
        let used: HashSet<&str> = used.chain(inventory.datastores.iter().map(|d| d.name.as_str())).collect();
        for mapping in &request.storage {
            let sr = self.find_sr(call, &mapping.to).await?;
            let sr = self.api_sr(sr);
            if let Some(space) = sr.space {
                settings.free_mib.insert(sr.name.clone(), space.free >> 20);
            }
            if mapping.from == "*" {
                for datastore in &used {
                    settings.storage.entry((*datastore).to_owned()).or_insert_with(|| sr.name.clone());
                }
            } else {
                settings.storage.insert(mapping.from.clone(), sr.name.clone());
            }
        }
        Ok(())
    }

    /// The names that VMs here have, of those of the plan.
    async fn taken_names(&self, inventory: &Inventory) -> Result<HashSet<String>, ApiError> {
        let mut taken = HashSet::new();
        for vm in &inventory.vms {
            let named = self.db.vm_names.page_under(&vm.name, None, 1).await;
            if !named.map_err(|error| store_error(&error))?.records.is_empty() {
                taken.insert(vm.name.clone());
            }
        }
        Ok(taken)
    }

    fn settings_of(&self, request: &PlanImports, taken_names: HashSet<String>) -> Settings {
        let caps = request.caps.or_default();
        let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        let or = |mine: u32, default: u32| if mine == 0 { default } else { mine };
        let rates = Rates::default();
        let line = if request.line_mib_s == 0 { rates.overall } else { f64::from(request.line_mib_s) };
        let mut vms: HashMap<String, Wish> = HashMap::new();
        for (name, criticality) in &request.criticality {
            vms.entry(name.clone()).or_default().criticality = *criticality;
        }
        for (name, others) in &request.depends_on {
            vms.entry(name.clone()).or_default().depends_on.clone_from(others);
        }
        // A star takes all: then no network is without one of ours.
        let star = request.networks.iter().any(|mapping| mapping.from == "*");
        let named = request.networks.iter().filter(|_| !star);
        let networks = named.map(|m| (m.from.clone(), m.to.clone().unwrap_or_else(|| "none".to_owned())));
        Settings {
            networks: networks.collect(),
            taken_names,
            rates: Rates { overall: line, ..rates },
            waves: WaveLimits {
                max_vms: count(or(request.max_vms, 100)),
                window_hours: f64::from(or(request.window_hours, 8)),
                parallel_overall: count(caps.overall),
                parallel_per_host: count(caps.per_host),
                parallel_per_datastore: count(caps.per_datastore),
                // The plan places disks in SRs, and knows of no hosts here.
                parallel_per_target: count(caps.per_sr),
            },
            vms,
            ..self.plan_settings()
        }
    }
}

#[async_trait]
impl WaveApi for App {
    async fn list(&self, _: &Call, request: ListRequest) -> Result<Page<Wave>, ApiError> {
        let imports = self.imports_by_id().await?;
        let (all, _) = self.db.waves.all().await.map_err(|error| store_error(&error))?;
        let rows = all.iter().map(|record| WaveRow(api_wave(record.key, &record.value, &imports))).collect();
        Ok(filtered(rows, &request)?.map(|WaveRow(wave)| wave))
    }

    async fn get(&self, _: &Call, request: WaveRef) -> Result<Wave, ApiError> {
        let found = self.find_wave(&request.wave).await?;
        Ok(api_wave(found.key, &found.value, &self.imports_by_id().await?))
    }

    async fn create(&self, _: &Call, request: CreateWave) -> Result<Wave, ApiError> {
        if request.name.trim().is_empty() || request.vms.is_empty() {
            return Err(ApiError::invalid("vms", "a wave needs a name and at least one VM"));
        }
        if self.find_wave(&request.name).await.is_ok() {
            let text = format_args!("there is a wave {} already", request.name);
            return Err(ApiError::new(Reason::Conflict, text));
        }
        let source = self.find_source(&request.source).await?;
        let look = LookAtSource { source: request.source.clone(), vms: request.vms.clone() };
        let inventory = self.read_inventory(&look).await?;
        let mut members: Vec<WaveMemberRecord> = Vec::new();
        for name in &request.vms {
            let vm = one_of(&inventory, name)?;
            if members.iter().any(|member| member.vm == vm.id) {
                return Err(ApiError::invalid("vms", format!("{} is named twice", vm.name)));
            }
            let mut datastores: Vec<String> = vm
                .disks
                .iter()
                .map(|disk| disk.datastore().to_owned())
                .filter(|name| !name.is_empty())
                .collect();
            datastores.sort();
            datastores.dedup();
            members.push(WaveMemberRecord {
                vm: vm.id.clone(),
                name: vm.name.clone(),
                host: vm.host.clone(),
                datastores,
                transfer_mib: vm.transfer_mib(),
                import: None,
                refused: None,
                waits_for: None,
            });
        }
        let record = WaveRecord {
            name: request.name,
            source: source.key,
            status: WaveStatus::Planned,
            options: request.options,
            caps: request.caps.or_default(),
            members,
            started_by: None,
            created: OffsetDateTime::now_utc(),
            ended: None,
        };
        let id = ImportPlanId::new();
        self.db.waves.insert(&id, &record).await.map_err(|error| store_error(&error))?;
        Ok(api_wave(id, &record, &Imports::new()))
    }

    async fn start(&self, call: &Call, request: WaveRef) -> Result<Wave, ApiError> {
        let user = call.caller.user;
        self.set_wave(&request.wave, |record| {
            (record.status, record.started_by, record.ended) = (WaveStatus::Running, user, None);
            record.members.iter_mut().for_each(|member| member.refused = None);
        })
        .await
    }

    async fn pause(&self, _: &Call, request: WaveRef) -> Result<Wave, ApiError> {
        self.set_wave(&request.wave, |record| record.status = WaveStatus::Paused).await
    }

    async fn delete(&self, _: &Call, request: WaveRef) -> Result<Empty, ApiError> {
        let found = self.find_wave(&request.wave).await?;
        let imports = self.imports_by_id().await?;
        let open = found
            .value
            .members
            .iter()
            .find(|member| member.import.is_some() && !is_over(step_of(member, &imports)));
        if let Some(member) = open {
            let text = format_args!("{} is on its way; roll it back, or wait for it", member.name);
            return Err(ApiError::new(Reason::WrongState, text));
        }
        self.db.waves.delete(&found).await.map_err(|error| store_error(&error))?;
        Ok(Empty {})
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;
    use xenith_common_ids::{HostId, ImportSourceId, PoolId, SagaId, VmId};
    use xenith_orchestrator_types::wave::{WaveCaps, WaveOptions};

    use super::*;

    #[test]
    fn a_name_that_two_vms_have_moves_neither() {
        let vm = |id: &str, name: &str| Vm { id: id.into(), name: name.into(), ..Vm::default() };
        let vms = vec![vm("vm-1", "web"), vm("vm-2", "db"), vm("vm-3", "db"), vm("vm-4", "vm-1")];
        let inventory = Inventory { vms, ..Inventory::default() };
        for (reference, expected) in [
            ("web", Ok("vm-1")),
            ("vm-3", Ok("vm-3")),
            ("vm-1", Ok("vm-1")),
            ("db", Err(Reason::Ambiguous)),
            ("mail", Err(Reason::NotFound)),
        ] {
            let found = one_of(&inventory, reference).map(|vm| vm.id.as_str());
            assert_eq!(found.map_err(|error| error.reason()), expected, "{reference}");
        }
    }

    #[test]
    fn a_vm_that_has_moved_since_is_not_moved_again() {
        let (source, now) = (ImportSourceId::new(), OffsetDateTime::now_utc());
        let member = WaveMemberRecord {
            vm: "vm-1".into(),
            name: "web".into(),
            host: "esx1".into(),
            datastores: vec![],
            transfer_mib: 1,
            import: None,
            refused: None,
            waits_for: None,
        };
        let wave = WaveRecord {
            name: "friday".into(),
            source,
            status: WaveStatus::Running,
            options: WaveOptions::default(),
            caps: WaveCaps::default(),
            members: vec![],
            started_by: None,
            created: now,
            ended: None,
        };
        let import = |vm: &str, phase, created| ImportRecord {
            name: "web".into(),
            vm: VmId::new(),
            pool: PoolId::new(),
            tags: BTreeSet::new(),
            host: HostId::new(),
            saga: SagaId::new(),
            origin: ImportOrigin::Vsphere {
                source,
                source_name: "old".into(),
                vm: vm.into(),
                vm_name: "web".into(),
            },
            phase,
            message: None,
            disks: vec![],
            passes: vec![],
            cut_over: None,
            stopped_source: false,
            tracked_source: false,
            left_at_source: false,
            preparation: None,
            prepare_tries: 0,
            prepare_wish: None,
            ticket_hash: None,
            created,
            ended: None,
            archived: false,
        };
        let (before, after) = (now - Duration::HOUR, now + Duration::MINUTE);
        for (case, known, expected) in [
            ("it moves, begun by hand before", import("vm-1", ImportPhase::Copying, before), true),
            ("it has moved since", import("vm-1", ImportPhase::Done, after), true),
            ("it had moved before, and is to come again", import("vm-1", ImportPhase::Done, before), false),
            ("it was rolled back", import("vm-1", ImportPhase::RolledBack, after), false),
            ("another VM", import("vm-2", ImportPhase::Copying, after), false),
        ] {
            let id = ImportId::new();
            let found = known_import(&wave, &member, &Imports::from([(id, known)]));
            assert_eq!(found, expected.then_some(id), "{case}");
        }
    }
}
