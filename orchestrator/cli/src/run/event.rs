//! What happened.

use xenith_orchestrator_api::{WatchEvents, event};
use xenith_orchestrator_client::{EventChanges, Update};
use xenith_orchestrator_types::event::{Event, ListEvents, Severity};

use crate::app::App;
use crate::cli::EventListing;
use crate::error::CliError;
use crate::output::clean;
use crate::run::paged;
use crate::table::{Cell, Column, Row, Tone};
use crate::words;

pub fn severity(severity: Severity) -> Cell {
    match severity {
        Severity::Info => Cell::new("info"),
        Severity::Warning => Cell::toned(Tone::Busy, "warning"),
        Severity::Error => Cell::toned(Tone::Bad, "error"),
    }
}

impl Row for Event {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("at", |event, _| Cell::new(words::at(event.at))),
            Column::new("severity", |event, _| severity(event.severity)),
            Column::new("kind", |event, _| Cell::new(&event.kind)),
            Column::new("message", |event, _| Cell::new(&event.message)),
            Column::on_request("subject", |event, _| Cell::new(&event.subject)),
            Column::on_request("id", |event, _| Cell::new(event.id.to_string())),
        ]
    }

    fn name(&self) -> String {
        self.id.to_string()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

pub async fn list(app: &App, EventListing { watch: follow, listing }: EventListing) -> Result<(), CliError> {
    if follow {
        return watch(app, listing.filter).await;
    }
    paged(app, &listing.limited, &listing.columns, async |limit, cursor| {
        let (filter, sort) = (listing.filter.clone(), listing.sort.clone());
        app.call::<event::List>(&ListEvents { filter, sort, limit, cursor }).await
    })
    .await
}

/// From now on, until Ctrl-C. What happens while the connection is away comes when it is back, once anything was told.
async fn watch(app: &App, filter: String) -> Result<(), CliError> {
    let params = WatchEvents { filter, since: None };
    let mut watch = app.client().await?.watch::<EventChanges>(&params).await?;
    let following = async {
        while let Some(update) = watch.next().await? {
            match update {
                Update::Item(event) if app.out.for_people() => {
                    let Cell { text, tone } = severity(event.severity);
                    let word = app.out.paint.tone(tone, &format!("{text:<8}"));
                    let (kind, message) = (clean(&event.kind), clean(&event.message));
                    app.out.line(&format!("{}  {word} {kind:<20} {message}", words::at(event.at)))?;
                }
                Update::Item(event) => app.out.message(&event)?,
                Update::Interrupted => app.note("the connection broke; trying to get it back"),
                Update::Continued => app.note("the connection is back"),
                Update::Resumed => {
                    app.note("the connection is back; events in between: xenith event list");
                }
            }
        }
        Ok(())
    };
    tokio::select! {
        // Before the first line is written: who reads it may interrupt at once.
        biased;
        _ = tokio::signal::ctrl_c() => Ok(()),
        result = following => result,
    }
}
