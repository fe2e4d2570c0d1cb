//! The read model of VMs, hosts and VDIs, kept up to date from two sides: what is intended (the store) and what
//! is observed (the fleet).
//!
//! One task writes it. It starts from a full read of the store and follows the changes of both. Of the fleet it
//! takes the ids of what changed ([`Fleet::changed`]), so it misses nothing and works in batches when much
//! happens; of the store it reads all again if it was too slow for the store's history.

mod company;
mod intended;
mod known;
mod placed;
mod rows;
mod tasks;

use std::collections::{BTreeSet, HashSet};
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use xenith_common_ids::{HostId, PoolId, SagaId, SrId, VdiId, VmId};
use xenith_common_tasks::TaskSet;
use xenith_common_units::MacAddr;
use xenith_orchestrator_inventory::host::Hosts;
use xenith_orchestrator_inventory::vdi::Vdis;
use xenith_orchestrator_inventory::vm::{Power, Vms};
use xenith_orchestrator_inventory::{Delta, Inventory, Noun};
use xenith_orchestrator_store::{RecordChange, RecordEvent, Revision, StoreError};
use xenith_orchestrator_types::pool::Pool;
use xenith_orchestrator_types::vdi::Vdi;

use intended::{Intended, Watches};
pub use known::{Company, KnownVm};
pub use placed::Placed;
pub use tasks::TaskList;

use crate::db::Db;
use crate::fleet::{Changed, Fleet};
use crate::gathered::Gathered;
use crate::model::{HostRecord, VmRecord};

/// How far the read model is, is told so often where nothing of it changes: much else is written to the store, and who asks
/// what is ahead does not go through all of that, and asks for nothing that the store has forgotten.
const TOLD_EVERY: Duration = Duration::from_secs(1);
/// Rows made under one look at what is intended: who asks for a record meanwhile waits for a fraction of that.
const ROWS: usize = 256;

pub struct Views {
    fleet: Arc<Fleet>,
    intended: RwLock<Intended>,
    pub vms: Inventory<Vms>,
    pub hosts: Inventory<Hosts>,
    pub vdis: Inventory<Vdis>,
    /// VMs that came, went, or changed their pool or tags, for who shows things by whose VMs they are about.
    regrouped: Gathered<HashSet<VmId>>,
    placed: Gathered<Placed>,
    /// Up to here the VMs are as the store has them.
    through: watch::Sender<Revision>,
    /// Up to here at least the VDIs are.
    vdis_through: watch::Sender<Revision>,
}

/// Whether changes of the store were missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missed {
    Nothing,
    Something,
}

impl Views {
    /// Reads everything, then follows until `tasks` end.
    pub async fn start(db: &Db, fleet: &Arc<Fleet>, tasks: &TaskSet) -> Result<Arc<Self>, StoreError> {
        let (intended, watches) = Intended::read(db).await?;
        // Nothing is heard yet. Loading makes the orders once, where applying would insert each row into them.
        let load_vdis = || Inventory::load(intended.vdis.ids().filter_map(|vdi| rows::vdi(vdi, &intended)));
        let load_vms = || Inventory::load(intended.vms.ids().filter_map(|vm| rows::vm(vm, &intended, fleet)));
        let (vms, vdis) = std::thread::scope(|scope| {
            let vdis = scope.spawn(load_vdis);
            let vms = load_vms();
            (vms, vdis.join())
        });
        let vdis = vdis.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let views = Arc::new(Self {
            fleet: Arc::clone(fleet),
            vms,
            hosts: Inventory::load(
                intended.hosts.keys().filter_map(|host| rows::host(*host, &intended, fleet)),
            ),
            vdis,
            intended: RwLock::new(intended),
            regrouped: Gathered::default(),
            placed: Gathered::default(),
            through: watch::Sender::new(watches.vms_since),
            vdis_through: watch::Sender::new(watches.vdis.through()),
        });
        let (follower, db, token) = (Arc::clone(&views), db.clone(), tasks.token());
        tasks.spawn("views", async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = follower.follow(&db, watches) => {}
            }
        });
        Ok(views)
    }

    fn intended(&self) -> std::sync::RwLockReadGuard<'_, Intended> {
        self.intended.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn intended_mut(&self) -> std::sync::RwLockWriteGuard<'_, Intended> {
        self.intended.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a VM of `host` is now; its row says so a moment later.
    #[must_use]
    pub fn power(&self, host: HostId, vm: VmId) -> Power {
        rows::power_of(host, vm, &self.fleet)
    }

    #[must_use]
    pub fn host(&self, host: HostId) -> Option<Arc<HostRecord>> {
        self.intended().hosts.get(&host).cloned()
    }

    #[must_use]
    pub fn hosts(&self) -> Vec<(HostId, Arc<HostRecord>)> {
        self.intended().hosts.iter().map(|(id, record)| (*id, Arc::clone(record))).collect()
    }

    #[must_use]
    pub fn pools(&self) -> Vec<Pool> {
        self.intended().pools.values().cloned().collect()
    }

    #[must_use]
    pub fn pool(&self, pool: PoolId) -> Option<Pool> {
        self.intended().pools.get(&pool).cloned()
    }

    #[must_use]
    pub fn vm(&self, vm: VmId) -> Option<Arc<KnownVm>> {
        self.intended().vms.get(&vm).cloned()
    }

    /// Whether a VM of this pool has one of these tags. Costs the same however many VMs there are.
    #[must_use]
    pub fn is_tagged(&self, pool: PoolId, tags: &BTreeSet<String>) -> bool {
        let intended = self.intended();
        tags.iter()
            .any(|tag| intended.tagged.get(tag.as_str()).is_some_and(|pools| pools.contains_key(&pool)))
    }

    #[must_use]
    pub fn vdi(&self, vdi: VdiId) -> Option<Arc<Vdi>> {
        self.intended().vdis.get(&vdi).cloned()
    }

    /// VDIs of which the store may have something else than the inventory. `None`: too much has changed meanwhile to tell.
    /// Ask before the inventory is looked at: what it takes in between is in both, and nothing is in neither.
    pub fn vdis_ahead(&self, db: &Db) -> Result<Option<Vec<VdiId>>, StoreError> {
        let since = *self.vdis_through.borrow();
        db.vdis.changed_since(since)
    }

    /// The VMs that are defined on a host.
    #[must_use]
    pub fn vms_of(&self, host: HostId) -> Vec<(VmId, Arc<KnownVm>)> {
        let intended = self.intended();
        let ids = intended.of_host.get(&host).into_iter().flatten();
        ids.filter_map(|vm| Some((*vm, Arc::clone(intended.vms.get(vm)?)))).collect()
    }

    /// How many. Costs the same however many there are.
    #[must_use]
    pub fn count_of(&self, host: HostId) -> usize {
        self.intended().of_host.get(&host).map_or(0, HashSet::len)
    }

    /// Their ids.
    #[must_use]
    pub fn ids_of(&self, host: HostId) -> Vec<VmId> {
        self.intended().of_host.get(&host).into_iter().flatten().copied().collect()
    }

    /// The VMs that a saga holds.
    #[must_use]
    pub fn held(&self) -> Vec<(VmId, SagaId)> {
        let intended = self.intended();
        intended.vms.iter().filter_map(|known| Some((known.id, known.held_by()?))).collect()
    }

    /// The hosts that a saga holds.
    #[must_use]
    pub fn held_hosts(&self) -> Vec<(HostId, SagaId)> {
        let intended = self.intended();
        intended.hosts.iter().filter_map(|(host, record)| Some((*host, record.held_by?))).collect()
    }

    /// The VDIs that a saga makes, fills or moves.
    #[must_use]
    pub fn held_vdis(&self) -> Vec<(VdiId, SagaId)> {
        let intended = self.intended();
        let held = |vdi: &Vdi| Some(SagaId::from(vdi.held_by?));
        intended.vdis.iter().filter_map(|vdi| Some((vdi.id, held(vdi)?))).collect()
    }

    /// How many VDIs are in an SR.
    #[must_use]
    pub fn count_in(&self, sr: SrId) -> u64 {
        self.intended().of_sr.get(&sr).map_or(0, HashSet::len) as u64
    }

    /// The VDIs that are in an SR.
    #[must_use]
    pub fn vdis_in(&self, sr: SrId) -> Vec<Arc<Vdi>> {
        let intended = self.intended();
        let ids = intended.of_sr.get(&sr).into_iter().flatten();
        ids.filter_map(|vdi| intended.vdis.get(vdi).cloned()).collect()
    }

    async fn follow(&self, db: &Db, mut watches: Watches) {
        loop {
            // What was told before has been noted by now.
            self.vdis_through.send_replace(watches.vdis.through());
            let missed = tokio::select! {
                changed = self.fleet.changed() => {
                    self.hear(&changed);
                    Missed::Nothing
                }
                event = watches.vms.next() => self.note(event, Self::note_vms),
                event = watches.hosts.next() => self.note(event, Self::note_hosts),
                event = watches.pools.next() => self.note(event, Self::note_pools),
                event = watches.vdis.next() => self.note(event, Self::note_vdis),
                () = tokio::time::sleep(TOLD_EVERY) => Missed::Nothing,
            };
            if missed == Missed::Something {
                watches = self.read_again(db).await;
            }
        }
    }

    fn note<K, V>(
        &self,
        event: Result<RecordEvent<K, V>, StoreError>,
        all: impl Fn(&Self, Vec<RecordChange<K, V>>),
    ) -> Missed {
        match event {
            Ok(RecordEvent::Changes(changes)) => {
                all(self, changes);
                Missed::Nothing
            }
            Ok(RecordEvent::Compacted { through }) => {
                tracing::warn!(%through, "the read model was too slow for the store; it reads all again");
                Missed::Something
            }
            Err(error) => {
                tracing::error!(%error, "a record cannot be read into the read model; what was known of it stands");
                Missed::Nothing
            }
        }
    }

    /// Until it works: without this the lists would be wrong for good.
    async fn read_again(&self, db: &Db) -> Watches {
        let (new, watches) = loop {
            match Intended::read(db).await {
                Ok(read) => break read,
                Err(error) => tracing::error!(%error, "the store cannot be read; trying again"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        };
        let old = std::mem::replace(&mut *self.intended_mut(), new);
        let (vms, hosts, vdis) = {
            let intended = self.intended();
            (
                both(old.vms.ids(), intended.vms.ids()),
                both(old.hosts.keys().copied(), intended.hosts.keys().copied()),
                both(old.vdis.ids(), intended.vdis.ids()),
            )
        };
        self.regrouped.note(|regrouped| regrouped.extend(&vms));
        self.placed.note(|placed| {
            placed.vms.extend(&vms);
            placed.hosts.extend(&hosts);
        });
        self.through.send_replace(watches.vms_since);
        self.refresh_vms(vms);
        self.refresh_hosts(hosts);
        self.refresh_vdis(vdis);
        watches
    }

    fn note_vms(&self, changes: Vec<RecordChange<VmId, VmRecord>>) {
        let (mut vms, mut vdis) = (HashSet::new(), HashSet::new());
        let (mut regrouped, mut placed, mut through) = (Vec::new(), Vec::new(), Revision::ZERO);
        {
            let mut intended = self.intended_mut();
            for change in changes {
                vms.insert(change.key);
                through = through.max(change.revision);
                let before = intended.put_vm(change.key, change.value);
                let after = intended.vms.get(&change.key);
                // What rows of VDIs show of their VM.
                fn shown(vm: &Arc<KnownVm>) -> (&str, &BTreeSet<String>) {
                    (&vm.name, &vm.tags)
                }
                if before.as_ref().map(shown) != after.map(shown) {
                    let records = before.iter().chain(after);
                    vdis.extend(records.flat_map(|record| record.disks.iter().copied()));
                }
                fn group(vm: &Arc<KnownVm>) -> (PoolId, &BTreeSet<String>) {
                    (vm.pool, &vm.tags)
                }
                if before.as_ref().map(group) != after.map(group) {
                    regrouped.push(change.key);
                }
                fn place(vm: &Arc<KnownVm>) -> (PoolId, HostId, &BTreeSet<String>, &[MacAddr], Option<VmId>) {
                    (vm.pool, vm.host, &vm.tags, &vm.macs, vm.standby_of())
                }
                if before.as_ref().map(place) != after.map(place) {
                    placed.push(change.key);
                }
            }
        }
        if !regrouped.is_empty() {
            self.regrouped.note(|vms| vms.extend(regrouped));
        }
        if !placed.is_empty() {
            self.placed.note(|all| all.vms.extend(placed));
        }
        self.through.send_replace(through);
        self.refresh_vms(vms);
        self.refresh_vdis(vdis);
    }

    fn note_hosts(&self, changes: Vec<RecordChange<HostId, HostRecord>>) {
        for change in changes {
            let host = change.key;
            let mut vdis = Vec::new();
            {
                let mut intended = self.intended_mut();
                let after = change.value.map(Arc::new);
                let before = match &after {
                    Some(record) => intended.hosts.insert(host, Arc::clone(record)),
                    None => intended.hosts.remove(&host),
                };
                let shown = |record: Arc<HostRecord>| (record.name.clone(), record.pool);
                if before.map(shown) != after.map(shown) {
                    vdis.extend(intended.vdis.iter().filter(|vdi| vdi.host == host).map(|vdi| vdi.id));
                }
            }
            self.placed.note(|placed| placed.hosts.extend([host]));
            self.refresh_link(host);
            self.refresh_hosts([host]);
            self.refresh_vdis(vdis);
        }
    }

    fn note_pools(&self, changes: Vec<RecordChange<PoolId, Pool>>) {
        let mut intended = self.intended_mut();
        for change in changes {
            match change.value {
                Some(pool) => intended.pools.insert(change.key, pool),
                None => intended.pools.remove(&change.key),
            };
        }
    }

    fn note_vdis(&self, changes: Vec<RecordChange<VdiId, Vdi>>) {
        let keys: Vec<VdiId> = changes.iter().map(|change| change.key).collect();
        {
            let mut intended = self.intended_mut();
            for change in changes {
                intended.put_vdi(change.key, change.value);
            }
        }
        self.refresh_vdis(keys);
    }

    fn hear(&self, changed: &Changed) {
        for host in &changed.links {
            self.refresh_link(*host);
        }
        if !changed.links.is_empty() || !changed.domains.is_empty() {
            self.placed.note(|placed| {
                placed.hosts.extend(&changed.links);
                placed.domains.extend(&changed.domains);
            });
        }
        self.refresh_vms(changed.vms.iter().copied());
        self.refresh_hosts(changed.hosts.union(&changed.links).copied());
    }

    /// Everything known of a host's VMs.
    fn refresh_link(&self, host: HostId) {
        let mut vms: HashSet<VmId> = self.vms_of(host).into_iter().map(|(vm, _)| vm).collect();
        if let Some(state) = self.fleet.state(host) {
            vms.extend(state.vms().iter().map(|vm| vm.vm));
        }
        self.refresh_vms(vms);
    }

    fn refresh_vms(&self, vms: impl IntoIterator<Item = VmId>) {
        self.refresh(&self.vms, vms, |vm, intended| rows::vm(vm, intended, &self.fleet));
    }

    fn refresh_hosts(&self, hosts: impl IntoIterator<Item = HostId>) {
        self.refresh(&self.hosts, hosts, |host, intended| rows::host(host, intended, &self.fleet));
    }

    fn refresh_vdis(&self, vdis: impl IntoIterator<Item = VdiId>) {
        self.refresh(&self.vdis, vdis, rows::vdi);
    }

    /// Makes these rows anew.
    fn refresh<N: Noun>(
        &self,
        inventory: &Inventory<N>,
        ids: impl IntoIterator<Item = N::Id>,
        row: impl Fn(N::Id, &Intended) -> Option<N::Row>,
    ) {
        let mut ids = ids.into_iter();
        loop {
            let deltas: Vec<_> = {
                let intended = self.intended();
                let delta = |id| row(id, &intended).map_or(Delta::Remove(id), Delta::Put);
                ids.by_ref().take(ROWS).map(delta).collect()
            };
            if deltas.is_empty() {
                return;
            }
            inventory.apply(deltas);
        }
    }
}

fn both<K: Eq + Hash>(old: impl Iterator<Item = K>, new: impl Iterator<Item = K>) -> HashSet<K> {
    old.chain(new).collect()
}
