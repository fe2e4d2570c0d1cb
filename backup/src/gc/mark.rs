//! What the manifests reach, as one bit per row of the index.

use std::collections::BTreeSet;

use crate::chunk::leaf_blocks;
use crate::error::{BackupError, Result};
use crate::id::{BackupId, ChunkId, ObjectHash};
use crate::index::Index;
use crate::manifest::{self, DiskRecord};
use crate::map::{FANOUT, Leaf, Shape, parse_inner};
use crate::reader::ChunkReader;
use crate::repo::Repository;

/// Rows of an index that are about reachable chunks and pages: 2 MiB of bits per TiB.
#[derive(Debug)]
pub struct Live {
    bits: Vec<u64>,
}

/// How far a pack is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PackUse {
    /// Some reachable chunk is to be read from here.
    pub needed: bool,
    /// Stored bytes of reachable frames.
    pub live_bytes: u64,
    /// Stored bytes of all frames.
    pub all_bytes: u64,
}

/// How often the index is loaded anew because a backup was committed after it was read, or deleted while it was walked. Each
/// time needs another one in a short while; what is missing after all of them is missing.
const RELOADS: u32 = 8;

impl Live {
    /// The index, and what the manifests but `forget` reach in it.
    ///
    /// A backup that is committed after the index was read is listed, and its pages are not in that index: that is no
    /// damage, so the index is read again before anything is called missing.
    pub fn load(repo: &Repository, forget: &[BackupId]) -> Result<(Index, Self)> {
        let mut reloads = RELOADS;
        loop {
            let index = Index::load(repo)?;
            match Self::mark(repo, &index, forget) {
                Err(BackupError::Missing { .. }) if reloads > 0 => reloads -= 1,
                marked => return marked.map(|live| (index, live)),
            }
        }
    }

    /// Walks all manifests but `forget`. Whatever cannot be read is an error: who does not know what is
    /// reachable must not delete.
    fn mark(repo: &Repository, index: &Index, forget: &[BackupId]) -> Result<Self> {
        let mut walk = Walk {
            index,
            reader: ChunkReader::new(repo.clone()),
            live: Self { bits: vec![0; index.table().len().div_ceil(64)] },
        };
        // Another collector may delete a manifest that was listed before it is read here, after a run that took its map over
        // has committed: what only that run reaches is in a listing made after that. Where none is gone, nothing was taken over
        // from one, and what was committed meanwhile is no concern of this mark.
        let mut walked: BTreeSet<BackupId> = forget.iter().copied().collect();
        loop {
            let mut listed = manifest::list_ids(repo)?;
            listed.retain(|id| walked.insert(*id));
            let mut all_there = true;
            for id in listed {
                all_there &= walk.backup(repo, &id)?;
            }
            if all_there {
                return Ok(walk.live);
            }
        }
    }

    fn set(&mut self, row: usize) {
        self.bits[row / 64] |= 1 << (row % 64);
    }

    #[must_use]
    pub fn get(&self, row: usize) -> bool {
        self.bits[row / 64] >> (row % 64) & 1 == 1
    }

    /// For each pack of `index`, how far it is needed. A chunk in several packs needs one of them: never one
    /// that `is_planned` if there is another, and rather one that is needed anyway or is better used.
    pub fn pack_use(&self, index: &Index, is_planned: &dyn Fn(&ObjectHash) -> bool) -> Result<Vec<PackUse>> {
        let packs = index.packs();
        let planned: Vec<bool> = packs.iter().map(|pack| is_planned(&pack.name)).collect();
        let mut uses = vec![PackUse::default(); packs.len()];
        index.table().groups(|rows, entries| {
            for entry in entries {
                let used = &mut uses[entry.pack as usize];
                let stored = u64::from(entry.record().stored);
                used.all_bytes += stored;
                if self.get(rows.start) {
                    used.live_bytes += stored;
                }
            }
        })?;
        // First the chunks that leave no choice, then the others.
        for with_choice in [false, true] {
            index.table().groups(|rows, entries| {
                if !self.get(rows.start) {
                    return;
                }
                let holders: Vec<usize> = entries.iter().map(|entry| entry.pack as usize).collect();
                let free: Vec<usize> = holders.iter().copied().filter(|&pack| !planned[pack]).collect();
                let choice = if free.is_empty() { holders } else { free };
                if (choice.len() > 1) == with_choice && !choice.iter().any(|&pack| uses[pack].needed) {
                    let best = choice.iter().copied().max_by_key(|&pack| share(&uses[pack]));
                    if let Some(best) = best {
                        uses[best].needed = true;
                    }
                }
            })?;
        }
        Ok(uses)
    }
}

/// Live bytes in thousandths.
fn share(used: &PackUse) -> u64 {
    used.live_bytes * 1000 / used.all_bytes.max(1)
}

fn still_there(repo: &Repository, id: &BackupId) -> Result<bool> {
    Ok(manifest::list_ids(repo)?.contains(id))
}

struct Walk<'a> {
    index: &'a Index,
    reader: ChunkReader,
    live: Live,
}

impl Walk<'_> {
    /// `false` for one that is gone: another collector's plan forgot it since the listing.
    fn backup(&mut self, repo: &Repository, id: &BackupId) -> Result<bool> {
        let manifest = match manifest::read(repo, id) {
            Err(BackupError::NotFound { .. }) => return Ok(false),
            Ok(None) => return Ok(true),
            Ok(Some(manifest)) => manifest,
            Err(error) => return Err(error),
        };
        let marked: Result<()> = manifest.disks.iter().try_for_each(|disk| self.disk(id, disk));
        match marked {
            // Deleted while it was walked. The pages on the way to where that ended are marked, and not all below them is: for
            // another backup they would count as walked. So all begins anew.
            Err(_) if !still_there(repo, id)? => Err(BackupError::Missing {
                missing: format!("a part of backup {id}, which was deleted meanwhile"),
                needed_by: "a collection".to_owned(),
            }),
            marked => marked.map(|()| true),
        }
    }

    fn disk(&mut self, backup: &BackupId, disk: &DiskRecord) -> Result<()> {
        let shape = Shape::of(disk.size);
        match disk.root {
            None => Ok(()),
            Some(root) => self.page(&root, (shape.height(), 0), disk.size).map_err(|error| match error {
                BackupError::Missing { missing, .. } => {
                    BackupError::Missing { missing, needed_by: format!("backup {}@{backup}", disk.name) }
                }
                other => other,
            }),
        }
    }

    /// Marks an id; says whether it was unmarked before.
    fn touch(&mut self, id: &ChunkId, what: &str) -> Result<bool> {
        let (start, rows) = self.index.table().find(id)?;
        if rows.is_empty() {
            let missing = format!("{what} {id}");
            return Err(BackupError::Missing { missing, needed_by: "a backup".to_owned() });
        }
        let fresh = !self.live.get(start);
        (start..start + rows.len()).for_each(|row| self.live.set(row));
        Ok(fresh)
    }

    fn page(&mut self, id: &ChunkId, (level, number): (usize, u64), size: u64) -> Result<()> {
        // A page that is marked was walked, and its bytes say how much it covers: nothing to add.
        if !self.touch(id, "map page")? {
            return Ok(());
        }
        let bytes = self.reader.page(self.index, id)?;
        let broken = |detail: &str| BackupError::damaged(format!("map page {id}"), detail);
        if level == 0 {
            let leaf = Leaf::parse(&bytes, leaf_blocks(size, number)).map_err(broken)?;
            return leaf.chunks().try_for_each(|chunk| self.touch(&chunk, "chunk").map(|_| ()));
        }
        let children = parse_inner(&bytes, Shape::of(size).children(level, number)).map_err(broken)?;
        for (at, child) in (number * FANOUT..).zip(children) {
            if let Some(child) = child {
                self.page(&child, (level - 1, at), size)?;
            }
        }
        Ok(())
    }
}
