#![no_main]

use libfuzzer_sys::fuzz_target;
use xenith_vmware_import::vmdk::grain::{GrainMarker, Inflater, MARKER};

fuzz_target!(|data: &[u8]| {
    let mut out = vec![0; 65_536];
    let _ = Inflater::default().inflate(("fuzz", 0), data, &mut out, 65_536);
    let _ = Inflater::default().inflate(("fuzz", 0), data, &mut out[..512], 65_536);
    if data.len() >= MARKER {
        if let Ok(marker) = GrainMarker::parse("fuzz", 0, data, (1 << 30, 65_536)) {
            assert!(marker.disk_offset < 1 << 30 && marker.disk_offset % 65_536 == 0);
        }
    }
});
