//! The values that rows share, each once, each with the set of its rows.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use roaring::RoaringBitmap;

/// A value's number within its column.
pub(crate) type Code = u32;
/// No value.
pub(crate) const NO_CODE: Code = u32::MAX;

#[derive(Debug)]
struct Entry {
    text: Box<str>,
    /// Without case, for comparing.
    folded: Box<str>,
    slots: RoaringBitmap,
}

/// A value lives as long as a row has it; its code is used again afterwards.
#[derive(Debug, Default)]
pub(crate) struct Dictionary {
    entries: Vec<Option<Entry>>,
    /// By the value without case; several where spellings differ only in that.
    codes: HashMap<Box<str>, Vec<Code>>,
    free: Vec<Code>,
    /// Rank of each code in the order of the values; made when asked for, dropped when a value comes or goes.
    ranks: Mutex<Option<Arc<Ranks>>>,
}

/// The order of a dictionary's values.
#[derive(Debug)]
pub(crate) struct Ranks {
    /// By code.
    pub of: Vec<u32>,
    /// Codes in order.
    pub order: Vec<Code>,
}

/// Without case. Most values have none, so usually nothing is copied. Letter by letter, so that a part of a text folds
/// as it does within the text (`str::to_lowercase` looks at the end of words for the sake of Greek).
pub(crate) fn fold(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase()) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.chars().flat_map(char::to_lowercase).collect())
    }
}

impl Dictionary {
    pub fn text(&self, code: Code) -> Option<&str> {
        self.entry(code).map(|entry| &*entry.text)
    }

    pub fn slots(&self, code: Code) -> Option<&RoaringBitmap> {
        self.entry(code).map(|entry| &entry.slots)
    }

    /// Codes are below this.
    pub fn codes_end(&self) -> usize {
        self.entries.len()
    }

    fn entry(&self, code: Code) -> Option<&Entry> {
        self.entries.get(code as usize)?.as_ref()
    }

    /// The code of a value for a new row of it.
    pub fn add(&mut self, text: &str, slot: u32) -> Code {
        let code = match self.find_exact(text) {
            Some(code) => code,
            None => self.new_code(text),
        };
        if let Some(Some(entry)) = self.entries.get_mut(code as usize) {
            entry.slots.insert(slot);
        }
        code
    }

    fn new_code(&mut self, text: &str) -> Code {
        let folded = fold(text);
        let entry = Entry { text: text.into(), folded: folded.as_ref().into(), slots: RoaringBitmap::new() };
        let code = self.free.pop().unwrap_or(self.entries.len() as Code);
        match self.entries.get_mut(code as usize) {
            Some(place) => *place = Some(entry),
            None => self.entries.push(Some(entry)),
        }
        self.codes.entry(folded.as_ref().into()).or_default().push(code);
        self.forget_ranks();
        code
    }

    /// A row does not have the value any more.
    pub fn remove(&mut self, code: Code, slot: u32) {
        let Some(Some(entry)) = self.entries.get_mut(code as usize) else { return };
        entry.slots.remove(slot);
        if entry.slots.is_empty() {
            if let Some(spellings) = self.codes.get_mut(&entry.folded) {
                spellings.retain(|other| *other != code);
                if spellings.is_empty() {
                    self.codes.remove(&entry.folded);
                }
            }
            self.entries[code as usize] = None;
            self.free.push(code);
            self.forget_ranks();
        }
    }

    fn forget_ranks(&mut self) {
        *self.ranks.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Codes whose value, without case, satisfies `test`. A pass over the values, not the rows.
    pub fn find(&self, test: impl Fn(&str, &str) -> bool) -> Vec<Code> {
        let codes = self.entries.iter().enumerate().filter_map(|(code, entry)| {
            let entry = entry.as_ref()?;
            test(&entry.text, &entry.folded).then_some(code as Code)
        });
        codes.collect()
    }

    /// The codes of a value whatever its case. Usually one.
    pub fn find_whole(&self, folded: &str) -> Vec<Code> {
        self.codes.get(folded).cloned().unwrap_or_default()
    }

    /// The code of exactly this value.
    pub fn find_exact(&self, text: &str) -> Option<Code> {
        let spellings = self.codes.get(fold(text).as_ref())?;
        spellings.iter().copied().find(|code| self.text(*code) == Some(text))
    }

    pub fn ranks(&self) -> Arc<Ranks> {
        let mut ranks = self.ranks.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(ranks.get_or_insert_with(|| {
            let mut order: Vec<Code> =
                (0..self.entries.len() as Code).filter(|code| self.entry(*code).is_some()).collect();
            order.sort_by_key(|code| self.entry(*code).map(|entry| (&entry.folded, &entry.text)));
            let mut of = vec![u32::MAX; self.entries.len()];
            for (rank, code) in order.iter().enumerate() {
                of[*code as usize] = rank as u32;
            }
            Arc::new(Ranks { of, order })
        }))
    }

    /// How many values sort before `text`, and whether it is there itself.
    pub fn position(&self, ranks: &Ranks, text: &str) -> (u32, bool) {
        let folded = fold(text);
        let wanted = (folded.as_ref(), text);
        let key = |code: &Code| self.entry(*code).map(|entry| (&*entry.folded, &*entry.text));
        let before = ranks.order.partition_point(|code| key(code) < Some(wanted));
        let there = ranks.order.get(before).is_some_and(|code| key(code) == Some(wanted));
        (before as u32, there)
    }

    pub fn memory(&self) -> usize {
        let entries = self.entries.iter().flatten();
        let per_entry: usize =
            entries.map(|e| 2 * (e.text.len() + 16) + e.folded.len() + e.slots.serialized_size() + 64).sum();
        per_entry + self.entries.capacity() * size_of::<Option<Entry>>() + self.codes.capacity() * 60
    }
}
