//! XVA: a whole VM in a tar, as XenServer and XCP-ng export and import it.
//!
//! ```text
//! ova.xml                      what the VM is, as XAPI's records in XML-RPC
//! Ref:N/00000000               the first MiB of the disk whose VDI record is Ref:N
//! Ref:N/00000000.xxhash        XXH64 of it, upper-case hexadecimal; older ones have .checksum, a SHA-1
//! Ref:N/00000007 …             pieces of zeros are left out, the first and the last never
//! ```
//!
//! [`XvaWriter`] writes front to back; a crash leaves a file without the tar's end and mostly without its last piece,
//! which readers refuse. [`Xva`] reads a file that can be seeked in: one pass over the tar's headers, then any byte of
//! any disk, each piece held against its digest before it is given. Memory: some dozens of bytes for each MiB
//! that is there.
//!
//! Sources: XAPI's `ocaml/xapi/{export,import,stream_vdi}.ml` and its developer guide, "VM import/export".

mod records;
mod value;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use sha1::{Digest, Sha1};
use xenith_common_block::{BlockError, BlockSink, BlockSource, ByteRange, Extent, ExtentKind};
use xxhash_rust::xxh64::xxh64;

use crate::member::header;

pub use records::{XvaDisk, XvaNic, XvaVm};

/// The bytes of a piece.
const PIECE: u64 = 1 << 20;
/// Piece numbers have eight digits.
const MOST_PIECES: u64 = 99_999_999;
/// XAPI's are some hundred KiB.
const LARGEST_DESCRIPTION: u64 = 16 << 20;
const MOST_DISKS: usize = 256;
const DESCRIPTION: &str = "ova.xml";

/// Why a file is no XVA that can be taken.
#[derive(Debug, thiserror::Error)]
pub enum XvaError {
    #[error("cannot {action} {name}")]
    Io {
        action: &'static str,
        name: String,
        #[source]
        source: io::Error,
    },
    #[error("{name} is no XVA: {problem}")]
    Foreign { name: String, problem: String },
    #[error("{name} is damaged: {problem}")]
    Damaged { name: String, problem: String },
}

fn hash(piece: &[u8]) -> String {
    format!("{:016X}", xxh64(piece, 0))
}

/// Writes an XVA front to back. Disks come in the order of the VM's.
pub struct XvaWriter<W> {
    out: W,
    name: String,
    disks: Vec<(String, u64)>,
    next: usize,
}

impl<W: Write> XvaWriter<W> {
    /// `name` is what errors call the file.
    pub fn new(out: W, name: &str, vm: &XvaVm) -> Result<Self, BlockError> {
        let (text, references) = records::describe(vm);
        let disks: Vec<_> = references.into_iter().zip(vm.disks.iter().map(|disk| disk.size)).collect();
        let mut writer = Self { out, name: name.to_owned(), disks, next: 0 };
        if let Some((_, size)) = writer.disks.iter().find(|(_, size)| size.div_ceil(PIECE) > MOST_PIECES) {
            let problem = format!("a disk of {size} bytes has more pieces than an XVA can number");
            return Err(writer.failed(io::Error::other(problem)));
        }
        writer.member(DESCRIPTION, text.as_bytes())?;
        Ok(writer)
    }

    fn failed(&self, source: io::Error) -> BlockError {
        BlockError::Io { action: "write", target: self.name.clone(), offset: 0, source }
    }

    fn member(&mut self, name: &str, bytes: &[u8]) -> Result<(), BlockError> {
        let padding = bytes.len().next_multiple_of(512) - bytes.len();
        let written = header(name, bytes.len() as u64).and_then(|header| {
            self.out.write_all(header.as_bytes())?;
            self.out.write_all(bytes)?;
            self.out.write_all(&[0; 512][..padding])
        });
        written.map_err(|source| self.failed(source))
    }

    fn piece(&mut self, reference: &str, number: u64, bytes: &[u8]) -> Result<(), BlockError> {
        let name = format!("{reference}/{number:08}");
        self.member(&name, bytes)?;
        self.member(&format!("{name}.xxhash"), hash(bytes).as_bytes())
    }

    /// The next disk, as a sink that takes writes front to back. [`DiskSink::finish`] ends it.
    pub fn disk(&mut self) -> Result<DiskSink<'_, W>, BlockError> {
        let Some((reference, size)) = self.disks.get(self.next).cloned() else {
            return Err(self.failed(io::Error::other("the VM has no more disks")));
        };
        self.next += 1;
        let state = State { writer: self, number: 0, piece: vec![0; PIECE as usize], data: false };
        Ok(DiskSink { reference, size, state: Mutex::new(state) })
    }

    /// The end of the tar. Every disk has been written.
    pub fn finish(mut self) -> Result<W, BlockError> {
        if self.next != self.disks.len() {
            return Err(self.failed(io::Error::other("a disk was not written")));
        }
        let ended = self.out.write_all(&[0; 1024]).and_then(|()| self.out.flush());
        ended.map_err(|source| self.failed(source))?;
        Ok(self.out)
    }
}

struct State<'a, W> {
    writer: &'a mut XvaWriter<W>,
    /// Of the piece that is being filled.
    number: u64,
    piece: Vec<u8>,
    data: bool,
}

/// One disk of an [`XvaWriter`]. What is written again behind what was passed on is the same by contract, and let go.
pub struct DiskSink<'a, W> {
    reference: String,
    size: u64,
    state: Mutex<State<'a, W>>,
}

impl<W: Write> DiskSink<'_, W> {
    fn len(&self, number: u64) -> usize {
        usize::try_from(PIECE.min(self.size - number * PIECE)).unwrap_or(0)
    }

    /// Passes the pieces before `number` on.
    fn advance(&self, state: &mut State<'_, W>, number: u64) -> Result<(), BlockError> {
        let last = self.size.div_ceil(PIECE).saturating_sub(1);
        while state.number < number {
            if state.data || state.number == 0 || state.number == last {
                let len = self.len(state.number);
                let piece = std::mem::take(&mut state.piece);
                let written = state.writer.piece(&self.reference, state.number, &piece[..len]);
                state.piece = piece;
                written?;
                state.piece.fill(0);
                state.data = false;
            }
            // Over what is all zeros at once.
            state.number = if state.number + 1 < last {
                (state.number + 1).max(number.min(last))
            } else {
                state.number + 1
            };
        }
        Ok(())
    }

    /// Everything that was not written is zeros.
    pub fn finish(self) -> Result<(), BlockError> {
        let end = self.size.div_ceil(PIECE);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.advance(&mut state, end)
    }
}

impl<W: Write + Send> BlockSink for DiskSink<'_, W> {
    fn size(&self) -> u64 {
        self.size
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        BlockError::check_bounds(offset, data.len() as u64, self.size)?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut at, mut rest) = (offset, data);
        while !rest.is_empty() {
            let number = at / PIECE;
            let within = usize::try_from(at % PIECE).unwrap_or(0);
            let len = rest.len().min(PIECE as usize - within);
            if number >= state.number {
                self.advance(&mut state, number)?;
                state.piece[within..within + len].copy_from_slice(&rest[..len]);
                state.data = true;
            }
            at += len as u64;
            rest = &rest[len..];
        }
        Ok(())
    }

    /// What was not written reads as zeros already; nothing is taken back.
    fn zero(&self, range: ByteRange) -> Result<(), BlockError> {
        BlockError::check_bounds(range.start, range.len(), self.size)
    }

    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    Xxh64([u8; 8]),
    Sha1([u8; 20]),
}

#[derive(Debug, Clone, Copy)]
struct Piece {
    at: u64,
    len: u32,
    check: u32,
}

#[derive(Debug, Default)]
struct Pieces {
    /// Ascending by number.
    pieces: BTreeMap<u32, Piece>,
    checks: Vec<Check>,
}

/// An XVA in a file.
pub struct Xva {
    pub vm: XvaVm,
    disks: Vec<Arc<XvaSource>>,
}

impl Xva {
    /// Whether a file begins as an XVA does.
    pub fn is(path: &Path) -> io::Result<bool> {
        let mut head = [0; 512];
        let file = File::open(path)?;
        if file.read_at(&mut head, 0)? < head.len() {
            return Ok(false);
        }
        Ok(head.starts_with(b"ova.xml\0"))
    }

    /// Reads what is in it. Contents of disks are looked at when they are read.
    pub fn open(path: &Path) -> Result<Self, XvaError> {
        let name = path.display().to_string();
        let io = |action| {
            let name = name.clone();
            move |source| XvaError::Io { action, name, source }
        };
        let file = File::open(path).map_err(io("open"))?;
        let mut description = None;
        let mut found: BTreeMap<String, Pieces> = BTreeMap::new();
        let mut archive = tar::Archive::new(io::BufReader::with_capacity(64 << 10, &file));
        for entry in archive.entries_with_seek().map_err(io("read"))? {
            let mut entry = entry.map_err(io("read"))?;
            let member = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if member == DESCRIPTION {
                let mut text = String::new();
                entry.by_ref().take(LARGEST_DESCRIPTION).read_to_string(&mut text).map_err(io("read"))?;
                description = Some(text);
                continue;
            }
            let Some((reference, file_name)) = member.split_once('/') else { continue };
            if !found.contains_key(reference) && found.len() == MOST_DISKS {
                let problem = format!("it has more than {MOST_DISKS} disks");
                return Err(XvaError::Foreign { name, problem });
            }
            let disk = found.entry(reference.to_owned()).or_default();
            disk.note(file_name, &mut entry).map_err(|problem| XvaError::Damaged {
                name: name.clone(),
                problem: format!("{member}: {problem}"),
            })?;
        }
        let foreign = |problem: &str| XvaError::Foreign { name: name.clone(), problem: problem.to_owned() };
        let description = description.ok_or_else(|| foreign("it has no ova.xml"))?;
        let (vm, references) = records::parse(&description).map_err(|problem| foreign(&problem))?;
        let file = Arc::new(file);
        let mut disks = Vec::new();
        for (disk, reference) in vm.disks.iter().zip(references) {
            let pieces = found.remove(&reference).unwrap_or_default();
            let source = XvaSource {
                file: Arc::clone(&file),
                name: format!("{name}:{reference}"),
                size: disk.size,
                pieces,
            };
            source.check_whole().map_err(|problem| XvaError::Damaged {
                name: name.clone(),
                problem: format!("{reference}: {problem}"),
            })?;
            disks.push(Arc::new(source));
        }
        Ok(Self { vm, disks })
    }

    /// The contents of the VM's disks, in their order.
    #[must_use]
    pub fn disks(&self) -> Vec<Arc<XvaSource>> {
        self.disks.clone()
    }
}

impl Pieces {
    /// One file of the disk's folder.
    fn note<R: Read>(&mut self, name: &str, entry: &mut tar::Entry<'_, R>) -> Result<(), String> {
        let (digits, ending) = name.split_once('.').unwrap_or((name, ""));
        let number: u32 = match digits.parse() {
            Ok(number) if digits.len() == 8 => number,
            // XO numbers a last piece of zeros without leading ones.
            Ok(number) if digits.len() < 8 => number,
            _ => return Err("a piece has eight digits".to_owned()),
        };
        if ending.is_empty() {
            let (at, len) = (entry.raw_file_position(), entry.size());
            let len = u32::try_from(len).ok().filter(|len| u64::from(*len) <= PIECE);
            let len = len.ok_or_else(|| format!("a piece has at most {PIECE} bytes"))?;
            // XAPI sends empty pieces to keep a connection alive.
            if len > 0 {
                self.pieces.insert(number, Piece { at, len, check: u32::MAX });
            }
            return Ok(());
        }
        let mut text = String::new();
        entry.take(64).read_to_string(&mut text).map_err(|error| error.to_string())?;
        let check = check_of(ending, text.trim()).ok_or("its digest makes no sense")?;
        if let Some(piece) = self.pieces.get_mut(&number) {
            piece.check = u32::try_from(self.checks.len()).map_err(|error| error.to_string())?;
            self.checks.push(check);
        }
        Ok(())
    }
}

fn check_of(ending: &str, text: &str) -> Option<Check> {
    let bytes: Option<Vec<u8>> = (0..text.len())
        .step_by(2)
        .map(|at| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect();
    match ending {
        "xxhash" => bytes?.try_into().ok().map(Check::Xxh64),
        "checksum" => bytes?.try_into().ok().map(Check::Sha1),
        _ => None,
    }
}

/// One disk of an [`Xva`].
pub struct XvaSource {
    file: Arc<File>,
    name: String,
    size: u64,
    pieces: Pieces,
}

impl XvaSource {
    /// An export that was cut off lacks its end.
    fn check_whole(&self) -> Result<(), String> {
        let last = self.size.div_ceil(PIECE).saturating_sub(1);
        if self.size > 0 && !self.pieces.pieces.contains_key(&u32::try_from(last).unwrap_or(u32::MAX)) {
            return Err("its last piece is missing; the export was cut off".to_owned());
        }
        for (number, piece) in &self.pieces.pieces {
            let start = u64::from(*number) * PIECE;
            if start + u64::from(piece.len) > self.size {
                return Err(format!("piece {number} lies behind the end of the disk"));
            }
            if piece.check == u32::MAX {
                return Err(format!("piece {number} has no digest"));
            }
        }
        Ok(())
    }

    fn corrupt(&self, offset: u64, detail: String) -> BlockError {
        let source = io::Error::new(io::ErrorKind::InvalidData, detail);
        BlockError::Io { action: "read", target: self.name.clone(), offset, source }
    }

    /// A piece, found the same as when it was written.
    fn read_piece(&self, number: u32, piece: Piece) -> Result<Vec<u8>, BlockError> {
        let offset = u64::from(number) * PIECE;
        let mut bytes = vec![0; piece.len as usize];
        self.file.read_exact_at(&mut bytes, piece.at).map_err(|source| BlockError::Io {
            action: "read",
            target: self.name.clone(),
            offset,
            source,
        })?;
        let same = match self.pieces.checks.get(piece.check as usize) {
            Some(Check::Xxh64(theirs)) => xxh64(&bytes, 0).to_be_bytes() == *theirs,
            Some(Check::Sha1(theirs)) => Sha1::digest(&bytes)[..] == theirs[..],
            None => false,
        };
        if same { Ok(bytes) } else { Err(self.corrupt(offset, format!("piece {number} is not what it was"))) }
    }
}

impl BlockSource for XvaSource {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        BlockError::check_bounds(offset, buf.len() as u64, self.size)?;
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let number = u32::try_from(at / PIECE).map_err(|error| self.corrupt(at, error.to_string()))?;
            let within = usize::try_from(at % PIECE).unwrap_or(0);
            let len = rest.len().min(PIECE as usize - within);
            let (part, behind) = rest.split_at_mut(len);
            part.fill(0);
            if let Some(piece) = self.pieces.pieces.get(&number) {
                let bytes = self.read_piece(number, *piece)?;
                let there = bytes.len().saturating_sub(within).min(len);
                part[..there].copy_from_slice(&bytes[within.min(bytes.len())..][..there]);
            }
            at += len as u64;
            rest = behind;
        }
        Ok(())
    }

    fn extents(&self, range: ByteRange) -> Result<Vec<Extent>, BlockError> {
        BlockError::check_bounds(range.start, range.len(), self.size)?;
        let mut extents = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let number = at / PIECE;
            let there = u32::try_from(number).is_ok_and(|number| self.pieces.pieces.contains_key(&number));
            // Up to the next piece that is there.
            let end = if there {
                (number + 1) * PIECE
            } else {
                let after = u32::try_from(number).unwrap_or(u32::MAX);
                let next = self.pieces.pieces.range(after..).next();
                next.map_or(self.size, |(next, _)| u64::from(*next) * PIECE)
            };
            let end = end.min(range.end);
            let kind = if there { ExtentKind::Data } else { ExtentKind::Zero };
            Extent::push_merged(&mut extents, ByteRange::new(at, end), kind);
            at = end;
        }
        Ok(extents)
    }
}

#[cfg(test)]
mod tests;
