//! One column of a table, by kind.

use crate::bits::Bits;
use crate::dictionary::{Code, Dictionary, NO_CODE};
use crate::schema::{Cell, ColumnKind, ColumnSpec};
use crate::text::TextColumn;

/// No number.
pub(crate) const NO_NUMBER: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) enum Column {
    Shared {
        codes: Vec<Code>,
        values: Dictionary,
    },
    /// Ends at the last row that has any (see [`labels`]): of many columns no row has.
    Labels {
        codes: Vec<Box<[Code]>>,
        values: Dictionary,
    },
    /// Ends at the last row that has one (see [`number_at`]): of some columns no row has.
    Numbers(Vec<u64>),
    Text(Box<TextColumn>),
    /// An age: another column knows it.
    Derived,
}

impl Column {
    pub fn new(spec: &ColumnSpec) -> Self {
        match spec.kind {
            ColumnKind::Choice(_) | ColumnKind::Shared(_) => {
                Self::Shared { codes: Vec::new(), values: Dictionary::default() }
            }
            ColumnKind::Labels | ColumnKind::Fields => {
                Self::Labels { codes: Vec::new(), values: Dictionary::default() }
            }
            ColumnKind::Number(_) => Self::Numbers(Vec::new()),
            ColumnKind::Text | ColumnKind::Texts => Self::Text(Box::default()),
            ColumnKind::Age(_) => Self::Derived,
        }
    }

    /// Makes room for `slot`, without a value.
    pub fn add(&mut self, slot: u32, sorted: Sorted) {
        let len = slot as usize + 1;
        match self {
            Self::Shared { codes, .. } if codes.len() < len => codes.resize(len, NO_CODE),
            Self::Text(text) if sorted == Sorted::Now => text.add(slot),
            _ => {}
        }
    }

    /// Returns whether the value changed. `slot` has been added.
    pub fn set(&mut self, slot: u32, cell: Cell<'_>, sorted: Sorted) -> bool {
        match (self, cell) {
            (Self::Shared { codes, values }, cell) => {
                let text = match cell {
                    Cell::Text(text) => text,
                    Cell::None | Cell::Texts(_) | Cell::Number(_) => "",
                };
                set_shared(&mut codes[slot as usize], values, slot, text)
            }
            (Self::Labels { codes, values }, cell) => {
                let texts = match cell {
                    Cell::Texts(texts) => texts,
                    Cell::None | Cell::Text(_) | Cell::Number(_) => &[],
                };
                let len = slot as usize + 1;
                if codes.len() < len {
                    if texts.is_empty() {
                        return false;
                    }
                    codes.resize(len, Box::default());
                }
                set_labels(&mut codes[slot as usize], values, slot, texts)
            }
            (Self::Numbers(numbers), cell) => {
                let number = match cell {
                    Cell::Number(number) => number,
                    Cell::None | Cell::Text(_) | Cell::Texts(_) => NO_NUMBER,
                };
                let len = slot as usize + 1;
                if numbers.len() < len {
                    if number == NO_NUMBER {
                        return false;
                    }
                    numbers.resize(len, NO_NUMBER);
                }
                std::mem::replace(&mut numbers[slot as usize], number) != number
            }
            (Self::Text(column), cell) => {
                let joined;
                let text = match cell {
                    Cell::Text(text) => text,
                    Cell::Texts([one]) => one,
                    Cell::Texts(texts) => {
                        joined = texts.join("\n");
                        &joined
                    }
                    Cell::None | Cell::Number(_) => "",
                };
                match sorted {
                    Sorted::Now => column.set(slot, text),
                    Sorted::Later => {
                        column.load(slot, text);
                        true
                    }
                }
            }
            (Self::Derived, _) => false,
        }
    }

    /// The slot is gone.
    pub fn remove(&mut self, slot: u32) {
        match self {
            Self::Text(column) => column.remove(slot),
            _ => {
                self.set(slot, Cell::None, Sorted::Now);
            }
        }
    }

    pub fn sort(&mut self, slots: &Bits) {
        if let Self::Text(column) = self {
            column.sort(slots);
        }
    }

    pub fn text(&self, slot: u32) -> Option<&str> {
        match self {
            Self::Shared { codes, values } => values.text(*codes.get(slot as usize)?),
            Self::Text(column) => Some(column.get(slot)),
            Self::Labels { .. } | Self::Numbers(_) | Self::Derived => None,
        }
    }

    pub fn texts(&self, slot: u32) -> Vec<String> {
        match self {
            Self::Labels { codes, values } => {
                let codes = labels(codes, slot).iter();
                let mut texts: Vec<String> =
                    codes.filter_map(|code| values.text(*code)).map(str::to_owned).collect();
                texts.sort_unstable();
                texts
            }
            Self::Text(column) => {
                column.get(slot).split('\n').filter(|t| !t.is_empty()).map(str::to_owned).collect()
            }
            Self::Shared { .. } | Self::Numbers(_) | Self::Derived => Vec::new(),
        }
    }

    pub fn number(&self, slot: u32) -> Option<u64> {
        match self {
            Self::Numbers(numbers) => Some(number_at(numbers, slot)).filter(|n| *n != NO_NUMBER),
            _ => None,
        }
    }

    pub fn memory(&self) -> usize {
        match self {
            Self::Shared { codes, values } => codes.capacity() * 4 + values.memory(),
            Self::Labels { codes, values } => {
                let boxed: usize = codes.iter().filter(|c| !c.is_empty()).map(|c| 16 + c.len() * 4).sum();
                codes.capacity() * 16 + boxed + values.memory()
            }
            Self::Numbers(numbers) => numbers.capacity() * 8,
            Self::Text(text) => text.memory(),
            Self::Derived => 0,
        }
    }
}

/// Those of a row in [`Column::Labels`].
pub(crate) fn labels(codes: &[Box<[Code]>], slot: u32) -> &[Code] {
    codes.get(slot as usize).map_or(&[][..], |codes| codes)
}

/// That of a row in [`Column::Numbers`].
pub(crate) fn number_at(numbers: &[u64], slot: u32) -> u64 {
    numbers.get(slot as usize).copied().unwrap_or(NO_NUMBER)
}

/// Whether the order of texts is kept with each change, or made once at the end of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sorted {
    Now,
    Later,
}

fn set_shared(code: &mut Code, values: &mut Dictionary, slot: u32, text: &str) -> bool {
    if values.text(*code).unwrap_or_default() == text {
        return false;
    }
    let old = *code;
    // First the new, then the old: a value whose last row changes its spelling keeps its code otherwise for nothing.
    *code = if text.is_empty() { NO_CODE } else { values.add(text, slot) };
    if old != NO_CODE {
        values.remove(old, slot);
    }
    true
}

fn set_labels(codes: &mut Box<[Code]>, values: &mut Dictionary, slot: u32, texts: &[String]) -> bool {
    let same = codes.len() == texts.len()
        && texts.iter().all(|text| codes.iter().any(|code| values.text(*code) == Some(text)));
    if same {
        return false;
    }
    let mut new: Vec<Code> =
        texts.iter().filter(|text| !text.is_empty()).map(|text| values.add(text, slot)).collect();
    new.sort_unstable();
    new.dedup();
    for code in codes.iter().filter(|code| !new.contains(code)) {
        values.remove(*code, slot);
    }
    let changed = **codes != *new;
    *codes = new.into();
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Searched;

    #[test]
    fn rows_without_labels_take_no_room_and_have_none() {
        let spec = ColumnSpec { name: "tag", kind: ColumnKind::Labels, searched: Searched::No, help: "" };
        let mut column = Column::new(&spec);
        (0..3).for_each(|slot| column.add(slot, Sorted::Now));
        assert!(!column.set(2, Cell::Texts(&[]), Sorted::Now));
        assert_eq!(column.memory(), Column::new(&spec).memory());
        let tags = ["prod".to_owned()];
        assert!(column.set(1, Cell::Texts(&tags), Sorted::Now));
        let all = |column: &Column| [0, 1, 2].map(|slot| column.texts(slot).concat());
        assert_eq!(all(&column), ["", "prod", ""]);
        (0..3).for_each(|slot| column.remove(slot));
        assert_eq!(all(&column), ["", "", ""]);
    }

    #[test]
    fn rows_without_a_number_take_no_room_and_have_none() {
        let kind = ColumnKind::Number(crate::schema::Unit::Percent);
        let spec = ColumnSpec { name: "cpu", kind, searched: Searched::No, help: "" };
        let mut column = Column::new(&spec);
        (0..3).for_each(|slot| column.add(slot, Sorted::Now));
        assert!(!column.set(2, Cell::None, Sorted::Now));
        assert_eq!(column.memory(), Column::new(&spec).memory());
        assert!(column.set(1, Cell::Number(7), Sorted::Now) && !column.set(1, Cell::Number(7), Sorted::Now));
        let all = |column: &Column| [0, 1, 2].map(|slot| column.number(slot));
        assert_eq!(all(&column), [None, Some(7), None]);
        (0..3).for_each(|slot| column.remove(slot));
        assert_eq!(all(&column), [None, None, None]);
    }
}
