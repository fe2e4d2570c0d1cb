//! The rows of the task list.
//!
//! Only what is filtered by and sorted by: what a task is doing right now is asked of the engine, for the page.

use time::OffsetDateTime;
use xenith_common_ids::TaskId;

use super::{text_cell, time_cell, time_of, words};
use crate::schema::{Cell, ColumnKind, ColumnSpec, MatchBy, Noun, RowView, Schema, Searched, Unit};

words! {
    /// Where it stands.
    TaskStatus {
        Running = "running",
        RollingBack = "rolling-back",
        Done = "done",
        RolledBack = "rolled-back",
        Parked = "parked",
        Abandoned = "abandoned",
    }
}

/// One task as lists filter it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRow {
    pub id: TaskId,
    pub title: String,
    /// The method that began it: `vm.start`.
    pub method: String,
    pub status: TaskStatus,
    /// The name of who asked.
    pub user: Option<String>,
    /// What it works on, as `vm/…`.
    pub subjects: Vec<String>,
    /// Of the VMs that it works on, by name: who sees those sees it.
    pub pools: Vec<String>,
    /// Of the same VMs.
    pub tags: Vec<String>,
    pub created: Option<OffsetDateTime>,
    pub ended: Option<OffsetDateTime>,
}

const TITLE: usize = 0;
const METHOD: usize = 1;
const STATUS: usize = 2;
const USER: usize = 3;
const SUBJECT: usize = 4;
const POOL: usize = 5;
const TAG: usize = 6;
const CREATED: usize = 7;
const ENDED: usize = 8;

use Searched::{No, Yes};

const fn column(name: &'static str, kind: ColumnKind, searched: Searched, help: &'static str) -> ColumnSpec {
    ColumnSpec { name, kind, searched, help }
}

/// In the order of the constants above.
static SCHEMA: Schema = Schema {
    noun: "task",
    default_sort: "-created",
    columns: &[
        column("title", ColumnKind::Text, Yes, "a part of the title"),
        column("method", ColumnKind::Shared(MatchBy::Part), Yes, "a part of the method, such as vm.start"),
        column("status", ColumnKind::Choice(TaskStatus::WORDS), No, "where it stands"),
        column("user", ColumnKind::Shared(MatchBy::Whole), Yes, "the name of who asked"),
        column("subject", ColumnKind::Texts, No, "a part of what it works on, as vm/… or host/…"),
        column("pool", ColumnKind::Labels, No, "the pool of a VM that it works on"),
        column("tag", ColumnKind::Labels, No, "a tag of a VM that it works on"),
        column("created", ColumnKind::Number(Unit::Time), No, "when it began, such as >2026-01-31"),
        column("ended", ColumnKind::Number(Unit::Time), No, "when it ended; none while it has not"),
        column("age", ColumnKind::Age("created"), No, "time since it began, such as <1h"),
    ],
};

/// The noun.
#[derive(Debug)]
pub enum Tasks {}

/// Tasks change as a whole.
#[derive(Debug)]
pub enum TaskPatch {}

impl Noun for Tasks {
    type Row = TaskRow;
    type Patch = TaskPatch;
    type Id = TaskId;

    const SCHEMA: &'static Schema = &SCHEMA;

    fn id_of(row: &TaskRow) -> TaskId {
        row.id
    }

    fn id_bytes(id: TaskId) -> [u8; 16] {
        *id.as_bytes()
    }

    fn id_from(bytes: [u8; 16]) -> TaskId {
        TaskId::from_bytes(bytes)
    }

    fn row_cells(row: &TaskRow, put: &mut dyn FnMut(usize, Cell<'_>)) {
        put(TITLE, Cell::Text(&row.title));
        put(METHOD, Cell::Text(&row.method));
        put(STATUS, Cell::Text(row.status.as_str()));
        put(USER, text_cell(row.user.as_deref()));
        put(SUBJECT, Cell::Texts(&row.subjects));
        put(POOL, Cell::Texts(&row.pools));
        put(TAG, Cell::Texts(&row.tags));
        put(CREATED, time_cell(row.created));
        put(ENDED, time_cell(row.ended));
    }

    fn patch_cells(patch: &TaskPatch, _: &mut dyn FnMut(usize, Cell<'_>)) {
        match *patch {}
    }

    fn read(row: &RowView<'_>) -> TaskRow {
        TaskRow {
            id: TaskId::from_bytes(row.id()),
            title: row.text(TITLE),
            method: row.text(METHOD),
            status: row.str_if_any(STATUS).and_then(TaskStatus::parse).unwrap_or(TaskStatus::Running),
            user: row.text_if_any(USER),
            subjects: row.texts(SUBJECT),
            pools: row.texts(POOL),
            tags: row.texts(TAG),
            created: row.number(CREATED).and_then(time_of),
            ended: row.number(ENDED).and_then(time_of),
        }
    }
}
