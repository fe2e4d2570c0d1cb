//! A raw image that is read, and what changed in it since a snapshot.

use std::fs::File;
use std::path::Path;

use xenith_common_block::{
    BaseId, BlockError, BlockSource, ByteRange, ChangedRanges, Extent, FileSource, RangeSet,
};
use xenith_common_ids::VdiId;

use super::{FileDriver, Kind};
use crate::changed::changed;
use crate::extent_map::ExtentMap;
use crate::{Sharing, StorageError};

#[derive(Debug)]
pub struct RawSource {
    driver: FileDriver,
    /// Opened for the map: the other keeps its own to itself.
    file: File,
    contents: FileSource,
}

impl RawSource {
    pub fn open(driver: FileDriver, path: &Path) -> Result<Self, BlockError> {
        let contents = FileSource::open(path)?;
        let file = File::open(path).map_err(|source| BlockError::Io {
            action: "open",
            target: path.display().to_string(),
            offset: 0,
            source,
        })?;
        Ok(Self { driver, file, contents })
    }

    fn compare(&self, base: &File) -> std::io::Result<RangeSet> {
        let (size, base_size) = (self.contents.size(), base.metadata()?.len());
        changed((ExtentMap::new(&self.file)?, size), (ExtentMap::new(base)?, base_size))
    }
}

impl BlockSource for RawSource {
    fn size(&self) -> u64 {
        self.contents.size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        self.contents.read_at(offset, buf)
    }

    fn extents(&self, range: ByteRange) -> Result<Vec<Extent>, BlockError> {
        self.contents.extents(range)
    }

    fn changed_since(&self, base: &BaseId) -> Result<ChangedRanges, BlockError> {
        let unknown = |reason: String| Ok(ChangedRanges::Unknown { reason });
        let Ok(id) = base.0.parse::<VdiId>() else {
            return unknown(format!("{:?} is not a snapshot of this SR", base.0));
        };
        let path = match self.driver.find(id) {
            Ok(found) if found.kind == Kind::Snapshot => found.path,
            Ok(_) => return unknown(format!("{id} is not a snapshot")),
            Err(StorageError::NotFound { .. }) => {
                return unknown(format!("snapshot {id} is not there any more"));
            }
            Err(error) => return unknown(error.to_string()),
        };
        if self.driver.sharing == Sharing::FullCopy {
            return unknown(
                "this file system cannot share blocks between a disk and its snapshot".to_owned(),
            );
        }
        match File::open(&path).and_then(|base| self.compare(&base)) {
            Ok(set) => Ok(ChangedRanges::Known(set)),
            Err(error) => {
                unknown(format!("where the blocks of {} lie cannot be read: {error}", path.display()))
            }
        }
    }
}
