//! Small state files that outlive a crash: a file has its old contents or its new ones, never a part of either.
//!
//! New contents are written beside the file (`.partial`), flushed, and renamed over it: the rename is the commit point,
//! and it is durable when the folder is flushed. A file has one writer at a time; who it is, its owner says.
//!
//! And the file that an administrator writes: [`settings()`].

mod settings;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

pub use settings::{SettingsError, settings};

/// Makes `bytes` the contents of `path`, for its owner only (mode 0600). Durable when it returns. After an error there are the
/// old contents, or, where the folder could not be flushed, the new ones, which the next power cut may take back.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let replaced = write(&partial, bytes).and_then(|()| fs::rename(&partial, path));
    if replaced.is_err() {
        // Best effort: a full disk gets its few bytes back, and the error is told anyway.
        let _removed = fs::remove_file(&partial);
    }
    replaced?;
    sync_folder_of(path)
}

/// Durable when it returns. A file that is not there is as good as removed.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => sync_folder_of(path),
    }
}

/// Makes the renames and removals in the folder of `path` durable.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        replace(&path, b"a longer text").unwrap();
        replace(&path, b"short").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"short");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no left-over");
    }

    #[test]
    fn a_failed_replacement_leaves_the_old_contents_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("old"), b"kept").unwrap();
        assert!(replace(&path, b"new").is_err());
        assert_eq!(fs::read(path.join("old")).unwrap(), b"kept");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no left-over");
    }

    #[test]
    fn what_is_not_there_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        replace(&path, b"x").unwrap();
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(!path.exists());
    }
}
