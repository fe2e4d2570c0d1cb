//! A cache of byte strings with a bound on their sum.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::id::ChunkId;

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<ChunkId, Bytes>,
    old: HashMap<ChunkId, Bytes>,
    young_bytes: usize,
}

/// Two generations: when the young one holds half the bound it becomes the old one, and what was old and not
/// asked for since is gone. Nearly as good as least-recently-used, without its list.
#[derive(Debug)]
pub struct ByteCache {
    limit: usize,
    inner: Mutex<Generations>,
}

impl ByteCache {
    /// Holds at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, inner: Mutex::default() }
    }

    pub fn get(&self, id: &ChunkId) -> Option<Bytes> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = inner.young.get(id) {
            return Some(bytes.clone());
        }
        let bytes = inner.old.remove(id)?;
        Self::insert(&mut inner, self.limit, *id, bytes.clone());
        Some(bytes)
    }

    pub fn put(&self, id: ChunkId, bytes: Bytes) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        Self::insert(&mut inner, self.limit, id, bytes);
    }

    fn insert(inner: &mut Generations, limit: usize, id: ChunkId, bytes: Bytes) {
        if inner.young_bytes + bytes.len() > limit / 2 {
            inner.old = std::mem::take(&mut inner.young);
            inner.young_bytes = 0;
        }
        let len = bytes.len();
        let replaced = inner.young.insert(id, bytes).map_or(0, |old| old.len());
        inner.young_bytes = inner.young_bytes + len - replaced;
    }
}
