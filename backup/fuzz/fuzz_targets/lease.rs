#![no_main]
//! A decrypted lease of a session.
use xenith_backup::id::BackupId;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let session = BackupId(*b"\x01\x23\x45\x67\x89\xab\0\0\0\0\0\0\0\0\0\x01");
    let key = "sessions/0123456789ab00000000000000000001/00000001";
    if let Ok(lease) = xenith_backup::session::Lease::parse(data, key, session) {
        assert!(lease.session == session && lease.key == key);
    }
});
