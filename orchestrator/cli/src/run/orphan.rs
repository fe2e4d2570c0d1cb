//! What hosts and records do not agree on.

use xenith_orchestrator_api::orphan;
use xenith_orchestrator_types::orphan::Orphan;

use crate::app::App;
use crate::cli::OrphanCommand;
use crate::error::CliError;
use crate::run::list;
use crate::table::{Cell, Column, Row, Tone};
use crate::words;

impl Row for Orphan {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("kind", |orphan, _| Cell::toned(Tone::Busy, orphan.kind.as_str())),
            Column::new("name", |orphan, _| Cell::new(&orphan.name)),
            Column::new("host", |orphan, _| Cell::maybe(orphan.host.as_ref())),
            Column::new("since", |orphan, _| Cell::new(words::ago(orphan.since))),
            Column::new("message", |orphan, _| Cell::new(&orphan.message)),
            Column::on_request("subject", |orphan, _| Cell::new(&orphan.subject)),
            Column::on_request("id", |orphan, _| Cell::new(orphan.id.to_string())),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

pub async fn run(app: &App, command: OrphanCommand) -> Result<(), CliError> {
    match command {
        OrphanCommand::List(listing) => list::<orphan::List, Orphan>(app, &listing).await,
    }
}
