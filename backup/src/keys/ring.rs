//! The ring: all KEKs, the domain secret and how this domain cuts chunks, sealed under the MEK.
//!
//! Chunking parameters and how long objects are locked lie here and not in the plain `config` object, so that nobody without a key can make
//! writers cut differently and lose deduplication, or lock for years.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::chunk::Chunking;
use crate::crypto::{Secret32, WrapKey, random};
use crate::id::{IdKeys, KekId, RepoId, hex, unhex};
use crate::store::Retention;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKek {
    id: KekId,
    key: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRing {
    format: u32,
    repo: RepoId,
    /// Oldest first; the last one wraps new objects.
    keks: Vec<StoredKek>,
    domain: String,
    chunking: Chunking,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retention: Option<Retention>,
}

/// The opened ring. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Keyring {
    repo: RepoId,
    keks: Vec<(KekId, Secret32)>,
    wraps: Arc<HashMap<KekId, WrapKey>>,
    domain: Secret32,
    ids: IdKeys,
    chunking: Chunking,
    retention: Option<Retention>,
}

impl Keyring {
    /// Keys for a new repository.
    #[must_use]
    pub fn create(chunking: Chunking) -> Self {
        let kek = (KekId(random()), Secret32::random());
        Self::from_parts(RepoId(random()), vec![kek], Secret32::random(), chunking)
    }

    #[cfg(test)]
    pub fn for_tests() -> Self {
        Self::create(Chunking::default())
    }

    fn from_parts(repo: RepoId, keks: Vec<(KekId, Secret32)>, domain: Secret32, chunking: Chunking) -> Self {
        let wraps = Arc::new(keks.iter().map(|(id, key)| (*id, WrapKey::new(key))).collect());
        let ids = IdKeys::new(&domain);
        Self { repo, keks, wraps, domain, ids, chunking, retention: None }
    }

    /// The same for a repository that locks what it stores.
    #[must_use]
    pub fn with_retention(self, retention: Option<Retention>) -> Self {
        Self { retention, ..self }
    }

    /// How long objects are locked, where they are.
    #[must_use]
    pub const fn retention(&self) -> Option<Retention> {
        self.retention
    }

    fn aad() -> &'static [u8] {
        b"xenith-backup keyring 1"
    }

    pub(super) fn seal(&self, mek: &Secret32) -> Vec<u8> {
        let keks = self.keks.iter().map(|(id, key)| StoredKek { id: *id, key: hex(key.expose()) }).collect();
        let stored = StoredRing {
            format: 1,
            repo: self.repo,
            keks,
            domain: hex(self.domain.expose()),
            chunking: self.chunking,
            retention: self.retention,
        };
        let plain = serde_json::to_vec(&stored).expect("a ring is plain data");
        WrapKey::new(&mek.derive("xenith-backup format 1 keyring")).seal(Self::aad(), &plain)
    }

    /// `None` when the ring is another MEK's, another repository's, or damaged.
    pub(super) fn open(repo: &RepoId, mek: &Secret32, sealed: &[u8]) -> Option<Self> {
        let plain =
            WrapKey::new(&mek.derive("xenith-backup format 1 keyring")).open(Self::aad(), sealed).ok()?;
        let stored: StoredRing = serde_json::from_slice(&plain).ok()?;
        if stored.format != 1 || stored.repo != *repo || stored.keks.is_empty() {
            return None;
        }
        let keks: Option<Vec<_>> =
            stored.keks.iter().map(|kek| Some((kek.id, Secret32::new(unhex(&kek.key)?)))).collect();
        let domain = Secret32::new(unhex(&stored.domain)?);
        let ring = Self::from_parts(stored.repo, keks?, domain, stored.chunking);
        Some(ring.with_retention(stored.retention))
    }

    pub(super) fn add_kek(&mut self) {
        self.keks.push((KekId(random()), Secret32::random()));
        let ring = Self::from_parts(self.repo, self.keks.clone(), self.domain.clone(), self.chunking);
        *self = ring.with_retention(self.retention);
    }

    #[must_use]
    pub const fn repo(&self) -> RepoId {
        self.repo
    }

    /// The KEK that wraps new objects' keys.
    #[must_use]
    pub fn current_kek(&self) -> KekId {
        self.keks.last().expect("a ring has a KEK").0
    }

    #[must_use]
    pub fn wrap_key(&self, id: KekId) -> Option<&WrapKey> {
        self.wraps.get(&id)
    }

    #[must_use]
    pub const fn ids(&self) -> &IdKeys {
        &self.ids
    }

    #[must_use]
    pub const fn chunking(&self) -> Chunking {
        self.chunking
    }

    /// The secret that places cuts.
    #[must_use]
    pub fn cut_secret(&self) -> Secret32 {
        self.domain.derive("xenith-backup format 1 cut")
    }

    /// The key of checksums in this machine's cache.
    #[must_use]
    pub fn cache_secret(&self) -> Secret32 {
        self.domain.derive("xenith-backup format 1 local cache")
    }

    /// A ring for another repository that names chunks as this one does, so that copies move packs as they
    /// are found missing.
    #[must_use]
    pub fn for_copies(&self) -> Self {
        let kek = (KekId(random()), Secret32::random());
        Self::from_parts(RepoId(random()), vec![kek], self.domain.clone(), self.chunking)
    }
}
