//! monolithicSparse as Workstation writes it: two directories with preallocated tables in front, then grains.

use std::fs::File;
use std::io::Result;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::{Content, Options, SECTOR, file_name};

pub(crate) const GRAIN: u64 = 64 * 1024;
pub(crate) const GTES: u64 = 512;
const DESCRIPTOR_SECTORS: u64 = 20;

/// Writes one file at `path`.
pub fn monolithic_sparse(path: &Path, content: &dyn Content, options: &Options) -> Result<()> {
    let sectors = content.size() / SECTOR;
    let mut buf = vec![0; GRAIN as usize];
    let mut held = Vec::new();
    for grain in 0..content.size().div_ceil(GRAIN) {
        if content.grain(grain * GRAIN, &mut buf)? {
            held.push(grain);
        }
    }
    let held = options.grains(held);
    let gd_entries = content.size().div_ceil(GRAIN * GTES);
    let gd_sectors = (gd_entries * 4).div_ceil(SECTOR);
    let set = gd_sectors + gd_entries * 4;
    let rgd = 1 + DESCRIPTOR_SECTORS;
    let gd = rgd + set;
    let overhead = (gd + set).next_multiple_of(GRAIN / SECTOR);
    let mut tables = vec![0u32; (gd_entries * GTES) as usize];
    let file = File::create(path)?;
    for (index, &grain) in held.iter().enumerate() {
        let sector = overhead + index as u64 * (GRAIN / SECTOR);
        tables[grain as usize] = sector as u32;
        content.grain(grain * GRAIN, &mut buf)?;
        file.write_all_at(&buf, sector * SECTOR)?;
    }
    for at in [rgd, gd] {
        let first = at + gd_sectors;
        let entries: Vec<u32> = (0..gd_entries).map(|index| (first + index * 4) as u32).collect();
        file.write_all_at(&words(&entries), at * SECTOR)?;
        file.write_all_at(&words(&tables), first * SECTOR)?;
    }
    let extent = format!("SPARSE \"{}\"", file_name(path));
    let text = options.descriptor("monolithicSparse", sectors, &extent);
    file.write_all_at(text.as_bytes(), SECTOR)?;
    file.set_len((overhead + held.len() as u64 * (GRAIN / SECTOR)) * SECTOR)?;
    let head =
        Header { flags: 3, sectors, rgd, gd, overhead, descriptor: (1, DESCRIPTOR_SECTORS), version: 1 };
    file.write_all_at(&head.bytes(), 0)
}

pub(crate) fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub(crate) struct Header {
    pub version: u32,
    pub flags: u32,
    pub sectors: u64,
    pub rgd: u64,
    pub gd: u64,
    pub overhead: u64,
    pub descriptor: (u64, u64),
}

impl Header {
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(512);
        bytes.extend_from_slice(b"KDMV");
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.extend_from_slice(&self.flags.to_le_bytes());
        for value in [self.sectors, GRAIN / SECTOR, self.descriptor.0, self.descriptor.1] {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        bytes.extend_from_slice(&(GTES as u32).to_le_bytes());
        for value in [self.rgd, self.gd, self.overhead] {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        bytes.push(0);
        bytes.extend_from_slice(b"\n \r\n");
        bytes.extend_from_slice(&u16::from(self.flags & 1 << 16 != 0).to_le_bytes());
        bytes.resize(512, 0);
        bytes
    }
}
