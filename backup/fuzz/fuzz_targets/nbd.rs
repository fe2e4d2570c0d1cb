#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some(head) = data.first_chunk() {
        let _ = xenith_backup::nbd::parse_request(head);
    }
});
