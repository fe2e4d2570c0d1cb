//! Stream-optimised VMDK: what VMware's products export and import, and what appliances (OVA) carry.
//!
//! Written front to back, so it may go down a pipe: header, descriptor, then for each 32 MiB of disk its grains
//! of 64 KiB, deflated, and their table; the directory, a footer that names it, the end. Grains of zeros are
//! left out. Memory: one table's grains, 32 MiB, whatever the disk's size. A crash leaves a file without a
//! footer, which readers refuse.
//!
//! Source: VMware "Virtual Disk Format 5.0".

use std::io::Write;

use libdeflater::{CompressionLvl, Compressor};
use xenith_common_block::{BlockError, BlockSource, ByteRange, ExtentKind, is_zero};

use crate::io_error;

const SECTOR: u64 = 512;
const GRAIN: u64 = 64 * 1024;
const GRAINS_PER_TABLE: u64 = 512;
const TABLE_BYTES: u64 = GRAIN * GRAINS_PER_TABLE;
/// Sectors before the first marker: the header and room for the descriptor.
const OVERHEAD: u64 = 128;
/// Sector numbers have 32 bits, and grains that do not shrink still get a marker.
pub const MAX_SIZE: u64 = 2000 << 30;

enum Marker {
    EndOfStream = 0,
    Table = 1,
    Directory = 2,
    Footer = 3,
}

/// Writes `source` to `out` as an image called `name`. `progress` gets the bytes of disk done and may end it
/// with an error. Returns the bytes written.
pub fn write(
    source: &dyn BlockSource,
    name: &str,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64) -> Result<(), BlockError>,
) -> Result<u64, BlockError> {
    let size = source.size();
    if size > MAX_SIZE {
        let detail = "VMDK streams end at 2000 GiB; use raw or qcow2";
        return Err(io_error("create", name, std::io::Error::other(detail)));
    }
    let mut stream = Stream { out, name, sector: 0 };
    let sectors = size.div_ceil(SECTOR);
    stream.put(&header(sectors, u64::MAX))?;
    stream.put(descriptor(name, sectors).as_bytes())?;
    while stream.sector < OVERHEAD {
        stream.put(&[0; SECTOR as usize])?;
    }
    let mut directory = Vec::new();
    let mut at = 0;
    while at < size {
        let end = (at + TABLE_BYTES).min(size);
        directory.push(stream.table(source, ByteRange::new(at, end))?);
        progress(end)?;
        at = end;
    }
    let bytes: Vec<u8> = directory.iter().flat_map(|sector| sector.to_le_bytes()).collect();
    stream.marker((bytes.len() as u64).div_ceil(SECTOR), Marker::Directory)?;
    let directory_at = stream.sector;
    stream.put(&bytes)?;
    stream.marker(1, Marker::Footer)?;
    stream.put(&header(sectors, directory_at))?;
    stream.marker(0, Marker::EndOfStream)?;
    stream.out.flush().map_err(|source| io_error("write", name, source))?;
    Ok(stream.sector * SECTOR)
}

struct Stream<'a> {
    out: &'a mut dyn Write,
    name: &'a str,
    sector: u64,
}

impl Stream<'_> {
    /// Writes `bytes` and fills up their last sector.
    fn put(&mut self, bytes: &[u8]) -> Result<(), BlockError> {
        let whole = (bytes.len() as u64).next_multiple_of(SECTOR);
        let pad = (whole - bytes.len() as u64) as usize;
        let written = self.out.write_all(bytes).and_then(|()| self.out.write_all(&[0; 512][..pad]));
        written.map_err(|source| io_error("write", self.name, source))?;
        self.sector += whole / SECTOR;
        Ok(())
    }

    fn marker(&mut self, sectors: u64, kind: Marker) -> Result<(), BlockError> {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&sectors.to_le_bytes());
        bytes[12..].copy_from_slice(&(kind as u32).to_le_bytes());
        self.put(&bytes)
    }

    /// The grains of `range`, then their table. Returns the table's sector, 0 when all is zeros.
    fn table(&mut self, source: &dyn BlockSource, range: ByteRange) -> Result<u32, BlockError> {
        let mut table = [0u8; GRAINS_PER_TABLE as usize * 4];
        let mut any = false;
        for (number, packed) in pack_grains(source, range)?.into_iter().enumerate() {
            let Some(packed) = packed else { continue };
            any = true;
            let sector = u32::try_from(self.sector).map_err(|_| {
                io_error("write", self.name, std::io::Error::other("a VMDK stream ends at 2 TiB"))
            })?;
            table[number * 4..number * 4 + 4].copy_from_slice(&sector.to_le_bytes());
            let lba = (range.start + number as u64 * GRAIN) / SECTOR;
            let mut bytes = Vec::with_capacity(packed.len() + 12);
            bytes.extend_from_slice(&lba.to_le_bytes());
            bytes.extend_from_slice(&(packed.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&packed);
            self.put(&bytes)?;
        }
        if !any {
            return Ok(0);
        }
        self.marker(table.len() as u64 / SECTOR, Marker::Table)?;
        let at = self.sector as u32;
        self.put(&table)?;
        Ok(at)
    }
}

/// The grains of `range`, deflated on all cores; `None` for zeros.
fn pack_grains(source: &dyn BlockSource, range: ByteRange) -> Result<Vec<Option<Vec<u8>>>, BlockError> {
    let count = range.len().div_ceil(GRAIN) as usize;
    let mut wanted = vec![false; count];
    for extent in source.extents(range)?.iter().filter(|extent| extent.kind == ExtentKind::Data) {
        let (first, last) = (extent.range.start - range.start, extent.range.end - range.start);
        wanted[(first / GRAIN) as usize..last.div_ceil(GRAIN) as usize].fill(true);
    }
    let mut packed: Vec<Option<Vec<u8>>> = vec![None; count];
    let cores = std::thread::available_parallelism().map_or(2, usize::from).min(16);
    let share = count.div_ceil(cores);
    std::thread::scope(|scope| {
        let threads: Vec<_> = packed
            .chunks_mut(share)
            .zip(wanted.chunks(share))
            .enumerate()
            .map(|(part, (slots, wanted))| {
                let start = range.start + (part * share) as u64 * GRAIN;
                scope.spawn(move || pack_share(source, start, (slots, wanted)))
            })
            .collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| {
                Err(io_error("compress", "a grain", std::io::Error::other("a thread panicked")))
            })
        })
    })?;
    Ok(packed)
}

fn pack_share(
    source: &dyn BlockSource,
    start: u64,
    (slots, wanted): (&mut [Option<Vec<u8>>], &[bool]),
) -> Result<(), BlockError> {
    let mut compressor = Compressor::new(CompressionLvl::new(3).unwrap_or_default());
    let mut grain = vec![0; GRAIN as usize];
    for (number, (slot, _)) in slots.iter_mut().zip(wanted).enumerate().filter(|(_, (_, wanted))| **wanted) {
        let at = start + number as u64 * GRAIN;
        let len = (source.size() - at).min(GRAIN) as usize;
        grain[len..].fill(0);
        source.read_at(at, &mut grain[..len])?;
        if is_zero(&grain) {
            continue;
        }
        let mut bytes = vec![0; compressor.zlib_compress_bound(grain.len())];
        let len = compressor
            .zlib_compress(&grain, &mut bytes)
            .map_err(|error| io_error("compress", "a grain", std::io::Error::other(format!("{error:?}"))))?;
        bytes.truncate(len);
        *slot = Some(bytes);
    }
    Ok(())
}

fn header(sectors: u64, directory: u64) -> [u8; 512] {
    let mut bytes = [0; 512];
    bytes[..4].copy_from_slice(b"KDMV");
    bytes[4..8].copy_from_slice(&3u32.to_le_bytes());
    // Newline test, deflated grains, markers.
    bytes[8..12].copy_from_slice(&(1u32 | 1 << 16 | 1 << 17).to_le_bytes());
    let fields = [
        (12, sectors.next_multiple_of(GRAIN / SECTOR)),
        (20, GRAIN / SECTOR),
        (28, 1),
        (36, 20),
        (48, 0),
        (56, directory),
        (64, OVERHEAD),
    ];
    for (at, value) in fields {
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    bytes[44..48].copy_from_slice(&(GRAINS_PER_TABLE as u32).to_le_bytes());
    bytes[73..77].copy_from_slice(b"\n \r\n");
    bytes[77..79].copy_from_slice(&1u16.to_le_bytes());
    bytes
}

fn descriptor(name: &str, sectors: u64) -> String {
    let plain = |c: char| if c.is_ascii_graphic() && c != '"' && c != '\\' { c } else { '_' };
    let name: String = name.chars().take(200).map(plain).collect();
    let sum = blake3::hash(format!("{name}:{sectors}:{:?}", std::time::SystemTime::now()).as_bytes());
    let cid = u32::from_le_bytes([sum.as_bytes()[0], sum.as_bytes()[1], sum.as_bytes()[2], 0]) | 1;
    let sectors = sectors.next_multiple_of(GRAIN / SECTOR);
    let cylinders = (sectors / (255 * 63)).clamp(1, 65535);
    format!(
        "# Disk DescriptorFile\nversion=1\nCID={cid:08x}\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\n\n\
         # Extent description\nRW {sectors} SPARSE \"{name}\"\n\n# The Disk Data Base\n#DDB\n\n\
         ddb.adapterType = \"lsilogic\"\nddb.geometry.cylinders = \"{cylinders}\"\nddb.geometry.heads = \"255\"\n\
         ddb.geometry.sectors = \"63\"\nddb.virtualHWVersion = \"13\"\n"
    )
}
