#![no_main]

use libfuzzer_sys::fuzz_target;
use xenith_vmware_import::vmdk::cowd::CowdHeader;
use xenith_vmware_import::vmdk::header::SparseHeader;
use xenith_vmware_import::vmdk::sesparse::SeSparseHeader;

fuzz_target!(|data: &[u8]| {
    let mut sector = [0; 512];
    let len = data.len().min(512);
    sector[..len].copy_from_slice(&data[..len]);
    if let Ok(header) = SparseHeader::parse("fuzz", 0, &sector) {
        assert!(header.gd_entries() > 0 && header.grain.is_power_of_two());
    }
    let _ = CowdHeader::parse("fuzz", data);
    let _ = SeSparseHeader::parse("fuzz", &sector);
});
