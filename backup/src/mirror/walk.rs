//! Which packs of the source hold what a backup needs and the mirror lacks.
//!
//! The walk goes down the maps of the backup. Where a page is that of the mirror's newest backup of the disk, the mirror has
//! all below it, and the walk turns back; so an increment costs what changed. What lies in a pack that a plan names counts
//! as missing, as for every writer.

use std::collections::HashSet;

use super::Source;
use crate::chunk::leaf_blocks;
use crate::error::{BackupError, Result};
use crate::id::{ChunkId, ObjectHash};
use crate::index::{Index, IndexEntry, PackInfo};
use crate::manifest::{DiskRecord, Manifest, newest};
use crate::map::{Children, FANOUT, Leaf, Shape, parse_inner};
use crate::reader::ChunkReader;

/// The mirror as a session sees it.
pub(super) struct Target<'a> {
    pub(super) index: &'a Index,
    pub(super) reader: ChunkReader,
    /// Packs that a plan names, sorted.
    pub(super) doomed: &'a [ObjectHash],
    /// Its backups but for those that a plan forgets.
    pub(super) bases: &'a [Manifest],
}

impl Target<'_> {
    fn has(&self, id: &ChunkId) -> Result<bool> {
        let places = self.index.places(id)?;
        Ok(places.iter().any(|place| {
            self.doomed.binary_search(&place.pack).is_err() && !self.index.is_spoilt(&place.pack)
        }))
    }

    /// The children of a page of a base; none where it cannot be read: then all below is looked up.
    fn children(&self, id: &ChunkId, count: usize) -> Children {
        let page = self.reader.page(self.index, id);
        page.ok().and_then(|page| parse_inner(&page, count).ok()).unwrap_or_default()
    }

    /// The newest backup of the disk, if its map has as many levels.
    fn base(&self, disk: &DiskRecord) -> Option<&DiskRecord> {
        let (_, base) = newest(self.bases, &disk.name)?;
        (Shape::of(base.size).height() == Shape::of(disk.size).height()).then_some(base)
    }
}

/// One look at one backup.
pub(super) struct Walk<'a> {
    source: &'a Source,
    target: &'a Target<'a>,
    /// Packs that this session has moved already.
    moved: &'a HashSet<ObjectHash>,
    /// A bit for each row of the source's index.
    seen: Vec<u64>,
    /// For each pack of the source, whether it is to be moved.
    chosen: Vec<bool>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(source: &'a Source, target: &'a Target<'a>, moved: &'a HashSet<ObjectHash>) -> Self {
        let rows = source.index.table().len();
        let packs = source.index.packs().len();
        Self { source, target, moved, seen: vec![0; rows.div_ceil(64)], chosen: vec![false; packs] }
    }

    /// What is to be moved for `backup`.
    pub(super) fn packs_for(mut self, backup: &Manifest) -> Result<Vec<PackInfo>> {
        for disk in &backup.disks {
            let Some(root) = disk.root else { continue };
            let base = self.target.base(disk);
            let sizes = (disk.size, base.map_or(0, |base| base.size));
            let top = (Shape::of(disk.size).height(), 0);
            self.page(&root, base.and_then(|base| base.root), top, sizes).map_err(|error| match error {
                BackupError::Missing { missing, .. } => {
                    let needed_by = format!("backup {}@{}", disk.name, backup.id);
                    BackupError::Missing { missing, needed_by }
                }
                other => other,
            })?;
        }
        let packs = self.source.index.packs().iter().zip(&self.chosen);
        Ok(packs.filter(|(_, chosen)| **chosen).map(|(pack, _)| *pack).collect())
    }

    /// Sees to it that the mirror gets an id; says whether this is the first time in this walk.
    fn need(&mut self, id: &ChunkId, what: &str) -> Result<bool> {
        let Source { index, bad, .. } = self.source;
        let (row, places) = index.table().find(id)?;
        if places.is_empty() {
            let missing = format!("{what} {id}");
            return Err(BackupError::Missing { missing, needed_by: "a backup".to_owned() });
        }
        if self.seen[row / 64] >> (row % 64) & 1 == 1 {
            return Ok(false);
        }
        self.seen[row / 64] |= 1 << (row % 64);
        let name = |entry: &IndexEntry| index.packs()[entry.pack as usize].name;
        let comes =
            |entry: &IndexEntry| self.chosen[entry.pack as usize] || self.moved.contains(&name(entry));
        if places.iter().any(comes) || self.target.has(id)? {
            return Ok(true);
        }
        let is_good = |entry: &&IndexEntry| !index.is_spoilt(&name(entry)) && !bad.contains(&name(entry));
        let Some(place) = places.iter().find(is_good) else {
            return Err(BackupError::damaged(format!("{what} {id}"), "all packs that hold it are damaged"));
        };
        self.chosen[place.pack as usize] = true;
        Ok(true)
    }

    fn page(
        &mut self,
        id: &ChunkId,
        base: Option<ChunkId>,
        (level, number): (usize, u64),
        (size, base_size): (u64, u64),
    ) -> Result<()> {
        if base == Some(*id) || !self.need(id, "map page")? {
            return Ok(());
        }
        let bytes = self.source.reader.page(&self.source.index, id)?;
        let broken = |detail: &str| BackupError::damaged(format!("map page {id}"), detail);
        if level == 0 {
            let leaf = Leaf::parse(&bytes, leaf_blocks(size, number)).map_err(broken)?;
            return leaf.chunks().try_for_each(|chunk| self.need(&chunk, "chunk").map(|_| ()));
        }
        let children = parse_inner(&bytes, Shape::of(size).children(level, number)).map_err(broken)?;
        let before = match base {
            Some(base) => self.target.children(&base, Shape::of(base_size).children(level, number)),
            None => Children::new(),
        };
        for (at, child) in children.iter().enumerate() {
            let Some(child) = child else { continue };
            let below = (level - 1, number * FANOUT + at as u64);
            self.page(child, before.get(at).copied().flatten(), below, (size, base_size))?;
        }
        Ok(())
    }
}
