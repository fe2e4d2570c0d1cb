//! Sorted entries with bounded memory: in a vector while they are few, in an unlinked temporary file once they
//! are not.
//!
//! The file is a row of pages of 4 KiB: 85 entries and a keyed checksum, so that a bad disk under `/var/tmp`
//! shows as an error and not as a wrong answer. Ids are hashes, so an entry's page is found by proportion and a
//! short search around: two or three `pread`s from the page cache. Rejected: mapping the file, which counts as
//! the process's memory and needs `unsafe`; a persistent cache, which is faster to start but one more thing
//! that can be stale.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::{ENTRY_LEN, IndexEntry};
use crate::crypto::Secret32;
use crate::error::{BackupError, Result};
use crate::id::ChunkId;

const PAGE: usize = 4096;
/// Entries per page; 16 bytes are left for the checksum.
const PER_PAGE: usize = (PAGE - CHECK_LEN) / ENTRY_LEN;
const CHECK_LEN: usize = 16;
/// Entries that may stay in memory: 13 MiB.
pub const IN_MEMORY: usize = 256 * 1024;

/// Sorted by id, then pack.
#[derive(Debug)]
pub enum Table {
    Memory(Vec<IndexEntry>),
    File(SortedFile),
}

impl Default for Table {
    fn default() -> Self {
        Self::Memory(Vec::new())
    }
}

/// Pages in a file nobody else can open.
#[derive(Debug)]
pub struct SortedFile {
    file: File,
    entries: usize,
    check: Secret32,
}

fn io_error(source: std::io::Error) -> BackupError {
    BackupError::Scratch { source }
}

/// Where temporary files go: `TMPDIR`, or `/var/tmp`, which is on a disk even where `/tmp` is memory.
fn scratch_dir() -> PathBuf {
    std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from)
}

fn scratch_file() -> Result<File> {
    let path = scratch_dir().join(format!("xenith-backup-{}", crate::crypto::random_hex()));
    let file = File::options().read(true).write(true).create_new(true).open(&path).map_err(io_error)?;
    std::fs::remove_file(&path).map_err(io_error)?;
    Ok(file)
}

fn checksum(key: &Secret32, page: usize, body: &[u8]) -> [u8; CHECK_LEN] {
    let mut hasher = blake3::Hasher::new_keyed(key.expose());
    hasher.update(&(page as u64).to_le_bytes()).update(body);
    *hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes")
}

/// Writes sorted entries.
struct PageWriter {
    out: BufWriter<File>,
    page: Vec<u8>,
    pages: usize,
    entries: usize,
    check: Secret32,
}

impl PageWriter {
    fn new() -> Result<Self> {
        Ok(Self {
            out: BufWriter::with_capacity(1 << 20, scratch_file()?),
            page: Vec::with_capacity(PAGE),
            pages: 0,
            entries: 0,
            check: Secret32::random(),
        })
    }

    fn push(&mut self, entry: &IndexEntry) -> Result<()> {
        self.page.extend_from_slice(&entry.encode());
        self.entries += 1;
        if self.page.len() == PER_PAGE * ENTRY_LEN { self.close_page() } else { Ok(()) }
    }

    fn close_page(&mut self) -> Result<()> {
        self.page.resize(PER_PAGE * ENTRY_LEN, 0);
        let check = checksum(&self.check, self.pages, &self.page);
        self.page.extend_from_slice(&check);
        self.out.write_all(&self.page).map_err(io_error)?;
        self.page.clear();
        self.pages += 1;
        Ok(())
    }

    fn finish(mut self) -> Result<SortedFile> {
        if !self.page.is_empty() {
            self.close_page()?;
        }
        let file = self.out.into_inner().map_err(|error| io_error(error.into_error()))?;
        Ok(SortedFile { file, entries: self.entries, check: self.check })
    }
}

impl SortedFile {
    fn pages(&self) -> usize {
        self.entries.div_ceil(PER_PAGE)
    }

    fn read(&self, page: usize) -> Result<[u8; PAGE]> {
        let mut bytes = [0; PAGE];
        self.file.read_exact_at(&mut bytes, (page * PAGE) as u64).map_err(io_error)?;
        let (body, check) = bytes.split_at(PAGE - CHECK_LEN);
        if checksum(&self.check, page, body) != *check {
            let source = std::io::Error::other("it does not hold what was written to it");
            return Err(io_error(source));
        }
        Ok(bytes)
    }

    fn entry(page: &[u8; PAGE], slot: usize) -> Result<IndexEntry> {
        let row = page[slot * ENTRY_LEN..].first_chunk().and_then(IndexEntry::parse);
        row.ok_or_else(|| io_error(std::io::Error::other("it holds no entry where one was written")))
    }

    fn id(page: &[u8; PAGE], slot: usize) -> &[u8] {
        &page[slot * ENTRY_LEN..slot * ENTRY_LEN + 32]
    }

    /// The first row whose id is not below `id`, with the page it was found in.
    fn lower_bound(&self, id: &ChunkId) -> Result<(usize, Option<(usize, [u8; PAGE])>)> {
        let pages = self.pages();
        if pages == 0 {
            return Ok((0, None));
        }
        // The last page whose first id is below `id`; the row is in it or starts the next one.
        let prefix = u64::from_be_bytes(*id.0.first_chunk().expect("ids have 32 bytes"));
        let guess = ((u128::from(prefix) * pages as u128) >> 64) as usize;
        let (mut low, mut high) = (0, pages);
        let (mut at, mut step) = (guess.min(pages - 1), 1);
        let mut found = None;
        while low < high {
            let page = self.read(at)?;
            if Self::id(&page, 0) < id.0.as_slice() {
                low = at + 1;
                let slots = (self.entries - at * PER_PAGE).min(PER_PAGE);
                let inside = Self::id(&page, slots - 1) >= id.0.as_slice();
                found = Some((at, page));
                if inside {
                    break;
                }
                at = (at + step).min(high.saturating_sub(1)).max(low);
            } else {
                high = at;
                at = at.saturating_sub(step).max(low);
            }
            step *= 2;
            if step > 16 && low < high {
                at = low + (high - low) / 2;
            }
        }
        let Some((number, page)) = found else { return Ok((0, None)) };
        let slots = (self.entries - number * PER_PAGE).min(PER_PAGE);
        let slot =
            (0..slots).collect::<Vec<_>>().partition_point(|&slot| Self::id(&page, slot) < id.0.as_slice());
        Ok((number * PER_PAGE + slot, Some((number, page))))
    }
}

/// Reads a table from its start.
struct Cursor<'a> {
    table: &'a Table,
    row: usize,
    page: Option<(usize, [u8; PAGE])>,
}

impl Cursor<'_> {
    fn next(&mut self) -> Result<Option<IndexEntry>> {
        if self.row >= self.table.len() {
            return Ok(None);
        }
        let entry = match self.table {
            Table::Memory(entries) => entries[self.row],
            Table::File(file) => {
                let number = self.row / PER_PAGE;
                if self.page.as_ref().is_none_or(|(known, _)| *known != number) {
                    self.page = Some((number, file.read(number)?));
                }
                let (_, page) = self.page.as_ref().expect("set above");
                SortedFile::entry(page, self.row % PER_PAGE)?
            }
        };
        self.row += 1;
        Ok(Some(entry))
    }
}

impl Table {
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Memory(entries) => entries.len(),
            Self::File(file) => file.entries,
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn cursor(&self, row: usize, page: Option<(usize, [u8; PAGE])>) -> Cursor<'_> {
        Cursor { table: self, row, page }
    }

    /// The rows about `id`, and the number of the first.
    pub fn find(&self, id: &ChunkId) -> Result<(usize, Vec<IndexEntry>)> {
        let (start, page) = match self {
            Self::Memory(entries) => (entries.partition_point(|entry| entry.id < *id), None),
            Self::File(file) => file.lower_bound(id)?,
        };
        let mut cursor = self.cursor(start, page);
        let mut rows = Vec::new();
        while let Some(entry) = cursor.next()?.filter(|entry| entry.id == *id) {
            rows.push(entry);
        }
        Ok((start, rows))
    }

    /// Gives all entries in order, those about one chunk together, with the row of the first.
    pub fn groups(&self, mut take: impl FnMut(Range<usize>, &[IndexEntry])) -> Result<()> {
        let mut cursor = self.cursor(0, None);
        let mut group: Vec<IndexEntry> = Vec::new();
        let mut start = 0;
        while let Some(entry) = cursor.next()? {
            if group.first().is_some_and(|first| first.id != entry.id) {
                take(start..start + group.len(), &group);
                start += group.len();
                group.clear();
            }
            group.push(entry);
        }
        if !group.is_empty() {
            take(start..start + group.len(), &group);
        }
        Ok(())
    }

    /// One table of all that `tables` hold, duplicates once; reads each from start to end.
    pub fn merge(tables: &[Self]) -> Result<Self> {
        use std::cmp::Reverse;
        let total: usize = tables.iter().map(Self::len).sum();
        let mut cursors: Vec<Cursor<'_>> = tables.iter().map(|table| table.cursor(0, None)).collect();
        let mut heap = std::collections::BinaryHeap::new();
        let key = |entry: &IndexEntry| (entry.id, entry.pack, entry.offset);
        let mut heads: Vec<Option<IndexEntry>> = Vec::with_capacity(cursors.len());
        for (number, cursor) in cursors.iter_mut().enumerate() {
            let head = cursor.next()?;
            heap.extend(head.as_ref().map(|entry| Reverse((key(entry), number))));
            heads.push(head);
        }
        let mut sink =
            if total > IN_MEMORY { Sink::File(PageWriter::new()?) } else { Sink::Memory(Vec::new()) };
        let mut last = None;
        while let Some(Reverse((at, number))) = heap.pop() {
            let next = cursors[number].next()?;
            heap.extend(next.as_ref().map(|entry| Reverse((key(entry), number))));
            let entry =
                std::mem::replace(&mut heads[number], next).expect("the heap names cursors with a head");
            if last != Some(at) {
                sink.push(entry)?;
            }
            last = Some(at);
        }
        sink.finish()
    }
}

enum Sink {
    Memory(Vec<IndexEntry>),
    File(PageWriter),
}

impl Sink {
    fn push(&mut self, entry: IndexEntry) -> Result<()> {
        match self {
            Self::Memory(entries) => {
                entries.push(entry);
                Ok(())
            }
            Self::File(writer) => writer.push(&entry),
        }
    }

    fn finish(self) -> Result<Table> {
        match self {
            Self::Memory(entries) => Ok(Table::Memory(entries)),
            Self::File(writer) => writer.finish().map(Table::File),
        }
    }
}

/// Collects tables and keeps their number small: whenever several are of a size they become one. Each entry is
/// copied once per doubling, and a lookup asks few tables.
#[derive(Debug, Default)]
pub struct Stack {
    tables: Vec<Table>,
    /// Entries not yet in a table of their own.
    loose: Vec<IndexEntry>,
}

impl Stack {
    /// Tables of a size before they are merged.
    const FAN: usize = 8;

    pub fn push(&mut self, entry: IndexEntry) -> Result<()> {
        self.loose.push(entry);
        if self.loose.len() < IN_MEMORY { Ok(()) } else { self.spill() }
    }

    /// Moves loose entries to disk.
    fn spill(&mut self) -> Result<()> {
        let entries = std::mem::take(&mut self.loose);
        self.add_run(entries)
    }

    /// Adds entries as a table on disk.
    pub fn add_run(&mut self, mut entries: Vec<IndexEntry>) -> Result<()> {
        entries.sort_unstable_by_key(|entry| (entry.id, entry.pack, entry.offset));
        let mut writer = PageWriter::new()?;
        entries.iter().try_for_each(|entry| writer.push(entry))?;
        self.tables.push(Table::File(writer.finish()?));
        loop {
            let Some(newest) = self.tables.last().map(Table::len) else { return Ok(()) };
            let alike = self.tables.iter().rev().take_while(|table| table.len() <= newest * 2).count();
            if alike < Self::FAN {
                return Ok(());
            }
            let group = self.tables.split_off(self.tables.len() - alike);
            self.tables.push(Table::merge(&group)?);
        }
    }

    /// All of it as one table.
    pub fn finish(mut self) -> Result<Table> {
        self.loose.sort_unstable_by_key(|entry| (entry.id, entry.pack, entry.offset));
        self.tables.push(Table::Memory(std::mem::take(&mut self.loose)));
        if self.tables.len() == 1 {
            let mut only = self.tables.remove(0);
            if let Table::Memory(entries) = &mut only {
                entries.dedup_by_key(|entry| (entry.id, entry.pack, entry.offset));
            }
            return Ok(only);
        }
        Table::merge(&self.tables)
    }

    /// Whether any entry that was spilled is about `id`.
    pub fn spilled(&self, id: &ChunkId) -> Result<bool> {
        for table in &self.tables {
            if !table.find(id)?.1.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Codec, FrameKind, FrameRecord};

    fn entry(number: u64, pack: u32) -> IndexEntry {
        let id = ChunkId(*blake3::hash(&number.to_le_bytes()).as_bytes());
        let record = FrameRecord { id, kind: FrameKind::Chunk, codec: Codec::Raw, stored: 16, raw: 0 };
        IndexEntry::of(pack, number % 1000, &record)
    }

    #[test]
    fn files_answer_as_vectors_do() {
        for count in [0, 1, PER_PAGE as u64, PER_PAGE as u64 + 1, 20_000] {
            let mut entries: Vec<IndexEntry> = (0..count).map(|n| entry(n, 0)).collect();
            // Chunks in many packs, so that groups cross pages.
            entries.extend((0..200).filter(|_| count > 0).map(|pack| entry(0, pack + 1)));
            entries.sort_by_key(|entry| (entry.id, entry.pack, entry.offset));
            let mut writer = PageWriter::new().unwrap();
            entries.iter().for_each(|entry| writer.push(entry).unwrap());
            let (file, memory) = (Table::File(writer.finish().unwrap()), Table::Memory(entries));
            for number in (0..count).step_by(7).chain(count..count + 50) {
                let id = entry(number, 0).id;
                assert_eq!(file.find(&id).unwrap(), memory.find(&id).unwrap(), "{number} of {count}");
            }
            let mut groups = (Vec::new(), Vec::new());
            file.groups(|rows, _| groups.0.push(rows)).unwrap();
            memory.groups(|rows, _| groups.1.push(rows)).unwrap();
            assert_eq!(groups.0, groups.1);
            let merged = Table::merge(&[file, memory]).unwrap();
            assert_eq!(merged.len() as u64, count + if count > 0 { 200 } else { 0 });
        }
    }

    #[test]
    fn a_damaged_page_is_an_error() {
        let mut writer = PageWriter::new().unwrap();
        (0..10).for_each(|n| writer.push(&entry(n, 0)).unwrap());
        let file = writer.finish().unwrap();
        file.file.write_all_at(&[1], 100).unwrap();
        assert!(Table::File(file).find(&entry(3, 0).id).is_err());
    }
}
