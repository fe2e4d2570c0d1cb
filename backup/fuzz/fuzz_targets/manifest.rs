#![no_main]
//! A decrypted manifest, which who has a key of the repository can make say anything.
use xenith_backup::id::BackupId;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let id = BackupId(*b"\x01\x23\x45\x67\x89\xab\0\0\0\0\0\0\0\0\0\x01");
    if let Ok(Some(manifest)) = xenith_backup::manifest::parse(data, &id) {
        assert_eq!(manifest.id, id);
        let _ = (manifest.number(), manifest.series());
    }
});
