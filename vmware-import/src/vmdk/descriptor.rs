//! The text descriptor of a VMDK, in its dialects and encodings.
//!
//! Accepted: LF, CRLF, trailing NULs, `encoding=` with any label a browser knows (windows-1252 is what
//! Workstation writes on Windows), missing sections, keys in any letter case, lines of other tools. What
//! decides where bytes are read from (extents, content ids, the parent's name) is strict: a line that looks
//! like an extent and is not one is an error, never skipped.

use std::collections::BTreeMap;

use crate::error::{ImportError, Result};

/// No real descriptor comes near; a flat disk of terabytes named by mistake must not be read as text.
pub const MAX_DESCRIPTOR: u64 = 1024 * 1024;
/// Terabytes in 2 GiB pieces need a few thousand; each is an open file.
const MAX_EXTENTS: usize = 4096;
/// 2^47 bytes are twice the largest disk of the vendor; larger sums are nonsense and would overflow later.
pub const MAX_DISK: u64 = 1 << 47;
const SECTOR: u64 = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    ReadWrite,
    ReadOnly,
    NoAccess,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtentKind {
    Flat,
    Sparse,
    Zero,
    Vmfs,
    VmfsSparse,
    SeSparse,
    /// A raw device mapping: the bytes are on a LUN, not in any file.
    Rdm,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtentLine {
    pub access: Access,
    /// In bytes.
    pub len: u64,
    pub kind: ExtentKind,
    /// Empty for `ZERO`.
    pub name: String,
    /// Where the extent starts in its file, in bytes.
    pub offset: u64,
}

/// A content id: eight hex digits, changed by each first write after an open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentId(pub u32);

impl std::fmt::Display for ContentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

#[derive(Debug, Clone, Default)]
pub struct Descriptor {
    pub cid: Option<ContentId>,
    /// `None` for a disk that is not a snapshot.
    pub parent_cid: Option<ContentId>,
    pub parent_hint: Option<String>,
    pub create_type: String,
    pub extents: Vec<ExtentLine>,
    pub ddb: BTreeMap<String, String>,
    pub encoding: String,
    /// `changeTrackPath`: the disk had changed-block tracking.
    pub change_track_path: Option<String>,
    /// It says in so many words that there is no parent.
    no_parent: bool,
}

impl Descriptor {
    /// The disk's size in bytes: the sum of its extents.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.extents.iter().map(|extent| extent.len).sum()
    }

    /// Whether `head` starts like a descriptor.
    #[must_use]
    pub fn is_descriptor(head: &[u8]) -> bool {
        let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
        let text = head.trim_ascii_start();
        let marker = b"# disk descriptorfile";
        text.len() >= marker.len() && text[..marker.len()].eq_ignore_ascii_case(marker)
    }

    /// Parses `bytes`, at most [`MAX_DESCRIPTOR`] of them; `file` is for messages, `base` the text's offset
    /// in that file.
    pub fn parse(file: &str, base: u64, bytes: &[u8]) -> Result<Self> {
        if bytes.len() as u64 > MAX_DESCRIPTOR {
            return Err(ImportError::damaged(file, base, "descriptor", "is larger than 1 MiB"));
        }
        let bytes = bytes.split(|&b| b == 0).next().unwrap_or_default();
        if !Self::is_descriptor(bytes) {
            let detail = "does not start with \"# Disk DescriptorFile\"";
            return Err(ImportError::damaged(file, base, "descriptor", detail));
        }
        let (text, encoding) = decode(bytes);
        let mut descriptor = Self { encoding, ..Self::default() };
        let mut offset = base;
        for line in text.split('\n') {
            let at = Line { file, offset };
            descriptor.line(at, line.trim())?;
            offset += line.len() as u64 + 1;
        }
        descriptor.finish(file, base)
    }

    fn line(&mut self, at: Line<'_>, line: &str) -> Result<()> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let word = line.split_whitespace().next().unwrap_or_default();
        if ["RW", "RDONLY", "NOACCESS"].iter().any(|access| word.eq_ignore_ascii_case(access)) {
            if self.extents.len() == MAX_EXTENTS {
                return Err(at.damaged("extent", format!("list has more than {MAX_EXTENTS} entries")));
            }
            self.extents.push(parse_extent(at, line)?);
            return Ok(());
        }
        let Some((key, value)) = line.split_once('=') else { return Ok(()) };
        let (key, value) = (key.trim(), value.trim());
        let value = value.strip_prefix('"').map_or(value, |v| v.strip_suffix('"').unwrap_or(v));
        match key.to_ascii_lowercase().as_str() {
            "cid" => self.cid = Some(once(at, "CID", self.cid, parse_cid(at, "CID", value)?)?),
            "parentcid" => {
                let before = self.no_parent.then_some(ContentId(u32::MAX)).or(self.parent_cid);
                let cid = once(at, "parentCID", before, parse_cid(at, "parentCID", value)?)?;
                self.no_parent = cid.0 == u32::MAX;
                self.parent_cid = Some(cid).filter(|_| !self.no_parent);
            }
            "parentfilenamehint" => self.parent_hint = Some(value.to_owned()),
            "createtype" => self.create_type = value.to_owned(),
            "changetrackpath" => self.change_track_path = Some(value.to_owned()),
            lower if lower.starts_with("ddb.") => {
                self.ddb.insert(key["ddb.".len()..].to_owned(), value.to_owned());
            }
            // `version`, `isNativeSnapshot` and keys of other tools say nothing about the contents.
            _ => {}
        }
        Ok(())
    }

    fn finish(self, file: &str, base: u64) -> Result<Self> {
        let mut total = 0u64;
        for extent in &self.extents {
            total = total.saturating_add(extent.len);
        }
        if total > MAX_DISK {
            let detail = format!("sum to {total} bytes, more than any disk has");
            return Err(ImportError::damaged(file, base, "extents", detail));
        }
        if self.extents.is_empty() {
            return Err(ImportError::damaged(file, base, "descriptor", "names no extent"));
        }
        Ok(self)
    }
}

#[derive(Clone, Copy)]
struct Line<'a> {
    file: &'a str,
    offset: u64,
}

impl Line<'_> {
    fn damaged(&self, field: &'static str, detail: impl Into<String>) -> ImportError {
        ImportError::damaged(self.file, self.offset, field, detail)
    }
}

/// Two different ids in one descriptor would make the check of a chain a matter of luck.
fn once(at: Line<'_>, field: &'static str, old: Option<ContentId>, new: ContentId) -> Result<ContentId> {
    match old {
        Some(old) if old != new => Err(at.damaged(field, format!("is given twice, as {old} and {new}"))),
        _ => Ok(new),
    }
}

fn decode(bytes: &[u8]) -> (String, String) {
    let label = bytes
        .split(|&b| b == b'\n')
        .filter_map(|line| {
            let line = line.trim_ascii();
            let rest = line.get(.."encoding".len())?.eq_ignore_ascii_case(b"encoding").then_some(line)?;
            let value = rest["encoding".len()..].trim_ascii_start().strip_prefix(b"=")?;
            Some(String::from_utf8_lossy(value.trim_ascii()).trim_matches('"').to_ascii_lowercase())
        })
        .next();
    let by_label = label.as_deref().and_then(|label| encoding_rs::Encoding::for_label(label.as_bytes()));
    // A wrong label is common (tools copy the line): text that is valid UTF-8 is UTF-8.
    let encoding = match std::str::from_utf8(bytes) {
        Ok(_) => encoding_rs::UTF_8,
        Err(_) => by_label.filter(|e| *e != encoding_rs::UTF_8).unwrap_or(encoding_rs::WINDOWS_1252),
    };
    let (text, _, _) = encoding.decode(bytes);
    (text.into_owned(), label.unwrap_or_else(|| encoding.name().to_ascii_lowercase()))
}

fn parse_cid(at: Line<'_>, field: &'static str, value: &str) -> Result<ContentId> {
    // Some tools write the number without a parent as it is, signed.
    if value == "-1" {
        return Ok(ContentId(u32::MAX));
    }
    let digits = value.trim_start_matches("0x");
    u32::from_str_radix(digits, 16)
        .map(ContentId)
        .map_err(|_| at.damaged(field, "is not a hexadecimal number"))
}

fn parse_extent(at: Line<'_>, line: &str) -> Result<ExtentLine> {
    let (head, name, tail) = match line.split_once('"') {
        Some((head, rest)) => match rest.rsplit_once('"') {
            Some((name, tail)) => (head, name, tail.trim()),
            None => return Err(at.damaged("extent", "has a name without a closing quote")),
        },
        None => (line, "", ""),
    };
    let words: Vec<&str> = head.split_whitespace().collect();
    let [access, sectors, kind, ..] = words[..] else {
        return Err(at.damaged("extent", "has fewer than three words"));
    };
    let access = match access.to_ascii_uppercase().as_str() {
        "RW" => Access::ReadWrite,
        "RDONLY" => Access::ReadOnly,
        _ => Access::NoAccess,
    };
    let kind = match kind.to_ascii_uppercase().as_str() {
        "FLAT" => ExtentKind::Flat,
        "SPARSE" => ExtentKind::Sparse,
        "ZERO" => ExtentKind::Zero,
        "VMFS" => ExtentKind::Vmfs,
        "VMFSSPARSE" => ExtentKind::VmfsSparse,
        "SESPARSE" => ExtentKind::SeSparse,
        "VMFSRDM" | "VMFSRAW" => ExtentKind::Rdm,
        _ => return Err(at.damaged("extent", "has a type that is not known")),
    };
    if words.len() > 3 || name.contains('"') {
        return Err(at.damaged("extent", "has words where its quoted name should be"));
    }
    if kind != ExtentKind::Zero && name.is_empty() {
        return Err(at.damaged("extent", "has no file name"));
    }
    let len = sectors_to_bytes(at, "extent size", sectors)?;
    if len == 0 {
        return Err(at.damaged("extent size", "is zero"));
    }
    // VMFS and partitionedDevice lines may carry more words behind the offset; the first is the offset.
    let offset =
        tail.split_whitespace().next().map_or(Ok(0), |o| sectors_to_bytes(at, "extent offset", o))?;
    Ok(ExtentLine { access, len, kind, name: name.to_owned(), offset })
}

fn sectors_to_bytes(at: Line<'_>, field: &'static str, text: &str) -> Result<u64> {
    let sectors: u64 = text.parse().map_err(|_| at.damaged(field, "is not a number"))?;
    match sectors.checked_mul(SECTOR) {
        Some(bytes) if bytes <= MAX_DISK => Ok(bytes),
        _ => Err(at.damaged(field, format!("of {sectors} sectors is more than any disk has"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_named_once_or_not_at_all() {
        let parse = |parents: &str| {
            let text = format!("# Disk DescriptorFile\nCID=2\n{parents}RW 8 ZERO\n");
            Descriptor::parse("d.vmdk", 0, text.as_bytes())
        };
        for (parents, expected) in [
            ("", None),
            ("parentCID=ffffffff\n", None),
            ("parentCID=00000001\n", Some(ContentId(1))),
            ("parentCID=1\nparentCID=00000001\n", Some(ContentId(1))),
        ] {
            assert_eq!(parse(parents).unwrap().parent_cid, expected, "{parents}");
        }
        // Of the second word for it alone, a snapshot would be read without its parent: zeros for all it has not.
        for parents in
            ["parentCID=1\nparentCID=ffffffff\n", "parentCID=-1\nparentCID=1\n", "parentCID=1\nparentCID=2\n"]
        {
            let error = parse(parents).unwrap_err();
            assert!(matches!(error, ImportError::Damaged { field: "parentCID", .. }), "{parents}: {error}");
        }
    }
}
