//! Who asked for what.

use xenith_orchestrator_api::audit;
use xenith_orchestrator_types::Empty;
use xenith_orchestrator_types::audit::{AuditPhase, AuditRecord, ListAudit};

use crate::app::App;
use crate::cli::AuditCommand;
use crate::error::CliError;
use crate::run::paged;
use crate::table::{Cell, Column, Row, Sheet, Tone};
use crate::words;

fn phase(phase: AuditPhase) -> Cell {
    match phase {
        AuditPhase::Asked => Cell::new("asked"),
        AuditPhase::Begun => Cell::new("begun"),
        AuditPhase::Done => Cell::toned(Tone::Good, "done"),
        AuditPhase::Failed => Cell::toned(Tone::Bad, "failed"),
        AuditPhase::Cancelled => Cell::toned(Tone::Bad, "cancelled"),
        AuditPhase::Refused => Cell::toned(Tone::Bad, "refused"),
    }
}

impl Row for AuditRecord {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("sequence", |record, _| Cell::new(record.sequence.to_string())),
            Column::new("at", |record, _| Cell::new(words::at(record.at))),
            Column::new("phase", |record, _| phase(record.phase)),
            Column::new("user", |record, _| Cell::new(&record.user_name)),
            Column::new("from", |record, _| Cell::new(&record.from)),
            Column::new("method", |record, _| Cell::new(&record.method)),
            Column::new("params", |record, _| Cell::new(record.params.to_string())),
            Column::new("outcome", |record, _| Cell::maybe(record.outcome.as_ref())),
            Column::on_request("of", |record, _| Cell::maybe(record.of.map(|of| of.to_string()))),
            Column::on_request("hash", |record, _| Cell::new(&record.hash)),
            Column::on_request("id", |record, _| Cell::new(record.id.to_string())),
        ]
    }

    fn name(&self) -> String {
        self.sequence.to_string()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

pub async fn run(app: &App, command: AuditCommand) -> Result<(), CliError> {
    match command {
        AuditCommand::List(listing) => {
            paged(app, &listing.limited, &listing.columns, async |limit, cursor| {
                let (filter, sort) = (listing.filter.clone(), listing.sort.clone());
                app.call::<audit::List>(&ListAudit { filter, sort, limit, cursor }).await
            })
            .await
        }
        AuditCommand::Verify => verify(app).await,
    }
}

/// The answer is printed in any case; a broken chain is a failure besides.
async fn verify(app: &App) -> Result<(), CliError> {
    let verified = app.call::<audit::Verify>(&Empty {}).await?;
    app.out.value(&verified, || {
        let state = match verified.broken_at {
            None => Cell::toned(Tone::Good, "whole: every hash fits"),
            Some(at) => Cell::toned(Tone::Bad, format!("broken at record {at}")),
        };
        Sheet::new()
            .line("records", verified.records.to_string())
            .cell("chain", state)
            .line("head", &verified.head)
            .render(app.out.paint)
    })?;
    match verified.broken_at {
        None => Ok(()),
        Some(at) => {
            let problem = verified.problem.unwrap_or_else(|| "its hash does not fit".to_owned());
            Err(CliError::AuditBroken { problem: format!("record {at}: {problem}") })
        }
    }
}
