//! The rows of the event log.

use time::OffsetDateTime;
use xenith_common_ids::EventId;

use super::{text_cell, time_cell, time_of, words};
use crate::schema::{Cell, ColumnKind, ColumnSpec, MatchBy, Noun, RowView, Schema, Searched, Unit};

words! {
    /// How bad it is.
    EventSeverity {
        Info = "info",
        Warning = "warning",
        Error = "error",
    }
}

/// One event: all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    pub id: EventId,
    /// Events are numbered as they happen.
    pub number: u64,
    pub at: OffsetDateTime,
    pub severity: EventSeverity,
    pub kind: String,
    /// `vm/…`, `host/…`.
    pub subject: String,
    pub message: String,
    /// The name of the pool of the subject.
    pub pool: Option<String>,
}

const MESSAGE: usize = 0;
const KIND: usize = 1;
const SEVERITY: usize = 2;
const SUBJECT: usize = 3;
const POOL: usize = 4;
const AT: usize = 5;
const NUMBER: usize = 6;

use Searched::{No, Yes};

const fn column(name: &'static str, kind: ColumnKind, searched: Searched, help: &'static str) -> ColumnSpec {
    ColumnSpec { name, kind, searched, help }
}

/// In the order of the constants above.
static SCHEMA: Schema = Schema {
    noun: "event",
    default_sort: "-number",
    columns: &[
        column("message", ColumnKind::Text, Yes, "a part of the message"),
        column("kind", ColumnKind::Shared(MatchBy::Part), Yes, "a part of the kind, such as host.lost"),
        column("severity", ColumnKind::Choice(EventSeverity::WORDS), No, "how bad it is"),
        column("subject", ColumnKind::Text, No, "a part of what it is about, as vm/… or host/…"),
        column("pool", ColumnKind::Shared(MatchBy::Whole), No, "the name of the pool"),
        column("at", ColumnKind::Number(Unit::Time), No, "when it happened, such as >2026-01-31"),
        column("number", ColumnKind::Number(Unit::Count), No, "events are numbered as they happen"),
        column("age", ColumnKind::Age("at"), No, "time since it happened, such as <1h"),
    ],
};

/// The noun.
#[derive(Debug)]
pub enum Events {}

/// Events do not change.
#[derive(Debug)]
pub enum EventPatch {}

impl Noun for Events {
    type Row = EventRow;
    type Patch = EventPatch;
    type Id = EventId;

    const SCHEMA: &'static Schema = &SCHEMA;

    fn id_of(row: &EventRow) -> EventId {
        row.id
    }

    fn id_bytes(id: EventId) -> [u8; 16] {
        *id.as_bytes()
    }

    fn id_from(bytes: [u8; 16]) -> EventId {
        EventId::from_bytes(bytes)
    }

    fn row_cells(row: &EventRow, put: &mut dyn FnMut(usize, Cell<'_>)) {
        put(MESSAGE, Cell::Text(&row.message));
        put(KIND, Cell::Text(&row.kind));
        put(SEVERITY, Cell::Text(row.severity.as_str()));
        put(SUBJECT, Cell::Text(&row.subject));
        put(POOL, text_cell(row.pool.as_deref()));
        put(AT, time_cell(Some(row.at)));
        put(NUMBER, Cell::Number(row.number));
    }

    fn patch_cells(patch: &EventPatch, _: &mut dyn FnMut(usize, Cell<'_>)) {
        match *patch {}
    }

    fn read(row: &RowView<'_>) -> EventRow {
        EventRow {
            id: EventId::from_bytes(row.id()),
            number: row.number(NUMBER).unwrap_or_default(),
            at: row.number(AT).and_then(time_of).unwrap_or(OffsetDateTime::UNIX_EPOCH),
            severity: row.str_if_any(SEVERITY).and_then(EventSeverity::parse).unwrap_or(EventSeverity::Info),
            kind: row.text(KIND),
            subject: row.text(SUBJECT),
            message: row.text(MESSAGE),
            pool: row.text_if_any(POOL),
        }
    }
}
