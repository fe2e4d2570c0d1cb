#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = xenith_backup::nbd::trace::Trace::parse(data, 1 << 40);
});
