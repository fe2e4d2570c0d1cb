//! Intended state, durably: ordered keys in named keyspaces, compare-and-set transactions, a watch.
//!
//! [`StateStore`] is the seam. Backends: [`MemoryStore`] (tests, simulators) and [`RocksStore`] (one machine).
//! Callers write records, not bytes: see [`Collection`].
//!
//! What always holds, in every backend (the conformance suite, feature `test-support`, checks it):
//! * A [`Transaction`] is all or nothing. Its preconditions are checked at the moment it is applied; nobody
//!   gets between the check and the writes. There are no locks and no read transactions: read, decide, commit
//!   with what you read as a precondition, and on [`StoreError::Conflict`] do it again.
//! * [`StateStore::commit`] returns after the change is durable. Every commit has a [`Revision`], each greater
//!   than the one before, across restarts. A key's revision is that of the commit that last wrote it.
//! * A watch sees each committed change of its prefix once, in order, or is told
//!   [`WatchEvent::Compacted`]: then read again and go on. It never blocks a writer.
//! * A commit whose outcome is not known ([`StoreError::outcome_unknown`]) has happened or not; because of the
//!   preconditions, reading and committing again is always right.
//!
//! Limits, chosen so that etcd could take every transaction (1.5 MiB a request, 128 operations): see
//! [`MAX_TRANSACTION_BYTES`] and [`MAX_TRANSACTION_OPS`]. Big things do not belong here.
//!
//! Who else touches it: nobody. One process holds the store (exclusive lock); tools open a checkpoint.
//!
//! On a crash: what was acknowledged is there; what was not is there in full or not at all.

mod collection;
#[cfg(feature = "test-support")]
pub mod conformance;
mod error;
mod feed;
#[cfg(feature = "test-support")]
mod fuse;
mod key;
mod memory;
mod rocks;
mod schema;
mod store;
mod transaction;

pub use bytes::Bytes;

pub use collection::{Collection, CollectionWatch, Record, RecordChange, RecordEvent, RecordPage};
pub use error::{StoreError, UnsupportedSchema};
pub use feed::{Change, Watch, WatchEvent};
#[cfg(feature = "test-support")]
pub use fuse::Fuse;
pub use key::StoreKey;
pub use memory::MemoryStore;
pub use rocks::{RocksOptions, RocksStore};
pub use schema::{Migration, Rewrite, RewriteFn, Schema};
pub use store::{Direction, Entry, Health, Keyspace, Revision, ScanPage, ScanRequest, StateStore};
pub use transaction::{
    Expect, MAX_KEY_BYTES, MAX_TRANSACTION_BYTES, MAX_TRANSACTION_OPS, MAX_VALUE_BYTES, Transaction,
};
