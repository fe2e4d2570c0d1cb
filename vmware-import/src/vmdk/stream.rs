//! A streamOptimized disk read once, front to back: from a pipe, an upload, a member of a tar.
//!
//! No table is needed: each grain carries its place. What makes up for the tables:
//! * the end-of-stream marker is required; a stream without one (qemu-img writes none) has to have its tables
//!   in front, and then as many grains as they name;
//! * a grain that comes twice, lies past the end, or off a grain boundary is an error;
//! * the set of grains seen is a bitmap in pages, bounded to 32 MiB.

use std::collections::HashMap;
use std::io::{ErrorKind, Read};

use super::descriptor::Descriptor;
use super::grain::{GrainMarker, MARKER};
use super::header::{GTES_PER_GT, SECTOR, SparseHeader};
use super::tables::{u32_at, u64_at};
use crate::error::{ImportError, Result};

const END_OF_STREAM: u32 = 0;
const GRAIN_TABLE: u32 = 1;
const GRAIN_DIRECTORY: u32 = 2;
const FOOTER: u32 = 3;

/// One grain as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamGrain {
    /// Where it belongs on the disk, in bytes.
    pub disk_offset: u64,
    /// Length on the disk; the last grain may be short.
    pub len: u64,
    /// Where its marker was in the stream.
    pub at: u64,
    /// Compressed length.
    pub size: usize,
}

/// Reads grains in the order they come.
pub struct StreamReader<R> {
    input: R,
    name: String,
    at: u64,
    pub header: SparseHeader,
    pub descriptor: Option<Descriptor>,
    front: FrontTables,
    seen: Seen,
    grains: u64,
    ended: bool,
}

impl<R: Read> StreamReader<R> {
    /// Reads header, descriptor and whatever lies in front of the first grain. `name` is for messages.
    pub fn open(name: &str, input: R) -> Result<Self> {
        let mut input = input;
        let mut head = [0; 512];
        input.read_exact(&mut head).map_err(|error| read_error(name, "header", 0, error))?;
        let header = SparseHeader::parse(name, 0, &head)?;
        if !header.compressed || !header.markers {
            return Err(ImportError::unsupported(
                name,
                "a disk that is not streamOptimized, from a stream",
                "save it to a file first",
            ));
        }
        let front = FrontTables::new(&header);
        let mut stream = Self {
            input,
            name: name.to_owned(),
            at: SECTOR,
            header,
            descriptor: None,
            front,
            seen: Seen::default(),
            grains: 0,
            ended: false,
        };
        stream.read_front()?;
        Ok(stream)
    }

    /// Descriptor and front tables, a sector at a time: nothing is kept but what is asked for.
    fn read_front(&mut self) -> Result<()> {
        let descriptor = self.header.descriptor.unwrap_or_default();
        let end = self.header.overhead.max(descriptor.0 + descriptor.1).max(SECTOR);
        let mut text = Vec::new();
        let mut sector = [0; 512];
        while self.at < end {
            let at = self.at;
            self.read("the part before the grains", &mut sector)?;
            if at >= descriptor.0 && at < descriptor.0 + descriptor.1 {
                text.extend_from_slice(&sector);
            }
            self.front.sector(at, &sector);
        }
        if !text.is_empty() {
            let descriptor = Descriptor::parse(&self.name, descriptor.0, &text)?;
            if descriptor.parent_cid.is_some() {
                return Err(ImportError::unsupported(
                    &self.name,
                    "a snapshot, from a stream",
                    "export the whole disk, or save the chain to files",
                ));
            }
            self.descriptor = Some(descriptor);
        }
        Ok(())
    }

    /// Appends the next grain's compressed bytes to `packed`; `None` after the end of the stream.
    pub fn next_grain(&mut self, packed: &mut Vec<u8>) -> Result<Option<StreamGrain>> {
        let mut sector = [0; 512];
        while !self.ended {
            let at = self.at;
            if !self.read_marker(&mut sector)? {
                self.end_without_marker()?;
                break;
            }
            if u32_at(&sector, 8) == 0 {
                self.metadata(at, &sector)?;
                continue;
            }
            let disk = (self.header.capacity, self.header.grain);
            let marker = GrainMarker::parse(&self.name, at, &sector, disk)?;
            self.seen.insert(&self.name, at, marker.disk_offset / self.header.grain)?;
            self.grains += 1;
            let whole = (MARKER + marker.size).next_multiple_of(SECTOR as usize);
            let start = packed.len();
            packed.extend_from_slice(&sector[MARKER..]);
            if whole > sector.len() {
                packed.resize(start + whole - MARKER, 0);
                let (name, from) = (&self.name, start + sector.len() - MARKER);
                let read = self.input.read_exact(&mut packed[from..]);
                read.map_err(|error| read_error(name, "a grain", at + whole as u64, error))?;
                self.at += (whole - sector.len()) as u64;
            }
            packed.truncate(start + marker.size);
            let len = self.header.grain.min(self.header.capacity - marker.disk_offset);
            return Ok(Some(StreamGrain { disk_offset: marker.disk_offset, len, at, size: marker.size }));
        }
        Ok(None)
    }

    /// What is left of the input after the end of the stream.
    pub fn into_input(self) -> R {
        self.input
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of the stream read so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.at
    }

    fn metadata(&mut self, at: u64, sector: &[u8; 512]) -> Result<()> {
        let (sectors, kind) = (u64_at(sector, 0), u32_at(sector, 12));
        match kind {
            END_OF_STREAM => {
                self.ended = true;
                Ok(())
            }
            GRAIN_TABLE | GRAIN_DIRECTORY | FOOTER => {
                let limit = match kind {
                    GRAIN_TABLE => GTES_PER_GT * 4 / SECTOR,
                    GRAIN_DIRECTORY => (self.header.gd_entries() * 4).div_ceil(SECTOR),
                    _ => 1,
                };
                if sectors > limit {
                    let detail = format!("covers {sectors} sectors, more than the disk can need ({limit})");
                    return Err(ImportError::damaged(&self.name, at, "metadata marker", detail));
                }
                let mut skipped = [0; 512];
                for _ in 0..sectors {
                    self.read("tables of the stream", &mut skipped)?;
                }
                Ok(())
            }
            _ => {
                Err(ImportError::damaged(&self.name, at + 12, "marker type", format!("{kind} is not known")))
            }
        }
    }

    fn end_without_marker(&mut self) -> Result<()> {
        self.ended = true;
        if self.front.complete && self.front.grains == self.grains {
            return Ok(());
        }
        Err(ImportError::truncated(&self.name, "the end-of-stream marker", self.at + SECTOR, self.at))
    }

    /// Reads a marker's sector; `false` at a clean end of the input.
    fn read_marker(&mut self, sector: &mut [u8; 512]) -> Result<bool> {
        let mut filled = 0;
        while filled < sector.len() {
            match self.input.read(&mut sector[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => {
                    let at = self.at + filled as u64;
                    return Err(ImportError::truncated(&self.name, "a marker", self.at + SECTOR, at));
                }
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(read_error(&self.name, "a marker", self.at, error)),
            }
        }
        self.at += SECTOR;
        Ok(true)
    }

    fn read(&mut self, field: &'static str, buf: &mut [u8]) -> Result<()> {
        let needed = self.at + buf.len() as u64;
        self.input.read_exact(buf).map_err(|error| read_error(&self.name, field, needed, error))?;
        self.at = needed;
        Ok(())
    }
}

fn read_error(name: &str, field: &'static str, needed: u64, error: std::io::Error) -> ImportError {
    match error.kind() {
        ErrorKind::UnexpectedEof => ImportError::truncated(name, field, needed, needed.saturating_sub(1)),
        _ => ImportError::io("read", name, error),
    }
}

/// 16 MiB of offsets, 64 TiB of disk in common grains; a front with more counts as not complete.
const MAX_TABLES: usize = 2 << 20;

/// Counts the grains that tables in front of the data name.
struct FrontTables {
    gd: (u64, u64),
    tables: Vec<u64>,
    grains: u64,
    complete: bool,
    zero_grains: bool,
}

impl FrontTables {
    fn new(header: &SparseHeader) -> Self {
        let len = header.gd_entries() * 4;
        let gd = header.gd.filter(|gd| gd + len <= header.overhead).map_or((0, 0), |gd| (gd, gd + len));
        Self { gd, tables: Vec::new(), grains: 0, complete: false, zero_grains: header.zero_grains }
    }

    fn sector(&mut self, at: u64, sector: &[u8; 512]) {
        if (self.gd.0..self.gd.1).contains(&at) {
            let entries = ((self.gd.1 - at).min(SECTOR) / 4) as usize;
            for entry in sector.chunks_exact(4).take(entries).map(|e| u64::from(u32_at(e, 0))) {
                // Tables in front of their directory have passed unseen: then the end marker is needed.
                if entry != 0 && entry * SECTOR >= self.gd.1 && self.tables.len() < MAX_TABLES {
                    self.tables.push(entry * SECTOR);
                }
            }
            if at + SECTOR >= self.gd.1 {
                self.tables.sort_unstable();
                self.complete = self.tables.len() < MAX_TABLES;
            }
            return;
        }
        let before = self.tables.partition_point(|&table| table <= at);
        if before > 0 && at < self.tables[before - 1] + GTES_PER_GT * 4 {
            let first = if self.zero_grains { 2 } else { 1 };
            self.grains += sector.chunks_exact(4).filter(|e| u32_at(e, 0) >= first).count() as u64;
        }
    }
}

/// The grains that have come, as a bitmap in pages of 4 KiB.
#[derive(Default)]
struct Seen {
    pages: HashMap<u64, Box<[u64; 512]>>,
}

const MAX_PAGES: usize = 8192;

impl Seen {
    fn insert(&mut self, name: &str, at: u64, grain: u64) -> Result<()> {
        if self.pages.len() == MAX_PAGES && !self.pages.contains_key(&(grain >> 15)) {
            return Err(ImportError::unsupported(
                name,
                "a stream of so many scattered grains",
                "save it to a file first",
            ));
        }
        let page = self.pages.entry(grain >> 15).or_insert_with(|| Box::new([0; 512]));
        let (word, bit) = ((grain & 0x7fff) as usize / 64, 1u64 << (grain % 64));
        if page[word] & bit != 0 {
            return Err(ImportError::damaged(name, at, "grain LBA", "comes a second time"));
        }
        page[word] |= bit;
        Ok(())
    }
}
