//! Whom to believe that it is the orchestrator.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use xenith_common_pki::{Fingerprint, pinned_client_config};

use crate::ClientError;

/// The WebSocket handshake is HTTP/1.1.
const ALPN: &[&[u8]] = &[b"http/1.1"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// The server's certificate, or an authority in the chain that it sends. A person compared it once.
    Pinned(Fingerprint),
    /// The authorities that the system trusts: for an orchestrator with a certificate of its owner's.
    System,
}

impl Trust {
    pub(crate) fn config(self) -> Result<Arc<ClientConfig>, ClientError> {
        match self {
            Self::Pinned(pin) => pinned_client_config(pin, ALPN)
                .map(Arc::new)
                .map_err(|error| ClientError::Tls(error.to_string())),
            Self::System => system(),
        }
    }
}

fn system() -> Result<Arc<ClientConfig>, ClientError> {
    let mut roots = RootCertStore::empty();
    // A system without certificates trusts nobody: the handshake fails and says so.
    let (_added, _unreadable) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = ALPN.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}
