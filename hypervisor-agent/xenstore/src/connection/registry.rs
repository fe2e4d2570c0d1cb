//! The watches of a connection, which outlive its sessions.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::mailbox::Mailbox;
use crate::wire::{self, WireError};

/// Our number for a watch, and its token on the wire. Never reused within a connection's life, so that a late
/// event of a watch that has ended finds nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WatchId(u64);

#[derive(Debug)]
pub struct Entry {
    pub path: Box<str>,
    pub mailbox: Arc<Mailbox>,
}

/// Closes all mailboxes when dropped: a reader never waits for an actor that is gone, however it ended.
#[derive(Debug, Default)]
pub struct Registry {
    watches: HashMap<WatchId, Entry>,
    last: u64,
}

impl Registry {
    pub fn add(&mut self, path: Box<str>, capacity: usize) -> WatchId {
        self.last += 1;
        let id = WatchId(self.last);
        self.watches.insert(id, Entry { path, mailbox: Arc::new(Mailbox::new(capacity)) });
        id
    }

    pub fn get(&self, id: WatchId) -> Option<&Entry> {
        self.watches.get(&id)
    }

    pub fn remove(&mut self, id: WatchId) -> Option<Entry> {
        self.watches.remove(&id)
    }

    pub fn ids(&self) -> Vec<WatchId> {
        self.watches.keys().copied().collect()
    }

    /// The payload of WATCH and UNWATCH.
    pub fn payload(&self, id: WatchId) -> Option<Bytes> {
        self.get(id).map(|entry| wire::nul_terminated(&[&entry.path, &id.0.to_string()]))
    }

    /// Hands an event to its watch. One for a watch that has ended is no error: it was on its way.
    pub fn deliver(&self, event: &[u8]) -> Result<(), WireError> {
        let (path, token) = wire::parse_watch_event(event)?;
        let id = token.parse().map(WatchId).map_err(|_| WireError::BadWatchEvent)?;
        if let Some(entry) = self.get(id) {
            entry.mailbox.changed(path);
        }
        Ok(())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.watches.values().for_each(|entry| entry.mailbox.close());
    }
}
