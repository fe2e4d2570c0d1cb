//! What was measured in one minute, of all entities of a group together.
//!
//! A byte for the version; then entries in the order of their entities: the entity, the length of what follows (two
//! bytes, little endian), and for each metric its number and its packed slots. A reader of one entity steps over
//! those before it and stops behind it.

use std::collections::BTreeMap;

use xenith_orchestrator_types::metrics::Metric;

use crate::Entity;
use crate::code::GAP;
use crate::minute::{Slots, fill, unpack_slots};
use crate::pack::pack_codes;

const VERSION: u8 = 1;
/// A value of the store is at most a MiB. So many entities of one group are a fleet of ten millions.
const FULL: usize = (1 << 20) - (1 << 16);

/// What was measured of one entity in a minute.
pub type Row = Vec<(Metric, Slots)>;
/// Of all of them.
pub type Sheet = BTreeMap<Entity, Row>;

/// Entities that have no room are left out.
pub fn write(sheet: &Sheet) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    let mut body = Vec::new();
    for (entity, row) in sheet {
        body.clear();
        for (metric, slots) in row.iter().filter(|(_, slots)| slots.iter().any(|code| *code != GAP)) {
            body.push(metric.number());
            pack_codes(slots, &mut body);
        }
        if body.is_empty() || bytes.len() + body.len() > FULL {
            continue;
        }
        bytes.extend(entity.to_bytes());
        // Some dozens of metrics of at most 30 bytes.
        bytes.extend((body.len() as u16).to_le_bytes());
        bytes.extend(&body);
    }
    bytes
}

/// Every entry as it lies there. Ends where something is cut off or foreign.
fn entries(bytes: &[u8]) -> impl Iterator<Item = (Entity, &[u8])> {
    let mut rest = bytes.strip_prefix(&[VERSION]).unwrap_or_default();
    std::iter::from_fn(move || {
        let (head, behind) = rest.split_first_chunk::<{ Entity::BYTES + 2 }>()?;
        let entity = Entity::from_bytes(&head[..Entity::BYTES])?;
        let length = usize::from(u16::from_le_bytes([head[Entity::BYTES], head[Entity::BYTES + 1]]));
        let (body, behind) = behind.split_at_checked(length)?;
        rest = behind;
        Some((entity, body))
    })
}

/// Metrics of later versions of this program are left out.
fn row(mut body: &[u8]) -> Row {
    let mut row = Vec::new();
    while let Some((number, rest)) = body.split_first() {
        body = rest;
        let Some(slots) = unpack_slots(&mut body) else { break };
        row.extend(Metric::from_number(*number).map(|metric| (metric, slots)));
    }
    row
}

pub fn read(bytes: &[u8]) -> Sheet {
    entries(bytes).map(|(entity, body)| (entity, row(body))).collect()
}

/// The row of one entity.
pub fn read_one(bytes: &[u8], entity: Entity) -> Option<Row> {
    let (found, body) = entries(bytes).find(|(found, _)| *found >= entity)?;
    (found == entity).then(|| row(body))
}

/// Adds what `late` has and `row` has not.
pub fn merge(row: &mut Row, late: &Row) {
    for (metric, slots) in late {
        match row.iter_mut().find(|(known, _)| known == metric) {
            Some((_, known)) => fill(known, slots),
            None => row.push((*metric, *slots)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use xenith_common_ids::VmId;

    use super::*;

    fn slots(first: u16) -> Slots {
        std::array::from_fn(|n| if n % 5 == 4 { GAP } else { first + n as u16 * 700 })
    }

    #[test]
    fn a_sheet_reads_back_whole_and_by_entity() {
        let entities: Vec<Entity> = (0..100).map(|_| VmId::new().into()).collect();
        let made = |n: usize| vec![(Metric::Cpu, slots(n as u16)), (Metric::Memory, [9000; 12])];
        let mut sheet: Sheet = entities.iter().enumerate().map(|(n, entity)| (*entity, made(n))).collect();
        let bytes = write(&sheet);
        assert_eq!(read(&bytes), sheet);
        for (entity, row) in &sheet {
            assert_eq!(read_one(&bytes, *entity).as_ref(), Some(row));
        }
        assert_eq!(read_one(&bytes, VmId::new().into()), None);
        assert!(read(&bytes[..bytes.len() - 1]).len() == 99 && read(&bytes[1..]).is_empty());
        sheet.insert(entities[7], vec![(Metric::Load, [GAP; 12])]);
        assert_eq!(read(&write(&sheet)).len(), 99, "nothing was measured of one");
    }

    #[test]
    fn what_came_late_fills_the_gaps() {
        let mut row = vec![(Metric::Cpu, slots(5))];
        merge(&mut row, &vec![(Metric::Cpu, [8; 12]), (Metric::Load, [9; 12])]);
        let (cpu, load) = (row[0].1, row[1].1);
        assert_eq!((cpu[0], cpu[4], cpu[5], load), (5, 8, 3505, [9; 12]));
    }

    proptest! {
        #[test]
        fn foreign_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _any = read(&[&[VERSION][..], &bytes].concat());
            let _any = read(&[&[VERSION, b'v'][..], &[1; 16], &[40, 0], &bytes].concat());
            let _any = read(&bytes);
        }
    }
}
