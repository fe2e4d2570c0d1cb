//! Who shows how the installation is (`system.health`) hears when its counts are others.
//!
//! What always holds: nothing is read for this, and no row is looked at. Changes of rows, of tasks and of the store's health
//! wake it, at most every [`TOGETHER`]; then it counts from the indexes, and tells when a count is another one. It counts over
//! all pools. Who sees only some may hear of a change that is none to them, and does not hear of two that make up for each
//! other: whoever shows the counts reads them now and then all the same. A crash loses nothing that was not a hint.

use std::time::Duration;

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use xenith_orchestrator_inventory::filter::{self, Filter};
use xenith_orchestrator_inventory::host::Hosts;
use xenith_orchestrator_inventory::vm::Vms;
use xenith_orchestrator_inventory::{Noun, Scope};

use crate::app::App;

/// The first change is told at once, those behind it no sooner.
const TOGETHER: Duration = Duration::from_millis(500);

#[derive(Debug, PartialEq, Eq)]
struct Counted {
    hosts: usize,
    heard: u64,
    vms: usize,
    running: u64,
    tasks: usize,
    read_only: Option<String>,
}

struct Counter {
    heard: Filter,
    running: Filter,
    last: Option<Counted>,
}

impl Counter {
    /// Of words that the schemas have, as a test makes sure.
    fn new() -> Self {
        let heard = filter::parse(Hosts::SCHEMA, "status:connected").unwrap_or(Filter::All);
        let running = filter::parse(Vms::SCHEMA, "power:running").unwrap_or(Filter::All);
        Self { heard, running, last: None }
    }

    /// Whether something is otherwise than when it was counted last.
    fn has_changed(&mut self, app: &App) -> bool {
        let everything = Scope::everything();
        let now = Counted {
            hosts: app.views.hosts.len(),
            heard: app.views.hosts.count(&self.heard, &everything),
            vms: app.views.vms.len(),
            running: app.views.vms.count(&self.running, &everything),
            tasks: app.engine.running(),
            read_only: app.read_only(),
        };
        let changed = self.last.as_ref().is_some_and(|last| *last != now);
        self.last = Some(now);
        changed
    }

    fn look(&mut self, app: &App) {
        if self.has_changed(app) {
            app.changes.note_noun("system");
        }
    }
}

pub async fn tell(app: &App) {
    let (mut vms, mut hosts) = (app.views.vms.revisions(), app.views.hosts.revisions());
    let (mut store, mut tasks) = (app.db.store.health(), app.engine.subscribe());
    let mut counter = Counter::new();
    loop {
        counter.look(app);
        tokio::time::sleep(TOGETHER).await;
        // Also what had not taken effect when it was told of.
        counter.look(app);
        let goes_on = tokio::select! {
            changed = vms.changed() => changed.is_ok(),
            changed = hosts.changed() => changed.is_ok(),
            changed = store.changed() => changed.is_ok(),
            event = tasks.recv() => !matches!(event, Err(RecvError::Closed)),
        };
        if !goes_on {
            return;
        }
        while !matches!(tasks.try_recv(), Err(TryRecvError::Empty | TryRecvError::Closed)) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_can_be_asked_for() {
        let Counter { heard, running, .. } = Counter::new();
        assert!(heard != Filter::All && running != Filter::All);
    }
}
