//! The leases of VDIs in SRs that more than one host has, as this host takes them and gives them up.
//!
//! What always holds: before a domain that writes a VDI runs, or the agent itself writes one that may be known elsewhere, this
//! host has its lease. A lease that nobody here needs is given up: at once by who needed it last, and otherwise by
//! [`Storage::look_at_leases`], which is called again and again. Who needs a VDI says so before they take its lease
//! ([`InUse`](super::InUse), [`Busy`](super::Busy)), and whether somebody needs one is asked with its SR's leases locked: of
//! a taking and a giving up, the one that comes second sees the other.
//!
//! A VDI that is being made has no lease: nobody else knows its id. SRs of one host have none at all. After a crash the leases
//! of this host are read from its SRs, and kept for domains that are there, and given up otherwise.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use xenith_common_ids::{HostId, SrId, VdiId, VmId};
use xenith_hypervisor_agent_storage::{Broken, StorageDriver, StorageError, Taken, Taking};
use xenith_hypervisor_agent_types::{Fault, FaultReason, LeasedTo, VdiLease};

use super::busy::Hold;
use super::storage::{Result, Storage};

/// This host, as others read it in its leases.
#[derive(Debug, Clone)]
pub struct Here {
    pub host: HostId,
    pub name: String,
}

/// What is wrong with a lease of a VM that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// Another host has it, and may write by now.
    Lost(Fault),
    /// It says still that the VM was sent away: the host where that was to go would be let run it.
    SaysSent,
}

/// All clones are one table.
#[derive(Debug, Clone, Default)]
pub(super) struct Leased(Arc<Table>);

#[derive(Debug, Default)]
struct Table {
    here: OnceLock<Here>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Leases that this host has, or may have.
    held: HashMap<VdiId, SrId>,
    /// SRs whose leases were read.
    read: BTreeSet<SrId>,
    /// What runs, and writes these.
    writers: HashMap<VmId, (LeasedTo, Vec<VdiId>)>,
}

impl Leased {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, vdi: VdiId, sr: SrId) {
        self.lock().held.insert(vdi, sr);
    }

    fn sr_of(&self, vdi: VdiId) -> Option<SrId> {
        self.lock().held.get(&vdi).copied()
    }

    fn here(&self) -> Result<&Here> {
        self.0.here.get().ok_or_else(|| Fault::new(FaultReason::NotReady, "the agent is starting"))
    }

    fn lease(&self, to: Option<&LeasedTo>) -> Result<VdiLease> {
        let Here { host, name } = self.here()?.clone();
        Ok(VdiLease { host, host_name: name, vm: to.cloned() })
    }
}

/// A VDI that the agent writes, alone, with its lease. The hold ends first: whether the lease is needed is asked then.
#[derive(Debug)]
pub(super) struct Writing {
    _hold: Hold,
    _lease: WriteLease,
}

#[derive(Debug)]
struct WriteLease {
    storage: Storage,
    vdi: VdiId,
}

impl Drop for WriteLease {
    fn drop(&mut self) {
        self.storage.give_up_leases(&[self.vdi]);
    }
}

impl Storage {
    /// Before any VDI is written.
    pub fn lease_as(&self, here: Here) {
        let _set_before = self.leased.0.here.set(here);
    }

    /// Takes the leases of what a domain writes, which [`InUse`](super::InUse) says.
    pub fn take_leases(&self, to: &LeasedTo, vdis: &[VdiId], taking: Taking) -> Result<()> {
        vdis.iter().try_for_each(|vdi| {
            let driver = self.place_of(*vdi)?;
            self.take_lease(&*driver, (*vdi, Some(to)), taking).map(drop)
        })
    }

    /// Takes the lease of what is held, until that is over.
    pub(super) fn writing(&self, hold: Hold, driver: &dyn StorageDriver, vdi: VdiId) -> Result<Writing> {
        self.writing_for(hold, driver, vdi, None)
    }

    /// The same of what a domain of ours writes that is no VM: its lease names it, and as long as it is there an agent that
    /// was restarted leaves the lease alone.
    pub(super) fn writing_for(
        &self,
        hold: Hold,
        driver: &dyn StorageDriver,
        vdi: VdiId,
        to: Option<&LeasedTo>,
    ) -> Result<Writing> {
        self.take_lease(driver, (vdi, to), Taking::ToWrite)?;
        Ok(Writing { _hold: hold, _lease: WriteLease { storage: self.clone(), vdi } })
    }

    /// The same for what is written behind our back for as long as it is held: it is given up when nobody needs it.
    pub(super) fn lease_while_held(&self, driver: &dyn StorageDriver, vdi: VdiId) -> Result<()> {
        self.take_lease(driver, (vdi, None), Taking::ToWrite).map(drop)
    }

    /// Where a VDI is, or was last: one that moves gets another id.
    fn place_of(&self, vdi: VdiId) -> Result<Arc<dyn StorageDriver>> {
        let last = || self.places.lock().unwrap_or_else(PoisonError::into_inner).get(&vdi).copied();
        let known = self.leased.sr_of(vdi).or_else(last);
        match known.map(|sr| self.driver(sr)) {
            Some(Ok(driver)) => Ok(driver),
            _ => self.find(vdi),
        }
    }

    fn take_lease(
        &self,
        driver: &dyn StorageDriver,
        (vdi, to): (VdiId, Option<&LeasedTo>),
        taking: Taking,
    ) -> Result<Taken> {
        let Some(leases) = driver.leases() else { return Ok(Taken::NotNeeded) };
        let _question = self.answering.ask(driver.sr())?;
        let wanted = self.leased.lease(to)?;
        // It may have ended since it was seen to run.
        let needed = || taking != Taking::Again || self.in_use.by(vdi).is_some();
        match leases.take(vdi, &wanted, taking, &needed) {
            Ok(taken @ (Taken::Senders | Taken::NotNeeded)) => Ok(taken),
            Ok(taken @ (Taken::Ours | Taken::SaysSent)) => {
                self.leased.note(vdi, driver.sr());
                Ok(taken)
            }
            Err(error) => {
                // Perhaps it was taken, and the answer was lost.
                if !matches!(error, StorageError::LeasedElsewhere { .. } | StorageError::LeaseLost { .. }) {
                    self.leased.note(vdi, driver.sr());
                }
                Err(error.into())
            }
        }
    }

    /// SRs in which leases of a run of this agent before may be, of which is not known yet.
    fn unread(&self) -> Vec<SrId> {
        let mut srs = self.leased_srs();
        let known = self.leased.lock();
        srs.retain(|sr| !known.read.contains(sr));
        srs
    }

    /// Whether one of these may have a lease of ours.
    #[must_use]
    pub fn may_be_leased(&self, vdis: &[VdiId]) -> bool {
        vdis.iter().any(|vdi| self.leased.sr_of(*vdi).is_some()) || !self.unread().is_empty()
    }

    /// Gives up the leases of what nobody needs any more. One that cannot be given up now is tried again.
    pub fn give_up_leases(&self, vdis: &[VdiId]) {
        for vdi in vdis {
            let srs = self.leased.sr_of(*vdi).map_or_else(|| self.unread(), |sr| vec![sr]);
            for sr in srs {
                let Ok(driver) = self.driver(sr) else {
                    // Detached: what it had was given up before.
                    self.leased.lock().held.remove(vdi);
                    continue;
                };
                if let Err(fault) = self.give_up(&*driver, *vdi) {
                    tracing::warn!(%vdi, %fault, "a lease is not given up yet");
                }
            }
        }
    }

    fn give_up(&self, driver: &dyn StorageDriver, vdi: VdiId) -> Result<()> {
        let Some(leases) = driver.leases() else { return Ok(()) };
        let _question = self.answering.ask(driver.sr())?;
        let host = self.leased.here()?.host;
        let needed = || self.in_use.by(vdi).is_some() || self.busy.is_changing(vdi);
        // Before it is gone: who takes it after that notes it anew.
        self.leased.lock().held.remove(&vdi);
        let kept = leases.give_up(vdi, host, &needed);
        if !matches!(kept, Ok(false)) {
            self.leased.note(vdi, driver.sr());
        }
        kept.map(|_| ()).map_err(Fault::from)
    }

    /// Of an SR that nobody uses here any more, and that is out of the table. One that is gone is let go of all the same: its
    /// leases are given up when it is attached again.
    pub(super) fn leave_leases(&self, driver: &dyn StorageDriver) {
        let held: Vec<VdiId> = {
            let known = self.leased.lock();
            known.held.iter().filter(|(_, sr)| **sr == driver.sr()).map(|(vdi, _)| *vdi).collect()
        };
        for vdi in held {
            if let Err(fault) = self.give_up(driver, vdi) {
                tracing::warn!(%vdi, %fault, "a lease stays in an SR that is detached");
            }
        }
        let mut known = self.leased.lock();
        known.held.retain(|_, sr| *sr != driver.sr());
        known.read.remove(&driver.sr());
    }

    /// What a VM that runs writes; `None`: it does not run.
    pub fn note_writer(&self, vm: VmId, writes: Option<(LeasedTo, Vec<VdiId>)>) {
        let mut known = self.leased.lock();
        match writes {
            Some(writes) => known.writers.insert(vm, writes),
            None => known.writers.remove(&vm),
        };
    }

    /// The SRs whose VDIs have leases.
    #[must_use]
    pub fn leased_srs(&self) -> Vec<SrId> {
        let drivers = self.drivers();
        drivers.iter().filter(|driver| driver.leases().is_some()).map(|driver| driver.sr()).collect()
    }

    /// Whether the guest of a VM runs here, and writes.
    pub(super) fn is_writing(&self, vm: VmId) -> bool {
        self.leased.lock().writers.contains_key(&vm)
    }

    /// Makes the leases in an SR and what is so agree. Returns the VMs whose owners have to see to the rest. Of VMs
    /// that have no owner, and a domain or a record that cannot be read, the leases are left alone. No other SR is asked:
    /// one that does not answer must not hide what is wrong in the others.
    #[must_use]
    pub fn look_at_leases(&self, sr: SrId, unowned: &BTreeSet<VmId>) -> Vec<(VmId, Wrong)> {
        // Detached meanwhile.
        let Ok(driver) = self.driver(sr) else { return Vec::new() };
        if let Err(fault) = self.read_held(&*driver, unowned) {
            tracing::warn!(%sr, %fault, "which VDIs this host has leased is not known yet");
        }
        let wrong = self.wrong(&*driver);
        let held: Vec<VdiId> = {
            let known = self.leased.lock();
            known.held.iter().filter(|(_, of)| **of == sr).map(|(vdi, _)| *vdi).collect()
        };
        for vdi in held.into_iter().filter(|vdi| self.in_use.by(*vdi).is_none()) {
            if let Err(fault) = self.give_up(&*driver, vdi) {
                tracing::warn!(%vdi, %fault, "a lease is not given up yet");
            }
        }
        wrong
    }

    /// Of a run of this agent before, or of a boot before.
    fn read_held(&self, driver: &dyn StorageDriver, unowned: &BTreeSet<VmId>) -> Result<()> {
        let sr = driver.sr();
        let Some(leases) = driver.leases() else { return Ok(()) };
        if self.leased.lock().read.contains(&sr) {
            return Ok(());
        }
        let _question = self.answering.ask(sr)?;
        let held = leases.held_by(self.leased.here()?.host)?;
        let left_alone = |lease: &VdiLease| lease.vm.as_ref().is_some_and(|to| unowned.contains(&to.vm));
        let (alone, ours): (Vec<_>, Vec<_>) = held.into_iter().partition(|(_, lease)| left_alone(lease));
        let mut known = self.leased.lock();
        known.held.extend(ours.into_iter().map(|(vdi, _)| (vdi, sr)));
        // Read again when their domains may have ended, or somebody has seen to their records.
        if alone.is_empty() {
            known.read.insert(sr);
        }
        Ok(())
    }

    /// VDIs of an SR whose leases need not be read: they were this host's, and nobody has touched them since.
    fn unchanged(&self, driver: &dyn StorageDriver) -> BTreeSet<VdiId> {
        let Some(leases) = driver.leases() else { return BTreeSet::new() };
        // Where that cannot be said, all of them are read, which says why.
        let Ok(_question) = self.answering.ask(driver.sr()) else { return BTreeSet::new() };
        leases.unchanged().unwrap_or_default().into_iter().collect()
    }

    fn wrong(&self, driver: &dyn StorageDriver) -> Vec<(VmId, Wrong)> {
        // Copied out: asking may take a while.
        let writers = self.leased.lock().writers.clone();
        let unchanged = self.unchanged(driver);
        let mut wrong = Vec::new();
        for (vm, (to, vdis)) in writers {
            let mut says_sent = false;
            let mut lost = None;
            for vdi in vdis.into_iter().filter(|vdi| !unchanged.contains(vdi) && self.is_in(driver, *vdi)) {
                match self.take_lease(driver, (vdi, Some(&to)), Taking::Again) {
                    Ok(taken) => says_sent |= taken == Taken::SaysSent,
                    Err(fault) if fault.reason == FaultReason::LeasedElsewhere => {
                        lost = Some(fault);
                        break;
                    }
                    // The lease of another disk of it may be lost all the same.
                    Err(fault) => {
                        tracing::warn!(%vm, %vdi, %fault, "whether a VM has its leases is not known now")
                    }
                }
            }
            let found = lost.map(Wrong::Lost).or_else(|| says_sent.then_some(Wrong::SaysSent));
            wrong.extend(found.map(|found| (vm, found)));
        }
        wrong
    }

    /// Whether an SR has the VDI, without asking another one.
    fn is_in(&self, driver: &dyn StorageDriver, vdi: VdiId) -> bool {
        let last = || self.places.lock().unwrap_or_else(PoisonError::into_inner).get(&vdi).copied();
        if let Some(known) = self.leased.sr_of(vdi).or_else(last) {
            return known == driver.sr();
        }
        let is_there = driver.facts(vdi).is_ok();
        if is_there {
            self.places.lock().unwrap_or_else(PoisonError::into_inner).insert(vdi, driver.sr());
        }
        is_there
    }

    /// Who has the lease of a VDI, which is taken from these hosts.
    pub fn break_lease(&self, sr: SrId, vdi: VdiId, of: &[HostId]) -> Result<Broken> {
        let driver = self.driver(sr)?;
        let Some(leases) = driver.leases() else { return Ok(Broken { found: None, broken: false }) };
        let _question = self.answering.ask(sr)?;
        let here = self.leased.here()?.host;
        if of.contains(&here) && (self.in_use.by(vdi).is_some() || self.busy.is_changing(vdi)) {
            let message =
                format_args!("VDI {vdi} is in use on this host; stop what uses it, which ends its lease");
            return Err(Fault::new(FaultReason::WrongState, message));
        }
        let broken = leases.break_of(vdi, here, of)?;
        if broken.broken {
            tracing::warn!(%vdi, of = ?broken.found, "a lease was broken");
        }
        Ok(broken)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::sync::mpsc;
    use std::thread::{self, JoinHandle};
    use std::time::{Duration, Instant};

    use tempfile::TempDir;
    use xenith_common_ids::IncarnationId;
    use xenith_hypervisor_agent_storage::VdiLeases;
    use xenith_hypervisor_agent_storage::file::FileDriver;
    use xenith_hypervisor_agent_types::VdiSize;

    use super::*;
    use crate::disk::InUse;

    /// A host that has its own SR and two that other hosts have, too.
    struct Scene {
        folder: TempDir,
        storage: Storage,
        in_use: InUse,
        srs: [SrId; 2],
    }

    impl Scene {
        fn set() -> Self {
            let (folder, in_use) = (tempfile::tempdir().unwrap(), InUse::default());
            let own = FileDriver::open(SrId::new(), folder.path().to_owned());
            let storage = Storage::new(Arc::new(own), in_use.clone());
            storage.lease_as(Here { host: HostId::new(), name: "xen1".to_owned() });
            let scene = Self { folder, storage, in_use, srs: [SrId::new(), SrId::new()] };
            for sr in scene.srs {
                fs::create_dir(scene.path(sr)).unwrap();
                FileDriver::mark(sr, &scene.path(sr)).unwrap();
                let driver = Arc::new(FileDriver::attach(sr, scene.path(sr)).unwrap());
                scene.storage.drivers.write().unwrap().insert(sr, driver);
            }
            scene
        }

        fn path(&self, sr: SrId) -> PathBuf {
            self.folder.path().join(sr.to_string())
        }

        fn disk(&self, sr: SrId) -> VdiId {
            let vdi = VdiId::new();
            self.storage.ensure(sr, vdi, VdiSize::from_bytes(1 << 20).unwrap()).unwrap();
            vdi
        }

        /// A VM that runs here.
        fn runs(&self, vdis: Vec<VdiId>) -> VmId {
            let vm = VmId::new();
            let to = LeasedTo { vm, name: "web-1".to_owned(), run: IncarnationId::new(), sent: false };
            self.in_use.set(vm, vdis.clone());
            self.storage.note_writer(vm, Some((to, vdis)));
            vm
        }

        fn is_taken_elsewhere(&self, sr: SrId, vdi: VdiId) {
            let theirs = VdiLease { host: HostId::new(), host_name: "xen2".to_owned(), vm: None };
            let leases = VdiLeases::new(sr, self.path(sr));
            leases.take(vdi, &theirs, Taking::ToWrite, &|| true).unwrap();
        }

        /// The SR does not answer before it is told to.
        fn silence(&self, sr: SrId) -> (mpsc::Sender<()>, JoinHandle<()>) {
            let asked = self.storage.driver(sr).unwrap();
            let (begun, begins) = mpsc::channel();
            let (answer, answers) = mpsc::channel();
            let waits = thread::spawn(move || {
                let wanted = VdiLease { host: HostId::new(), host_name: "xen1".to_owned(), vm: None };
                let hangs = || {
                    begun.send(()).unwrap();
                    answers.recv().is_ok()
                };
                asked.leases().unwrap().take(VdiId::new(), &wanted, Taking::ToWrite, &hangs).unwrap();
            });
            begins.recv().unwrap();
            (answer, waits)
        }

        fn lost(&self, sr: SrId) -> Vec<VmId> {
            let wrong = self.storage.look_at_leases(sr, &BTreeSet::new());
            let lost = |(vm, wrong)| matches!(wrong, Wrong::Lost(_)).then_some(vm);
            wrong.into_iter().filter_map(lost).collect()
        }
    }

    #[test]
    fn an_sr_that_does_not_answer_hides_no_lease_that_is_lost_in_another() {
        let scene = Scene::set();
        let [silent, other] = scene.srs;
        let disks = vec![scene.disk(silent), scene.disk(other)];
        scene.is_taken_elsewhere(other, disks[1]);
        let vm = scene.runs(disks);
        let (answer, waits) = scene.silence(silent);
        assert_eq!(scene.lost(other), [vm]);
        answer.send(()).unwrap();
        waits.join().unwrap();
        assert_eq!(scene.lost(silent), []);
        let mut srs = scene.srs.to_vec();
        srs.sort_unstable();
        assert_eq!(scene.storage.leased_srs(), srs, "its own has none");
    }

    /// It could be detached, and not be attached again before the first one answers.
    #[test]
    fn who_waits_for_one_sr_has_no_other_one_in_hand() {
        let scene = Scene::set();
        let mut srs = scene.srs;
        srs.sort_unstable();
        let (answer, waits) = scene.silence(srs[0]);
        let [silent, other] = srs.map(|sr| scene.storage.driver(sr).unwrap());
        let storage = scene.storage.clone();
        let gives_up = thread::spawn(move || storage.give_up_leases(&[VdiId::new()]));
        let deadline = Instant::now() + Duration::from_secs(30);
        // Of the first: the table, we, who made it silent, and who waits. Of the other: the table, and we.
        while (Arc::strong_count(&silent), Arc::strong_count(&other)) != (4, 2) {
            assert!(Instant::now() < deadline, "who waits for one has the other one");
            thread::sleep(Duration::from_millis(5));
        }
        answer.send(()).unwrap();
        waits.join().unwrap();
        gives_up.join().unwrap();
    }

    #[test]
    fn a_lease_that_cannot_be_read_hides_none_that_is_lost() {
        let scene = Scene::set();
        let [sr, _] = scene.srs;
        let disks = vec![scene.disk(sr), scene.disk(sr)];
        for vdi in &disks {
            scene.is_taken_elsewhere(sr, *vdi);
        }
        let vm = scene.runs(disks.clone());
        let damaged = scene.path(sr).join(".xenith-leases").join(format!("{}.json", disks[0]));
        fs::write(damaged, "{\"host\": \"0189").unwrap();
        assert_eq!(scene.lost(sr), [vm]);
    }
}
