#![no_main]
//! A decrypted record that locks were extended.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let key = "locks/000001a229237d51";
    if let Ok(record) = xenith_backup::immutable::Record::parse(data, key) {
        assert_eq!(record.key, key);
    }
});
