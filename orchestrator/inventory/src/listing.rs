//! Lists that are too short for an inventory of their own: a table made for one question, from rows at hand.
//!
//! The language, the orders and the cursors are those of the inventories, so that nobody has to know which list is
//! which. Making the table costs about a microsecond a row: good for some ten thousand rows, not for a million.
//!
//! What always holds: rows with the same key are in the order of their ids, whatever order they come in, so that a
//! cursor of one question is good for the next.

use crate::column::Sorted;
use crate::inventory::{PageRequest, QueryError, Revision, Slots, slots};
use crate::schema::{Cell, Schema};
use crate::table::Table;

/// The cells of one row, in the order of the schema's columns.
#[derive(Debug)]
pub struct Cells<'a> {
    table: &'a mut Table,
    slot: u32,
    column: usize,
}

impl Cells<'_> {
    fn cell(&mut self, cell: Cell<'_>) -> &mut Self {
        self.table.set(self.slot, self.column, cell, Sorted::Later);
        self.column += 1;
        // Ages are not stored: the schema has them, the row does not.
        while self.table.schema.columns.get(self.column).is_some_and(|column| column.is_derived()) {
            self.column += 1;
        }
        self
    }

    /// Empty text is no value.
    pub fn text(&mut self, text: impl AsRef<str>) -> &mut Self {
        match text.as_ref() {
            "" => self.cell(Cell::None),
            text => self.cell(Cell::Text(text)),
        }
    }

    pub fn texts(&mut self, texts: &[String]) -> &mut Self {
        self.cell(Cell::Texts(texts))
    }

    /// In the column's unit.
    pub fn number(&mut self, number: Option<u64>) -> &mut Self {
        self.cell(number.map_or(Cell::None, Cell::Number))
    }

    pub fn time(&mut self, time: Option<time::OffsetDateTime>) -> &mut Self {
        self.cell(crate::nouns::time_cell(time))
    }

    /// Of a column with [`YES_NO`].
    pub fn yes_no(&mut self, value: YesNo) -> &mut Self {
        self.cell(Cell::Text(YES_NO[value as usize]))
    }
}

/// The words of a column that is one or the other, in the order of [`YesNo`].
pub const YES_NO: &[&str] = &["yes", "no"];

/// What such a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum YesNo {
    Yes,
    No,
}

impl From<bool> for YesNo {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// A row of such a list.
pub trait Listing {
    const SCHEMA: &'static Schema;

    /// What nobody else in the list has.
    fn id(&self) -> [u8; 16];

    /// Puts every column, in the schema's order.
    fn cells(&self, cells: &mut Cells<'_>);
}

/// Some rows, and how many there are.
#[derive(Debug, Clone)]
pub struct Listed<Row> {
    pub rows: Vec<Row>,
    /// For the next page; `None`: these were the last.
    pub next: Option<String>,
    /// Of the filter, on all pages.
    pub total: u64,
}

/// The page of `rows` that is asked for. They are those that the caller may see: `scope` hides more, if it names
/// columns that the schema has.
pub fn filtered<L: Listing>(mut rows: Vec<L>, request: &PageRequest) -> Result<Listed<L>, QueryError> {
    rows.sort_by_cached_key(L::id);
    rows.dedup_by_key(|row| row.id());
    let mut table = Table::new(L::SCHEMA);
    for row in &rows {
        let (slot, _) = table.ensure(row.id(), Sorted::Later, Revision::default());
        let mut cells = Cells { table: &mut table, slot, column: 0 };
        row.cells(&mut cells);
        debug_assert_eq!(cells.column, L::SCHEMA.columns.len(), "{}: a cell for each column", L::SCHEMA.noun);
    }
    table.sort();
    // A mark that no other table has: a cursor finds its place by key and id, never by slot.
    let process = (uuid::Uuid::new_v4().as_u128() >> 96) as u32;
    let Slots { slots, next, total } = slots(&table, request, process)?;
    let mut rows: Vec<Option<L>> = rows.into_iter().map(Some).collect();
    let rows = slots.into_iter().filter_map(|slot| rows[slot as usize].take()).collect();
    Ok(Listed { rows, next, total })
}
