//! `xenith vm list --watch`: a table that changes on a terminal, a line for each change elsewhere.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::time::Duration;

use xenith_common_ids::VmId;
use xenith_orchestrator_api::{InventoryChange, WatchVms};
use xenith_orchestrator_client::{Update, VmChanges, Watch};
use xenith_orchestrator_types::vm::VmRow;

use crate::app::App;
use crate::cli::Listing;
use crate::error::CliError;
use crate::live::LiveRegion;
use crate::table::{Column, Names, Paint, Tone, choose, lines};

/// A storm of changes is drawn this often at most.
const FRAME: Duration = Duration::from_millis(200);

/// Until Ctrl-C, which ends it in good order.
pub async fn follow(app: &App, listing: &Listing) -> Result<(), CliError> {
    let columns = choose::<VmRow>(&listing.columns)?;
    let filter = listing.filter.clone();
    let mut watch =
        app.client().await?.watch::<VmChanges>(&WatchVms { filter, ..WatchVms::default() }).await?;
    let drawing = app.out.for_people() && io::stdout().is_terminal();
    let following =
        async { if drawing { draw(app, &mut watch, &columns).await } else { print(app, &mut watch).await } };
    tokio::select! {
        result = following => result,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// What is known of the list.
#[derive(Default)]
struct Known {
    rows: BTreeMap<VmId, VmRow>,
    /// The first list is complete.
    ready: bool,
    interrupted: bool,
}

impl Known {
    fn take(&mut self, update: Update<InventoryChange>) {
        match update {
            Update::Item(InventoryChange::Added(row) | InventoryChange::Changed(row)) => {
                self.rows.insert(row.id, row);
            }
            Update::Item(InventoryChange::Removed(id)) => {
                self.rows.remove(&id);
            }
            Update::Item(InventoryChange::Ready { .. }) => self.ready = true,
            Update::Item(InventoryChange::Resync) => *self = Self::default(),
            // The old list stays in sight until the new one is complete.
            Update::Interrupted => self.interrupted = true,
            Update::Resumed => *self = Self::default(),
        }
    }

    fn lines(&self, columns: &[Column<VmRow>], paint: Paint) -> Vec<String> {
        let mut rows: Vec<_> = self.rows.values().cloned().collect();
        rows.sort_by(|a, b| a.name.cmp(&b.name).then(a.id.cmp(&b.id)));
        let mut drawn = lines(&rows, columns, &Names::default(), paint);
        if self.interrupted {
            drawn.push(paint.tone(Tone::Busy, "the connection broke; trying to get it back"));
        }
        drawn
    }
}

async fn draw(app: &App, watch: &mut Watch<VmChanges>, columns: &[Column<VmRow>]) -> Result<(), CliError> {
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
                region.draw(&known.lines(columns, app.out.paint)).map_err(CliError::Output)?;
                changed = false;
            }
        }
    }
}

async fn print(app: &App, watch: &mut Watch<VmChanges>) -> Result<(), CliError> {
    while let Some(update) = watch.next().await? {
        match update {
            Update::Item(change) if !app.out.for_people() => app.out.message(&change)?,
            Update::Item(change) => sentence(app, &change)?,
            Update::Interrupted => app.note("the connection broke; trying to get it back"),
            Update::Resumed if app.out.for_people() => {
                app.note("the connection is back; the list follows again")
            }
            Update::Resumed => app.out.message(&InventoryChange::Resync)?,
        }
    }
    Ok(())
}

fn sentence(app: &App, change: &InventoryChange) -> Result<(), CliError> {
    let row = |word: &str, row: &VmRow| {
        let host = row.host_name.as_deref().unwrap_or("-");
        crate::output::clean(&format!("{word} {} {} {host}", row.name, row.power))
    };
    match change {
        InventoryChange::Added(vm) => app.out.line(&row("added", vm)),
        InventoryChange::Changed(vm) => app.out.line(&row("changed", vm)),
        InventoryChange::Removed(id) => app.out.line(&format!("removed {id}")),
        InventoryChange::Ready { total } => app.out.line(&format!("ready {total}")),
        InventoryChange::Resync => app.out.line("resync"),
    }
}
