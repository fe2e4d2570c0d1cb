//! Gets and scans.

use bytes::Bytes;
use rocksdb::{ColumnFamily, DB, DBRawIterator, ReadOptions};

use super::{Shared, disk};
use crate::{Direction, Entry, Keyspace, Revision, ScanPage, ScanRequest, StoreError};

/// A page ends when it holds so much, even below its limit.
const MAX_PAGE_BYTES: usize = 4 << 20;

pub(super) fn family(db: &DB, keyspace: Keyspace) -> Result<&ColumnFamily, StoreError> {
    db.cf_handle(keyspace.name()).ok_or(StoreError::UnknownKeyspace(keyspace))
}

/// Takes the revision off the front of a stored value.
pub(super) fn split_stored(stored: &[u8]) -> Option<(Revision, &[u8])> {
    let (revision, value) = stored.split_first_chunk::<8>()?;
    Some((Revision(u64::from_be_bytes(*revision)), value))
}

pub(super) fn get(shared: &Shared, keyspace: Keyspace, key: &[u8]) -> Result<Option<Entry>, StoreError> {
    let guard = shared.db();
    let db = guard.as_ref().ok_or_else(|| shared.full())?;
    let stored =
        db.get_pinned_cf(family(db, keyspace)?, key).map_err(|e| disk::read_error(&shared.path, &e))?;
    stored.map(|stored| entry(shared, keyspace, key, &stored)).transpose()
}

fn entry(shared: &Shared, keyspace: Keyspace, key: &[u8], stored: &[u8]) -> Result<Entry, StoreError> {
    let (revision, value) = split_stored(stored).ok_or_else(|| {
        let key = crate::error::show_key(key);
        disk::corrupt(&shared.path, format!("the value of {keyspace}/{key} is cut short"))
    })?;
    Ok(Entry { key: Bytes::copy_from_slice(key), value: Bytes::copy_from_slice(value), revision })
}

pub(super) fn scan(shared: &Shared, request: &ScanRequest) -> Result<ScanPage, StoreError> {
    // First the revision, then the data: the page holds at least everything up to it.
    let revision = shared.feed.latest();
    let guard = shared.db();
    let db = guard.as_ref().ok_or_else(|| shared.full())?;
    let mut options = ReadOptions::default();
    // Who reads a whole keyspace reads it once: it would drive what is read often out of the cache, and fill that.
    options.fill_cache(!request.prefix.is_empty());
    if let Some(end) = prefix_end(&request.prefix) {
        options.set_iterate_upper_bound(end);
    }
    let mut iterator = db.raw_iterator_cf_opt(family(db, request.keyspace)?, options);
    seek(&mut iterator, request);
    let mut entries = Vec::new();
    let (mut bytes, mut more) = (0, false);
    while let Some((key, stored)) = iterator.item() {
        if !key.starts_with(&request.prefix) {
            break;
        }
        if entries.len() >= request.limit.max(1) || bytes > MAX_PAGE_BYTES {
            more = true;
            break;
        }
        bytes += key.len() + stored.len();
        entries.push(entry(shared, request.keyspace, key, stored)?);
        match request.direction {
            Direction::Ascending => iterator.next(),
            Direction::Descending => iterator.prev(),
        }
    }
    iterator.status().map_err(|e| disk::read_error(&shared.path, &e))?;
    let next = if more { entries.last().map(|entry| entry.key.clone()) } else { None };
    Ok(ScanPage { entries, next, revision })
}

fn seek(iterator: &mut DBRawIterator<'_>, request: &ScanRequest) {
    match (request.direction, &request.after) {
        (Direction::Ascending, None) => iterator.seek(&request.prefix),
        (Direction::Ascending, Some(after)) => {
            // The least key greater than `after`; never before the prefix.
            let mut next = after.to_vec();
            next.push(0);
            iterator.seek(next.max(request.prefix.clone()));
        }
        (Direction::Descending, None) => match prefix_end(&request.prefix) {
            Some(end) => {
                iterator.seek_for_prev(&end);
                // The end itself is outside.
                if iterator.key().is_some_and(|key| key >= end.as_slice()) {
                    iterator.prev();
                }
            }
            None => iterator.seek_to_last(),
        },
        (Direction::Descending, Some(after)) => {
            iterator.seek_for_prev(after);
            if iterator.key() == Some(after.as_ref()) {
                iterator.prev();
            }
        }
    }
}

/// The least key greater than every key with this prefix; `None` when there is none.
fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}
