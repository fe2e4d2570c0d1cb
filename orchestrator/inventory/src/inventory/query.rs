//! Pages, counts, facets, completions.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Inventory, Revision, State};
use crate::bits::Bits;
use crate::column::{Column, labels};
use crate::dictionary::fold;
use crate::filter::{Completion, Filter, complete};
use crate::schema::{ColumnKind, Noun, Schema};
use crate::scope::Scope;
use crate::table::Table;
use crate::table::compiled::Compiled;
use crate::table::page::{Cursor, Descending, Sort, page};

/// Most rows of a page.
const MAX_PAGE: usize = 1000;

/// Which rows, in which order.
#[derive(Debug, Clone)]
pub struct PageRequest {
    pub filter: Filter,
    pub scope: Scope,
    /// The name of a column, with `-` in front for descending; empty for the noun's default.
    pub sort: String,
    /// Of the page before.
    pub cursor: Option<String>,
    /// 1 to 1000.
    pub limit: usize,
}

impl PageRequest {
    /// The first `limit` rows that `scope` shows of `filter`, in the default order.
    #[must_use]
    pub const fn first(filter: Filter, scope: Scope, limit: usize) -> Self {
        Self { filter, scope, sort: String::new(), cursor: None, limit }
    }
}

/// Some rows, and how many there are.
#[derive(Debug, Clone)]
pub struct Page<Row> {
    pub rows: Vec<Row>,
    /// For the next page; `None`: these were the last.
    pub next: Option<String>,
    /// Of the filter, on all pages.
    pub total: u64,
    /// What the page shows; watch from here.
    pub revision: Revision,
}

/// How many rows have which value.
#[derive(Debug, Clone)]
pub struct CountRequest {
    pub filter: Filter,
    pub scope: Scope,
    /// Columns to group by: choices, shared values, labels.
    pub group_by: Vec<String>,
    /// Most values of each column, those with the most rows.
    pub limit: usize,
}

/// The values of one column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facet {
    pub column: String,
    /// Value and number of rows, most first, then by value. An empty value stands for rows without one.
    pub values: Vec<(String, u64)>,
    /// How many more values there are.
    pub more: u64,
}

/// What is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error("{sort:?} is not an order; give one of {}, with - in front for descending", .allowed.join(", "))]
    UnknownSort { sort: String, allowed: Vec<&'static str> },
    #[error("cannot group by {column:?}; give one of {}", .allowed.join(", "))]
    UnknownGroup { column: String, allowed: Vec<&'static str> },
    #[error("the cursor is not one of this list; begin with the first page")]
    BadCursor,
    #[error("is not a revision of this list; leave it out to begin with all of it")]
    BadRevision,
    #[error("the cursor belongs to the order {expected:?}; keep the order, or begin with the first page")]
    OtherSort { expected: String },
}

pub(super) fn now_ms() -> u64 {
    u64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap_or_default()
}

fn parse_sort(schema: &Schema, sort: &str) -> Result<Sort, QueryError> {
    let wanted = match sort {
        "" => schema.default_sort.to_owned(),
        // The default order the other way round.
        "-" => match schema.default_sort.strip_prefix('-') {
            Some(name) => name.to_owned(),
            None => format!("-{}", schema.default_sort),
        },
        sort => sort.to_owned(),
    };
    let (name, descending) = match wanted.strip_prefix('-') {
        Some(name) => (name, Descending::Yes),
        None => (wanted.as_str(), Descending::No),
    };
    let sortable = |kind| !matches!(kind, ColumnKind::Fields);
    match schema.find(name).filter(|column| sortable(schema.columns[*column].kind)) {
        Some(column) => Ok(Sort { column, descending }),
        None => {
            let allowed =
                schema.columns.iter().filter(|column| sortable(column.kind)).map(|column| column.name);
            Err(QueryError::UnknownSort { sort: sort.to_owned(), allowed: allowed.collect() })
        }
    }
}

impl State {
    /// Rows of `filter` that `scope` shows.
    pub fn find(&self, filter: &Filter, scope: &Scope) -> Bits {
        self.compile(filter, scope).bits(&self.table)
    }

    pub fn compile(&self, filter: &Filter, scope: &Scope) -> Compiled {
        compile(&self.table, filter, scope)
    }
}

fn compile(table: &Table, filter: &Filter, scope: &Scope) -> Compiled {
    Compiled::scope(table, scope).and(Compiled::new(table, filter, now_ms()))
}

/// What one page shows.
pub(crate) struct Slots {
    pub slots: Vec<u32>,
    pub next: Option<String>,
    pub total: u64,
}

/// One page of a table. `process` marks the cursor: slots of another one mean nothing here.
pub(crate) fn slots(table: &Table, request: &PageRequest, process: u32) -> Result<Slots, QueryError> {
    let sort = parse_sort(table.schema, &request.sort)?;
    let cursor = match &request.cursor {
        None => None,
        Some(text) => Some(Cursor::decode(text).ok_or(QueryError::BadCursor)?),
    };
    if let Some(cursor) = cursor.as_ref().filter(|cursor| cursor.sort != request.sort) {
        return Err(QueryError::OtherSort { expected: cursor.sort.clone() });
    }
    let limit = request.limit.clamp(1, MAX_PAGE);
    let found = compile(table, &request.filter, &request.scope).bits(table);
    let (slots, next) = page(table, &found, (sort, &request.sort), cursor.as_ref(), (limit, process));
    Ok(Slots { slots, next: next.map(|cursor| cursor.encode()), total: found.count() })
}

impl<N: Noun> Inventory<N> {
    /// One page. All of it is of one revision.
    pub fn page(&self, request: &PageRequest) -> Result<Page<N::Row>, QueryError> {
        let state = self.shared.read();
        let Slots { slots, next, total } = slots(&state.table, request, self.shared.process)?;
        Ok(Page {
            rows: slots.iter().map(|slot| N::read(&state.table.row(*slot))).collect(),
            next,
            total,
            revision: state.history.latest(),
        })
    }

    /// Only the number of rows.
    #[must_use]
    pub fn count(&self, filter: &Filter, scope: &Scope) -> u64 {
        self.shared.read().find(filter, scope).count()
    }

    /// The ids of all rows, in no order, as they are at one moment. It costs a fraction of reading pages of them.
    #[must_use]
    pub fn ids(&self, filter: &Filter, scope: &Scope) -> Vec<N::Id> {
        let state = self.shared.read();
        state.find(filter, scope).iter().map(|slot| N::id_from(state.table.id(slot))).collect()
    }

    /// The number of rows, and by value of some columns.
    pub fn facets(&self, request: &CountRequest) -> Result<(u64, Vec<Facet>), QueryError> {
        let columns: Vec<usize> =
            request.group_by.iter().map(|name| group_column(N::SCHEMA, name)).collect::<Result<_, _>>()?;
        let state = self.shared.read();
        let found = state.find(&request.filter, &request.scope);
        let total = found.count();
        let facet = |column| facet(&state.table, column, &found, (total, request.limit.max(1)));
        Ok((total, columns.into_iter().map(facet).collect()))
    }

    /// What could be typed at `cursor`; values only of rows that `scope` shows.
    #[must_use]
    pub fn complete(&self, text: &str, cursor: usize, scope: &Scope) -> Completion {
        let state = self.shared.read();
        let visible = (!scope.is_everything()).then(|| state.find(&Filter::All, scope));
        complete(N::SCHEMA, text, cursor, |column, prefix| {
            values_with_prefix(state.table.column(column), prefix, visible.as_ref())
        })
    }
}

/// Values that begin with `prefix`, with their number of visible rows, most first.
fn values_with_prefix(column: &Column, prefix: &str, visible: Option<&Bits>) -> Vec<(String, u64)> {
    let (Column::Shared { values, .. } | Column::Labels { values, .. }) = column else { return Vec::new() };
    let prefix = fold(prefix);
    let codes = values.find(|_, folded| folded.starts_with(prefix.as_ref()));
    let mut found: Vec<(String, u64)> = codes
        .into_iter()
        .filter_map(|code| {
            let slots = values.slots(code)?;
            let rows = visible.map_or_else(|| slots.len(), |visible| visible.count_of(slots));
            (rows > 0).then_some((values.text(code)?.to_owned(), rows))
        })
        .collect();
    found.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    found
}

fn group_column(schema: &Schema, name: &str) -> Result<usize, QueryError> {
    let groupable = |kind| {
        matches!(
            kind,
            ColumnKind::Choice(_) | ColumnKind::Shared(_) | ColumnKind::Labels | ColumnKind::Fields
        )
    };
    match schema.find(name).filter(|column| groupable(schema.columns[*column].kind)) {
        Some(column) => Ok(column),
        None => {
            let allowed =
                schema.columns.iter().filter(|column| groupable(column.kind)).map(|column| column.name);
            Err(QueryError::UnknownGroup { column: name.to_owned(), allowed: allowed.collect() })
        }
    }
}

fn facet(table: &Table, column: usize, found: &Bits, (total, limit): (u64, usize)) -> Facet {
    let name = || table.schema.columns[column].name.to_owned();
    let mut with_value = 0;
    let (counts, values) = match table.column(column) {
        Column::Shared { codes, values } => {
            let mut counts = vec![0_u64; values.codes_end()];
            found.for_each(|slot| {
                // Rows without a value have a code behind the end.
                if let Some(count) = counts.get_mut(codes[slot as usize] as usize) {
                    *count += 1;
                    with_value += 1;
                }
            });
            (counts, values)
        }
        Column::Labels { codes, values } => {
            let mut counts = vec![0_u64; values.codes_end()];
            found.for_each(|slot| {
                let labels = labels(codes, slot);
                labels.iter().for_each(|code| counts[*code as usize] += 1);
                with_value += u64::from(!labels.is_empty());
            });
            (counts, values)
        }
        Column::Numbers(_) | Column::Text(_) | Column::Derived => {
            return Facet { column: name(), values: Vec::new(), more: 0 };
        }
    };
    let named = counts.iter().enumerate().filter(|(_, rows)| **rows > 0);
    let mut named: Vec<(String, u64)> =
        named.filter_map(|(code, rows)| Some((values.text(code as u32)?.to_owned(), *rows))).collect();
    if total > with_value {
        named.push((String::new(), total - with_value));
    }
    named.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let more = named.len().saturating_sub(limit) as u64;
    named.truncate(limit);
    Facet { column: name(), values: named, more }
}
