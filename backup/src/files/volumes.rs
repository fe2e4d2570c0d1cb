//! What lies on a disk: partitions, logical volumes, or a filesystem without any of these.

use std::sync::Arc;

use serde::Serialize;
use xenith_common_block::{BlockError, BlockSource, ByteRange, Extent, partitions};

use super::{lvm, recognise};
use crate::error::Result;

/// One volume of a disk.
#[derive(Clone, Serialize)]
pub struct Volume {
    /// `1`, `2` for partitions, `group/name` for logical volumes, `disk` for a disk without partitions.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// What is on it, when that is known.
    pub filesystem: Option<&'static str>,
    /// Why it cannot be read, when it cannot.
    pub unreadable: Option<String>,
    #[serde(skip)]
    pub source: Option<Arc<dyn BlockSource>>,
}

struct Slice {
    disk: Arc<dyn BlockSource>,
    range: ByteRange,
}

impl BlockSource for Slice {
    fn size(&self) -> u64 {
        self.range.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        BlockError::check_bounds(offset, buf.len() as u64, self.range.len())?;
        self.disk.read_at(self.range.start + offset, buf)
    }

    fn extents(&self, range: ByteRange) -> Result<Vec<Extent>, BlockError> {
        BlockError::check_bounds(range.start, range.len(), self.range.len())?;
        let by = self.range.start;
        let found = self.disk.extents(ByteRange::new(range.start + by, range.end + by))?;
        Ok(found
            .into_iter()
            .map(|e| Extent::new(ByteRange::new(e.range.start - by, e.range.end - by), e.kind))
            .collect())
    }
}

/// Finds the volumes of `disk`, logical ones among them.
pub fn volumes(disk: &Arc<dyn BlockSource>) -> Result<Vec<Volume>> {
    let parts = partitions(&**disk)?;
    let mut found = Vec::new();
    if parts.is_empty() || recognise(&**disk).is_some_and(|kind| kind != "fat" && kind != "ntfs") {
        add(&mut found, "disk".to_owned(), Arc::clone(disk));
        return Ok(found);
    }
    for part in parts {
        let slice = Slice { disk: Arc::clone(disk), range: part.range };
        add(&mut found, part.number.to_string(), Arc::new(slice));
    }
    Ok(found)
}

fn add(found: &mut Vec<Volume>, name: String, source: Arc<dyn BlockSource>) {
    let filesystem = recognise(&*source);
    if filesystem != Some("lvm") {
        let size = source.size();
        found.push(Volume { name, size, filesystem, unreadable: None, source: Some(source) });
        return;
    }
    match lvm::logical_volumes(&source) {
        Ok(volumes) => found.extend(volumes.into_iter().map(|(name, opened)| match opened {
            Ok(source) => {
                let (size, filesystem) = (source.size(), recognise(&*source));
                Volume { name, size, filesystem, unreadable: None, source: Some(source) }
            }
            Err(why) => Volume { name, size: 0, filesystem: None, unreadable: Some(why), source: None },
        })),
        Err(error) => {
            let unreadable = Some(crate::error::chain(&error));
            found.push(Volume { name, size: source.size(), filesystem, unreadable, source: None });
        }
    }
}
