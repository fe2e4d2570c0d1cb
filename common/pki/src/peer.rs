//! Reading who a certificate speaks for.

use std::fmt;

use rustls::pki_types::{CertificateDer, ServerName};
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use xenith_common_ids::HostId;

use crate::PkiError;

const HOST_SUFFIX: &str = ".host.xenith.internal";
const ORCHESTRATOR: &str = "orchestrator.xenith.internal";

/// A process of ours, as its certificate names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    Orchestrator,
    Host(HostId),
}

impl Peer {
    /// The DNS name that stands for the peer in certificates. It is never looked up.
    #[must_use]
    pub fn dns_name(&self) -> String {
        match self {
            Self::Orchestrator => ORCHESTRATOR.to_owned(),
            Self::Host(host) => format!("{host}{HOST_SUFFIX}"),
        }
    }

    #[must_use]
    pub fn server_name(&self) -> ServerName<'static> {
        ServerName::try_from(self.dns_name()).expect("an id and a constant make a DNS name")
    }

    fn from_dns_name(name: &str) -> Option<Self> {
        if name == ORCHESTRATOR {
            return Some(Self::Orchestrator);
        }
        name.strip_suffix(HOST_SUFFIX)?.parse().ok().map(Self::Host)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Orchestrator => f.write_str("the orchestrator"),
            Self::Host(host) => write!(f, "host {host}"),
        }
    }
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, PkiError> {
    let parsed = X509Certificate::from_der(certificate.as_ref());
    parsed.map(|(_, parsed)| parsed).map_err(|error| PkiError::Certificate(error.to_string()))
}

/// When a certificate ends, whoever signed it.
pub fn expires_of(certificate: &CertificateDer<'_>) -> Result<OffsetDateTime, PkiError> {
    Ok(parse(certificate)?.validity().not_after.to_datetime())
}

/// What a verified certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    pub peer: Peer,
    /// Lower-case hexadecimal.
    pub serial: String,
    pub not_before: OffsetDateTime,
    pub not_after: OffsetDateTime,
}

impl PeerCertificate {
    /// Reads a certificate whose signature TLS has verified already.
    pub fn read(certificate: &CertificateDer<'_>) -> Result<Self, PkiError> {
        let parsed = parse(certificate)?;
        let names = parsed
            .subject_alternative_name()
            .map_err(|error| PkiError::Certificate(error.to_string()))?
            .map(|extension| extension.value.general_names.as_slice())
            .unwrap_or_default();
        let peer = names
            .iter()
            .find_map(|name| match name {
                GeneralName::DNSName(name) => Peer::from_dns_name(name),
                _ => None,
            })
            .ok_or_else(|| PkiError::UnknownPeer(parsed.subject().to_string()))?;
        let validity = parsed.validity();
        Ok(Self {
            peer,
            serial: parsed.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect(),
            not_before: validity.not_before.to_datetime(),
            not_after: validity.not_after.to_datetime(),
        })
    }
}
