//! Pages of rows in an order, behind a cursor; and the cursor.
//!
//! Rows with the same key are in the order of their slots. A cursor names the last row shown by its key and its
//! slot, not by a number of rows to skip: rows that come, go or change between two pages shift nothing, each row
//! that stays where it is is shown once. Slots are made anew when the program starts, so a cursor also holds the
//! row's id, and a mark of the process.

use std::collections::BinaryHeap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Table;
use crate::bits::Bits;
use crate::column::{Column, NO_NUMBER, labels, number_at};
use crate::dictionary::{NO_CODE, fold};
use crate::schema::ColumnKind;

/// By which column, and which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sort {
    pub column: usize,
    pub descending: Descending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Descending {
    No,
    Yes,
}

/// The last row of a page, from which the next one goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// As it was asked: a cursor is good for one order only.
    #[serde(rename = "s")]
    pub sort: String,
    #[serde(rename = "k")]
    key: Key,
    #[serde(rename = "n")]
    slot: u32,
    #[serde(rename = "i")]
    id: Uuid,
    #[serde(rename = "p")]
    process: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Key {
    #[serde(rename = "n")]
    Number(u64),
    #[serde(rename = "t")]
    Text(String),
    /// Without a value: behind all others.
    #[serde(rename = "x")]
    None,
}

impl Cursor {
    /// Opaque text, safe in a URL.
    pub fn encode(&self) -> String {
        let json = serde_json::to_vec(self).expect("numbers and text are JSON");
        json.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// `None`: not one of ours.
    pub fn decode(text: &str) -> Option<Self> {
        if text.len() > 64 << 10 || !text.is_ascii() {
            return None;
        }
        let bytes: Option<Vec<u8>> = text
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        serde_json::from_slice(&bytes?).ok()
    }

    /// The slot to go on behind. After a restart: that of the same row, if it is still there; otherwise rows with
    /// the same key are shown again rather than left out.
    fn slot(&self, table: &Table, process: u32) -> Option<u32> {
        if self.process == process { Some(self.slot) } else { table.find(self.id.as_bytes()) }
    }
}

/// Slots of `found` in order, at most `limit`, and a cursor if there are more.
pub(crate) fn page(
    table: &Table,
    found: &Bits,
    sort: (Sort, &str),
    after: Option<&Cursor>,
    (limit, process): (usize, u32),
) -> (Vec<u32>, Option<Cursor>) {
    let (order, sort_text) = sort;
    let mut slots = match table.column(order.column) {
        Column::Text(_) => text_page(table, found, order, (after, limit + 1, process)),
        _ => key_page(table, found, order, (after, limit + 1, process)),
    };
    let more = slots.len() > limit;
    slots.truncate(limit);
    let next = slots.last().filter(|_| more).map(|slot| Cursor {
        sort: sort_text.to_owned(),
        key: key_of(table, order, *slot),
        slot: *slot,
        id: Uuid::from_bytes(table.id(*slot)),
        process,
    });
    (slots, next)
}

fn text_page(
    table: &Table,
    found: &Bits,
    order: Sort,
    (after, limit, process): (Option<&Cursor>, usize, u32),
) -> Vec<u32> {
    let Column::Text(texts) = table.column(order.column) else { return Vec::new() };
    let from = after.map(|cursor| {
        let text = match &cursor.key {
            Key::Text(text) => fold(text).into_owned(),
            Key::Number(_) | Key::None => String::new(),
        };
        let unknown = match order.descending {
            Descending::No => 0,
            Descending::Yes => u32::MAX,
        };
        (text, cursor.slot(table, process).unwrap_or(unknown))
    });
    let from = from.as_ref().map(|(text, slot)| (text.as_str(), *slot));
    match order.descending {
        Descending::No => texts.ascending(from).filter(|slot| found.contains(*slot)).take(limit).collect(),
        Descending::Yes => texts.descending(from).filter(|slot| found.contains(*slot)).take(limit).collect(),
    }
}

/// Sortable numbers of the rows of a column that is no text.
enum Keys<'a> {
    Numbers(&'a [u64]),
    /// Older is greater: an age sorts as the reverse of its time.
    Ages(&'a [u64]),
    Ranks {
        codes: &'a [u32],
        ranks: std::sync::Arc<crate::dictionary::Ranks>,
    },
    /// By the first of the labels.
    FirstRank {
        codes: &'a [Box<[u32]>],
        ranks: std::sync::Arc<crate::dictionary::Ranks>,
    },
    Equal,
}

/// Keys are below this; it stands for no value, which is last in both directions.
const LAST: u64 = u64::MAX;

impl<'a> Keys<'a> {
    fn new(table: &'a Table, column: usize) -> Self {
        match (table.schema.columns[column].kind, table.column(column)) {
            (ColumnKind::Age(of), _) => match table.schema.find(of).map(|column| table.column(column)) {
                Some(Column::Numbers(numbers)) => Self::Ages(numbers),
                _ => Self::Equal,
            },
            (_, Column::Numbers(numbers)) => Self::Numbers(numbers),
            (_, Column::Shared { codes, values }) => Self::Ranks { codes, ranks: values.ranks() },
            (_, Column::Labels { codes, values }) => Self::FirstRank { codes, ranks: values.ranks() },
            (_, Column::Text(_) | Column::Derived) => Self::Equal,
        }
    }

    /// Ranks are doubled, so that a cursor's value that is gone has a place between its neighbours.
    fn of(&self, slot: u32) -> u64 {
        let rank = |ranks: &crate::dictionary::Ranks, code: u32| u64::from(ranks.of[code as usize]) * 2 + 1;
        match self {
            Self::Numbers(numbers) => number_at(numbers, slot),
            Self::Ages(numbers) => match number_at(numbers, slot) {
                NO_NUMBER => LAST,
                number => LAST - 1 - number,
            },
            Self::Ranks { codes, ranks } => match codes[slot as usize] {
                NO_CODE => LAST,
                code => rank(ranks, code),
            },
            Self::FirstRank { codes, ranks } => {
                labels(codes, slot).iter().map(|code| rank(ranks, *code)).min().unwrap_or(LAST)
            }
            Self::Equal => 0,
        }
    }
}

fn directed(key: u64, descending: Descending) -> u64 {
    match descending {
        Descending::Yes if key != LAST => LAST - 1 - key,
        _ => key,
    }
}

fn key_page(
    table: &Table,
    found: &Bits,
    order: Sort,
    (after, limit, process): (Option<&Cursor>, usize, u32),
) -> Vec<u32> {
    let keys = Keys::new(table, order.column);
    let from = after.map(|cursor| {
        let key = directed(cursor_key(table, order.column, &cursor.key), order.descending);
        (key, cursor.slot(table, process))
    });
    let behind = |key: u64, slot: u32| match from {
        None => true,
        Some((from, Some(last))) => (key, slot) > (from, last),
        Some((from, None)) => key >= from,
    };
    // The best so far, the worst of them on top.
    let mut best: BinaryHeap<(u64, u32)> = BinaryHeap::with_capacity(limit + 1);
    let mut threshold = (LAST, u32::MAX);
    found.for_each(|slot| {
        let key = directed(keys.of(slot), order.descending);
        if (key, slot) > threshold || !behind(key, slot) {
            return;
        }
        best.push((key, slot));
        if best.len() > limit {
            best.pop();
        }
        if best.len() == limit
            && let Some(worst) = best.peek()
        {
            threshold = *worst;
        }
    });
    best.into_sorted_vec().into_iter().map(|(_, slot)| slot).collect()
}

fn key_of(table: &Table, order: Sort, slot: u32) -> Key {
    let column = table.column(order.column);
    match (table.schema.columns[order.column].kind, column) {
        (ColumnKind::Age(of), _) => {
            let number = table.schema.find(of).and_then(|column| table.column(column).number(slot));
            number.map_or(Key::None, Key::Number)
        }
        (_, Column::Numbers(_)) => column.number(slot).map_or(Key::None, Key::Number),
        (_, Column::Shared { .. } | Column::Text(_)) => {
            column.text(slot).map_or(Key::None, |text| Key::Text(text.to_owned()))
        }
        // Of labels the first in the order of the values, as `Keys` does.
        (_, Column::Labels { codes, values }) => {
            let ranks = values.ranks();
            let first = labels(codes, slot).iter().min_by_key(|code| ranks.of[**code as usize]);
            first.and_then(|code| values.text(*code)).map_or(Key::None, |text| Key::Text(text.to_owned()))
        }
        (_, Column::Derived) => Key::None,
    }
}

/// Where a cursor's key is among the keys of now, ascending.
fn cursor_key(table: &Table, column: usize, key: &Key) -> u64 {
    match (table.schema.columns[column].kind, table.column(column), key) {
        (_, _, Key::None) => LAST,
        (ColumnKind::Age(_), _, Key::Number(number)) => LAST - 1 - (*number).min(LAST - 1),
        (_, Column::Numbers(_), Key::Number(number)) => *number,
        (_, Column::Shared { values, .. } | Column::Labels { values, .. }, Key::Text(text)) => {
            let (before, there) = values.position(&values.ranks(), text);
            u64::from(before) * 2 + u64::from(there)
        }
        _ => 0,
    }
}
