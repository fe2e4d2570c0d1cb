//! Keys, three deep: a MEK opens the ring of KEKs, a KEK opens the key in each object's header.
//!
//! ```text
//! passphrase --Argon2id--> slot key --+
//! key file  --BLAKE3 KDF-> slot key --+--> MEK --> keyring (KEKs, domain secrets) --> object keys --> data
//! ```
//!
//! A *sealed* repository has a second ring beside the first, for writers: the same, but for the secret halves of the pairs
//! that chunks are sealed to ([`seals`]). A write-only key's slot wraps the key of that ring.
//!
//! What always holds: the MEK never leaves memory but wrapped in a slot; a slot says which MEK it wraps, so
//! that a half-done `rotate` leaves two rings that both open. Re-keying writes a new ring and new slots and
//! touches no pack. The *domain secret* names chunks and places cuts: it must stay the same for as long as
//! chunks are to be found again, so rotation keeps it.
//!
//! A crash while rotating: new slots and the old ring are there (the old slots still open the old ring), or
//! both rings are (the higher number counts). Old slots are deleted last.

mod ring;
mod seals;
mod slot;

use std::collections::VecDeque;

use crate::crypto::Secret32;
use crate::error::{BackupError, Result};
use crate::id::{RepoId, unhex};
use crate::store::{ObjectKey, ObjectStore, StoreError};

pub use ring::Keyring;
pub use seals::Seal;
pub use slot::{KdfCost, Slot};

/// Slots and rings are small; more than this is an attack.
const SMALL_OBJECT: u64 = 1 << 20;
/// Slots read before giving up, half of them the newest, half the oldest. Who may only add must not shut others out with a few
/// dozen that open for nobody; that each of these may cost a second of Argon2 is slow, and ends.
const MAX_SLOTS: usize = 4096;
/// Ends the name of a ring for writers.
const WRITERS: &str = "-writers";

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

fn writers_ring_key(number: u64) -> ObjectKey {
    ObjectKey::new(format!("keyring/{number:016x}{WRITERS}"))
}

/// Of a ring, or of the writers' beside it.
fn ring_number(key: &ObjectKey) -> Option<u64> {
    let name = key.as_str().strip_prefix("keyring/")?;
    unhex::<8>(name.strip_suffix(WRITERS).unwrap_or(name)).map(u64::from_be_bytes)
}

/// Whether there is but one ring of the repository's own: no rotation was cut short.
fn has_one_ring(store: &dyn ObjectStore) -> Result<bool> {
    let listed = store.list("keyring/")?;
    Ok(listed.iter().filter(|info| !info.key.as_str().ends_with(WRITERS)).count() == 1)
}

/// Writes the first slot and the first ring of a new repository. What an `init` that was cut short left is another
/// repository's, so that nothing of it opens; only its ring's number is taken.
pub fn create(store: &dyn ObjectStore, ring: &Keyring, credential: &Credential, cost: KdfCost) -> Result<()> {
    let mek = Secret32::random();
    let listed = store.list("keyring/")?;
    let last = listed.iter().filter_map(|info| ring_number(&info.key)).max().unwrap_or(0);
    add_slot(store, &ring.repo(), &mek, credential, cost)?;
    write_ring(store, last.saturating_add(1), (ring, &mek))
}

/// A ring and, in a sealed repository, the writers' after it: who holds the repository's own key can make up for one that
/// is missing.
fn write_ring(store: &dyn ObjectStore, number: u64, (ring, mek): (&Keyring, &Secret32)) -> Result<()> {
    store.create(&ring_key(number), &[ring.seal(mek).into()])?;
    ensure_writers_ring(store, number, ring)
}

fn ensure_writers_ring(store: &dyn ObjectStore, number: u64, ring: &Keyring) -> Result<()> {
    let Some(owner) = ring.owner() else { return Ok(()) };
    match store.create(&writers_ring_key(number), &[ring.for_writers().seal(&owner.writers).into()]) {
        Ok(()) | Err(StoreError::AlreadyExists { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Adds a slot whose key adds backups, and neither reads what they hold nor forgets any.
pub fn add_writer(
    store: &dyn ObjectStore,
    keys: &Keys,
    credential: &Credential,
    cost: KdfCost,
) -> Result<ObjectKey> {
    if !keys.ring.is_sealed() {
        let text = "this repository is not sealed: whoever writes to it can read it; make one with `init --sealed`, and \
                    `copy` what is there";
        return Err(BackupError::Invalid(text.to_owned()));
    }
    keys.ring.need_own("making a key")?;
    let owner = keys.ring.owner().expect("it is sealed, and the key is its own");
    ensure_writers_ring(store, keys.ring_number, &keys.ring)?;
    let slot = Slot::create(&keys.ring.repo(), &owner.writers, credential, cost)?.write_only();
    put_slot(store, &slot)
}

/// Adds a slot that opens with `credential`.
pub fn add_slot(
    store: &dyn ObjectStore,
    repo: &RepoId,
    mek: &Secret32,
    credential: &Credential,
    cost: KdfCost,
) -> Result<ObjectKey> {
    put_slot(store, &Slot::create(repo, mek, credential, cost)?)
}

fn put_slot(store: &dyn ObjectStore, slot: &Slot) -> Result<ObjectKey> {
    let key = ObjectKey::new(format!("keys/{}", crate::crypto::random_hex()));
    store.create(&key, &[slot.encode().into()])?;
    Ok(key)
}

/// The keys that `credential` opens.
pub fn open(store: &dyn ObjectStore, repo: &RepoId, credential: &Credential) -> Result<Keys> {
    let mut found: Option<Keys> = None;
    let mut fits = false;
    for (key, slot) in from_both_ends(slots(store)?) {
        let Some(mek) = slot.open(repo, credential)? else { continue };
        fits = true;
        for (number, ring) in rings(store, repo, &mek)? {
            if found.as_ref().is_none_or(|best| best.ring_number < number) {
                found = Some(Keys { mek: mek.clone(), ring, ring_number: number, slot: key.clone() });
            }
        }
        // One Argon2 a start is enough, unless a rotation was cut short and there are more rings.
        if found.is_some() && has_one_ring(store)? {
            break;
        }
    }
    // Nobody is to look for another key at night when it is the ring that is lost.
    let lost = "the key is right, and no ring of keys opens with it: `key rotate` was cut short, and the key before still \
                opens; or what was under keyring/ is lost, so bring it back from a copy";
    found.ok_or_else(|| if fits { BackupError::damaged("keyring", lost) } else { BackupError::WrongKey })
}

/// The first and the last in turn: what somebody has put in between, or at one end, comes last.
fn from_both_ends<T>(items: Vec<T>) -> impl Iterator<Item = T> {
    let (mut items, mut from_front) = (VecDeque::from(items), false);
    std::iter::from_fn(move || {
        from_front = !from_front;
        if from_front { items.pop_front() } else { items.pop_back() }
    })
}

/// All slots, newest first. A slot that cannot be read is skipped and logged: another may still open.
pub fn slots(store: &dyn ObjectStore) -> Result<Vec<(ObjectKey, Slot)>> {
    let mut listed = store.list("keys/")?;
    listed.sort_by_key(|info| std::cmp::Reverse(info.modified));
    if listed.len() > MAX_SLOTS {
        tracing::warn!(
            slots = listed.len(),
            "there are more key slots than anybody made; those between are not tried"
        );
        listed.drain(MAX_SLOTS / 2..listed.len() - MAX_SLOTS / 2);
    }
    let mut slots = Vec::new();
    for info in listed {
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
    keys.ring.need_own("starting new keys")?;
    let (old_slots, old_rings) = (store.list("keys/")?, store.list("keyring/")?);
    let mek = Secret32::random();
    let mut ring = keys.ring.clone();
    ring.renew();
    add_slot(store, &ring.repo(), &mek, credential, cost)?;
    write_ring(store, keys.ring_number + 1, (&ring, &mek))?;
    for info in old_slots.iter().chain(&old_rings) {
        store.delete(&info.key)?;
    }
    Ok(old_slots.len().saturating_sub(1))
}

/// Writes the ring anew with what `ring` says besides keys, and makes the old one go.
pub fn replace_ring(store: &dyn ObjectStore, keys: &Keys, ring: &Keyring) -> Result<()> {
    ring.need_own("changing what the ring says")?;
    write_ring(store, keys.ring_number + 1, (ring, &keys.mek))?;
    store.delete(&ring_key(keys.ring_number))?;
    if ring.is_sealed() {
        store.delete(&writers_ring_key(keys.ring_number))?;
    }
    Ok(())
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
    fn nobody_is_shut_out_by_slots_that_somebody_adds() {
        let store = MemoryStore::new();
        let ring = Keyring::create(Chunking::default());
        let repo = ring.repo();
        let junk = || {
            for _ in 0..80 {
                let other = Credential::KeyFile(Secret32::random());
                add_slot(&store, &repo, &Secret32::random(), &other, KdfCost::CHEAP).unwrap();
            }
        };
        store.set_clock(1000);
        create(&store, &ring, &pass("one"), KdfCost::CHEAP).unwrap();
        store.set_clock(2000);
        junk();
        let keys = open(&store, &repo, &pass("one")).unwrap();
        // Also one that is neither the first nor the last.
        store.set_clock(3000);
        add_slot(&store, &repo, &keys.mek, &pass("two"), KdfCost::CHEAP).unwrap();
        store.set_clock(4000);
        junk();
        assert_eq!(open(&store, &repo, &pass("two")).unwrap().mek, keys.mek);
        assert!(matches!(open(&store, &repo, &pass("three")), Err(BackupError::WrongKey)));
    }

    #[test]
    fn a_rotation_cut_short_anywhere_leaves_the_repository_open() {
        for (die_at, ring) in (0..8)
            .map(|at| (at, Keyring::create(Chunking::default())))
            .chain((0..12).map(|at| (at, Keyring::create(Chunking::default()).sealed())))
        {
            let memory = MemoryStore::new();
            let repo = ring.repo();
            create(&memory, &ring, &pass("old"), KdfCost::CHEAP).unwrap();
            let keys = open(&memory, &repo, &pass("old")).unwrap();
            let (header, _) = crate::format::Sealer::create(
                crate::format::ObjectKind::Pack,
                crate::format::Secrecy::Sealed,
                &keys.ring,
            );
            let faulty = FaultyStore::new(memory.fork(), Some((Fault::DieBefore, die_at)));
            let finished = rotate(&faulty, &keys, &pass("old"), KdfCost::CHEAP).is_ok();
            let survived = faulty.into_inner();
            let again = open(&survived, &repo, &pass("old")).unwrap();
            // What was written before the rotation still opens.
            crate::format::FrameOpener::new(&header, crate::format::ObjectKind::Pack, &again.ring, "p")
                .unwrap();
            if ring.is_sealed() {
                // Whatever became of the writers' ring, a writer can be made.
                let writer = Credential::KeyFile(Secret32::random());
                add_writer(&survived, &again, &writer, KdfCost::CHEAP).unwrap();
                assert!(open(&survived, &repo, &writer).unwrap().ring.is_write_only());
            }
            if finished {
                assert_ne!(again.mek, keys.mek);
                assert_ne!(again.ring.current_kek(), keys.ring.current_kek());
            }
        }
    }
}
