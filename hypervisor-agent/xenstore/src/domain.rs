//! Domains as xenstored knows them. libxl introduces the domains that it builds; these are for what libxl does
//! not do (tests, repairs).

use bytes::Bytes;
use xenith_common_ids::DomId;

use crate::connection::Xenstore;
use crate::error::XenstoreError;
use crate::path::domain_path;
use crate::wire::{self, MessageType};

/// The frame of the ring through which a domain speaks to xenstored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantedFrame(pub u64);

/// The event channel port of that ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPort(pub u32);

impl Xenstore {
    /// Lets xenstored speak with `domain`; fires `@introduceDomain`.
    pub async fn introduce(
        &self,
        domain: DomId,
        ring: GrantedFrame,
        port: EventPort,
    ) -> Result<(), XenstoreError> {
        let payload = [domain.to_string(), ring.0.to_string(), port.0.to_string()];
        let payload = wire::nul_terminated(&payload.each_ref().map(String::as_str));
        self.nodes.request(MessageType::Introduce, &domain_path(domain), payload).await.map(drop)
    }

    /// Ends that; fires `@releaseDomain`.
    pub async fn release(&self, domain: DomId) -> Result<(), XenstoreError> {
        self.about_domain(MessageType::Release, domain).await.map(drop)
    }

    pub async fn is_introduced(&self, domain: DomId) -> Result<bool, XenstoreError> {
        let answer = self.about_domain(MessageType::IsDomainIntroduced, domain).await?;
        match wire::strings(&answer).next() {
            Some(b"T") => Ok(true),
            Some(b"F") => Ok(false),
            _ => Err(malformed(domain, "an introduction that is T or F")),
        }
    }

    /// Where the domain's part of the store is, by xenstored's word.
    pub async fn get_domain_path(&self, domain: DomId) -> Result<String, XenstoreError> {
        let answer = self.about_domain(MessageType::GetDomainPath, domain).await?;
        let path = wire::strings(&answer).next().and_then(|path| String::from_utf8(path.to_vec()).ok());
        path.ok_or_else(|| malformed(domain, "a path"))
    }

    async fn about_domain(&self, kind: MessageType, domain: DomId) -> Result<Bytes, XenstoreError> {
        let payload = wire::nul_terminated(&[&domain.to_string()]);
        self.nodes.request(kind, &domain_path(domain), payload).await
    }
}

fn malformed(domain: DomId, expected: &'static str) -> XenstoreError {
    XenstoreError::Malformed { path: domain_path(domain), expected }
}
