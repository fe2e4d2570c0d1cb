//! What certificate an orchestrator shows, for a person to compare before anything is sent.
//!
//! The one place that completes a handshake with anybody. The connection is closed right after; it never carries
//! a byte of ours.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use xenith_common_pki::Fingerprint;

use crate::connection::open_tls;
use crate::{ClientError, Endpoint, Trust};

/// What a server shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    /// The fingerprint to compare and pin: of the authority when the chain holds one that signs itself (then the
    /// server's own certificate can be renewed), else of the server's certificate.
    pub fingerprint: Fingerprint,
    pub kind: Pin,
    /// The names and addresses that the server's certificate is for.
    pub names: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    Authority,
    Certificate,
}

/// Asks a server for its certificates. `None` when the system trusts it: then nobody needs to compare anything.
pub async fn probe(endpoint: &Endpoint) -> Result<Option<Presented>, ClientError> {
    match open_tls(endpoint, Trust::System.config()?).await {
        Ok(_closed_when_dropped) => return Ok(None),
        Err(ClientError::Untrusted { .. }) => {}
        Err(error) => return Err(error),
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let recorder = Arc::new(Recorder { provider: Arc::clone(&provider), chain: Mutex::default() });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::Tls(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&recorder) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    drop(open_tls(endpoint, Arc::new(config)).await?);
    let chain = recorder.chain.lock().unwrap_or_else(PoisonError::into_inner).clone();
    presented(&chain).map(Some).ok_or_else(|| ClientError::NotOrchestrator {
        url: endpoint.to_string(),
        problem: "its certificate is not readable".into(),
    })
}

fn presented(chain: &[CertificateDer<'static>]) -> Option<Presented> {
    let (leaf, above) = chain.split_first()?;
    let names = names(&X509Certificate::from_der(leaf).ok()?.1);
    // An intermediate of a public authority is not pinned: it signs for the whole world. Whether the server's
    // certificate is really signed by the root is checked when the pin is used.
    let root = above.iter().find(|certificate| {
        X509Certificate::from_der(certificate)
            .is_ok_and(|(_, parsed)| parsed.is_ca() && parsed.subject() == parsed.issuer())
    });
    Some(match root {
        Some(root) => Presented { fingerprint: Fingerprint::of(root), kind: Pin::Authority, names },
        None => Presented { fingerprint: Fingerprint::of(leaf), kind: Pin::Certificate, names },
    })
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(alternatives)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => <[u8; 4]>::try_from(*bytes)
            .map(|v4| std::net::IpAddr::from(v4).to_string())
            .or_else(|_| <[u8; 16]>::try_from(*bytes).map(|v6| std::net::IpAddr::from(v6).to_string()))
            .ok(),
        _ => None,
    };
    alternatives.value.general_names.iter().filter_map(name).collect()
}

/// Takes any certificate and remembers it. The signature of the handshake is checked all the same: what is shown to
/// a person belongs to who answered.
#[derive(Debug)]
struct Recorder {
    provider: Arc<CryptoProvider>,
    chain: Mutex<Vec<CertificateDer<'static>>>,
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = std::iter::once(end_entity).chain(intermediates).map(|one| one.clone().into_owned());
        *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = shown.collect();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
