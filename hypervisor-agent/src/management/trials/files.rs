//! Folders of settings, made anew beside the ones that are there.
//!
//! What always holds: what is not ours comes along as it is: folders of drop-ins, links, owners and modes. A network of a host's
//! disks may be in there, and a key that one group may read. What is made is whole and written out when a function here
//! returns; what counts, and when, whoever calls it says.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::Path;

/// The files of a folder that are text.
pub(super) fn texts(folder: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        if let (Some(name), Ok(text)) = (name, fs::read_to_string(&path)) {
            files.insert(name, text);
        }
    }
    Ok(files)
}

/// Makes `to` of all that is in `from`, with `files` in place of those for whose names `is_replaced` holds. What was there
/// before goes.
pub(super) fn made_from(
    from: &Path,
    to: &Path,
    is_replaced: &dyn Fn(&str) -> bool,
    files: &[(String, String)],
) -> io::Result<()> {
    match fs::remove_dir_all(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    copy(from, to, is_replaced)?;
    for (name, text) in files {
        let mut file = File::create(to.join(name))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
    }
    File::open(to)?.sync_all()
}

/// Into a folder that is not there yet.
pub(super) fn copy(from: &Path, to: &Path, is_left_out: &dyn Fn(&str) -> bool) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, name, there) = (entry.file_type()?, entry.file_name(), entry.path());
        if is_left_out(&name.to_string_lossy()) {
            continue;
        }
        let here = to.join(&name);
        if kind.is_dir() {
            copy(&there, &here, &|_| false)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&there)?, &here)?;
        } else if kind.is_file() {
            // With its mode, from the moment on that it is there.
            fs::copy(&there, &here)?;
            of_the_same_owner(&there, &here)?;
            File::open(&here)?.sync_all()?;
        }
    }
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    of_the_same_owner(from, to)?;
    File::open(to)?.sync_all()
}

fn of_the_same_owner(from: &Path, to: &Path) -> io::Result<()> {
    let [there, here] = [fs::metadata(from)?, fs::metadata(to)?].map(|file| (file.uid(), file.gid()));
    if here == there { Ok(()) } else { chown(to, Some(there.0), Some(there.1)) }
}
