#![no_main]

use libfuzzer_sys::fuzz_target;
use xenith_vmware_import::vmdk::stream::StreamReader;

fuzz_target!(|data: &[u8]| {
    let Ok(mut stream) = StreamReader::open("fuzz", data) else { return };
    let mut packed = Vec::new();
    while let Ok(Some(grain)) = stream.next_grain(&mut packed) {
        assert!(grain.disk_offset + grain.len <= stream.header.capacity);
        assert_eq!(packed.len(), grain.size);
        packed.clear();
    }
});
