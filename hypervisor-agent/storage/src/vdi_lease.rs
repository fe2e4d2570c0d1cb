//! Who may write a VDI that more than one host reaches: one small file per VDI, in a folder of their own.
//!
//! | name | what |
//! |---|---|
//! | `<vdi>.json` | the lease ([`VdiLease`]); being there under this name is its commit point |
//! | `<vdi>.turn` | a link that names a host: that one is changing the lease, or died while it did |
//! | `<host>.new` | what a host is about to put there |
//!
//! What always holds:
//! * A lease is whole or not there: it is written under another name, made durable, and linked to its own. Of two hosts that
//!   link at once the server lets one, as link(2) does everywhere. Where there are no hard links it is renamed without
//!   replacing.
//! * A lease that is there is replaced or removed only by the host whose turn it is. The turn is made by symlink(2), which
//!   is as exclusive, takes next to no room in an SR that fills up, and says whose it is from its first moment on. So nobody
//!   removes what they have not just read.
//! * No clock is compared. A lease ends when its host gives it up, hands it over, or has it broken.
//! * Whatever happens to a lease changes the folder, because none is written in place. So while the folder's times stay what
//!   they were, no lease has to be read again ([`VdiLeases::unchanged`]).
//!
//! Who else touches it: the agents of all hosts that have the SR. One agent does one thing at a time with the leases of an SR.
//! A crash leaves a lease that the same host takes again or gives up, a turn that the same host goes on with, or `<host>.new`,
//! which it removes. What a host that never returns has left is broken ([`VdiLeases::break_of`]).
//!
//! A file is opened for each look: that is when NFS asks its server (close-to-open).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, fsync, linkat, openat, readlinkat, renameat, renameat_with,
    symlinkat, unlinkat,
};
use rustix::io::Errno;
use xenith_common_ids::{HostId, SrId, VdiId};
use xenith_hypervisor_agent_types::{LeasedTo, VdiLease};

use crate::error::is_full;
use crate::lease::{make_below, open_below, open_sr, read_file};
use crate::{Result, StorageError};

/// Below the SR's folder.
pub const VDI_LEASES: &str = ".xenith-leases";

/// Others need a turn for some milliseconds.
const TURN_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A lease that comes and goes between two looks is taken by others again and again.
const TRIES: usize = 16;

/// The times of a folder are as coarse as two seconds on some file systems: two changes may leave the same one. A lease counts
/// as read only when it was read so long after the folder was seen as it is.
const SETTLED: Duration = Duration::from_secs(3);
/// A lease is read as often as this whatever the folder's times are: a file system that keeps them for too long delays what is
/// found out, and hides nothing.
const READ_EVERY: Duration = Duration::from_secs(120);

/// What a lease is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taking {
    /// A domain that has the VDI is about to run, or to be let run.
    ToRun,
    /// A domain is built from memory that was saved here, while this host had the lease for that VM. Where it has not got it
    /// any more, somebody may have written meanwhile: it is not taken anew.
    ToResume,
    /// A domain is built from memory that another host sends, and stands: the sender has the lease until this one is to run.
    /// Where nobody has it (the sender's SR was full, or its agent takes none) none is taken: the sender writes still.
    ToArrive,
    /// It runs already.
    Again,
    /// The agent itself writes, whatever domain of this host has it.
    ToWrite,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    Ours,
    /// The same, of what runs: it says still that all of it was sent to another host, which would be let take it.
    SaysSent,
    /// It is the sender's, as it has to be, or nobody's.
    Senders,
    /// Nobody needed it any more.
    NotNeeded,
}

/// What was found, and whether it is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    pub found: Option<VdiLease>,
    pub broken: bool,
}

/// Of one SR.
#[derive(Debug)]
pub struct VdiLeases {
    sr: SrId,
    root: PathBuf,
    /// One thing at a time: `<host>.new` and a turn are of the host, not of a thread.
    changing: Mutex<()>,
    looked: Mutex<Looked>,
    /// Leases that were read.
    #[cfg(test)]
    reads: std::sync::atomic::AtomicUsize,
}

/// What tells whether anything in a folder came, went or was replaced: its identity and its times.
type Stamp = [i128; 6];

/// What needs no reading.
#[derive(Debug)]
struct Looked {
    /// How the folder was last, and since when it was seen so.
    folder: Option<(Stamp, Instant)>,
    /// Leases that were this host's, and when they were read.
    ours: BTreeMap<VdiId, Instant>,
}

#[derive(Debug, PartialEq, Eq)]
enum Then {
    Keep(Taken),
    Replace,
}

/// Whether a lease that is there is in the way. `None`: it is.
fn decide(found: &VdiLease, wanted: &VdiLease, taking: Taking) -> Option<Then> {
    let vm = |lease: &VdiLease| lease.vm.as_ref().map(|to| to.vm);
    if found.host == wanted.host {
        return match taking {
            Taking::Again | Taking::ToWrite => Some(Then::Keep(Taken::Ours)),
            Taking::ToResume if vm(found).is_none() || vm(found) != vm(wanted) => None,
            Taking::ToRun | Taking::ToArrive | Taking::ToResume if found == wanted => {
                Some(Then::Keep(Taken::Ours))
            }
            Taking::ToRun | Taking::ToArrive | Taking::ToResume => Some(Then::Replace),
        };
    }
    let same_run = |theirs: &LeasedTo, ours: &LeasedTo| (theirs.vm, theirs.run) == (ours.vm, ours.run);
    let (Some(theirs), Some(ours)) = (&found.vm, &wanted.vm) else { return None };
    match taking {
        Taking::ToArrive if same_run(theirs, ours) => Some(Then::Keep(Taken::Senders)),
        Taking::ToRun if theirs.sent && same_run(theirs, ours) => Some(Then::Replace),
        _ => None,
    }
}

fn says_sent(lease: &VdiLease) -> bool {
    lease.vm.as_ref().is_some_and(|to| to.sent)
}

impl VdiLeases {
    /// Of the SR in `root`.
    #[must_use]
    pub const fn new(sr: SrId, root: PathBuf) -> Self {
        Self {
            sr,
            root,
            changing: Mutex::new(()),
            looked: Mutex::new(Looked { folder: None, ours: BTreeMap::new() }),
            #[cfg(test)]
            reads: std::sync::atomic::AtomicUsize::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn looked(&self) -> MutexGuard<'_, Looked> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None`: there are no leases yet.
    fn open(&self) -> Result<Option<OwnedFd>> {
        match open_below(open_sr(self.sr, &self.root)?, VDI_LEASES) {
            Ok(folder) => Ok(Some(folder)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.of_sr(errno.into())),
        }
    }

    fn make(&self) -> Result<OwnedFd> {
        make_below(open_sr(self.sr, &self.root)?, VDI_LEASES).map_err(|errno| self.of_sr(errno.into()))
    }

    fn of_sr(&self, source: io::Error) -> StorageError {
        StorageError::Sr { action: "open the leases in", sr: self.sr, source }
    }

    fn io(&self, action: &'static str, vdi: VdiId) -> impl Fn(io::Error) -> StorageError + '_ {
        move |source| {
            if is_full(&source) {
                StorageError::Full { sr: self.sr, vdi, action }
            } else {
                StorageError::Io { action, vdi, source }
            }
        }
    }

    fn found(&self, folder: &OwnedFd, vdi: VdiId) -> Result<Option<VdiLease>> {
        let name = lease_name(vdi);
        #[cfg(test)]
        self.reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let text = match read_file(folder, &name) {
            Ok(text) => text,
            // Removed by its host between the look-up and the reading.
            Err(error) if error.raw_os_error() == Some(libc::ESTALE) => None,
            Err(error) => return Err(self.io("read the lease of", vdi)(error)),
        };
        let Some(text) = text else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|error| {
            let path = self.root.join(VDI_LEASES).join(name);
            let detail = format!(
                "its lease {} cannot be understood ({error}); when no host writes the VDI, remove that file",
                path.display()
            );
            StorageError::Damaged { vdi, detail }
        })
    }

    pub fn read(&self, vdi: VdiId) -> Result<Option<VdiLease>> {
        match self.open()? {
            Some(folder) => self.found(&folder, vdi),
            None => Ok(None),
        }
    }

    /// VDIs whose leases were this host's when they were looked at last ([`Taking::Again`]), and that nobody can have touched
    /// since. Costs the same however many there are.
    pub fn unchanged(&self) -> Result<Vec<VdiId>> {
        // Opened anew: that is when NFS asks its server, of a folder too.
        let Some(folder) = self.open()? else { return Ok(Vec::new()) };
        let about = File::from(folder).metadata().map_err(|error| self.of_sr(error))?;
        let stamp: Stamp = [
            about.dev().into(),
            about.ino().into(),
            about.mtime().into(),
            about.mtime_nsec().into(),
            about.ctime().into(),
            about.ctime_nsec().into(),
        ];
        let now = Instant::now();
        let mut looked = self.looked();
        let since = match looked.folder {
            Some((before, since)) if before == stamp => since,
            _ => now,
        };
        looked.folder = Some((stamp, since));
        let counts = |read: Instant| read >= since + SETTLED && now.duration_since(read) < READ_EVERY;
        looked.ours.retain(|_, read| counts(*read));
        Ok(looked.ours.keys().copied().collect())
    }

    /// Takes the lease of a VDI, or says who has it. One that nobody has is taken only when it is still `needed`.
    pub fn take(
        &self,
        vdi: VdiId,
        wanted: &VdiLease,
        taking: Taking,
        needed: &dyn Fn() -> bool,
    ) -> Result<Taken> {
        let _one_at_a_time = self.lock();
        let folder = self.make()?;
        let asked = Instant::now();
        for _ in 0..TRIES {
            let Some(found) = self.found(&folder, vdi)? else {
                match taking {
                    Taking::ToArrive => return Ok(Taken::Senders),
                    Taking::ToResume => return Err(StorageError::LeaseLost { vdi }),
                    Taking::ToRun | Taking::Again | Taking::ToWrite => {}
                }
                if !needed() {
                    return Ok(Taken::NotNeeded);
                }
                self.write_new(&folder, (vdi, wanted))?;
                if self.publish(&folder, (vdi, wanted.host))? {
                    return Ok(Taken::Ours);
                }
                continue;
            };
            match decide(&found, wanted, taking) {
                None if taking == Taking::ToResume => return Err(StorageError::LeaseLost { vdi }),
                None => return Err(StorageError::LeasedElsewhere { vdi, lease: Box::new(found) }),
                Some(Then::Keep(Taken::Ours)) if taking == Taking::Again && says_sent(&found) => {
                    return Ok(Taken::SaysSent);
                }
                Some(Then::Keep(taken)) => {
                    if taken == Taken::Ours && taking == Taking::Again {
                        self.looked().ours.insert(vdi, asked);
                    }
                    return Ok(taken);
                }
                Some(Then::Replace) => {}
            }
            let _turn = self.turn(&folder, vdi, (wanted.host, &[]))?;
            let now = self.found(&folder, vdi)?;
            if now.is_some_and(|now| decide(&now, wanted, taking) == Some(Then::Replace)) {
                self.write_new(&folder, (vdi, wanted))?;
                self.replace(&folder, (vdi, wanted.host))?;
                return Ok(Taken::Ours);
            }
        }
        Err(StorageError::Io {
            action: "take the lease of",
            vdi,
            source: io::Error::new(io::ErrorKind::WouldBlock, "it comes and goes; try again"),
        })
    }

    /// Gives the lease up when it is this host's and nobody needs it. Whether this host has it still.
    pub fn give_up(&self, vdi: VdiId, host: HostId, needed: &dyn Fn() -> bool) -> Result<bool> {
        let _one_at_a_time = self.lock();
        let Some(folder) = self.open()? else { return Ok(false) };
        let is_ours = |lease: Option<VdiLease>| lease.is_some_and(|lease| lease.host == host);
        if !is_ours(self.found(&folder, vdi)?) {
            return Ok(false);
        }
        if needed() {
            return Ok(true);
        }
        let _turn = self.turn(&folder, vdi, (host, &[]))?;
        if is_ours(self.found(&folder, vdi)?) {
            self.remove(&folder, vdi)?;
        }
        Ok(false)
    }

    /// Removes the lease when one of these hosts has it, and ends their turns. Who calls this knows that they write nothing
    /// any more. With none it only looks.
    pub fn break_of(&self, vdi: VdiId, by: HostId, of: &[HostId]) -> Result<Broken> {
        let _one_at_a_time = self.lock();
        let Some(folder) = self.open()? else { return Ok(Broken { found: None, broken: false }) };
        if of.is_empty() {
            return Ok(Broken { found: self.found(&folder, vdi)?, broken: false });
        }
        let _turn = self.turn(&folder, vdi, (by, of))?;
        let found = self.found(&folder, vdi)?;
        let broken = found.as_ref().is_some_and(|lease| of.contains(&lease.host));
        if broken {
            self.remove(&folder, vdi)?;
        }
        Ok(Broken { found, broken })
    }

    /// All of a host. What it left half written is removed: only that host calls this.
    pub fn held_by(&self, host: HostId) -> Result<Vec<(VdiId, VdiLease)>> {
        let _one_at_a_time = self.lock();
        let Some(folder) = self.open()? else { return Ok(Vec::new()) };
        match unlinkat(&folder, new_name(host), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT | Errno::ROFS) => {}
            Err(errno) => return Err(self.of_sr(errno.into())),
        }
        let mut held = Vec::new();
        for entry in fs::read_dir(self.root.join(VDI_LEASES)).map_err(|error| self.of_sr(error))? {
            let name = entry.map_err(|error| self.of_sr(error))?.file_name();
            let vdi = name.to_str().and_then(|name| name.strip_suffix(".json")?.parse::<VdiId>().ok());
            let Some(vdi) = vdi else { continue };
            match self.found(&folder, vdi) {
                Ok(Some(lease)) if lease.host == host => held.push((vdi, lease)),
                Ok(_) => {}
                Err(error) => tracing::warn!(%vdi, %error, "a lease is passed by"),
            }
        }
        Ok(held)
    }

    /// Durable, under the host's own name. Never in place: the file of before may be a lease by now.
    fn write_new(&self, folder: &OwnedFd, (vdi, lease): (VdiId, &VdiLease)) -> Result<()> {
        let error = self.io("write a lease of", vdi);
        let name = new_name(lease.host);
        match unlinkat(folder, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(error(errno.into())),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file =
            openat(folder, &name, flags, Mode::from_raw_mode(0o600)).map_err(|errno| error(errno.into()))?;
        let text = serde_json::to_string(lease).map_err(|source| error(source.into()))?;
        let mut file = File::from(file);
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(error)
    }

    /// `false`: a lease is there already. Commit point of a taking.
    fn publish(&self, folder: &OwnedFd, (vdi, host): (VdiId, HostId)) -> Result<bool> {
        let error = self.io("take the lease of", vdi);
        let (new, name) = (new_name(host), lease_name(vdi));
        let linked = match linkat(folder, &new, folder, &name, AtFlags::empty()) {
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {
                renameat_with(folder, &new, folder, &name, RenameFlags::NOREPLACE)
            }
            other => other,
        };
        let published = match linked {
            Ok(()) => fsync(folder).map(|()| true),
            // Also of a call whose answer was lost on the way: who looks finds that it is ours.
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(errno),
        };
        self.remove_file(folder, &new);
        published.map_err(|errno| error(errno.into()))
    }

    fn replace(&self, folder: &OwnedFd, (vdi, host): (VdiId, HostId)) -> Result<()> {
        let renamed = renameat(folder, new_name(host), folder, lease_name(vdi));
        renamed.and_then(|()| fsync(folder)).map_err(|errno| self.io("take the lease of", vdi)(errno.into()))
    }

    fn remove(&self, folder: &OwnedFd, vdi: VdiId) -> Result<()> {
        match unlinkat(folder, lease_name(vdi), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(self.io("remove the lease of", vdi)(errno.into())),
        }
        fsync(folder).map_err(|errno| self.io("remove the lease of", vdi)(errno.into()))
    }

    /// What stays is no harm: its host goes on with it.
    fn remove_file(&self, folder: &OwnedFd, name: &str) {
        match unlinkat(folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => tracing::warn!(sr = %self.sr, name, %error, "a file of the leases stays"),
        }
    }

    /// Waits for the turn to change a lease that is there. The turns of hosts that are `gone` are ended.
    fn turn<'a>(
        &'a self,
        folder: &'a OwnedFd,
        vdi: VdiId,
        (by, gone): (HostId, &[HostId]),
    ) -> Result<Turn<'a>> {
        let error = self.io("change the lease of", vdi);
        let name = turn_name(vdi);
        let since = Instant::now();
        loop {
            match symlinkat(by.to_string(), folder, &name) {
                Ok(()) => return Ok(Turn { leases: self, folder, name }),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(error(errno.into())),
            }
            let owner = match readlinkat(folder, &name, Vec::<u8>::new()) {
                Ok(owner) => owner.to_str().ok().and_then(|owner| owner.parse::<HostId>().ok()),
                // It ended between the two.
                Err(Errno::NOENT | Errno::STALE) => None,
                Err(errno) => return Err(error(errno.into())),
            };
            match owner {
                // Of a run of this agent that was killed, or of a call whose answer was lost.
                Some(owner) if owner == by => return Ok(Turn { leases: self, folder, name }),
                Some(owner) if gone.contains(&owner) => self.remove_file(folder, &name),
                Some(host) if since.elapsed() >= TURN_WITHIN => {
                    return Err(StorageError::LeaseChanging { vdi, host });
                }
                None if since.elapsed() >= TURN_WITHIN => {
                    let path = self.root.join(VDI_LEASES).join(name);
                    let detail = format!("{} names no host; remove it", path.display());
                    return Err(StorageError::Damaged { vdi, detail });
                }
                _ => std::thread::sleep(LOOK_EVERY),
            }
        }
    }
}

/// Ends when dropped.
struct Turn<'a> {
    leases: &'a VdiLeases,
    folder: &'a OwnedFd,
    name: String,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.leases.remove_file(self.folder, &self.name);
    }
}

fn lease_name(vdi: VdiId) -> String {
    format!("{vdi}.json")
}

fn turn_name(vdi: VdiId) -> String {
    format!("{vdi}.turn")
}

fn new_name(host: HostId) -> String {
    format!("{host}.new")
}

#[cfg(test)]
mod tests;
