//! What is intended, in memory: read from the store at the start, with the indexes over it.
//!
//! What always holds: an index says what the records say. Whatever is put in or taken out goes through `put_*`, which keeps
//! both; hosts and pools have no index.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use xenith_common_ids::{HostId, PoolId, SrId, VdiId, VmId};
use xenith_orchestrator_store::{Collection, CollectionWatch, Revision, StoreError, StoreKey};
use xenith_orchestrator_types::pool::Pool;
use xenith_orchestrator_types::vdi::Vdi;

use super::known::{KnownVm, Shares};
use crate::by_id::{ById, HasId};
use crate::db::Db;
use crate::model::{HostRecord, VmRecord};

/// Records read at once at the start.
const PAGE: usize = 1000;

/// What is intended, in memory: the records that every list and placement needs.
#[derive(Debug, Default)]
pub struct Intended {
    pub(super) vms: ById<KnownVm>,
    pub(super) shares: Shares,
    /// How many VMs of a pool have a tag: whoever sees VMs by their tags sees their pools by it.
    pub(super) tagged: HashMap<Box<str>, HashMap<PoolId, usize>>,
    pub(super) of_host: HashMap<HostId, HashSet<VmId>>,
    /// The VMs whose company a VM is, by that VM.
    pub(super) companions: HashMap<VmId, HashSet<VmId>>,
    /// Counts what changed of a host's VMs that rules between VMs depend on.
    pub(super) moves: HashMap<HostId, u64>,
    pub(super) hosts: HashMap<HostId, Arc<HostRecord>>,
    pub(super) pools: HashMap<PoolId, Pool>,
    pub(super) vdis: ById<Vdi>,
    pub(super) of_sr: HashMap<SrId, HashSet<VdiId>>,
}

impl HasId for Vdi {
    type Id = VdiId;

    fn id(&self) -> VdiId {
        self.id
    }
}

/// What follows the store from where it was read.
pub struct Watches {
    pub(super) vms: CollectionWatch<VmId, VmRecord>,
    /// From where on they are watched.
    pub(super) vms_since: Revision,
    pub(super) hosts: CollectionWatch<HostId, HostRecord>,
    pub(super) pools: CollectionWatch<PoolId, Pool>,
    pub(super) vdis: CollectionWatch<VdiId, Vdi>,
}

/// Calls `each` for every record. Returns the revision to watch from.
async fn read<K: StoreKey, V: Serialize + DeserializeOwned>(
    collection: &Collection<K, V>,
    mut each: impl FnMut(K, V),
) -> Result<Revision, StoreError> {
    let (mut after, mut first) = (None, None);
    loop {
        let page = collection.page(after, PAGE).await?;
        let since = *first.get_or_insert(page.revision);
        page.records.into_iter().for_each(|record| each(record.key, record.value));
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(since),
        }
    }
}

impl Intended {
    pub(super) async fn read(db: &Db) -> Result<(Self, Watches), StoreError> {
        let mut new = Self::default();
        // Records are many and decoding them is most of a start: VDIs on one thread, VMs on another.
        let vdis = tokio::spawn({
            let vdis = db.vdis.clone();
            async move {
                let mut found = Vec::new();
                let since = read(&vdis, |id, vdi| found.push((id, vdi))).await?;
                Ok::<_, StoreError>((found, since))
            }
        });
        let vms_since = read(&db.vms, |vm, record| drop(new.put_vm(vm, Some(record)))).await?;
        let watches = Watches {
            vms: db.vms.watch(vms_since),
            vms_since,
            hosts: db
                .hosts
                .watch(read(&db.hosts, |host, record| drop(new.hosts.insert(host, Arc::new(record)))).await?),
            pools: db.pools.watch(read(&db.pools, |id, pool| drop(new.pools.insert(id, pool))).await?),
            vdis: {
                let (found, since) = vdis.await.unwrap_or(Err(StoreError::Closed))?;
                found.into_iter().for_each(|(id, vdi)| new.put_vdi(id, Some(vdi)));
                db.vdis.watch(since)
            },
        };
        Ok((new, watches))
    }

    pub(super) fn put_vdi(&mut self, id: VdiId, vdi: Option<Vdi>) {
        if let Some(before) = self.vdis.remove(&id)
            && let Entry::Occupied(mut vdis) = self.of_sr.entry(before.sr)
        {
            vdis.get_mut().remove(&id);
            if vdis.get().is_empty() {
                vdis.remove();
            }
        }
        if let Some(vdi) = vdi {
            self.of_sr.entry(vdi.sr).or_default().insert(id);
            self.vdis.insert(Arc::new(vdi));
        }
    }

    /// Returns what was there before.
    pub(super) fn put_vm(&mut self, vm: VmId, record: Option<VmRecord>) -> Option<Arc<KnownVm>> {
        let before = self.vms.remove(&vm);
        if let Some(before) = &before
            && let Some(vms) = self.of_host.get_mut(&before.host)
        {
            vms.remove(&vm);
        }
        let after = record.map(|record| Arc::new(KnownVm::new(vm, record, &mut self.shares)));
        self.count_tags(before.as_deref(), after.as_deref());
        self.note_company(vm, before.as_deref(), after.as_deref());
        if let Some(after) = after {
            self.of_host.entry(after.host).or_default().insert(vm);
            self.vms.insert(after);
        }
        before
    }

    fn count_tags(&mut self, before: Option<&KnownVm>, after: Option<&KnownVm>) {
        fn group(vm: &KnownVm) -> (PoolId, &BTreeSet<String>) {
            (vm.pool, &vm.tags)
        }
        if before.map(group) == after.map(group) {
            return;
        }
        if let Some((pool, tags)) = after.map(group) {
            for tag in tags {
                let pools = self.tagged.entry(tag.as_str().into()).or_default();
                *pools.entry(pool).or_default() += 1;
            }
        }
        if let Some((pool, tags)) = before.map(group) {
            for tag in tags {
                let Some(pools) = self.tagged.get_mut(tag.as_str()) else { continue };
                if let Entry::Occupied(mut count) = pools.entry(pool) {
                    *count.get_mut() -= 1;
                    if *count.get() == 0 {
                        count.remove();
                    }
                }
                if pools.is_empty() {
                    self.tagged.remove(tag.as_str());
                }
            }
        }
    }
}
