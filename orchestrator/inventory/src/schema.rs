//! What a noun consists of. The table and the filter language know columns; only the noun knows its rows.

use xenith_common_ids::ParseIdError;

use crate::table::Table;

/// How text values are compared by `field:value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchBy {
    /// The whole value, ignoring case: tags, names of hosts.
    Whole,
    /// Any part of it, ignoring case: names, operating systems.
    Part,
}

/// What a number means, for parsing and for showing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Count,
    /// Stored in MiB.
    Memory,
    /// Stored in tenths of a percent.
    Percent,
    /// Stored in milliseconds since 1970.
    Time,
    /// Stored in seconds; see [`ColumnKind::Age`].
    Duration,
}

/// What a column holds and which indexes it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// One of a few values, all known: listed in errors and completions.
    Choice(&'static [&'static str]),
    /// One value that many rows share; interned, with a bitmap per value.
    Shared(MatchBy),
    /// Several of those.
    Labels,
    /// Several `key=value` labels, written `field.key:value`.
    Fields,
    Number(Unit),
    /// The time since the `Time` column of this name. Not stored.
    Age(&'static str),
    /// Text that is different in each row; searched by part, kept in order.
    Text,
    /// Several such texts.
    Texts,
}

/// One column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnSpec {
    /// In filters, sorts, errors.
    pub name: &'static str,
    pub kind: ColumnKind,
    /// Whether a bare word in a filter is looked for here.
    pub searched: Searched,
    /// One line for completions and help.
    pub help: &'static str,
}

impl ColumnSpec {
    #[must_use]
    pub const fn new(name: &'static str, kind: ColumnKind, searched: Searched, help: &'static str) -> Self {
        Self { name, kind, searched, help }
    }

    /// Made from another column: no row has a cell for it.
    #[must_use]
    pub const fn is_derived(&self) -> bool {
        matches!(self.kind, ColumnKind::Age(_))
    }
}

/// Whether free text finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Searched {
    Yes,
    No,
}

/// The columns of a noun. The row's id is not one of them; `id:` is always there.
#[derive(Debug, PartialEq, Eq)]
pub struct Schema {
    /// Such as "vm".
    pub noun: &'static str,
    pub columns: &'static [ColumnSpec],
    /// The order when none is asked for; the name of a column, with `-` in front for descending.
    pub default_sort: &'static str,
}

impl Schema {
    /// The position of a column.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// All names that a filter may use, for errors and help.
    #[must_use]
    pub fn field_names(&self) -> Vec<&'static str> {
        let names = self.columns.iter().map(|column| match column.kind {
            ColumnKind::Fields => "field.<key>",
            _ => column.name,
        });
        std::iter::once("id").chain(names).collect()
    }
}

/// One value on its way into a table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    None,
    Text(&'a str),
    Texts(&'a [String]),
    Number(u64),
}

/// A kind of row. Implemented by a type without values.
pub trait Noun: Send + Sync + 'static {
    type Row: Clone + Send + Sync + 'static;
    /// Some cells of a row; unset ones stay as they are.
    type Patch: Send + Sync + 'static;
    type Id: Copy
        + Eq
        + Ord
        + std::fmt::Debug
        + std::fmt::Display
        + std::str::FromStr<Err = ParseIdError>
        + Send
        + Sync
        + 'static;

    const SCHEMA: &'static Schema;

    fn id_of(row: &Self::Row) -> Self::Id;
    fn id_bytes(id: Self::Id) -> [u8; 16];
    fn id_from(bytes: [u8; 16]) -> Self::Id;

    /// Calls `put` for every column.
    fn row_cells(row: &Self::Row, put: &mut dyn FnMut(usize, Cell<'_>));
    /// Calls `put` for the columns that the patch sets.
    fn patch_cells(patch: &Self::Patch, put: &mut dyn FnMut(usize, Cell<'_>));
    /// The reverse of [`Self::row_cells`].
    fn read(row: &RowView<'_>) -> Self::Row;
}

/// One row of a table, by column position.
#[derive(Clone, Copy)]
pub struct RowView<'a> {
    pub(crate) table: &'a Table,
    pub(crate) slot: u32,
}

impl std::fmt::Debug for RowView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RowView({})", self.slot)
    }
}

impl<'a> RowView<'a> {
    #[must_use]
    pub fn id(&self) -> [u8; 16] {
        self.table.id(self.slot)
    }

    /// Empty when there is no value.
    #[must_use]
    pub fn text(&self, column: usize) -> String {
        self.text_if_any(column).unwrap_or_default()
    }

    #[must_use]
    pub fn text_if_any(&self, column: usize) -> Option<String> {
        self.str_if_any(column).map(str::to_owned)
    }

    /// Without a copy.
    #[must_use]
    pub fn str_if_any(&self, column: usize) -> Option<&'a str> {
        self.table.column(column).text(self.slot).filter(|text| !text.is_empty())
    }

    /// In the order in which they were given for `Texts`, sorted for labels.
    #[must_use]
    pub fn texts(&self, column: usize) -> Vec<String> {
        self.table.column(column).texts(self.slot)
    }

    #[must_use]
    pub fn number(&self, column: usize) -> Option<u64> {
        self.table.column(column).number(self.slot)
    }
}
