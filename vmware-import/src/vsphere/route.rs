//! The ways to the bytes of a snapshot's disk, the best first: a datastore that is mounted here, ranges over `/folder`,
//! and an NFC export of the snapshot where neither is to be had.
//!
//! What always holds: a way is chosen before anything is copied, and why it is not a better one is told. Only an export
//! gives no ranges.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::client::Vim;
use super::datastore::{DatastoreFile, DatastoreFolder, is_refusal};
use crate::bytes::{DirFolder, Folder};
use crate::error::{ImportError, Result};
use crate::vmdk::image::Image;
use crate::vmdk::{OpenOptions, open_image};

/// Where datastores are mounted on this machine, by their names.
pub type Mounts = BTreeMap<String, PathBuf>;

/// How a disk is read.
pub enum Route {
    /// By ranges.
    Image(Box<Image>),
    /// By an export of the snapshot, for this reason.
    Export(String),
}

/// Finds the way to the disk at `path` (`[datastore] folder/file.vmdk`).
pub fn find(vim: &Arc<Vim>, path: &str, datacenter: &str, mounts: &Mounts) -> Result<Route> {
    let (datastore, file) = split(path)?;
    if let Some(mount) = mounts.get(datastore) {
        match mounted(mount, file) {
            // A linked clone, a chain that is being merged, or what only an export can give; a file that is not there is a
            // wrong mount.
            Err(
                ImportError::Outside { .. }
                | ImportError::Unsupported { .. }
                | ImportError::ParentMismatch { .. },
            ) => {}
            found => return found.map(|image| Route::Image(Box::new(image))),
        }
    }
    match over_folder(vim, path, datacenter) {
        Ok(image) => Ok(Route::Image(Box::new(image))),
        Err(error) if is_refusal(&error) => Ok(Route::Export(error.to_string())),
        Err(error) => Err(error),
    }
}

fn split(path: &str) -> Result<(&str, &str)> {
    let parts = path.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (datastore, file) = parts
        .ok_or_else(|| ImportError::Usage(format!("{path:?} is not of the form [datastore] folder/file")))?;
    Ok((datastore, file.trim_start()))
}

fn mounted(mount: &Path, file: &str) -> Result<Image> {
    let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
    let inside = Path::new(folder).components().all(|part| matches!(part, Component::Normal(_)));
    if !inside {
        let (file, name) = (mount.display().to_string(), folder.to_owned());
        return Err(ImportError::Outside { file, field: "folder", name });
    }
    let folder = Arc::new(DirFolder::new(&mount.join(folder)));
    let bytes = folder.open(&mount.display().to_string(), "disk", name)?;
    open_image(bytes, folder, OpenOptions::default())
}

fn over_folder(vim: &Arc<Vim>, path: &str, datacenter: &str) -> Result<Image> {
    let file = DatastoreFile::open(Arc::clone(vim), path, datacenter)?;
    let folder = path.rsplit_once('/').map_or(path, |(folder, _)| folder).to_owned();
    let folder = DatastoreFolder { vim: Arc::clone(vim), folder, datacenter: datacenter.to_owned() };
    open_image(Arc::new(file), Arc::new(folder), OpenOptions::default())
}

#[cfg(test)]
mod tests {
    use xenith_common_block::BlockSource;

    use super::*;

    #[test]
    fn a_mounted_datastore_is_read_and_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let mount = folder.path().join("nfs");
        std::fs::create_dir_all(mount.join("web")).unwrap();
        std::fs::write(mount.join("web/web-flat.vmdk"), vec![7; 4096]).unwrap();
        let text = "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"vmfs\"\nRW 8 VMFS \"web-flat.vmdk\"\n";
        std::fs::write(mount.join("web/web.vmdk"), text).unwrap();
        std::fs::write(folder.path().join("secret.vmdk"), text).unwrap();
        assert_eq!(mounted(&mount, "web/web.vmdk").unwrap().size(), 4096);
        for outside in ["../secret.vmdk", "web/../../secret.vmdk", "/etc/passwd", "web/.."] {
            let error = mounted(&mount, outside).err().unwrap();
            assert!(matches!(error, ImportError::Outside { .. }), "{outside}: {error}");
        }
        assert!(matches!(mounted(&mount, "web/none.vmdk"), Err(ImportError::Missing { .. })));
        assert!(split("datastore1/web.vmdk").is_err());
    }
}
