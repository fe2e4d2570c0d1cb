#![no_main]
//! A decrypted ring, which who has one key of a repository can make say anything.
use xenith_backup::id::RepoId;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let repo = RepoId(*b"\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef");
    if let Some(ring) = xenith_backup::keys::Keyring::parse(&repo, data) {
        assert!(ring.repo() == repo && ring.wrap_key(ring.current_kek()).is_some());
        assert!(ring.seal_for_new().is_none_or(|seal| ring.find_seal(seal.id).is_some()));
    }
});
