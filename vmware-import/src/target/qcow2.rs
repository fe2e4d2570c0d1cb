//! qcow2, version 3: a writer for new images and a reader for what that writer (or qemu) makes.
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

use super::Target;
use crate::bytes::check;
use crate::error::{ImportError, Result};
use crate::vmdk::descriptor::MAX_DISK;
use crate::vmdk::runs::{Place, Runs};
use crate::vmdk::tables::Tables;

const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
const L2_ENTRIES: u64 = CLUSTER / 8;
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
/// 16 MiB of tables, one for each 512 MiB of disk: a stream in any order of 128 GiB without a write twice.
const MAX_CACHED: usize = 256;

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from(be32(bytes, at)) << 32 | u64::from(be32(bytes, at + 4))
}

/// Reads an image without backing file, encryption or compressed clusters.
pub struct Qcow2Extent {
    pub tables: Tables,
    size: u64,
    cluster: u64,
    l1: u64,
    index: u32,
}

impl Qcow2Extent {
    pub fn open(tables: Tables, index: u32) -> Result<Self> {
        let bytes = &*tables.bytes;
        let mut head = [0; 104];
        bytes.read_at("qcow2 header", 0, &mut head[..72])?;
        let name = bytes.name();
        let version = be32(&head, 4);
        let damaged = |at, field, detail: String| Err(ImportError::damaged(name, at, field, detail));
        if !(2..=3).contains(&version) {
            return damaged(4, "version", format!("is {version}; 2 and 3 are known"));
        }
        if version == 3 {
            bytes.read_at("qcow2 header", 0, &mut head)?;
        }
        for (feature, present) in [
            ("a backing file", be64(&head, 8) != 0),
            ("encryption", be32(&head, 32) != 0),
            // Bit 0 (dirty counts) and 1 (corrupt) say nothing about or against reading; every other does.
            ("a feature this reader does not know", be64(&head, 72) & !1 != 0),
        ] {
            if present {
                let way_out = "flatten it with qemu-img convert first";
                return Err(ImportError::unsupported(name, feature, way_out));
            }
        }
        let bits = be32(&head, 20);
        if !(9..=21).contains(&bits) {
            return damaged(20, "cluster bits", format!("are {bits}; 9 to 21 are allowed"));
        }
        let (size, cluster, l1) = (be64(&head, 24), 1u64 << bits, be64(&head, 40));
        if size == 0 || size > MAX_DISK || size % 512 != 0 {
            return damaged(24, "size", format!("of {size} bytes is no disk"));
        }
        let needed = size.div_ceil(cluster * (cluster / 8));
        if u64::from(be32(&head, 36)) < needed {
            return damaged(36, "L1 size", format!("is {}, the disk needs {needed}", be32(&head, 36)));
        }
        check(bytes, "L1 table", l1, needed * 8)?;
        Ok(Self { tables, size, cluster, l1, index })
    }

    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    #[must_use]
    pub fn cluster(&self) -> u64 {
        self.cluster
    }

    pub fn runs(&self, range: ByteRange, shift: u64, out: &mut Runs) -> Result<u64> {
        let per_table = self.cluster * (self.cluster / 8);
        let mut at = range.start;
        let mut entries = Vec::new();
        while at < range.end && !out.is_full() {
            let table = at / per_table;
            let end = range.end.min((table + 1) * per_table);
            let mut entry = [0; 8];
            self.tables.read("L1 table", self.l1 + table * 8, &mut entry)?;
            let offset = u64::from_be_bytes(entry) & OFFSET_MASK;
            let whole = ByteRange::new(at + shift, end + shift);
            if offset == 0 || offset + self.cluster > self.tables.bytes.len() {
                let (entry_at, needed) = (self.l1 + table * 8, offset + self.cluster);
                let lost = Place::Lost { extent: self.index, at: entry_at, needed };
                out.push(whole, if offset == 0 { Place::Hole } else { lost });
                at = end;
                continue;
            }
            let first = at % per_table / self.cluster;
            let last = (end - table * per_table).div_ceil(self.cluster);
            entries.resize(((last - first) * 8) as usize, 0);
            self.tables.read("L2 table", offset + first * 8, &mut entries)?;
            for (entry, entry_at) in entries.chunks_exact(8).zip((offset + first * 8..).step_by(8)) {
                let stop = end.min(at - at % self.cluster + self.cluster);
                let place = self.place(be64(entry, 0), entry_at, ByteRange::new(at, stop))?;
                out.push(ByteRange::new(at + shift, stop + shift), place);
                at = stop;
                if out.is_full() {
                    break;
                }
            }
        }
        Ok(at)
    }

    fn place(&self, entry: u64, entry_at: u64, range: ByteRange) -> Result<Place> {
        let name = self.tables.bytes.name();
        if entry & COMPRESSED != 0 {
            let way_out = "decompress it with qemu-img convert first";
            return Err(ImportError::unsupported(name, "a compressed qcow2 cluster", way_out));
        }
        if entry & 1 != 0 {
            return Ok(Place::Zero);
        }
        let offset = entry & OFFSET_MASK;
        if offset == 0 {
            return Ok(Place::Hole);
        }
        let at = offset + range.start % self.cluster;
        if at + range.len() <= self.tables.bytes.len() {
            return Ok(Place::Raw { extent: self.index, at });
        }
        Ok(Place::Lost { extent: self.index, at: entry_at, needed: at + range.len() })
    }
}

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
    pub fn create(path: &Path, size: u64) -> Result<Self> {
        let name = path.display().to_string();
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
        let file = file.map_err(|source| ImportError::io("create", &name, source))?;
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
    pub fn reopen(path: &Path, size: u64, next: u64) -> Result<Self> {
        let name = path.display().to_string();
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.map_err(|source| ImportError::io("open", &name, source))?;
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
            sink.file.set_len(next).map_err(|source| ImportError::io("shorten", &sink.name, source))?;
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
        Ok(bytes.chunks_exact(8).map(|word| be64(word, 0)).collect())
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
