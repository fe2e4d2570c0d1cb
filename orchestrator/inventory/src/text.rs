//! A column of text that is different in each row: one piece of memory to search, and an order to walk.
//!
//! Each text lies there without case, and once more as given where that differs: most texts have no capitals. New texts
//! go to the end; what was replaced is garbage until half of the memory is garbage, then it is written anew. `0xff`, which is in no UTF-8 text, stands behind each text, so
//! that a match never crosses from one into the next.

mod remembered;

use std::borrow::Cow;

use memchr::memmem;

use crate::bits::Bits;
use crate::dictionary::fold;
use remembered::Remembered;

const END: u8 = 0xff;
/// Most slots in one chunk of the order: an insert moves at most 2 KiB, a search touches few cache lines.
const CHUNK: usize = 512;
/// Less text is searched anew each time: it takes microseconds.
const WORTH: usize = 8 << 10;

/// Where a text lies: 40 bits of offset, 24 of length.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Place(u64);

impl Place {
    fn new(offset: usize, len: usize) -> Self {
        debug_assert!(len < 1 << 24 && offset < 1 << 40, "texts are cut to MAX_TEXT");
        Self((offset as u64) << 24 | len as u64)
    }

    const fn range(self) -> std::ops::Range<usize> {
        let (offset, len) = ((self.0 >> 24) as usize, (self.0 & 0xff_ffff) as usize);
        offset..offset + len
    }
}

/// Longer texts are cut: nobody searches further, and one row must not eat the memory of thousands.
const MAX_TEXT: usize = 16 << 10;

/// One text of every slot, one after the other.
#[derive(Debug, Default)]
struct Arena {
    bytes: Vec<u8>,
    /// By slot.
    places: Vec<Place>,
    /// Where each text in `bytes` begins, also garbage, ascending.
    starts: Vec<u64>,
    /// The slot of each of these. Beside them and not with them, where four bytes more of each would be padding.
    owners: Vec<u32>,
    garbage: usize,
}

impl Arena {
    fn get(&self, slot: u32) -> &str {
        let place = self.places.get(slot as usize).copied().unwrap_or_default();
        // Only whole strings are put in, so this is UTF-8; the check costs a pass over a short text.
        std::str::from_utf8(&self.bytes[place.range()]).unwrap_or_default()
    }

    fn set(&mut self, slot: u32, text: &str) {
        if self.places.len() <= slot as usize {
            if text.is_empty() {
                return;
            }
            self.places.resize(slot as usize + 1, Place::default());
        }
        self.garbage += self.places[slot as usize].range().len();
        if text.is_empty() {
            self.places[slot as usize] = Place::default();
        } else {
            self.push(slot, text);
        }
        if self.garbage > 4096 && self.garbage > self.bytes.len() / 2 {
            self.compact();
        }
    }

    fn push(&mut self, slot: u32, text: &str) {
        let offset = self.bytes.len();
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(END);
        self.starts.push(offset as u64);
        self.owners.push(slot);
        self.places[slot as usize] = Place::new(offset, text.len());
    }

    fn compact(&mut self) {
        let old = std::mem::take(self);
        self.places = vec![Place::default(); old.places.len()];
        self.bytes.reserve_exact(old.bytes.len() - old.garbage);
        for slot in 0..old.places.len() as u32 {
            let text = old.get(slot);
            if !text.is_empty() {
                self.push(slot, text);
            }
        }
    }

    /// Slots whose text holds `needle`.
    fn search(&self, needle: &str, found: &mut Bits) {
        let finder = memmem::Finder::new(needle.as_bytes());
        let mut at = 0;
        let mut owner = 0;
        while let Some(hit) = finder.find(&self.bytes[at..]) {
            let hit = at + hit;
            // Hits come in order, so the owner is looked for from the last one on, in growing steps.
            owner += gallop(&self.starts[owner..], hit as u64);
            let (offset, slot) = (self.starts[owner], self.owners[owner]);
            let place = self.places[slot as usize].range();
            if place.start == offset as usize && place.contains(&hit) {
                found.insert(slot);
            }
            // One hit per text is enough.
            at = self.starts.get(owner + 1).map_or(self.bytes.len(), |next| *next as usize);
        }
    }
}

/// The index of the last start at or before `offset`; the first one is.
fn gallop(starts: &[u64], offset: u64) -> usize {
    let mut step = 1;
    while starts.get(step).is_some_and(|start| *start <= offset) {
        step *= 2;
    }
    let end = step.min(starts.len());
    let from = step / 2;
    from + starts[from..end].partition_point(|start| *start <= offset) - 1
}

/// See the module's documentation. Several texts of one row (`Texts`) are kept as one, with `\n` in between.
#[derive(Debug, Default)]
pub(crate) struct TextColumn {
    /// Of rows whose text is not the same without case.
    given: Arena,
    folded: Arena,
    order: Order,
    remembered: Remembered,
}

impl TextColumn {
    pub fn get(&self, slot: u32) -> &str {
        let given = self.given.get(slot);
        if given.is_empty() { self.folded.get(slot) } else { given }
    }

    /// Whether there is a text, without looking at it.
    pub fn has(&self, slot: u32) -> bool {
        self.folded.places.get(slot as usize).is_some_and(|place| !place.range().is_empty())
    }

    pub fn folded(&self, slot: u32) -> &str {
        self.folded.get(slot)
    }

    /// Returns whether it changed.
    pub fn set(&mut self, slot: u32, text: &str) -> bool {
        let text = cut(text);
        if self.get(slot) == text {
            return false;
        }
        self.order.remove(slot, &self.folded);
        self.write(slot, text);
        self.order.insert(slot, &self.folded);
        true
    }

    /// For a first load: without the order, which [`Self::sort`] makes at once.
    pub fn load(&mut self, slot: u32, text: &str) {
        self.write(slot, cut(text));
    }

    fn write(&mut self, slot: u32, text: &str) {
        let folded = fold(text);
        let same = matches!(folded, Cow::Borrowed(_)) || folded == text;
        self.given.set(slot, if same { "" } else { text });
        self.folded.set(slot, &folded);
        self.remembered.changed(slot);
    }

    /// Adds a slot with an empty text to the order.
    pub fn add(&mut self, slot: u32) {
        self.order.insert(slot, &self.folded);
    }

    /// Takes a slot out of the order.
    pub fn remove(&mut self, slot: u32) {
        self.order.remove(slot, &self.folded);
        self.write(slot, "");
    }

    /// Makes the order of `slots` anew.
    pub fn sort(&mut self, slots: &Bits) {
        // By the first eight bytes, and only where they are equal by the rest: most comparisons touch no text.
        let head = |slot: u32| {
            let text = self.folded.get(slot).as_bytes();
            let mut head = [0; 8];
            let len = text.len().min(8);
            head[..len].copy_from_slice(&text[..len]);
            u64::from_be_bytes(head)
        };
        let mut keyed: Vec<(u64, u32)> = slots.iter().map(|slot| (head(slot), slot)).collect();
        keyed.sort_unstable_by(|a, b| {
            a.0.cmp(&b.0).then_with(|| (self.folded.get(a.1), a.1).cmp(&(self.folded.get(b.1), b.1)))
        });
        // Half full chunks, so that the first inserts need not split.
        let chunks = keyed.chunks(CHUNK / 2).map(|chunk| chunk.iter().map(|(_, slot)| *slot).collect());
        self.order = Order { chunks: chunks.collect() };
    }

    /// Slots whose text holds `needle`, which is without case.
    pub fn search(&self, needle: &str, found: &mut Bits) {
        self.folded.search(needle, found);
    }

    /// The slots for which `holds`, which must depend on the text alone: found by `pass`, or known from the last
    /// time that `question` was asked.
    pub fn ask(
        &self,
        question: &str,
        len: u32,
        holds: impl Fn(u32) -> bool,
        pass: impl FnOnce() -> Bits,
    ) -> Bits {
        if self.folded.bytes.len() < WORTH {
            return pass();
        }
        if let Some(found) = self.remembered.get(question, len, holds) {
            return found;
        }
        let found = pass();
        self.remembered.put(question, &found);
        found
    }

    /// Slots in order, behind `after` (folded text and slot) if given.
    pub fn ascending<'a>(&'a self, after: Option<(&str, u32)>) -> impl Iterator<Item = u32> + 'a {
        let (chunk, index) =
            after.map_or((0, 0), |(text, slot)| self.order.seek(text, slot, &self.folded, Side::Behind));
        let first = self.order.chunks.get(chunk).map_or(&[][..], |slots| &slots[index.min(slots.len())..]);
        let rest = self.order.chunks.get(chunk + 1..).unwrap_or_default();
        first.iter().chain(rest.iter().flatten()).copied()
    }

    /// The reverse order, before `before`.
    pub fn descending<'a>(&'a self, before: Option<(&str, u32)>) -> impl Iterator<Item = u32> + 'a {
        let end = (self.order.chunks.len(), 0);
        let (chunk, index) =
            before.map_or(end, |(text, slot)| self.order.seek(text, slot, &self.folded, Side::At));
        let last = self.order.chunks.get(chunk).map_or(&[][..], |slots| &slots[..index.min(slots.len())]);
        let rest = &self.order.chunks[..chunk.min(self.order.chunks.len())];
        last.iter().rev().chain(rest.iter().rev().flat_map(|slots| slots.iter().rev())).copied()
    }

    pub fn memory(&self) -> usize {
        let arena = |a: &Arena| {
            let texts = a.starts.capacity() * 8 + a.owners.capacity() * 4;
            a.bytes.capacity() + a.places.capacity() * 8 + texts
        };
        let chunks: usize = self.order.chunks.iter().map(|chunk| chunk.capacity() * 4 + 24).sum();
        arena(&self.given) + arena(&self.folded) + chunks + self.remembered.memory()
    }
}

fn cut(text: &str) -> &str {
    if text.len() <= MAX_TEXT { text } else { &text[..text.floor_char_boundary(MAX_TEXT)] }
}

/// Slots by (text, slot), in chunks: a B-tree of two levels, which is enough for millions.
#[derive(Debug, Default)]
struct Order {
    /// None is empty.
    chunks: Vec<Vec<u32>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    /// The position of the slot, or where it would be.
    At,
    /// The position behind it.
    Behind,
}

impl Order {
    fn seek(&self, text: &str, slot: u32, texts: &Arena, side: Side) -> (usize, usize) {
        let compare = |candidate: u32| (texts.get(candidate), candidate).cmp(&(text, slot));
        // The last chunk that begins at or before it: where it is, or would be.
        let chunk = self.chunks.partition_point(|chunk| compare(chunk[0]).is_le()).saturating_sub(1);
        let before = |candidate: &u32| match side {
            Side::At => compare(*candidate).is_lt(),
            Side::Behind => compare(*candidate).is_le(),
        };
        let index = self.chunks.get(chunk).map_or(0, |slots| slots.partition_point(before));
        (chunk, index)
    }

    /// With its present text.
    fn insert(&mut self, slot: u32, texts: &Arena) {
        let (chunk, index) = self.seek(texts.get(slot), slot, texts, Side::At);
        let Some(slots) = self.chunks.get_mut(chunk) else {
            self.chunks.push(vec![slot]);
            return;
        };
        if slots.get(index) == Some(&slot) {
            return;
        }
        slots.insert(index, slot);
        if slots.len() > CHUNK {
            let upper = slots.split_off(CHUNK / 2);
            self.chunks.insert(chunk + 1, upper);
        }
    }

    /// With its present text; call it before the text changes.
    fn remove(&mut self, slot: u32, texts: &Arena) {
        let (chunk, index) = self.seek(texts.get(slot), slot, texts, Side::At);
        let Some(slots) = self.chunks.get_mut(chunk) else { return };
        if slots.get(index) == Some(&slot) {
            slots.remove(index);
            if slots.is_empty() {
                self.chunks.remove(chunk);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_search_agree_with_a_simple_model() {
        let mut column = TextColumn::default();
        let mut model: Vec<Option<String>> = vec![None; 1500];
        // A fixed pseudo-random walk of adds, changes and removals.
        let mut state = 7_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let asked = |column: &TextColumn, needle: &str| -> Vec<u32> {
            let holds = |slot| column.folded(slot).contains(needle);
            let pass = || {
                let mut found = Bits::none(1500);
                column.search(needle, &mut found);
                found
            };
            column.ask(needle, 1500, holds, pass).iter().collect()
        };
        let mut known = 0;
        for turn in 0..20_000 {
            // What is remembered is what a pass over the texts would find.
            if turn % 500 == 499 {
                for needle in ["web-7", "-ä99", "web-49-ä1", "nothing", "w"] {
                    let found = asked(&column, needle);
                    let text_of = |slot: u32| model[slot as usize].as_deref().map(fold).unwrap_or_default();
                    let expected: Vec<u32> =
                        (0..1500).filter(|slot| text_of(*slot).contains(needle)).collect();
                    assert_eq!(found, expected, "{needle} at {turn}");
                    known += usize::from(column.remembered.get(needle, 1500, |_| unreachable!()).is_some());
                }
            }
            let slot = random(1500) as u32;
            let place = &mut model[slot as usize];
            match (place.is_some(), random(4)) {
                (true, 0) => {
                    column.remove(slot);
                    *place = None;
                }
                (false, _) => {
                    column.add(slot);
                    *place = Some(String::new());
                }
                (true, _) => {
                    let text = format!("Web-{}-ä{}", random(50), random(1000));
                    column.set(slot, &text);
                    *place = Some(text);
                }
            }
        }
        assert!(known > 100, "hardly anything was remembered: {known}");
        let texts = model
            .iter()
            .enumerate()
            .filter_map(|(slot, text)| Some((fold(text.as_ref()?).into_owned(), slot as u32)));
        let mut expected: Vec<(String, u32)> = texts.collect();
        expected.sort();
        let slots: Vec<u32> = expected.iter().map(|(_, slot)| *slot).collect();
        assert_eq!(column.ascending(None).collect::<Vec<_>>(), slots);
        let reversed: Vec<u32> = slots.iter().rev().copied().collect();
        assert_eq!(column.descending(None).collect::<Vec<_>>(), reversed);
        for at in [0, 1, 600, slots.len() - 1] {
            let (text, slot) = &expected[at];
            assert_eq!(column.ascending(Some((text, *slot))).collect::<Vec<_>>(), slots[at + 1..], "{at}");
            let before: Vec<u32> = slots[..at].iter().rev().copied().collect();
            assert_eq!(column.descending(Some((text, *slot))).collect::<Vec<_>>(), before, "{at}");
        }
        for needle in ["web-7", "-ä99", "web-49-ä1", "nothing", "w"] {
            let mut found = Bits::none(1500);
            column.search(needle, &mut found);
            let mut holding: Vec<u32> =
                expected.iter().filter(|(text, _)| text.contains(needle)).map(|(_, slot)| *slot).collect();
            holding.sort_unstable();
            assert_eq!(found.iter().collect::<Vec<_>>(), holding, "{needle}");
        }
        let mut sorted = TextColumn::default();
        for (text, slot) in &expected {
            sorted.load(*slot, text);
        }
        sorted.sort(&Bits::from_roaring(1500, &slots.iter().copied().collect()));
        assert_eq!(sorted.ascending(None).collect::<Vec<_>>(), slots);
    }
}
