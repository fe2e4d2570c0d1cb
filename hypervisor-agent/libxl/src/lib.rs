//! Runs domains on real Xen: the [`Hypervisor`] over libxl.
//!
//! ```text
//! agent ──async calls──> Libxl ──questions──> reader thread ──┐
//!                          │                  (lists, events) ├── a libxl context each ── Xen, xenstored
//!                          └──operations──> worker threads ───┘
//! ```
//!
//! libxl is a blocking C library with a lock per context. No call of it runs on the async runtime: questions
//! go to one thread ([`reader`]), operations each to a thread of their own ([`workers`]); both answer by
//! oneshot. **Why this is sound**: a context never leaves its thread ([`raw`]); libxl's state shared between
//! contexts (its list of contexts, the SIGCHLD users) has its own mutexes, and between processes its own lock
//! files, as with several `xl` at a time; callbacks run on the thread that called libxl and touch only what
//! belongs to its context. Rejected: one context with one thread for everything, where the seconds that a
//! build spends populating memory would hold up every other domain; `libxl_osevent_*` hooks into tokio,
//! which call back under libxl's lock from any thread.
//!
//! What always holds: no two operations race for memory ([`memory`]); a domain of ours has its identity
//! from the moment it is in xenstore ([`config`]); configurations cross as JSON, so one agent serves Xen 4.17
//! to 4.21; without Xen there is one typed error, never an abort.
//!
//! On a crash of the agent nothing here is lost: domains run on, and the next start lists them with their
//! identities.
//!
//! [`Hypervisor`]: xenith_hypervisor_agent_backend::Hypervisor

mod channel;
mod config;
mod cpu;
mod create;
mod device_model;
mod disk;
mod domains;
mod error;
#[cfg(test)]
mod fixtures;
mod host;
mod hotplug;
mod hypervisor;
mod info;
mod memory;
mod preflight;
#[allow(unsafe_code)]
mod raw;
mod reader;
#[cfg(test)]
#[allow(unsafe_code)]
mod real_library;
mod reserve;
mod store;
mod stream;
mod suspend;
mod workers;

use std::path::PathBuf;
use std::sync::Arc;

use futures::StreamExt;
use tokio::sync::Mutex;
use xenith_common_tasks::TaskSet;
use xenith_hypervisor_agent_backend::{EventSender, HypervisorError};
use xenith_hypervisor_agent_xenstore::Xenstore;

use crate::domains::Domains;
use crate::hotplug::Hotplug;
use crate::memory::Ledger;
use crate::raw::OpenError;
use crate::reader::Reader;
use crate::workers::{Workers, not_a_xen_host};

pub use memory::Dom0Memory;
pub use raw::NbdDevice;

/// How this host is to be treated.
#[derive(Debug, Clone)]
pub struct Options {
    pub dom0_memory: Dom0Memory,
    /// Folder for our [`Hotplug`] script. `None`: Xen's own scripts make devices.
    pub scripts: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { dom0_memory: Dom0Memory::Fixed, scripts: None }
    }
}

/// The hypervisor of this machine. Cheap to clone; clones share everything.
#[derive(Debug, Clone)]
pub struct Libxl {
    dom0_memory: Dom0Memory,
    hotplug: Hotplug,
    reader: Reader,
    workers: Workers,
    store: Xenstore,
    domains: Arc<Domains>,
    ledger: Ledger,
    /// Held while dom0 gives memory up, so that one shortage is not made good twice.
    ballooning: Arc<Mutex<()>>,
    events: EventSender,
    tasks: TaskSet,
}

impl Libxl {
    /// Opens the hypervisor. `tasks` gets the task that listens for new domains.
    ///
    /// # Errors
    /// [`HypervisorError::NotAXenHost`] with what is missing.
    pub async fn open(options: Options, store: Xenstore, tasks: &TaskSet) -> Result<Self, HypervisorError> {
        let library = raw::library().map_err(|error| not_a_xen_host(OpenError::Load(error)))?;
        let events = EventSender::new();
        let reader = Reader::start(library, events.clone()).await.map_err(not_a_xen_host)?;
        let introductions =
            store.watch_path("@introduceDomain").await.map_err(|error| store::from_store(&error))?;
        let (listener, token) = (reader.clone(), tasks.token());
        tasks.spawn("libxl new domains", async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = listen(introductions, listener) => {}
            }
        });
        let hotplug = match options.scripts {
            Some(folder) => {
                let installed = tokio::task::spawn_blocking(move || Hotplug::install(&folder));
                installed.await.unwrap_or(Hotplug::Xens)
            }
            None => Hotplug::Xens,
        };
        Ok(Self {
            dom0_memory: options.dom0_memory,
            hotplug,
            reader,
            workers: Workers::new(library),
            store,
            domains: Arc::default(),
            ledger: Ledger::default(),
            ballooning: Arc::default(),
            events,
            tasks: tasks.clone(),
        })
    }

    /// The library in use, such as `libxenlight.so.4.17`.
    #[must_use]
    pub fn library_name(&self) -> &'static str {
        self.workers.library().soname()
    }

    /// Waits for the operations that run and refuses new ones.
    pub async fn close(&self) {
        self.workers.close().await;
    }
}

/// A new domain is looked at as soon as xenstored knows it. Bursts cost one scan: events that came while it
/// ran are merged by the watch or seen as done.
async fn listen(mut introductions: xenith_hypervisor_agent_xenstore::Watch, reader: Reader) {
    while introductions.next().await.is_some() {
        if reader.look().await.is_err() {
            return;
        }
    }
}
