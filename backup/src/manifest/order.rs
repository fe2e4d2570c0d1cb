//! Which backup came after which, where their disks are not the same.
//!
//! Each name of a disk counts its own backups. A disk that was moved, or taken out and put in again, has a new name that counts
//! from 1, and the highest number in one backup says nothing about another one's: the newest backup of all may have the lowest.
//! What always holds: of two backups that have a disk in common, the one with its higher number comes later, whatever the
//! clocks say. Dates decide only between backups that no row of common disks connects, and a date later than that of a backup
//! that came after it is no date: a clock that was ahead for a day must not put all that followed before it.
//!
//! Memory: a few words for each backup. No IO.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::Manifest;
use crate::id::BackupId;

/// The place of each of `manifests`, counted from 0 for the oldest.
#[must_use]
pub fn places(manifests: &[Manifest]) -> Vec<u64> {
    let after = followers(manifests);
    let mut order = in_turn(manifests, &after);
    let mut made: Vec<u64> = manifests.iter().map(|manifest| manifest.created).collect();
    for &at in order.iter().rev() {
        let earliest = after[at].iter().map(|&next| made[next]).min();
        made[at] = earliest.map_or(made[at], |next| next.min(made[at]));
    }
    // Stable: where the dates are equal, what came after stays after.
    order.sort_by_key(|&at| made[at]);
    let mut places = vec![0; manifests.len()];
    for (place, at) in (0..).zip(order) {
        places[at] = place;
    }
    places
}

/// Of each backup, those that came next of one of its disks.
fn followers(manifests: &[Manifest]) -> Vec<Vec<usize>> {
    let mut of_disk: BTreeMap<&str, Vec<(u64, u64, BackupId, usize)>> = BTreeMap::new();
    for (at, manifest) in manifests.iter().enumerate() {
        for disk in &manifest.disks {
            let row = of_disk.entry(disk.name.as_str()).or_default();
            row.push((disk.number, manifest.created, manifest.id, at));
        }
    }
    let mut after = vec![Vec::new(); manifests.len()];
    for mut row in of_disk.into_values() {
        row.sort_unstable();
        for pair in row.windows(2) {
            after[pair[0].3].push(pair[1].3);
        }
    }
    after
}

/// All of them, each behind those that it follows, and else by date.
fn in_turn(manifests: &[Manifest], after: &[Vec<usize>]) -> Vec<usize> {
    let mut waits_for = vec![0_usize; manifests.len()];
    for &next in after.iter().flatten() {
        waits_for[next] += 1;
    }
    let dated = |at: usize| Reverse((manifests[at].created, manifests[at].id, at));
    let mut free: BinaryHeap<_> = (0..manifests.len()).filter(|&at| waits_for[at] == 0).map(dated).collect();
    // Disks that contradict each other wait for each other. No writer makes such backups; the oldest of them goes first.
    let mut by_date: Vec<usize> = (0..manifests.len()).collect();
    by_date.sort_unstable_by_key(|&at| (manifests[at].created, manifests[at].id));
    let mut by_date = by_date.into_iter();
    let mut is_placed = vec![false; manifests.len()];
    let mut order = Vec::with_capacity(manifests.len());
    while order.len() < manifests.len() {
        let next = free.pop().map(|Reverse((.., at))| at).or_else(|| by_date.find(|&at| !is_placed[at]));
        let Some(at) = next else { break };
        if std::mem::replace(&mut is_placed[at], true) {
            continue;
        }
        order.push(at);
        for &next in &after[at] {
            waits_for[next] = waits_for[next].saturating_sub(1);
            if waits_for[next] == 0 && !is_placed[next] {
                free.push(dated(next));
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::super::{DiskRecord, DiskStats};
    use super::*;
    use crate::chunk::Chunking;

    fn made(created: u64, disks: &[(&str, u64)]) -> Manifest {
        let disk = |(name, number): &(&str, u64)| DiskRecord {
            name: (*name).to_owned(),
            size: 0,
            number: *number,
            root: None,
            chunking: Chunking::default(),
            stats: DiskStats::default(),
            whole_because: None,
        };
        Manifest {
            id: BackupId::new(created),
            created,
            host: String::new(),
            tags: vec![],
            disks: disks.iter().map(disk).collect(),
            origin: None,
            attachments: vec![],
        }
    }

    #[test]
    fn a_disk_that_counts_anew_is_not_older_for_it() {
        let moved = [
            made(10, &[("a", 8)]),
            made(20, &[("a", 9)]),
            made(30, &[("moved", 1)]),
            made(40, &[("moved", 2)]),
        ];
        assert_eq!(places(&moved), [0, 1, 2, 3]);
        let taken_out =
            [made(10, &[("a", 8), ("b", 1)]), made(20, &[("b", 2)]), made(30, &[("b", 3), ("c", 1)])];
        assert_eq!(places(&taken_out), [0, 1, 2]);
    }

    #[test]
    fn numbers_count_and_not_clocks_where_a_disk_connects_two() {
        let ahead = [made(10, &[("a", 1)]), made(9_000, &[("a", 2)]), made(30, &[("a", 3)])];
        assert_eq!(places(&ahead), [0, 1, 2]);
        let behind = [made(10, &[("a", 1)]), made(20, &[("a", 2)]), made(1, &[("a", 3)])];
        assert_eq!(places(&behind), [0, 1, 2]);
        let connected = [made(30, &[("b", 2)]), made(20, &[("a", 2), ("b", 1)]), made(90, &[("a", 1)])];
        assert_eq!(places(&connected), [2, 1, 0]);
    }

    #[test]
    fn a_clock_that_was_ahead_for_a_day_moves_nothing_that_came_later() {
        let moved = [
            made(10, &[("a", 1)]),
            made(9_000, &[("a", 2)]),
            made(30, &[("a", 3)]),
            made(40, &[("moved", 1)]),
        ];
        assert_eq!(places(&moved), [0, 1, 2, 3]);
    }

    #[test]
    fn disks_that_contradict_each_other_leave_nothing_out() {
        let odd = [made(20, &[("a", 1), ("b", 2)]), made(10, &[("a", 2), ("b", 1)]), made(30, &[("a", 3)])];
        let mut places = places(&odd);
        places.sort_unstable();
        assert_eq!(places, [0, 1, 2]);
    }
}
