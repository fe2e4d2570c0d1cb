//! A set of slots as plain bits: what a filter evaluates to. A million rows are 125 KB, so the usual operations
//! take microseconds and stay in the cache; compressed bitmaps (see [`crate::dictionary`]) are for what is kept.

use roaring::RoaringBitmap;

/// Bits beyond `len` are zero.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Bits {
    words: Vec<u64>,
    len: u32,
}

impl Bits {
    pub fn none(len: u32) -> Self {
        Self { words: vec![0; (len as usize).div_ceil(64)], len }
    }

    pub fn all(len: u32) -> Self {
        let mut bits = Self { words: vec![u64::MAX; (len as usize).div_ceil(64)], len };
        bits.trim();
        bits
    }

    /// The slots for which `test` holds. 64 results become one word without branches, so the compiler can
    /// vectorise simple tests.
    pub fn collect(len: u32, test: impl Fn(u32) -> bool) -> Self {
        let mut bits = Self::none(len);
        for (index, word) in bits.words.iter_mut().enumerate() {
            let base = (index * 64) as u32;
            let count = (len - base).min(64);
            let mut value = 0;
            for bit in 0..count {
                value |= u64::from(test(base + bit)) << bit;
            }
            *word = value;
        }
        bits
    }

    #[cfg(test)]
    pub fn from_roaring(len: u32, slots: &RoaringBitmap) -> Self {
        let mut bits = Self::none(len);
        bits.insert_all(slots);
        bits
    }

    fn trim(&mut self) {
        let rest = self.len % 64;
        if rest != 0
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << rest) - 1;
        }
    }

    /// Bytes.
    pub fn memory(&self) -> usize {
        self.words.capacity() * 8
    }

    /// Makes room; new bits are zero.
    pub fn grow(&mut self, len: u32) {
        if len > self.len {
            self.words.resize((len as usize).div_ceil(64), 0);
            self.len = len;
        }
    }

    pub fn contains(&self, slot: u32) -> bool {
        self.words.get(slot as usize / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1)
    }

    pub fn insert(&mut self, slot: u32) {
        debug_assert!(slot < self.len);
        self.words[slot as usize / 64] |= 1 << (slot % 64);
    }

    pub fn remove(&mut self, slot: u32) {
        if let Some(word) = self.words.get_mut(slot as usize / 64) {
            *word &= !(1 << (slot % 64));
        }
    }

    pub fn insert_all(&mut self, slots: &RoaringBitmap) {
        for slot in slots {
            if slot < self.len {
                self.insert(slot);
            }
        }
    }

    pub fn and(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= other;
        }
    }

    pub fn or(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word |= other;
        }
    }

    pub fn invert(&mut self) {
        for word in &mut self.words {
            *word = !*word;
        }
        self.trim();
    }

    pub fn count(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// How many of `slots` are in the set.
    pub fn count_of(&self, slots: &RoaringBitmap) -> u64 {
        slots.iter().filter(|slot| self.contains(*slot)).count() as u64
    }

    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Ascending.
    pub fn iter(&self) -> Slots<'_> {
        self.iter_from(0)
    }

    /// Ascending, from `slot` on.
    pub fn iter_from(&self, slot: u32) -> Slots<'_> {
        let index = slot as usize / 64;
        let left = self.words.get(index).map_or(0, |word| word & (u64::MAX << (slot % 64)));
        Slots { words: &self.words, index, left }
    }

    /// As [`Self::iter`], and faster: for passes over a million.
    pub fn for_each(&self, mut work: impl FnMut(u32)) {
        for (index, word) in self.words.iter().enumerate() {
            let mut left = *word;
            while left != 0 {
                work((index * 64) as u32 + left.trailing_zeros());
                left &= left - 1;
            }
        }
    }
}

/// The slots of a set.
pub(crate) struct Slots<'a> {
    words: &'a [u64],
    index: usize,
    left: u64,
}

impl Iterator for Slots<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        while self.left == 0 {
            self.index += 1;
            self.left = *self.words.get(self.index)?;
        }
        let bit = self.left.trailing_zeros();
        self.left &= self.left - 1;
        Some((self.index * 64) as u32 + bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaves_like_a_set() {
        for len in [0, 1, 63, 64, 65, 130] {
            let thirds = Bits::collect(len, |slot| slot % 3 == 0);
            let expected: Vec<u32> = (0..len).filter(|slot| slot % 3 == 0).collect();
            assert_eq!(thirds.iter().collect::<Vec<_>>(), expected, "{len}");
            for from in [0, 1, 62, 64, 100, 200] {
                let rest: Vec<u32> = expected.iter().copied().filter(|slot| *slot >= from).collect();
                assert_eq!(thirds.iter_from(from).collect::<Vec<_>>(), rest, "{len} from {from}");
            }
            let mut visited = Vec::new();
            thirds.for_each(|slot| visited.push(slot));
            assert_eq!(visited, expected);
            let mut others = thirds.clone();
            others.invert();
            assert_eq!(others.count() + thirds.count(), u64::from(len));
            let mut both = others.clone();
            both.or(&thirds);
            assert_eq!(both, Bits::all(len));
            both.and(&others);
            assert_eq!(both, others);
            let roaring: RoaringBitmap = expected.iter().copied().collect();
            assert_eq!(Bits::from_roaring(len, &roaring), thirds);
            assert_eq!(thirds.count_of(&roaring), thirds.count());
        }
    }
}
