//! Walking every backup's map: does it reach good chunks only?

use std::collections::HashMap;

use super::packs::{Bad, entries_of};
use super::{Problem, Report};
use crate::chunk::leaf_blocks;
use crate::error::{BackupError, Result};
use crate::format::FrameKind;
use crate::id::ChunkId;
use crate::index::Index;
use crate::manifest::{self, DiskRecord, Manifest};
use crate::map::{FANOUT, Leaf, Shape, parse_inner};
use crate::reader::ChunkReader;
use crate::repo::Repository;

/// What a subtree lacks: first problem found, and how many chunks or pages are affected.
type Verdict = Option<(String, String, u64)>;

struct Walk<'a> {
    index: &'a Index,
    bad: &'a Bad,
    reader: ChunkReader,
    /// Pages seen, with what is wrong below them. Shared subtrees are walked once.
    seen: HashMap<(ChunkId, u64), Verdict>,
}

pub fn check(
    repo: &Repository,
    index: &Index,
    bad: &Bad,
    manifests: &[Manifest],
    report: &mut Report,
) -> Result<()> {
    let reader = ChunkReader::new(repo.clone());
    let mut walk = Walk { index, bad, reader, seen: HashMap::new() };
    for manifest in manifests {
        for disk in &manifest.disks {
            let found = walk.disk(disk);
            // What was pruned meanwhile lacks its packs as it should.
            if !matches!(found, Ok(None))
                && matches!(manifest::read(repo, &manifest.id), Err(BackupError::NotFound { .. }))
            {
                break;
            }
            let Some((object, detail, count)) = found? else { continue };
            let touched = format!("{}@{}", disk.name, manifest.id);
            tracing::debug!(touched, count, "a backup is touched by damage");
            match report.problems.iter_mut().find(|problem| problem.object == object) {
                Some(problem) => problem.touches.push(touched),
                None => report.problems.push(Problem { object, detail, touches: vec![touched] }),
            }
        }
    }
    report.pages = walk.seen.len() as u64;
    Ok(())
}

impl Walk<'_> {
    fn disk(&mut self, disk: &DiskRecord) -> Result<Verdict> {
        let shape = Shape::of(disk.size);
        match disk.root {
            None => Ok(None),
            Some(root) => self.page(&root, (shape.height(), 0), disk.size),
        }
    }

    /// Whether a chunk or page has a good place; if not, why.
    fn look_up(&self, id: &ChunkId, kind: FrameKind) -> Result<Verdict> {
        let mut why = None;
        for place in self.index.places(id)?.into_iter().filter(|place| place.record.kind == kind) {
            let spoilt =
                self.bad.packs.contains(&place.pack) || self.bad.frames.contains(&(place.pack, place.offset));
            let known = self.bad.misindexed.get(&place.pack);
            let invented = known.is_some_and(|frames| !frames.contains(&(*id, place.offset)));
            if !spoilt && !invented {
                return Ok(None);
            }
            why = Some(if invented {
                (entries_of(&place.pack), "it is wrong".to_owned(), 1)
            } else {
                (format!("pack {}", place.pack), "it is damaged".to_owned(), 1)
            });
        }
        let what = if kind == FrameKind::Page { "map page" } else { "chunk" };
        Ok(Some(why.unwrap_or_else(|| (format!("{what} {id}"), "no pack holds it".to_owned(), 1))))
    }

    fn page(&mut self, id: &ChunkId, (level, number): (usize, u64), size: u64) -> Result<Verdict> {
        // The same page means the same only where it covers as much: the last of a disk may be shorter.
        let covers = if level == 0 {
            u64::from(leaf_blocks(size, number))
        } else {
            Shape::of(size).children(level, number) as u64
        };
        if let Some(known) = self.seen.get(&(*id, covers)) {
            return Ok(known.clone());
        }
        let verdict = match self.look_up(id, FrameKind::Page)? {
            None => self.below(id, (level, number), size)?,
            bad => bad,
        };
        self.seen.insert((*id, covers), verdict.clone());
        Ok(verdict)
    }

    fn below(&mut self, id: &ChunkId, (level, number): (usize, u64), size: u64) -> Result<Verdict> {
        let bytes = match self.reader.page(self.index, id) {
            Ok(bytes) => bytes,
            Err(BackupError::Damaged { object, detail }) => return Ok(Some((object, detail, 1))),
            Err(BackupError::Missing { missing, .. }) => {
                return Ok(Some((missing, "it is missing".to_owned(), 1)));
            }
            Err(error) => return Err(error),
        };
        let broken = |detail: &str| Some((format!("map page {id}"), detail.to_owned(), 1));
        let mut worst: Verdict = None;
        if level == 0 {
            match Leaf::parse(&bytes, leaf_blocks(size, number)) {
                Err(detail) => return Ok(broken(detail)),
                Ok(leaf) => {
                    for chunk in leaf.chunks() {
                        merge(&mut worst, self.look_up(&chunk, FrameKind::Chunk)?);
                    }
                }
            }
            return Ok(worst);
        }
        match parse_inner(&bytes, Shape::of(size).children(level, number)) {
            Err(detail) => return Ok(broken(detail)),
            Ok(children) => {
                for (at, child) in (number * FANOUT..).zip(children) {
                    if let Some(child) = child {
                        let verdict = self.page(&child, (level - 1, at), size)?;
                        merge(&mut worst, verdict);
                    }
                }
            }
        }
        Ok(worst)
    }
}

fn merge(worst: &mut Verdict, other: Verdict) {
    match (worst.as_mut(), other) {
        (Some(worst), Some(other)) => worst.2 += other.2,
        (None, other) => *worst = other,
        _ => {}
    }
}
