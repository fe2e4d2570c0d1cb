//! What cloud-init is told, on its way to the disk that a guest reads it from.

use std::collections::BTreeMap;

use xenith_orchestrator_saga::StepError;

use crate::secret::{SecretError, Vault};

/// Files by name, as they lie in a saga's log for a month: people write passwords and keys into them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum Seed {
    Sealed {
        sealed: Vec<u8>,
    },
    /// Of sagas that earlier programs began.
    Clear(BTreeMap<String, String>),
}

const SEED: &str = "files for cloud-init";

impl Seed {
    pub fn seal(files: &BTreeMap<String, String>, vault: &Vault) -> Result<Self, SecretError> {
        Ok(Self::Sealed { sealed: vault.seal(SEED, serde_json::json!(files).to_string().as_bytes())? })
    }

    pub(super) fn files(&self, vault: &Vault) -> Result<BTreeMap<String, String>, StepError> {
        let sealed = match self {
            Self::Clear(files) => return Ok(files.clone()),
            Self::Sealed { sealed } => sealed,
        };
        let plain = vault.unseal(SEED, sealed).map_err(|error| StepError::permanent(error.to_string()))?;
        serde_json::from_slice(&plain)
            .map_err(|_| StepError::permanent("the files for cloud-init cannot be read"))
    }
}
