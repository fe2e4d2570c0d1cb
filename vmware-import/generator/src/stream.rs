//! streamOptimized as ovftool and ESXi write it: markers, tables behind their grains, a footer, an end.

use std::fs::File;
use std::io::{BufWriter, Result, Write};
use std::path::Path;

use libdeflater::{CompressionLvl, Compressor};

use crate::sparse::{GRAIN, GTES, Header, words};
use crate::{Content, Options, SECTOR, file_name};

/// The two dialects that matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StreamStyle {
    /// Directory at the end, footer.
    #[default]
    VMware,
    /// As VMware's, but nothing behind the grains except the end-of-stream marker: only a reader that needs no
    /// tables can read it.
    NoTables,
}

/// Writes one file at `path`.
pub fn stream_optimized(
    path: &Path,
    content: &dyn Content,
    options: &Options,
    style: StreamStyle,
) -> Result<()> {
    let sectors = content.size() / SECTOR;
    let mut out = Output { inner: BufWriter::with_capacity(1 << 20, File::create(path)?), sector: 0 };
    let extent = format!("SPARSE \"{}\"", file_name(path));
    let text = options.descriptor("streamOptimized", sectors, &extent);
    let flags = 1 | 1 << 16 | 1 << 17;
    let mut head =
        Header { version: 3, flags, sectors, rgd: 0, gd: u64::MAX, overhead: 128, descriptor: (1, 20) };
    out.put(&head.bytes())?;
    out.put(text.as_bytes())?;
    out.pad_to(128)?;
    let grains = (0..content.size().div_ceil(GRAIN)).collect::<Vec<u64>>();
    let mut tables = vec![0u32; grains.len().next_multiple_of(GTES as usize)];
    let mut gd = vec![0u32; tables.len() / GTES as usize];
    let mut compressor = Compressor::new(CompressionLvl::new(3).unwrap_or_default());
    let mut packed = vec![0; compressor.zlib_compress_bound(GRAIN as usize)];
    let mut buf = vec![0; GRAIN as usize];
    for grain in options.grains(grains) {
        if !content.grain(grain * GRAIN, &mut buf)? {
            continue;
        }
        let size = compressor
            .zlib_compress(&buf, &mut packed)
            .map_err(|error| std::io::Error::other(format!("cannot compress: {error}")))?;
        tables[grain as usize] = out.sector as u32;
        out.grain(grain * (GRAIN / SECTOR), &packed[..size])?;
    }
    if style == StreamStyle::VMware {
        for (table, entry) in tables.chunks_exact(GTES as usize).zip(&mut gd) {
            if table.iter().any(|&sector| sector != 0) {
                out.marker(4, 1)?;
                *entry = out.sector as u32;
                out.put(&words(table))?;
            }
        }
        out.marker((gd.len() as u64 * 4).div_ceil(SECTOR), 2)?;
        head.gd = out.sector;
        out.put(&words(&gd))?;
        out.marker(1, 3)?;
        out.put(&head.bytes())?;
    }
    out.marker(0, 0)?;
    out.inner.flush()
}

struct Output {
    inner: BufWriter<File>,
    sector: u64,
}

impl Output {
    /// Writes and pads to a sector.
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.inner.write_all(bytes)?;
        let whole = (bytes.len() as u64).next_multiple_of(SECTOR);
        self.inner.write_all(&[0; SECTOR as usize][..(whole - bytes.len() as u64) as usize])?;
        self.sector += whole / SECTOR;
        Ok(())
    }

    fn pad_to(&mut self, sector: u64) -> Result<()> {
        while self.sector < sector {
            self.put(&[0; SECTOR as usize])?;
        }
        Ok(())
    }

    fn grain(&mut self, lba: u64, packed: &[u8]) -> Result<()> {
        let mut bytes = Vec::with_capacity(packed.len() + 12);
        bytes.extend_from_slice(&lba.to_le_bytes());
        bytes.extend_from_slice(&(packed.len() as u32).to_le_bytes());
        bytes.extend_from_slice(packed);
        self.put(&bytes)
    }

    fn marker(&mut self, sectors: u64, kind: u32) -> Result<()> {
        let mut bytes = Vec::with_capacity(16);
        bytes.extend_from_slice(&sectors.to_le_bytes());
        bytes.extend_from_slice(&0u32.to_le_bytes());
        bytes.extend_from_slice(&kind.to_le_bytes());
        self.put(&bytes)
    }
}
