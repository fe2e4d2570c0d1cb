//! The newest minutes of one entity, by slots, until they are written.
//!
//! What always holds: minutes are in order; the newest stays, written or not, so that the last values are known; one
//! before it stays until it is written. A minute that changes while it is being written is written again. At most two
//! are open to be filled, the newest and the one that was filled last: the others are packed, if that makes them
//! smaller, and have the same in them. One that is over is packed before a newer one takes its room, so that all
//! entities together never have two open ones when the minute turns.

use crate::code::{Code, GAP, Sum, Triple};
use crate::pack::{pack_codes, unpack_codes};
use crate::{MINUTE, SLOT};

/// Slots of a minute.
pub const SLOTS: u32 = MINUTE / SLOT;
/// A slot that is so many minutes older than the newest is refused: it is of a host that a VM has left.
const LATEST: u32 = 5;
/// Minutes that wait for a store that takes nothing; older ones are given up.
const WAITING: usize = 10;

/// What was measured in a minute, of one metric.
pub type Slots = [Code; SLOTS as usize];
/// Nothing was measured.
pub const NOTHING: Slots = [GAP; SLOTS as usize];
/// Bytes of a column that is not packed.
const COLUMN: usize = size_of::<Slots>();

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

/// How the columns of a minute lie in its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Two bytes a slot, little endian. Only such a one is filled.
    Open,
    /// As [`Self::Open`], of a minute that packing does not make smaller: it is not tried again.
    Plain,
    Packed,
}

#[derive(Debug)]
pub struct Minute {
    pub number: u32,
    state: State,
    form: Form,
    /// Column after column. Bytes in all forms: a box for each form would take 8 bytes more of every minute.
    bytes: Box<[u8]>,
}

/// Some hundred thousands are in memory. New columns are zeros.
const _: () = assert!(size_of::<Minute>() <= 24 && GAP == 0);

#[derive(Debug, Default)]
pub struct Minutes {
    all: Vec<Minute>,
    /// The last slot that was written.
    last: u32,
}

impl Minute {
    /// Gaps, where the column came later.
    pub fn slots(&self, column: usize) -> Slots {
        self.columns().nth(column).unwrap_or(NOTHING)
    }

    /// All that are there: reading a packed one to its end costs as much as its last column.
    pub fn columns(&self) -> impl Iterator<Item = Slots> {
        let mut rest = &*self.bytes;
        std::iter::from_fn(move || match self.form {
            Form::Open | Form::Plain => plain_slots(&mut rest),
            Form::Packed => unpack_slots(&mut rest),
        })
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.bytes.len()
    }

    fn close(&mut self) {
        if self.form != Form::Open {
            return;
        }
        let mut packed = Vec::with_capacity(self.bytes.len());
        self.columns().for_each(|slots| pack_codes(&slots, &mut packed));
        self.form = Form::Plain;
        if packed.len() < self.bytes.len() {
            self.form = Form::Packed;
            // A copy: an allocator may leave what is shrunk in its large block.
            self.bytes = Box::from(packed.as_slice());
        }
    }

    fn reopen(&mut self) {
        if self.form == Form::Packed {
            self.bytes = self.columns().flatten().flat_map(Code::to_le_bytes).collect();
        }
        self.form = Form::Open;
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
        // Before there is a new one: it takes the room that they leave.
        let newest = newest.max(number);
        let others = self.all.iter_mut().filter(|minute| ![number, newest].contains(&minute.number));
        others.for_each(Minute::close);
        let place = self.all.partition_point(|minute| minute.number < number);
        if self.all.get(place).is_none_or(|minute| minute.number != number) {
            self.all.reserve_exact(1);
            let (state, form) = (State::Changed, Form::Open);
            self.all.insert(place, Minute { number, state, form, bytes: Box::default() });
        }
        let minute = &mut self.all[place];
        minute.reopen();
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

/// What [`Minutes::open`] gives.
impl Minute {
    pub fn set(&mut self, slot: u32, column: usize, code: Code) {
        self.widen(column + 1);
        let place = column * COLUMN + (slot % SLOTS) as usize * size_of::<Code>();
        self.bytes[place..][..size_of::<Code>()].copy_from_slice(&code.to_le_bytes());
    }

    /// At least so many metrics, new ones with nothing but gaps. Best all at once: there is no room for more.
    pub fn widen(&mut self, columns: usize) {
        let length = columns * COLUMN;
        if self.bytes.len() < length {
            let mut bytes = Vec::with_capacity(length);
            bytes.extend_from_slice(&self.bytes);
            bytes.resize(length, 0);
            self.bytes = bytes.into_boxed_slice();
        }
    }
}

/// Takes a column from the front.
fn plain_slots(bytes: &mut &[u8]) -> Option<Slots> {
    let (column, rest) = bytes.split_first_chunk::<COLUMN>()?;
    *bytes = rest;
    Some(std::array::from_fn(|n| Code::from_le_bytes([column[2 * n], column[2 * n + 1]])))
}

/// Takes a packed column from the front.
pub fn unpack_slots(bytes: &mut &[u8]) -> Option<Slots> {
    unpack_codes(bytes, SLOTS as usize)?.try_into().ok()
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
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const METRICS: usize = 7;

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

    /// Sets all metrics of minute 100.
    fn filled(code: impl Fn(u32) -> Code) -> Minutes {
        let mut minutes = Minutes::default();
        for slot in 1200..1212 {
            let minute = minutes.open(slot).unwrap();
            (0..METRICS).for_each(|column| minute.set(slot, column, code(slot)));
        }
        minutes
    }

    #[test]
    fn what_is_over_is_packed_and_takes_what_is_late() {
        let mut minutes = filled(|_| 30_000);
        assert_eq!(minutes.bytes(), size_of::<Minute>() + METRICS * COLUMN);
        minutes.open(1212).unwrap();
        assert_eq!(minutes.all[0].form, Form::Packed);
        assert_eq!(minutes.bytes(), 2 * size_of::<Minute>() + METRICS * 3, "constants");

        minutes.open(1203).unwrap().set(1203, METRICS, 5);
        let late = |minutes: &Minutes| {
            let minute = &minutes.all[0];
            assert_eq!(minute.columns().count(), METRICS + 1);
            assert!(minute.columns().take(METRICS).all(|slots| slots == [30_000; SLOTS as usize]));
            assert_eq!(minute.slots(METRICS)[2..5], [GAP, 5, GAP]);
            assert_eq!(minute.slots(METRICS + 1), NOTHING);
            minute.form
        };
        assert_eq!(late(&minutes), Form::Open);
        minutes.open(1213).unwrap();
        assert_eq!(late(&minutes), Form::Packed);
        assert_eq!(due(&mut minutes, 101), [100]);
    }

    #[test]
    fn what_packing_makes_larger_is_left_as_it_is() {
        let mut minutes = filled(|slot| if slot % 2 == 0 { GAP } else { u16::MAX });
        minutes.open(1212).unwrap();
        assert_eq!(minutes.all[0].form, Form::Plain);
        assert_eq!(minutes.bytes(), 2 * size_of::<Minute>() + METRICS * COLUMN);
        minutes.open(1200).unwrap().set(1200, 0, 9);
        assert_eq!(minutes.all[0].slots(0)[..3], [9, u16::MAX, GAP]);
    }

    proptest! {
        #[test]
        fn packed_minutes_have_what_was_set(
            sets in prop::collection::vec(
                (0..8 * SLOTS, 0..METRICS, prop_oneof![0u16..50, any::<u16>()]),
                0..200,
            ),
        ) {
            let mut minutes = Minutes::default();
            let mut expected: BTreeMap<u32, [Slots; METRICS]> = BTreeMap::new();
            for (slot, column, code) in sets {
                let Some(minute) = minutes.open(slot) else { continue };
                minute.set(slot, column, code);
                let columns = expected.entry(slot / SLOTS).or_insert([NOTHING; METRICS]);
                columns[column][(slot % SLOTS) as usize] = code;
                prop_assert!(minutes.iter().filter(|minute| minute.form == Form::Open).count() <= 2);

                let found: BTreeMap<u32, [Slots; METRICS]> = minutes
                    .iter()
                    .map(|minute| (minute.number, std::array::from_fn(|column| minute.slots(column))))
                    .collect();
                prop_assert_eq!(&found, &expected);
                for minute in minutes.iter() {
                    let columns: Vec<Slots> = minute.columns().collect();
                    prop_assert_eq!(&columns[..], &expected[&minute.number][..columns.len()]);
                }
            }
        }
    }
}
