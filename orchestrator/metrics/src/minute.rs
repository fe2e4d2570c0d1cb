//! The newest minutes of one entity, by slots, until they are written.
//!
//! What always holds: minutes are in order; the newest stays, written or not, so that the last values are known; one
//! before it stays until it is written. A minute that changes while it is being written is written again.

use crate::code::{Code, GAP, Sum, Triple};
use crate::{MINUTE, SLOT};

/// Slots of a minute.
pub const SLOTS: u32 = MINUTE / SLOT;
/// A slot that is so many minutes older than the newest is refused: it is of a host that a VM has left.
const LATEST: u32 = 5;
/// Minutes that wait for a store that takes nothing; older ones are given up.
const WAITING: usize = 10;

/// What was measured in a minute, of one metric.
pub type Slots = [Code; SLOTS as usize];

/// Whether a write was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Written,
    /// It has to be done again.
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Changed,
    Writing,
    Written,
}

#[derive(Debug)]
pub struct Minute {
    pub number: u32,
    state: State,
    /// By column.
    columns: Box<[Slots]>,
}

#[derive(Debug, Default)]
pub struct Minutes {
    all: Vec<Minute>,
    /// The last slot that was written.
    last: u32,
}

impl Minute {
    /// Gaps, where the column came later.
    pub fn slots(&self, column: usize) -> Slots {
        self.columns.get(column).copied().unwrap_or([GAP; SLOTS as usize])
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.columns)
    }
}

impl Minutes {
    /// The minute of `slot`, to be filled; `None` when that is too long ago.
    pub fn open(&mut self, slot: u32) -> Option<&mut Minute> {
        let number = slot / SLOTS;
        let newest = self.all.last().map_or(number, |minute| minute.number);
        if number + LATEST < newest {
            return None;
        }
        self.last = self.last.max(slot);
        if number > newest {
            self.all.retain(|minute| minute.state != State::Written);
            let given_up = (self.all.len() + 1).saturating_sub(WAITING);
            self.all.drain(..given_up);
        }
        let place = self.all.partition_point(|minute| minute.number < number);
        if self.all.get(place).is_none_or(|minute| minute.number != number) {
            self.all.reserve_exact(1);
            self.all.insert(place, Minute { number, state: State::Changed, columns: Box::default() });
        }
        let minute = &mut self.all[place];
        minute.state = State::Changed;
        Some(minute)
    }

    /// Those before `end` that are not written. What becomes of them is told with [`Self::settle`].
    pub fn begin_write(&mut self, end: u32) -> impl Iterator<Item = &Minute> {
        let due = self.all.iter_mut().filter(move |m| m.number < end && m.state != State::Written);
        due.map(|minute| {
            minute.state = State::Writing;
            &*minute
        })
    }

    /// What became of those that [`Self::begin_write`] told of.
    pub fn settle(&mut self, outcome: Outcome) {
        let state = match outcome {
            Outcome::Written => State::Written,
            Outcome::Failed => State::Changed,
        };
        let writing = self.all.iter_mut().filter(|minute| minute.state == State::Writing);
        writing.for_each(|minute| minute.state = state);
        let newest = self.newest();
        self.all.retain(|minute| minute.state != State::Written || Some(minute.number) == newest);
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Minute> {
        self.all.iter()
    }

    /// The number of the newest minute.
    pub fn newest(&self) -> Option<u32> {
        self.all.last().map(|minute| minute.number)
    }

    /// Whether nothing is lost when this is dropped.
    pub fn is_written(&self) -> bool {
        self.all.iter().all(|minute| minute.state == State::Written)
    }

    /// The last slot that was written, if anything is there.
    pub fn last(&self) -> Option<u32> {
        (!self.all.is_empty()).then_some(self.last)
    }

    pub fn at_last(&self, column: usize) -> Code {
        let minute = self.all.iter().rev().find(|minute| minute.number == self.last / SLOTS);
        minute.map_or(GAP, |minute| minute.slots(column)[(self.last % SLOTS) as usize])
    }

    pub fn bytes(&self) -> usize {
        self.all.iter().map(Minute::bytes).sum()
    }
}

impl Minute {
    pub fn set(&mut self, slot: u32, column: usize, code: Code) {
        self.widen(column + 1);
        self.columns[column][(slot % SLOTS) as usize] = code;
    }

    /// At least so many metrics, new ones with nothing but gaps. Best all at once: there is no room for more.
    pub fn widen(&mut self, columns: usize) {
        if self.columns.len() < columns {
            let new = std::iter::repeat_n([GAP; SLOTS as usize], columns - self.columns.len());
            self.columns = self.columns.iter().copied().chain(new).collect();
        }
    }
}

/// What is in `late` and not in `slots`.
pub fn fill(slots: &mut Slots, late: &Slots) {
    for (slot, late) in slots.iter_mut().zip(late) {
        if *slot == GAP {
            *slot = *late;
        }
    }
}

pub fn whole_of_slots(slots: &Slots) -> Triple {
    let mut sum = Sum::default();
    slots.iter().for_each(|code| sum.add_code(*code));
    sum.triple()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(minutes: &Minutes) -> Vec<u32> {
        minutes.iter().map(|minute| minute.number).collect()
    }

    fn due(minutes: &mut Minutes, end: u32) -> Vec<u32> {
        minutes.begin_write(end).map(|minute| minute.number).collect()
    }

    #[test]
    fn what_is_written_goes_and_the_newest_stays() {
        let mut minutes = Minutes::default();
        for slot in [1200, 1212, 1213, 1224] {
            minutes.open(slot).unwrap().set(slot, 1, 7);
        }
        assert_eq!(due(&mut minutes, 102), [100, 101]);
        minutes.settle(Outcome::Written);
        assert_eq!((numbers(&minutes), minutes.is_written()), (vec![102], false));
        assert_eq!(due(&mut minutes, 103), [102]);
        minutes.settle(Outcome::Written);
        assert_eq!((numbers(&minutes), minutes.is_written()), (vec![102], true));
        assert_eq!((minutes.last(), minutes.at_last(1), minutes.at_last(0)), (Some(1224), 7, GAP));
        assert!(minutes.open(1236).is_some());
        assert_eq!(numbers(&minutes), [103]);
    }

    #[test]
    fn what_changes_while_it_is_written_is_written_again() {
        let mut minutes = Minutes::default();
        minutes.open(1200).unwrap().set(1200, 0, 7);
        assert_eq!(due(&mut minutes, 101), [100]);
        minutes.open(1201).unwrap().set(1201, 0, 8);
        minutes.settle(Outcome::Written);
        assert_eq!(due(&mut minutes, 101), [100]);
        minutes.settle(Outcome::Failed);
        assert_eq!(due(&mut minutes, 101), [100]);
    }

    #[test]
    fn what_is_late_is_taken_and_what_is_very_late_refused() {
        let mut minutes = Minutes::default();
        assert!(minutes.open(1200).is_some() && minutes.open(1200 - 5 * SLOTS).is_some());
        assert!(minutes.open(1200 - 5 * SLOTS - 1).is_none());
        assert_eq!((numbers(&minutes), minutes.last()), (vec![95, 100], Some(1200)));
        for number in 101..200 {
            minutes.open(number * SLOTS).unwrap();
        }
        assert_eq!(numbers(&minutes), (190..200).collect::<Vec<_>>(), "nobody writes them");
    }
}
