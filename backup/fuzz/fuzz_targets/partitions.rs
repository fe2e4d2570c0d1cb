#![no_main]
use xenith_common_block::{MemorySource, partitions};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let disk = MemorySource::new(data.to_vec());
    for part in partitions(&disk).expect("memory can be read") {
        assert!(!part.range.is_empty() && part.range.end <= data.len() as u64);
    }
});
