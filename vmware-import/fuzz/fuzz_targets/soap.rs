#![no_main]

use libfuzzer_sys::fuzz_target;
use xenith_vmware_import::vsphere::soap::parse;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = parse(text);
    }
});
