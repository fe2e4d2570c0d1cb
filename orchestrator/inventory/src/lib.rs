//! What there is, in memory, for reading: filtered, sorted, paged, counted, watched.
//!
//! A read model: it owns nothing. Rows come from the store at start ([`Inventory::load`]) and from the streams of
//! the hosts ([`Inventory::apply`]); if it is lost it is built again.
//!
//! One table per noun ([`vm::Vms`], [`host::Hosts`], [`vdi::Vdis`]; more nouns are a [`Schema`] and a [`Noun`]). A table is
//! columns, not records: a row is a *slot* number, a column an array indexed by it.
//!
//! * Repeated text (host, pool, power, OS, tags) is interned per column; each value has a compressed bitmap of the
//!   slots that have it. Numbers are plain arrays. Unique text (names, descriptions, addresses) lies in one piece of
//!   memory per column, so that a substring search is one pass at memory speed, and is kept in order.
//! * A filter becomes one bitmap of slots, from the indexes where they are selective and from a pass over one
//!   column where they are not (a pass over a million numbers takes less than a millisecond). Counts are counts of
//!   bits.
//! * A page in order of a text walks its order and looks at the bitmap; in order of anything else it is one pass
//!   that keeps the best.
//! * What may be seen ([`Scope`]) is a bitmap too, and is applied before anything is counted.
//!
//! What always holds:
//! * Every applied batch is one [`Revision`]. A page says which revision it shows; `watch` from there misses
//!   nothing.
//! * Readers never see half a batch. Batches are cut into small ones, so that readers wait less than a
//!   millisecond.
//! * Nothing grows without bound: history by number of batches, a subscriber by the number of rows.
//!
//! Who else touches it: writers through `apply`, one at a time; readers through a read lock that nobody holds
//! across an await.
//!
//! On a crash: it is gone, and is built again from the store and from the hosts' lists.

mod bits;
mod column;
mod dictionary;
pub mod filter;
mod inventory;
pub mod listing;
mod nouns;
mod schema;
mod scope;
mod table;
mod text;

pub use inventory::{
    Change, CountRequest, Delta, Facet, Inventory, Page, PageRequest, QueryError, Rest, Revision, Shown,
    Subscription, WatchEvent,
};
pub use nouns::{event, host, orphan, task, vdi, vm};
pub use schema::{Cell, ColumnKind, ColumnSpec, MatchBy, Noun, RowView, Schema, Searched, Unit};
pub use scope::Scope;
