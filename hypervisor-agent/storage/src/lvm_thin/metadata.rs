//! Where the blocks of a volume lie in its pool: `thin_dump`, from a copy of the pool's metadata that stands still.
//!
//! A block that two volumes share is never written in place: the same place means the same contents. That holds while
//! both volumes are there. `thin_delta` would compare two volumes itself; its older versions leave out the last blocks of
//! the longer one, and what is left out here is missing from a backup. So the maps are read, and compared by what
//! compares those of files ([`crate::changed`]).
//!
//! The format is that of thin-provisioning-tools 0.9 (thin_dump(8); `xml_format.cc` there writes it): an element a line.
//! Its first line is not quite XML where a copy is held, so lines are read, and not XML. What is not known is an error:
//! newer versions may say in other elements which blocks are shared.
//!
//! Who else touches it: a pool has one such copy at a time. Ours is held for as long as `thin_dump` runs, by one caller
//! at a time; one that is there before is of an agent that was killed, or of a program that should not use a pool of ours,
//! and is dropped.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use xenith_common_block::ByteRange;

use super::names::dm_name;
use super::pool::Pool;
use super::programs::{Call, Machine};
use super::report;
use crate::extent_map::Mapped;

/// Pieces of one volume that are kept in memory: 64 MiB. A volume of this many is read as a whole.
const MOST: usize = 2 << 20;

/// A copy of the metadata, as long as it lives.
pub struct Frozen<'a> {
    machine: &'a Machine,
    pool: &'a Pool,
    _alone: MutexGuard<'a, ()>,
}

impl<'a> Frozen<'a> {
    pub fn take(machine: &'a Machine, pool: &'a Pool, alone: &'a Mutex<()>) -> io::Result<Self> {
        let alone = alone.lock().unwrap_or_else(PoisonError::into_inner);
        let held = report::pool_status(machine.ask(&pool.status_call(machine), 4096)?.trim())?.holds_metadata;
        if held {
            message(machine, pool, "release_metadata_snap")?;
        }
        message(machine, pool, "reserve_metadata_snap")?;
        Ok(Self { machine, pool, _alone: alone })
    }

    /// Where the blocks of a volume of `size` bytes lie, in order.
    pub fn map_of(&self, thin_id: u32, size: u64) -> io::Result<Vec<Mapped>> {
        let metadata = dm_name(&self.pool.group, &format!("{}_tmeta", self.pool.name));
        let device = self.machine.devices.join("mapper").join(metadata);
        let call = Call::long("thin_dump --metadata-snap --dev-id").and(thin_id.to_string());
        let mut map = Map::new(size);
        self.machine.programs.run(&call.and(device.display().to_string()), &mut |line| map.read(line))?;
        map.finish()
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        if let Err(error) = message(self.machine, self.pool, "release_metadata_snap") {
            // Dropped by the next one.
            tracing::warn!(%error, pool = %self.pool, "the copy of a pool's metadata cannot be let go");
        }
    }
}

fn message(machine: &Machine, pool: &Pool, message: &str) -> io::Result<()> {
    machine.run(&Call::new("dmsetup message").and(pool.target(machine)).and("0").and(message))
}

/// A map that is being read.
#[derive(Debug)]
struct Map {
    size: u64,
    /// Bytes of a block; zero until it was told.
    block: u64,
    pieces: Vec<Mapped>,
    ended: bool,
}

impl Map {
    const fn new(size: u64) -> Self {
        Self { size, block: 0, pieces: Vec::new(), ended: false }
    }

    fn read(&mut self, line: &str) -> io::Result<()> {
        let line = line.trim();
        let element = line.split([' ', '>']).next().unwrap_or_default();
        match element {
            "" | "<device" | "</device" => Ok(()),
            "</superblock" => {
                self.ended = true;
                Ok(())
            }
            "<superblock" => {
                let sectors = number(line, "data_block_size")?;
                self.block = sectors.checked_mul(512).filter(|block| *block > 0).ok_or_else(|| odd(line))?;
                Ok(())
            }
            "<single_mapping" => {
                self.add(number(line, "origin_block")?, number(line, "data_block")?, 1, line)
            }
            "<range_mapping" => {
                let (from, to) = (number(line, "origin_begin")?, number(line, "data_begin")?);
                self.add(from, to, number(line, "length")?, line)
            }
            _ => Err(odd(line)),
        }
    }

    fn add(&mut self, from: u64, to: u64, blocks: u64, line: &str) -> io::Result<()> {
        let bytes =
            |blocks: u64| blocks.checked_mul(self.block).filter(|_| self.block > 0).ok_or_else(|| odd(line));
        let (start, place, len) = (bytes(from)?, bytes(to)?, bytes(blocks)?);
        // The last block may reach over the end.
        let range = ByteRange::new(start, start.saturating_add(len).min(self.size));
        if range.is_empty() {
            return Ok(());
        }
        if let Some(last) = self.pieces.last_mut() {
            if last.range.end > range.start {
                return Err(odd(line));
            }
            let follows = last.place.and_then(|before| before.checked_add(last.range.len())) == Some(place);
            if last.range.end == range.start && follows {
                last.range.end = range.end;
                return Ok(());
            }
        }
        if self.pieces.len() >= MOST {
            return Err(io::Error::other(format!("it lies in more than {MOST} pieces")));
        }
        self.pieces.push(Mapped { range, place: Some(place) });
        Ok(())
    }

    /// Refuses one that was cut off.
    fn finish(self) -> io::Result<Vec<Mapped>> {
        if self.ended { Ok(self.pieces) } else { Err(io::Error::other("thin_dump ended before its end")) }
    }
}

fn odd(line: &str) -> io::Error {
    let line: String = line.chars().take(200).collect();
    io::Error::new(io::ErrorKind::InvalidData, format!("thin_dump says what nobody understands: {line:?}"))
}

/// The attribute of an element.
fn number(line: &str, attribute: &str) -> io::Result<u64> {
    let rest = line.split_once(&format!(" {attribute}=\"")).map(|(_, rest)| rest);
    let digits = rest.and_then(|rest| rest.split('"').next());
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| odd(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As thin-provisioning-tools 0.9 writes it, with the quotation mark that it forgets.
    const DUMP: &str = r#"<superblock uuid="" time="3" transaction="7" flags="0" version="2" data_block_size="128" nr_data_blocks="1600 metadata_snap="57">
  <device dev_id="7" mapped_blocks="21" transaction="5" creation_time="1" snap_time="3">
    <single_mapping origin_block="0" data_block="100" time="0"/>
    <range_mapping origin_begin="1" data_begin="101" length="3" time="1"/>
    <single_mapping origin_block="4" data_block="7" time="3"/>
    <range_mapping origin_begin="10" data_begin="200" length="16" time="1"/>
  </device>
</superblock>
"#;

    fn read(dump: &str, size: u64) -> io::Result<Vec<(u64, u64, u64)>> {
        let mut map = Map::new(size);
        dump.lines().try_for_each(|line| map.read(line))?;
        let pieces = map.finish()?;
        let block = |bytes: u64| bytes / 65536;
        Ok(pieces
            .iter()
            .map(|piece| {
                (block(piece.range.start), block(piece.range.end), block(piece.place.unwrap_or_default()))
            })
            .collect())
    }

    #[test]
    fn a_map_is_read_and_its_neighbours_are_one_piece() {
        assert_eq!(read(DUMP, 64 << 20).unwrap(), [(0, 4, 100), (4, 5, 7), (10, 26, 200)]);
        // The end of the volume is the end of its map.
        assert_eq!(read(DUMP, 12 * 65536).unwrap(), [(0, 4, 100), (4, 5, 7), (10, 12, 200)]);
        let empty = DUMP.lines().filter(|line| !line.contains("mapping")).collect::<Vec<_>>().join("\n");
        assert!(read(&empty, 64 << 20).unwrap().is_empty());
    }

    #[test]
    fn what_is_not_understood_is_no_map() {
        let newer = DUMP
            .replace("<single_mapping origin_block=\"4\" data_block=\"7\" time=\"3\"/>", "<ref name=\"1\"/>");
        let backwards = DUMP.replace("origin_begin=\"10\"", "origin_begin=\"2\"");
        let without_size = DUMP.replace("data_block_size", "size");
        let odd_number = DUMP.replace("length=\"3\"", "length=\"three\"");
        let too_large = DUMP.replace("data_block=\"7\"", "data_block=\"18446744073709551615\"");
        let cut_off = DUMP.replace("</superblock>", "");
        for dump in [&newer, &backwards, &without_size, &odd_number, &too_large, &cut_off, ""] {
            assert!(read(dump, 64 << 20).is_err(), "{dump}");
        }
    }
}
