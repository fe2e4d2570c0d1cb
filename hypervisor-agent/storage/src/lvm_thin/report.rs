//! What LVM and device-mapper say, read. No IO.
//!
//! LVM 2.03 (`--reportformat json --units b --nosuffix`, lvmreport(7)): one report with an array by the kind of its rows,
//! in which every value is a text. Device-mapper: `dmsetup table` and `dmsetup status`, whose fields the kernel's
//! Documentation/admin-guide/device-mapper/thin-provisioning.rst explains.

use std::collections::HashMap;
use std::io;

use serde::Deserialize;

use super::names::Volume;

/// Of the tables of device-mapper, in bytes.
const SECTOR: u64 = 512;
/// Blocks that one block of metadata, which is 4 KiB, names: 64 bytes each (thin_metadata_size(8)).
const NAMED: u64 = 64;

#[derive(Deserialize)]
struct Reports<T> {
    report: Vec<T>,
}

#[derive(Deserialize)]
struct Volumes {
    lv: Vec<VolumeRow>,
}

#[derive(Deserialize)]
struct VolumeRow {
    lv_name: String,
    lv_size: String,
    #[serde(default)]
    lv_tags: String,
    #[serde(default)]
    pool_lv: String,
    #[serde(default)]
    thin_id: String,
    #[serde(default)]
    lv_time: String,
    #[serde(default)]
    segtype: String,
}

/// A volume of a group, and the pool it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub volume: Volume,
    /// Empty: in none.
    pub pool: String,
    /// `thin`, `thin-pool`, …
    pub kind: String,
}

/// What to ask `lvs` for.
pub const VOLUME_COLUMNS: &str = "lv_name,lv_size,lv_tags,pool_lv,thin_id,lv_time,segtype";

#[derive(Deserialize)]
struct Groups {
    vg: Vec<GroupRow>,
}

#[derive(Deserialize)]
struct GroupRow {
    vg_extent_size: String,
    vg_free: String,
}

/// A volume group, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    pub extent: u64,
    pub free: u64,
}

/// What to ask `vgs` for.
pub const GROUP_COLUMNS: &str = "vg_extent_size,vg_free";

#[derive(Deserialize)]
struct Disks {
    pv: Vec<DiskRow>,
}

#[derive(Deserialize)]
struct DiskRow {
    vg_name: String,
}

fn odd(what: &str, detail: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} says what nobody understands: {detail}"))
}

fn reports<T: for<'de> Deserialize<'de>>(what: &str, json: &str) -> io::Result<Vec<T>> {
    let reports: Reports<T> = serde_json::from_str(json).map_err(|error| odd(what, error))?;
    Ok(reports.report)
}

fn number(what: &str, text: &str) -> io::Result<u64> {
    text.trim().parse().map_err(|_| odd(what, format_args!("{text:?} is not a number")))
}

pub fn volumes(json: &str) -> io::Result<Vec<Listed>> {
    let listed = |row: VolumeRow| {
        let tags = row.lv_tags.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
        let volume = Volume {
            name: row.lv_name,
            bytes: number("lvs", &row.lv_size)?,
            tags,
            thin_id: row.thin_id.trim().parse().ok(),
            made: row.lv_time.trim().parse().ok(),
        };
        Ok(Listed { volume, pool: row.pool_lv, kind: row.segtype })
    };
    reports::<Volumes>("lvs", json)?.into_iter().flat_map(|report| report.lv).map(listed).collect()
}

/// `None`: there is no such group.
pub fn group(json: &str) -> io::Result<Option<Group>> {
    let row = reports::<Groups>("vgs", json)?.into_iter().flat_map(|report| report.vg).next();
    row.map(|row| {
        Ok(Group { extent: number("vgs", &row.vg_extent_size)?, free: number("vgs", &row.vg_free)? })
    })
    .transpose()
}

/// Whether the one disk of this report belongs to no group.
pub fn belongs_to_none(json: &str) -> io::Result<bool> {
    Ok(reports::<Disks>("pvs", json)?
        .iter()
        .flat_map(|report| &report.pv)
        .all(|disk| disk.vg_name.is_empty()))
}

/// What a pool is like, as long as it is active.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolTable {
    /// Bytes of a block, which volumes share or not.
    pub block: u64,
    /// A block that is new to a volume reads as zeros where it was not written.
    pub zeroes: bool,
    /// Of a pool that is full: writes fail, instead of waiting for room.
    pub fails_when_full: bool,
}

/// `0 2064384 thin-pool 253:0 253:1 128 0 1 skip_block_zeroing`
pub fn pool_table(line: &str) -> io::Result<PoolTable> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, _, "thin-pool", _, _, sectors, _, features @ ..] = &fields[..] else {
        return Err(odd("dmsetup table", format_args!("{line:?} is no pool")));
    };
    Ok(PoolTable {
        block: number("dmsetup table", sectors)?.max(1) * SECTOR,
        zeroes: !features.contains(&"skip_block_zeroing"),
        fails_when_full: features.contains(&"error_if_no_space"),
    })
}

/// How full a pool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStatus {
    metadata: (u64, u64),
    /// Blocks of metadata below which the kernel takes no more changes; newer kernels tell it.
    metadata_reserve: u64,
    data: (u64, u64),
    /// Somebody holds a copy of the metadata.
    pub holds_metadata: bool,
    /// Something is wrong with its metadata, or they are full.
    pub is_read_only: bool,
}

impl PoolStatus {
    /// Bytes that are free, of all there are: what there are blocks for, and what the metadata can still name.
    pub fn room(&self, block: u64) -> (u64, u64) {
        let (used, total) = self.data;
        let (named, all) = self.metadata;
        let left = all.saturating_sub(self.metadata_reserve).saturating_sub(named);
        let free = total.saturating_sub(used).min(left.saturating_mul(NAMED));
        (free.saturating_mul(block), total.saturating_mul(block))
    }
}

fn of(what: &str, text: &str) -> io::Result<(u64, u64)> {
    let (used, total) = text.split_once('/').ok_or_else(|| odd(what, text))?;
    Ok((number(what, used)?, number(what, total)?))
}

/// `0 2064384 thin-pool 5 30/1024 100/16128 - rw discard_passdown queue_if_no_space - 256`; a pool that has failed:
/// `0 2064384 thin-pool Fail`.
pub fn pool_status(line: &str) -> io::Result<PoolStatus> {
    const WHAT: &str = "dmsetup status";
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, _, "thin-pool", rest @ ..] = &fields[..] else {
        return Err(odd(WHAT, format_args!("{line:?} is no pool")));
    };
    let [_, metadata, data, held, mode, rest @ ..] = rest else {
        let detail =
            "the pool has failed; look at the host's kernel log, then repair it with `lvconvert --repair`";
        return Err(io::Error::other(detail));
    };
    // Behind the features and `needs_check` or `-`.
    let reserve = rest.last().and_then(|last| last.parse().ok()).unwrap_or(0);
    Ok(PoolStatus {
        metadata: of(WHAT, metadata)?,
        metadata_reserve: reserve,
        data: of(WHAT, data)?,
        holds_metadata: *held != "-",
        // Besides `rw` there is `out_of_data_space`.
        is_read_only: *mode == "ro",
    })
}

/// Bytes that thin volumes take, by their names in device-mapper: `vg-lv: 0 2097152 thin 128 2047`.
pub fn thin_status(lines: &str) -> HashMap<&str, u64> {
    let one = |line: &'_ str| -> Option<(usize, u64)> {
        let (name, rest) = line.split_once(": ")?;
        let mut fields = rest.split_ascii_whitespace().skip(2);
        // One that has failed says so instead of a number.
        let mapped: u64 = (fields.next()? == "thin").then(|| fields.next()?.parse().ok()).flatten()?;
        Some((name.len(), mapped * SECTOR))
    };
    lines.lines().filter_map(|line| one(line).map(|(len, bytes)| (&line[..len], bytes))).collect()
}

#[cfg(test)]
mod tests;
