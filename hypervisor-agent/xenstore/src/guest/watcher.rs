//! The facts of one domain as they change.
//!
//! Pulled by its reader, no task of its own: nothing to own, nothing to leak, and a reader that does not read
//! costs nothing but one marker in each watch. What ends it: the domain leaving the store, or the connection
//! shutting down. A daemon that goes away does not end it: the facts are read again when it is back, and if its
//! store then knows no such domain, that is the end.

use std::time::Duration;

use futures::stream::{SelectAll, Stream, StreamExt};
use tokio::time::{Instant, timeout_at};
use xenith_common_ids::DomId;

use super::facts::GuestFacts;
use crate::connection::{Watch, Xenstore};
use crate::error::XenstoreError;
use crate::path::domain_path;

/// How changes are merged before the facts are read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Debounce {
    /// Read when nothing has changed for this long ...
    pub quiet: Duration,
    /// ... or this long after the first change, however busy the guest is.
    pub most: Duration,
}

impl Default for Debounce {
    /// Guest tools write their nodes one by one within a few milliseconds, every few seconds.
    fn default() -> Self {
        Self { quiet: Duration::from_millis(250), most: Duration::from_secs(2) }
    }
}

/// When a run of changes is read.
#[derive(Debug, Clone, Copy)]
struct Burst {
    quiet: Instant,
    latest: Instant,
}

impl Burst {
    fn begin(debounce: Debounce) -> Self {
        let now = Instant::now();
        Self { quiet: now + debounce.quiet, latest: now + debounce.most }
    }

    /// When it is read, if nothing more comes; not before `rested`.
    fn due(self, rested: Instant) -> Instant {
        self.quiet.min(self.latest).max(rested)
    }

    /// When it is read, whatever comes.
    fn overdue(self, rested: Instant) -> Instant {
        self.latest.max(rested)
    }
}

/// A guest chooses how much there is to read, and how often: after each read it is left alone for so many times as long as
/// that took. What it makes xenstored do is then a small part of what that can do.
const RESTS: u32 = 10;
/// A read that took long for another reason, as of a daemon that stood still, is made good for by then.
const LONGEST_REST: Duration = Duration::from_secs(10);

/// Watches the facts of one domain.
#[derive(Debug)]
pub struct GuestWatcher {
    store: Xenstore,
    domain: DomId,
    debounce: Debounce,
    watches: SelectAll<Watch>,
    /// Changes that were seen and not read yet. Kept here so that a cancelled call loses nothing.
    burst: Option<Burst>,
    /// Nothing is read before.
    rested: Instant,
    last: Option<GuestFacts>,
}

/// The parts of a domain's directory that hold facts. Watching the whole directory would also wake us for each
/// step of each device. When the domain goes, xenstored fires the watches on what it removes; libxl gives every
/// domain `memory` and `control`.
const PARTS: [&str; 5] = ["attr", "data", "drivers", "memory", "control"];

impl GuestWatcher {
    /// Fails with [`XenstoreError::NotFound`] when `domain` is not in the store.
    pub async fn new(store: &Xenstore, domain: DomId, debounce: Debounce) -> Result<Self, XenstoreError> {
        let home = domain_path(domain);
        store.read_bytes(&home).await?;
        let mut watches = SelectAll::new();
        for part in PARTS {
            watches.push(store.watch_path(&format!("{home}/{part}")).await?);
        }
        let rested = Instant::now();
        Ok(Self { store: store.clone(), domain, debounce, watches, burst: None, rested, last: None })
    }

    /// The facts when they differ from those given last; the first call gives them soon. `None`: the domain
    /// is gone, or the connection is shut down. Safe to cancel.
    pub async fn changed(&mut self) -> Option<GuestFacts> {
        loop {
            self.settle().await?;
            let began = Instant::now();
            let read = self.store.guest_facts(self.domain).await;
            self.rested = Instant::now() + (began.elapsed() * RESTS).min(LONGEST_REST);
            self.burst = None;
            match read {
                Ok(facts) if self.last.as_ref() == Some(&facts) => {}
                Ok(facts) => {
                    self.last = Some(facts.clone());
                    return Some(facts);
                }
                Err(XenstoreError::NotFound { .. } | XenstoreError::ShutDown { .. }) => return None,
                // The watches say Resync when the daemon is back.
                Err(error) => tracing::debug!(domain = %self.domain, %error, "guest facts not read"),
            }
        }
    }

    /// Waits for a change, and then for the end of the burst it belongs to.
    async fn settle(&mut self) -> Option<()> {
        loop {
            let Some(burst) = self.burst else {
                self.watches.next().await?;
                self.burst = Some(Burst::begin(self.debounce));
                continue;
            };
            match timeout_at(burst.due(self.rested), self.watches.next()).await {
                Err(_) => return Some(()),
                Ok(None) => return None,
                Ok(Some(_)) if Instant::now() >= burst.overdue(self.rested) => return Some(()),
                Ok(Some(_)) => {
                    self.burst = Some(Burst { latest: burst.latest, ..Burst::begin(self.debounce) });
                }
            }
        }
    }

    /// The same as a stream.
    pub fn into_stream(self) -> impl Stream<Item = GuestFacts> + Send + 'static {
        futures::stream::unfold(self, |mut watcher| async move {
            watcher.changed().await.map(|facts| (facts, watcher))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_much_to_read_is_read_more_seldom() {
        let now = Instant::now();
        let after = |millis| now + Duration::from_millis(millis);
        let burst = Burst { quiet: after(250), latest: after(2000) };
        assert_eq!((burst.due(now), burst.overdue(now)), (after(250), after(2000)), "it was read quickly");
        let rested = after(500);
        assert_eq!((burst.due(rested), burst.overdue(rested)), (after(500), after(2000)));
        let rested = after(10_000);
        assert_eq!((burst.due(rested), burst.overdue(rested)), (after(10_000), after(10_000)));
    }
}
