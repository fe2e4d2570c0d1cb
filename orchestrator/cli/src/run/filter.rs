//! What could be typed next in a filter.

use xenith_orchestrator_api::filter;
use xenith_orchestrator_types::filter::CompleteListFilter;
use xenith_orchestrator_types::vm::{Completion, CompletionCandidate};

use crate::app::App;
use crate::cli::FilterCommand;
use crate::error::CliError;

pub async fn run(app: &App, command: FilterCommand) -> Result<(), CliError> {
    let FilterCommand::Complete { noun, text } = command;
    // On a command line `backup-job` is the noun that the API calls `backup_job`.
    let noun = noun.replace('-', "_");
    candidates(app, &app.call::<filter::Complete>(&CompleteListFilter { noun, text }).await?)
}

/// One a line, with what it means.
pub fn candidates(app: &App, found: &Completion) -> Result<(), CliError> {
    let line = |candidate: &CompletionCandidate| format!("{}  {}\n", candidate.text, candidate.hint);
    app.out.value(found, || found.candidates.iter().map(line).collect())
}
