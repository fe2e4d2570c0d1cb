//! Rows as they are shown to whoever watches, written out once.
//!
//! Two hundred subscribers are told mostly the same rows; writing a row out costs ten times what looking it up
//! does. A row's text is forgotten with the row's next change, under the same lock: it is never older than the row.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::value::RawValue;

/// A row as JSON; cheap to share.
pub type Shown = Arc<RawValue>;

/// Readers meet here in parallel.
const SHARDS: usize = 16;
/// Some 30 MiB of rows in all. Above it a shard is emptied: what is told now is written anew, nothing else.
const MOST: usize = 4096;

#[derive(Debug, Default)]
pub(crate) struct Texts([Mutex<HashMap<u32, Shown>>; SHARDS]);

impl Texts {
    fn shard(&self, slot: u32) -> &Mutex<HashMap<u32, Shown>> {
        &self.0[slot as usize % SHARDS]
    }

    /// Call it with the table locked for reading, so that the row does not change meanwhile.
    pub fn get(&self, slot: u32, write: impl FnOnce() -> Option<Shown>) -> Option<Shown> {
        let shard = self.shard(slot);
        if let Some(shown) = shard.lock().unwrap_or_else(PoisonError::into_inner).get(&slot) {
            return Some(Arc::clone(shown));
        }
        // Not under the lock: two may write the same row at once, which is rare and harmless.
        let shown = write()?;
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= MOST {
            shard.clear();
        }
        shard.insert(slot, Arc::clone(&shown));
        Some(shown)
    }

    pub fn forget(&mut self, slot: u32) {
        let shard = &mut self.0[slot as usize % SHARDS];
        shard.get_mut().unwrap_or_else(PoisonError::into_inner).remove(&slot);
    }
}
