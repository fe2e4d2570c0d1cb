//! What can go wrong with keys and certificates.

#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("{what} is not readable as PEM: {detail}")]
    Pem { what: &'static str, detail: String },
    #[error("cannot make {what}")]
    Make {
        what: &'static str,
        #[source]
        source: rcgen::Error,
    },
    #[error("the certificate is damaged: {0}")]
    Certificate(String),
    #[error("the certificate names nobody that Xenith knows: {0}")]
    UnknownPeer(String),
    #[error("the TLS settings do not fit together")]
    Tls(#[from] rustls::Error),
    #[error("{0:?} is not a SHA-256 fingerprint (64 hexadecimal digits, colons allowed)")]
    Fingerprint(String),
}
