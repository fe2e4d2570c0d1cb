//! The rows of the list of orphans: what hosts and records do not agree on.

use time::OffsetDateTime;
use xenith_common_ids::OrphanId;

use super::{text_cell, time_cell, time_of, words};
use crate::schema::{Cell, ColumnKind, ColumnSpec, MatchBy, Noun, RowView, Schema, Searched, Unit};

words! {
    /// What does not fit.
    OrphanKind {
        Definition = "definition",
        Domain = "domain",
        Elsewhere = "elsewhere",
        Lost = "lost",
        Image = "image",
        Missing = "missing",
        Damaged = "damaged",
        LeftOver = "left-over",
        Record = "record",
    }
}

/// One of them: all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrphanRow {
    pub id: OrphanId,
    pub kind: OrphanKind,
    /// What it is, as `vm/…`, `vdi/…`, `file/…`.
    pub subject: String,
    pub name: String,
    /// The name of the host that it is on.
    pub host: Option<String>,
    pub pool: Option<String>,
    pub message: String,
    pub since: OffsetDateTime,
}

const NAME: usize = 0;
const KIND: usize = 1;
const SUBJECT: usize = 2;
const HOST: usize = 3;
const POOL: usize = 4;
const MESSAGE: usize = 5;
const SINCE: usize = 6;

use Searched::{No, Yes};

const fn column(name: &'static str, kind: ColumnKind, searched: Searched, help: &'static str) -> ColumnSpec {
    ColumnSpec { name, kind, searched, help }
}

/// In the order of the constants above.
static SCHEMA: Schema = Schema {
    noun: "orphan",
    default_sort: "name",
    columns: &[
        column("name", ColumnKind::Text, Yes, "a part of the name"),
        column("kind", ColumnKind::Choice(OrphanKind::WORDS), No, "what does not fit"),
        column("subject", ColumnKind::Text, No, "a part of what it is, as vm/… or vdi/…"),
        column("host", ColumnKind::Shared(MatchBy::Whole), Yes, "the name of the host that it is on"),
        column("pool", ColumnKind::Shared(MatchBy::Whole), No, "the name of the pool"),
        column("message", ColumnKind::Text, Yes, "a part of the explanation"),
        column("since", ColumnKind::Number(Unit::Time), No, "when it was found"),
        column("age", ColumnKind::Age("since"), No, "time since it was found, such as >1d"),
    ],
};

/// The noun.
#[derive(Debug)]
pub enum Orphans {}

/// They come and go as a whole.
#[derive(Debug)]
pub enum OrphanPatch {}

impl Noun for Orphans {
    type Row = OrphanRow;
    type Patch = OrphanPatch;
    type Id = OrphanId;

    const SCHEMA: &'static Schema = &SCHEMA;

    fn id_of(row: &OrphanRow) -> OrphanId {
        row.id
    }

    fn id_bytes(id: OrphanId) -> [u8; 16] {
        *id.as_bytes()
    }

    fn id_from(bytes: [u8; 16]) -> OrphanId {
        OrphanId::from_bytes(bytes)
    }

    fn row_cells(row: &OrphanRow, put: &mut dyn FnMut(usize, Cell<'_>)) {
        put(NAME, Cell::Text(&row.name));
        put(KIND, Cell::Text(row.kind.as_str()));
        put(SUBJECT, Cell::Text(&row.subject));
        put(HOST, text_cell(row.host.as_deref()));
        put(POOL, text_cell(row.pool.as_deref()));
        put(MESSAGE, Cell::Text(&row.message));
        put(SINCE, time_cell(Some(row.since)));
    }

    fn patch_cells(patch: &OrphanPatch, _: &mut dyn FnMut(usize, Cell<'_>)) {
        match *patch {}
    }

    fn read(row: &RowView<'_>) -> OrphanRow {
        OrphanRow {
            id: OrphanId::from_bytes(row.id()),
            kind: row.str_if_any(KIND).and_then(OrphanKind::parse).unwrap_or(OrphanKind::Lost),
            subject: row.text(SUBJECT),
            name: row.text(NAME),
            host: row.text_if_any(HOST),
            pool: row.text_if_any(POOL),
            message: row.text(MESSAGE),
            since: row.number(SINCE).and_then(time_of).unwrap_or(OffsetDateTime::UNIX_EPOCH),
        }
    }
}
