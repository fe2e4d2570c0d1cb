//! From memory into the store: every minute that is over, group by group.
//!
//! A minute is safe when its sheet is committed. What comes later for a minute that has a sheet, or may have one by a
//! run before this one, is added to it. After an error the same minutes are written the next time, as long as they
//! are in memory.

use xenith_orchestrator_store::{StoreError, Transaction};

use crate::memory::GROUPS;
use crate::sheet::{self, Sheet, merge};
use crate::{MINUTE, Metrics, SHEETS, rows, whole};

/// In so many parts the groups are written by whoever spreads that over the minute: none of them takes a thread for
/// more than some milliseconds.
pub const PARTS: u16 = 512;
/// Hours of groups that are closed with each part: all of an hour within eight minutes.
const CLOSED_AT_ONCE: usize = 1;
/// Far below what the store takes in one transaction.
const FULL_BYTES: usize = 512 << 10;
const FULL_SHEETS: usize = 100;

/// Sheets on their way into the store.
#[derive(Default)]
struct Batch {
    transaction: Transaction,
    sheets: usize,
    bytes: usize,
    /// Whose they are, and the last minute of each.
    groups: Vec<(u16, u32)>,
}

impl Metrics {
    /// Writes every minute that is over, and closes every hour that can be. After an error the same is tried the next
    /// time.
    pub async fn flush(&self, now: u64) -> Result<(), StoreError> {
        let written = self.write(0..GROUPS, whole(now)).await;
        self.close(whole(now), usize::MAX).await?;
        written
    }

    /// [`Self::flush`] of one of [`PARTS`] parts: each is due once a minute.
    pub async fn flush_part(&self, part: u16, now: u64) -> Result<(), StoreError> {
        let size = GROUPS / PARTS;
        let begin = part % PARTS * size;
        let written = self.write(begin..begin + size, whole(now)).await;
        self.close(whole(now), CLOSED_AT_ONCE).await?;
        written
    }

    /// Writes every minute before `now` and closes nothing: for a stop, which must not wait for an hour's records.
    pub async fn save(&self, now: u64) -> Result<(), StoreError> {
        self.write(0..GROUPS, whole(now)).await
    }

    async fn write(&self, groups: std::ops::Range<u16>, now: u32) -> Result<(), StoreError> {
        let (mut batch, mut outcome) = (Batch::default(), Ok(()));
        for number in groups {
            if let Err(error) = self.gather(number, now, &mut batch).await {
                self.memory.group(number).settle(None, now);
                outcome = Err(error);
            }
            if batch.bytes > FULL_BYTES || batch.sheets > FULL_SHEETS {
                outcome = self.commit(std::mem::take(&mut batch), now).await.and(outcome);
            }
        }
        self.commit(batch, now).await.and(outcome)
    }

    /// What is due of a group.
    async fn gather(&self, number: u16, now: u32, batch: &mut Batch) -> Result<(), StoreError> {
        let due = self.memory.group(number).begin_write(now / MINUTE);
        let mut sheets = Vec::new();
        for (minute, mut sheet) in due.sheets {
            // Records are never written again.
            if minute / 60 <= self.closing.closed() {
                continue;
            }
            let key = rows::key(number, minute);
            if minute <= due.written
                && let Some(before) = self.store.get(SHEETS, &key).await?
            {
                add(&mut sheet, sheet::read(&before.value));
            }
            sheets.push((minute, key, sheet::write(&sheet)));
        }
        let last = sheets.last().map_or(0, |(minute, ..)| *minute);
        for (_, key, value) in sheets {
            batch.bytes += value.len();
            batch.sheets += 1;
            batch.transaction = std::mem::take(&mut batch.transaction).put(SHEETS, key, value);
        }
        batch.groups.push((number, last));
        Ok(())
    }

    async fn commit(&self, batch: Batch, now: u32) -> Result<(), StoreError> {
        let committed = match batch.sheets {
            0 => Ok(()),
            _ => self.store.commit(batch.transaction).await.map(drop),
        };
        for (number, last) in batch.groups {
            self.memory.group(number).settle(committed.is_ok().then_some(last), now);
        }
        committed
    }
}

fn add(sheet: &mut Sheet, before: Sheet) {
    for (entity, row) in before {
        merge(sheet.entry(entity).or_default(), &row);
    }
}
