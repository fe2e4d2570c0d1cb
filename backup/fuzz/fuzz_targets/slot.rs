#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = xenith_backup::keys::Slot::parse(data);
});
