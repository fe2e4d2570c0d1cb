//! The tar of an OVA: names and places of members, from a file or from a pipe.
//!
//! Reads ustar with the extensions that OVA writers use (GNU long names and base-256 sizes, pax `path` and
//! `size`). Links, devices and sparse members are refused: an OVA has files only.

use std::io::Read;
use std::sync::Arc;

use xenith_common_block::ByteRange;

use crate::bytes::{ByteSource, Window};
use crate::error::{ImportError, Result};

const BLOCK: u64 = 512;
/// Longer names and pax records exist in no OVA.
const MAX_EXTENSION: u64 = 64 * 1024;
/// An OVA has a few dozen members; each is kept by name.
const MAX_MEMBERS: usize = 10_000;

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    pub size: u64,
}

enum Header {
    End,
    File(Member),
    LongName(u64),
    Pax(u64),
    Skip(u64),
}

fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        // Base 256: the first bit is the mark.
        let mut value = u64::from(field[0] & 0x7f);
        for &byte in &field[1..] {
            value = value.checked_mul(256)?.checked_add(u64::from(byte))?;
        }
        return Some(value);
    }
    let text = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    if text.is_empty() { Some(0) } else { u64::from_str_radix(text, 8).ok() }
}

fn text(field: &[u8]) -> String {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

fn parse(file: &str, at: u64, block: &[u8; 512]) -> Result<Header> {
    if block.iter().all(|&byte| byte == 0) {
        return Ok(Header::End);
    }
    let damaged = |offset, field, detail: &str| ImportError::damaged(file, at + offset, field, detail);
    let sum: u64 =
        block.iter().enumerate().map(|(i, &b)| if (148..156).contains(&i) { 32 } else { u64::from(b) }).sum();
    if number(&block[148..156]) != Some(sum) {
        return Err(damaged(148, "tar checksum", "does not fit the header"));
    }
    let size = number(&block[124..136]).filter(|&size| size <= i64::MAX as u64);
    let size = size.ok_or_else(|| damaged(124, "tar size", "is no number"))?;
    let name = text(&block[..100]);
    let prefix = text(&block[345..500]);
    let ustar = &block[257..262] == b"ustar" && block[263..265] == *b"00";
    let name = if ustar && !prefix.is_empty() { format!("{prefix}/{name}") } else { name };
    match block[156] {
        0 | b'0' | b'7' => Ok(Header::File(Member { name, size })),
        b'L' => Ok(Header::LongName(size)),
        b'x' => Ok(Header::Pax(size)),
        b'g' | b'5' => Ok(Header::Skip(size)),
        _ => Err(damaged(156, "tar member type", "is not that of a file")),
    }
}

/// `path` and `size` of a pax record; `None` where the size is no size, for what is in the header then is none either.
fn pax(bytes: &[u8]) -> Option<(Option<String>, Option<u64>)> {
    let (mut path, mut size) = (None, None);
    for line in bytes.split(|&byte| byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        let Some((key, value)) = line.split_once(' ').and_then(|(_, record)| record.split_once('=')) else {
            continue;
        };
        match key {
            "path" => path = Some(value.to_owned()),
            "size" => size = Some(value.parse().ok().filter(|&size: &u64| size <= i64::MAX as u64)?),
            _ => {}
        }
    }
    Some((path, size))
}

/// Walks the members of a tar that comes once.
pub struct TarStream<R> {
    input: R,
    name: String,
    at: u64,
    /// Bytes of the current member and its padding that were not read.
    left: u64,
    padding: u64,
}

impl<R: Read> TarStream<R> {
    pub fn new(name: &str, input: R) -> Self {
        Self { input, name: name.to_owned(), at: 0, left: 0, padding: 0 }
    }

    /// The next file; what is left of the one before is read over. `None` at the end.
    pub fn next_member(&mut self) -> Result<Option<Member>> {
        self.skip(self.left)?;
        self.skip(self.padding)?;
        (self.left, self.padding) = (0, 0);
        let (mut name, mut size) = (None, None);
        loop {
            let mut block = [0; 512];
            let at = self.at;
            if !self.read_header(&mut block)? {
                return Ok(None);
            }
            match parse(&self.name, at, &block)? {
                Header::End => return Ok(None),
                Header::Skip(len) => self.skip(len.next_multiple_of(BLOCK))?,
                Header::LongName(len) => name = Some(text(&self.extension(at, len)?)),
                Header::Pax(len) => {
                    let found = pax(&self.extension(at, len)?);
                    let (path, length) = found.ok_or_else(|| {
                        ImportError::damaged(&self.name, at + BLOCK, "tar size", "is no number")
                    })?;
                    name = path.or(name);
                    size = length.or(size);
                }
                Header::File(member) => {
                    let size = size.unwrap_or(member.size);
                    self.left = size;
                    self.padding = size.next_multiple_of(BLOCK) - size;
                    return Ok(Some(Member { name: name.unwrap_or(member.name), size }));
                }
            }
        }
    }

    /// Some writers leave out the zeros at the end: a clean end of the input will do. Whether everything came is
    /// decided by the OVF and the manifest.
    fn read_header(&mut self, block: &mut [u8; 512]) -> Result<bool> {
        let first = loop {
            match self.input.read(&mut block[..]) {
                Ok(0) => return Ok(false),
                Ok(count) => break count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ImportError::io("read", &self.name, error)),
            }
        };
        self.at += first as u64;
        self.read_exact("a tar header", &mut block[first..])?;
        Ok(true)
    }

    fn extension(&mut self, at: u64, len: u64) -> Result<Vec<u8>> {
        if len > MAX_EXTENSION {
            return Err(ImportError::damaged(&self.name, at + 124, "tar extension", "is larger than 64 KiB"));
        }
        let mut bytes = vec![0; len.next_multiple_of(BLOCK) as usize];
        self.read_exact("a tar extension", &mut bytes)?;
        bytes.truncate(len as usize);
        Ok(bytes)
    }

    fn read_exact(&mut self, field: &'static str, buf: &mut [u8]) -> Result<()> {
        let needed = self.at + buf.len() as u64;
        self.input.read_exact(buf).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => ImportError::truncated(&self.name, field, needed, self.at),
            _ => ImportError::io("read", &self.name, error),
        })?;
        self.at = needed;
        Ok(())
    }

    fn skip(&mut self, len: u64) -> Result<()> {
        let mut buf = [0; 64 * 1024];
        let mut left = len;
        while left > 0 {
            let step = left.min(buf.len() as u64) as usize;
            self.read_exact("a tar member", &mut buf[..step])?;
            left -= step as u64;
        }
        Ok(())
    }
}

impl<R: Read> Read for TarStream<R> {
    /// Reads the current member.
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let len = self.left.min(buf.len() as u64) as usize;
        if len == 0 {
            return Ok(0);
        }
        let count = self.input.read(&mut buf[..len])?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        self.at += count as u64;
        Ok(count)
    }
}

/// The members of a tar file, as windows of it.
pub fn members(bytes: &Arc<dyn ByteSource>) -> Result<Vec<(String, Arc<dyn ByteSource>)>> {
    let mut found = Vec::new();
    let mut stream = TarStream::new(bytes.name(), Seeker { bytes: Arc::clone(bytes), at: 0 });
    while let Some(member) = stream.next_member()? {
        if found.len() == MAX_MEMBERS {
            return Err(ImportError::damaged(bytes.name(), stream.at, "tar", "has more than 10000 members"));
        }
        let range = ByteRange::with_len(stream.at, member.size);
        let window = Window::new(Arc::clone(bytes), &member.name, range)?;
        found.push((member.name, Arc::new(window) as Arc<dyn ByteSource>));
        // Step over the contents instead of reading them.
        let next = range.end.next_multiple_of(BLOCK);
        stream.input.at = next;
        (stream.at, stream.left, stream.padding) = (next, 0, 0);
    }
    Ok(found)
}

/// Reads a byte source from front to back.
pub struct Seeker {
    pub bytes: Arc<dyn ByteSource>,
    pub at: u64,
}

impl Read for Seeker {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let len = (self.bytes.len().saturating_sub(self.at)).min(buf.len() as u64) as usize;
        self.bytes.read_at("data", self.at, &mut buf[..len]).map_err(std::io::Error::other)?;
        self.at += len as u64;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::MemoryBytes;

    fn header(name: &str, kind: u8, size: usize) -> Vec<u8> {
        let mut block = vec![0; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        block[148..156].fill(b' ');
        block[156] = kind;
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }

    #[test]
    fn a_size_that_cannot_be_is_an_error() {
        let archive = |record: &str| {
            let mut text = record.as_bytes().to_vec();
            text.resize(512, 0);
            let mut tar = [header("pax", b'x', record.len()), text, header("vm.ovf", b'0', 3)].concat();
            tar.extend_from_slice(b"abc");
            tar.resize(tar.len() + 509 + 1024, 0);
            Arc::new(MemoryBytes::new("vm.ova", tar)) as Arc<dyn ByteSource>
        };
        let found = members(&archive("10 size=3\n")).unwrap();
        assert_eq!((found[0].0.as_str(), found[0].1.len(), found.len()), ("vm.ovf", 3, 1));
        for size in ["18446744073709551615", "9223372036854775808", "-1", "many", ""] {
            let error = members(&archive(&format!("30 size={size}\n"))).err().unwrap();
            assert!(matches!(error, ImportError::Damaged { field: "tar size", .. }), "{size}: {error}");
        }
        let past = members(&archive("28 size=9223372036854775807\n")).err().unwrap();
        assert!(matches!(past, ImportError::Truncated { .. }), "{past}");
    }
}
