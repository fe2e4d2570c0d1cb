//! A repository in memory and disks to put in it.

use std::sync::{Arc, Mutex};

use xenith_backup::chunk::Chunking;
use xenith_backup::index::Index;
use xenith_backup::ingest::{self, DiskJob, Options, Progress};
use xenith_backup::keys::{Credential, KdfCost, Keyring};
use xenith_backup::manifest::{self, Manifest};
use xenith_backup::reader::BackupDisk;
use xenith_backup::restore::{self, RestoreProgress, Target};
use xenith_backup::store::{MemoryStore, ObjectInfo, ObjectStore, StoreError};
use xenith_backup::{Repository, Result, forward_store};
use xenith_common_block::{ByteRange, MemorySink, MemorySource, RangeSet};

pub const MIB: usize = 1 << 20;

pub fn passphrase() -> Credential {
    Credential::Passphrase("correct horse".to_owned())
}

pub fn init(store: Arc<dyn ObjectStore>) -> Repository {
    init_with(store, Chunking::default())
}

pub fn init_with(store: Arc<dyn ObjectStore>, chunking: Chunking) -> Repository {
    Repository::init(store, &Keyring::create(chunking), &passphrase(), KdfCost::CHEAP).unwrap()
}

pub fn open(store: Arc<dyn ObjectStore>) -> Result<Repository> {
    Repository::open(store, &passphrase())
}

/// A repository that nobody else looks at.
pub fn in_memory() -> (Arc<MemoryStore>, Repository) {
    let store = Arc::new(MemoryStore::new());
    let repo = init(store.clone());
    (store, repo)
}

pub fn options() -> Options {
    Options { workers: 2, ..Options::default() }
}

pub fn try_backup(repo: &Repository, disks: &[(&str, &[u8], Option<RangeSet>)]) -> Result<Manifest> {
    let sources: Vec<MemorySource> =
        disks.iter().map(|(_, bytes, _)| MemorySource::new(bytes.to_vec())).collect();
    let jobs = disks
        .iter()
        .zip(&sources)
        .map(|((name, _, changed), source)| DiskJob {
            name: (*name).to_owned(),
            source,
            changed: changed.clone().into(),
        })
        .collect();
    ingest::backup(repo, jobs, &options(), &Progress::default())
}

pub fn backup(repo: &Repository, name: &str, bytes: &[u8]) -> Manifest {
    try_backup(repo, &[(name, bytes, None)]).unwrap()
}

pub fn try_restore(repo: &Repository, what: &str) -> Result<Vec<u8>> {
    let (manifests, _) = manifest::list(repo)?;
    let (_, record) = manifest::find(&manifests, what)?;
    let disk = BackupDisk::new(repo, Arc::new(Index::load(repo)?), record);
    let sink = MemorySink::new(record.size as usize);
    restore::restore(&disk, &sink, Target::Blank, 2, &RestoreProgress::default())?;
    Ok(sink.into_bytes())
}

pub fn restored(repo: &Repository, manifest: &Manifest, name: &str) -> Vec<u8> {
    try_restore(repo, &format!("{name}@{}", manifest.id)).unwrap()
}

/// Bytes that look random and are the same each time: compression does not shrink them.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A disk that remembers what was written to it.
#[derive(Debug, Clone)]
pub struct Disk {
    pub bytes: Vec<u8>,
    pub changed: RangeSet,
}

impl Disk {
    pub fn new(size: usize) -> Self {
        Self { bytes: vec![0; size], changed: RangeSet::new() }
    }

    pub fn write(&mut self, offset: usize, data: &[u8]) {
        let offset = offset.min(self.bytes.len());
        let end = (offset + data.len()).min(self.bytes.len());
        self.bytes[offset..end].copy_from_slice(&data[..end - offset]);
        self.changed.insert(ByteRange::new(offset as u64, end as u64));
    }

    /// What changed since the last call.
    pub fn take_changes(&mut self) -> RangeSet {
        std::mem::take(&mut self.changed)
    }
}

/// A store in which something happens once, right after what begins with a prefix was listed.
pub struct AfterListing {
    inner: Arc<MemoryStore>,
    prefix: &'static str,
    then: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl AfterListing {
    pub fn arc(
        inner: Arc<MemoryStore>,
        prefix: &'static str,
        then: impl FnOnce() + Send + 'static,
    ) -> Arc<dyn ObjectStore> {
        let then: Box<dyn FnOnce() + Send> = Box::new(then);
        Arc::new(Self { inner, prefix, then: Mutex::new(Some(then)) })
    }
}

impl ObjectStore for AfterListing {
    forward_store!(self => self.inner; create read_range size delete describe);

    fn list_each(
        &self,
        prefix: &str,
        take: &mut dyn FnMut(ObjectInfo) -> std::result::Result<(), StoreError>,
    ) -> std::result::Result<(), StoreError> {
        self.inner.list_each(prefix, take)?;
        let then = if prefix == self.prefix { self.then.lock().unwrap().take() } else { None };
        then.into_iter().for_each(|then| then());
        Ok(())
    }
}
