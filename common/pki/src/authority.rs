//! The certificate authority of one installation.
//!
//! Its key is made once, at the first start of the orchestrator, and kept encrypted by the orchestrator's
//! store. This module sees it in the clear only while it is loaded.

use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::OffsetDateTime;

use crate::{Fingerprint, KeyAndRequest, Peer, PeerCertificate, PkiError};

/// Clocks of hosts are not always right at their first start.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);
const AUTHORITY_LIFE: Duration = Duration::from_secs(20 * 365 * 86_400);

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
}

/// A certificate made by the authority.
#[derive(Debug, Clone)]
pub struct Issued {
    pub certificate_pem: String,
    pub details: PeerCertificate,
}

impl Authority {
    /// A new authority, and its private key as PEM for the caller to keep secret.
    pub fn generate() -> Result<(Self, String), PkiError> {
        let make = |source| PkiError::Make { what: "the certificate authority", source };
        let key = KeyPair::generate().map_err(make)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named("Xenith installation authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, OffsetDateTime::now_utc() + AUTHORITY_LIFE);
        let certificate_pem = params.self_signed(&key).map_err(make)?.pem();
        let key_pem = key.serialize_pem();
        Ok((Self::from_pem(&certificate_pem, &key_pem)?, key_pem))
    }

    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, PkiError> {
        let key = KeyPair::from_pem(key_pem)
            .map_err(|source| PkiError::Make { what: "the authority from its key", source })?;
        let issuer = Issuer::from_ca_cert_pem(certificate_pem, key)
            .map_err(|source| PkiError::Make { what: "the authority from its certificate", source })?;
        let certificate = read_certificate("the authority's certificate", certificate_pem)?;
        Ok(Self { issuer, certificate, certificate_pem: certificate_pem.to_owned() })
    }

    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    #[must_use]
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// Signs a request for `peer`. Only the public key is taken from the request.
    pub fn issue(
        &self,
        request_pem: &str,
        peer: Peer,
        not_after: OffsetDateTime,
    ) -> Result<Issued, PkiError> {
        let mut request = CertificateSigningRequestParams::from_pem(request_pem)
            .map_err(|source| PkiError::Make { what: "a certificate from this request", source })?;
        request.params = leaf_params(&peer.to_string(), not_after);
        request.params.subject_alt_names = vec![dns(&peer.dns_name())?];
        let certificate = request
            .signed_by(&self.issuer)
            .map_err(|source| PkiError::Make { what: "a certificate", source })?;
        Ok(Issued { certificate_pem: certificate.pem(), details: PeerCertificate::read(certificate.der())? })
    }

    /// Key and certificate chain (PEM) for browsers and the CLI to talk to, under the names and addresses
    /// that people reach the orchestrator by.
    pub fn issue_web(
        &self,
        names: &[String],
        addresses: &[IpAddr],
        not_after: OffsetDateTime,
    ) -> Result<(String, String), PkiError> {
        let key = KeyAndRequest::generate()?;
        let mut params = leaf_params("Xenith orchestrator", not_after);
        for name in names {
            params.subject_alt_names.push(dns(name)?);
        }
        params.subject_alt_names.extend(addresses.iter().map(|ip| SanType::IpAddress(*ip)));
        let make = |source| PkiError::Make { what: "the web certificate", source };
        let pair = KeyPair::from_pem(&key.key_pem).map_err(make)?;
        let certificate = params.signed_by(&pair, &self.issuer).map_err(make)?;
        Ok((key.key_pem, format!("{}{}", certificate.pem(), self.certificate_pem)))
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("fingerprint", &self.fingerprint()).finish_non_exhaustive()
    }
}

pub(crate) fn read_certificate(what: &'static str, pem: &str) -> Result<CertificateDer<'static>, PkiError> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| PkiError::Pem { what, detail: error.to_string() })
}

fn leaf_params(common_name: &str, not_after: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(common_name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    set_validity(&mut params, not_after);
    params
}

fn set_validity(params: &mut CertificateParams, not_after: OffsetDateTime) {
    params.not_before = OffsetDateTime::now_utc().min(not_after) - CLOCK_SKEW;
    params.not_after = not_after;
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn dns(name: &str) -> Result<SanType, PkiError> {
    let name =
        name.try_into().map_err(|source| PkiError::Make { what: "a certificate for this name", source })?;
    Ok(SanType::DnsName(name))
}
