//! Minutes that are in no record yet, many entities together.
//!
//! A value is a row of entries: entity, minute (4 bytes), number of metrics (1 byte), then for each its number and
//! three codes. Little endian; cut off or foreign entries end the reading.

use xenith_orchestrator_types::metrics::Metric;

use crate::Entity;
use crate::code::{Code, Triple};

/// A value is closed above this; the store takes a MiB.
const FULL: usize = 512 << 10;

/// Entries on their way into values.
#[derive(Debug, Default)]
pub struct Writer {
    full: Vec<Vec<u8>>,
    open: Vec<u8>,
}

impl Writer {
    pub fn add(&mut self, entity: Entity, minute: u32, columns: &[Metric], row: &[Triple]) {
        let bytes = &mut self.open;
        bytes.extend(entity.to_bytes());
        bytes.extend(minute.to_le_bytes());
        bytes.push(row.len() as u8);
        for (metric, triple) in columns.iter().zip(row) {
            bytes.push(metric.number());
            for code in [triple.avg, triple.min, triple.max] {
                bytes.extend(code.to_le_bytes());
            }
        }
        if bytes.len() > FULL {
            self.full.push(std::mem::take(bytes));
        }
    }

    pub fn values(mut self) -> Vec<Vec<u8>> {
        if !self.open.is_empty() {
            self.full.push(self.open);
        }
        self.full
    }
}

/// One entry as it was read.
pub type Noted = (Entity, u32, Vec<(Metric, Triple)>);

/// The first entry of `bytes`.
pub fn take(bytes: &mut &[u8]) -> Option<Noted> {
    let (head, mut rest) = bytes.split_first_chunk::<{ Entity::BYTES + 5 }>()?;
    let entity = Entity::from_bytes(&head[..Entity::BYTES])?;
    let minute = u32::from_le_bytes(head[Entity::BYTES..Entity::BYTES + 4].try_into().ok()?);
    let mut row = Vec::new();
    for _ in 0..head[Entity::BYTES + 4] {
        let ([number, codes @ ..], behind) = rest.split_first_chunk::<7>()?;
        let code = |at: usize| Code::from_le_bytes([codes[at], codes[at + 1]]);
        let triple = Triple { avg: code(0), min: code(2), max: code(4) };
        row.extend(Metric::from_number(*number).map(|metric| (metric, triple)));
        rest = behind;
    }
    *bytes = rest;
    Some((entity, minute, row))
}

#[cfg(test)]
mod tests {
    use xenith_common_ids::VmId;

    use super::*;

    #[test]
    fn entries_read_back_over_several_values() {
        let triple = Triple { avg: 2, min: 1, max: 3 };
        let mut writer = Writer::default();
        let entities: Vec<Entity> = (0..30_000).map(|_| VmId::new().into()).collect();
        entities.iter().for_each(|entity| writer.add(*entity, 7, &[Metric::Cpu], &[triple]));
        let values = writer.values();
        assert!(values.len() > 1 && values.iter().all(|value| value.len() < 1 << 20));
        let mut read = Vec::new();
        for value in &values {
            let mut rest = &value[..];
            while let Some((entity, minute, row)) = take(&mut rest) {
                assert_eq!((minute, row), (7, vec![(Metric::Cpu, triple)]));
                read.push(entity);
            }
            assert!(rest.is_empty());
        }
        assert_eq!(read, entities);
        assert_eq!(take(&mut &values[0][..20]), None);
    }
}
