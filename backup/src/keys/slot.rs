//! Key slots: small JSON objects, each wrapping the MEK for one passphrase or key file.

use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};

use super::Credential;
use crate::crypto::{Secret32, WRAPPED_LEN, WrapKey, random};
use crate::error::{BackupError, Result};
use crate::id::{RepoId, hex, unhex};

/// What one try of a passphrase costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KdfCost {
    memory_kib: u32,
    passes: u32,
}

impl KdfCost {
    /// 64 MiB and three passes, the second recommendation of RFC 9106 for less memory: a tenth of a second.
    pub const DEFAULT: Self = Self { memory_kib: 64 * 1024, passes: 3 };
    /// For tests only.
    pub const CHEAP: Self = Self { memory_kib: 8, passes: 1 };
    /// A hostile slot may not cost more than this.
    const MAX: Self = Self { memory_kib: 128 * 1024, passes: 16 };
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "kind")]
enum Kdf {
    Argon2id { cost: KdfCost, salt: String },
    KeyFile,
}

/// One way into a repository.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    format: u32,
    kdf: Kdf,
    wrapped_mek: String,
    /// For people who read listings: what it opens is decided by the key that it wraps.
    #[serde(default, skip_serializing_if = "is_false")]
    write_only: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

fn aad(repo: &RepoId) -> Vec<u8> {
    [b"xenith-backup slot 1 ".as_slice(), &repo.0].concat()
}

fn slot_key(kdf: &Kdf, credential: &Credential) -> Result<Option<WrapKey>> {
    let key = match (kdf, credential) {
        (Kdf::Argon2id { cost, salt }, Credential::Passphrase(text)) => {
            let unfit = || BackupError::damaged("a key slot", "its Argon2 parameters are out of bounds");
            let too_dear = cost.memory_kib > KdfCost::MAX.memory_kib || cost.passes > KdfCost::MAX.passes;
            let salt: [u8; 16] = unhex(salt).filter(|_| !too_dear).ok_or_else(unfit)?;
            let params = Params::new(cost.memory_kib, cost.passes, 1, Some(32)).map_err(|_| unfit())?;
            let mut key = [0; 32];
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                .hash_password_into(text.as_bytes(), &salt, &mut key)
                .map_err(|_| unfit())?;
            Secret32::new(key)
        }
        (Kdf::KeyFile, Credential::KeyFile(secret)) => secret.derive("xenith-backup format 1 key file slot"),
        _ => return Ok(None),
    };
    Ok(Some(WrapKey::new(&key)))
}

impl Slot {
    pub(super) fn create(
        repo: &RepoId,
        mek: &Secret32,
        credential: &Credential,
        cost: KdfCost,
    ) -> Result<Self> {
        let kdf = match credential {
            Credential::Passphrase(_) => Kdf::Argon2id { cost, salt: hex(&random::<16>()) },
            Credential::KeyFile(_) => Kdf::KeyFile,
        };
        let key = slot_key(&kdf, credential)?.expect("the slot was made for this credential");
        let wrapped_mek = hex(&key.wrap(&aad(repo), mek));
        Ok(Self { format: 1, kdf, wrapped_mek, write_only: false })
    }

    /// The same, told apart in listings.
    pub(super) fn write_only(self) -> Self {
        Self { write_only: true, ..self }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("a slot is plain data")
    }

    /// Reads a slot; the error says what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let slot: Self = serde_json::from_slice(bytes).map_err(|_| "it is not the JSON of a slot")?;
        if slot.format != 1 {
            return Err("its format is newer than this program");
        }
        Ok(slot)
    }

    /// The MEK, or `None` when `credential` is not this slot's.
    pub(super) fn open(&self, repo: &RepoId, credential: &Credential) -> Result<Option<Secret32>> {
        let Some(wrapped) = unhex::<WRAPPED_LEN>(&self.wrapped_mek) else { return Ok(None) };
        match slot_key(&self.kdf, credential) {
            Ok(Some(key)) => Ok(key.unwrap(&aad(repo), &wrapped).ok()),
            Ok(None) => Ok(None),
            Err(error) => {
                tracing::warn!(%error, "a key slot was skipped");
                Ok(None)
            }
        }
    }

    /// Whether it says that it only adds backups.
    #[must_use]
    pub const fn is_write_only(&self) -> bool {
        self.write_only
    }

    /// `passphrase` or `key file`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self.kdf {
            Kdf::Argon2id { .. } => "passphrase",
            Kdf::KeyFile => "key file",
        }
    }
}
