#![no_main]
//! The map beside an overlay: which blocks are its own. Read as it is found; no part of it may be read as anything else.
use std::sync::Arc;

use xenith_backup::nbd::Overlay;
use xenith_common_block::MemorySource;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let path = std::env::temp_dir().join(format!("xenith-fuzz-{}.overlay", std::process::id()));
    let map = path.with_extension("overlay.map");
    std::fs::write(&map, data).expect("there is a folder for temporary files");
    let base = Arc::new(MemorySource::new(vec![7; 19 * 4096]));
    let overlay = Overlay::open(base, &path).expect("it can be opened");
    let mut disk = vec![1; 19 * 4096];
    overlay.read_at(0, &mut disk).expect("it can be read");
    let own = disk.iter().filter(|&&byte| byte == 0).count() as u64;
    assert_eq!(overlay.filled(), (own, 19 * 4096));
});
