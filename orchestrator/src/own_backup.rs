//! The orchestrator's own backup: its store, as one disk in a repository.
//!
//! The orchestrator writes it itself, with the library that agents use, so a folder has to be there under the same path
//! on its machine, too. What is written is a checkpoint of the store, consistent by itself, laid out by [`image`] so
//! that tables which did not change are found again in the repository. The master key is not in it: every host that
//! backs up into the repository has the repository's key, and with both it would be the authority over all hosts.
//!
//! [`restore`] brings it back into an empty folder with the repository, its key and the master key. What runs on the hosts
//! is not touched by that: operations that were under way at the time of the backup are not resumed, and what was made
//! since is listed as orphaned.

pub mod image;
pub mod restore;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use xenith_backup::gc;
use xenith_backup::ingest::{self, Changes, DiskJob, Options, Progress};
use xenith_backup::keys::Credential;
use xenith_backup::manifest::{Attachment, Manifest};
use xenith_backup::store::{
    LocalStore, ObjectStore, Pace, RetryingStore, S3Credentials, S3Store, ThrottledStore,
};
use xenith_backup::{BackupError, Repository};
use xenith_hypervisor_agent_types::backup::{
    BackupDiskFacts, BackupFacts, RepositoryAccess, RepositoryKey, RepositoryPlace,
};

use crate::background::store::Checkpoints;
use image::FolderImage;

/// Of every backup of an orchestrator.
pub const TAG: &str = "orchestrator";
/// The attachment that names the operation, so that a repeated step finds what it made.
const OPERATION: &str = "operation";
/// The attachment that says by which program it was made.
const VERSION: &str = "xenith-version";
/// A store may be away this long before a command fails.
const PATIENCE: Duration = Duration::from_secs(180);

#[derive(Debug, thiserror::Error)]
pub enum OwnBackupError {
    #[error("cannot {action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("no checkpoint of the store could be made")]
    Checkpoint(#[source] io::Error),
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error(transparent)]
    Image(#[from] image::ImageError),
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Store(#[from] xenith_orchestrator_store::StoreError),
    #[error(transparent)]
    Secret(#[from] crate::secret::SecretError),
    #[error(transparent)]
    Authority(#[from] crate::authority::AuthorityError),
}

/// How the disk is called in repositories; installations that share one are told apart.
#[must_use]
pub fn disk_name(authority: &str) -> String {
    let digits: String = authority.chars().filter(char::is_ascii_hexdigit).take(12).collect();
    format!("{TAG}.{digits}")
}

/// Says that nobody waits any more, so that a store which is away is not waited for either.
type GivenUp = Arc<dyn Fn() -> bool + Send + Sync>;

fn store(place: &RepositoryPlace, given_up: GivenUp) -> Result<Arc<dyn ObjectStore>, BackupError> {
    let inner: Box<dyn ObjectStore> = match place {
        RepositoryPlace::Folder { path } => Box::new(LocalStore::open(Path::new(path))?),
        RepositoryPlace::S3 { bucket, prefix, endpoint, region, access_key, secret_key } => {
            let credentials = S3Credentials {
                access_key: access_key.expose().to_owned(),
                secret_key: secret_key.expose().to_owned(),
                endpoint: endpoint.clone(),
                region: region.clone(),
            };
            Box::new(S3Store::open_as(&format!("s3://{bucket}/{prefix}"), &credentials)?)
        }
    };
    let inner = Arc::<dyn ObjectStore>::from(inner);
    let retrying = RetryingStore::new(inner, Duration::from_millis(200), PATIENCE);
    Ok(Arc::new(retrying.unless(given_up)))
}

/// Opens a repository from this machine. Blocks.
pub fn open(access: &RepositoryAccess) -> Result<Repository, BackupError> {
    opened(store(&access.place, Arc::new(|| false))?, access)
}

/// Opens it, to be written no faster than `pace` is at the time, until `progress` is cancelled. Blocks.
pub fn open_paced(
    access: &RepositoryAccess,
    pace: &Arc<Pace>,
    progress: &Arc<Progress>,
) -> Result<Repository, BackupError> {
    let progress = Arc::clone(progress);
    let store = store(&access.place, Arc::new(move || progress.cancelled.load(Ordering::Relaxed)))?;
    opened(Arc::new(ThrottledStore::new(store, Arc::clone(pace))), access)
}

fn opened(store: Arc<dyn ObjectStore>, access: &RepositoryAccess) -> Result<Repository, BackupError> {
    let credential = match &access.key {
        RepositoryKey::Passphrase(text) => Credential::Passphrase(text.expose().to_owned()),
        RepositoryKey::Digits(digits) => Credential::from_key_file(digits.expose())
            .ok_or_else(|| BackupError::Invalid("the repository's key is not 64 hex digits".to_owned()))?,
    };
    Repository::open(store, &credential)
}

/// What to write.
pub struct What {
    /// See [`disk_name`].
    pub disk: String,
    /// Finds what an earlier try has made.
    pub operation: String,
    pub tags: Vec<String>,
}

/// A checkpoint that is deleted when it is not needed any more.
struct Passing(PathBuf);

impl Drop for Passing {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %self.0.display(), "a checkpoint for a backup is left; the next start deletes it");
        }
    }
}

/// Deletes what an earlier process left. Before anything is backed up.
pub fn clean(checkpoints: &Checkpoints) -> io::Result<()> {
    match std::fs::remove_dir_all(checkpoints.passing()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes one backup. Repeated with the same operation it answers with the one that was made. Blocks.
pub fn back_up(
    checkpoints: &Checkpoints,
    repo: &Repository,
    what: &What,
    progress: &Progress,
) -> Result<BackupFacts, OwnBackupError> {
    if let Some(made) = find(repo, &what.operation)? {
        return Ok(facts(&made));
    }
    let folder = checkpoints.passing().join(&what.operation);
    let passing = Passing(folder.clone());
    checkpoints.make_passing(&folder).map_err(OwnBackupError::Checkpoint)?;
    let image = FolderImage::new(files(&folder)?)?;
    let job = DiskJob {
        name: what.disk.clone(),
        source: &image,
        changed: Changes::Unknown { because: "the store is read whole; it is small".to_owned() },
    };
    let attachment = |(name, text): (&str, &str)| Attachment { name: name.to_owned(), text: text.to_owned() };
    let attachments = [(OPERATION, what.operation.as_str()), (VERSION, env!("CARGO_PKG_VERSION"))];
    let attachments = attachments.into_iter().map(attachment).collect();
    let options = Options { tags: what.tags.clone(), attachments, ..Options::default() };
    let manifest = ingest::backup(repo, vec![job], &options, progress)?;
    drop(passing);
    Ok(facts(&manifest))
}

/// What goes into a backup: each file's name in it and where it lies.
fn files(checkpoint: &Path) -> Result<Vec<(String, PathBuf)>, OwnBackupError> {
    let failed = |source| OwnBackupError::Io { action: "list", path: checkpoint.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(checkpoint).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_file() {
            let name = entry.file_name().to_string_lossy().into_owned();
            files.push((format!("{}{name}", image::STORE), entry.path()));
        }
    }
    // The same order each time: what did not change is then cut the same way, too.
    files.sort();
    Ok(files)
}

fn find(repo: &Repository, operation: &str) -> Result<Option<Manifest>, BackupError> {
    let (manifests, _) = gc::visible(repo)?;
    let ours = |attachment: &Attachment| attachment.name == OPERATION && attachment.text == operation;
    Ok(manifests.into_iter().rev().find(|manifest| manifest.attachments.iter().any(ours)))
}

fn facts(manifest: &Manifest) -> BackupFacts {
    let disk = |disk: &xenith_backup::manifest::DiskRecord| BackupDiskFacts {
        name: disk.name.clone(),
        size: disk.size,
        read: disk.stats.read,
        new_bytes: disk.stats.new_bytes,
        stored: disk.stats.stored,
        millis: disk.stats.millis,
        whole_because: None,
    };
    BackupFacts {
        id: manifest.id.to_string(),
        created: manifest.created,
        host: manifest.host.clone(),
        tags: manifest.tags.clone(),
        disks: manifest.disks.iter().map(disk).collect(),
        attachments: Vec::new(),
        held: false,
    }
}
