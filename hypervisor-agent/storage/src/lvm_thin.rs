//! The SR in a thin pool of LVM: a thin volume per VDI.
//!
//! Snapshots and clones share blocks until they are written, however large they are; a deleted VDI gives its blocks back
//! to the pool and to the disks under it. [`names`] says what volumes are called and which is a VDI at any moment;
//! [`pool`] what makes a pool an SR, and what a full one does; [`metadata`] how it is known what changed.
//!
//! What always holds: a VDI appears, gets another name and goes by one command of LVM, which makes its change in one
//! step. After a crash between two commands the VDI is there completely or not at all, and what else is there is tidied
//! when the SR is attached, or by the next call about that VDI.
//!
//! All volumes are active as long as the SR is attached: what a snapshot takes is known only of those.
//!
//! Who else touches it: guests write their volumes through the kernel's back end; other volumes of a pool that was there
//! before are their owners'. One host has the SR.

mod change;
mod metadata;
mod names;
mod pool;
mod programs;
mod report;
mod sink;
mod snapshot;
mod source;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use xenith_common_block::{BlockSink, BlockSource};
use xenith_common_ids::{SrId, VdiId};
use xenith_hypervisor_agent_types::{DamagedVdi, LeftOver, SnapshotOf, SrSpace, VdiFacts, VdiSize};

use crate::error::is_full;
use crate::{Listing, PendingSnapshot, Result, Sharing, StorageDriver, StorageError};
use change::{CLONE, REVERT};
use names::{GOING, Parts, Role, Volume, dm_name, name, parse_name};
use report::Listed;
use sink::ThinSink;
use source::ThinSource;

pub use pool::Pool;
pub use programs::{Call, Line, Machine, Programs};

/// Of the answers of device-mapper, in bytes: a line of some 150 for each volume of the host.
const ANSWER: usize = 32 << 20;

/// The driver. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LvmThinDriver {
    id: SrId,
    pool: Pool,
    /// Bytes of one.
    block: u64,
    machine: Machine,
    /// One copy of the pool's metadata at a time.
    metadata: Arc<Mutex<()>>,
}

/// A VDI as it is found.
#[derive(Debug, Clone)]
struct Found {
    volume: Volume,
    size: VdiSize,
    snapshot_of: Option<VdiId>,
}

impl LvmThinDriver {
    /// Makes the SR `id` of empty disks, or of a pool that is there where there are none.
    pub fn make(machine: &Machine, id: SrId, pool: &Pool, disks: &[String]) -> Result<()> {
        pool::make(machine, id, pool, disks)
    }

    /// Takes [`Self::make`] back, of an SR that is empty.
    pub fn unmake(machine: &Machine, id: SrId, pool: &Pool, disks: &[String]) -> Result<()> {
        pool::unmake(machine, id, pool, disks)
    }

    /// The SR `id` in a pool that is marked as such. Tidies what a crash has left.
    pub fn attach(machine: Machine, id: SrId, pool: Pool) -> Result<Self> {
        pool::find_sr(&machine, id, &pool)?;
        let block = pool::activate(&machine, id, &pool)?.block;
        let driver = Self { id, pool, block, machine, metadata: Arc::default() };
        driver.tidy()?;
        Ok(driver)
    }

    fn io(&self, action: &'static str, vdi: VdiId) -> impl Fn(io::Error) -> StorageError + '_ {
        move |source| {
            if is_full(&source) {
                StorageError::Full { sr: self.id, vdi, action }
            } else {
                StorageError::Io { action, vdi, source }
            }
        }
    }

    fn sr_io(&self, action: &'static str) -> impl Fn(io::Error) -> StorageError + '_ {
        move |source| StorageError::Sr { action, sr: self.id, source }
    }

    /// The group's volume of this name, as LVM takes it.
    fn path_in_group(&self, volume: &str) -> String {
        self.pool.volume(volume)
    }

    fn device(&self, volume: &str) -> PathBuf {
        self.machine.devices.join(&self.pool.group).join(volume)
    }

    /// Ours, by VDI. Also refuses a pool that is this SR no more.
    fn parts(&self, which: &str) -> Result<BTreeMap<VdiId, Parts>> {
        let which = format!("lv_name=\"{}\" || ({which})", self.pool.name);
        let listed = pool::volumes(&self.machine, &self.pool, &which).map_err(self.sr_io("look at"))?;
        pool::is_sr(self.id, &self.pool, &listed)?;
        let mut all: BTreeMap<VdiId, Parts> = BTreeMap::new();
        for Listed { volume, pool, .. } in listed {
            if pool == self.pool.name
                && let Some((vdi, role)) = parse_name(&volume.name)
            {
                all.entry(vdi).or_default().add(role, volume);
            }
        }
        Ok(all)
    }

    fn all_parts(&self) -> Result<BTreeMap<VdiId, Parts>> {
        self.parts(&format!("pool_lv=\"{}\"", self.pool.name))
    }

    fn parts_of(&self, vdi: VdiId) -> Result<Parts> {
        let one = |role| format!("lv_name=\"{}\"", name(vdi, role));
        let which = [Role::Main, Role::Next, Role::Old].map(one).join(" || ");
        Ok(self.parts(&which)?.remove(&vdi).unwrap_or_default())
    }

    fn find_in(&self, vdi: VdiId, parts: &Parts) -> Result<Found> {
        let volume = parts.vdi().ok_or(StorageError::NotFound { vdi, sr: self.id })?;
        let damaged = || StorageError::Damaged {
            vdi,
            detail: format!("its volume is {} bytes long, which no disk is", volume.bytes),
        };
        let size = volume.size().ok_or_else(damaged)?;
        Ok(Found { volume: volume.clone(), size, snapshot_of: volume.snapshot_of() })
    }

    fn find(&self, vdi: VdiId) -> Result<Found> {
        self.find_in(vdi, &self.parts_of(vdi)?)
    }

    /// The same, by who changes the VDI: what an earlier change has left is tidied.
    fn settled(&self, vdi: VdiId) -> Result<Found> {
        let parts = self.parts_of(vdi)?;
        self.settle(vdi, &parts)?;
        if parts.is_between_names() { self.find(vdi) } else { self.find_in(vdi, &parts) }
    }

    fn settled_writable(&self, vdi: VdiId) -> Result<Found> {
        writable(vdi, self.settled(vdi)?)
    }

    fn settle(&self, vdi: VdiId, parts: &Parts) -> Result<()> {
        if parts.is_between_names() {
            self.rename_volume(vdi, &name(vdi, Role::Next), &name(vdi, Role::Main))?;
        }
        for volume in parts.rubbish() {
            self.remove(vdi, &volume.name)?;
        }
        Ok(())
    }

    /// After a crash, and after a boot: what was left is cleared away, what was reverted gets its name, all is active.
    fn tidy(&self) -> Result<()> {
        for (vdi, parts) in self.all_parts()? {
            if let Err(error) = self.settle(vdi, &parts) {
                // Shown as a left-over, and in nobody's way.
                tracing::warn!(%vdi, %error, sr = %self.id, "what a crash has left of a VDI cannot be tidied");
            }
        }
        let names: Vec<String> = self
            .all_parts()?
            .values()
            .filter_map(|parts| parts.vdi())
            .filter(|volume| !self.device(&volume.name).exists())
            .map(|volume| self.path_in_group(&volume.name))
            .collect();
        // What a command line can hold, many times over.
        for some in names.chunks(1000) {
            let call = Call::new("lvchange --activate y --ignoreactivationskip");
            let call = some.iter().fold(call, |call, volume| call.and(volume));
            self.machine.run(&call).map_err(self.sr_io("attach"))?;
        }
        Ok(())
    }

    /// Bytes that volumes take, by their names in device-mapper.
    fn taken(&self, call: &Call) -> Result<HashMap<String, u64>> {
        let said = self.machine.ask(call, ANSWER).map_err(self.sr_io("look at"))?;
        Ok(report::thin_status(&said).into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect())
    }

    fn all_taken(&self) -> Result<HashMap<String, u64>> {
        self.taken(&Call::new("dmsetup status --target thin"))
    }

    fn facts_of(&self, vdi: VdiId, found: &Found, taken: &HashMap<String, u64>) -> VdiFacts {
        let physical = taken.get(&dm_name(&self.pool.group, &found.volume.name)).copied().unwrap_or(0);
        VdiFacts { vdi, sr: self.id, size: found.size, physical, snapshot_of: found.snapshot_of }
    }
}

fn writable(vdi: VdiId, found: Found) -> Result<Found> {
    if found.snapshot_of.is_some() { Err(StorageError::IsSnapshot { vdi }) } else { Ok(found) }
}

impl StorageDriver for LvmThinDriver {
    fn sr(&self) -> SrId {
        self.id
    }

    fn sharing(&self) -> Sharing {
        Sharing::CopyOnWrite
    }

    fn space(&self) -> Result<SrSpace> {
        let (free, total) = self.room()?;
        let vdis = self.list()?.vdis;
        let promised = |vdi: &VdiFacts| {
            // What a snapshot holds does not grow.
            if vdi.snapshot_of.is_some() { vdi.physical } else { vdi.size.bytes() }
        };
        Ok(SrSpace {
            total,
            free,
            physical: vdis.iter().map(|vdi| vdi.physical).sum(),
            promised: vdis.iter().map(promised).sum(),
        })
    }

    fn room(&self) -> Result<(u64, u64)> {
        let said =
            self.machine.ask(&self.pool.status_call(&self.machine), 4096).map_err(self.sr_io("look at"))?;
        let status = report::pool_status(said.trim()).map_err(self.sr_io("look at"))?;
        let (free, total) = status.room(self.block);
        if status.is_read_only && free > 0 {
            let problem = format!(
                "the pool {} takes no writes, though there is room; look at the host's kernel log, then repair it with \
                 `lvconvert --repair {0}`",
                self.pool
            );
            return Err(StorageError::Unsupported(problem));
        }
        Ok((free, total))
    }

    fn list(&self) -> Result<Listing> {
        let (all, taken) = (self.all_parts()?, self.all_taken()?);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let left_over = |volume: &Volume| LeftOver {
            name: volume.name.clone(),
            bytes: taken.get(&dm_name(&self.pool.group, &volume.name)).copied().unwrap_or(0),
            idle_s: volume.made.map_or(0, |made| now.saturating_sub(made)),
        };
        let mut listing = Listing::default();
        for (vdi, parts) in &all {
            match self.find_in(*vdi, parts) {
                Ok(found) => listing.vdis.push(self.facts_of(*vdi, &found, &taken)),
                Err(StorageError::NotFound { .. }) => {}
                Err(error) => listing.damaged.push(DamagedVdi { vdi: *vdi, problem: error.to_string() }),
            }
            listing.left_overs.extend(parts.rubbish().into_iter().map(&left_over));
        }
        Ok(listing)
    }

    fn facts(&self, vdi: VdiId) -> Result<VdiFacts> {
        let found = self.find(vdi)?;
        let device = dm_name(&self.pool.group, &found.volume.name);
        let said = self.machine.ask(&Call::new("dmsetup status").and(&device), 4096);
        let line = format!("{device}: {}", said.map_err(self.io("look at", vdi))?);
        let taken = report::thin_status(&line).into_iter().map(|(name, bytes)| (name.to_owned(), bytes));
        Ok(self.facts_of(vdi, &found, &taken.collect()))
    }

    fn ensure(&self, vdi: VdiId, size: VdiSize) -> Result<VdiFacts> {
        match self.settled_writable(vdi) {
            Ok(found) if found.size == size => return self.facts(vdi),
            Ok(found) => return Err(StorageError::OtherSize { vdi, found: found.size, wanted: size }),
            Err(StorageError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        let call = Call::change("lvcreate --type thin --setactivationskip n --virtualsize")
            .and(format!("{}b", size.bytes()))
            .and("--name")
            .and(name(vdi, Role::Main))
            .and("--thinpool")
            .and(self.pool.to_string());
        self.machine.run(&call).map_err(self.io("create", vdi))?;
        self.facts(vdi)
    }

    fn delete(&self, vdi: VdiId) -> Result<()> {
        let parts = self.parts_of(vdi)?;
        self.settle(vdi, &parts)?;
        if parts.vdi().is_none() {
            return Ok(());
        }
        let main = name(vdi, Role::Main);
        if matches!(self.lasting_openers(&main), Some(1..)) {
            let source =
                io::Error::new(io::ErrorKind::ResourceBusy, "a domain or a program of this host has it open");
            return Err(StorageError::Io { action: "delete", vdi, source });
        }
        // From here on it is no VDI.
        let call = Call::change("lvchange --addtag").and(GOING).and(self.path_in_group(&main));
        self.machine.run(&call).map_err(self.io("delete", vdi))?;
        self.remove(vdi, &main)
    }

    fn grow(&self, vdi: VdiId, size: VdiSize) -> Result<VdiFacts> {
        let found = self.settled_writable(vdi)?;
        if size < found.size {
            return Err(StorageError::Shrink { vdi, found: found.size, wanted: size });
        }
        if size > found.size {
            // The back end of a running guest sees it with the guest's next request.
            let call = Call::change("lvextend --size").and(format!("{}b", size.bytes()));
            let call = call.and(self.path_in_group(&found.volume.name));
            self.machine.run(&call).map_err(self.io("grow", vdi))?;
        }
        self.facts(vdi)
    }

    fn prepare_snapshot(&self, disks: &[SnapshotOf]) -> Result<Box<dyn PendingSnapshot>> {
        Ok(Box::new(snapshot::Pending::prepare(self, disks)?))
    }

    fn clone_vdi(&self, from: VdiId, to: VdiId) -> Result<VdiFacts> {
        let source = self.find(from)?;
        match self.settled_writable(to) {
            Ok(_) => return self.facts(to),
            Err(StorageError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        self.flush(&source.volume.name).map_err(self.io("flush", from))?;
        self.share((&source.volume.name, &name(to, Role::Main)), to, &CLONE)?;
        self.facts(to)
    }

    fn rename(&self, from: VdiId, to: VdiId) -> Result<VdiFacts> {
        let source = self.settled_writable(from)?;
        match self.settled(to) {
            Err(StorageError::NotFound { .. }) => {}
            Ok(_) => return Err(StorageError::Exists { vdi: to }),
            Err(error) => return Err(error),
        }
        // Whoever filled it may be a program that flushes nothing (qemu-img): under its name it is whole for good.
        self.flush(&source.volume.name).map_err(self.io("flush", from))?;
        self.rename_volume(to, &source.volume.name, &name(to, Role::Main))?;
        self.facts(to)
    }

    fn revert(&self, vdi: VdiId, snapshot: VdiId) -> Result<VdiFacts> {
        let source = self.find(snapshot)?;
        if source.snapshot_of.is_none() {
            return Err(StorageError::NotASnapshot { vdi: snapshot });
        }
        self.settled_writable(vdi)?;
        let [main, next, old] = [Role::Main, Role::Next, Role::Old].map(|role| name(vdi, role));
        self.share((&source.volume.name, &next), vdi, &REVERT)?;
        // From here on what is next is the VDI.
        self.rename_volume(vdi, &main, &old)?;
        self.rename_volume(vdi, &next, &main)?;
        self.remove(vdi, &old)?;
        self.facts(vdi)
    }

    fn path(&self, vdi: VdiId) -> Result<PathBuf> {
        Ok(self.device(&self.find(vdi)?.volume.name))
    }

    fn open_source(&self, vdi: VdiId) -> Result<Box<dyn BlockSource>> {
        let found = self.find(vdi)?;
        Ok(Box::new(ThinSource::open(self.clone(), &found)?))
    }

    fn open_sink(&self, vdi: VdiId) -> Result<Box<dyn BlockSink>> {
        let found = writable(vdi, self.find(vdi)?)?;
        Ok(Box::new(ThinSink::open(self.clone(), &found)?))
    }
}
