//! `vmfsSparse` (COWD): one-sector grains.

use std::fs::{self, File};
use std::io::{Result, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::{Content, Options, SECTOR, file_name};

const GTES: u64 = 4096;

/// Writes `NAME.vmdk` (descriptor, at `path`) and `NAME-delta.vmdk`.
pub fn vmfs_sparse(path: &Path, content: &dyn Content, options: &Options) -> Result<()> {
    let sectors = content.size() / SECTOR;
    let mut held = Vec::new();
    let mut part = vec![0; 64 * 1024];
    for start in (0..content.size()).step_by(part.len()) {
        // A layer without anything in 64 KiB has nothing in its sectors: sparse samples stay quick.
        if !content.grain(start, &mut part)? {
            continue;
        }
        let mut sector = [0; SECTOR as usize];
        for at in (start..(start + part.len() as u64).min(content.size())).step_by(SECTOR as usize) {
            if content.grain(at, &mut sector)? {
                held.push(at / SECTOR);
            }
        }
    }
    let held = options.grains(held);
    let gd_entries = sectors.div_ceil(GTES);
    let gd_sectors = (gd_entries * 4).div_ceil(SECTOR);
    let gt_sectors = GTES * 4 / SECTOR;
    let mut gd = vec![0u32; (gd_sectors * SECTOR / 4) as usize];
    let mut tables: Vec<Option<Vec<u32>>> = vec![None; gd_entries as usize];
    let mut next = 4 + gd_sectors;
    for &sector in &held {
        let table = (sector / GTES) as usize;
        if tables[table].is_none() {
            tables[table] = Some(vec![0; GTES as usize]);
            gd[table] = next as u32;
            next += gt_sectors;
        }
    }
    let delta = path.with_file_name(format!("{}-delta.vmdk", path.file_stem().unwrap_or_default().display()));
    let file = File::create(&delta)?;
    let first = next;
    let mut buffer = Vec::with_capacity(1 << 20);
    let mut written = first;
    for &sector in &held {
        if let Some(table) = &mut tables[(sector / GTES) as usize] {
            table[(sector % GTES) as usize] = next as u32;
        }
        let start = buffer.len();
        buffer.resize(start + SECTOR as usize, 0);
        content.grain(sector * SECTOR, &mut buffer[start..])?;
        next += 1;
        if buffer.len() == 1 << 20 {
            file.write_all_at(&buffer, written * SECTOR)?;
            written = next;
            buffer.clear();
        }
    }
    file.write_all_at(&buffer, written * SECTOR)?;
    for (entry, table) in gd.iter().zip(&tables) {
        if let Some(table) = table {
            file.write_all_at(&words(table), u64::from(*entry) * SECTOR)?;
        }
    }
    file.write_all_at(&words(&gd), 4 * SECTOR)?;
    file.write_all_at(&header(sectors, gd_entries, next, options), 0)?;
    let extent = format!("VMFSSPARSE \"{}\"", file_name(&delta));
    fs::File::create(path)?.write_all(options.descriptor("vmfsSparse", sectors, &extent).as_bytes())
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn header(sectors: u64, gd_entries: u64, free: u64, options: &Options) -> Vec<u8> {
    let mut bytes = vec![0; 2048];
    bytes[..4].copy_from_slice(b"COWD");
    let flags = if options.parent.is_some() { 3u32 } else { 7 };
    let fields = [1, flags, sectors as u32, 1, 4, gd_entries as u32, free as u32];
    for (slot, value) in bytes[4..32].chunks_exact_mut(4).zip(fields) {
        slot.copy_from_slice(&value.to_le_bytes());
    }
    if let Some(parent) = &options.parent {
        let name = parent.hint.as_bytes();
        let len = name.len().min(1023);
        bytes[32..32 + len].copy_from_slice(&name[..len]);
    }
    bytes
}
