//! The minutes of one entity that are in no record yet, from memory and from sheets.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use xenith_orchestrator_store::{ScanRequest, StoreError};

use crate::memory::{Entry, Memory};
use crate::sheet::{Row, merge, read_one};
use crate::{Entity, Metrics, SHEETS};

/// By minute.
pub type Rows = BTreeMap<u32, Row>;

/// A sheet's key: hours are closed group by group.
pub fn key(group: u16, minute: u32) -> Vec<u8> {
    [&prefix(minute / 60, group)[..], &[(minute % 60) as u8]].concat()
}

/// The sheets of one group and hour.
pub fn prefix(hour: u32, group: u16) -> Vec<u8> {
    [&hour.to_be_bytes()[..], &group.to_be_bytes()].concat()
}

/// Hour, group and minute of a sheet.
pub fn parse_key(key: &[u8]) -> Option<(u32, u16, u32)> {
    let (hour, rest) = key.split_first_chunk()?;
    let ([high, low], [minute]) = rest.split_first_chunk()? else { return None };
    let hour = u32::from_be_bytes(*hour);
    Some((hour, u16::from_be_bytes([*high, *low]), hour.checked_mul(60)? + u32::from(*minute)))
}

impl Metrics {
    /// Memory is looked at first: what is written in between is then seen twice, never missed.
    pub(crate) async fn rows(&self, entity: Entity, minutes: Range<u32>) -> Result<Rows, StoreError> {
        let mut rows = self.memory.with(entity, Entry::rows).unwrap_or_default();
        rows.retain(|minute, _| minutes.contains(minute));
        let group = Memory::place(entity);
        // The hour that is being closed may have its sheets still.
        let first = self.closing.closed().max(minutes.start / 60);
        for hour in first..minutes.end.div_ceil(60) {
            for (minute, sheet) in self.sheets(hour, group).await? {
                let Some(row) = read_one(&sheet, entity).filter(|_| minutes.contains(&minute)) else {
                    continue;
                };
                merge(rows.entry(minute).or_default(), &row);
            }
        }
        Ok(rows)
    }

    /// The sheets of a group and hour, by minute.
    pub(crate) async fn sheets(&self, hour: u32, group: u16) -> Result<Vec<(u32, Bytes)>, StoreError> {
        let (mut sheets, mut after) = (Vec::new(), None);
        loop {
            let mut request = ScanRequest::prefix(SHEETS, prefix(hour, group), 60);
            request.after = after;
            let page = self.store.scan(request).await?;
            let minutes = page.entries.into_iter();
            sheets.extend(minutes.filter_map(|entry| Some((parse_key(&entry.key)?.2, entry.value))));
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(sheets),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_and_sort_by_hour_group_and_minute() {
        let keys = [key(4095, 59), key(0, 60), key(0, 119), key(300, 61), key(7, 1_000_000)];
        assert!(keys.is_sorted());
        assert_eq!(parse_key(&keys[3]), Some((1, 300, 61)));
        for bad in [&keys[0][1..], b"", &[0xff; 7][..]] {
            assert_eq!(parse_key(bad), None);
        }
    }
}
