//! Owned background work: nothing is spawned that nobody waits for.
//!
//! A [`TaskSet`] names, spans and tracks each spawn. [`TaskSet::shut_down`] cancels, drains and says which
//! tasks did not end in time. A panic in a task is logged with its name and does not pass unseen.

mod backoff;
mod set;

pub use backoff::Backoff;
pub use set::{Stragglers, TaskSet};
pub use tokio_util::sync::CancellationToken;
