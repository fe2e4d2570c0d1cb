//! `list --watch` of VMs, hosts, VDIs: a table that changes on a terminal, a line for each change elsewhere.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::time::Duration;

use serde::Serialize;
use xenith_orchestrator_api::{InventoryChange, WatchRows};
use xenith_orchestrator_client::{Subscription, Update, Watch};

use crate::app::App;
use crate::cli::Listing;
use crate::error::CliError;
use crate::live::LiveRegion;
use crate::table::{Column, Names, Paint, Row, Tone, choose, lines};

/// A storm of changes is drawn this often at most.
const FRAME: Duration = Duration::from_millis(200);

/// Until Ctrl-C, which ends it in good order.
pub async fn follow<S, T, Id>(app: &App, listing: &Listing) -> Result<(), CliError>
where
    S: Subscription<Params = WatchRows, Item = InventoryChange<T, Id>>,
    T: Row + Clone,
    Id: ToString + Serialize,
{
    let columns = choose::<T>(&listing.columns)?;
    let filter = listing.filter.clone();
    let mut watch = app.client().await?.watch::<S>(&WatchRows { filter, ..WatchRows::default() }).await?;
    let drawing = app.out.for_people() && io::stdout().is_terminal();
    let following = async {
        if drawing {
            draw::<S, T, Id>(app, &mut watch, &columns).await
        } else {
            print::<S, T, Id>(app, &mut watch, &columns).await
        }
    };
    tokio::select! {
        // Before the first line is written: who reads it may interrupt at once.
        biased;
        _ = tokio::signal::ctrl_c() => Ok(()),
        result = following => result,
    }
}

/// What is known of the list.
struct Known<T> {
    /// By id.
    rows: BTreeMap<String, T>,
    /// The first list is complete.
    ready: bool,
    interrupted: bool,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), ready: false, interrupted: false }
    }
}

impl<T: Row + Clone> Known<T> {
    fn take<Id: ToString>(&mut self, update: Update<InventoryChange<T, Id>>) {
        match update {
            Update::Item(InventoryChange::Added(row) | InventoryChange::Changed(row)) => {
                self.rows.insert(row.id(), row);
            }
            Update::Item(InventoryChange::Removed(id)) => {
                self.rows.remove(&id.to_string());
            }
            Update::Item(InventoryChange::Ready { .. }) => self.ready = true,
            Update::Item(InventoryChange::Seen { .. }) => {}
            Update::Item(InventoryChange::Resync) => *self = Self::default(),
            // The old list stays in sight until the new one is complete.
            Update::Interrupted => self.interrupted = true,
            Update::Continued => self.interrupted = false,
            Update::Resumed => *self = Self::default(),
        }
    }

    fn lines(&self, columns: &[Column<T>], names: &Names, paint: Paint) -> Vec<String> {
        let mut rows: Vec<_> = self.rows.values().cloned().collect();
        rows.sort_by_key(|row| (row.name(), row.id()));
        let mut drawn = lines(&rows, columns, names, paint);
        if self.interrupted {
            drawn.push(paint.tone(Tone::Busy, "the connection broke; trying to get it back"));
        }
        drawn
    }
}

async fn draw<S, T, Id>(app: &App, watch: &mut Watch<S>, columns: &[Column<T>]) -> Result<(), CliError>
where
    S: Subscription<Item = InventoryChange<T, Id>>,
    T: Row + Clone,
    Id: ToString,
{
    let names = app.names().await;
    let (mut known, mut region, mut changed) = (Known::default(), LiveRegion::on_stdout(), true);
    let mut frames = tokio::time::interval(FRAME);
    loop {
        tokio::select! {
            update = watch.next() => match update? {
                Some(update) => {
                    known.take(update);
                    changed = true;
                }
                None => return Ok(()),
            },
            _ = frames.tick(), if changed && (known.ready || known.interrupted) => {
                region.draw(&known.lines(columns, &names, app.out.paint)).map_err(CliError::Output)?;
                changed = false;
            }
        }
    }
}

async fn print<S, T, Id>(app: &App, watch: &mut Watch<S>, columns: &[Column<T>]) -> Result<(), CliError>
where
    S: Subscription<Item = InventoryChange<T, Id>>,
    T: Row,
    Id: ToString + Serialize,
{
    let names = app.names().await;
    while let Some(update) = watch.next().await? {
        match update {
            Update::Item(change) if !app.out.for_people() => app.out.message(&change)?,
            Update::Item(InventoryChange::Seen { .. }) => {}
            Update::Item(change) => app.out.line(&sentence(&change, columns, &names))?,
            Update::Interrupted => app.note("the connection broke; trying to get it back"),
            Update::Continued => app.note("the connection is back"),
            Update::Resumed if app.out.for_people() => {
                app.note("the connection is back; the list follows again")
            }
            Update::Resumed => app.out.message(&InventoryChange::<(), ()>::Resync)?,
        }
    }
    Ok(())
}

/// The word, and the first columns.
fn sentence<T: Row, Id: ToString>(
    change: &InventoryChange<T, Id>,
    columns: &[Column<T>],
    names: &Names,
) -> String {
    let row = |word: &str, row: &T| {
        let cells = columns.iter().take(3).map(|column| (column.cell)(row, names).text);
        crate::output::clean(&std::iter::once(word.to_owned()).chain(cells).collect::<Vec<_>>().join(" "))
    };
    match change {
        InventoryChange::Added(added) => row("added", added),
        InventoryChange::Changed(changed) => row("changed", changed),
        InventoryChange::Removed(id) => format!("removed {}", id.to_string()),
        InventoryChange::Ready { total, .. } => format!("ready {total}"),
        InventoryChange::Seen { revision } => format!("seen {revision}"),
        InventoryChange::Resync => "resync".to_owned(),
    }
}
