//! Numbers in as few bits as their neighbours need.
//!
//! Blocks of [`BLOCK`] numbers: one byte that says how many bits each has, then the bits. Codes that change little
//! are written as differences, so a constant takes one byte a block. Reading takes foreign bytes: lengths are checked
//! before anything is read, and what does not fit is `None`.

use crate::code::{Code, Triple};

const BLOCK: usize = 32;
const WIDEST: u32 = 32;

/// Appends `values`.
fn pack(values: &[u32], out: &mut Vec<u8>) {
    for block in values.chunks(BLOCK) {
        let all = block.iter().fold(0, |all, value| all | value);
        let width = WIDEST - all.leading_zeros();
        out.push(width as u8);
        let (mut bits, mut held) = (0u64, 0);
        for value in block {
            bits |= u64::from(*value) << held;
            held += width;
            while held >= 8 {
                out.push(bits as u8);
                bits >>= 8;
                held -= 8;
            }
        }
        if held > 0 {
            out.push(bits as u8);
        }
    }
}

/// The next block of `count` numbers, and what its bits are.
fn block<'a>(bytes: &mut &'a [u8], count: usize) -> Option<(u32, &'a [u8])> {
    let (width, rest) = bytes.split_first()?;
    let width = u32::from(*width);
    if width > WIDEST {
        return None;
    }
    let (bits, rest) = rest.split_at_checked((count * width as usize).div_ceil(8))?;
    *bytes = rest;
    Some((width, bits))
}

/// Takes `count` numbers from the front.
fn unpack(bytes: &mut &[u8], count: usize) -> Option<Vec<u32>> {
    let mut values = Vec::with_capacity(count);
    while values.len() < count {
        let here = (count - values.len()).min(BLOCK);
        let (width, packed) = block(bytes, here)?;
        let mask = if width == 0 { 0 } else { u32::MAX >> (WIDEST - width) };
        let (mut bits, mut held, mut packed) = (0u64, 0, packed.iter());
        for _ in 0..here {
            while held < width {
                bits |= u64::from(*packed.next()?) << held;
                held += 8;
            }
            values.push(bits as u32 & mask);
            bits >>= width;
            held -= width;
        }
    }
    Some(values)
}

/// Appends codes as differences.
pub fn pack_codes(codes: &[Code], out: &mut Vec<u8>) {
    let Some(first) = codes.first() else { return };
    out.extend(first.to_le_bytes());
    let mut before = i32::from(*first);
    let differences: Vec<u32> = codes
        .iter()
        .map(|code| {
            let difference = i32::from(*code) - before;
            before = i32::from(*code);
            // Small ones of either sign become small numbers.
            ((difference << 1) ^ (difference >> 31)) as u32
        })
        .collect();
    pack(&differences, out);
}

pub fn unpack_codes(bytes: &mut &[u8], count: usize) -> Option<Vec<Code>> {
    let mut before = i32::from(first(bytes, count)?);
    let codes = unpack(bytes, count)?.into_iter().map(|folded| {
        let difference = (folded >> 1) as i32 ^ -((folded & 1) as i32);
        before = before.wrapping_add(difference);
        Code::try_from(before).ok()
    });
    codes.collect()
}

/// The code that the differences begin at.
fn first(bytes: &mut &[u8], count: usize) -> Option<Code> {
    if count == 0 {
        return Some(0);
    }
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(Code::from_le_bytes(*first))
}

/// Appends the averages, and how far the least and greatest are from them.
pub fn pack_triples(triples: &[Triple], out: &mut Vec<u8>) {
    let codes: Vec<Code> = triples.iter().map(|triple| triple.avg).collect();
    pack_codes(&codes, out);
    let below: Vec<u32> = triples.iter().map(|t| u32::from(t.avg.saturating_sub(t.min))).collect();
    pack(&below, out);
    let above: Vec<u32> = triples.iter().map(|t| u32::from(t.max.saturating_sub(t.avg))).collect();
    pack(&above, out);
}

pub fn unpack_triples(mut bytes: &[u8], count: usize) -> Option<Vec<Triple>> {
    let codes = unpack_codes(&mut bytes, count)?;
    let below = unpack(&mut bytes, count)?;
    let above = unpack(&mut bytes, count)?;
    let triples = codes.into_iter().zip(below).zip(above).map(|((avg, below), above)| {
        let min = avg.checked_sub(Code::try_from(below).ok()?)?;
        Some(Triple { avg, min, max: avg.checked_add(Code::try_from(above).ok()?)? })
    });
    triples.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_constant_takes_next_to_nothing() {
        let mut bytes = Vec::new();
        pack_codes(&[30_000; 64], &mut bytes);
        assert_eq!(bytes, [0x30, 0x75, 0, 0]);
    }

    proptest! {
        #[test]
        fn codes_come_back(codes in prop::collection::vec(any::<u16>(), 0..200), behind in any::<[u8; 3]>()) {
            let mut bytes = Vec::new();
            pack_codes(&codes, &mut bytes);
            bytes.extend(behind);
            let mut rest = &bytes[..];
            prop_assert_eq!(unpack_codes(&mut rest, codes.len()).unwrap(), codes.clone());
            prop_assert_eq!(rest, behind);
        }

        #[test]
        fn triples_come_back(triples in prop::collection::vec((any::<u16>(), any::<u16>(), any::<u16>()), 0..100)) {
            let triples: Vec<Triple> = triples.into_iter().map(|(a, b, c)| {
                let mut all = [a, b, c];
                all.sort_unstable();
                Triple { min: all[0], avg: all[1], max: all[2] }
            }).collect();
            let mut bytes = Vec::new();
            pack_triples(&triples, &mut bytes);
            prop_assert_eq!(unpack_triples(&bytes, triples.len()).unwrap(), triples);
        }

        #[test]
        fn foreign_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300), count in 0usize..200) {
            let _any = unpack_triples(&bytes, count);
            let _any = unpack_codes(&mut &bytes[..], count);
        }
    }
}
