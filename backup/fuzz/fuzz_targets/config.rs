#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = xenith_backup::repo::parse_config(data);
});
