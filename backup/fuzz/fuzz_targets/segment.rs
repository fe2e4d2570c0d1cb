#![no_main]
use xenith_backup::index::Segment;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some(segment) = Segment::parse(data) {
        assert!(segment.entries.iter().all(|entry| (entry.pack as usize) < segment.packs.len()));
    }
});
