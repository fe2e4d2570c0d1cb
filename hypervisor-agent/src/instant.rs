//! Disks that are used while they come in from their backups.
//!
//! ```text
//!            begin                    all is here             its VM starts again
//! plain VDI ──────> served, filling ────────────> served, complete ────────────> plain VDI
//! ```
//!
//! A folder per disk (`state/instant/VDI`) says that it is not plain; `whole` in it, that all is in the VDI, and `done`, that
//! it is plain again. What always holds:
//! * nobody but the server reads or writes a VDI that is filling: it is held, also after a restart of the agent;
//! * a VDI is begun only while it is new, and made all zeros before its folder is there: what the map does not know is
//!   zero or in the backup;
//! * a disk is settled only when no domain has it, and after the server made everything durable.
//!
//! The servers are processes of their own ([`serve`]) and outlive the agent, as device models do; an agent finds them by
//! their sockets. A server that died with its host is started anew by whoever asks for the disk with the repository's
//! secrets, which are kept nowhere here; until then its VM does not start, and says why. One that died after the disk was
//! whole is needed no more: nobody asks for such a disk again.

pub mod control;
pub mod serve;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use xenith_common_block::ByteRange;
use xenith_common_ids::VdiId;
use xenith_hypervisor_agent_storage::StorageDriver;
use xenith_hypervisor_agent_types::backup::RepositoryAccess;
use xenith_hypervisor_agent_types::{Fault, FaultReason};

use crate::disk::{Busy, Hold};
use control::{Ask, Attach, DONE, LOG, MAP, Opening, Order, Status, WHOLE, ask, read_line, write_line};

type Result<T, E = Fault> = std::result::Result<T, E>;

/// How servers are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Launcher {
    /// `program serve-disk`.
    Process { program: PathBuf, attach: Attach },
    /// A thread of this process that, like a process, does not end with the agent: for tests of many agents in one
    /// process.
    Inside,
}

impl Launcher {
    /// Ourselves.
    #[must_use]
    pub fn this_program(attach: Attach) -> Self {
        let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/usr/sbin/xenith-agent"));
        // The kernel marks a program that was replaced; the new one is under the same path.
        let shown = program.to_string_lossy();
        let program = shown.strip_suffix(" (deleted)").map_or_else(|| program.clone(), PathBuf::from);
        Self::Process { program, attach }
    }
}

/// What to begin with.
#[derive(Debug)]
pub struct Origin {
    pub access: RepositoryAccess,
    pub backup: String,
    pub disk: String,
    /// Of what comes in behind, bytes per second; 0 for no limit.
    pub bandwidth: u64,
    pub state: Expected,
}

/// What the caller knows of the VDI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It is new: nothing in it counts.
    New,
    /// It was begun: there may be a guest's data in it.
    Begun,
}

#[derive(Debug)]
pub struct Instants {
    root: PathBuf,
    launcher: Launcher,
    busy: Busy,
    /// Of the disks that are filling. Locked during every change of one.
    holds: Mutex<HashMap<VdiId, Hold>>,
}

fn io_fault(what: &str, path: &Path, error: &io::Error) -> Fault {
    Fault::new(FaultReason::Internal, format_args!("{what} {}: {error}", path.display()))
}

impl Instants {
    /// Takes over what an earlier agent began.
    pub fn open(state: &Path, launcher: Launcher, busy: Busy) -> Result<Self> {
        let root = state.join("instant");
        let this = Self { root, launcher, busy, holds: Mutex::default() };
        for vdi in this.filling()? {
            match this.status(vdi) {
                Some(status) if status.complete => {}
                Some(_) => this.hold(&mut this.lock(), vdi)?,
                None if this.is_left_whole(vdi) => {}
                None => {
                    tracing::warn!(%vdi, "the server of a disk that is being restored is gone");
                    this.hold(&mut this.lock(), vdi)?;
                }
            }
        }
        Ok(this)
    }

    /// Disks with a folder and without an end.
    fn filling(&self) -> Result<Vec<VdiId>> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io_fault("cannot read", &self.root, &error)),
        };
        let mut vdis = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| io_fault("cannot read", &self.root, &error))?;
            let name = entry.file_name();
            if let Some(vdi) = name.to_str().and_then(|name| name.parse::<VdiId>().ok())
                && self.is_begun(vdi)
            {
                vdis.push(vdi);
            }
        }
        Ok(vdis)
    }

    fn folder(&self, vdi: VdiId) -> PathBuf {
        self.root.join(vdi.to_string())
    }

    fn is_done(&self, vdi: VdiId) -> bool {
        self.folder(vdi).join(DONE).exists()
    }

    /// Whether all of it is in the VDI and its server is gone: with its host, or before it was said that it is gone.
    fn is_left_whole(&self, vdi: VdiId) -> bool {
        let folder = self.folder(vdi);
        folder.join(WHOLE).exists() && !serve::is_served(&folder)
    }

    /// It is not a plain VDI.
    /// Whether a domain that has the disk has it from its server; it may be complete.
    #[must_use]
    pub fn is_begun(&self, vdi: VdiId) -> bool {
        self.folder(vdi).is_dir() && !self.is_done(vdi)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<VdiId, Hold>> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&self, holds: &mut HashMap<VdiId, Hold>, vdi: VdiId) -> Result<()> {
        if let Entry::Vacant(free) = holds.entry(vdi) {
            free.insert(self.busy.change(vdi, "being restored from its backup")?);
        }
        Ok(())
    }

    fn status(&self, vdi: VdiId) -> Option<Status> {
        ask(&self.folder(vdi), Ask::Status).ok()
    }

    /// Makes sure that the disk is served, or was. `closed` says that no domain has it.
    pub fn begin(
        &self,
        vdi: VdiId,
        driver: &dyn StorageDriver,
        origin: Origin,
        closed: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let mut holds = self.lock();
        if self.is_done(vdi) || self.status(vdi).is_some() || self.is_left_whole(vdi) {
            return Ok(());
        }
        self.hold(&mut holds, vdi)?;
        let Origin { access, backup, disk, bandwidth, state } = origin;
        if !self.is_begun(vdi) {
            let prepared = match state {
                Expected::New => closed().and_then(|()| self.prepare(vdi, driver)),
                Expected::Begun => Err(self.lost(vdi)),
            };
            if let Err(fault) = prepared {
                holds.remove(&vdi);
                return Err(fault);
            }
        }
        let attach = match self.launcher {
            Launcher::Process { attach, .. } => attach,
            Launcher::Inside => Attach::Socket,
        };
        let (image, folder) = (driver.path(vdi)?, self.folder(vdi));
        self.launch(Order { access, backup, disk, image, folder, attach, bandwidth })
    }

    /// From here on the map counts.
    fn prepare(&self, vdi: VdiId, driver: &dyn StorageDriver) -> Result<()> {
        let sink = driver.open_sink(vdi)?;
        let zeroed = sink.zero(ByteRange::new(0, sink.size())).and_then(|()| sink.flush());
        zeroed.map_err(|error| Fault::new(FaultReason::Internal, error))?;
        let folder = self.folder(vdi);
        let made = || -> io::Result<()> {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
            File::open(&self.root)?.sync_all()
        };
        made().map_err(|error| io_fault("cannot make", &folder, &error))
    }

    fn launch(&self, order: Order) -> Result<()> {
        let opening = match &self.launcher {
            Launcher::Process { program, .. } => launch_process(program, &order)?,
            Launcher::Inside => launch_inside(order)?,
        };
        match opening {
            Opening::Ready(_) => Ok(()),
            Opening::Refused { reason, message } => Err(Fault::new(reason, message)),
        }
    }

    /// How far a disk is; `None` for one that is plain. Lets others at it as soon as it is complete.
    pub fn look(&self, vdi: VdiId) -> Result<Option<Status>> {
        if !self.is_begun(vdi) {
            return Ok(None);
        }
        let Some(status) = self.status(vdi) else {
            if !self.is_left_whole(vdi) {
                return Err(self.gone(vdi));
            }
            self.lock().remove(&vdi);
            return Ok(None);
        };
        if status.complete {
            self.lock().remove(&vdi);
        }
        Ok(Some(status))
    }

    fn lost(&self, vdi: VdiId) -> Fault {
        let folder = self.folder(vdi);
        let text = format_args!(
            "this host does not know any more which blocks of VDI {vdi} are there ({} is missing); delete its VM and \
             restore the backup again",
            folder.display()
        );
        Fault::new(FaultReason::Internal, text)
    }

    fn gone(&self, vdi: VdiId) -> Fault {
        let log = fs::read_to_string(self.folder(vdi).join(LOG)).unwrap_or_default();
        let last = log.lines().last().map(|line| format!(" (its last words: {line})")).unwrap_or_default();
        let text = format_args!(
            "VDI {vdi} is being restored from its backup, and what brings it in does not run{last}; it goes on as soon \
             as the restore's task asks for it"
        );
        Fault::new(FaultReason::NotReady, text)
    }

    /// What a domain is given instead of the VDI; `None` where that is plain, or now is. The domain does not have it yet.
    pub fn path_for_domain(&self, vdi: VdiId) -> Result<Option<PathBuf>> {
        if !self.is_begun(vdi) {
            return Ok(None);
        }
        let mut holds = self.lock();
        // Settled or deleted by whoever had the lock before us.
        if !self.is_begun(vdi) {
            return Ok(None);
        }
        let folder = self.folder(vdi);
        match self.status(vdi) {
            Some(status) if !status.complete => return Ok(Some(status.path)),
            Some(_) => {
                let stopped = ask(&folder, Ask::Stop);
                stopped.map_err(|error| io_fault("cannot stop the server of", &folder, &error))?;
            }
            None if self.is_left_whole(vdi) => {}
            None => return Err(self.gone(vdi)),
        }
        let settled = File::create(folder.join(DONE)).and_then(|done| done.sync_all());
        settled
            .and_then(|()| File::open(&folder)?.sync_all())
            .map_err(|e| io_fault("cannot mark", &folder, &e))?;
        for name in [MAP, LOG, WHOLE] {
            let _left_over = fs::remove_file(folder.join(name));
        }
        holds.remove(&vdi);
        Ok(None)
    }

    /// Before a VDI is deleted: `closed` says that no domain has it, nor will.
    pub fn drop_vdi(&self, vdi: VdiId, closed: impl FnOnce() -> Result<()>) -> Result<()> {
        let folder = self.folder(vdi);
        if !folder.is_dir() {
            return Ok(());
        }
        let mut holds = self.lock();
        closed()?;
        if self.is_begun(vdi) && self.status(vdi).is_some() {
            ask(&folder, Ask::Drop)
                .map_err(|error| io_fault("cannot stop the server of", &folder, &error))?;
        }
        fs::remove_dir_all(&folder).map_err(|error| io_fault("cannot remove", &folder, &error))?;
        holds.remove(&vdi);
        Ok(())
    }
}

fn launch_process(program: &Path, order: &Order) -> Result<Opening> {
    let log = order.folder.join(LOG);
    let stderr = fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&log);
    let stderr = stderr.map_err(|error| io_fault("cannot write", &log, &error))?;
    let started = || -> io::Result<Opening> {
        let mut child = command(program, order.attach)
            .arg("serve-disk")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            // Not ended by what ends us, a terminal for one.
            .process_group(0)
            .spawn()?;
        write_line(child.stdin.take().expect("it is piped"), order)?;
        let opening = read_line(BufReader::new(child.stdout.take().expect("it is piped")));
        // Waited for, so that its end leaves no zombie; it may outlive us.
        std::thread::Builder::new().name("disk server".to_owned()).spawn(move || child.wait())?;
        opening
    };
    started().map_err(|error| io_fault("cannot start", program, &error))
}

/// Under systemd, in a scope of its own: what ends the agent's unit and all that is in it ends no disk.
fn command(program: &Path, attach: Attach) -> Command {
    if attach == Attach::Kernel && Path::new("/run/systemd/system").exists() {
        let mut command = Command::new("systemd-run");
        command.args([
            "--scope",
            "--quiet",
            "--collect",
            "--description=Xenith: a disk that is being restored",
        ]);
        command.arg("--").arg(program);
        return command;
    }
    Command::new(program)
}

fn launch_inside(order: Order) -> Result<Opening> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let work = move || {
        let result = serve::serve(&order, |ready| {
            let _nobody_waits = sender.send(Opening::Ready(ready.clone()));
        });
        if let Err(Fault { reason, message, .. }) = result {
            let _was_ready = sender.send(Opening::Refused { reason, message });
        }
    };
    let started = std::thread::Builder::new().name("disk server".to_owned()).spawn(work);
    started.map_err(|error| Fault::new(FaultReason::Internal, error))?;
    receiver.recv().map_err(|error| Fault::new(FaultReason::Internal, error))
}

/// The program `serve-disk`: the order on standard input, the opening on standard output.
pub fn serve_disk() -> std::process::ExitCode {
    let tell = |opening: &Opening| write_line(io::stdout(), opening);
    let order: Order = match read_line(io::stdin()) {
        Ok(order) => order,
        Err(error) => {
            eprintln!("xenith-agent: serve-disk is started by the agent: {error}");
            return std::process::ExitCode::from(2);
        }
    };
    // A server under memory pressure must not wait for the guest's own pages to be written: they wait for it.
    if let Err(error) = rustix::process::configure_io_flusher_behavior(true) {
        tracing::debug!(%error, "not marked as one that writes pages back");
    }
    let served = serve::serve(&order, |ready| {
        let _agent_gone = tell(&Opening::Ready(ready.clone()));
    });
    match served {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(Fault { reason, message, .. }) => {
            eprintln!("{message}");
            let _agent_gone = tell(&Opening::Refused { reason, message });
            std::process::ExitCode::FAILURE
        }
    }
}
