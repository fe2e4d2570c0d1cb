//! Warm migration: copy while the VM runs, then deltas, then a short cut-over.
//!
//! ```text
//! Copying --pass--> Copying --cut_over--> CutOver --last pass, verify--> Done
//!    \________________________ roll_back ____________/ --> RolledBack
//! ```
//!
//! What always holds: a change id counts only when all its changes are on the target, and is saved after them; any
//! doubt about what changed (`tracking.rs`: no change id, another tracker, a new size, a revert, a fault) becomes a
//! compare pass, which reads both sides and writes what differs. The last pass reads a snapshot that was taken of a VM that
//! was off: one that goes on with an older snapshot is followed by another. A source that somebody switches on in its last
//! pass makes that one be made again. A crash, or a server that is away, leaves the state of the last
//! checkpoint and at most one snapshot with our name: the next pass goes on there when the snapshot still stands, and
//! otherwise removes it; a roll-back always does. A disk that can only be exported is read from its beginning again.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use xenith_common_block::{BlockSource, ByteRange, ExtentKind, FileSink, FileSource, RangeSet};

use super::areas::{self, SnapshotDisk};
use super::client::{MoRef, Vim};
use super::export;
use super::route::{self, Mounts, Route};
use super::snapshots;
use super::soap::Body;
use super::source::{self, Started, Tracking};
use super::tracking::{DiskState, INDEPENDENT, doubt};
use super::transfer::{Sums, TargetDisk, Work, transfer};
use crate::error::{ImportError, Result, Retry};
use crate::inspect::has_bitlocker;
use crate::vmdk::image::Image;

/// Between two states on disk while a pass runs: what a crash may repeat.
const CHECKPOINT: Duration = Duration::from_secs(2);

/// Why areas in use are not asked for beside a snapshot of somebody else: what was written before tracking was switched on
/// lies below it, and is not among them.
const BESIDE: &str = "changed-block tracking may have begun while another snapshot stood";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Copying,
    CutOver,
    Done,
    RolledBack,
}

/// How a pass found out what to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Areas in use, by changed-block tracking.
    Allocated,
    /// Everything that the tables of the disk hold; with the reason why not less.
    Everything(String),
    /// Areas changed since the pass before.
    Changed,
    /// Both sides read and compared, with the reason.
    Compared(String),
    /// All of it by an NFC export, written where it differs; with the reason why not by ranges.
    Exported(String),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiskPass {
    pub key: u64,
    pub method: Method,
    pub read: u64,
    pub written: u64,
    pub seconds: f64,
}

/// What survives a crash; written after every step.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarmState {
    vm: (String, String),
    name: String,
    pub phase: Phase,
    disks: Vec<DiskState>,
    pub passes: Vec<Vec<DiskPass>>,
    /// We have switched the source off, so a roll-back starts it again.
    we_stopped_it: bool,
    /// We have switched changed-block tracking on, so a roll-back switches it off again.
    #[serde(default)]
    we_track: bool,
    /// A snapshot with our name could not be removed, for this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_behind: Option<String>,
    /// The pass that was begun and not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    open: Option<OpenPass>,
}

/// What a pass that is begun again needs to go on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenPass {
    snapshot: (String, String),
    /// The VM may have run when it was taken, and have written since what this snapshot has not.
    #[serde(default = "as_it_ran")]
    running: bool,
    /// Disks of this snapshot that are done.
    done: Vec<DiskPass>,
    /// The disk that is not, and the position before which it is.
    at: Option<(u64, u64)>,
}

/// What is taken for so where an earlier version wrote the state.
const fn as_it_ran() -> bool {
    true
}

/// What has to be on a target before it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// Zeros everywhere.
    Fresh,
    /// What was written there before.
    Kept,
}

/// Where the disks of a move go.
pub trait Targets: Send + Sync {
    /// Opens the target of a disk. `Kept` may be answered with `Fresh` when it is not there any more.
    fn open(&self, key: u64, capacity: u64, contents: Contents) -> Result<(TargetDisk, Contents)>;
}

/// Raw files in a folder.
pub struct FolderTargets(pub PathBuf);

impl FolderTargets {
    #[must_use]
    pub fn path(&self, key: u64) -> PathBuf {
        self.0.join(format!("disk-{key}.raw"))
    }
}

impl Targets for FolderTargets {
    fn open(&self, key: u64, capacity: u64, contents: Contents) -> Result<(TargetDisk, Contents)> {
        let path = self.path(key);
        let failed = |action| {
            let path = path.display().to_string();
            move |error| ImportError::io(action, path, error)
        };
        let mut found = contents;
        if !path.exists() {
            found = Contents::Fresh;
        } else if contents == Contents::Fresh {
            fs::remove_file(&path).map_err(failed("replace"))?;
        } else {
            let grow = fs::OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(capacity));
            grow.map_err(failed("set the size of"))?;
        }
        let sink = match found {
            Contents::Fresh => FileSink::create_new(&path, capacity)?,
            Contents::Kept => FileSink::open(&path)?,
        };
        let disk = TargetDisk { sink: Arc::new(sink), source: Arc::new(FileSource::open(&path)?) };
        Ok((disk, found))
    }
}

/// Told of a disk, the position reached and its size; an error ends the pass, which can go on there later.
pub type Watch = Arc<dyn Fn(u64, u64, u64) -> Result<()> + Send + Sync>;

/// One VM on its way.
pub struct WarmMove {
    vim: Arc<Vim>,
    vm: MoRef,
    folder: PathBuf,
    datacenter: String,
    targets: Arc<dyn Targets>,
    watch: Watch,
    mounts: Mounts,
    pub state: WarmState,
}

/// What a guest does when it is asked to shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    Yes,
    /// The deadline passed: somebody has to decide.
    StillRunning,
}

impl WarmMove {
    /// Begins, or goes on with what an earlier run left in `folder`, where the disks go too.
    pub fn open(vim: Arc<Vim>, vm: MoRef, folder: &Path, datacenter: &str) -> Result<Self> {
        Self::open_with(vim, vm, folder, datacenter, Arc::new(FolderTargets(folder.to_owned())))
    }

    /// The same with targets elsewhere; `folder` keeps the state.
    pub fn open_with(
        vim: Arc<Vim>,
        vm: MoRef,
        folder: &Path,
        datacenter: &str,
        targets: Arc<dyn Targets>,
    ) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|e| ImportError::io("make", folder.display().to_string(), e))?;
        let name = vim.properties(&vm, &["name"])?.text("name").to_owned();
        let fresh = WarmState {
            vm: (vm.kind.clone(), vm.id.clone()),
            name,
            phase: Phase::Copying,
            disks: Vec::new(),
            passes: Vec::new(),
            we_stopped_it: false,
            we_track: false,
            left_behind: None,
            open: None,
        };
        let path = folder.join("xenith-warm.json");
        let state = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => fresh,
            // Taken for none it would be written over, and who switched the source off be forgotten.
            Err(error) => return Err(ImportError::io("read", path.display().to_string(), error)),
            Ok(text) => {
                let state: WarmState = serde_json::from_slice(&text).map_err(|error| {
                    ImportError::Usage(format!(
                        "{}: {error}; remove the folder to begin again",
                        path.display()
                    ))
                })?;
                if state.vm != fresh.vm {
                    return Err(ImportError::Usage(format!("{} belongs to another VM", folder.display())));
                }
                state
            }
        };
        let (folder, datacenter) = (folder.to_owned(), datacenter.to_owned());
        let watch: Watch = Arc::new(|_, _, _| Ok(()));
        let mounts = Mounts::new();
        Ok(Self { vim, vm, folder, datacenter, targets, watch, mounts, state })
    }

    /// Who is told how far a pass is, and may end it.
    #[must_use]
    pub fn watched_by(mut self, watch: Watch) -> Self {
        self.watch = watch;
        self
    }

    /// Datastores that are mounted here: their files are read there, and only the rest over the network.
    #[must_use]
    pub fn mounted(mut self, mounts: Mounts) -> Self {
        self.mounts = mounts;
        self
    }

    /// Switches changed-block tracking on where it is off. It begins with the next snapshot.
    pub fn track_changes(&mut self) -> Result<()> {
        if source::tracking(&self.vim, &self.vm)? == Tracking::On {
            return Ok(());
        }
        self.state.we_track = true;
        self.save()?;
        source::set_tracking(&self.vim, &self.vm, Tracking::On)
    }

    fn save(&self) -> Result<()> {
        let path = self.folder.join("xenith-warm.json");
        let new = self.folder.join("xenith-warm.json.new");
        let text = serde_json::to_vec_pretty(&self.state).expect("the state is plain data");
        // Without it a power cut could leave an empty file under the name, and the move could not go on.
        let write = |mut file: fs::File| file.write_all(&text).and_then(|()| file.sync_all());
        fs::File::create(&new)
            .and_then(write)
            .and_then(|()| fs::rename(&new, &path))
            .map_err(|error| ImportError::io("write", path.display().to_string(), error))
    }

    /// Where the disk with this key is copied to, when it goes into the folder.
    #[must_use]
    pub fn target(&self, key: u64) -> PathBuf {
        FolderTargets(self.folder.clone()).path(key)
    }

    /// One pass over all disks: snapshot, copy what changed, remove the snapshot. One that goes on with an older snapshot of a
    /// VM that is off now is followed by another: the VM wrote until it was off, and may have been on since.
    pub fn pass(&mut self) -> Result<Vec<DiskPass>> {
        let older = match &self.state.open {
            Some(open) if self.is_off()? => Some(open.running),
            _ => None,
        };
        let passes = self.run_pass(None)?;
        if older.is_some_and(|running| running || is_made_again(&passes)) {
            return self.run_pass(None);
        }
        Ok(passes)
    }

    /// A pass that reads both sides of every disk and writes what differs.
    pub fn compare(&mut self, why: &str) -> Result<Vec<DiskPass>> {
        self.run_pass(Some(why))
    }

    fn ensure_not_over(&self) -> Result<()> {
        match self.state.phase {
            Phase::Copying | Phase::CutOver => Ok(()),
            Phase::Done | Phase::RolledBack => {
                Err(ImportError::Usage(format!("the move of {} is over", self.state.name)))
            }
        }
    }

    fn run_pass(&mut self, compare: Option<&str>) -> Result<Vec<DiskPass>> {
        self.ensure_not_over()?;
        let snapshot = self.snapshot()?;
        let result = self.copy_snapshot(&snapshot, compare);
        if result.as_ref().is_err_and(can_go_on) {
            return result;
        }
        self.state.open = None;
        if let Ok(passes) = &result {
            self.state.passes.push(passes.clone());
        }
        // Before the snapshot goes: what is known of it must not outlive it.
        self.save()?;
        let removed = snapshots::remove_ours(&self.vim, &self.vm);
        let passes = result?;
        match removed {
            // What was copied counts. The next pass, the end of the move, or a roll-back removes it.
            Err(error) if can_go_on(&error) => self.note_left(Some(error.to_string()))?,
            removed => {
                removed?;
                self.note_left(None)?;
            }
        }
        Ok(passes)
    }

    fn note_left(&mut self, why: Option<String>) -> Result<()> {
        if self.state.left_behind == why {
            return Ok(());
        }
        self.state.left_behind = why;
        self.save()
    }

    /// The snapshot that a pass reads: that of the pass before when it broke off and its snapshot still stands.
    fn snapshot(&mut self) -> Result<MoRef> {
        if let Some(open) = &self.state.open {
            let reference = MoRef::new(&open.snapshot.0, &open.snapshot.1);
            if snapshots::ours(&self.vim, &self.vm)?.contains(&reference) {
                return Ok(reference);
            }
        }
        self.state.open = None;
        self.save()?;
        snapshots::remove_ours(&self.vim, &self.vm)?;
        let off_before = self.is_off()?;
        let snapshot = snapshots::take(&self.vim, &self.vm)?;
        let running = !(off_before && self.is_off().is_ok_and(|off| off));
        let reference = (snapshot.kind.clone(), snapshot.id.clone());
        self.state.open = Some(OpenPass { snapshot: reference, running, done: Vec::new(), at: None });
        self.save()?;
        Ok(snapshot)
    }

    fn copy_snapshot(&mut self, snapshot: &MoRef, compare: Option<&str>) -> Result<Vec<DiskPass>> {
        let disks = self.disks_of(snapshot)?;
        if let Some(disk) = disks.iter().find(|disk| disk.independent)
            && !self.is_off()?
        {
            let detail = format!("{}: {INDEPENDENT}; shut the VM down for the copy", disk.path);
            return Err(ImportError::Usage(detail));
        }
        for disk in &disks {
            let open = self.state.open.as_ref();
            if open.is_some_and(|open| open.done.iter().any(|done| done.key == disk.key)) {
                continue;
            }
            let pass = match route::find(&self.vim, &disk.path, &self.datacenter, &self.mounts)? {
                Route::Image(image) => self.copy_disk((snapshot, &image), disk, compare)?,
                Route::Export(why) => self.export_disk((snapshot, &disks), disk, why)?,
            };
            self.state.disks.retain(|old| old.key != disk.key);
            self.state.disks.push(disk.into());
            if let Some(open) = &mut self.state.open {
                open.done.push(pass);
                open.at = None;
            }
            self.save()?;
        }
        Ok(self.state.open.as_ref().map(|open| open.done.clone()).unwrap_or_default())
    }

    /// Those of a snapshot: all of them, or an error.
    fn disks_of(&self, snapshot: &MoRef) -> Result<Vec<SnapshotDisk>> {
        let found = self.vim.properties(snapshot, &["config"])?;
        let untold =
            |retry| self.vim.error("RetrievePropertiesEx", "a snapshot without its disks".into(), retry);
        let config = found.get("config").ok_or_else(|| untold(Retry::Later))?;
        let disks = areas::disks_of(config).ok_or_else(|| untold(Retry::Never))?;
        let lost = self.state.disks.iter().find(|old| disks.iter().all(|disk| disk.key != old.key));
        if let Some(DiskState { key, .. }) = lost {
            let text = format!(
                "the source has lost the disk {key} since the move began; roll it back and begin again"
            );
            return Err(ImportError::Usage(text));
        }
        Ok(disks)
    }

    fn copy_disk(
        &mut self,
        (snapshot, image): (&MoRef, &Image),
        disk: &SnapshotDisk,
        compare: Option<&str>,
    ) -> Result<DiskPass> {
        let started = Instant::now();
        if image.virtual_size() < disk.capacity {
            // The rest would be taken for zeros.
            let detail = format!("is {} bytes, the VM says {}", image.virtual_size(), disk.capacity);
            return Err(ImportError::damaged(&disk.path, 0, "capacity", detail));
        }
        let from = self.state.open.as_ref().and_then(|open| open.at).filter(|(key, _)| *key == disk.key);
        let mut from = from.map_or(0, |(_, at)| at);
        let mut before = self.state.disks.iter().find(|old| old.key == disk.key).cloned();
        if before.is_none() && from == 0 && has_bitlocker(image)? {
            // As the assessment says of one that is off. No filesystem is read here: this runs on a host.
            let way_out = "decrypt it in the guest (manage-bde -off), and begin again";
            return Err(ImportError::unsupported(&disk.path, "a volume that BitLocker encrypts", way_out));
        }
        let contents = if before.is_some() || from > 0 { Contents::Kept } else { Contents::Fresh };
        if contents == Contents::Fresh {
            self.forget_position()?;
        }
        let (target, found) = self.targets.open(disk.key, disk.capacity, contents)?;
        if found == Contents::Fresh {
            (before, from) = (None, 0);
            self.forget_position()?;
        }
        let whole = ByteRange::new(0, disk.capacity);
        let (method, ranges) = match (compare, &before) {
            (Some(why), Some(_)) => (Method::Compared(why.to_owned()), std::iter::once(whole).collect()),
            _ => self.what_to_read(snapshot, disk, before.as_ref(), whole),
        };
        let (work, ranges) = match &method {
            // What the tables do not hold was never written.
            Method::Everything(_) => (Work::Fresh, data_ranges(image, whole)?),
            Method::Allocated => (Work::Fresh, ranges),
            Method::Changed => (Work::Over, ranges),
            Method::Compared(_) | Method::Exported(_) => (Work::Compare, ranges),
        };
        let sums = self.checkpointed((image, &target), (&ranges, from), work, disk)?;
        target.sink.flush()?;
        let Sums { read, written } = sums;
        Ok(DiskPass { key: disk.key, method, read, written, seconds: started.elapsed().as_secs_f64() })
    }

    fn checkpointed(
        &mut self,
        (image, target): (&Image, &TargetDisk),
        what: (&RangeSet, u64),
        work: Work,
        disk: &SnapshotDisk,
    ) -> Result<Sums> {
        let watch = Arc::clone(&self.watch);
        let mut last = Instant::now();
        let sums = transfer(image, target, what, work, &mut |position, _| {
            watch(disk.key, position, disk.capacity)?;
            if last.elapsed() >= CHECKPOINT {
                target.sink.flush()?;
                if let Some(open) = &mut self.state.open {
                    open.at = Some((disk.key, position));
                }
                self.save()?;
                last = Instant::now();
            }
            Ok(())
        })?;
        watch(disk.key, disk.capacity, disk.capacity)?;
        Ok(sums)
    }

    /// Before a target is emptied: nothing that goes on may believe that what lies before a position is on it.
    fn forget_position(&mut self) -> Result<()> {
        match self.state.open.as_mut().and_then(|open| open.at.take()) {
            Some(_) => self.save(),
            None => Ok(()),
        }
    }

    /// There are no ranges: all of it comes, and what is on the target already is left as it is.
    fn export_disk(
        &mut self,
        (snapshot, disks): (&MoRef, &[SnapshotDisk]),
        disk: &SnapshotDisk,
        why: String,
    ) -> Result<DiskPass> {
        let started = Instant::now();
        let before = self.state.disks.iter().any(|old| old.key == disk.key);
        let wanted = if before { Contents::Kept } else { Contents::Fresh };
        // Of a try by ranges: an export that breaks off, too, leaves a target that is not whole before it.
        self.forget_position()?;
        let (target, found) = self.targets.open(disk.key, disk.capacity, wanted)?;
        let work = if found == Contents::Fresh { Work::Fresh } else { Work::Compare };
        let watch = Arc::clone(&self.watch);
        let tick = &mut |at, _| watch(disk.key, at, disk.capacity);
        let sums = export::copy_disk(&self.vim, (snapshot, disks), disk, (&target, work), tick)?;
        target.sink.flush()?;
        let (method, seconds) = (Method::Exported(why), started.elapsed().as_secs_f64());
        Ok(DiskPass { key: disk.key, method, read: sums.read, written: sums.written, seconds })
    }

    /// The ranges to read, and why just these.
    fn what_to_read(
        &self,
        snapshot: &MoRef,
        disk: &SnapshotDisk,
        before: Option<&DiskState>,
        whole: ByteRange,
    ) -> (Method, RangeSet) {
        let all = || std::iter::once(whole).collect::<RangeSet>();
        let Some(before) = before else {
            if disk.independent {
                return (Method::Everything(INDEPENDENT.to_owned()), all());
            }
            if disk.change_id.is_none() {
                return (Method::Everything("changed-block tracking is off".to_owned()), all());
            }
            match snapshots::another(&self.vim, &self.vm) {
                Ok(None) => {}
                Ok(Some(name)) => return (Method::Everything(format!("{BESIDE} ({name:?})")), all()),
                Err(error) => return (Method::Everything(error.to_string()), all()),
            }
            return match areas::changed(&self.vim, (&self.vm, snapshot), disk, "*") {
                Ok(ranges) => (Method::Allocated, ranges),
                Err(error) => (Method::Everything(error.to_string()), all()),
            };
        };
        let compare = |reason: &str| (Method::Compared(reason.to_owned()), all());
        if let Some(reason) = doubt(before, disk) {
            return compare(reason);
        }
        let since = before.change_id.as_deref().unwrap_or_default();
        match areas::changed(&self.vim, (&self.vm, snapshot), disk, since) {
            Ok(ranges) => (Method::Changed, ranges),
            Err(error) => compare(&error.to_string()),
        }
    }

    /// Asks the guest to shut down and waits until `deadline`. A move that is over stops nothing: its source may be in use.
    pub fn stop_guest(&mut self, deadline: Duration) -> Result<Stopped> {
        self.ensure_not_over()?;
        self.state.phase = Phase::CutOver;
        self.save()?;
        if self.is_off()? {
            return Ok(Stopped::Yes);
        }
        self.state.we_stopped_it = true;
        self.save()?;
        self.vim.call("ShutdownGuest", &self.vm, &Body::new())?;
        let end = Instant::now() + deadline;
        while !self.is_off()? {
            if Instant::now() >= end {
                return Ok(Stopped::StillRunning);
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        Ok(Stopped::Yes)
    }

    /// Pulls the plug: only after somebody decided so.
    pub fn power_off(&mut self) -> Result<()> {
        self.ensure_not_over()?;
        self.state.we_stopped_it = true;
        self.save()?;
        source::power_off(&self.vim, &self.vm)
    }

    fn is_off(&self) -> Result<bool> {
        let found = self.vim.properties(&self.vm, &["runtime.powerState"])?;
        Ok(found.text("runtime.powerState") == "poweredOff")
    }

    /// The last pass, of a VM that is off; the commit point is the phase `Done`. Asked for again it is made again: whoever did
    /// not hear the answer may have seen the VM on since.
    pub fn finish(&mut self) -> Result<Vec<DiskPass>> {
        if !self.is_off()? {
            let detail = format!("{} still runs: the last pass would miss writes", self.state.name);
            return Err(ImportError::Usage(detail));
        }
        if self.state.phase == Phase::Done {
            self.state.phase = Phase::CutOver;
            self.save()?;
        }
        let passes = self.pass()?;
        if !self.is_off()? {
            // It writes what is on no target. Off again, the pass is made again.
            let detail = format!(
                "{} was switched on there during its last pass; shut it down, or roll back",
                self.state.name
            );
            return Err(self.vim.error("the last pass", detail, Retry::Mended));
        }
        self.state.phase = Phase::Done;
        self.save()?;
        Ok(passes)
    }

    /// The source as it was: our snapshots gone, started again if we stopped it. What was copied stays.
    pub fn roll_back(&mut self) -> Result<()> {
        let started = if self.state.we_stopped_it { Started::Again } else { Started::AsItIs };
        source::restore(&self.vim, &self.vm, started)?;
        if self.state.we_track {
            source::set_tracking(&self.vim, &self.vm, Tracking::Off)?;
        }
        (self.state.we_stopped_it, self.state.we_track) = (false, false);
        self.state.left_behind = None;
        self.state.phase = Phase::RolledBack;
        self.save()
    }
}

/// Whether a pass that went on after a break is followed by another even if the VM was off at both its ends: where that costs
/// little, and where no snapshot has held the disk meanwhile. Where all of both sides would be read again, a line that breaks
/// often would let no move come to its end.
fn is_made_again(passes: &[DiskPass]) -> bool {
    let held = |pass: &DiskPass| match &pass.method {
        Method::Everything(why) | Method::Compared(why) => why != INDEPENDENT,
        Method::Allocated | Method::Changed | Method::Exported(_) => true,
    };
    let tracked = |pass: &DiskPass| matches!(pass.method, Method::Allocated | Method::Changed);
    passes.iter().all(tracked) || !passes.iter().all(held)
}

/// Whether a pass that ended so may go on from its snapshot.
fn can_go_on(error: &ImportError) -> bool {
    use xenith_common_block::BlockError;
    match error {
        ImportError::Server { retry, .. } => retry.is_worth_it(),
        // A target that is full, or away, is mended by somebody: what was copied is worth the wait.
        ImportError::Block(error) => {
            error.is_retryable() || matches!(error, BlockError::Io { .. } | BlockError::Cancelled)
        }
        ImportError::Cancelled | ImportError::Io { .. } => true,
        _ => false,
    }
}

fn data_ranges(image: &Image, whole: ByteRange) -> Result<RangeSet> {
    let extents = image.extents(whole)?;
    Ok(extents.iter().filter(|extent| extent.kind == ExtentKind::Data).map(|extent| extent.range).collect())
}
