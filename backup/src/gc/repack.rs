//! Moving what is needed out of packs that are mostly not.
//!
//! Repacking is an ordinary session: it adds packs and a segment and changes nothing else. The next proposal
//! finds the chunks in better places and the old packs needless. A crash leaves duplicates, nothing worse.

use serde::Serialize;

use super::{Live, PackUse, published};
use crate::error::Result;
use crate::format::FrameKind;
use crate::id::ObjectHash;
use crate::index::{Index, IndexWriter, Location, PackInfo, pack_key};
use crate::packer::{Batch, PackLimits, Packer, Pressure};
use crate::reader::ChunkReader;
use crate::repo::Repository;
use crate::session::Session;

/// Stored bytes that one run moves at most: where each of their chunks lies is kept in memory, 64 MiB for chunks of 24 KiB.
const AT_ONCE: u64 = 16 << 30;

/// What was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Repacked {
    pub packs: usize,
    pub chunks: u64,
    pub bytes: u64,
}

/// Moves what is needed out of packs of which less than `share` percent is.
pub fn repack(repo: &Repository, share: u64) -> Result<Repacked> {
    repo.keyring().need_own("moving chunks")?;
    let mut session = Session::open(repo)?;
    let plans = published(repo)?;
    session.saw(plans.iter().map(|plan| plan.name.clone()).collect())?;
    let (index, live) = Live::load(repo, &[])?;
    // What is planned goes, and what is spoilt cannot be moved: neither counts, and neither is a source.
    let lost =
        |name: &ObjectHash| plans.iter().any(|plan| plan.packs.contains(name)) || index.is_spoilt(name);
    let uses = live.pack_use(&index, &lost)?;
    let poor = poor_packs(index.packs(), &uses, share, &lost);
    let mut done = Repacked { packs: poor.iter().filter(|poor| **poor).count(), ..Repacked::default() };
    if done.packs > 0 {
        let places = places_to_move(&index, &live, &poor, &lost)?;
        move_all(repo, &session, &places, &mut done)?;
    }
    session.end()?;
    Ok(done)
}

/// The packs that are worth it, as many as one run takes on; the next one finds the others.
fn poor_packs(
    packs: &[PackInfo],
    uses: &[PackUse],
    share: u64,
    lost: &dyn Fn(&ObjectHash) -> bool,
) -> Vec<bool> {
    let mut left = AT_ONCE;
    let mut is_poor = |(pack, used): (&PackInfo, &PackUse)| {
        let is_poor = used.needed && used.live_bytes * 100 < pack.size * share && !lost(&pack.name);
        let fits = is_poor && used.live_bytes <= left;
        left -= if fits { used.live_bytes } else { 0 };
        fits
    };
    packs.iter().zip(uses).map(&mut is_poor).collect()
}

/// Live frames that lie in poor or lost packs only, in pack order.
fn places_to_move(
    index: &Index,
    live: &Live,
    poor: &[bool],
    lost: &dyn Fn(&ObjectHash) -> bool,
) -> Result<Vec<Location>> {
    let mut places = Vec::new();
    let elsewhere = |pack: u32| !poor[pack as usize] && !lost(&index.packs()[pack as usize].name);
    index.table().groups(|rows, entries| {
        if live.get(rows.start) && !entries.iter().any(|entry| elsewhere(entry.pack)) {
            let source = entries.iter().find(|entry| poor[entry.pack as usize]);
            places.extend(source.map(|entry| index.location(entry)));
        }
    })?;
    places.sort_unstable_by_key(|place| (place.pack, place.offset));
    Ok(places)
}

fn move_all(repo: &Repository, session: &Session, places: &[Location], done: &mut Repacked) -> Result<()> {
    let (writer, reader) = (IndexWriter::default(), ChunkReader::new(repo.clone()));
    // Frames are moved as they are: nothing is compressed.
    let data = Packer::new(repo.keyring().clone(), PackLimits::DATA, Pressure::new(0, 0));
    let maps = Packer::new(repo.keyring().clone(), PackLimits::MAPS, Pressure::new(0, 0));
    std::thread::scope(|scope| {
        for packer in [&data, &maps] {
            scope.spawn(|| {
                packer.store_loop(&|pack, parts| {
                    repo.store().create(&pack_key(&pack.name), parts)?;
                    writer.add(repo, pack.clone())
                });
            });
        }
        let mut work = || -> Result<()> {
            let (mut chunks, mut pages) = (Batch::default(), Batch::default());
            for place in places {
                session.renew_if_due()?;
                let packed = reader.packed(place)?;
                let record = place.record;
                let (packer, batch) =
                    if record.kind == FrameKind::Page { (&maps, &mut pages) } else { (&data, &mut chunks) };
                batch.push((record.id, record.kind), record.codec, record.raw as usize, &packed);
                done.chunks += 1;
                done.bytes += packed.len() as u64;
                if batch.is_full() {
                    packer.add(batch)?;
                }
            }
            data.add(&mut chunks)?;
            maps.add(&mut pages)?;
            data.flush()?;
            maps.flush()
        };
        let result = work();
        if result.is_err() {
            data.fail(crate::BackupError::Cancelled);
            maps.fail(crate::BackupError::Cancelled);
        }
        data.finish();
        maps.finish();
        // A storing thread's error is the cause of a cancellation.
        result.map_err(|error| data.take_failure().or_else(|| maps.take_failure()).unwrap_or(error))
    })?;
    writer.flush(repo)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_run_takes_on_no_more_than_it_can_remember() {
        let pack = |number: u8| PackInfo { name: ObjectHash([number; 32]), size: 12 << 30, modified: 0 };
        let used = |live_bytes: u64| PackUse { needed: live_bytes > 0, live_bytes, all_bytes: 12 << 30 };
        let packs: Vec<PackInfo> = (0..5).map(pack).collect();
        let uses = [used(5 << 30), used(0), used(11 << 30), used(5 << 30), used(5 << 30)];
        let lost = |name: &ObjectHash| name.0[0] == 0;
        assert_eq!(poor_packs(&packs, &uses, 50, &lost), [false, false, false, true, true]);
        let none = |_: &ObjectHash| false;
        assert_eq!(poor_packs(&packs, &uses, 100, &none), [true, false, true, false, false]);
    }
}
