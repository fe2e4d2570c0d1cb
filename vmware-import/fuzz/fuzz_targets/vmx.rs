#![no_main]

use libfuzzer_sys::fuzz_target;
use xenith_vmware_import::vmx::{VmxVm, parse_vmsd};

fuzz_target!(|data: &[u8]| {
    let _ = VmxVm::parse("fuzz", data);
    let _ = parse_vmsd("fuzz", data);
});
