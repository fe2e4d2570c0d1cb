//! The server of one disk: a process of its own, so that an agent may restart without a guest noticing.
//!
//! ```text
//! guest -> blkback -> /dev/nbdN -> this process -> VDI in the SR, where the block is there
//!                                               -> repository, where it is not
//!                                     copier ----> VDI
//! ```
//!
//! What always holds: one server per disk (a lock that dies with the process); the backup is held as long as blocks
//! are missing; that none is missing any more is in the disk's folder before anybody is told. A crash is to the guest what a
//! disk that fails is; started again, the server goes on from the map.

use std::fs::{File, TryLockError};
use std::io::{self, BufReader};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use xenith_backup::id::BackupId;
use xenith_backup::instant::{Live, Pace, stream};
use xenith_backup::manifest::DiskRecord;
use xenith_backup::nbd::{self, Disk, Export, Listener, Overlay, Stop};
use xenith_backup::{BackupError, Repository, hold, manifest};
use xenith_common_block::BlockSource;
use xenith_hypervisor_agent_libxl::NbdDevice;
use xenith_hypervisor_agent_types::{Fault, FaultReason};

use super::control::{
    Ask, Attach, CONTROL, EXPORT, LOCK, MAP, Order, Ready, Status, WHOLE, read_line, write_line,
};
use crate::backup::{fault, repository};

/// Copying threads: enough to hide a store's latency, few enough to leave a guest its share.
const COPIERS: usize = 2;
/// Until copying is tried again after it failed: a full SR, a damaged object.
const AGAIN: Duration = Duration::from_secs(30);

fn internal(what: &str, error: &io::Error) -> Fault {
    Fault::new(FaultReason::Internal, format_args!("{what}: {error}"))
}

/// Everything that is open while a disk is served.
struct Serving {
    repo: Repository,
    backup: BackupId,
    holder: String,
    pace: Pace,
    live: Live,
    export: Export,
    folder: PathBuf,
    path: PathBuf,
    complete: AtomicBool,
    ended: AtomicBool,
    _lock: File,
}

/// Serves until it is told to end. `ready` hears what a domain is given.
pub fn serve(order: &Order, ready: impl FnOnce(&Ready)) -> Result<(), Fault> {
    let lock = lock(order)?;
    let control = bind(order, CONTROL)?;
    let mut serving = open(order, lock)?;
    match order.attach {
        Attach::Socket => {
            let listener = Listener::Unix(bind(order, EXPORT)?);
            serving.path = order.folder.join(EXPORT);
            ready(&Ready { path: serving.path.clone() });
            serving.over_socket(&control, &listener)
        }
        Attach::Kernel => {
            let size = serving.overlay().size();
            load_module();
            let (device, stream) = NbdDevice::attach(size).map_err(|error| no_device(&error))?;
            serving.path = device.path().to_owned();
            ready(&Ready { path: serving.path.clone() });
            serving.over_kernel(&control, &device, stream)
        }
    }
}

/// Nobody else loads it. Without partitions: what stands in a guest's table is the guest's business.
fn load_module() {
    if std::path::Path::new("/dev/nbd0").exists() {
        return;
    }
    let loaded = std::process::Command::new("modprobe").args(["nbd", "nbds_max=64", "max_part=0"]).status();
    if !loaded.is_ok_and(|status| status.success()) {
        tracing::warn!("the kernel's module nbd cannot be loaded");
    }
}

fn no_device(error: &io::Error) -> Fault {
    let text = format_args!(
        "no block device for a disk that is being restored: {error}; is the module nbd there, with a device to \
         spare (modprobe nbd nbds_max=64 max_part=0)?"
    );
    Fault::new(FaultReason::NotReady, text)
}

fn lock(order: &Order) -> Result<File, Fault> {
    let path = order.folder.join(LOCK);
    let file = File::create(&path).map_err(|error| internal("cannot make the lock", &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Fault::new(FaultReason::NotReady, "the disk is served by another process still"))
        }
        Err(TryLockError::Error(error)) => Err(internal("cannot take the lock", &error)),
    }
}

/// Whether the server of the disk in `folder` lives, whether it answers or not. Shared, as two who ask at once are no server.
pub fn is_served(folder: &Path) -> bool {
    match File::open(folder.join(LOCK)) {
        Ok(lock) => lock.try_lock_shared().is_err(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

fn bind(order: &Order, name: &str) -> Result<UnixListener, Fault> {
    let path = order.folder.join(name);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(internal("cannot remove an old socket", &error));
        }
        _ => {}
    }
    UnixListener::bind(&path).map_err(|error| internal("cannot listen", &error))
}

fn open(order: &Order, lock: File) -> Result<Serving, Fault> {
    let repo = repository::open(&repository::Access::patient(&order.access))?;
    let name = order.folder.file_name().unwrap_or_default().to_string_lossy();
    let holder = repository::server(&name);
    let map = order.folder.join(MAP);
    let begun = map.exists();
    let (backup, record) =
        found_and_held(&repo, order, (holder.as_str(), begun)).map_err(|error| fault(&error))?;
    let opened = || -> Result<(Live, Overlay), BackupError> {
        let live = Live::open(&repo, &record)?;
        let base: Arc<dyn BlockSource> = Arc::new(live.clone());
        let overlay = Overlay::open_on(base, &order.image, &map)?;
        Ok((live, overlay))
    };
    let (live, overlay) = opened().map_err(|error| {
        // Nothing came in. A disk that is given up now is never served again, and nobody else lifts this hold.
        if !begun {
            repository::lift(&repo, &backup, &holder);
        }
        fault(&error)
    })?;
    let export = Export { name: order.disk.clone(), disk: Disk::Writable(overlay) };
    Ok(Serving {
        repo,
        backup,
        holder,
        pace: Pace { workers: COPIERS, bandwidth: order.bandwidth },
        live,
        export,
        folder: order.folder.clone(),
        path: PathBuf::new(),
        complete: AtomicBool::new(false),
        ended: AtomicBool::new(false),
        _lock: lock,
    })
}

/// The backup, and its disk, with our hold on it.
///
/// The hold comes before the look at what there is: a plan that is published after it spares the backup, and of one that was
/// published before, the look tells. Once blocks came in, the hold has been there, and a plan that was made while it was
/// placed counts for nothing: the disk must go on, and its backup is hidden for as long as that plan rests.
fn found_and_held(
    repo: &Repository,
    order: &Order,
    (holder, begun): (&str, bool),
) -> Result<(BackupId, DiskRecord), BackupError> {
    let what = format!("{}@{}", order.disk, order.backup);
    let (all, _) = manifest::list(repo)?;
    let (found, record) = manifest::find(&all, &what)?;
    hold::place_for(repo, &found.id, holder)?;
    if !begun {
        let stays = repository::ensure_stays(repo, &found.id, &what);
        stays.inspect_err(|_| repository::lift(repo, &found.id, holder))?;
    }
    Ok((found.id, record.clone()))
}

impl Serving {
    fn overlay(&self) -> &Overlay {
        self.export.disk.overlay().expect("it was made writable")
    }

    fn over_socket(&self, control: &UnixListener, listener: &Listener) -> Result<(), Fault> {
        let stop = Stop::default();
        std::thread::scope(|scope| {
            scope.spawn(|| self.copy());
            let serving = scope.spawn(|| nbd::serve(listener, &self.export, &stop));
            let answered = self.answer(control, || {
                stop.stop();
                let _wakes_it = UnixStream::connect(&self.path);
            });
            let served = serving.join().expect("the server does not panic");
            answered.and(served.map_err(|error| internal("the NBD server failed", &error)))
        })
    }

    fn over_kernel(
        &self,
        control: &UnixListener,
        device: &NbdDevice,
        stream: UnixStream,
    ) -> Result<(), Fault> {
        std::thread::scope(|scope| {
            scope.spawn(|| self.copy());
            scope.spawn(move || nbd::serve_kernel(stream, &self.export));
            scope.spawn(|| {
                let result = device.run();
                if !self.ended.load(Ordering::Relaxed) {
                    // Somebody took the device away: the guest has lost its disk, and a server of nothing must not
                    // look alive.
                    tracing::error!(?result, device = %device.path().display(), "the device was detached");
                    let _flushed = self.overlay().flush();
                    std::process::exit(1);
                }
            });
            self.answer(control, || {
                if let Err(error) = device.disconnect() {
                    tracing::warn!(%error, "the device cannot be detached");
                }
            })
        })
    }

    /// Brings everything in, whatever it takes.
    fn copy(&self) {
        loop {
            let error = match stream(&self.live, self.overlay(), self.pace) {
                Ok(()) => match self.note_whole() {
                    Ok(()) => break,
                    Err(error) => format!("it cannot be noted that all of the disk is there: {error}"),
                },
                Err(error) => xenith_backup::error::chain(&error),
            };
            if self.ended.load(Ordering::Relaxed) {
                return;
            }
            tracing::error!(error, "copying goes on later");
            let until = std::time::Instant::now() + AGAIN;
            while std::time::Instant::now() < until && !self.ended.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(200));
            }
        }
        self.complete.store(true, Ordering::Release);
        self.lift();
    }

    /// Nobody asks for a disk that is complete any more: what says so has to outlive us, and the host.
    fn note_whole(&self) -> io::Result<()> {
        File::create(self.folder.join(WHOLE))?.sync_all()?;
        File::open(&self.folder)?.sync_all()
    }

    fn lift(&self) {
        repository::lift(&self.repo, &self.backup, &self.holder);
    }

    fn status(&self) -> Status {
        let (filled, total) = self.overlay().filled();
        Status {
            path: self.path.clone(),
            filled,
            total,
            complete: self.complete.load(Ordering::Acquire),
            problem: self.live.problem(),
        }
    }

    /// Answers the agent until it says that it is enough; `detach` takes the disk away from who uses it.
    fn answer(&self, control: &UnixListener, detach: impl FnOnce()) -> Result<(), Fault> {
        loop {
            let (stream, _) = control.accept().map_err(|error| internal("cannot accept", &error))?;
            let patience = Some(Duration::from_secs(5));
            let asked =
                stream.set_read_timeout(patience).and_then(|()| read_line::<Ask>(BufReader::new(&stream)));
            match asked {
                Ok(Ask::Status) => {
                    let _gone_already = write_line(&stream, &self.status());
                }
                Ok(end @ (Ask::Stop | Ask::Drop)) => {
                    self.ended.store(true, Ordering::Relaxed);
                    self.live.stop();
                    detach();
                    let flushed = self.overlay().flush();
                    if end == Ask::Drop {
                        self.lift();
                    }
                    let flushed = flushed.map_err(|error| Fault::new(FaultReason::Internal, error));
                    if flushed.is_ok() {
                        let _gone_already = write_line(&stream, &self.status());
                    }
                    return flushed;
                }
                Err(error) => tracing::debug!(%error, "a question that is none"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_whether_a_disk_is_served_is_no_server() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_served(folder.path()), "it never was");
        let lock = File::create(folder.path().join(LOCK)).unwrap();
        lock.lock_shared().unwrap();
        assert!(!is_served(folder.path()), "somebody else asks");
        lock.unlock().unwrap();
        lock.lock().unwrap();
        assert!(is_served(folder.path()));
    }
}
