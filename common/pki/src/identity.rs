//! Our own key and certificate, replaceable while connections are open.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rcgen::{CertificateParams, KeyPair};
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::PkiError;

/// A new private key and the request to certify it.
#[derive(Clone)]
pub struct KeyAndRequest {
    pub key_pem: String,
    pub request_pem: String,
}

impl KeyAndRequest {
    pub fn generate() -> Result<Self, PkiError> {
        let make = |source| PkiError::Make { what: "a key", source };
        let key = KeyPair::generate().map_err(make)?;
        let request = CertificateParams::default().serialize_request(&key).map_err(make)?;
        Ok(Self { key_pem: key.serialize_pem(), request_pem: request.pem().map_err(make)? })
    }
}

impl fmt::Debug for KeyAndRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyAndRequest(secret)")
    }
}

/// The certificate that this process shows. [`Self::replace`] takes effect with the next connection.
pub struct LiveIdentity(ArcSwapOption<CertifiedKey>);

impl LiveIdentity {
    /// `chain_pem` holds the leaf first.
    pub fn new(key_pem: &str, chain_pem: &str) -> Result<Arc<Self>, PkiError> {
        let identity = Self(ArcSwapOption::empty());
        identity.replace(key_pem, chain_pem)?;
        Ok(Arc::new(identity))
    }

    /// Checks that key and certificate belong together, then shows them.
    pub fn replace(&self, key_pem: &str, chain_pem: &str) -> Result<(), PkiError> {
        let pem = |what| {
            move |error: rustls::pki_types::pem::Error| PkiError::Pem { what, detail: error.to_string() }
        };
        let chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(pem("the certificate chain"))?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(pem("the private key"))?;
        let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())?;
        self.0.store(Some(Arc::new(certified)));
        Ok(())
    }

    /// The leaf that is shown now.
    #[must_use]
    pub fn certificate(&self) -> Option<CertificateDer<'static>> {
        self.0.load().as_ref().and_then(|certified| certified.cert.first().cloned())
    }
}

impl fmt::Debug for LiveIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LiveIdentity")
    }
}

impl ResolvesServerCert for LiveIdentity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

impl ResolvesClientCert for LiveIdentity {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }

    fn has_certs(&self) -> bool {
        self.0.load().is_some()
    }
}
