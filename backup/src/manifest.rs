//! Manifests: a backup exists when, and only when, its manifest does.
//!
//! The manifest is the last object of a run and its one commit point. Its key is the session's id, known from
//! the session's start; a collector that gives up on a session creates a *revocation* under that same key, so
//! create-if-absent decides who was first, whatever the clocks say.

mod order;

use serde::{Deserialize, Serialize};

use crate::chunk::Chunking;
use crate::error::{BackupError, Result};
use crate::format::{ObjectBuilder, ObjectKind, Sealed};
use crate::id::{BackupId, ChunkId};
use crate::repo::{FORMAT, Repository};
use crate::store::{ObjectKey, StoreError};

pub use order::places;

/// Largest manifest: a thousand disks with long names.
const MAX_MANIFEST: u64 = 4 << 20;
/// Largest disk, 1 EiB: sums of a few sizes do not overflow.
const MAX_DISK: u64 = 1 << 60;
/// Longest name of a disk, bytes.
const MAX_NAME: usize = 200;

/// One disk of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskRecord {
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Counts this name's backups in this repository from 1: which of two is newer does not hang on a clock. 0 in
    /// manifests that are older than the count.
    #[serde(default)]
    pub number: u64,
    /// The root page of its map; nothing for a disk of zeros.
    pub root: Option<ChunkId>,
    pub chunking: Chunking,
    pub stats: DiskStats,
    /// Why the whole disk was read, when it was.
    pub whole_because: Option<String>,
}

/// What backing up a disk took. Bytes unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskStats {
    /// Read from the source.
    pub read: u64,
    /// Number of chunks that were named.
    pub chunks: u64,
    /// Number of chunks that were not in the repository yet.
    pub new_chunks: u64,
    /// Plain size of those.
    pub new_bytes: u64,
    /// What they take in the repository, with new map pages.
    pub stored: u64,
    /// Time it took, in milliseconds.
    pub millis: u64,
}

/// A committed backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub id: BackupId,
    /// When the run began, milliseconds since 1970.
    pub created: u64,
    pub host: String,
    pub tags: Vec<String>,
    pub disks: Vec<DiskRecord>,
    /// The backup in another repository that this is a copy of.
    pub origin: Option<BackupId>,
    /// Opaque to this crate: the VM's definition, for instance.
    pub attachments: Vec<Attachment>,
}

/// A small file kept with a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    pub name: String,
    pub text: String,
}

impl Manifest {
    #[must_use]
    pub fn disk(&self, name: &str) -> Option<&DiskRecord> {
        self.disks.iter().find(|disk| disk.name == name)
    }

    /// Counts up within a series of the same disks, whatever the clocks say. Where the disks differ, [`places`] does.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.disks.iter().map(|disk| disk.number).max().unwrap_or(0)
    }

    /// What retention counts together: backups of the same disks.
    #[must_use]
    pub fn series(&self) -> String {
        let mut names: Vec<&str> = self.disks.iter().map(|disk| disk.name.as_str()).collect();
        names.sort_unstable();
        names.join(",")
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "what")]
enum Body {
    Backup { format: u32, manifest: Manifest },
    Revoked { format: u32, session: BackupId, at: u64 },
}

/// What a manifest of any version says.
#[derive(Debug, Deserialize)]
struct Head {
    format: u32,
}

#[must_use]
pub fn manifest_key(id: &BackupId) -> ObjectKey {
    ObjectKey::new(format!("manifests/{id}"))
}

fn create(repo: &Repository, id: &BackupId, body: &Body) -> Result<(), StoreError> {
    let mut object = ObjectBuilder::new(ObjectKind::Manifest, repo.keyring());
    object.push_all(&serde_json::to_vec(body).expect("a manifest is plain data"));
    repo.store().create(&manifest_key(id), &[object.finish().0])
}

/// Commits a backup. A key that is taken means that a collector revoked the session.
pub fn commit(repo: &Repository, manifest: &Manifest) -> Result<()> {
    let body = Body::Backup { format: FORMAT, manifest: manifest.clone() };
    match create(repo, &manifest.id, &body) {
        Err(StoreError::AlreadyExists { .. }) => {
            Err(BackupError::SessionRevoked { session: manifest.id.to_string() })
        }
        other => Ok(other?),
    }
}

/// Makes sure that session `id` never commits. `false`: it did already.
pub fn revoke(repo: &Repository, id: &BackupId) -> Result<bool> {
    let body = Body::Revoked { format: FORMAT, session: *id, at: crate::repo::now_millis() };
    match create(repo, id, &body) {
        Ok(()) => Ok(true),
        Err(StoreError::AlreadyExists { .. }) => Ok(read(repo, id)?.is_none()),
        Err(error) => Err(error.into()),
    }
}

/// The backup `id`; `None` when the session was revoked.
pub fn read(repo: &Repository, id: &BackupId) -> Result<Option<Manifest>> {
    let key = manifest_key(id);
    let bytes = match repo.store().read(&key, MAX_MANIFEST) {
        Err(StoreError::NotFound { .. }) => {
            return Err(BackupError::NotFound { what: format!("backup {id}") });
        }
        other => other?,
    };
    let name = format!("manifest {id}");
    let plain =
        Sealed::open(&bytes, ObjectKind::Manifest, repo.keyring(), &name)?.concat(MAX_MANIFEST as usize)?;
    parse(&plain, id)
}

/// What the decrypted manifest of backup `id` says; `None` when it is a revocation.
pub fn parse(plain: &[u8], id: &BackupId) -> Result<Option<Manifest>> {
    let name = format!("manifest {id}");
    let unfit_json = |error: serde_json::Error| BackupError::damaged(&name, error.to_string());
    // One of a newer version is good, and none of ours to judge: it must not pass for damage that may be cleared away.
    let head: Head = serde_json::from_slice(plain).map_err(unfit_json)?;
    if head.format > FORMAT {
        return Err(BackupError::TooNew { found: head.format, supported: FORMAT });
    }
    let body: Body = serde_json::from_slice(plain).map_err(unfit_json)?;
    match body {
        Body::Backup { manifest, .. } if manifest.id == *id => match unfit(&manifest) {
            None => Ok(Some(manifest)),
            Some(detail) => Err(BackupError::damaged(name, detail)),
        },
        Body::Revoked { session, .. } if session == *id => Ok(None),
        _ => Err(BackupError::damaged(name, "it is another backup's manifest under this name")),
    }
}

/// Whether `name` can name a disk: it is shown on terminals, and `NAME@ID`, `NAME=PATH` and `A,B` have to be told apart.
#[must_use]
pub fn is_disk_name(name: &str) -> bool {
    let odd = |c: char| c.is_control() || matches!(c, '@' | '=' | ',');
    !name.is_empty() && name.len() <= MAX_NAME && !name.contains(odd)
}

/// What no writer of ours would have written. Who has the key can still be hostile.
fn unfit(manifest: &Manifest) -> Option<&'static str> {
    let names = || manifest.disks.iter().map(|disk| disk.name.as_str());
    if !names().all(is_disk_name) {
        return Some("a name in it cannot name a disk");
    }
    if manifest.disks.iter().enumerate().any(|(at, disk)| names().take(at).any(|name| name == disk.name)) {
        return Some("two of its disks have one name");
    }
    if manifest.disks.iter().any(|disk| disk.size > MAX_DISK || !disk.chunking.is_valid()) {
        return Some("a disk in it has an impossible size");
    }
    let texts =
        manifest.tags.iter().chain([&manifest.host]).chain(manifest.attachments.iter().map(|a| &a.name));
    if texts.flat_map(|text| text.chars()).any(char::is_control) {
        return Some("a text in it holds control characters");
    }
    None
}

/// Ids of everything under `manifests/`, oldest first, revocations among them.
pub fn list_ids(repo: &Repository) -> Result<Vec<BackupId>> {
    let listed = repo.store().list("manifests/")?;
    let mut ids: Vec<BackupId> = listed
        .iter()
        .filter_map(|info| info.key.as_str().strip_prefix("manifests/").and_then(BackupId::parse))
        .collect();
    ids.sort_unstable();
    Ok(ids)
}

/// All backups, oldest first. Those that cannot be read are given apart, with the reason.
pub fn list(repo: &Repository) -> Result<(Vec<Manifest>, Vec<BackupError>)> {
    let (mut manifests, mut problems) = (Vec::new(), Vec::new());
    for id in list_ids(repo)? {
        match read(repo, &id) {
            Ok(Some(manifest)) => manifests.push(manifest),
            // Revoked, or pruned since the listing.
            Ok(None) | Err(BackupError::NotFound { .. }) => {}
            Err(error @ (BackupError::Damaged { .. } | BackupError::TooNew { .. })) => problems.push(error),
            Err(error) => return Err(error),
        }
    }
    manifests.sort_by_key(|manifest| (manifest.created, manifest.id));
    Ok((manifests, problems))
}

/// The newest backup of the disk `name`: the one with the highest number, not the latest date.
#[must_use]
pub fn newest<'a>(manifests: &'a [Manifest], name: &str) -> Option<(&'a Manifest, &'a DiskRecord)> {
    let all = manifests.iter().filter_map(|manifest| Some((manifest, manifest.disk(name)?)));
    all.max_by_key(|(manifest, disk)| (disk.number, manifest.created, manifest.id))
}

/// Finds `NAME`, `NAME@latest` or `NAME@ID`, where the first digits of an id will do.
pub fn find<'a>(manifests: &'a [Manifest], what: &str) -> Result<(&'a Manifest, &'a DiskRecord)> {
    let (name, id) = what.rsplit_once('@').unwrap_or((what, "latest"));
    let not_found = || BackupError::NotFound { what: format!("a backup {what}") };
    if id == "latest" {
        return newest(manifests, name).ok_or_else(not_found);
    }
    // The first no digits of an id are those of every id.
    if id.is_empty() {
        return Err(not_found());
    }
    let mut found = manifests
        .iter()
        .filter(|m| m.id.to_string().starts_with(id))
        .filter_map(|m| m.disk(name).map(|disk| (m, disk)));
    let first = found.next().ok_or_else(not_found)?;
    match found.next() {
        None => Ok(first),
        Some(_) => Err(BackupError::Ambiguous { what: what.to_owned() }),
    }
}
