//! A thin volume that is read or written, and what changed in it since a snapshot.

use std::io;
use std::path::Path;
use std::sync::OnceLock;

use xenith_common_block::{
    BaseId, BlockError, BlockSink, BlockSource, ByteRange, ChangedRanges, Extent, ExtentKind, FileSink,
    FileSource, RangeSet,
};
use xenith_common_ids::VdiId;

use super::metadata::Frozen;
use super::{Found, LvmThinDriver};
use crate::StorageError;
use crate::changed::changed;
use crate::extent_map::Mapped;

/// Read at once to see whether it is zeros.
const STEP: u64 = 1 << 20;

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

    fn frozen(&self) -> io::Result<Frozen<'_>> {
        let LvmThinDriver { machine, pool, metadata, .. } = &self.driver;
        Frozen::take(machine, pool, metadata)
    }

    fn thin_id(&self) -> io::Result<u32> {
        self.thin_id.ok_or_else(|| io::Error::other("LVM does not say its number in the pool"))
    }

    fn mapped(&self) -> Option<&RangeSet> {
        let read = || -> io::Result<RangeSet> {
            let map = self.frozen()?.map_of(self.thin_id()?, self.size())?;
            Ok(map.into_iter().map(|mapped| mapped.range).collect())
        };
        let mapped = self.mapped.get_or_init(|| {
            let sr = self.driver.id;
            read().inspect_err(|error| tracing::warn!(%sr, %error, "a volume is read as a whole")).ok()
        });
        mapped.as_ref()
    }

    fn compare(&self, base: &Found) -> io::Result<RangeSet> {
        let (size, base_size) = (self.size(), base.size.bytes());
        let base_id =
            base.volume.thin_id.ok_or_else(|| io::Error::other("LVM does not say its number in the pool"))?;
        let frozen = self.frozen()?;
        let (now, before) = (frozen.map_of(self.thin_id()?, size)?, frozen.map_of(base_id, base_size)?);
        drop(frozen);
        changed((fine(now), size), (fine(before), base_size))
    }
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

/// A volume that is written.
#[derive(Debug)]
pub struct ThinSink {
    writes: FileSink,
    reads: FileSource,
}

impl ThinSink {
    pub fn open(device: &Path) -> Result<Self, BlockError> {
        Ok(Self { writes: FileSink::open(device)?, reads: FileSource::open(device)? })
    }
}

impl BlockSink for ThinSink {
    fn size(&self) -> u64 {
        self.writes.size()
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        self.writes.write_at(offset, data)
    }

    /// Reads first, which costs nothing where there is no block: a hole stays one. The kernel may leave out a part of what
    /// it is told to discard (dm-thin.c, where a block is busy), so zeros are written where there is something else.
    fn zero(&self, range: ByteRange) -> Result<(), BlockError> {
        BlockError::check_bounds(range.start, range.len(), self.size())?;
        let mut bytes = vec![0; usize::try_from(STEP.min(range.len())).expect("a small step")];
        let mut at = range.start;
        while at < range.end {
            let len = (range.end - at).min(STEP);
            let step = &mut bytes[..usize::try_from(len).expect("a small step")];
            self.reads.read_at(at, step)?;
            if step.iter().any(|&byte| byte != 0) {
                self.writes.zero(ByteRange::with_len(at, len))?;
            }
            at += len;
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), BlockError> {
        self.writes.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

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

    #[test]
    fn zeroing_writes_only_where_there_is_something_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("volume");
        File::create(&path).unwrap().set_len(8 << 20).unwrap();
        let sink = ThinSink::open(&path).unwrap();
        sink.write_at(3 << 20, &[7; 4096]).unwrap();
        sink.zero(ByteRange::new(1 << 20, 8 << 20)).unwrap();
        let mut bytes = vec![1; 8 << 20];
        FileSource::open(&path).unwrap().read_at(0, &mut bytes).unwrap();
        assert!(bytes.iter().all(|&byte| byte == 0));
        assert!(sink.zero(ByteRange::new(0, 9 << 20)).is_err());
        sink.zero(ByteRange::new(4096, 4096)).unwrap();
    }
}
