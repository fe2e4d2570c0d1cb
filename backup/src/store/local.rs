//! A folder as a store: local disks, NFS, anything mounted.
//!
//! An object is written to `.tmp/<random>` in the same filesystem, made durable, then linked to its name:
//! `link(2)` refuses a name that exists and shows the whole file or nothing, on local filesystems and on NFS
//! alike. Rejected: `O_EXCL` at the final name (a crash leaves half an object there) and plain `rename` (it
//! overwrites). Where links are not to be had, `renameat2(RENAME_NOREPLACE)` does the same. The folder that
//! got the name is synced too, so that a name seen once is there after a power cut.
//!
//! [`keep`] takes what was written away from its writer.
//!
//! The folder is the one that was opened, or nothing is done. Where a share was mounted, an empty folder comes to light
//! when it goes: everything could be created in there, and nothing would seem to be missing from it.
//!
//! A crash leaves files in `.tmp`; `create` never looks there, and `sweep` removes what is old.

mod keep;

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::{ObjectInfo, ObjectKey, ObjectStore, StoreError};
use crate::crypto::random_hex;

pub use keep::{Handed, Keeper, keep};

const TMP: &str = ".tmp";
/// How long what was written may stay its writer's where there is a keeper.
const BETWEEN_PASSES: Duration = Duration::from_secs(60 * 60);

/// A store in a folder of this machine.
#[derive(Debug, Clone)]
pub struct LocalStore {
    root: PathBuf,
    /// Device and number of the folder.
    identity: (u64, u64),
    readers: Readers,
}

/// Who may read what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readers {
    /// The user that writes.
    Writer,
    /// The folder's group: where there is a keeper, writers and collectors are different users, and read each other's
    /// leases and plans.
    Group,
}

impl LocalStore {
    /// The folder must exist.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let name = root.display().to_string();
        let root = root.canonicalize().map_err(|source| StoreError::io("open", &name, source))?;
        let meta = root.metadata().map_err(|source| StoreError::io("open", &name, source))?;
        let readers = if meta.mode() & 0o2000 != 0 { Readers::Group } else { Readers::Writer };
        Ok(Self { root, identity: (meta.dev(), meta.ino()), readers })
    }

    /// Makes the folder and its parents where they are missing.
    pub fn create_root(root: &Path) -> Result<Self, StoreError> {
        let name = root.display().to_string();
        let made: Vec<&Path> = root.ancestors().take_while(|path| !path.exists()).collect();
        fs::create_dir_all(root).map_err(|source| StoreError::io("create", &name, source))?;
        for parent in made.into_iter().filter_map(Path::parent) {
            // After a power cut a folder is there if the one that it lies in was synced. One that must not be read cannot be.
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            let _ = File::open(parent).and_then(|parent| parent.sync_all());
        }
        Self::open(root)
    }

    fn path(&self, key: &ObjectKey) -> PathBuf {
        self.root.join(key.as_str())
    }

    /// That the folder is still the one that was opened.
    fn check_here(&self, action: &'static str, key: &str) -> Result<(), StoreError> {
        if self.root.metadata().is_ok_and(|meta| (meta.dev(), meta.ino()) == self.identity) {
            return Ok(());
        }
        let text = format!("{} is not the folder that was opened; is it still mounted?", self.root.display());
        Err(StoreError::Unavailable { action, key: key.to_owned(), source: io::Error::other(text) })
    }

    /// The error of something that was done to `key`. That it is not there counts only where the folder is.
    fn failed(&self, action: &'static str, key: &str, source: io::Error) -> StoreError {
        let missing = source.kind() == io::ErrorKind::NotFound;
        match self.check_here(action, key) {
            Err(gone) if missing => gone,
            _ => StoreError::io(action, key, source),
        }
    }

    fn write_tmp(&self, tmp: &Path, parts: &[Bytes]) -> io::Result<()> {
        let open = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(tmp);
        let mut file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(self.root.join(TMP))?;
                open()?
            }
            other => other?,
        };
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut left = slices.as_mut_slice();
        while !left.is_empty() {
            let window = left.len().min(512);
            let written = file.write_vectored(&left[..window])?;
            if written == 0 && left.iter().any(|part| !part.is_empty()) {
                return Err(io::ErrorKind::WriteZero.into());
            }
            IoSlice::advance_slices(&mut left, written);
            while left.first().is_some_and(|part| part.is_empty()) {
                left = &mut left[1..];
            }
        }
        if self.readers == Readers::Group {
            file.set_permissions(fs::Permissions::from_mode(0o640))?;
        }
        file.sync_all()
    }

    fn publish(&self, tmp: &Path, path: &Path) -> io::Result<()> {
        let parent = path.parent().unwrap_or(&self.root);
        let linked = match fs::hard_link(tmp, path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_dir(parent)?;
                fs::hard_link(tmp, path)
            }
            other => other,
        };
        match linked {
            Ok(()) => fs::remove_file(tmp)?,
            // NFS: the link was made, its answer lost, and the repeated request says that it exists.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && same_file(tmp, path) => {
                fs::remove_file(tmp)?;
            }
            Err(error) if matches!(error.raw_os_error(), Some(nix::libc::EPERM | nix::libc::EOPNOTSUPP)) => {
                renameat2(AT_FDCWD, tmp, AT_FDCWD, path, RenameFlags::RENAME_NOREPLACE)?;
            }
            Err(error) => return Err(error),
        }
        File::open(parent)?.sync_all()
    }

    /// Makes `dir` below the root, durable with its name.
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)?;
        if self.readers == Readers::Group {
            match fs::set_permissions(dir, fs::Permissions::from_mode(0o2750)) {
                // Somebody else was first.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                other => other?,
            }
        }
        let mut at = Some(dir);
        while let Some(path) = at.filter(|path| path.starts_with(&self.root)) {
            File::open(path)?.sync_all()?;
            at = path.parent();
        }
        Ok(())
    }

    fn walk(
        &self,
        dir: &Path,
        take: &mut dyn FnMut(ObjectInfo) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let failed = |source| StoreError::io("list", &dir.display().to_string(), source);
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(failed)?,
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            // Symbolic links are neither followed nor listed: an object is a plain file.
            let kind = entry.file_type().map_err(failed)?;
            let path = entry.path();
            let Some(key) = path.strip_prefix(&self.root).ok().and_then(Path::to_str) else { continue };
            let Some(key) = ObjectKey::parse(key) else { continue };
            if kind.is_dir() {
                self.walk(&path, take)?;
            } else if kind.is_file() {
                let meta = match entry.metadata() {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    other => other.map_err(failed)?,
                };
                let modified = millis(meta.modified().map_err(failed)?);
                take(ObjectInfo { key, size: meta.len(), modified })?;
            }
        }
        Ok(())
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    match (fs::symlink_metadata(a), fs::symlink_metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

fn millis(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_millis() as u64)
}

impl ObjectStore for LocalStore {
    fn create(&self, key: &ObjectKey, parts: &[Bytes]) -> Result<(), StoreError> {
        let path = self.path(key);
        self.check_here("create", key.as_str())?;
        if path.symlink_metadata().is_ok() {
            // Whoever made it may not have come to that yet, or was told that it failed: who hears that it is there relies on it.
            let synced = path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all());
            synced.map_err(|source| StoreError::io("create", key.as_str(), source))?;
            return Err(StoreError::AlreadyExists { key: key.to_string() });
        }
        let tmp = self.root.join(TMP).join(random_hex());
        let result = self.write_tmp(&tmp, parts).and_then(|()| self.publish(&tmp, &path));
        if result.is_err() {
            let _ = fs::remove_file(&tmp);
        }
        result.map_err(|source| StoreError::io("create", key.as_str(), source))
    }

    fn read_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, StoreError> {
        let read = || -> io::Result<Bytes> {
            let file =
                OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(self.path(key))?;
            let wanted = range.end.saturating_sub(range.start) as usize;
            let mut buf = vec![0; wanted];
            let mut filled = 0;
            while filled < wanted {
                match file.read_at(&mut buf[filled..], range.start + filled as u64)? {
                    0 => break,
                    got => filled += got,
                }
            }
            buf.truncate(filled);
            Ok(Bytes::from(buf))
        };
        read().map_err(|source| self.failed("read", key.as_str(), source))
    }

    fn size(&self, key: &ObjectKey) -> Result<u64, StoreError> {
        let meta = self
            .path(key)
            .symlink_metadata()
            .map_err(|source| self.failed("look at", key.as_str(), source))?;
        Ok(meta.len())
    }

    fn list_each(
        &self,
        prefix: &str,
        take: &mut dyn FnMut(ObjectInfo) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        self.walk(&self.root.join(folder), &mut |info| {
            if info.key.as_str().starts_with(prefix) { take(info) } else { Ok(()) }
        })?;
        // After it: a share that went in the middle leaves a listing that is too short.
        self.check_here("list", prefix)
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let path = self.path(key);
        let removed = match fs::remove_file(&path) {
            // The keeper's: only root takes that off it again.
            Err(error) if error.raw_os_error() == Some(nix::libc::EPERM) => match keep::release(&path) {
                Ok(true) => fs::remove_file(&path),
                _ => Err(error),
            },
            other => other,
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("delete", key.as_str(), error))
            }
            Err(_) => self.check_here("delete", key.as_str()),
            Ok(()) => Ok(()),
        }
    }

    fn exposed(&self, key: &ObjectKey) -> Result<Option<String>, StoreError> {
        let failed = |source| StoreError::io("look at", key.as_str(), source);
        let Some(keeper) = keep::keeper_of(&self.root).map_err(failed)? else { return Ok(None) };
        let meta = self.path(key).symlink_metadata().map_err(failed)?;
        let age = meta.modified().ok().and_then(|at| at.elapsed().ok()).unwrap_or_default();
        let theirs = meta.uid() != keeper && age > BETWEEN_PASSES;
        Ok(theirs
            .then(|| format!("it still belongs to user {}; `xenith-backup keep` takes it over", meta.uid())))
    }

    // What a running writer has open is younger.
    fn sweep(&self, age: Duration) -> Result<usize, StoreError> {
        let Ok(entries) = fs::read_dir(self.root.join(TMP)) else { return Ok(0) };
        let mut removed = 0;
        for entry in entries.flatten() {
            let modified = entry.metadata().and_then(|meta| meta.modified());
            let old = modified.is_ok_and(|at| at.elapsed().is_ok_and(|passed| passed > age));
            if old && fs::remove_file(entry.path()).is_ok() {
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn describe(&self) -> String {
        self.root.display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_was_unmounted_is_not_written_to_nor_believed() {
        let dir = tempfile::tempdir().unwrap();
        let (mounted, away) = (dir.path().join("backups"), dir.path().join("away"));
        let store = LocalStore::create_root(&mounted).unwrap();
        let key = |text: &str| ObjectKey::parse(text).unwrap();
        let body = [Bytes::from_static(b"body")];
        store.create(&key("manifests/one"), &body).unwrap();
        fs::rename(&mounted, &away).unwrap();
        for empty in [false, true] {
            if empty {
                fs::create_dir(&mounted).unwrap();
            }
            let unavailable = |what: &str, result: Result<(), StoreError>| {
                let error = result.expect_err(what);
                assert!(error.is_retryable(), "{what}: {error:?}");
            };
            unavailable("create", store.create(&key("manifests/two"), &body));
            unavailable("list", store.list("manifests/").map(drop));
            unavailable("read", store.read_range(&key("manifests/one"), 0..4).map(drop));
            unavailable("size", store.size(&key("manifests/one")).map(drop));
            unavailable("delete", store.delete(&key("manifests/one")));
        }
        assert_eq!(fs::read_dir(&mounted).unwrap().count(), 0, "nothing was written beside the share");
        fs::remove_dir(&mounted).unwrap();
        fs::rename(&away, &mounted).unwrap();
        assert_eq!(store.list("manifests/").unwrap().len(), 1);
        assert!(matches!(store.size(&key("manifests/two")), Err(StoreError::NotFound { .. })));
    }
}
