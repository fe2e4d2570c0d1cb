//! Warm migration: copy while the VM runs, then deltas, then a short cut-over.
//!
//! ```text
//! Copying --pass--> Copying --cut_over--> CutOver --last pass, verify--> Done
//!    \________________________ roll_back ____________/ --> RolledBack
//! ```
//!
//! What always holds: a change id counts only when all its changes are on the target, and is saved after them; any
//! doubt about what changed (no change id, another tracker, a new size, a fault) becomes a compare pass, which
//! reads both sides and writes what differs. A crash leaves the state of the last pass and at most one snapshot
//! with our name, which the next pass or a roll-back removes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use xenith_common_block::{BlockSink, BlockSource, ByteRange, FileSink, FileSource, RangeSet};

use super::client::{MoRef, Vim};
use super::datastore::{DatastoreFile, DatastoreFolder};
use super::soap::{Body, Flag, Node};
use crate::convert::block::is_zero;
use crate::error::{ImportError, Result, Retry};
use crate::vmdk::image::Image;
use crate::vmdk::{OpenOptions, open_image};

/// How our snapshots are called; nothing else is ever removed.
pub const SNAPSHOT: &str = "xenith-import";
/// A quiesced snapshot of a busy guest can take many minutes.
const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(3600);
const STEP: u64 = 2 * 1024 * 1024;

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
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiskPass {
    pub key: u64,
    pub method: Method,
    pub read: u64,
    pub written: u64,
    pub seconds: f64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct DiskState {
    key: u64,
    capacity: u64,
    change_id: Option<String>,
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
}

/// One VM on its way.
pub struct WarmMove {
    vim: Arc<Vim>,
    vm: MoRef,
    folder: PathBuf,
    datacenter: String,
    pub state: WarmState,
}

/// What a guest does when it is asked to shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    Yes,
    /// The deadline passed: somebody has to decide.
    StillRunning,
}

struct SnapshotDisk {
    key: u64,
    capacity: u64,
    path: String,
    change_id: Option<String>,
}

impl WarmMove {
    /// Begins, or goes on with what an earlier run left in `folder`.
    pub fn open(vim: Arc<Vim>, vm: MoRef, folder: &Path, datacenter: &str) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|e| ImportError::io("make", folder.display().to_string(), e))?;
        let name = vim.properties(&vm, &["name"])?.text("name").to_owned();
        let fresh = WarmState {
            vm: (vm.kind.clone(), vm.id.clone()),
            name,
            phase: Phase::Copying,
            disks: Vec::new(),
            passes: Vec::new(),
            we_stopped_it: false,
        };
        let path = folder.join("xenith-warm.json");
        let state = match fs::read(&path) {
            Err(_) => fresh,
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
        Ok(Self { vim, vm, folder: folder.to_owned(), datacenter: datacenter.to_owned(), state })
    }

    fn save(&self) -> Result<()> {
        let path = self.folder.join("xenith-warm.json");
        let new = self.folder.join("xenith-warm.json.new");
        let text = serde_json::to_vec_pretty(&self.state).expect("the state is plain data");
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &path))
            .map_err(|error| ImportError::io("write", path.display().to_string(), error))
    }

    /// Where the disk with this key is copied to.
    #[must_use]
    pub fn target(&self, key: u64) -> PathBuf {
        self.folder.join(format!("disk-{key}.raw"))
    }

    /// One pass over all disks: snapshot, copy what changed, remove the snapshot.
    pub fn pass(&mut self) -> Result<Vec<DiskPass>> {
        if !matches!(self.state.phase, Phase::Copying | Phase::CutOver) {
            return Err(ImportError::Usage(format!("the move of {} is over", self.state.name)));
        }
        self.save()?;
        self.remove_our_snapshots()?;
        let body = Body::new()
            .text("name", SNAPSHOT)
            .text("description", "made by the import, removed by it")
            .flag("memory", Flag::False)
            .flag("quiesce", Flag::False);
        let snapshot = self.vim.run("CreateSnapshot_Task", &self.vm, &body, SNAPSHOT_DEADLINE)?.moref();
        let result = self.copy_snapshot(&snapshot);
        self.remove_our_snapshots()?;
        let passes = result?;
        self.state.passes.push(passes.clone());
        self.save()?;
        Ok(passes)
    }

    fn copy_snapshot(&mut self, snapshot: &MoRef) -> Result<Vec<DiskPass>> {
        let config = self.vim.properties(snapshot, &["config"])?;
        let config = config.get("config").cloned().unwrap_or_default();
        let disks: Vec<SnapshotDisk> = config
            .at("hardware")
            .into_iter()
            .flat_map(|h| h.all("device"))
            .filter_map(snapshot_disk)
            .collect();
        let mut passes = Vec::new();
        for disk in &disks {
            let pass = self.copy_disk(snapshot, disk)?;
            let done =
                DiskState { key: disk.key, capacity: disk.capacity, change_id: disk.change_id.clone() };
            self.state.disks.retain(|old| old.key != disk.key);
            self.state.disks.push(done);
            self.save()?;
            passes.push(pass);
        }
        Ok(passes)
    }

    fn copy_disk(&self, snapshot: &MoRef, disk: &SnapshotDisk) -> Result<DiskPass> {
        let started = Instant::now();
        let image = self.open_disk(&disk.path)?;
        let path = self.target(disk.key);
        let before = self.state.disks.iter().find(|old| old.key == disk.key);
        let (sink, before) = open_sink(&path, disk.capacity, before)?;
        let whole = ByteRange::new(0, disk.capacity.min(image.virtual_size()));
        let (method, ranges) = self.what_to_read(snapshot, disk, before, whole);
        let ranges = match &method {
            // What the tables do not hold was never written.
            Method::Everything(_) => data_ranges(&image, whole)?,
            _ => ranges,
        };
        let (read, written) = match &method {
            Method::Compared(_) => compare_and_write(&image, &path, &sink, whole)?,
            Method::Changed => write_ranges(&image, &sink, &ranges, Zeros::Written)?,
            _ => write_ranges(&image, &sink, &ranges, Zeros::LeftOut)?,
        };
        sink.flush()?;
        Ok(DiskPass { key: disk.key, method, read, written, seconds: started.elapsed().as_secs_f64() })
    }

    fn open_disk(&self, path: &str) -> Result<Image> {
        let file = DatastoreFile::open(Arc::clone(&self.vim), path, &self.datacenter)?;
        let folder = path.rsplit_once('/').map_or(path, |(folder, _)| folder).to_owned();
        let (vim, datacenter) = (Arc::clone(&self.vim), self.datacenter.clone());
        let folder = Arc::new(DatastoreFolder { vim, folder, datacenter });
        open_image(Arc::new(file), folder, OpenOptions::default())
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
            if disk.change_id.is_none() {
                return (Method::Everything("changed-block tracking is off".to_owned()), all());
            }
            return match self.changed_areas(snapshot, disk, "*") {
                Ok(ranges) => (Method::Allocated, ranges),
                Err(error) => (Method::Everything(error.to_string()), all()),
            };
        };
        let doubt = |reason: &str| (Method::Compared(reason.to_owned()), all());
        if before.capacity != disk.capacity {
            return doubt("the disk has another size");
        }
        let (Some(old), Some(new)) = (&before.change_id, &disk.change_id) else {
            return doubt("changed-block tracking is off");
        };
        // The part before the slash names the tracker; another one knows nothing of the time before it.
        let tracker = |id: &str| id.split('/').next().unwrap_or_default().to_owned();
        if tracker(old) != tracker(new) {
            return doubt("changed-block tracking began anew");
        }
        match self.changed_areas(snapshot, disk, old) {
            Ok(ranges) => (Method::Changed, ranges),
            Err(error) => doubt(&error.to_string()),
        }
    }

    /// Asks for changed areas, page by page: an answer covers a stretch and says how far.
    fn changed_areas(&self, snapshot: &MoRef, disk: &SnapshotDisk, since: &str) -> Result<RangeSet> {
        let mut ranges = RangeSet::new();
        let mut at = 0;
        while at < disk.capacity {
            let body = Body::new()
                .reference("snapshot", snapshot)
                .number("deviceKey", disk.key)
                .number("startOffset", at)
                .text("changeId", since);
            let info = self.vim.call("QueryChangedDiskAreas", &self.vm, &body)?;
            let bad = |detail: &str| self.vim.error("QueryChangedDiskAreas", detail.to_owned(), Retry::Never);
            let start = info.number_at("startOffset").ok_or_else(|| bad("an answer without a start"))?;
            let len = info.number_at("length").ok_or_else(|| bad("an answer without a length"))?;
            let end = start.checked_add(len).filter(|&end| start <= at && end > at);
            let end = end.ok_or_else(|| bad("an answer for another stretch"))?;
            for area in info.all("changedArea") {
                let (start, len) = (area.number_at("start"), area.number_at("length"));
                let range = start.zip(len).and_then(|(s, l)| Some(ByteRange::new(s, s.checked_add(l)?)));
                match range.filter(|range| range.end <= disk.capacity) {
                    Some(range) => ranges.insert(range),
                    None => return Err(bad("an area past the end of the disk")),
                }
            }
            at = end;
        }
        Ok(ranges)
    }

    /// Asks the guest to shut down and waits until `deadline`.
    pub fn stop_guest(&mut self, deadline: Duration) -> Result<Stopped> {
        self.state.phase = Phase::CutOver;
        self.save()?;
        if self.power()? == "poweredOff" {
            return Ok(Stopped::Yes);
        }
        self.state.we_stopped_it = true;
        self.save()?;
        self.vim.call("ShutdownGuest", &self.vm, &Body::new())?;
        let end = Instant::now() + deadline;
        while self.power()? != "poweredOff" {
            if Instant::now() >= end {
                return Ok(Stopped::StillRunning);
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        Ok(Stopped::Yes)
    }

    /// Pulls the plug: only after somebody decided so.
    pub fn power_off(&mut self) -> Result<()> {
        self.state.we_stopped_it = true;
        self.save()?;
        self.vim.run("PowerOffVM_Task", &self.vm, &Body::new(), SNAPSHOT_DEADLINE).map(drop)
    }

    fn power(&self) -> Result<String> {
        Ok(self.vim.properties(&self.vm, &["runtime.powerState"])?.text("runtime.powerState").to_owned())
    }

    /// The last pass, of a VM that is off; the commit point is the phase `Done`.
    pub fn finish(&mut self) -> Result<Vec<DiskPass>> {
        if self.power()? != "poweredOff" {
            let detail = format!("{} still runs: the last pass would miss writes", self.state.name);
            return Err(ImportError::Usage(detail));
        }
        let passes = self.pass()?;
        self.state.phase = Phase::Done;
        self.save()?;
        Ok(passes)
    }

    /// The source as it was: our snapshots gone, started again if we stopped it. What was copied stays.
    pub fn roll_back(&mut self) -> Result<()> {
        self.remove_our_snapshots()?;
        if self.state.we_stopped_it && self.power()? == "poweredOff" {
            self.vim.run("PowerOnVM_Task", &self.vm, &Body::new(), SNAPSHOT_DEADLINE)?;
        }
        self.state.we_stopped_it = false;
        self.state.phase = Phase::RolledBack;
        self.save()
    }

    fn remove_our_snapshots(&self) -> Result<()> {
        let found = self.vim.properties(&self.vm, &["snapshot"])?;
        let mut ours = Vec::new();
        if let Some(tree) = found.get("snapshot") {
            collect(tree, "rootSnapshotList", &mut ours);
        }
        for snapshot in ours {
            let body = Body::new().flag("removeChildren", Flag::False).flag("consolidate", Flag::True);
            self.vim.run("RemoveSnapshot_Task", &snapshot, &body, SNAPSHOT_DEADLINE)?;
        }
        Ok(())
    }
}

fn collect(node: &Node, list: &str, ours: &mut Vec<MoRef>) {
    for child in node.all(list) {
        if child.text_at("name") == SNAPSHOT {
            ours.extend(child.child("snapshot").map(Node::moref));
        }
        collect(child, "childSnapshotList", ours);
    }
}

fn snapshot_disk(device: &Node) -> Option<SnapshotDisk> {
    if device.kind != "VirtualDisk" {
        return None;
    }
    let bytes = device.number_at("capacityInBytes").filter(|&bytes| bytes > 0);
    Some(SnapshotDisk {
        key: device.number_at("key")?,
        capacity: bytes.or_else(|| device.number_at("capacityInKB").map(|kb| kb << 10))?,
        path: device.text_at("backing.fileName").to_owned(),
        change_id: Some(device.text_at("backing.changeId").to_owned()).filter(|id| !id.is_empty()),
    })
}

/// Opens the target; what is known of an earlier pass counts only when the file is there in that size.
fn open_sink<'a>(
    path: &Path,
    size: u64,
    before: Option<&'a DiskState>,
) -> Result<(FileSink, Option<&'a DiskState>)> {
    if !path.exists() {
        return Ok((FileSink::create_new(path, size)?, None));
    }
    if before.is_none() {
        // Left by a first pass that did not end: holes are what a first pass relies on.
        fs::remove_file(path)
            .map_err(|error| ImportError::io("replace", path.display().to_string(), error))?;
        return Ok((FileSink::create_new(path, size)?, None));
    }
    let grow = fs::OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(size));
    grow.map_err(|error| ImportError::io("set the size of", path.display().to_string(), error))?;
    Ok((FileSink::open(path)?, before))
}

fn data_ranges(image: &Image, whole: ByteRange) -> Result<RangeSet> {
    let extents = image.extents(whole)?;
    Ok(extents.iter().filter(|e| e.kind == xenith_common_block::ExtentKind::Data).map(|e| e.range).collect())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Zeros {
    /// The target holds zeros already.
    LeftOut,
    /// The target may hold something older.
    Written,
}

/// Copies `ranges`; returns bytes read and stored. Two readers: one request travels while the other is written.
fn write_ranges(image: &Image, sink: &FileSink, ranges: &RangeSet, zeros: Zeros) -> Result<(u64, u64)> {
    let mut pieces = Vec::new();
    for range in ranges.iter() {
        let mut at = range.start;
        while at < range.end {
            let end = range.end.min((at / STEP + 1) * STEP);
            pieces.push(ByteRange::new(at, end));
            at = end;
        }
    }
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || -> Result<(u64, u64)> {
        let (mut read, mut written) = (0, 0);
        let mut buf = vec![0; STEP as usize];
        while let Some(piece) = pieces.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            let data = &mut buf[..piece.len() as usize];
            image.read_at(piece.start, data)?;
            read += piece.len();
            if !is_zero(data) {
                sink.write_at(piece.start, data)?;
                written += piece.len();
            } else if zeros == Zeros::Written {
                sink.zero(*piece)?;
            }
        }
        Ok((read, written))
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_fold((0, 0), |sum, worker| {
            let (read, written) = worker.join().map_err(|_| ImportError::Cancelled)??;
            Ok((sum.0 + read, sum.1 + written))
        })
    })
}

fn compare_and_write(image: &Image, path: &Path, sink: &FileSink, whole: ByteRange) -> Result<(u64, u64)> {
    let target = FileSource::open(path)?;
    let (mut ours, mut theirs) = (vec![0; STEP as usize], vec![0; STEP as usize]);
    let (mut at, mut written) = (0, 0);
    while at < whole.end {
        let len = (whole.end - at).min(STEP) as usize;
        image.read_at(at, &mut theirs[..len])?;
        target.read_at(at, &mut ours[..len])?;
        if ours[..len] != theirs[..len] {
            sink.write_at(at, &theirs[..len])?;
            written += len as u64;
        }
        at += len as u64;
    }
    Ok((whole.len(), written))
}
