//! Trust on first use: a server is known by the SHA-256 of its certificate.
//!
//! ESXi and vCenter come with certificates that no public authority signed, so the chain says nothing. The
//! first connection is refused and shows the fingerprint; the user compares and gives it. An NFC lease may send
//! us to another host: then the thumbprint comes over the pinned session.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

use crate::convert::journal::{hex, unhex};
use crate::error::{ImportError, Result};

/// SHA-256, or SHA-1 where a lease gives nothing better, of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(Vec<u8>);

impl FromStr for Fingerprint {
    type Err = ImportError;

    /// Hexadecimal, with or without colons.
    fn from_str(text: &str) -> Result<Self> {
        let digits: String = text.chars().filter(|c| *c != ':').collect();
        match unhex(&digits) {
            Some(bytes) if matches!(bytes.len(), 20 | 32) => Ok(Self(bytes)),
            _ => Err(ImportError::Usage(format!("{text:?} is not the SHA-256 of a certificate"))),
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self.0.iter().map(|byte| hex(&[*byte]).to_uppercase()).collect();
        write!(f, "{}", pairs.join(":"))
    }
}

/// What is trusted, shared with everything that talks to the same site.
#[derive(Debug)]
pub struct Pins {
    trusted: Mutex<Vec<Fingerprint>>,
    seen: Mutex<Option<Fingerprint>>,
    provider: Arc<CryptoProvider>,
}

impl Pins {
    #[must_use]
    pub fn new(trusted: Option<Fingerprint>) -> Arc<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Arc::new(Self {
            trusted: Mutex::new(trusted.into_iter().collect()),
            seen: Mutex::new(None),
            provider,
        })
    }

    pub fn trust(&self, fingerprint: Fingerprint) {
        self.trusted.lock().unwrap_or_else(PoisonError::into_inner).push(fingerprint);
    }

    /// The certificate that was refused last.
    #[must_use]
    pub fn refused(&self) -> Option<Fingerprint> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A TLS configuration that trusts these pins and nothing else.
    pub fn tls_config(self: &Arc<Self>) -> Result<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| ImportError::Usage(format!("TLS cannot be set up: {error}")))?;
        let verifier = Arc::new(Verifier(Arc::clone(self)));
        Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    }
}

#[derive(Debug)]
struct Verifier(Arc<Pins>);

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let sha256 = Fingerprint(digest(&SHA256, end_entity).as_ref().to_vec());
        let sha1 = Fingerprint(digest(&SHA1_FOR_LEGACY_USE_ONLY, end_entity).as_ref().to_vec());
        let trusted = self.0.trusted.lock().unwrap_or_else(PoisonError::into_inner);
        if trusted.iter().any(|pin| *pin == sha256 || *pin == sha1) {
            return Ok(ServerCertVerified::assertion());
        }
        *self.0.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(sha256);
        Err(rustls::Error::InvalidCertificate(rustls::CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.provider.signature_verification_algorithms.supported_schemes()
    }
}
