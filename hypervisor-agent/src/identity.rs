//! Who this host is: its id, key and certificate, and the authority that it trusts.
//!
//! One file, replaced by a rename: a crash leaves the old identity or the new one. A renewal keeps the old key
//! in use until the certificate for the new one is on disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use xenith_common_ids::HostId;
use xenith_common_pki::{KeyAndRequest, LiveIdentity, Peer, PeerCertificate, PkiError};

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("cannot {action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is damaged: {detail}; remove the folder and let the host join anew")]
    Damaged { path: PathBuf, detail: String },
    #[error("the certificate is not for this host ({host})")]
    NotOurs { host: HostId },
    #[error("there is no certificate request to answer; ask for one first")]
    NoRequest,
    #[error(transparent)]
    Pki(#[from] PkiError),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    host: HostId,
    authority_pem: String,
    key_pem: String,
    certificate_pem: String,
}

/// The identity of an enrolled host.
pub struct Identity {
    path: PathBuf,
    stored: Mutex<Stored>,
    /// The key whose request is with the orchestrator.
    renewing: Mutex<Option<KeyAndRequest>>,
    pub live: Arc<LiveIdentity>,
}

impl Identity {
    /// The file, below the agent's state folder.
    pub const FILE: &'static str = "identity.json";

    /// `None`: this host has not joined.
    pub fn load(state: &Path) -> Result<Option<Self>, IdentityError> {
        let path = state.join(Self::FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(IdentityError::Io { action: "read", path, source }),
        };
        let stored: Stored = serde_json::from_slice(&bytes)
            .map_err(|error| IdentityError::Damaged { path: path.clone(), detail: error.to_string() })?;
        let live = LiveIdentity::new(&stored.key_pem, &stored.certificate_pem)?;
        Ok(Some(Self { path, stored: Mutex::new(stored), renewing: Mutex::new(None), live }))
    }

    /// Keeps what the orchestrator answered to a join.
    pub fn enrol(
        state: &Path,
        host: HostId,
        key: &KeyAndRequest,
        certificate_pem: String,
        authority_pem: String,
    ) -> Result<Self, IdentityError> {
        fs::create_dir_all(state).map_err(|source| IdentityError::Io {
            action: "create",
            path: state.to_owned(),
            source,
        })?;
        let stored = Stored { host, authority_pem, key_pem: key.key_pem.clone(), certificate_pem };
        let live = LiveIdentity::new(&stored.key_pem, &stored.certificate_pem)?;
        let path = state.join(Self::FILE);
        write(&path, &stored)?;
        Ok(Self { path, stored: Mutex::new(stored), renewing: Mutex::new(None), live })
    }

    fn stored(&self) -> std::sync::MutexGuard<'_, Stored> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[must_use]
    pub fn host(&self) -> HostId {
        self.stored().host
    }

    pub fn authority(&self) -> Result<CertificateDer<'static>, IdentityError> {
        CertificateDer::from_pem_slice(self.stored().authority_pem.as_bytes())
            .map_err(|error| IdentityError::Damaged { path: self.path.clone(), detail: error.to_string() })
    }

    /// A new key, and the request for it (PEM). Asking again replaces the one before.
    pub fn begin_renewal(&self) -> Result<String, IdentityError> {
        let key = KeyAndRequest::generate()?;
        let request = key.request_pem.clone();
        *self.renewing.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
        Ok(request)
    }

    /// Keeps and shows the certificate for the request of [`Self::begin_renewal`].
    pub fn finish_renewal(&self, certificate_pem: String) -> Result<(), IdentityError> {
        let mut renewing = self.renewing.lock().unwrap_or_else(PoisonError::into_inner);
        let key = renewing.as_ref().ok_or(IdentityError::NoRequest)?;
        // Refuses a certificate for another key, or for somebody else, before anything is written: a host that
        // took one would never be reached again.
        let certificate = LiveIdentity::new(&key.key_pem, &certificate_pem)?.certificate();
        let mut stored = self.stored();
        let peer = certificate.map(|leaf| PeerCertificate::read(&leaf)).transpose()?.map(|read| read.peer);
        if peer != Some(Peer::Host(stored.host)) {
            return Err(IdentityError::NotOurs { host: stored.host });
        }
        let renewed = Stored {
            host: stored.host,
            authority_pem: stored.authority_pem.clone(),
            key_pem: key.key_pem.clone(),
            certificate_pem,
        };
        write(&self.path, &renewed)?;
        self.live.replace(&renewed.key_pem, &renewed.certificate_pem)?;
        *stored = renewed;
        *renewing = None;
        Ok(())
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("host", &self.host()).finish_non_exhaustive()
    }
}

fn write(path: &Path, stored: &Stored) -> Result<(), IdentityError> {
    let io_error = |source| IdentityError::Io { action: "write", path: path.to_owned(), source };
    let bytes = serde_json::to_vec_pretty(stored).map_err(|error| io_error(io::Error::other(error)))?;
    xenith_common_files::replace(path, &bytes).map_err(io_error)
}
