#![no_main]

use libfuzzer_sys::fuzz_target;
use xenith_vmware_import::ovf::Envelope;
use xenith_vmware_import::ovf::manifest::Manifest;
use xenith_vmware_import::tar::TarStream;

fuzz_target!(|data: &[u8]| {
    let _ = Envelope::parse("fuzz", data);
    let _ = Manifest::parse("fuzz", data);
    let mut tar = TarStream::new("fuzz", data);
    while let Ok(Some(_)) = tar.next_member() {}
});
