//! The installation's certificate authority in use: our own certificate, those of hosts, and which are refused.
//!
//! A host's record names the serial that is valid (and, during a renewal, the one before). Any other
//! certificate of the authority is refused: that is how a removed host, or a stolen old key, is revoked.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;
use xenith_common_ids::{Epoch, HostId};
use xenith_common_pki::{Authority, Issued, KeyAndRequest, Peer, PeerCertificate, PkiError};
use xenith_hypervisor_agent_client::AgentClient;
use xenith_orchestrator_store::StoreError;

use crate::db::Db;
use crate::fleet::Renewal;
use crate::model::{AuthorityRecord, HostRecord};
use crate::secret::{SecretError, Vault};

const PURPOSE: &str = "authority key";
/// Short enough that a forgotten host locks itself out, long enough for a month of holidays.
const HOST_LIFE: Duration = Duration::from_secs(30 * 86_400);
/// Ours is made anew at each start, and after half of it.
pub const OWN_LIFE: Duration = Duration::from_secs(398 * 86_400);

#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error("the authority's key is damaged; restore the orchestrator from its backup")]
    Damaged,
}

#[derive(Debug)]
pub struct Certificates {
    authority: Authority,
    db: Db,
    /// Serials that hosts may show.
    valid: RwLock<HashMap<HostId, Admitted>>,
}

impl Certificates {
    /// Loads the authority, or makes it at the first start.
    pub async fn open(db: Db, vault: &Vault) -> Result<Arc<Self>, AuthorityError> {
        let authority = match db.authority.get(&()).await? {
            Some(record) => {
                let key = vault.unseal(PURPOSE, &record.value.sealed_key)?;
                let key = String::from_utf8(key).map_err(|_| AuthorityError::Damaged)?;
                Authority::from_pem(&record.value.certificate_pem, &key)?
            }
            None => {
                let (authority, key) = Authority::generate()?;
                let record = AuthorityRecord {
                    certificate_pem: authority.certificate_pem().to_owned(),
                    sealed_key: vault.seal(PURPOSE, key.as_bytes())?,
                };
                db.authority.insert(&(), &record).await?;
                authority
            }
        };
        let (hosts, _) = db.hosts.all().await?;
        let valid = hosts.iter().map(|record| (record.key, Admitted::by(&record.value))).collect();
        Ok(Arc::new(Self { authority, db, valid: RwLock::new(valid) }))
    }

    #[must_use]
    pub const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// What we show to agents: a new key, and the chain of its certificate.
    pub fn own_identity(&self) -> Result<(String, String), PkiError> {
        let key = KeyAndRequest::generate()?;
        let not_after = OffsetDateTime::now_utc() + OWN_LIFE;
        let issued = self.authority.issue(&key.request_pem, Peer::Orchestrator, not_after)?;
        let chain = format!("{}{}", issued.certificate_pem, self.authority.certificate_pem());
        Ok((key.key_pem, chain))
    }

    /// What we show to browsers and the CLI when no certificate is configured.
    pub fn web_identity(&self, names: &[String], addresses: &[IpAddr]) -> Result<(String, String), PkiError> {
        self.authority.issue_web(names, addresses, OffsetDateTime::now_utc() + OWN_LIFE)
    }

    pub fn issue_for_host(&self, request_pem: &str, host: HostId) -> Result<Issued, PkiError> {
        self.authority.issue(request_pem, Peer::Host(host), OffsetDateTime::now_utc() + HOST_LIFE)
    }

    /// Lets the serials of `record` in, and no others, from now on.
    pub fn admit(&self, host: HostId, record: &HostRecord) {
        self.valid.write().unwrap_or_else(PoisonError::into_inner).insert(host, Admitted::by(record));
    }

    /// Refuses whatever the host shows from now on.
    pub fn revoke(&self, host: HostId) {
        self.valid.write().unwrap_or_else(PoisonError::into_inner).remove(&host);
    }

    async fn renew(&self, host: HostId, client: &AgentClient, epoch: Epoch) -> Result<(), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let request = client.request_certificate(epoch).await.map_err(|error| text(&error))?;
        let issued = self.issue_for_host(&request, host).map_err(|error| text(&error))?;
        // Both are admitted before the host has the new one: a crash in between locks nobody out.
        let details = issued.details.clone();
        self.db
            .hosts
            .modify(&host, move |record| {
                record.previous_serial = Some(record.certificate_serial.clone());
                record.certificate_serial.clone_from(&details.serial);
                record.certificate_expires = details.not_after;
            })
            .await
            .map_err(|error| text(&error))?;
        if let Some(record) = self.db.hosts.get(&host).await.map_err(|error| text(&error))? {
            self.admit(host, &record.value);
        }
        client.install_certificate(epoch, issued.certificate_pem).await.map_err(|error| text(&error))?;
        // It has one that is known: from here on no other.
        let known = |record: &mut HostRecord| record.any_certificate = false;
        self.db.hosts.modify(&host, known).await.map_err(|error| text(&error))?;
        if let Some(record) = self.db.hosts.get(&host).await.map_err(|error| text(&error))? {
            self.admit(host, &record.value);
        }
        Ok(())
    }
}

/// Which certificates a host may show.
#[derive(Debug)]
enum Admitted {
    Serials(Vec<String>),
    /// See [`HostRecord::any_certificate`].
    Any,
}

impl Admitted {
    fn by(record: &HostRecord) -> Self {
        if record.any_certificate {
            return Self::Any;
        }
        let mut serials = vec![record.certificate_serial.clone()];
        serials.extend(record.previous_serial.clone());
        Self::Serials(serials)
    }
}

#[async_trait]
impl Renewal for Certificates {
    fn check(&self, certificate: &PeerCertificate) -> Result<(), String> {
        let Peer::Host(host) = certificate.peer else { return Err("it is not a host's".to_owned()) };
        let valid = self.valid.read().unwrap_or_else(PoisonError::into_inner);
        match valid.get(&host) {
            Some(Admitted::Any) => Ok(()),
            Some(Admitted::Serials(serials)) if serials.contains(&certificate.serial) => Ok(()),
            Some(Admitted::Serials(_)) => {
                Err("it was replaced by a newer one; let the host join anew".to_owned())
            }
            None => Err("the host was removed; let it join anew".to_owned()),
        }
    }

    async fn renew_if_due(&self, host: HostId, client: &AgentClient, epoch: Epoch) {
        let record = match self.db.hosts.get(&host).await {
            Ok(Some(record)) => record.value,
            Ok(None) => return,
            Err(error) => return tracing::warn!(%host, %error, "cannot look up a host's certificate"),
        };
        let fresh = record.certificate_expires - OffsetDateTime::now_utc() > HOST_LIFE / 2;
        if fresh && !record.any_certificate {
            return;
        }
        match self.renew(host, client, epoch).await {
            Ok(()) => tracing::info!(%host, "the host's certificate was renewed"),
            Err(error) => {
                tracing::warn!(%host, error, "the host's certificate could not be renewed; tried again in an hour")
            }
        }
    }
}
