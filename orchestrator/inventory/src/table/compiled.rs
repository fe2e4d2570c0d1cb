//! A filter bound to a table as it is now: values looked up, regexes compiled. Good for as long as the table is
//! locked; made anew for each query.
//!
//! Two ways to evaluate it, which must agree: [`Compiled::bits`] for all rows at once, [`Compiled::holds`] for one.

use memchr::memmem;
use regex::Regex;
use regex_syntax::hir::literal::{ExtractKind, Extractor};

use super::Table;
use crate::bits::Bits;
use crate::column::{Column, NO_NUMBER, labels, number_at};
use crate::dictionary::{Code, Dictionary, NO_CODE, fold};
use crate::filter::{Bound, Filter, Term, Test};
use crate::schema::{ColumnKind, MatchBy, Searched};
use crate::scope::Scope;
use crate::text::TextColumn;

/// A value that more than one in so many rows have is found faster by a pass over the column than from its bitmap.
const DENSE: u64 = 64;

/// Asking one row costs so many times what it costs in a pass over all.
const PASS: u64 = 8;

/// See the module's documentation. Columns are positions.
pub(crate) enum Compiled {
    All,
    Nothing,
    And(Vec<Compiled>),
    Or(Vec<Compiled>),
    Not(Box<Compiled>),
    /// Any of these values.
    Codes {
        column: usize,
        codes: Vec<Code>,
    },
    /// Rows with (true) or without a value.
    HasValue(usize),
    Numbers {
        column: usize,
        from: u64,
        to: u64,
    },
    /// A part of the text, which is without case.
    Part {
        column: usize,
        needle: String,
        finder: Box<memmem::Finder<'static>>,
    },
    /// One whole text, without case; one of several in a `Texts` column.
    Whole {
        column: usize,
        text: String,
    },
    /// `literals`: each match holds one of these, without case; empty: not known.
    Regex {
        column: usize,
        regex: Box<Regex>,
        literals: Vec<String>,
    },
    /// The beginning of the id.
    Id(String),
    /// One row, by its whole id.
    Slot(u32),
}

/// Milliseconds since 1970, for ages.
pub(crate) type Now = u64;

impl Compiled {
    pub fn new(table: &Table, filter: &Filter, now: Now) -> Self {
        let list = |parts: &[Filter]| parts.iter().map(|part| Self::new(table, part, now)).collect();
        match filter {
            Filter::All => Self::All,
            Filter::And(parts) => Self::And(list(parts)),
            Filter::Or(parts) => Self::Or(list(parts)),
            Filter::Not(inner) => Self::Not(Box::new(Self::new(table, inner, now))),
            Filter::Text(text) => Self::free_text(table, text),
            Filter::Id(prefix) => match prefix.parse::<uuid::Uuid>() {
                Ok(id) => table.find(id.as_bytes()).map_or(Self::Nothing, Self::Slot),
                Err(_) => Self::Id(prefix.clone()),
            },
            Filter::Term(term) => Self::or(term.tests.iter().map(|test| Self::test(table, term, test, now))),
        }
    }

    /// What `scope` shows.
    pub fn scope(table: &Table, scope: &Scope) -> Self {
        if scope.is_everything() {
            return Self::All;
        }
        let codes = |column: &str, values: &[String]| {
            let index = table.schema.find(column)?;
            let (Column::Shared { values: known, .. } | Column::Labels { values: known, .. }) =
                table.column(index)
            else {
                return None;
            };
            let codes: Vec<Code> = values.iter().filter_map(|value| known.find_exact(value)).collect();
            (!codes.is_empty()).then_some(Self::Codes { column: index, codes })
        };
        Self::or([codes("pool", scope.pools()), codes("tag", scope.tags())].into_iter().flatten())
    }

    /// Rows that both show.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, other) | (other, Self::All) => other,
            (one, other) => Self::And(vec![one, other]),
        }
    }

    fn or(parts: impl Iterator<Item = Self>) -> Self {
        let mut parts: Vec<_> = parts.filter(|part| !matches!(part, Self::Nothing)).collect();
        match parts.len() {
            0 => Self::Nothing,
            1 => parts.remove(0),
            _ => Self::Or(parts),
        }
    }

    fn part(column: usize, text: &str) -> Self {
        let needle = fold(text).into_owned();
        if needle.is_empty() {
            return Self::All;
        }
        let finder = Box::new(memmem::Finder::new(needle.as_bytes()).into_owned());
        Self::Part { column, needle, finder }
    }

    fn free_text(table: &Table, text: &str) -> Self {
        let folded = fold(text);
        let searched =
            table.schema.columns.iter().enumerate().filter(|(_, spec)| spec.searched == Searched::Yes);
        Self::or(searched.map(|(column, _)| match table.column(column) {
            Column::Shared { values, .. } | Column::Labels { values, .. } => {
                Self::codes(column, values.find(|_, candidate| candidate.contains(folded.as_ref())))
            }
            Column::Text(_) => Self::part(column, text),
            Column::Numbers(_) | Column::Derived => Self::Nothing,
        }))
    }

    fn codes(column: usize, codes: Vec<Code>) -> Self {
        if codes.is_empty() { Self::Nothing } else { Self::Codes { column, codes } }
    }

    fn test(table: &Table, term: &Term, test: &Test, now: Now) -> Self {
        let column = term.column;
        match (table.schema.columns[column].kind, table.column(column)) {
            (ColumnKind::Age(of), _) => Self::age(table, of, test, now),
            (kind, Column::Shared { values, .. } | Column::Labels { values, .. }) => {
                Self::interned((column, kind, term.key.as_deref()), values, test)
            }
            (_, Column::Numbers(_)) => match test {
                Test::None => Self::Not(Box::new(Self::HasValue(column))),
                Test::Range(from, to) => Self::numbers(column, from, to),
                // The parser makes no others of numbers.
                Test::Any | Test::Match(_) | Test::Whole(_) | Test::Regex(_) => Self::HasValue(column),
            },
            (_, Column::Text(_)) => match test {
                Test::None => Self::Not(Box::new(Self::HasValue(column))),
                Test::Match(text) => Self::part(column, text),
                Test::Whole(text) => Self::Whole { column, text: fold(text).into_owned() },
                Test::Regex(regex) => Self::regex(column, regex),
                Test::Any | Test::Range(..) => Self::HasValue(column),
            },
            (_, Column::Derived) => Self::Nothing,
        }
    }

    fn regex(column: usize, regex: &str) -> Self {
        match crate::filter::compile_regex(regex) {
            Ok(compiled) => Self::Regex { column, regex: Box::new(compiled), literals: literals(regex) },
            // The parser has compiled it; a filter made by hand finds nothing.
            Err(_) => Self::Nothing,
        }
    }

    fn numbers(column: usize, from: &Bound, to: &Bound) -> Self {
        let from = match from {
            Bound::Open => 0,
            Bound::At(from) => *from,
        };
        let to = match to {
            Bound::Open => NO_NUMBER - 1,
            Bound::At(to) => *to,
        };
        Self::Numbers { column, from, to }
    }

    /// `uptime:>7d` is `started:<now-7d`.
    fn age(table: &Table, of: &str, test: &Test, now: Now) -> Self {
        let Some(column) = table.schema.find(of) else { return Self::Nothing };
        let at = |seconds: u64| now.saturating_sub(seconds.saturating_mul(1000));
        match test {
            Test::None => Self::Not(Box::new(Self::HasValue(column))),
            Test::Range(from, to) => {
                let oldest = match to {
                    Bound::Open => Bound::Open,
                    // A whole second is as old as its end.
                    Bound::At(seconds) => Bound::At(at(seconds.saturating_add(1)).saturating_add(1)),
                };
                let newest = match from {
                    Bound::Open => Bound::Open,
                    Bound::At(seconds) => Bound::At(at(*seconds)),
                };
                Self::numbers(column, &oldest, &newest)
            }
            Test::Any | Test::Match(_) | Test::Whole(_) | Test::Regex(_) => Self::HasValue(column),
        }
    }

    fn interned(
        (column, kind, key): (usize, ColumnKind, Option<&str>),
        values: &Dictionary,
        test: &Test,
    ) -> Self {
        if let Some(key) = key {
            return Self::field((column, &fold(key)), values, test);
        }
        let found = match test {
            Test::None => return Self::Not(Box::new(Self::HasValue(column))),
            Test::Any | Test::Range(..) => return Self::HasValue(column),
            Test::Match(text) if kind == ColumnKind::Shared(MatchBy::Part) => {
                let needle = fold(text);
                values.find(|_, folded| folded.contains(needle.as_ref()))
            }
            Test::Match(text) | Test::Whole(text) => values.find_whole(&fold(text)),
            Test::Regex(regex) => match crate::filter::compile_regex(regex) {
                Ok(regex) => values.find(|text, _| regex.is_match(text)),
                Err(_) => Vec::new(),
            },
        };
        Self::codes(column, found)
    }

    /// Values are `key=value`.
    fn field((column, key): (usize, &str), values: &Dictionary, test: &Test) -> Self {
        let value_of =
            |folded: &str| folded.strip_prefix(key).and_then(|rest| rest.strip_prefix('=')).map(str::len);
        let found = match test {
            Test::Match(text) | Test::Whole(text) => values.find_whole(&format!("{key}={}", fold(text))),
            Test::None | Test::Any | Test::Range(..) => values.find(|_, folded| value_of(folded).is_some()),
            Test::Regex(regex) => match crate::filter::compile_regex(regex) {
                Ok(regex) => values.find(|text, folded| {
                    value_of(folded).is_some() && text.split_once('=').is_some_and(|(_, v)| regex.is_match(v))
                }),
                Err(_) => Vec::new(),
            },
        };
        let has = Self::codes(column, found);
        if *test == Test::None { Self::Not(Box::new(has)) } else { has }
    }

    /// The live rows for which it holds.
    pub fn bits(&self, table: &Table) -> Bits {
        let mut bits = self.raw_bits(table);
        bits.and(table.live());
        bits
    }

    /// May hold for slots that are not live.
    fn raw_bits(&self, table: &Table) -> Bits {
        let len = table.slots();
        match self {
            Self::All => Bits::all(len),
            Self::Nothing => Bits::none(len),
            Self::And(parts) => Self::and_bits(table, parts),
            Self::Or(parts) => Self::or_bits(table, parts),
            Self::Not(inner) => {
                let mut bits = inner.raw_bits(table);
                bits.invert();
                bits
            }
            Self::Codes { column, codes } => code_bits(table, *column, codes),
            Self::Numbers { column, from, to } => match table.column(*column) {
                Column::Numbers(numbers) => {
                    let (from, to) = (*from, *to);
                    Bits::collect(len, |slot| (from..=to).contains(&number_at(numbers, slot)))
                }
                _ => Bits::none(len),
            },
            Self::Part { column, .. } | Self::Whole { column, .. } | Self::Regex { column, .. } => {
                match table.column(*column) {
                    Column::Text(texts) => self.text_bits(table, texts),
                    _ => Bits::none(len),
                }
            }
            Self::Slot(slot) => {
                let mut bits = Bits::none(len);
                bits.insert(*slot);
                bits
            }
            Self::HasValue(_) | Self::Id(_) => Bits::collect(len, |slot| self.holds(table, slot)),
        }
    }

    /// Of a test of one text column, as far as possible from what the column remembers.
    fn text_bits(&self, table: &Table, texts: &TextColumn) -> Bits {
        let len = table.slots();
        // Whole and regex: first the substring, then the rest of the test.
        let narrowed = |literals: &[String]| {
            let mut bits = Bits::none(len);
            literals.iter().for_each(|literal| texts.search(literal, &mut bits));
            let found: Vec<u32> = bits.iter().filter(|slot| !self.holds(table, *slot)).collect();
            found.into_iter().for_each(|slot| bits.remove(slot));
            bits
        };
        let holds = |slot| self.holds(table, slot);
        match self {
            Self::Part { needle, .. } => texts.ask(&format!("part {needle}"), len, holds, || {
                let mut bits = Bits::none(len);
                texts.search(needle, &mut bits);
                bits
            }),
            Self::Whole { text, .. } => {
                texts.ask(&format!("whole {text}"), len, holds, || narrowed(std::slice::from_ref(text)))
            }
            Self::Regex { regex, literals, .. } => {
                texts.ask(&format!("regex {}", regex.as_str()), len, holds, || {
                    if literals.is_empty() { Bits::collect(len, holds) } else { narrowed(literals) }
                })
            }
            _ => Bits::none(len),
        }
    }

    /// Where the first parts leave few rows open, the others are asked row by row.
    fn or_bits(table: &Table, parts: &[Self]) -> Bits {
        let mut bits = Bits::none(table.slots());
        for (index, part) in parts.iter().enumerate() {
            let open = u64::from(table.count()).saturating_sub(bits.count());
            let rest = &parts[index..];
            let asked_alone: u32 = rest.iter().map(Self::cost).sum();
            if asked_alone > 0 && open * PASS < u64::from(table.slots()) {
                let mut left = bits.clone();
                left.invert();
                left.and(table.live());
                left.for_each(|slot| {
                    if rest.iter().any(|part| part.holds(table, slot)) {
                        bits.insert(slot);
                    }
                });
                break;
            }
            bits.or(&part.raw_bits(table));
        }
        bits
    }

    /// Where the cheap parts leave few rows, the dear ones are asked row by row.
    fn and_bits(table: &Table, parts: &[Self]) -> Bits {
        let mut order: Vec<&Self> = parts.iter().collect();
        order.sort_by_key(|part| part.cost());
        let mut bits = table.live().clone();
        for part in order {
            let left = bits.count();
            if left == 0 {
                break;
            }
            if part.cost() > 0 && left * PASS < u64::from(table.slots()) {
                let gone: Vec<u32> = bits.iter().filter(|slot| !part.holds(table, *slot)).collect();
                gone.into_iter().for_each(|slot| bits.remove(slot));
            } else {
                bits.and(&part.raw_bits(table));
            }
        }
        bits
    }

    /// Roughly, per row: 0 for what has an index.
    fn cost(&self) -> u32 {
        match self {
            Self::All | Self::Nothing | Self::Codes { .. } | Self::Slot(_) => 0,
            Self::Numbers { .. } | Self::HasValue(_) => 1,
            Self::Id(_) => 2,
            Self::Part { .. } | Self::Whole { .. } => 4,
            Self::Regex { .. } => 20,
            Self::Not(inner) => inner.cost(),
            Self::And(parts) | Self::Or(parts) => parts.iter().map(Self::cost).max().unwrap_or(0),
        }
    }

    /// Whether it holds for one live row.
    pub fn holds(&self, table: &Table, slot: u32) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::And(parts) => parts.iter().all(|part| part.holds(table, slot)),
            Self::Or(parts) => parts.iter().any(|part| part.holds(table, slot)),
            Self::Not(inner) => !inner.holds(table, slot),
            Self::Codes { column, codes: wanted } => match table.column(*column) {
                Column::Shared { codes, .. } => wanted.contains(&codes[slot as usize]),
                Column::Labels { codes, .. } => labels(codes, slot).iter().any(|code| wanted.contains(code)),
                Column::Numbers(_) | Column::Text(_) | Column::Derived => false,
            },
            Self::HasValue(column) => match table.column(*column) {
                Column::Shared { codes, .. } => codes[slot as usize] != NO_CODE,
                Column::Labels { codes, .. } => !labels(codes, slot).is_empty(),
                Column::Numbers(numbers) => number_at(numbers, slot) != NO_NUMBER,
                Column::Text(text) => text.has(slot),
                Column::Derived => false,
            },
            Self::Numbers { column, from, to } => match table.column(*column) {
                Column::Numbers(numbers) => (*from..=*to).contains(&number_at(numbers, slot)),
                _ => false,
            },
            Self::Part { column, finder, .. } => match table.column(*column) {
                Column::Text(text) => finder.find(text.folded(slot).as_bytes()).is_some(),
                _ => false,
            },
            Self::Whole { column, text: wanted } => match table.column(*column) {
                Column::Text(text) => text.folded(slot).split('\n').any(|text| text == wanted),
                _ => false,
            },
            Self::Regex { column, regex, .. } => match table.column(*column) {
                Column::Text(text) => text.get(slot).split('\n').any(|text| regex.is_match(text)),
                _ => false,
            },
            Self::Slot(wanted) => slot == *wanted,
            Self::Id(prefix) => {
                let mut buffer = [0; uuid::fmt::Hyphenated::LENGTH];
                let id = uuid::Uuid::from_bytes(table.id(slot)).hyphenated().encode_lower(&mut buffer);
                id.starts_with(prefix)
            }
        }
    }
}

/// Texts, one of which is in each match of `regex`, without case: a search for them is much faster than the regex on
/// every row. Empty if there are none, or too many or too short ones to be of use.
fn literals(regex: &str) -> Vec<String> {
    let Ok(hir) = regex_syntax::parse(regex) else { return Vec::new() };
    let sequences = [ExtractKind::Prefix, ExtractKind::Suffix].map(|kind| {
        let mut extractor = Extractor::new();
        extractor.kind(kind).limit_total(16);
        extractor.extract(&hir)
    });
    let usable = sequences.iter().filter_map(|sequence| {
        let literals = sequence.literals()?;
        let texts: Option<Vec<String>> = literals
            .iter()
            .map(|literal| Some(fold(std::str::from_utf8(literal.as_bytes()).ok()?).into_owned()))
            .collect();
        let texts = texts?;
        let shortest = texts.iter().map(String::len).min()?;
        (shortest >= 2).then_some((shortest, texts))
    });
    let mut best = usable.max_by_key(|(shortest, _)| *shortest).map_or_else(Vec::new, |(_, texts)| texts);
    best.sort_unstable();
    best.dedup();
    best
}

fn code_bits(table: &Table, column: usize, wanted: &[Code]) -> Bits {
    let len = table.slots();
    let (Column::Shared { values, .. } | Column::Labels { values, .. }) = table.column(column) else {
        return Bits::none(len);
    };
    let sets = wanted.iter().filter_map(|code| values.slots(*code));
    let total: u64 = sets.clone().map(roaring::RoaringBitmap::len).sum();
    match (table.column(column), wanted) {
        (Column::Shared { codes, .. }, [code]) if total * DENSE > u64::from(len) => {
            Bits::collect(len, |slot| codes.get(slot as usize) == Some(code))
        }
        _ => {
            let mut bits = Bits::none(len);
            sets.for_each(|slots| bits.insert_all(slots));
            bits
        }
    }
}
