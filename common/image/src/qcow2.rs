//! qcow2, version 3: a writer for new images.
//!
//! The writer appends clusters and never frees one, so every cluster of the file has a reference count of
//! one; the counts are therefore written once, at the end, and a crash before leaves an image that nobody
//! takes for whole (it has another name, and its header says "dirty"). L2 tables are kept in memory until
//! they are written out, 8 bytes per 64 KiB; the number kept is bounded.
//!
//! Source of the format: docs/interop/qcow2.txt of QEMU.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use xenith_common_block::{BlockError, BlockSink, ByteRange};

use crate::{Target, io_error};

const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
const L2_ENTRIES: u64 = CLUSTER / 8;
const COPIED: u64 = 1 << 63;
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
/// 16 MiB of tables, one for each 512 MiB of disk: a stream in any order of 128 GiB without a write twice.
const MAX_CACHED: usize = 256;

struct Table {
    offset: u64,
    entries: Vec<u64>,
    dirty: bool,
    used: u64,
}

struct Map {
    /// Offsets of L2 tables, 0 for none.
    l1: Vec<u64>,
    cached: HashMap<usize, Table>,
    next: u64,
    clock: u64,
}

/// Writes a new image.
pub struct Qcow2Sink {
    file: File,
    name: String,
    size: u64,
    map: Mutex<Map>,
}

impl Qcow2Sink {
    pub fn create(path: &Path, size: u64) -> Result<Self, BlockError> {
        let name = path.display().to_string();
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
        let file = file.map_err(|source| io_error("create", &name, source))?;
        let l1_len = size.div_ceil(CLUSTER * L2_ENTRIES) as usize;
        let l1_clusters = (l1_len as u64 * 8).div_ceil(CLUSTER);
        let next = (1 + l1_clusters) * CLUSTER;
        let map = Map { l1: vec![0; l1_len], cached: HashMap::new(), next, clock: 0 };
        let sink = Self { file, name, size, map: Mutex::new(map) };
        sink.write(0, &sink.header(l1_len, (0, 0), Counts::Missing))?;
        Ok(sink)
    }

    /// Continues an image whose first `next` bytes are accounted for; entries that point behind were made
    /// after the checkpoint and are dropped.
    pub fn reopen(path: &Path, size: u64, next: u64) -> Result<Self, BlockError> {
        let name = path.display().to_string();
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.map_err(|source| io_error("open", &name, source))?;
        let l1_len = size.div_ceil(CLUSTER * L2_ENTRIES) as usize;
        let map = Map { l1: vec![0; l1_len], cached: HashMap::new(), next, clock: 0 };
        let sink = Self { file, name, size, map: Mutex::new(map) };
        let l1 = sink.read_words(CLUSTER, l1_len)?;
        {
            let mut map = sink.lock();
            for (index, entry) in l1.into_iter().enumerate() {
                let offset = entry & OFFSET_MASK;
                if offset == 0 || offset >= next {
                    continue;
                }
                map.l1[index] = offset;
                let mut entries = sink.read_words(offset, L2_ENTRIES as usize)?;
                let late = |entry: u64| entry & OFFSET_MASK >= next;
                if entries.iter().any(|&entry| late(entry)) {
                    entries.iter_mut().filter(|entry| late(**entry)).for_each(|entry| *entry = 0);
                    sink.write(offset, &words(&entries))?;
                }
            }
            sink.file.set_len(next).map_err(|source| io_error("shorten", &sink.name, source))?;
        }
        Ok(sink)
    }

    fn header(&self, l1_len: usize, refcounts: (u64, u64), counts: Counts) -> Vec<u8> {
        let (table_at, table_clusters) = refcounts;
        let mut head = Vec::with_capacity(512);
        head.extend_from_slice(b"QFI\xfb");
        head.extend_from_slice(&3u32.to_be_bytes());
        head.extend_from_slice(&[0; 12]); // no backing file
        head.extend_from_slice(&CLUSTER_BITS.to_be_bytes());
        head.extend_from_slice(&self.size.to_be_bytes());
        head.extend_from_slice(&0u32.to_be_bytes()); // no encryption
        head.extend_from_slice(&(l1_len as u32).to_be_bytes());
        head.extend_from_slice(&CLUSTER.to_be_bytes()); // the L1 table follows the header
        head.extend_from_slice(&table_at.to_be_bytes());
        head.extend_from_slice(&(table_clusters as u32).to_be_bytes());
        head.extend_from_slice(&[0; 12]); // no snapshots
        head.extend_from_slice(&u64::from(counts == Counts::Missing).to_be_bytes());
        head.extend_from_slice(&[0; 16]); // no compatible or autoclear features
        head.extend_from_slice(&4u32.to_be_bytes()); // counts of 16 bits
        head.extend_from_slice(&104u32.to_be_bytes());
        head.resize(CLUSTER as usize, 0);
        head
    }

    fn lock(&self) -> MutexGuard<'_, Map> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        let target = || self.name.clone();
        self.file.write_all_at(data, offset).map_err(|source| BlockError::Io {
            action: "write",
            target: target(),
            offset,
            source,
        })
    }

    fn read_words(&self, offset: u64, count: usize) -> Result<Vec<u64>, BlockError> {
        let mut bytes = vec![0; count * 8];
        let mut filled = 0;
        while filled < bytes.len() {
            let at = offset + filled as u64;
            let read = self.file.read_at(&mut bytes[filled..], at).map_err(|source| BlockError::Io {
                action: "read",
                target: self.name.clone(),
                offset: at,
                source,
            })?;
            // A table that was allocated and never written out ends with the file: zeros.
            if read == 0 {
                break;
            }
            filled += read;
        }
        Ok(bytes
            .chunks_exact(8)
            .map(|word| u64::from_be_bytes(word.try_into().expect("chunks of eight")))
            .collect())
    }

    /// Where the cluster of `offset` is in the file, allocated if it was not.
    fn place(&self, offset: u64) -> Result<u64, BlockError> {
        let mut map = self.lock();
        let (table, entry) =
            ((offset / CLUSTER / L2_ENTRIES) as usize, (offset / CLUSTER % L2_ENTRIES) as usize);
        map.clock += 1;
        let clock = map.clock;
        if !map.cached.contains_key(&table) {
            self.make_room(&mut map)?;
            let loaded = if map.l1[table] == 0 {
                let fresh = map.next;
                map.next += CLUSTER;
                map.l1[table] = fresh;
                Table { offset: fresh, entries: vec![0; L2_ENTRIES as usize], dirty: true, used: clock }
            } else {
                let entries = self.read_words(map.l1[table], L2_ENTRIES as usize)?;
                Table { offset: map.l1[table], entries, dirty: false, used: clock }
            };
            map.cached.insert(table, loaded);
        }
        let next = map.next;
        let cached = map.cached.get_mut(&table).expect("it was inserted above");
        cached.used = clock;
        if cached.entries[entry] == 0 {
            cached.entries[entry] = next | COPIED;
            cached.dirty = true;
            map.next += CLUSTER;
            return Ok(next);
        }
        Ok(cached.entries[entry] & OFFSET_MASK)
    }

    fn make_room(&self, map: &mut Map) -> Result<(), BlockError> {
        if map.cached.len() < MAX_CACHED {
            return Ok(());
        }
        let oldest = map.cached.iter().min_by_key(|(_, table)| table.used).map(|(index, _)| *index);
        if let Some(table) = oldest.and_then(|index| map.cached.remove(&index))
            && table.dirty
        {
            self.write(table.offset, &words(&table.entries))?;
        }
        Ok(())
    }

    fn write_tables(&self, map: &mut Map) -> Result<(), BlockError> {
        for table in map.cached.values_mut().filter(|table| table.dirty) {
            self.write(table.offset, &words(&table.entries))?;
            table.dirty = false;
        }
        let l1: Vec<u64> = map.l1.iter().map(|&o| if o == 0 { 0 } else { o | COPIED }).collect();
        self.write(CLUSTER, &words(&l1))
    }

    /// Counts of one for every cluster up to the end, the counts' own clusters included.
    fn write_counts(&self, end: u64) -> Result<(u64, u64, u64), BlockError> {
        let per_block = CLUSTER / 2;
        let used = end / CLUSTER;
        let (mut blocks, mut table) = (0, 0);
        loop {
            let all = used + blocks + table;
            let (b, t) = (all.div_ceil(per_block), (all.div_ceil(per_block) * 8).div_ceil(CLUSTER));
            if (b, t) == (blocks, table) {
                break;
            }
            (blocks, table) = (b, t);
        }
        let all = used + blocks + table;
        let ones: Vec<u8> = 1u16.to_be_bytes().repeat(per_block as usize);
        let table_at = end + blocks * CLUSTER;
        let mut entries = Vec::with_capacity(blocks as usize);
        for block in 0..blocks {
            let at = end + block * CLUSTER;
            let count = (all - block * per_block).min(per_block) as usize;
            let mut bytes = ones[..count * 2].to_vec();
            bytes.resize(CLUSTER as usize, 0);
            self.write(at, &bytes)?;
            entries.push(at);
        }
        let mut bytes = words(&entries);
        bytes.resize((table * CLUSTER) as usize, 0);
        self.write(table_at, &bytes)?;
        Ok((table_at, table, all * CLUSTER))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Counts {
    Missing,
    Written,
}

fn words(entries: &[u64]) -> Vec<u8> {
    entries.iter().flat_map(|entry| entry.to_be_bytes()).collect()
}

impl BlockSink for Qcow2Sink {
    fn size(&self) -> u64 {
        self.size
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        BlockError::check_bounds(offset, data.len() as u64, self.size)?;
        let mut rest = data;
        let mut at = offset;
        while !rest.is_empty() {
            let place = self.place(at)? + at % CLUSTER;
            let mut len = (CLUSTER - at % CLUSTER).min(rest.len() as u64);
            // Clusters that came to lie one behind the other go out in one write.
            while len < rest.len() as u64 && self.place(at + len)? == place + len {
                len += CLUSTER.min(rest.len() as u64 - len);
            }
            self.write(place, &rest[..len as usize])?;
            rest = &rest[len as usize..];
            at += len;
        }
        Ok(())
    }

    fn zero(&self, range: ByteRange) -> Result<(), BlockError> {
        BlockError::check_bounds(range.start, range.len(), self.size)?;
        let zeros = vec![0; CLUSTER as usize];
        let mut at = range.start;
        while at < range.end {
            let len = (CLUSTER - at % CLUSTER).min(range.end - at);
            let allocated = {
                let map = self.lock();
                let table = (at / CLUSTER / L2_ENTRIES) as usize;
                map.l1[table] != 0
            };
            if allocated {
                self.write_at(at, &zeros[..len as usize])?;
            }
            at += len;
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), BlockError> {
        self.file.sync_data().map_err(|source| BlockError::Io {
            action: "flush",
            target: self.name.clone(),
            offset: 0,
            source,
        })
    }
}

impl Target for Qcow2Sink {
    fn checkpoint(&self) -> Result<u64, BlockError> {
        let mut map = self.lock();
        self.write_tables(&mut map)?;
        Ok(map.next)
    }

    fn finish(&self) -> Result<(), BlockError> {
        let mut map = self.lock();
        self.write_tables(&mut map)?;
        let (table_at, table_clusters, end) = self.write_counts(map.next)?;
        self.file.set_len(end).map_err(|source| BlockError::Io {
            action: "set the size of",
            target: self.name.clone(),
            offset: end,
            source,
        })?;
        let l1_len = map.l1.len();
        self.write(0, &self.header(l1_len, (table_at, table_clusters), Counts::Written))
    }
}
