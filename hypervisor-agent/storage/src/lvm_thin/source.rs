//! A thin volume that is read, and what changed in it since a snapshot.

use std::io;
use std::sync::OnceLock;

use xenith_common_block::{
    BaseId, BlockError, BlockSource, ByteRange, ChangedRanges, Extent, ExtentKind, FileSource, RangeSet,
};
use xenith_common_ids::VdiId;

use super::metadata::Frozen;
use super::{Found, LvmThinDriver};
use crate::StorageError;
use crate::changed::changed;
use crate::extent_map::Mapped;

#[derive(Debug)]
pub struct ThinSource {
    driver: LvmThinDriver,
    thin_id: Option<u32>,
    contents: FileSource,
    /// What has blocks; `None`: it cannot be told, and all of it is read.
    mapped: OnceLock<Option<RangeSet>>,
}

impl ThinSource {
    pub fn open(driver: LvmThinDriver, found: &Found) -> Result<Self, BlockError> {
        let contents = FileSource::open(&driver.device(&found.volume.name))?;
        Ok(Self { driver, thin_id: found.volume.thin_id, contents, mapped: OnceLock::new() })
    }

    fn mapped(&self) -> Option<&RangeSet> {
        let mapped = self.mapped.get_or_init(|| {
            let sr = self.driver.id;
            let read = self.driver.mapped_of(self.thin_id, self.size());
            read.inspect_err(|error| tracing::warn!(%sr, %error, "a volume is read as a whole")).ok()
        });
        mapped.as_ref()
    }

    fn compare(&self, base: &Found) -> io::Result<RangeSet> {
        let (size, base_size) = (self.size(), base.size.bytes());
        let frozen = self.driver.frozen()?;
        let now = frozen.map_of(known(self.thin_id)?, size)?;
        let before = frozen.map_of(known(base.volume.thin_id)?, base_size)?;
        drop(frozen);
        changed((fine(now), size), (fine(before), base_size))
    }
}

impl LvmThinDriver {
    fn frozen(&self) -> io::Result<Frozen<'_>> {
        Frozen::take(&self.machine, &self.pool, &self.metadata)
    }

    /// Where a volume of `size` bytes has blocks.
    pub(super) fn mapped_of(&self, thin_id: Option<u32>, size: u64) -> io::Result<RangeSet> {
        let map = self.frozen()?.map_of(known(thin_id)?, size)?;
        Ok(map.into_iter().map(|mapped| mapped.range).collect())
    }
}

fn known(thin_id: Option<u32>) -> io::Result<u32> {
    thin_id.ok_or_else(|| io::Error::other("LVM does not say its number in the pool"))
}

/// Read already.
fn fine(map: Vec<Mapped>) -> impl Iterator<Item = io::Result<Mapped>> {
    map.into_iter().map(Ok)
}

/// Data where there are blocks, nothing in between.
fn extents_of(mapped: &RangeSet, range: ByteRange) -> Vec<Extent> {
    let mut extents = Vec::new();
    let mut at = range.start;
    for data in mapped.within(range) {
        Extent::push_merged(&mut extents, ByteRange::new(at, data.start), ExtentKind::Unallocated);
        Extent::push_merged(&mut extents, data, ExtentKind::Data);
        at = data.end;
    }
    Extent::push_merged(&mut extents, ByteRange::new(at, range.end), ExtentKind::Unallocated);
    extents
}

impl BlockSource for ThinSource {
    fn size(&self) -> u64 {
        self.contents.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        self.contents.read_at(offset, buf)
    }

    fn extents(&self, range: ByteRange) -> Result<Vec<Extent>, BlockError> {
        BlockError::check_bounds(range.start, range.len(), self.size())?;
        Ok(match self.mapped() {
            Some(mapped) => extents_of(mapped, range),
            None => vec![Extent::new(range, ExtentKind::Data)],
        })
    }

    fn changed_since(&self, base: &BaseId) -> Result<ChangedRanges, BlockError> {
        let unknown = |reason: String| Ok(ChangedRanges::Unknown { reason });
        let Ok(id) = base.0.parse::<VdiId>() else {
            return unknown(format!("{:?} is not a snapshot of this SR", base.0));
        };
        let found = match self.driver.find(id) {
            Ok(found) if found.snapshot_of.is_some() => found,
            Ok(_) => return unknown(format!("{id} is not a snapshot")),
            Err(StorageError::NotFound { .. }) => {
                return unknown(format!("snapshot {id} is not there any more"));
            }
            Err(error) => return unknown(error.to_string()),
        };
        match self.compare(&found) {
            Ok(set) => Ok(ChangedRanges::Known(set)),
            Err(error) => unknown(format!("where its blocks lie cannot be read: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_cover_what_was_asked() {
        let mapped: RangeSet = [ByteRange::new(10, 20), ByteRange::new(30, 40)].into_iter().collect();
        let table: &[(u64, u64, &[(u64, u64, bool)])] = &[
            (0, 50, &[(0, 10, false), (10, 20, true), (20, 30, false), (30, 40, true), (40, 50, false)]),
            (12, 15, &[(12, 15, true)]),
            (20, 30, &[(20, 30, false)]),
            (15, 35, &[(15, 20, true), (20, 30, false), (30, 35, true)]),
            (5, 5, &[]),
        ];
        for &(from, to, expected) in table {
            let found: Vec<_> = extents_of(&mapped, ByteRange::new(from, to))
                .iter()
                .map(|extent| (extent.range.start, extent.range.end, extent.kind == ExtentKind::Data))
                .collect();
            assert_eq!(found, expected, "{from} to {to}");
        }
    }
}
