//! The SRs of this host, and the rules for their VDIs.
//!
//! What always holds: one change per VDI at a time, and none of what a VM has open but growing it and snapshotting
//! it (through the VM). What more than one host reaches is written with its lease only ([`super::lease`]). Holding a VDI
//! comes before asking who has it open, and a VM that starts says what it opens before it asks whether that is held: of
//! the two, at least one sees the other.
//!
//! Everything here blocks; it is called from worker threads.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use xenith_common_block::{BaseId, BlockError, BlockSink, BlockSource, ByteRange, ChangedRanges, Extent};
use xenith_common_ids::{SrId, VdiId, VmId};
use xenith_hypervisor_agent_storage::{StorageDriver, StorageError};
use xenith_hypervisor_agent_types::{
    DiskAccess, Fault, FaultReason, LeasedTo, SnapshotOf, VdiFacts, VdiSize,
};

use super::answering::Answering;
use super::attached::Attachments;
use super::busy::{Busy, Hold};
use super::copying::Copying;
use super::lease::{Leased, Writing};
use super::marks::{Marks, Point};
use super::srs::Turning;
use super::{InUse, PendingSnapshots};
use crate::instant::control::Status;
use crate::instant::{Instants, Launcher, Origin};

pub(super) type Result<T, E = Fault> = std::result::Result<T, E>;

/// All clones are one.
#[derive(Debug, Clone)]
pub struct Storage {
    pub(super) local: SrId,
    pub(super) drivers: Arc<RwLock<BTreeMap<SrId, Arc<dyn StorageDriver>>>>,
    /// Where VDIs were found last: a hint, which may be wrong.
    pub(super) places: Arc<Mutex<HashMap<VdiId, SrId>>>,
    pub(super) busy: Busy,
    pub(super) in_use: InUse,
    pub(super) attachments: Option<Attachments>,
    pub(super) turning: Turning,
    pub(super) answering: Answering,
    pub(crate) copying: Copying,
    pub(super) leased: Leased,
    instants: Option<Arc<Instants>>,
    marks: Option<Marks>,
}

impl Storage {
    #[must_use]
    pub fn new(local: Arc<dyn StorageDriver>, in_use: InUse) -> Self {
        let id = local.sr();
        let drivers = Arc::new(RwLock::new(BTreeMap::from([(id, local)])));
        Self {
            local: id,
            drivers,
            places: Arc::default(),
            busy: Busy::default(),
            in_use,
            attachments: None,
            turning: Turning::default(),
            answering: Answering::default(),
            copying: Copying::default(),
            leased: Leased::default(),
            instants: None,
            marks: None,
        }
    }

    /// Takes over the disks that are being used while they come in from their backups.
    pub fn adopt_instants(&mut self, state: &Path, launcher: Launcher) -> Result<()> {
        self.instants = Some(Arc::new(Instants::open(state, launcher, self.busy.clone())?));
        Ok(())
    }

    /// Knows again what the VDIs of standby VMs hold.
    pub fn adopt_marks(&mut self, state: &Path) -> Result<()> {
        self.marks = Some(Marks::open(state)?);
        Ok(())
    }

    /// Somebody else is about to write the VDI.
    pub(crate) fn forget_mark(&self, vdi: VdiId) -> Result<()> {
        self.marks.as_ref().map_or(Ok(()), |marks| marks.forget(vdi))
    }

    fn instants(&self) -> Result<&Instants> {
        let instants = self.instants.as_deref();
        instants.ok_or_else(|| Fault::new(FaultReason::NotReady, "the agent is starting"))
    }

    /// Makes sure that a VDI which is new is served from a backup while that comes in.
    pub fn begin_instant(&self, vdi: VdiId, origin: Origin) -> Result<()> {
        let (driver, instants) = (self.find(vdi)?, self.instants()?);
        // Its server writes for as long as the disk comes in, and holds it.
        self.lease_while_held(&*driver, vdi)?;
        instants.begin(vdi, &*driver, origin, || self.closed(vdi))
    }

    /// How far that is; `None` for a plain VDI.
    pub fn look_at_instant(&self, vdi: VdiId) -> Result<Option<Status>> {
        let status = self.instants()?.look(vdi)?;
        if status.is_none() {
            self.find(vdi)?;
        }
        Ok(status)
    }

    /// Whether a domain that has the VDI has it from the server of an instant restore, complete or not.
    pub fn is_served(&self, vdi: VdiId) -> bool {
        self.instants.as_ref().is_some_and(|instants| instants.is_begun(vdi))
    }

    /// Where downloads are kept until they are VDIs.
    pub(super) fn downloads(&self) -> Option<&Path> {
        self.attachments.as_ref().map(Attachments::downloads)
    }

    /// Before the SR is looked up in which it is made.
    pub(crate) fn hold_for_import(&self, sr: SrId, vdi: VdiId) -> Result<Hold> {
        self.busy.make(vdi, sr, "being imported")
    }

    /// The SR on the host's own disk.
    #[must_use]
    pub const fn local(&self) -> SrId {
        self.local
    }

    pub fn driver(&self, sr: SrId) -> Result<Arc<dyn StorageDriver>> {
        let drivers = self.drivers.read().unwrap_or_else(PoisonError::into_inner);
        drivers.get(&sr).cloned().ok_or_else(|| StorageError::OtherSr(sr).into())
    }

    #[must_use]
    pub fn drivers(&self) -> Vec<Arc<dyn StorageDriver>> {
        let drivers = self.drivers.read().unwrap_or_else(PoisonError::into_inner);
        drivers.values().cloned().collect()
    }

    /// The SRs that are attached. Who asks one after the other looks each up in its turn: a driver that is in hand while
    /// another SR is waited for keeps its own from being attached again.
    #[must_use]
    pub fn srs(&self) -> Vec<SrId> {
        let drivers = self.drivers.read().unwrap_or_else(PoisonError::into_inner);
        drivers.keys().copied().collect()
    }

    /// What a domain is given, when nothing changes it now. The caller has said that it opens it.
    pub fn path_for_domain(&self, vdi: VdiId, access: DiskAccess) -> Result<PathBuf> {
        if let Some(instants) = &self.instants
            && let Some(path) = instants.path_for_domain(vdi)?
        {
            return Ok(path);
        }
        self.busy.check_opens(vdi, access)?;
        self.forget_mark(vdi)?;
        Ok(self.find(vdi)?.path(vdi)?)
    }

    pub fn ensure(&self, sr: SrId, vdi: VdiId, size: VdiSize) -> Result<VdiFacts> {
        let _hold = self.busy.make(vdi, sr, "being created")?;
        Ok(self.driver(sr)?.ensure(vdi, size)?)
    }

    pub fn delete(&self, sr: SrId, vdi: VdiId) -> Result<()> {
        // An SR that is not here refuses before anything is dropped.
        self.driver(sr)?;
        // Who fills it fills it for nobody. It is refused until they have stopped.
        self.copying.give_up(vdi);
        if let Some(instants) = &self.instants {
            instants.drop_vdi(vdi, || self.closed(vdi))?;
        }
        let hold = self.busy.change(vdi, "being deleted")?;
        let driver = self.driver(sr)?;
        self.closed(vdi)?;
        let _writing = self.writing(hold, &*driver, vdi)?;
        self.forget_mark(vdi)?;
        driver.delete(vdi)?;
        self.places.lock().unwrap_or_else(PoisonError::into_inner).remove(&vdi);
        Ok(())
    }

    pub fn grow(&self, sr: SrId, vdi: VdiId, size: VdiSize) -> Result<VdiFacts> {
        let hold = self.busy.change(vdi, "being resized")?;
        let driver = self.driver(sr)?;
        let _writing = self.writing(hold, &*driver, vdi)?;
        Ok(driver.grow(vdi, size)?)
    }

    pub fn clone_vdi(&self, sr: SrId, from: VdiId, to: VdiId) -> Result<VdiFacts> {
        let _from = self.busy.read_still(from, "being cloned")?;
        let _to = self.busy.make(to, sr, "being created")?;
        let driver = self.driver(sr)?;
        self.still(&*driver, from)?;
        Ok(driver.clone_vdi(from, to)?)
    }

    pub fn revert(&self, sr: SrId, vdi: VdiId, snapshot: VdiId) -> Result<VdiFacts> {
        self.reverted(&*self.driver(sr)?, vdi, snapshot).map(|(facts, _)| facts)
    }

    fn reverted(
        &self,
        driver: &dyn StorageDriver,
        vdi: VdiId,
        snapshot: VdiId,
    ) -> Result<(VdiFacts, Writing)> {
        let hold = self.busy.change(vdi, "being reverted to a snapshot")?;
        let _snapshot = self.busy.read(snapshot, "being reverted to")?;
        self.closed(vdi)?;
        let writing = self.writing(hold, driver, vdi)?;
        self.forget_mark(vdi)?;
        Ok((driver.revert(vdi, snapshot)?, writing))
    }

    /// Gives the VDI of a standby VM the contents of a snapshot that is known to be `point`.
    pub fn rewind(&self, vdi: VdiId, snapshot: VdiId, point: Point) -> Result<()> {
        let marks = self.marks()?;
        let (_, _writing) = self.reverted(&*self.find(vdi)?, vdi, snapshot)?;
        marks.set(vdi, &[point])
    }

    fn marks(&self) -> Result<&Marks> {
        self.marks.as_ref().ok_or_else(|| Fault::new(FaultReason::NotReady, "the agent is starting"))
    }

    /// What the VDI of a standby VM holds; empty: nothing is known.
    pub fn mark_of(&self, vdi: VdiId) -> Result<Vec<Point>> {
        Ok(self.marks()?.of(vdi))
    }

    /// Writes a VDI that no VM has open, alone, as [`Self::open_sink`], by who keeps its mark true.
    pub fn open_marked(&self, vdi: VdiId) -> Result<Marked> {
        let hold = self.busy.change(vdi, "being brought to a newer backup")?;
        let driver = self.find(vdi)?;
        self.closed(vdi)?;
        let writing = self.writing(hold, &*driver, vdi)?;
        Ok(Marked { vdi, marks: self.marks()?.clone(), sink: driver.open_sink(vdi)?, _writing: writing })
    }

    /// Begins a snapshot of VDIs in any SRs of this host; [`PendingSnapshots::take`] must find them standing still.
    pub fn prepare_snapshots(&self, disks: &[SnapshotOf]) -> Result<PendingSnapshots> {
        let mut holds = Vec::new();
        let mut by_sr: BTreeMap<SrId, Vec<SnapshotOf>> = BTreeMap::new();
        for of in disks {
            holds.push(self.busy.read(of.vdi, "being snapshotted")?);
            let sr = self.find(of.vdi)?.sr();
            holds.push(self.busy.make(of.snapshot, sr, "being made")?);
            by_sr.entry(sr).or_default().push(*of);
        }
        let mut parts = Vec::new();
        let was_there = self.made_before(disks)?;
        for (sr, disks) in by_sr {
            parts.push(self.driver(sr)?.prepare_snapshot(&disks)?);
        }
        let pending = PendingSnapshots::new(parts, holds);
        Ok(if was_there { pending.made_before() } else { pending })
    }

    /// Whether the same call made all of it before. Where a crash let it make a part only, that is dropped: what is taken
    /// now in another SR would be of another moment, and nobody was told of it.
    fn made_before(&self, disks: &[SnapshotOf]) -> Result<bool> {
        let mut there = Vec::new();
        for of in disks {
            let Ok(driver) = self.find(of.snapshot) else { continue };
            // What has the id and is something else is refused by its SR.
            if driver.facts(of.snapshot)?.snapshot_of == Some(of.vdi) {
                there.push((driver, of.snapshot));
            }
        }
        if there.len() == disks.len() {
            return Ok(!disks.is_empty());
        }
        for (driver, half_made) in there {
            driver.delete(half_made)?;
        }
        Ok(false)
    }

    /// Of VDIs that no VM has open.
    pub fn snapshot_closed(&self, disks: &[SnapshotOf]) -> Result<Vec<VdiFacts>> {
        let mut pending = self.prepare_snapshots(disks)?;
        for of in disks {
            self.closed(of.vdi)?;
        }
        pending.take(None)?;
        pending.commit()
    }

    /// Reads a snapshot, or a VDI that no VM has open. Nobody deletes or changes it meanwhile.
    pub fn open_source(&self, vdi: VdiId) -> Result<Arc<dyn BlockSource>> {
        let hold = self.busy.read_still(vdi, "being read")?;
        let driver = self.find(vdi)?;
        self.still(&*driver, vdi)?;
        Ok(Arc::new(Held { inner: driver.open_source(vdi)?, _held: hold }))
    }

    /// Writes a VDI that no VM has open, alone.
    pub fn open_sink(&self, vdi: VdiId) -> Result<Arc<dyn BlockSink>> {
        self.open_sink_under(vdi, None)
    }

    /// The same of a VDI that `vm` may have open: one that came from another host, stands still, and is let run only when
    /// all was written, for which the orchestrator answers. Where it runs already, an order has come too late. A domain that
    /// never ran has read nothing that changes here.
    pub fn open_sink_under(&self, vdi: VdiId, vm: Option<VmId>) -> Result<Arc<dyn BlockSink>> {
        let hold = self.busy.change(vdi, "being written")?;
        let driver = self.find(vdi)?;
        if self.in_use.by(vdi) != vm || vm.is_none_or(|vm| self.is_writing(vm)) {
            self.closed(vdi)?;
        }
        let writing = self.writing(hold, &*driver, vdi)?;
        self.forget_mark(vdi)?;
        Ok(Arc::new(Held { inner: driver.open_sink(vdi)?, _held: writing }))
    }

    /// Gives a VDI that no VM has open to a domain of ours, alone, as long as the answer lives. Its lease names that domain.
    pub fn lend(&self, sr: SrId, vdi: VdiId, what: &'static str, to: &LeasedTo) -> Result<Lent> {
        let hold = self.busy.change(vdi, what)?;
        let driver = self.driver(sr)?;
        self.closed(vdi)?;
        let writing = self.writing_for(hold, &*driver, vdi, Some(to))?;
        self.forget_mark(vdi)?;
        let size = driver.facts(vdi)?.size.bytes();
        Ok(Lent { path: driver.path(vdi)?, size, _writing: writing })
    }

    /// Refuses a VDI that a VM has open.
    pub(super) fn closed(&self, vdi: VdiId) -> Result<()> {
        match self.in_use.by(vdi) {
            None => Ok(()),
            Some(vm) => Err(Fault::new(
                FaultReason::WrongState,
                format_args!("VDI {vdi} is a disk of VM {vm}; detach it or stop the VM first"),
            )),
        }
    }

    /// Refuses a VDI that may change while it is read; a snapshot does not, whoever has it open.
    fn still(&self, driver: &dyn StorageDriver, vdi: VdiId) -> Result<()> {
        if driver.facts(vdi)?.snapshot_of.is_some() {
            return Ok(());
        }
        self.closed(vdi)
            .map_err(|fault| Fault { message: format!("{fault}, or take a snapshot and use that"), ..fault })
    }
}

/// A VDI of a standby VM that is written; others are kept away as long as it lives.
pub struct Marked {
    vdi: VdiId,
    marks: Marks,
    sink: Box<dyn BlockSink>,
    _writing: Writing,
}

impl Marked {
    #[must_use]
    pub fn sink(&self) -> &dyn BlockSink {
        &*self.sink
    }

    #[must_use]
    pub fn held(&self) -> Vec<Point> {
        self.marks.of(self.vdi)
    }

    /// Every block is as in one of these; durable when it returns. None: nothing is known.
    pub fn note(&self, held: &[Point]) -> Result<()> {
        if held.is_empty() { self.marks.forget(self.vdi) } else { self.marks.set(self.vdi, held) }
    }
}

/// A VDI for a domain of ours; others are kept away as long as it lives.
#[derive(Debug)]
pub struct Lent {
    pub path: PathBuf,
    pub size: u64,
    _writing: Writing,
}

/// A source or sink that keeps others away as long as it lives.
struct Held<T: ?Sized, H> {
    inner: Box<T>,
    _held: H,
}

impl BlockSource for Held<dyn BlockSource, Hold> {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        self.inner.read_at(offset, buf)
    }

    fn extents(&self, range: ByteRange) -> Result<Vec<Extent>, BlockError> {
        self.inner.extents(range)
    }

    fn changed_since(&self, base: &BaseId) -> Result<ChangedRanges, BlockError> {
        self.inner.changed_since(base)
    }
}

impl BlockSink for Held<dyn BlockSink, Writing> {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        self.inner.write_at(offset, data)
    }

    fn zero(&self, range: ByteRange) -> Result<(), BlockError> {
        self.inner.zero(range)
    }

    fn flush(&self) -> Result<(), BlockError> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use xenith_common_ids::IncarnationId;
    use xenith_hypervisor_agent_storage::file::FileDriver;

    use super::*;

    #[test]
    fn a_disk_is_written_under_the_vm_that_is_named_as_long_as_that_stands() {
        let (folder, in_use, sr) = (tempfile::tempdir().unwrap(), InUse::default(), SrId::new());
        let driver = FileDriver::open(sr, folder.path().to_owned());
        let storage = Storage::new(Arc::new(driver), in_use.clone());
        let (vm, vdi) = (VmId::new(), VdiId::new());
        storage.ensure(sr, vdi, VdiSize::from_bytes(1 << 20).unwrap()).unwrap();
        let opens = |under| storage.open_sink_under(vdi, under).is_ok();
        assert!(opens(None) && opens(Some(vm)), "nobody has it");
        in_use.set(vm, vec![vdi]);
        assert!(!opens(None) && !opens(Some(VmId::new())), "it has come from another host");
        assert!(opens(Some(vm)));
        let to = LeasedTo { vm, name: "web-1".to_owned(), run: IncarnationId::new(), sent: false };
        storage.note_writer(vm, Some((to, vec![vdi])));
        assert!(!opens(Some(vm)), "its guest writes");
    }
}
