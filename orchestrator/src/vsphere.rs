//! Talking to import sources: every call blocks, so it runs on a thread of its own, with the password unsealed for it.

use std::sync::Arc;

use xenith_orchestrator_saga::StepError;
use xenith_orchestrator_types::{ApiError, Reason};
use xenith_vmware_import::vsphere::{Credentials, Vim};
use xenith_vmware_import::{ImportError, Retry};

use crate::model::ImportSourceRecord;
use crate::secret::{SecretError, Vault};

/// What the password of a source is sealed for.
pub const PURPOSE: &str = "import source password";

/// A source with its password, for one use.
#[derive(Clone)]
pub struct Opened {
    pub address: String,
    pub credentials: Credentials,
    pub fingerprint: String,
    /// Which password it is, for who must not read it.
    pub sealed_password: Vec<u8>,
}

/// Unseals the password.
pub fn open(vault: &Vault, source: &ImportSourceRecord) -> Result<Opened, SecretError> {
    let password = vault.unseal(PURPOSE, &source.sealed_password)?;
    let password = String::from_utf8(password).map_err(|_| SecretError::WrongKey(PURPOSE))?;
    let credentials = Credentials { user: source.user.clone(), password };
    Ok(Opened {
        address: source.address.clone(),
        credentials,
        fingerprint: source.fingerprint.clone(),
        sealed_password: source.sealed_password.clone(),
    })
}

/// Signs in and does something there.
pub async fn with_source<T: Send + 'static>(
    source: Opened,
    work: impl FnOnce(&Arc<Vim>) -> Result<T, ImportError> + Send + 'static,
) -> Result<T, ImportError> {
    let call = move || {
        let vim = Vim::connect(&source.address, source.credentials, Some(source.fingerprint.parse()?))?;
        let vim = Arc::new(vim);
        let result = work(&vim);
        // A session that is left open ends by itself there, after half an hour.
        let _left_open = vim.logout();
        result
    };
    let joined = tokio::task::spawn_blocking(call).await;
    joined.unwrap_or_else(|error| Err(ImportError::Usage(format!("the call ended unexpectedly: {error}"))))
}

pub fn api_error(error: &ImportError) -> ApiError {
    let reason = match error {
        ImportError::Server { retry: Retry::Later | Retry::Mended, .. } => Reason::HostUnreachable,
        ImportError::Server { .. } => Reason::HostFailed,
        ImportError::Missing { .. } => Reason::NotFound,
        ImportError::Usage(_) => Reason::Invalid,
        _ => Reason::HostFailed,
    };
    ApiError::new(reason, error)
}

/// As [`api_error`], to who gives the password and the certificate: nothing is to be waited for.
pub fn connect_error(error: &ImportError) -> ApiError {
    match error {
        ImportError::Server { retry: Retry::Mended, .. } => ApiError::new(Reason::HostFailed, error),
        error => api_error(error),
    }
}

/// Why a source is not asked now.
pub fn refused_before(source: &ImportSourceRecord) -> String {
    format!(
        "{} refused the password a while ago; tell it anew with `xenith import connect {}`, or wait",
        source.address, source.name
    )
}

/// Whether this is what [`ImportError`] says of a sign-in that was refused; a host tells it in the same words.
pub fn is_refused_login(message: &str) -> bool {
    message.contains("answered Login with: InvalidLogin")
}

/// A password that ran out or a certificate that was renewed is waited for: `import.connect` takes the new one.
pub fn step_error(error: &ImportError) -> StepError {
    match error {
        ImportError::Server { retry: Retry::Later | Retry::Mended, .. } => {
            StepError::retryable(error.to_string())
        }
        _ => StepError::permanent(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_sign_in_is_told_from_other_refusals() {
        let error = |call, detail: &str| {
            let (server, detail) = ("https://vc".to_owned(), detail.to_owned());
            ImportError::Server { server, call, detail, retry: Retry::Mended }.to_string()
        };
        assert!(is_refused_login(&error("Login", "InvalidLogin: Cannot complete login")));
        assert!(!is_refused_login(&error("Login", "its certificate is not the one you trust")));
        assert!(!is_refused_login(&error("CreateSnapshot_Task", "InvalidLogin: x")));
    }
}
