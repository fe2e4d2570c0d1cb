//! What searches of a column found, kept right while texts change.
//!
//! A list is asked for page by page, and again whenever something is typed or shown anew: nearly every search is one
//! that was made before. A pass over the texts of a million rows costs some ten milliseconds; what was found is a
//! bit a row, and looking again at the rows whose text has changed costs next to nothing, because texts change
//! seldom.

use std::sync::{Mutex, PoisonError};

use crate::bits::Bits;

/// Searches kept for each column: at a million rows 125 KB each.
const MOST: usize = 24;
/// A search of which more rows have changed is made anew: looking at them would cost as much.
const CHANGED: usize = 4096;

#[derive(Debug)]
struct Search {
    question: String,
    found: Bits,
    /// Whose text changed since; some more than once.
    changed: Vec<u32>,
    /// When it was asked for last.
    turn: u64,
}

#[derive(Debug, Default)]
struct Searches {
    all: Vec<Search>,
    turn: u64,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Remembered(Mutex<Searches>);

impl Remembered {
    /// The text of a slot has changed.
    pub fn changed(&mut self, slot: u32) {
        let searches = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        searches.all.retain_mut(|search| {
            search.changed.push(slot);
            search.changed.len() <= CHANGED
        });
    }

    /// What was found, if this was asked before. `holds` looks at one row.
    pub fn get(&self, question: &str, len: u32, holds: impl Fn(u32) -> bool) -> Option<Bits> {
        let mut searches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Searches { all, turn } = &mut *searches;
        let search = all.iter_mut().find(|search| search.question == question)?;
        *turn += 1;
        search.turn = *turn;
        search.found.grow(len);
        for slot in search.changed.drain(..) {
            if holds(slot) {
                search.found.insert(slot);
            } else {
                search.found.remove(slot);
            }
        }
        Some(search.found.clone())
    }

    /// Keeps what was found while nothing could change.
    pub fn put(&self, question: &str, found: &Bits) {
        let mut searches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Two readers may have looked for the same at once.
        if searches.all.iter().any(|search| search.question == question) {
            return;
        }
        if searches.all.len() >= MOST
            && let Some(oldest) = (0..searches.all.len()).min_by_key(|index| searches.all[*index].turn)
        {
            searches.all.swap_remove(oldest);
        }
        searches.turn += 1;
        let turn = searches.turn;
        let (question, found) = (question.to_owned(), found.clone());
        searches.all.push(Search { question, found, changed: Vec::new(), turn });
    }

    pub fn memory(&self) -> usize {
        let searches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        searches.all.iter().map(|search| search.found.memory() + search.changed.capacity() * 4).sum()
    }
}
