//! The folder: lock, marker, options, opening, and RocksDB's errors in our words.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, ErrorKind,
    LogLevel, Options,
};

use super::RocksOptions;
use crate::{Revision, Schema, StoreError};

const LOCK_FILE: &str = "xenith-store.lock";
const MARKER_FILE: &str = "xenith-store";
const MARKER: &str = "Xenith state store, RocksDB, layout 1\n";
/// Written and synced to learn whether there is space again: more than one log write and a small table need.
const PROBE_BYTES: usize = 8 << 20;

pub(super) const REVISION_KEY: &[u8] = b"revision";
pub(super) const SCHEMA_KEY: &[u8] = b"schema";
pub(super) const MIGRATION_KEY: &[u8] = b"migration";

const RECOVERY: &str = "keep a copy of that folder, put the newest folder of checkpoints/ beside it in its place (by \
                        that name) and start again; VMs keep running meanwhile, and what hosts have that the \
                        checkpoint does not know is listed by `xenith orphan list`";

/// An advisory lock on the folder. The kernel releases it when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct FolderLock {
    _file: File,
}

pub(super) fn io_error(action: &'static str, path: &Path, source: std::io::Error) -> StoreError {
    StoreError::Io { action, path: path.to_owned(), source: Box::new(source) }
}

impl FolderLock {
    pub fn take(folder: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(folder).map_err(|e| io_error("create", folder, e))?;
        let path = folder.join(LOCK_FILE);
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| io_error("open", &path, e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Only for the message; a lock that is just being taken has no number yet.
                let read = (&file).take(20).read_to_string(&mut holder);
                let holder = match (read, holder.trim()) {
                    (Err(_), _) | (_, "") => "unknown".to_owned(),
                    (Ok(_), number) => number.to_owned(),
                };
                return Err(StoreError::Locked { path: folder.to_owned(), holder });
            }
            Err(TryLockError::Error(e)) => return Err(io_error("lock", &path, e)),
        }
        // The number is a courtesy: on a full disk it cannot be written, and the store opens all the same.
        let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| {
            let number = std::process::id();
            writeln!(file, "{number}")
        });
        if let Err(error) = written {
            tracing::debug!(path = %path.display(), %error, "the lock holds no process number");
        }
        Ok(Self { _file: file })
    }
}

/// Opens or creates the database. The caller holds the lock.
pub(super) fn open(path: &Path, schema: &Schema, options: &RocksOptions) -> Result<DB, StoreError> {
    let exists = is_our_folder(path)?;
    let mut database = database_options(options);
    // A store whose CURRENT file is gone must be an error, not a new, empty store.
    database.create_if_missing(!exists);
    let mut families: BTreeSet<String> = BTreeSet::from(["default".to_owned()]);
    if exists {
        // Retired keyspaces must be opened too; RocksDB insists.
        families.extend(DB::list_cf(&database, path).map_err(|e| open_error(path, &e))?);
    }
    families.extend(schema.keyspaces.iter().map(|keyspace| keyspace.name().to_owned()));
    let family_options = family_options(options);
    let descriptors =
        families.into_iter().map(|name| ColumnFamilyDescriptor::new(name, family_options.clone()));
    let db = DB::open_cf_descriptors(&database, path, descriptors).map_err(|e| open_error(path, &e))?;
    if !exists {
        write_marker(path)?;
    }
    Ok(db)
}

/// For reading on a disk without space: creates no files. The caller holds the lock.
pub(super) fn open_read_only(path: &Path, schema: &Schema, options: &RocksOptions) -> Result<DB, StoreError> {
    let database = database_options(options);
    let mut families: BTreeSet<String> =
        DB::list_cf(&database, path).map_err(|e| open_error(path, &e))?.into_iter().collect();
    families.extend(schema.keyspaces.iter().map(|keyspace| keyspace.name().to_owned()));
    let family_options = family_options(options);
    let descriptors =
        families.into_iter().map(|name| ColumnFamilyDescriptor::new(name, family_options.clone()));
    DB::open_cf_descriptors_read_only(&database, path, descriptors, false).map_err(|e| open_error(path, &e))
}

fn database_options(store: &RocksOptions) -> Options {
    let mut options = Options::default();
    options.set_db_write_buffer_size(store.write_buffers_bytes);
    options.create_missing_column_families(true);
    options.set_paranoid_checks(true);
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    // Bounds the time of a restart: at most so much log is replayed.
    options.set_max_total_wal_size(128 << 20);
    // RocksDB's own journal stays empty: on a full disk the second line that it cannot write there ends the program,
    // by an assertion. A limit on its size would bring a writer that ignores the level.
    options.set_log_level(LogLevel::Fatal);
    options.set_max_log_file_size(0);
    options.set_keep_log_file_num(1);
    options.set_stats_dump_period_sec(0);
    options
}

fn family_options(store: &RocksOptions) -> Options {
    let mut table = BlockBasedOptions::default();
    if let Ok(cache) = Cache::new_lru_cache(store.block_cache_bytes) {
        table.set_block_cache(&cache);
    }
    table.set_bloom_filter(10.0, false);
    table.set_format_version(5);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(store.write_buffer_bytes);
    // RocksDB counts these tables and not their bytes. Smaller ones must not bring the next level to be written more often,
    // nor hold up writes sooner: these are its own numbers for buffers of 32 MiB.
    let times = |number: usize| {
        let tables = number * (32 << 20) / store.write_buffer_bytes.max(1);
        i32::try_from(tables).unwrap_or(i32::MAX).max(2)
    };
    options.set_level_zero_file_num_compaction_trigger(times(4));
    options.set_level_zero_slowdown_writes_trigger(times(20));
    options.set_level_zero_stop_writes_trigger(times(36));
    // A compaction writes its result before it drops what that replaces: this bounds the room for it.
    options.set_target_file_size_base(16 << 20);
    options.set_max_compaction_bytes(128 << 20);
    options
}

/// True: a store of ours. False: empty, may become one.
fn is_our_folder(path: &Path) -> Result<bool, StoreError> {
    let marker = path.join(MARKER_FILE);
    match fs::read_to_string(&marker) {
        Ok(text) if text == MARKER => return Ok(true),
        Ok(_) => {
            let detail = format!("{MARKER_FILE} has another content, perhaps a newer version wrote it");
            return Err(StoreError::NotAStore { path: path.to_owned(), detail });
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(io_error("read", &marker, e)),
    }
    let entries = fs::read_dir(path).map_err(|e| io_error("list", path, e))?;
    for entry in entries {
        let name = entry.map_err(|e| io_error("list", path, e))?.file_name();
        // The very first open may have been cut before the marker: then there is RocksDB's CURRENT, and nothing
        // was acknowledged yet. Anything else is somebody else's folder.
        if name == "CURRENT" {
            return Ok(false);
        }
    }
    let foreign = |name: &std::ffi::OsStr| name != LOCK_FILE && name != "lost+found" && !is_rocks_name(name);
    let mut entries = fs::read_dir(path).map_err(|e| io_error("list", path, e))?.flatten();
    match entries.find(|entry| foreign(&entry.file_name())) {
        Some(entry) => {
            let detail = format!("it holds {}", entry.file_name().to_string_lossy());
            Err(StoreError::NotAStore { path: path.to_owned(), detail })
        }
        None => Ok(false),
    }
}

/// Files that a first open may have left before it was cut.
fn is_rocks_name(name: &std::ffi::OsStr) -> bool {
    let name = name.to_string_lossy();
    ["LOCK", "LOG", "IDENTITY", "MANIFEST-", "OPTIONS-"].iter().any(|prefix| name.starts_with(prefix))
        || name.ends_with(".dbtmp")
        || name.ends_with(".log")
}

fn write_marker(path: &Path) -> Result<(), StoreError> {
    let marker = path.join(MARKER_FILE);
    let write = || {
        let mut file = File::create(&marker)?;
        file.write_all(MARKER.as_bytes())?;
        file.sync_all()?;
        File::open(path)?.sync_all()
    };
    write().map_err(|e| io_error("write", &marker, e))
}

/// A consistent copy with the marker, so that it opens as a store.
pub(super) fn checkpoint(db: &DB, target: &Path) -> Result<(), StoreError> {
    let error = |e: &rocksdb::Error| StoreError::Io {
        action: "make a checkpoint in",
        path: target.to_owned(),
        source: e.to_string().into(),
    };
    let checkpoint = Checkpoint::new(db).map_err(|e| error(&e))?;
    checkpoint.create_checkpoint(target).map_err(|e| error(&e))?;
    write_marker(target)
}

/// The newest revision in the database; zero in a new one.
pub(super) fn read_revision(db: &DB, path: &Path) -> Result<Revision, StoreError> {
    let bytes = db.get(REVISION_KEY).map_err(|e| read_error(path, &e))?;
    match bytes {
        None => Ok(Revision::ZERO),
        Some(bytes) => parse_revision(&bytes)
            .ok_or_else(|| corrupt(path, "the newest revision is not 8 bytes".to_owned())),
    }
}

pub(super) fn parse_revision(bytes: &[u8]) -> Option<Revision> {
    bytes.try_into().ok().map(u64::from_be_bytes).map(Revision)
}

pub(super) fn corrupt(path: &Path, detail: String) -> StoreError {
    StoreError::Corrupt { path: path.to_owned(), detail, recovery: RECOVERY }
}

/// Whether the system refused for lack of space: ENOSPC, EDQUOT, EFBIG. RocksDB gives only text, made of
/// `strerror`, in the C locale as we never call `setlocale`.
pub(super) fn is_space_error(text: &str) -> bool {
    ["No space left on device", "Disk quota exceeded", "File too large"].iter().any(|e| text.contains(e))
}

fn open_error(path: &Path, error: &rocksdb::Error) -> StoreError {
    if is_space_error(error.as_ref()) {
        return StoreError::StorageFull { path: path.to_owned() };
    }
    let text: &str = error.as_ref();
    let damaged =
        matches!(error.kind(), ErrorKind::Corruption | ErrorKind::NotFound | ErrorKind::InvalidArgument)
            || text.contains("No such file or directory")
            || text.contains("does not exist");
    if damaged {
        return corrupt(path, text.to_owned());
    }
    StoreError::Io { action: "open the store at", path: path.to_owned(), source: text.into() }
}

pub(super) fn read_error(path: &Path, error: &rocksdb::Error) -> StoreError {
    match error.kind() {
        ErrorKind::Corruption => corrupt(path, error.to_string()),
        _ => StoreError::Io { action: "read", path: path.to_owned(), source: error.to_string().into() },
    }
}

/// Whether as much is free on the disk of this folder. What only root may use does not count.
pub(super) fn check_room(path: &Path, wanted: u64) -> Result<(), StoreError> {
    let disk =
        nix::sys::statvfs::statvfs(path).map_err(|e| io_error("look at the disk of", path, e.into()))?;
    let free = disk.blocks_available() * disk.fragment_size();
    if free < wanted { Err(StoreError::StorageFull { path: path.to_owned() }) } else { Ok(()) }
}

/// Writes, syncs and removes a file beside the database.
pub(super) fn probe_space(path: &Path) -> std::io::Result<()> {
    let probe: PathBuf = path.join("xenith-store.probe");
    let write = || {
        let mut file = File::create(&probe)?;
        let chunk = vec![0x5a_u8; 1 << 20];
        for _ in 0..PROBE_BYTES / chunk.len() {
            file.write_all(&chunk)?;
        }
        file.sync_all()
    };
    let outcome = write();
    // Left behind, it is overwritten by the next probe.
    let _ = fs::remove_file(&probe);
    outcome
}
