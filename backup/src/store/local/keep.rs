//! Taking a folder's objects away from who writes them.
//!
//! Whoever owns a folder may delete what is in it, so a repository in a folder is only as safe as its writers. Here a
//! third user, the keeper, gets it: folders become the keeper's, writable for the group and *sticky*, so that a writer of
//! the group creates what is not there and removes only what is its own; and what was written becomes the keeper's too,
//! read-only, and *immutable* where the filesystem knows that (ext4, XFS, Btrfs; not NFS): nobody can change, rename or
//! remove such a file, not even through a descriptor that was open before.
//!
//! It runs as root, again and again; between two passes a file still belongs to its writer, and [`super::LocalStore`] says
//! so to `verify`. Writers are not trusted: no link is followed, every step is relative to an opened folder, and a file
//! with a second name is left alone until it has one. A crash anywhere leaves files that the next pass takes.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, IFlags, Mode, OFlags, Stat, Uid, fchmod, fchown, fstat, ioctl_getflags,
    ioctl_setflags, mkdirat, openat, statat,
};
use serde::Serialize;

use super::TMP;
use crate::store::StoreError;

/// Folders that writers create objects in. They are there before the first writer comes, so that none owns one.
const FOLDERS: [&str; 9] =
    ["index", "holds", "keyring", "keys", "locks", "manifests", "packs", "plans", "verdicts"];
/// What is in these stays its writer's: leases, trials, halves of objects.
const WRITERS_OWN: [&str; 3] = ["sessions", "probe", TMP];
/// Group of the writers: create, and not remove what is another's.
const FOLDER_MODE: u32 = 0o3770;
const FILE_MODE: u32 = 0o440;

/// Who gets a repository.
#[derive(Debug, Clone, Copy)]
pub struct Keeper {
    pub user: u32,
    /// The writers' group; `None` leaves the folder's.
    pub group: Option<u32>,
}

/// What a pass did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Handed {
    /// Objects that were taken over.
    pub taken: usize,
    /// Objects the keeper had.
    pub kept: usize,
    /// Objects with a second name: a writer is at it, or up to something.
    pub left: usize,
    /// Objects that the filesystem cannot make immutable: only their owner and mode protect them.
    pub unflagged: usize,
}

/// Hands what is in the folder `root` to `keeper`. Needs root, or `CAP_CHOWN`, `CAP_FOWNER` and `CAP_LINUX_IMMUTABLE`.
pub fn keep(root: &Path, keeper: Keeper) -> Result<Handed, StoreError> {
    let name = root.display().to_string();
    let failed = |source: io::Error| StoreError::io("take over", &name, source);
    let folder = open(CWD, root, OFlags::DIRECTORY).map_err(failed)?;
    // Whoever mistypes the folder must not lose it.
    if !matches!(statat(&folder, "config", AtFlags::SYMLINK_NOFOLLOW), Ok(stat) if is(&stat, FileType::RegularFile))
    {
        return Err(StoreError::Unsuitable(format!("{name} holds no repository")));
    }
    let group = match keeper.group {
        Some(group) => group,
        None => fstat(&folder).map_err(|error| failed(error.into()))?.st_gid,
    };
    let mut pass =
        Pass { user: Uid::from_raw(keeper.user), group: Gid::from_raw(group), handed: Handed::default() };
    pass.take(&folder).map_err(failed)?;
    Ok(pass.handed)
}

/// Lets a file be removed that [`keep`] made immutable; says whether it was.
pub(super) fn release(path: &Path) -> io::Result<bool> {
    let file = open(CWD, path, OFlags::empty())?;
    let flags = ioctl_getflags(&file)?;
    if !flags.contains(IFlags::IMMUTABLE) {
        return Ok(false);
    }
    ioctl_setflags(&file, flags - IFlags::IMMUTABLE)?;
    Ok(true)
}

/// The keeper of a folder that [`keep`] was at.
pub(super) fn keeper_of(root: &Path) -> io::Result<Option<u32>> {
    let stat = statat(CWD, root, AtFlags::empty())?;
    Ok((stat.st_mode & 0o1000 != 0).then_some(stat.st_uid))
}

fn open(folder: impl AsFd, name: impl rustix::path::Arg, more: OFlags) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | more;
    Ok(openat(folder, name, flags, Mode::empty())?)
}

fn is(stat: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind
}

struct Pass {
    user: Uid,
    group: Gid,
    handed: Handed,
}

impl Pass {
    fn take(&mut self, root: &OwnedFd) -> io::Result<()> {
        self.folder(root)?;
        for name in FOLDERS.iter().chain(&WRITERS_OWN) {
            self.make(root, name)?;
        }
        let packs = open(root, "packs", OFlags::DIRECTORY)?;
        for number in 0..=255u8 {
            self.make(&packs, &format!("{number:02x}"))?;
        }
        self.entries(root, 0)
    }

    fn make(&self, parent: &OwnedFd, name: &str) -> io::Result<()> {
        match mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
            Err(rustix::io::Errno::EXIST) => {}
            other => other?,
        }
        self.folder(&open(parent, name, OFlags::DIRECTORY)?)
    }

    fn folder(&self, folder: &OwnedFd) -> io::Result<()> {
        let stat = fstat(folder)?;
        if stat.st_uid != self.user.as_raw() || stat.st_gid != self.group.as_raw() {
            fchown(folder, Some(self.user), Some(self.group))?;
        }
        // After the owner: changing that takes bits away.
        if stat.st_mode & 0o7777 != FOLDER_MODE {
            fchmod(folder, Mode::from_raw_mode(FOLDER_MODE))?;
        }
        Ok(())
    }

    fn entries(&mut self, folder: &OwnedFd, depth: usize) -> io::Result<()> {
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name: &CStr = entry.file_name();
            let own = depth == 0 && WRITERS_OWN.iter().any(|own| own.as_bytes() == name.to_bytes());
            if own || matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let opened = match open(folder, name, OFlags::empty()) {
                // Gone meanwhile; a link, a socket: not ours.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) if matches!(error.raw_os_error(), Some(nix::libc::ELOOP | nix::libc::ENXIO)) => {
                    continue;
                }
                other => other?,
            };
            let stat = fstat(&opened)?;
            // Packs lie two folders deep, and nothing deeper.
            if is(&stat, FileType::Directory) && depth < 2 {
                self.folder(&opened)?;
                self.entries(&opened, depth + 1)?;
            } else if is(&stat, FileType::RegularFile) {
                self.file(opened, &stat)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, file: OwnedFd, stat: &Stat) -> io::Result<()> {
        let flags = ioctl_getflags(&file).ok();
        let flagged = flags.is_none_or(|flags| flags.contains(IFlags::IMMUTABLE));
        self.handed.unflagged += usize::from(flags.is_none());
        if stat.st_uid == self.user.as_raw() && stat.st_mode & 0o7777 == FILE_MODE && flagged {
            self.handed.kept += 1;
            return Ok(());
        }
        if stat.st_nlink != 1 {
            self.handed.left += 1;
            return Ok(());
        }
        fchmod(&file, Mode::from_raw_mode(FILE_MODE))?;
        fchown(&file, Some(self.user), Some(self.group))?;
        // What is to be immutable has to be on the disk: nobody can write it again.
        File::from(file.try_clone()?).sync_all()?;
        if let Some(flags) = flags {
            ioctl_setflags(&file, flags | IFlags::IMMUTABLE)?;
        }
        self.handed.taken += 1;
        Ok(())
    }
}
