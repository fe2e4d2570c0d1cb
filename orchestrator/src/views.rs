//! The read model of VMs and hosts, kept up to date from two sides: what is intended (the store) and what is
//! observed (the fleet).
//!
//! One task writes it. It starts from a full read of both and follows their changes; when it lags behind the
//! fleet's events it reads the fleet again, so nothing is missed for good.

mod rows;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::broadcast::error::RecvError;
use xenith_common_ids::{HostId, PoolId, VmId};
use xenith_common_tasks::TaskSet;
use xenith_orchestrator_inventory::vm::Vms;
use xenith_orchestrator_inventory::{Delta, Inventory};
use xenith_orchestrator_store::{CollectionWatch, RecordChange, RecordEvent, StoreError};
use xenith_orchestrator_types::pool::Pool;

use crate::db::Db;
use crate::fleet::{Fleet, FleetEvent};
use crate::model::{HostRecord, VmRecord};

/// What is intended, in memory: the records that every list and placement needs.
#[derive(Debug, Default)]
struct Intended {
    vms: HashMap<VmId, Arc<VmRecord>>,
    of_host: HashMap<HostId, HashSet<VmId>>,
    hosts: HashMap<HostId, Arc<HostRecord>>,
    pools: HashMap<PoolId, Pool>,
}

pub struct Views {
    fleet: Arc<Fleet>,
    intended: RwLock<Intended>,
    pub vms: Inventory<Vms>,
}

struct Watches {
    vms: CollectionWatch<VmId, VmRecord>,
    hosts: CollectionWatch<HostId, HostRecord>,
    pools: CollectionWatch<PoolId, Pool>,
}

impl Views {
    /// Reads everything, then follows until `tasks` end.
    pub async fn start(db: &Db, fleet: &Arc<Fleet>, tasks: &TaskSet) -> Result<Arc<Self>, StoreError> {
        let events = fleet.events();
        let views =
            Arc::new(Self { fleet: Arc::clone(fleet), intended: RwLock::default(), vms: Inventory::new() });
        let (vms, vms_at) = db.vms.all().await?;
        let (hosts, hosts_at) = db.hosts.all().await?;
        let (pools, pools_at) = db.pools.all().await?;
        {
            let mut intended = views.intended.write().unwrap_or_else(PoisonError::into_inner);
            for vm in vms {
                intended.put_vm(vm.key, Some(vm.value));
            }
            intended.hosts = hosts.into_iter().map(|host| (host.key, Arc::new(host.value))).collect();
            intended.pools = pools.into_iter().map(|pool| (pool.key, pool.value)).collect();
        }
        views.rebuild();
        let watches = Watches {
            vms: db.vms.watch(vms_at),
            hosts: db.hosts.watch(hosts_at),
            pools: db.pools.watch(pools_at),
        };
        let (follower, token) = (Arc::clone(&views), tasks.token());
        tasks.spawn("views", async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = follower.follow(events, watches) => {}
            }
        });
        Ok(views)
    }

    #[must_use]
    pub fn host(&self, host: HostId) -> Option<Arc<HostRecord>> {
        self.intended.read().unwrap_or_else(PoisonError::into_inner).hosts.get(&host).cloned()
    }

    #[must_use]
    pub fn hosts(&self) -> Vec<(HostId, Arc<HostRecord>)> {
        let intended = self.intended.read().unwrap_or_else(PoisonError::into_inner);
        intended.hosts.iter().map(|(id, record)| (*id, Arc::clone(record))).collect()
    }

    #[must_use]
    pub fn pools(&self) -> Vec<Pool> {
        self.intended.read().unwrap_or_else(PoisonError::into_inner).pools.values().cloned().collect()
    }

    #[must_use]
    pub fn pool(&self, pool: PoolId) -> Option<Pool> {
        self.intended.read().unwrap_or_else(PoisonError::into_inner).pools.get(&pool).cloned()
    }

    #[must_use]
    pub fn vm(&self, vm: VmId) -> Option<Arc<VmRecord>> {
        self.intended.read().unwrap_or_else(PoisonError::into_inner).vms.get(&vm).cloned()
    }

    /// The VMs that are defined on a host.
    #[must_use]
    pub fn vms_of(&self, host: HostId) -> Vec<(VmId, Arc<VmRecord>)> {
        let intended = self.intended.read().unwrap_or_else(PoisonError::into_inner);
        let ids = intended.of_host.get(&host).into_iter().flatten();
        ids.filter_map(|vm| Some((*vm, Arc::clone(intended.vms.get(vm)?)))).collect()
    }

    async fn follow(&self, mut events: tokio::sync::broadcast::Receiver<FleetEvent>, mut watches: Watches) {
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Ok(event) => self.hear(&event),
                    Err(RecvError::Lagged(_)) => self.rebuild(),
                    Err(RecvError::Closed) => return,
                },
                event = watches.vms.next() => self.note(event, Self::note_vm),
                event = watches.hosts.next() => self.note(event, Self::note_host),
                event = watches.pools.next() => self.note(event, Self::note_pool),
            }
        }
    }

    fn note<K, V>(
        &self,
        event: Result<RecordEvent<K, V>, StoreError>,
        each: impl Fn(&Self, RecordChange<K, V>),
    ) {
        match event {
            Ok(RecordEvent::Changes(changes)) => changes.into_iter().for_each(|change| each(self, change)),
            // The history of the store is longer than any pause of this task; if that is ever wrong, a restart
            // reads all again. What was missed shows as an old row until its next change.
            Ok(RecordEvent::Compacted { through }) => {
                tracing::error!(%through, "the read model missed changes of the store; restart the orchestrator");
            }
            Err(error) => tracing::error!(%error, "a record could not be read into the read model"),
        }
    }

    fn note_vm(&self, change: RecordChange<VmId, VmRecord>) {
        self.intended.write().unwrap_or_else(PoisonError::into_inner).put_vm(change.key, change.value);
        self.refresh([change.key]);
    }

    fn note_host(&self, change: RecordChange<HostId, HostRecord>) {
        {
            let mut intended = self.intended.write().unwrap_or_else(PoisonError::into_inner);
            match change.value {
                Some(record) => intended.hosts.insert(change.key, Arc::new(record)),
                None => intended.hosts.remove(&change.key),
            };
        }
        self.refresh_host(change.key);
    }

    fn note_pool(&self, change: RecordChange<PoolId, Pool>) {
        let mut intended = self.intended.write().unwrap_or_else(PoisonError::into_inner);
        match change.value {
            Some(pool) => intended.pools.insert(change.key, pool),
            None => intended.pools.remove(&change.key),
        };
    }

    fn hear(&self, event: &FleetEvent) {
        match event {
            FleetEvent::Vm { vm, .. } => self.refresh([vm.vm]),
            FleetEvent::VmGone { vm, .. } => self.refresh([*vm]),
            FleetEvent::Link { host } => self.refresh_host(*host),
            FleetEvent::Removed { host, vms } => {
                self.refresh(vms.iter().copied());
                self.refresh_host(*host);
            }
            FleetEvent::Host { .. } => {}
        }
    }

    fn refresh_host(&self, host: HostId) {
        let mut vms: HashSet<VmId> = self.vms_of(host).into_iter().map(|(vm, _)| vm).collect();
        if let Some(state) = self.fleet.state(host) {
            vms.extend(state.vms().iter().map(|vm| vm.vm));
        }
        self.refresh(vms);
    }

    /// Makes the rows of these VMs anew.
    fn refresh(&self, vms: impl IntoIterator<Item = VmId>) {
        let deltas: Vec<_> = {
            let intended = self.intended.read().unwrap_or_else(PoisonError::into_inner);
            let delta = |vm| match rows::row(vm, &intended, &self.fleet) {
                Some(row) => Delta::Put(row),
                None => Delta::Remove(vm),
            };
            vms.into_iter().map(delta).collect()
        };
        self.vms.apply(deltas);
    }

    fn rebuild(&self) {
        let mut vms: HashSet<VmId> = {
            let intended = self.intended.read().unwrap_or_else(PoisonError::into_inner);
            intended.vms.keys().copied().collect()
        };
        for (_, state) in self.fleet.states() {
            vms.extend(state.vms().iter().map(|vm| vm.vm));
        }
        self.refresh(vms);
    }
}

impl Intended {
    fn put_vm(&mut self, vm: VmId, record: Option<VmRecord>) {
        if let Some(before) = self.vms.remove(&vm)
            && let Some(vms) = self.of_host.get_mut(&before.host)
        {
            vms.remove(&vm);
        }
        if let Some(record) = record {
            self.of_host.entry(record.host).or_default().insert(vm);
            self.vms.insert(vm, Arc::new(record));
        }
    }
}
