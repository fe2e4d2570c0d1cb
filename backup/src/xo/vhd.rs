//! One VHD, dynamic or differencing, as a file or as a folder of blocks.
//!
//! Sources: "Virtual Hard Disk Image Format Specification" 1.0; the folder's layout as `vhd-lib` of Xen
//! Orchestra writes it: `header`, `footer` and `bat` (one bit per block), `blocks/<n / 1000>/<n % 1000>` with
//! bitmap and data, each through the filter that `chunk-filters.json` names.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use xenith_common_block::BlockError;
use xenith_common_image::vhd::{MAX_SIZE, checksum};

const SECTOR: u64 = 512;
const NO_BLOCK: u32 = u32::MAX;
/// Unpacked blocks kept of a folder: 32 MiB at the usual 2 MiB.
const KEPT: usize = 16;
const MAX_FILTERS: u64 = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filter {
    None,
    Gzip,
    Brotli,
}

enum Storage {
    File { file: File, bat: Vec<u32>, len: u64 },
    Folder { path: PathBuf, filter: Filter, bat: Vec<u8>, kept: Mutex<Vec<(u64, Arc<Vec<u8>>)>> },
}

/// An opened VHD.
pub struct Vhd {
    name: String,
    storage: Storage,
    /// Bytes of the disk.
    size: u64,
    block: u64,
    bitmap: u64,
    uuid: [u8; 16],
    parent: Option<[u8; 16]>,
    parent_name: String,
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from(be32(bytes, at)) << 32 | u64::from(be32(bytes, at + 4))
}

fn id(bytes: &[u8], at: usize) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(&bytes[at..at + 16]);
    id
}

impl Vhd {
    /// Opens the file or folder at `path`. Its parent is not looked for.
    pub fn open(path: &Path) -> Result<Self, BlockError> {
        let name = path.display().to_string();
        if std::fs::metadata(path).map_err(|source| io(&name, 0, source))?.is_dir() {
            Self::open_folder(path, name)
        } else {
            Self::open_file(path, name)
        }
    }

    fn open_file(path: &Path, name: String) -> Result<Self, BlockError> {
        let file = File::open(path).map_err(|source| io(&name, 0, source))?;
        let len = file.metadata().map_err(|source| io(&name, 0, source))?.len();
        let mut head = [0; 1536];
        file.read_exact_at(&mut head, 0).map_err(|source| io(&name, 0, source))?;
        let table_at = be64(&head[512..], 16);
        let mut vhd =
            Self::parse(name, &head[..512], &head[512..], Storage::File { file, bat: Vec::new(), len })?;
        let entries = vhd.blocks();
        let end = table_at.checked_add(entries * 4).filter(|&end| end <= len);
        if end.is_none() {
            return Err(vhd.damaged("its block table lies outside the file"));
        }
        let mut bytes = vec![0; entries as usize * 4];
        let name = vhd.name.clone();
        if let Storage::File { file, bat, .. } = &mut vhd.storage {
            file.read_exact_at(&mut bytes, table_at).map_err(|source| io(&name, table_at, source))?;
            *bat = bytes.chunks_exact(4).map(|entry| be32(entry, 0)).collect();
        }
        Ok(vhd)
    }

    fn open_folder(path: &Path, name: String) -> Result<Self, BlockError> {
        let filter = read_filter(path, &name)?;
        let part = |part: &str, limit: u64| unpack(&path.join(part), filter, limit, &name);
        let (footer, header) = (part("footer", 4096)?, part("header", 8192)?);
        if footer.len() < 512 || header.len() < 1024 {
            return Err(BlockError::Corrupt { target: name, detail: "its header is cut off".to_owned() });
        }
        let kept = Mutex::default();
        let storage = Storage::Folder { path: path.to_owned(), filter, bat: Vec::new(), kept };
        let mut vhd = Self::parse(name, &footer[..512], &header[..1024], storage)?;
        // One bit is enough; writers of old kept a byte per block.
        let bits = unpack(&path.join("bat"), filter, vhd.blocks().max(512), &vhd.name)?;
        if (bits.len() as u64) < vhd.blocks().div_ceil(8) {
            return Err(vhd.damaged("its block table is cut off"));
        }
        if let Storage::Folder { bat, .. } = &mut vhd.storage {
            *bat = bits;
        }
        Ok(vhd)
    }

    fn parse(name: String, footer: &[u8], header: &[u8], storage: Storage) -> Result<Self, BlockError> {
        let corrupt = |detail: &str| BlockError::Corrupt { target: name.clone(), detail: detail.to_owned() };
        if &footer[..8] != b"conectix" || be32(footer, 64) != checksum(footer, 64) {
            return Err(corrupt("its footer has no magic or a wrong checksum"));
        }
        let kind = be32(footer, 60);
        if !matches!(kind, 3 | 4) {
            return Err(corrupt("it is neither a dynamic nor a differencing VHD"));
        }
        if &header[..8] != b"cxsparse" || be32(header, 36) != checksum(&header[..1024], 36) {
            return Err(corrupt("its dynamic header has no magic or a wrong checksum"));
        }
        let (size, block) = (be64(footer, 48), u64::from(be32(header, 32)));
        if size == 0 || size > MAX_SIZE || !size.is_multiple_of(SECTOR) {
            return Err(corrupt("its size is that of no disk"));
        }
        if !block.is_power_of_two() || !(64 * 1024..=16 << 20).contains(&block) {
            return Err(corrupt("its block size is no power of two from 64 KiB to 16 MiB"));
        }
        if u64::from(be32(header, 28)) < size.div_ceil(block) {
            return Err(corrupt("its block table is smaller than the disk"));
        }
        let units: Vec<u16> =
            header[64..576].chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        let parent_name = String::from_utf16_lossy(units.split(|&unit| unit == 0).next().unwrap_or_default());
        Ok(Self {
            storage,
            size,
            block,
            bitmap: (block / SECTOR).div_ceil(8).next_multiple_of(SECTOR),
            uuid: id(footer, 68),
            parent: (kind == 4).then(|| id(header, 40)),
            parent_name,
            name,
        })
    }

    fn damaged(&self, detail: &str) -> BlockError {
        BlockError::Corrupt { target: self.name.clone(), detail: detail.to_owned() }
    }

    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of disk per block.
    #[must_use]
    pub const fn block_size(&self) -> u64 {
        self.block
    }

    /// Number of blocks of the disk.
    #[must_use]
    pub const fn blocks(&self) -> u64 {
        self.size.div_ceil(self.block)
    }

    #[must_use]
    pub const fn uuid(&self) -> [u8; 16] {
        self.uuid
    }

    /// The VHD that decides what this one does not.
    #[must_use]
    pub const fn parent(&self) -> Option<[u8; 16]> {
        self.parent
    }

    /// Where the parent was when this was made, relative to this one.
    #[must_use]
    pub fn parent_name(&self) -> &str {
        &self.parent_name
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether block `number` is in this VHD.
    #[must_use]
    pub fn has(&self, number: u64) -> bool {
        match &self.storage {
            Storage::File { bat, .. } => bat.get(number as usize).is_some_and(|&sector| sector != NO_BLOCK),
            Storage::Folder { bat, .. } => {
                bat.get((number / 8) as usize).is_some_and(|byte| byte & (0x80 >> (number % 8)) != 0)
            }
        }
    }

    /// The bitmap of block `number`: a set bit says that the sector is here.
    pub fn bitmap(&self, number: u64) -> Result<Vec<u8>, BlockError> {
        match &self.storage {
            Storage::File { .. } => {
                let mut bits = vec![0; self.bitmap as usize];
                self.read_file(number, 0, &mut bits)?;
                Ok(bits)
            }
            Storage::Folder { .. } => Ok(self.folder_block(number)?[..self.bitmap as usize].to_vec()),
        }
    }

    /// Reads inside block `number`, `offset` bytes after its start.
    pub fn read(&self, number: u64, offset: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        match &self.storage {
            Storage::File { .. } => self.read_file(number, self.bitmap + offset, buf),
            Storage::Folder { .. } => {
                let block = self.folder_block(number)?;
                let from = (self.bitmap + offset) as usize;
                let part = block.get(from..from + buf.len());
                buf.copy_from_slice(part.ok_or_else(|| self.damaged("a block is shorter than its place"))?);
                Ok(())
            }
        }
    }

    fn read_file(&self, number: u64, offset: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        let Storage::File { file, bat, len } = &self.storage else { return Ok(()) };
        let at = u64::from(bat[number as usize]) * SECTOR + offset;
        if at + buf.len() as u64 > *len {
            return Err(self.damaged("a block lies outside the file; copy the file again"));
        }
        file.read_exact_at(buf, at).map_err(|source| io(&self.name, at, source))
    }

    fn folder_block(&self, number: u64) -> Result<Arc<Vec<u8>>, BlockError> {
        let Storage::Folder { path, filter, kept, .. } = &self.storage else {
            return Err(self.damaged("it is a file"));
        };
        let find = |kept: &[(u64, Arc<Vec<u8>>)]| {
            kept.iter().find(|(at, _)| *at == number).map(|(_, block)| Arc::clone(block))
        };
        if let Some(block) = find(&kept.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(block);
        }
        let file = path.join(format!("blocks/{}/{}", number / 1000, number % 1000));
        let whole = self.bitmap + self.block;
        let block = unpack(&file, *filter, whole, &self.name)?;
        if block.len() as u64 != whole {
            return Err(self.damaged(&format!("block {number} does not have its {whole} bytes")));
        }
        let block = Arc::new(block);
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push((number, Arc::clone(&block)));
        Ok(block)
    }
}

fn io(target: &str, offset: u64, source: std::io::Error) -> BlockError {
    BlockError::Io { action: "read", target: target.to_owned(), offset, source }
}

fn read_filter(path: &Path, name: &str) -> Result<Filter, BlockError> {
    let text = match read_limited(&path.join("chunk-filters.json"), MAX_FILTERS) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Filter::None),
        other => other.map_err(|source| io(name, 0, source))?,
    };
    let corrupt = |detail: String| BlockError::Corrupt { target: name.to_owned(), detail };
    let filters: Vec<String> =
        serde_json::from_slice(&text).map_err(|error| corrupt(format!("its list of filters: {error}")))?;
    match filters.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["none"] => Ok(Filter::None),
        ["gzip"] => Ok(Filter::Gzip),
        ["brotli"] => Ok(Filter::Brotli),
        ref other => Err(corrupt(format!("its blocks went through {other:?}, which is not known here"))),
    }
}

/// Reads a whole file of at most `limit` bytes.
pub(super) fn read_limited(path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(std::io::Error::other(format!("it has more than the {limit} bytes allowed")));
    }
    Ok(bytes)
}

/// A file of a folder, through its filter; at most `limit` bytes come out.
fn unpack(path: &Path, filter: Filter, limit: u64, name: &str) -> Result<Vec<u8>, BlockError> {
    // What does not shrink grows by a little.
    let packed = read_limited(path, limit + limit / 8 + 4096)
        .map_err(|source| io(&path.display().to_string(), 0, source))?;
    let mut plain = Vec::new();
    let read = match filter {
        Filter::None => return Ok(packed),
        Filter::Gzip => {
            flate2::read::MultiGzDecoder::new(&packed[..]).take(limit + 1).read_to_end(&mut plain)
        }
        Filter::Brotli => brotli_decompressor::Decompressor::new(&packed[..], 64 * 1024)
            .take(limit + 1)
            .read_to_end(&mut plain),
    };
    let corrupt = |detail: String| BlockError::Corrupt { target: name.to_owned(), detail };
    read.map_err(|error| corrupt(format!("{} cannot be unpacked: {error}", path.display())))?;
    if plain.len() as u64 > limit {
        return Err(corrupt(format!("{} unpacks to more than it may", path.display())));
    }
    Ok(plain)
}
