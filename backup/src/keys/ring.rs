//! The ring: all KEKs, the domain secret and how this domain cuts chunks, sealed under the MEK.
//!
//! Chunking parameters and how long objects are locked lie here and not in the plain `config` object, so that nobody without a key can make
//! writers cut differently and lose deduplication, or lock for years.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::seals::{OwnerKeys, Seal, StoredOwner, StoredSeal};
use crate::chunk::Chunking;
use crate::crypto::{Secret32, WrapKey, random};
use crate::error::{BackupError, Result};
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
    /// Of a sealed repository; the last one seals new packs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    seals: Vec<StoredSeal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<StoredOwner>,
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
    seals: Arc<Vec<Seal>>,
    owner: Option<OwnerKeys>,
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
        Self { repo, keks, wraps, domain, ids, chunking, retention: None, seals: Arc::default(), owner: None }
    }

    /// The same for a repository whose chunks are sealed: a key can be made for it that only adds backups.
    #[must_use]
    pub fn sealed(self) -> Self {
        Self { seals: Arc::new(vec![Seal::create()]), owner: Some(OwnerKeys::create()), ..self }
    }

    /// Keys of a repository that this one's packs can be moved to: its own, but for the secret of the domain.
    pub fn for_mirror(&self) -> Result<Self> {
        self.need_own("making a mirror")?;
        let kek = (KekId(random()), Secret32::random());
        let ring = Self::from_parts(RepoId(random()), vec![kek], self.domain.clone(), self.chunking);
        Ok(if self.is_sealed() { ring.sealed() } else { ring })
    }

    /// Whether chunks have the same ids in both repositories.
    #[must_use]
    pub fn has_domain_of(&self, other: &Self) -> bool {
        self.domain == other.domain
    }

    /// What writers get of it.
    #[must_use]
    pub(crate) fn for_writers(&self) -> Self {
        let seals = self.seals.iter().map(Seal::public_half).collect();
        Self { seals: Arc::new(seals), owner: None, ..self.clone() }
    }

    /// Whether chunks are sealed.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        !self.seals.is_empty()
    }

    /// Whether this ring adds backups and opens none.
    #[must_use]
    pub fn is_write_only(&self) -> bool {
        self.is_sealed() && self.owner.is_none()
    }

    /// Refuses where this is a writers' ring; `what` needs more.
    pub fn need_own(&self, what: &str) -> Result<()> {
        if self.is_write_only() { Err(BackupError::WriteOnly { what: what.to_owned() }) } else { Ok(()) }
    }

    /// Of a sealed repository, to whom has its own key.
    #[must_use]
    pub(super) const fn owner(&self) -> Option<&OwnerKeys> {
        self.owner.as_ref()
    }

    /// What authenticates plans and verdicts, where writers could make false ones.
    #[must_use]
    pub fn collector_secret(&self) -> Option<&Secret32> {
        self.owner.as_ref().map(|owner| &owner.collector)
    }

    /// What new packs of chunks are sealed to.
    #[must_use]
    pub fn seal_for_new(&self) -> Option<&Seal> {
        self.seals.last()
    }

    #[must_use]
    pub fn find_seal(&self, id: KekId) -> Option<&Seal> {
        self.seals.iter().find(|seal| seal.id == id)
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
            seals: self.seals.iter().map(Seal::store).collect(),
            owner: self.owner.as_ref().map(OwnerKeys::store),
        };
        let plain = serde_json::to_vec(&stored).expect("a ring is plain data");
        WrapKey::new(&mek.derive("xenith-backup format 1 keyring")).seal(Self::aad(), &plain)
    }

    /// `None` when the ring is another MEK's, another repository's, or damaged.
    pub(super) fn open(repo: &RepoId, mek: &Secret32, sealed: &[u8]) -> Option<Self> {
        let plain =
            WrapKey::new(&mek.derive("xenith-backup format 1 keyring")).open(Self::aad(), sealed).ok()?;
        Self::parse(repo, &plain)
    }

    /// A ring as it is sealed; who has one key of a repository can make it say anything.
    #[must_use]
    pub fn parse(repo: &RepoId, plain: &[u8]) -> Option<Self> {
        let stored: StoredRing = serde_json::from_slice(plain).ok()?;
        if stored.format != 1 || stored.repo != *repo || stored.keks.is_empty() {
            return None;
        }
        let keks: Option<Vec<_>> =
            stored.keks.iter().map(|kek| Some((kek.id, Secret32::new(unhex(&kek.key)?)))).collect();
        let domain = Secret32::new(unhex(&stored.domain)?);
        let seals: Option<Vec<_>> = stored.seals.iter().map(Seal::parse).collect();
        let owner = match &stored.owner {
            None => None,
            Some(stored) => Some(OwnerKeys::parse(stored)?),
        };
        let ring = Self::from_parts(stored.repo, keks?, domain, stored.chunking);
        Some(Self { seals: Arc::new(seals?), owner, ..ring.with_retention(stored.retention) })
    }

    /// A new KEK, and where chunks are sealed a new pair and a new key of the writers; the old ones stay for what is there.
    pub(super) fn renew(&mut self) {
        self.keks.push((KekId(random()), Secret32::random()));
        let ring = Self::from_parts(self.repo, self.keks.clone(), self.domain.clone(), self.chunking);
        let mut seals = Vec::clone(&self.seals);
        if self.is_sealed() {
            seals.push(Seal::create());
        }
        // Plans that are published have to stay authentic.
        let renewed = |owner: &OwnerKeys| OwnerKeys { writers: Secret32::random(), ..owner.clone() };
        let owner = self.owner.as_ref().map(renewed);
        *self = Self { seals: Arc::new(seals), owner, ..ring.with_retention(self.retention) };
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
}
