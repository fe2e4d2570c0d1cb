#![no_main]

use libfuzzer_sys::fuzz_target;
use xenith_vmware_import::vmdk::Descriptor;
use xenith_vmware_import::vmdk::descriptor::MAX_DISK;

fuzz_target!(|data: &[u8]| {
    if let Ok(descriptor) = Descriptor::parse("fuzz", 0, data) {
        assert!(descriptor.size() <= MAX_DISK && !descriptor.extents.is_empty());
    }
});
