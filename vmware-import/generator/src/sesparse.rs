//! `seSparse`: 4 KiB grains, 64-bit tables.

use std::fs::File;
use std::io::{Result, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::{Content, Options, SECTOR, file_name};

const GRAIN: u64 = 4096;
const GTES: u64 = 4096;
const GT_SECTORS: u64 = GTES * 8 / SECTOR;

/// Writes `NAME.vmdk` (descriptor, at `path`) and `NAME-sesparse.vmdk`.
pub fn se_sparse(path: &Path, content: &dyn Content, options: &Options) -> Result<()> {
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
    let mut gd = vec![0u64; gd_entries as usize];
    let mut tables: Vec<Vec<u64>> = Vec::new();
    for (index, &grain) in held.iter().enumerate() {
        let slot = &mut gd[(grain / GTES) as usize];
        if *slot == 0 {
            *slot = 0x1000_0000 << 32 | tables.len() as u64;
            tables.push(vec![0; GTES as usize]);
        }
        let table = (*slot & 0xffff_ffff) as usize;
        let index = index as u64;
        tables[table][(grain % GTES) as usize] = 3 << 60 | (index & 0xfff) << 48 | index >> 12;
    }
    // Header, volatile header, journal header, journal, directory, tables, bitmap, back map, grains.
    let gd_at = 8;
    let gd_sectors = (gd_entries * 8).div_ceil(SECTOR);
    let gt_at = gd_at + gd_sectors;
    let gt_sectors = tables.len() as u64 * GT_SECTORS;
    let grains_at = (gt_at + gt_sectors + 2).next_multiple_of(8);
    let delta =
        path.with_file_name(format!("{}-sesparse.vmdk", path.file_stem().unwrap_or_default().display()));
    let file = File::create(&delta)?;
    let areas = [1, 1, 2, 1, 3, 1, gd_at, gd_sectors, gt_at, gt_sectors];
    let rest = [gt_at + gt_sectors, 1, gt_at + gt_sectors + 1, 1, grains_at, held.len() as u64 * 8];
    let mut header = vec![0xcafe_babe, 0x2_0000_0001, sectors, 8, GT_SECTORS, 0, 0, 0, 0, 0];
    header.extend(areas.into_iter().chain(rest));
    header.resize(64, 0);
    file.write_all_at(&words(&header), 0)?;
    file.write_all_at(&words(&[0xcafe_cafe, 0, 0, 0]), SECTOR)?;
    file.write_all_at(&words(&gd), gd_at * SECTOR)?;
    for (index, table) in tables.iter().enumerate() {
        file.write_all_at(&words(table), (gt_at + index as u64 * GT_SECTORS) * SECTOR)?;
    }
    for (index, &grain) in held.iter().enumerate() {
        content.grain(grain * GRAIN, &mut buf)?;
        file.write_all_at(&buf, grains_at * SECTOR + index as u64 * GRAIN)?;
    }
    file.set_len(grains_at * SECTOR + held.len() as u64 * GRAIN)?;
    let extent = format!("SESPARSE \"{}\"", file_name(&delta));
    File::create(path)?.write_all(options.descriptor("seSparse", sectors, &extent).as_bytes())
}

fn words(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
