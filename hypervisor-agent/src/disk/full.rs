//! VMs are paused before their SR is full, and let run when there is room again.
//!
//! A guest that writes into a full SR gets errors for blocks that it believes it has: its file system breaks or goes
//! read-only. Standing still costs it time and nothing else. What always holds: only VMs that run are paused, only
//! those that were paused here are let run, of the same run (one that has come from another host meanwhile stands until its
//! memory may run), and which these are lies on disk before they are paused. An SR that does not answer (an NFS server that
//! is away) is left alone and holds nobody up: its guests stand in their writes anyway.
//!
//! Who else touches it: nobody. After a crash the VMs that were paused are known from the file.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use xenith_common_ids::{IncarnationId, OperationId, SrId, VdiId, VmId};
use xenith_common_tasks::CancellationToken;
use xenith_hypervisor_agent_api::VmAction;
use xenith_hypervisor_agent_storage::{StorageDriver, StorageError};
use xenith_hypervisor_agent_types::{ObservedVm, Power};

use super::{InUse, Storage};
use crate::vm::publisher::Publisher;
use crate::vm::registry::Registry;

/// A disk that takes 500 MiB a second writes 1 GiB meanwhile: what is held in reserve where there is much.
const EVERY: Duration = Duration::from_secs(2);
const MOST_RESERVE: u64 = 1 << 30;

/// What an SR's room means for who writes into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    Tight,
    /// Neither: who stands goes on standing, who runs goes on running.
    Between,
    Enough,
}

impl Room {
    fn of(free: u64, total: u64) -> Self {
        let reserve = (total / 200).min(MOST_RESERVE);
        match free {
            free if free < reserve => Self::Tight,
            free if free < reserve.saturating_mul(2) => Self::Between,
            _ => Self::Enough,
        }
    }
}

type Looking = JoinHandle<Option<(u64, u64)>>;

pub struct SpaceGuard {
    storage: Storage,
    registry: Arc<Registry>,
    publisher: Arc<Publisher>,
    in_use: InUse,
    /// Where it is written which VMs were paused.
    file: PathBuf,
    /// With the run that was paused, which is not known of those of before a restart until they are looked at.
    paused: BTreeMap<VmId, Option<IncarnationId>>,
    /// SRs that were asked and have not answered.
    asked: HashMap<SrId, Looking>,
}

impl SpaceGuard {
    /// `file` is below the agent's state.
    pub fn new(
        (storage, in_use): (Storage, InUse),
        registry: Arc<Registry>,
        publisher: Arc<Publisher>,
        file: PathBuf,
    ) -> Self {
        let known = fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let known: BTreeSet<VmId> = known.unwrap_or_default();
        let paused = known.into_iter().map(|vm| (vm, None)).collect();
        Self { storage, registry, publisher, in_use, file, paused, asked: HashMap::new() }
    }

    pub async fn watch(mut self, token: CancellationToken) {
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            let rooms = self.rooms().await;
            if rooms.values().any(|room| *room == Room::Tight) || !self.paused.is_empty() {
                self.follow(&rooms).await;
            }
        }
    }

    /// Of the SRs that answer in time.
    async fn rooms(&mut self) -> BTreeMap<SrId, Room> {
        let mut rooms = BTreeMap::new();
        for sr in self.storage.srs() {
            // Detached meanwhile.
            let Ok(driver) = self.storage.driver(sr) else { continue };
            let mut looking =
                self.asked.remove(&sr).unwrap_or_else(|| tokio::task::spawn_blocking(move || room(&*driver)));
            match tokio::time::timeout(EVERY, &mut looking).await {
                Ok(Ok(Some((free, total)))) => {
                    rooms.insert(sr, Room::of(free, total));
                }
                Ok(_) => {}
                Err(_) => {
                    self.asked.insert(sr, looking);
                }
            }
        }
        rooms
    }

    async fn follow(&mut self, rooms: &BTreeMap<SrId, Room>) {
        // One that did not answer is not asked for disks either: it would hold up the pauses that others need.
        let (mut drivers, in_use) = (self.storage.drivers(), self.in_use.clone());
        drivers.retain(|driver| rooms.contains_key(&driver.sr()));
        let places = tokio::task::spawn_blocking(move || places(&drivers, &in_use)).await.unwrap_or_default();
        for (vm, places) in &places {
            let tight = places.srs.iter().find(|sr| rooms.get(sr) == Some(&Room::Tight));
            if let Some(sr) = tight
                && self.power(*vm) == Some(Power::Running)
            {
                self.pause(*vm, *sr).await;
            }
        }
        for (vm, paused) in self.paused.clone() {
            let enough = |places: &Places| {
                places.all_known && places.srs.iter().all(|sr| rooms.get(sr) == Some(&Room::Enough))
            };
            match stands(self.publisher.vm(vm).as_deref(), paused) {
                Some(run) if places.get(&vm).is_some_and(|places| !enough(places)) => {
                    self.paused.insert(vm, Some(run));
                }
                Some(_) => self.let_run(vm).await,
                // Somebody has stopped it, or let it run.
                None => self.forget(vm),
            }
        }
    }

    fn power(&self, vm: VmId) -> Option<Power> {
        self.publisher.vm(vm).map(|vm| vm.power)
    }

    async fn pause(&mut self, vm: VmId, sr: SrId) {
        self.paused.insert(vm, self.publisher.vm(vm).and_then(|seen| seen.incarnation));
        if let Err(error) = self.write() {
            // The SR that is full may be where the journal is. Paused it is all the same; an administrator lets it run.
            tracing::error!(%vm, %error, "it cannot be written down that a VM is paused for want of room");
        }
        match self.registry.execute(vm, OperationId::new(), VmAction::Pause).await {
            Ok(_) => tracing::warn!(%vm, %sr, "the SR is all but full: the VM is paused until there is room"),
            Err(fault) => {
                tracing::error!(%vm, %sr, %fault, "the SR is all but full, and the VM cannot be paused");
                self.forget(vm);
            }
        }
    }

    async fn let_run(&mut self, vm: VmId) {
        match self.registry.execute(vm, OperationId::new(), VmAction::Unpause).await {
            Ok(_) => {
                tracing::info!(%vm, "there is room again: the VM runs on");
                self.forget(vm);
            }
            // Tried again with the next look.
            Err(fault) => {
                tracing::warn!(%vm, %fault, "a VM that was paused for want of room does not run on")
            }
        }
    }

    fn forget(&mut self, vm: VmId) {
        self.paused.remove(&vm);
        if let Err(error) = self.write() {
            tracing::warn!(%error, "the list of paused VMs cannot be written");
        }
    }

    fn write(&self) -> std::io::Result<()> {
        let paused: Vec<VmId> = self.paused.keys().copied().collect();
        xenith_common_files::replace(&self.file, &serde_json::to_vec(&paused)?)
    }
}

/// The run that was paused here, as long as it stands.
fn stands(seen: Option<&ObservedVm>, paused: Option<IncarnationId>) -> Option<IncarnationId> {
    let run = seen.filter(|seen| seen.power == Power::Paused)?.incarnation?;
    paused.is_none_or(|paused| paused == run).then_some(run)
}

fn room(driver: &dyn StorageDriver) -> Option<(u64, u64)> {
    driver.room().inspect_err(|error| tracing::debug!(%error, "an SR does not tell its room")).ok()
}

/// The SRs that a VM has disks in.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Places {
    srs: BTreeSet<SrId>,
    /// Of every disk; otherwise one may be in an SR that does not answer.
    all_known: bool,
}

/// Of each VM with a domain, among the SRs that answer.
fn places(drivers: &[Arc<dyn StorageDriver>], in_use: &InUse) -> BTreeMap<VmId, Places> {
    let of = |disks: Vec<VdiId>| {
        let sr_of = |vdi: &VdiId| {
            // One that is damaged is there, too.
            let here = |driver: &&Arc<dyn StorageDriver>| {
                !matches!(driver.facts(*vdi), Err(StorageError::NotFound { .. }))
            };
            let found = drivers.iter().find(here);
            found.map(|driver| driver.sr())
        };
        let found: Vec<Option<SrId>> = disks.iter().map(sr_of).collect();
        Places { all_known: found.iter().all(Option::is_some), srs: found.into_iter().flatten().collect() }
    };
    in_use.all().into_iter().map(|(vm, disks)| (vm, of(disks))).collect()
}

#[cfg(test)]
mod tests {
    use xenith_hypervisor_agent_storage::file::FileDriver;
    use xenith_hypervisor_agent_types::VdiSize;
    use xenith_hypervisor_agent_types::test_support::observed;

    use super::*;

    #[test]
    fn room_is_tight_below_a_reserve_and_enough_above_twice_that() {
        const GIB: u64 = 1 << 30;
        for (free, total, expected) in [
            (10 * GIB, 100 * GIB, Room::Enough),
            (GIB / 2 - 1, 100 * GIB, Room::Tight),
            (GIB / 2, 100 * GIB, Room::Between),
            (GIB, 100 * GIB, Room::Enough),
            // Of much, a GiB at most.
            (GIB - 1, 1000 * GIB, Room::Tight),
            (2 * GIB, 1000 * GIB, Room::Enough),
            (0, 0, Room::Enough),
        ] {
            assert_eq!(Room::of(free, total), expected, "{free} of {total}");
        }
    }

    #[test]
    fn what_was_paused_here_is_let_run_and_not_what_came_to_stand_since() {
        let (vm, run, other) = (VmId::new(), IncarnationId::new(), IncarnationId::new());
        let seen = |power, run| ObservedVm { incarnation: Some(run), ..observed(vm, power) };
        for (case, seen, paused, expected) in [
            ("as it was left", Some(seen(Power::Paused, run)), Some(run), Some(run)),
            ("as before a restart", Some(seen(Power::Paused, run)), None, Some(run)),
            ("it was let run", Some(seen(Power::Running, run)), Some(run), None),
            ("it is gone", None, Some(run), None),
            ("it has come from another host", Some(seen(Power::Paused, other)), Some(run), None),
        ] {
            assert_eq!(stands(seen.as_ref(), paused), expected, "{case}");
        }
    }

    #[test]
    fn a_disk_that_no_sr_which_answers_has_is_not_taken_for_one_with_room() {
        let folder = tempfile::tempdir().unwrap();
        let driver = FileDriver::open(SrId::new(), folder.path().to_owned());
        let (here, elsewhere) = (VdiId::new(), VdiId::new());
        driver.ensure(here, VdiSize::from_bytes(1 << 20).unwrap()).unwrap();
        let (one, other, in_use) = (VmId::new(), VmId::new(), InUse::default());
        in_use.set(one, vec![here]);
        in_use.set(other, vec![here, elsewhere]);
        let drivers: Vec<Arc<dyn StorageDriver>> = vec![Arc::new(driver)];
        let found = places(&drivers, &in_use);
        assert!(found[&one].all_known && !found[&other].all_known, "{found:?}");
        assert_eq!(found[&one].srs, found[&other].srs);
    }
}
