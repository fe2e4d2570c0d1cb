//! The audit log, which only grows: it is read from one end on, as far as a page needs, and never as a whole.
//!
//! A cursor is the number of the last record that was looked at, with a `+` in front where the oldest come first. A page
//! that has looked at [`LOOKED_AT`] records ends with what it has found, so that a filter that lets nothing through does
//! not read a log of years in one call.

use xenith_orchestrator_inventory::filter::{self, Filter};
use xenith_orchestrator_inventory::listing::{self, Cells, Listing};
use xenith_orchestrator_inventory::{ColumnKind, MatchBy, PageRequest, Schema, Scope, Unit};
use xenith_orchestrator_store::StoreKey;
use xenith_orchestrator_types::audit::{AuditPhase, AuditRecord, ListAudit};
use xenith_orchestrator_types::list::effective_limit;
use xenith_orchestrator_types::{ApiError, Page};

use super::{of, part, text, whole};
use crate::app::App;
use crate::errors::{query_error, store_error};

/// Most records that one call looks at.
const LOOKED_AT: usize = 20_000;
/// Records read at once.
const CHUNK: usize = 1000;

struct AuditRow(AuditRecord);

pub static AUDIT: Schema = Schema {
    noun: "audit",
    default_sort: "-sequence",
    columns: &[
        of("sequence", ColumnKind::Number(Unit::Count), "the number of the record"),
        of("at", ColumnKind::Number(Unit::Time), "when, such as >2026-01-31"),
        of("age", ColumnKind::Age("at"), "time since then, such as <1d"),
        of(
            "phase",
            ColumnKind::Choice(&["asked", "begun", "done", "failed", "cancelled", "refused"]),
            "how far it was",
        ),
        whole("user", "the name of the caller"),
        of("from", ColumnKind::Shared(MatchBy::Part), "a part of the caller's address"),
        part("method", "a part of the method, such as vm."),
        text("params", "a part of the parameters"),
        text("outcome", "a part of the outcome; none: there is none yet"),
    ],
};

impl Listing for AuditRow {
    const SCHEMA: &'static Schema = &AUDIT;

    fn id(&self) -> [u8; 16] {
        *self.0.id.as_bytes()
    }

    fn cells(&self, cells: &mut Cells<'_>) {
        let AuditRecord { sequence, at, phase, user_name, from, method, params, outcome, .. } = &self.0;
        let phase = match phase {
            AuditPhase::Asked => "asked",
            AuditPhase::Begun => "begun",
            AuditPhase::Done => "done",
            AuditPhase::Failed => "failed",
            AuditPhase::Cancelled => "cancelled",
            AuditPhase::Refused => "refused",
        };
        cells.number(Some(*sequence)).time(Some(*at)).text(phase).text(user_name).text(from);
        cells.text(method).text(params.to_string()).text(outcome.as_deref().unwrap_or_default());
    }
}

/// Which end comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Newest,
    Oldest,
}

impl End {
    fn parse(sort: &str) -> Result<Self, ApiError> {
        match sort {
            "" | "-" | "-sequence" | "-at" => Ok(Self::Newest),
            "sequence" | "at" => Ok(Self::Oldest),
            _ => Err(ApiError::invalid(
                "sort",
                format_args!("{sort:?} is not an order; use sequence or -sequence"),
            )),
        }
    }

    fn cursor(self, sequence: u64) -> String {
        match self {
            Self::Newest => sequence.to_string(),
            Self::Oldest => format!("+{sequence}"),
        }
    }

    fn after(self, cursor: Option<&str>) -> Result<Option<bytes::Bytes>, ApiError> {
        let Some(cursor) = cursor else { return Ok(None) };
        let digits = match self {
            Self::Newest => Some(cursor),
            Self::Oldest => cursor.strip_prefix('+'),
        };
        // `parse` takes a plus sign itself.
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let number = digits.and_then(|digits| digits.parse::<u64>().ok());
        let number = number.ok_or_else(|| ApiError::invalid("cursor", "is not one of this list's"))?;
        Ok(Some(bytes::Bytes::from(number.encode())))
    }

    /// The order within one piece of the log.
    const fn sort(self) -> &'static str {
        match self {
            Self::Newest => "-sequence",
            Self::Oldest => "sequence",
        }
    }
}

impl App {
    pub(in crate::app) async fn audit_page(
        &self,
        request: &ListAudit,
    ) -> Result<Page<AuditRecord>, ApiError> {
        let filter =
            filter::parse(&AUDIT, &request.filter).map_err(|error| ApiError::invalid("filter", error))?;
        let from = End::parse(&request.sort)?;
        let limit = effective_limit(request.limit);
        let mut after = from.after(request.cursor.as_deref())?;
        // Of everything just what the page holds.
        let chunk = if filter == Filter::All { limit } else { CHUNK };
        let (mut items, mut looked_at, mut next) = (Vec::new(), 0, None);
        while items.len() < limit && looked_at < LOOKED_AT {
            let page = match from {
                End::Newest => self.db.audit.page_descending(after, chunk).await,
                End::Oldest => self.db.audit.page(after, chunk).await,
            };
            let page = page.map_err(|error| store_error(&error))?;
            looked_at += page.records.len();
            let last = page.records.last().map(|record| record.key);
            let rows = page.records.into_iter().map(|record| AuditRow(record.value)).collect();
            let found = matching(rows, &filter, (from, limit - items.len()))?;
            items.extend(found.rows.into_iter().map(|AuditRow(record)| record));
            // More of this piece than the page holds: the next page begins behind its last record, not behind the piece.
            let last = match found.next {
                Some(_) => items.last().map(|record| record.sequence),
                None if page.next.is_some() => last,
                None => None,
            };
            next = last.map(|last| from.cursor(last));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let newest = self.db.audit.page_descending(None, 1).await.map_err(|error| store_error(&error))?;
        let total = newest.records.first().map_or(0, |record| record.key + 1);
        Ok(Page { items, total, next, revision: None })
    }
}

fn matching(
    rows: Vec<AuditRow>,
    filter: &Filter,
    (from, limit): (End, usize),
) -> Result<listing::Listed<AuditRow>, ApiError> {
    let mut wanted = PageRequest::first(filter.clone(), Scope::everything(), limit);
    from.sort().clone_into(&mut wanted.sort);
    listing::filtered(rows, &wanted).map_err(|error| query_error(&error))
}
