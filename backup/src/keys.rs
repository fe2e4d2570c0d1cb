//! Keys, three deep: a MEK opens the ring of KEKs, a KEK opens the key in each object's header.
//!
//! ```text
//! passphrase --Argon2id--> slot key --+
//! key file  --BLAKE3 KDF-> slot key --+--> MEK --> keyring (KEKs, domain secrets) --> object keys --> data
//! ```
//!
//! What always holds: the MEK never leaves memory but wrapped in a slot; a slot says which MEK it wraps, so
//! that a half-done `rotate` leaves two rings that both open. Re-keying writes a new ring and new slots and
//! touches no pack. The *domain secret* names chunks and places cuts: it must stay the same for as long as
//! chunks are to be found again, so rotation keeps it.
//!
//! A crash while rotating: new slots and the old ring are there (the old slots still open the old ring), or
//! both rings are (the higher number counts). Old slots are deleted last.

mod ring;
mod slot;

use crate::crypto::Secret32;
use crate::error::{BackupError, Result};
use crate::id::{RepoId, unhex};
use crate::store::{ObjectKey, ObjectStore, StoreError};

pub use ring::Keyring;
pub use slot::{KdfCost, Slot};

/// Slots and rings are small; more than this is an attack.
const SMALL_OBJECT: u64 = 1 << 20;
/// Slots tried before giving up: each may cost a second of Argon2.
const MAX_SLOTS: usize = 64;

/// What a person or a service holds to open a repository.
#[derive(Clone)]
pub enum Credential {
    Passphrase(String),
    KeyFile(Secret32),
}

impl Credential {
    /// The content of a key file: 64 hex digits.
    #[must_use]
    pub fn from_key_file(text: &str) -> Option<Self> {
        unhex(text.trim()).map(|bytes| Self::KeyFile(Secret32::new(bytes)))
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Passphrase(_) => "Passphrase(..)",
            Self::KeyFile(_) => "KeyFile(..)",
        })
    }
}

/// An opened repository's keys: what the slot gave and what it opened.
#[derive(Debug)]
pub struct Keys {
    pub mek: Secret32,
    pub ring: Keyring,
    /// The number of the ring; the next one written has a higher number.
    pub ring_number: u64,
    pub slot: ObjectKey,
}

fn ring_key(number: u64) -> ObjectKey {
    ObjectKey::new(format!("keyring/{number:016x}"))
}

fn ring_number(key: &ObjectKey) -> Option<u64> {
    let digits = key.as_str().strip_prefix("keyring/")?;
    unhex::<8>(digits).map(u64::from_be_bytes)
}

/// Writes the first slot and the first ring of a new repository.
pub fn create(store: &dyn ObjectStore, ring: &Keyring, credential: &Credential, cost: KdfCost) -> Result<()> {
    let mek = Secret32::random();
    add_slot(store, &ring.repo(), &mek, credential, cost)?;
    store.create(&ring_key(1), &[ring.seal(&mek).into()])?;
    Ok(())
}

/// Adds a slot that opens with `credential`.
pub fn add_slot(
    store: &dyn ObjectStore,
    repo: &RepoId,
    mek: &Secret32,
    credential: &Credential,
    cost: KdfCost,
) -> Result<ObjectKey> {
    let slot = Slot::create(repo, mek, credential, cost)?;
    let key = ObjectKey::new(format!("keys/{}", crate::crypto::random_hex()));
    store.create(&key, &[slot.encode().into()])?;
    Ok(key)
}

/// The keys that `credential` opens.
pub fn open(store: &dyn ObjectStore, repo: &RepoId, credential: &Credential) -> Result<Keys> {
    let mut found: Option<Keys> = None;
    for (key, slot) in slots(store)? {
        let Some(mek) = slot.open(repo, credential)? else { continue };
        for (number, ring) in rings(store, repo, &mek)? {
            if found.as_ref().is_none_or(|best| best.ring_number < number) {
                found = Some(Keys { mek: mek.clone(), ring, ring_number: number, slot: key.clone() });
            }
        }
        // One Argon2 a start is enough, unless a rotation was cut short and there are more rings.
        if found.is_some() && store.list("keyring/")?.len() == 1 {
            break;
        }
    }
    found.ok_or(BackupError::WrongKey)
}

/// All slots, newest first. A slot that cannot be read is skipped and logged: another may still open.
pub fn slots(store: &dyn ObjectStore) -> Result<Vec<(ObjectKey, Slot)>> {
    let mut listed = store.list("keys/")?;
    listed.sort_by_key(|info| std::cmp::Reverse(info.modified));
    let mut slots = Vec::new();
    for info in listed.into_iter().take(MAX_SLOTS) {
        let body = match store.read(&info.key, SMALL_OBJECT) {
            Err(StoreError::TooLarge { size, .. }) => {
                tracing::warn!(slot = %info.key, size, "a key slot is damaged");
                continue;
            }
            other => other?,
        };
        match Slot::parse(&body) {
            Ok(slot) => slots.push((info.key, slot)),
            Err(detail) => tracing::warn!(slot = %info.key, detail, "a key slot is damaged"),
        }
    }
    Ok(slots)
}

fn rings(store: &dyn ObjectStore, repo: &RepoId, mek: &Secret32) -> Result<Vec<(u64, Keyring)>> {
    let mut rings = Vec::new();
    for info in store.list("keyring/")? {
        let Some(number) = ring_number(&info.key) else { continue };
        let body = match store.read(&info.key, SMALL_OBJECT) {
            Err(StoreError::NotFound { .. } | StoreError::TooLarge { .. }) => continue,
            other => other?,
        };
        if let Some(ring) = Keyring::open(repo, mek, &body) {
            rings.push((number, ring));
        }
    }
    Ok(rings)
}

/// Starts a new MEK and a new KEK: `credential` opens the repository from now on, other slots are gone.
/// Returns how many other slots were dropped.
pub fn rotate(store: &dyn ObjectStore, keys: &Keys, credential: &Credential, cost: KdfCost) -> Result<usize> {
    let (old_slots, old_rings) = (store.list("keys/")?, store.list("keyring/")?);
    let mek = Secret32::random();
    let mut ring = keys.ring.clone();
    ring.add_kek();
    add_slot(store, &ring.repo(), &mek, credential, cost)?;
    store.create(&ring_key(keys.ring_number + 1), &[ring.seal(&mek).into()])?;
    for info in old_slots.iter().chain(&old_rings) {
        store.delete(&info.key)?;
    }
    Ok(old_slots.len().saturating_sub(1))
}

/// Writes the ring anew with what `ring` says besides keys, and makes the old one go.
pub fn replace_ring(store: &dyn ObjectStore, keys: &Keys, ring: &Keyring) -> Result<()> {
    store.create(&ring_key(keys.ring_number + 1), &[ring.seal(&keys.mek).into()])?;
    Ok(store.delete(&ring_key(keys.ring_number))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Chunking;
    use crate::store::{Fault, FaultyStore, MemoryStore};

    fn pass(text: &str) -> Credential {
        Credential::Passphrase(text.to_owned())
    }

    #[test]
    fn slots_open_with_their_own_credential_only() {
        let store = MemoryStore::new();
        let ring = Keyring::create(Chunking::default());
        let repo = ring.repo();
        create(&store, &ring, &pass("one"), KdfCost::CHEAP).unwrap();
        let keys = open(&store, &repo, &pass("one")).unwrap();
        assert!(matches!(open(&store, &repo, &pass("two")), Err(BackupError::WrongKey)));
        let file = Credential::KeyFile(Secret32::random());
        add_slot(&store, &repo, &keys.mek, &file, KdfCost::CHEAP).unwrap();
        assert_eq!(open(&store, &repo, &file).unwrap().mek, keys.mek);
        assert!(matches!(open(&store, &RepoId([9; 16]), &pass("one")), Err(BackupError::WrongKey)));
    }

    #[test]
    fn a_rotation_cut_short_anywhere_leaves_the_repository_open() {
        for die_at in 0..8 {
            let memory = MemoryStore::new();
            let ring = Keyring::create(Chunking::default());
            let repo = ring.repo();
            create(&memory, &ring, &pass("old"), KdfCost::CHEAP).unwrap();
            let keys = open(&memory, &repo, &pass("old")).unwrap();
            let (header, _) = crate::format::Sealer::create(crate::format::ObjectKind::Pack, &keys.ring);
            let faulty = FaultyStore::new(memory.fork(), Some((Fault::DieBefore, die_at)));
            let finished = rotate(&faulty, &keys, &pass("old"), KdfCost::CHEAP).is_ok();
            let survived = faulty.into_inner();
            let again = open(&survived, &repo, &pass("old")).unwrap();
            // What was written before the rotation still opens.
            crate::format::FrameOpener::new(&header, crate::format::ObjectKind::Pack, &again.ring, "p")
                .unwrap();
            if finished {
                assert_ne!(again.mek, keys.mek);
                assert_ne!(again.ring.current_kek(), keys.ring.current_kek());
            }
        }
    }
}
