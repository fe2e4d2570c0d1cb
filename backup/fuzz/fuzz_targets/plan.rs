#![no_main]
//! A decrypted plan or verdict of a collector.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let name = "000000000042-00112233445566778899aabbccddeeff";
    if let Ok(plan) = xenith_backup::gc::Plan::parse(data, name) {
        assert_eq!(plan.name, name);
    }
});
