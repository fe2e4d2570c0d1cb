//! What a ring of a sealed repository has besides: the pairs that chunks are sealed to, and what only the repository's own
//! key knows.
//!
//! What always holds: a writers' ring is a ring without the secret halves and without [`OwnerKeys`]. Whoever has it names
//! chunks, reads maps, manifests and the index, and stores; it opens no chunk and makes no plan that is carried out.

use serde::{Deserialize, Serialize};

use crate::crypto::{SealPublic, SealSecret, Secret32, random};
use crate::id::{KekId, hex, unhex};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredSeal {
    id: KekId,
    public: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredOwner {
    writers: String,
    collector: String,
}

/// A pair, or its public half.
#[derive(Debug, Clone)]
pub struct Seal {
    pub id: KekId,
    pub public: SealPublic,
    pub secret: Option<SealSecret>,
}

impl Seal {
    pub(super) fn create() -> Self {
        let secret = SealSecret::random();
        Self { id: KekId(random()), public: secret.public(), secret: Some(secret) }
    }

    pub(super) fn public_half(&self) -> Self {
        Self { secret: None, ..self.clone() }
    }

    pub(super) fn store(&self) -> StoredSeal {
        StoredSeal {
            id: self.id,
            public: hex(self.public.bytes()),
            secret: self.secret.as_ref().map(|secret| hex(secret.expose())),
        }
    }

    pub(super) fn parse(stored: &StoredSeal) -> Option<Self> {
        let public = SealPublic::parse(unhex(&stored.public)?)?;
        let secret = match &stored.secret {
            None => None,
            Some(text) => Some(SealSecret::new(Secret32::new(unhex(text)?))),
        };
        let fits = secret.as_ref().is_none_or(|secret| secret.public() == public);
        fits.then_some(Self { id: stored.id, public, secret })
    }
}

/// What the repository's own key knows and a writer's does not.
#[derive(Debug, Clone)]
pub struct OwnerKeys {
    /// Opens the writers' ring; a slot of a write-only key wraps it.
    pub(super) writers: Secret32,
    /// Authenticates plans and verdicts.
    pub(super) collector: Secret32,
}

impl OwnerKeys {
    pub(super) fn create() -> Self {
        Self { writers: Secret32::random(), collector: Secret32::random() }
    }

    pub(super) fn store(&self) -> StoredOwner {
        StoredOwner { writers: hex(self.writers.expose()), collector: hex(self.collector.expose()) }
    }

    pub(super) fn parse(stored: &StoredOwner) -> Option<Self> {
        Some(Self {
            writers: Secret32::new(unhex(&stored.writers)?),
            collector: Secret32::new(unhex(&stored.collector)?),
        })
    }
}
