//! What differs between two maps of where contents lie. No IO.
//!
//! Two files that share blocks (reflinks) show it: the same place means the same contents, because a shared block
//! is never written in place. This holds while both files are there and neither is rewritten; snapshots are not.
//! Everything that is not certainly the same counts as changed.

use xenith_common_block::{ByteRange, RangeSet};

use crate::extent_map::Mapped;

/// One map, read in order, with what is left of the extent that was cut last.
struct Cursor<I> {
    rest: I,
    head: Option<Mapped>,
}

impl<E, I: Iterator<Item = Result<Mapped, E>>> Cursor<I> {
    fn new(mut rest: I) -> Result<Self, E> {
        let head = rest.next().transpose()?;
        Ok(Self { rest, head })
    }

    /// What lies at `at`, which never goes back, and up to where that is so.
    fn at(&mut self, at: u64, end: u64) -> Result<(Option<Mapped>, u64), E> {
        while self.head.is_some_and(|head| head.range.end <= at) {
            self.head = self.rest.next().transpose()?;
        }
        Ok(match self.head {
            None => (None, end),
            Some(head) if head.range.start > at => (None, head.range.start.min(end)),
            Some(head) => (Some(head), head.range.end.min(end)),
        })
    }
}

/// The ranges of a file of `size` bytes with the map `now` that may read other than in the file with the map `base`,
/// which is `base_size` bytes long.
pub fn changed<E>(
    (now, size): (impl Iterator<Item = Result<Mapped, E>>, u64),
    (base, base_size): (impl Iterator<Item = Result<Mapped, E>>, u64),
) -> Result<RangeSet, E> {
    let (mut now, mut base) = (Cursor::new(now)?, Cursor::new(base)?);
    let mut set = RangeSet::new();
    let common = size.min(base_size);
    let mut at = 0;
    while at < common {
        let (here, here_end) = now.at(at, common)?;
        let (there, there_end) = base.at(at, common)?;
        let end = here_end.min(there_end);
        if !same(here, there, at) {
            set.insert(ByteRange::new(at, end));
        }
        at = end;
    }
    set.insert(ByteRange::new(common, size));
    Ok(set)
}

fn same(here: Option<Mapped>, there: Option<Mapped>, at: u64) -> bool {
    let place = |mapped: Mapped| mapped.place.map(|place| place + (at - mapped.range.start));
    match (here, there) {
        (None, None) => true,
        (Some(here), Some(there)) => place(here).is_some() && place(here) == place(there),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn map(extents: &[(u64, u64, Option<u64>)]) -> impl Iterator<Item = Result<Mapped, Infallible>> {
        extents
            .iter()
            .map(|&(start, end, place)| Ok(Mapped { range: ByteRange::new(start, end), place }))
            .collect::<Vec<_>>()
            .into_iter()
    }

    #[test]
    fn differences() {
        type Extents = &'static [(u64, u64, Option<u64>)];
        let whole: Extents = &[(0, 100, Some(1000))];
        let table: &[(&str, Extents, Extents, &[(u64, u64)])] = &[
            ("the same", whole, whole, &[]),
            ("both empty", &[], &[], &[]),
            ("the same, cut otherwise", &[(0, 40, Some(1000)), (40, 100, Some(1040))], whole, &[]),
            (
                "moved in the middle",
                &[(0, 40, Some(1000)), (40, 50, Some(7)), (50, 100, Some(1050))],
                whole,
                &[(40, 50)],
            ),
            (
                "a hole where there was data",
                &[(0, 40, Some(1000)), (50, 100, Some(1050))],
                whole,
                &[(40, 50)],
            ),
            (
                "data where there was a hole",
                whole,
                &[(0, 40, Some(1000)), (50, 100, Some(1050))],
                &[(40, 50)],
            ),
            ("no place is never the same", &[(0, 100, None)], &[(0, 100, None)], &[(0, 100)]),
            ("all gone", &[], whole, &[(0, 100)]),
        ];
        for (name, now, base, expected) in table {
            let Ok(found) = changed((map(now), 100), (map(base), 100));
            let found: Vec<_> = found.iter().map(|range| (range.start, range.end)).collect();
            assert_eq!(found, *expected, "{name}");
        }
        let Ok(grown) = changed((map(whole), 160), (map(whole), 100));
        assert_eq!(grown.as_slice(), [ByteRange::new(100, 160)]);
        let Ok(shrunk) = changed((map(&[(0, 60, Some(1000))]), 60), (map(whole), 100));
        assert!(shrunk.is_empty());
    }
}
