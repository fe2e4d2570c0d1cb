#![no_main]
use xenith_backup::chunk::LEAF_BLOCKS;
use xenith_backup::map::{Leaf, encode_inner, parse_inner};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&[low, high], page)) = data.split_first_chunk::<2>() else { return };
    let number = u32::from(u16::from_le_bytes([low, high]));
    if let Ok(leaf) = Leaf::parse(page, number.min(LEAF_BLOCKS)) {
        assert_eq!(leaf.ends().last().unwrap_or(0), number.min(LEAF_BLOCKS));
    }
    if let Ok(children) = parse_inner(page, number as usize % 257) {
        assert_eq!(encode_inner(&children), page);
    }
});
