//! The leases of hosts on a shared SR: one small file each, in a folder of their own.
//!
//! What always holds: a lease is written and read in the folder that was found to be the SR, by its mark, when it was
//! opened, and which is held open since. A share that is unmounted, or mounted over, is therefore not taken for an empty one.
//! Only its host writes a lease, in place, and it is on the disk when [`LeaseFolder::write`] returns. A torn lease cannot be
//! read, or reads as another one: both mean that it is being written.
//!
//! A file is opened for each read and each write: that is when NFS asks its server (close-to-open), and an SR mounted with
//! `nocto` cannot hold leases.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;
use xenith_common_ha::LeaseMark;
use xenith_common_ids::{HostId, SrId};

use crate::file::MARK;
use crate::{Result, StorageError};

/// Below the SR's folder.
pub const LEASES: &str = ".xenith-ha";

/// More than any lease.
const MOST_BYTES: u64 = 4096;

/// The folder, open.
#[derive(Debug)]
pub struct LeaseFolder {
    sr: SrId,
    folder: OwnedFd,
}

impl LeaseFolder {
    /// Of the SR that is in `root`.
    pub fn open(sr: SrId, root: &Path) -> Result<Self> {
        let folder = open_sr(sr, root).and_then(|root_fd| {
            make_below(&root_fd, LEASES).map_err(|errno| cannot_open(sr, errno.into()))
        })?;
        Ok(Self { sr, folder })
    }

    #[must_use]
    pub const fn sr(&self) -> SrId {
        self.sr
    }

    /// Durable when it returns.
    pub fn write(&self, host: HostId, mark: LeaseMark) -> Result<()> {
        let error =
            |source: io::Error| StorageError::Sr { action: "write a lease into", sr: self.sr, source };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.folder, file_name(host), flags, Mode::from_raw_mode(0o600))
            .map_err(|errno| error(errno.into()))?;
        let text = serde_json::to_string(&mark).map_err(|source| error(source.into()))?;
        let mut file = File::from(file);
        // The first of a new run may be shorter; until the rest is cut off, it cannot be read.
        file.write_all(text.as_bytes())
            .and_then(|()| file.set_len(text.len() as u64))
            .and_then(|()| file.sync_all())
            .map_err(error)
    }

    /// `None`: it has none, or one that cannot be understood, as while it is being written.
    pub fn read(&self, host: HostId) -> Result<Option<LeaseMark>> {
        let error = |source| StorageError::Sr { action: "read a lease in", sr: self.sr, source };
        let text = read_file(&self.folder, &file_name(host)).map_err(error)?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }
}

fn cannot_open(sr: SrId, source: io::Error) -> StorageError {
    StorageError::Sr { action: "open the leases in", sr, source }
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The folder of the SR, which its mark says it is.
pub(crate) fn open_sr(sr: SrId, root: &Path) -> Result<OwnedFd> {
    let root_fd =
        openat(CWD, root, DIRECTORY, Mode::empty()).map_err(|errno| cannot_open(sr, errno.into()))?;
    let mark = read_file(&root_fd, MARK).map_err(|source| cannot_open(sr, source))?;
    if mark.as_deref().map(str::trim) != Some(sr.to_string().as_str()) {
        let shown = root.display();
        return Err(StorageError::Unsupported(format!(
            "{shown} is not SR {sr} (by its {MARK}); is its disk mounted?"
        )));
    }
    Ok(root_fd)
}

pub(crate) fn open_below(folder: impl AsFd, name: &str) -> rustix::io::Result<OwnedFd> {
    openat(folder, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
}

/// The same of one that may not be there yet.
pub(crate) fn make_below(folder: impl AsFd, name: &str) -> rustix::io::Result<OwnedFd> {
    match open_below(&folder, name) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    match mkdirat(&folder, name, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => open_below(&folder, name),
        Err(errno) => Err(errno),
    }
}

fn file_name(host: HostId) -> String {
    format!("{host}.json")
}

/// `None`: there is none.
pub(crate) fn read_file(folder: impl AsFd, name: &str) -> io::Result<Option<String>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(folder, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use xenith_common_ids::AgentRunId;

    use super::*;
    use crate::StorageDriver;
    use crate::file::FileDriver;

    #[test]
    fn a_lease_is_read_by_others_and_is_no_left_over() {
        let (root, sr, host) = (tempfile::tempdir().unwrap(), SrId::new(), HostId::new());
        FileDriver::mark(sr, root.path()).unwrap();
        let (ours, theirs) =
            (LeaseFolder::open(sr, root.path()).unwrap(), LeaseFolder::open(sr, root.path()).unwrap());
        assert_eq!(theirs.read(host).unwrap(), None);
        let run = AgentRunId::new();
        for sequence in [1, 999, 1000] {
            ours.write(host, LeaseMark { run, sequence }).unwrap();
            assert_eq!(theirs.read(host).unwrap(), Some(LeaseMark { run, sequence }));
        }
        let listing = FileDriver::attach(sr, root.path().to_owned()).unwrap().list().unwrap();
        assert_eq!(listing.left_overs, []);
    }

    #[test]
    fn a_folder_that_is_not_the_sr_holds_no_leases() {
        let (root, sr) = (tempfile::tempdir().unwrap(), SrId::new());
        assert!(LeaseFolder::open(sr, root.path()).is_err());
        FileDriver::mark(SrId::new(), root.path()).unwrap();
        assert!(LeaseFolder::open(sr, root.path()).is_err());
        assert!(!root.path().join(LEASES).exists());
    }

    #[test]
    fn a_torn_lease_is_none() {
        let (root, sr, host) = (tempfile::tempdir().unwrap(), SrId::new(), HostId::new());
        FileDriver::mark(sr, root.path()).unwrap();
        let leases = LeaseFolder::open(sr, root.path()).unwrap();
        fs::write(root.path().join(LEASES).join(file_name(host)), "{\"run\": \"01890a5d-").unwrap();
        assert_eq!(leases.read(host).unwrap(), None);
    }
}
