//! Who is who between our processes: one authority, short-lived certificates, roles in names.
//!
//! What always holds:
//! * The orchestrator's [`Authority`] signs every certificate used between our processes; nothing else is
//!   trusted there, no public authority included.
//! * The role is the DNS name in a certificate: `<host id>.host.xenith.internal` for an agent,
//!   `orchestrator.xenith.internal` for the orchestrator ([`Peer`]). It is set by the signer; whatever name
//!   a certificate request asks for is ignored.
//! * Private keys never leave the machine that made them: an agent sends a request, not a key.
//! * The TLS provider is aws-lc-rs. Every `main` calls [`install_provider`] first.

mod authority;
mod error;
mod fingerprint;
mod identity;
mod peer;
mod pinned;
mod tls;

pub use authority::{Authority, Issued};
pub use error::PkiError;
pub use fingerprint::Fingerprint;
pub use identity::{KeyAndRequest, LiveIdentity};
pub use peer::{Peer, PeerCertificate, expires_of};
pub use tls::{
    authority_client_config, client_config, pinned_client_config, server_config, web_server_config,
};

/// Makes aws-lc-rs the provider of this process. Calling it again is harmless.
pub fn install_provider() {
    let _installed_before = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
