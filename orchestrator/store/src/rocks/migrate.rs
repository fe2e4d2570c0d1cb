//! Brings an older store to the schema of this program. See [`crate::Schema`] for the rules.

use std::path::{Path, PathBuf};

use rocksdb::{DB, IteratorMode, WriteBatch, WriteOptions};
use serde::{Deserialize, Serialize};

use super::{disk, reader};
use crate::error::show_key;
use crate::{Keyspace, Migration, Rewrite, Schema, StoreError, UnsupportedSchema};

/// A batch is written when it holds so much.
const BATCH_BYTES: usize = 4 << 20;

/// How far a migration has come; part of each of its batches.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Progress {
    to: u32,
    keyspace: String,
    /// The last key that was looked at.
    key: Vec<u8>,
}

/// Checks the version, and migrates. A new store gets the current version.
pub(super) fn ensure_schema(db: &DB, path: &Path, schema: &Schema) -> Result<(), StoreError> {
    let unsupported = |source| StoreError::UnsupportedSchema { path: path.to_owned(), source };
    let Some(found) = read_version(db, path)? else {
        let mut batch = WriteBatch::default();
        batch.put(disk::SCHEMA_KEY, schema.version.to_be_bytes());
        return write(db, path, batch);
    };
    let steps = schema.path_from(found).map_err(unsupported)?;
    if steps.is_empty() {
        return Ok(());
    }
    ensure_checkpoint(db, path, found)?;
    for step in steps {
        tracing::info!(to = step.to, what = step.what, "migrating the store");
        run(db, path, &step)?;
    }
    Ok(())
}

fn read_version(db: &DB, path: &Path) -> Result<Option<u32>, StoreError> {
    let bytes = db.get(disk::SCHEMA_KEY).map_err(|e| disk::read_error(path, &e))?;
    let parse = |bytes: Vec<u8>| {
        let bytes: Result<[u8; 4], _> = bytes.try_into();
        bytes
            .map(u32::from_be_bytes)
            .map_err(|_| disk::corrupt(path, "the schema version is not 4 bytes".into()))
    };
    bytes.map(parse).transpose()
}

/// The way back: `<store>.before-schema-<n>`, hard links. An existing one is from an earlier try and is kept: it
/// is the older, unmigrated state.
fn ensure_checkpoint(db: &DB, path: &Path, found: u32) -> Result<(), StoreError> {
    let mut target = path.as_os_str().to_owned();
    target.push(format!(".before-schema-{}", found + 1));
    let target = PathBuf::from(target);
    if target.exists() {
        return Ok(());
    }
    disk::checkpoint(db, &target)
}

fn run(db: &DB, path: &Path, migration: &Migration) -> Result<(), StoreError> {
    let resumed = db
        .get(disk::MIGRATION_KEY)
        .map_err(|e| disk::read_error(path, &e))?
        .and_then(|bytes| serde_json::from_slice::<Progress>(&bytes).ok())
        .filter(|progress| progress.to == migration.to);
    let mut keyspaces = migration.keyspaces.iter().peekable();
    let mut from = None;
    if let Some(progress) = resumed {
        while keyspaces.next_if(|keyspace| keyspace.name() != progress.keyspace).is_some() {}
        from = Some(progress.key);
    }
    for keyspace in keyspaces {
        rewrite_keyspace(db, path, (migration, *keyspace), from.take())?;
    }
    let mut batch = WriteBatch::default();
    batch.put(disk::SCHEMA_KEY, migration.to.to_be_bytes());
    batch.delete(disk::MIGRATION_KEY);
    write(db, path, batch)
}

fn rewrite_keyspace(
    db: &DB,
    path: &Path,
    (migration, keyspace): (&Migration, Keyspace),
    from: Option<Vec<u8>>,
) -> Result<(), StoreError> {
    let family = reader::family(db, keyspace)?;
    let start = from.map(|mut key| {
        key.push(0);
        key
    });
    let mode = start
        .as_deref()
        .map_or(IteratorMode::Start, |key| IteratorMode::From(key, rocksdb::Direction::Forward));
    let mut batch = WriteBatch::default();
    // The iterator is a snapshot: it does not meet what the batches write.
    for item in db.iterator_cf(family, mode) {
        let (key, stored) = item.map_err(|e| disk::read_error(path, &e))?;
        let rewrite = rewritten(path, (migration, keyspace), &key, &stored)?;
        match rewrite {
            Rewrite::Keep => continue,
            Rewrite::Delete => batch.delete_cf(family, &key),
            // The record keeps its revision: it is the same record in a newer writing.
            Rewrite::Put(value) => batch.put_cf(family, &key, [&stored[..8], &value].concat()),
        }
        if batch.size_in_bytes() >= BATCH_BYTES {
            let progress =
                Progress { to: migration.to, keyspace: keyspace.name().to_owned(), key: key.to_vec() };
            let json = serde_json::to_vec(&progress).expect("numbers, text and bytes are JSON");
            batch.put(disk::MIGRATION_KEY, json);
            write(db, path, std::mem::take(&mut batch))?;
        }
    }
    // What remains goes in without a mark and would be rewritten after a crash here; so it gets one.
    let progress = Progress { to: migration.to, keyspace: keyspace.name().to_owned(), key: vec![0xff; 1025] };
    batch.put(disk::MIGRATION_KEY, serde_json::to_vec(&progress).expect("numbers, text and bytes are JSON"));
    write(db, path, batch)
}

fn rewritten(
    path: &Path,
    (migration, keyspace): (&Migration, Keyspace),
    key: &[u8],
    stored: &[u8],
) -> Result<Rewrite, StoreError> {
    let failed = |detail| StoreError::UnsupportedSchema {
        path: path.to_owned(),
        source: UnsupportedSchema::Migration { to: migration.to, keyspace, key: show_key(key), detail },
    };
    let (_, value) = reader::split_stored(stored)
        .ok_or_else(|| disk::corrupt(path, format!("{keyspace}/{} is cut short", show_key(key))))?;
    (migration.rewrite)(keyspace, key, value).map_err(failed)
}

fn write(db: &DB, path: &Path, batch: WriteBatch) -> Result<(), StoreError> {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    db.write_opt(batch, &options).map_err(|e| match disk::is_space_error(e.as_ref()) {
        true => StoreError::StorageFull { path: path.to_owned() },
        false => StoreError::Io { action: "migrate", path: path.to_owned(), source: e.to_string().into() },
    })
}
