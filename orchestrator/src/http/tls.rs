//! Which certificate is shown to whom.

use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use xenith_common_pki::LiveIdentity;

/// By the name that is asked for.
#[derive(Debug)]
pub struct WebCertificates {
    /// Of our own authority, for hosts that join.
    pub internal: Arc<LiveIdentity>,
    /// For browsers and the CLI.
    pub web: Arc<LiveIdentity>,
}

impl ResolvesServerCert for WebCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let internal = hello.server_name().is_some_and(|name| name.ends_with(".xenith.internal"));
        if internal { self.internal.resolve(hello) } else { self.web.resolve(hello) }
    }
}
