//! The connection to xenstored: what its users hold.
//!
//! [`Xenstore`] is a cheap handle; one actor task (`actor.rs`) owns the stream. Many requests are in flight
//! at once and are matched with their answers by request id.
//!
//! Life of the link, as [`LinkState`] shows it:
//!
//! ```text
//! connect() ──> Connected ──stream ends, or the daemon errs or stays silent──> Disconnected
//!                   ^                                                           │
//!                   └── the stream opens again; watches are registered again ───┘   (backoff)
//!     any ──shutdown of the task set, or the last handle is dropped──> ShutDown (final)
//! ```
//!
//! What always holds:
//! * In `Disconnected` every pending and every new request fails at once with the retryable
//!   [`XenstoreError::Disconnected`]; nothing is queued for later, since a write that was meant for the store
//!   of a minute ago must not land unasked in a fresh one. [`Xenstore::connected`] waits.
//! * A transaction belongs to one session: after a reconnect its id is never sent again, since the new
//!   daemon may have given the same number to somebody else.
//! * A watch survives the daemon: see [`WatchEvent::Resync`].

mod actor;
mod link;
mod mailbox;
mod pending;
mod registry;

use std::time::Duration;

use tokio::sync::watch;
use xenith_common_tasks::{Backoff, TaskSet};

pub use link::LinkState;
pub(crate) use link::{Failure, Link, OpenTransaction, Request, Scope};
pub use mailbox::{Watch, WatchEvent};

use crate::endpoint::Endpoint;
use crate::error::XenstoreError;
use crate::nodes::Nodes;
use crate::path;

/// How to connect.
#[derive(Debug, Clone)]
pub struct Options {
    pub endpoint: Endpoint,
    /// The wait before the first attempt to reconnect; doubles with each failure.
    pub first_retry: Duration,
    /// The longest wait between two attempts.
    pub slowest_retry: Duration,
    /// How long the daemon may owe answers without giving any before the link counts as lost. Its live update
    /// takes seconds; nothing that it does for a request takes longer.
    pub answer_patience: Duration,
    /// How many unread events a watch keeps before they become one [`WatchEvent::Lagged`].
    /// The default of 256 holds a burst such as the start of a VM with many devices; at the longest path
    /// it is 768 KiB per watch that nobody reads.
    pub watch_capacity: usize,
}

impl Options {
    /// Gives a silent daemon a minute; retries from 50 ms (a restart of the daemon for an update) up to 5 s (a host that is going down).
    #[must_use]
    pub const fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            first_retry: Duration::from_millis(50),
            slowest_retry: Duration::from_secs(5),
            answer_patience: Duration::from_secs(60),
            watch_capacity: 256,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new(Endpoint::discover())
    }
}

/// A handle on the store; all clones share one connection. Operations outside a transaction.
#[derive(Debug, Clone)]
pub struct Xenstore {
    pub(crate) link: Link,
    pub(crate) nodes: Nodes,
}

impl Xenstore {
    /// Connects and keeps the connection, until `tasks` shuts down or the last handle and watch are gone.
    ///
    /// Fails with [`XenstoreError::Unreachable`] when the store cannot be opened now: a host that never had
    /// Xen must hear so at once. Later losses are repaired.
    pub async fn connect(options: Options, tasks: &TaskSet) -> Result<Self, XenstoreError> {
        let stream = options.endpoint.open().await.map_err(|source| XenstoreError::Unreachable {
            endpoint: options.endpoint.to_string(),
            source,
        })?;
        let seed = u64::from(std::process::id());
        let backoff = Backoff::new(options.first_retry, options.slowest_retry, seed);
        let (link, inbox) = link::pair(&options);
        let actor = actor::Actor::new(options, inbox, backoff, tasks.token());
        tasks.spawn("xenstore connection", actor.run(stream));
        Ok(Self { nodes: Nodes::new(link.clone(), Scope::Outside), link })
    }

    /// How the link is, and its changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.link.state()
    }

    /// Waits until requests can succeed; the way to pace retries after [`XenstoreError::Disconnected`].
    pub async fn connected(&self) -> Result<(), XenstoreError> {
        let shut_down = || XenstoreError::ShutDown { path: "the store".to_owned() };
        let mut state = self.state();
        let reached =
            state.wait_for(|state| *state != LinkState::Disconnected).await.map_err(|_| shut_down())?;
        if *reached == LinkState::ShutDown { Err(shut_down()) } else { Ok(()) }
    }

    /// Watches `path` and everything below it, or one of the daemon's events (`@introduceDomain`,
    /// `@releaseDomain`). The daemon sends one event at once, so that a reader needs no first read.
    pub async fn watch_path(&self, path: &str) -> Result<Watch, XenstoreError> {
        path::check_watchable(path)?;
        self.link.watch(path).await.map_err(|failure| failure.about(path))
    }
}
