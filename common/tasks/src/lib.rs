//! Owned background work: nothing is spawned that nobody waits for.
//!
//! A [`TaskSet`] names, spans and tracks each spawn. [`TaskSet::shut_down`] cancels, drains and says which
//! tasks did not end in time. A panic in a task is logged with its name and does not pass unseen. [`Stop`] says when it is
//! time to.

mod backoff;
mod set;
mod stop;

pub use backoff::Backoff;
pub use set::{Stragglers, TaskSet};
pub use stop::Stop;
pub use tokio_util::sync::CancellationToken;
