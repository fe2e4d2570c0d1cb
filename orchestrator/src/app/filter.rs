//! What could be typed next in the filter of a list.
//!
//! Names of columns and the words of choices come from the schema; values that rows have are told of nouns with an
//! inventory, and only those of rows that the caller sees.

use async_trait::async_trait;
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::filter::FilterApi;
use xenith_orchestrator_inventory::event::Events;
use xenith_orchestrator_inventory::filter;
use xenith_orchestrator_inventory::host::Hosts;
use xenith_orchestrator_inventory::orphan::Orphans;
use xenith_orchestrator_inventory::vdi::Vdis;
use xenith_orchestrator_inventory::vm::Vms;
use xenith_orchestrator_types::ApiError;
use xenith_orchestrator_types::filter::CompleteListFilter;
use xenith_orchestrator_types::vm::{Completion, CompletionCandidate};

use super::listings::SCHEMAS;
use super::{App, Listed};

/// Of a filter to complete: nobody types more.
const MAX_FILTER: usize = 4096;

/// The nouns with an inventory.
const INVENTORIES: [&str; 6] = ["vm", "host", "vdi", "task", "event", "orphan"];

/// Refuses what nobody types.
pub(super) fn typed(text: &str) -> Result<(), ApiError> {
    match text.len() {
        0..=MAX_FILTER => Ok(()),
        _ => Err(ApiError::invalid("text", format_args!("is longer than {MAX_FILTER} bytes"))),
    }
}

/// As the API shows it.
pub(super) fn told(found: filter::Completion) -> Result<Completion, ApiError> {
    let candidate = |found: filter::Candidate| CompletionCandidate { text: found.text, hint: found.hint };
    Ok(Completion {
        from: u32::try_from(found.replace.start).map_err(ApiError::internal)?,
        candidates: found.candidates.into_iter().map(candidate).collect(),
    })
}

impl App {
    fn completed<N: Listed>(&self, call: &Call, text: &str) -> filter::Completion {
        N::inventory(self).complete(text, text.len(), &self.scope(&call.caller))
    }
}

#[async_trait]
impl FilterApi for App {
    async fn complete(&self, call: &Call, request: CompleteListFilter) -> Result<Completion, ApiError> {
        let text = request.text.as_str();
        typed(text)?;
        let found = match request.noun.as_str() {
            "vm" => self.completed::<Vms>(call, text),
            "host" => self.completed::<Hosts>(call, text),
            "vdi" => self.completed::<Vdis>(call, text),
            "event" => self.completed::<Events>(call, text),
            "orphan" => self.completed::<Orphans>(call, text),
            "task" => self.tasks.rows.complete(text, text.len(), &self.scope(&call.caller)),
            noun => {
                let schema = SCHEMAS.into_iter().find(|schema| schema.noun == noun).ok_or_else(|| {
                    let nouns = INVENTORIES.into_iter().chain(SCHEMAS.into_iter().map(|schema| schema.noun));
                    let nouns = nouns.collect::<Vec<_>>().join(", ");
                    ApiError::invalid("noun", format_args!("{noun:?} has no list; use one of {nouns}"))
                })?;
                filter::complete(schema, text, text.len(), |_, _| Vec::new())
            }
        };
        told(found)
    }
}
