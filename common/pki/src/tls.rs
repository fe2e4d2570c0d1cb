//! The TLS settings of our processes. TLS 1.3 only between them; browsers may use 1.2.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{ResolvesServerCert, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::pinned::PinnedVerifier;
use crate::{Fingerprint, LiveIdentity, PkiError};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn roots(authority: &CertificateDer<'static>) -> Result<Arc<RootCertStore>, PkiError> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone())?;
    Ok(Arc::new(roots))
}

/// An agent's side: shows `identity`, and lets in only who has a certificate of `authority`. Whom that
/// certificate speaks for is for the caller to check ([`crate::PeerCertificate`]).
pub fn server_config(
    identity: Arc<LiveIdentity>,
    authority: &CertificateDer<'static>,
) -> Result<ServerConfig, PkiError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(authority)?, provider())
        .build()
        .map_err(|error| PkiError::Certificate(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(identity);
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// The orchestrator's side of the same connection. No session is resumed: in one that is, the agent shows nothing, and what
/// it showed long ago would be taken for what it has now.
pub fn client_config(
    identity: Arc<LiveIdentity>,
    authority: &CertificateDer<'static>,
) -> Result<ClientConfig, PkiError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots(authority)?)
        .with_client_cert_resolver(identity);
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// For browsers, the CLI and agents that enrol: shows a certificate, asks for none.
pub fn web_server_config(resolver: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, PkiError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Trusts the one certificate or authority with this fingerprint, and shows none.
pub fn pinned_client_config(pin: Fingerprint, alpn: &[&[u8]]) -> Result<ClientConfig, PkiError> {
    let provider = provider();
    let verifier = PinnedVerifier { pin, provider: Arc::clone(&provider) };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

/// Trusts what the authority signed, names included, and shows none: for who talks to a host with a ticket.
pub fn authority_client_config(authority_pem: &str, alpn: &[&[u8]]) -> Result<ClientConfig, PkiError> {
    let authority = CertificateDer::from_pem_slice(authority_pem.as_bytes())
        .map_err(|error| PkiError::Pem { what: "the authority's certificate", detail: error.to_string() })?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots(&authority)?)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}
