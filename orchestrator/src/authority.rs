//! The installation's certificate authority in use: our own certificate, those of hosts, and which are refused.
//!
//! A host's record names the certificate that the host was seen with last and those that were issued to it since. Any
//! other certificate of the authority is refused: that is how a removed host, or a stolen old key, is revoked.
//!
//! A renewal can fail anywhere, and we can end anywhere in it. What always holds: a certificate is in the record before
//! the host gets it, and stays there until the host was seen with it or with a later one. So the host is let in with the
//! one it had and with each it may have got. Whether it is time for another is judged by the one it was seen with. After a
//! renewal the host is reached anew: it shows the new certificate there, and from then on the old one is refused.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;
use xenith_common_ids::{Epoch, HostId};
use xenith_common_pki::{Authority, Issued, KeyAndRequest, Peer, PeerCertificate, PkiError};
use xenith_hypervisor_agent_client::{AgentClient, SILENCE};
use xenith_orchestrator_store::StoreError;

use crate::db::Db;
use crate::fleet::Renewal;
use crate::model::{AuthorityRecord, HostRecord, IssuedCertificate};
use crate::secret::{SecretError, Vault};

const PURPOSE: &str = "authority key";
/// Short enough that a forgotten host locks itself out, long enough for a month of holidays.
const HOST_LIFE: Duration = Duration::from_secs(30 * 86_400);
/// Pause between two tries. A host keeps what it was sent in its record, so that there are at most 90 in the half life
/// in which they can fail.
const RETRY: Duration = Duration::from_secs(4 * 3600);
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
    /// What each host showed when it was last connected to.
    shown: Mutex<HashMap<HostId, PeerCertificate>>,
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
        Ok(Arc::new(Self { authority, db, valid: RwLock::new(valid), shown: Mutex::default() }))
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
        self.shown().remove(&host);
        self.valid.write().unwrap_or_else(PoisonError::into_inner).remove(&host);
    }

    fn shown(&self) -> MutexGuard<'_, HashMap<HostId, PeerCertificate>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the host's record, and lets in what it says then.
    async fn change(
        &self,
        host: HostId,
        change: impl Fn(&mut HostRecord) + Send + Sync,
    ) -> Result<Option<HostRecord>, StoreError> {
        self.db.hosts.modify(&host, change).await?;
        let record = self.db.hosts.get(&host).await?.map(|record| record.value);
        if let Some(record) = &record {
            self.admit(host, record);
        }
        Ok(record)
    }

    /// The host's record, which follows from what the host showed last.
    async fn followed(&self, host: HostId) -> Result<Option<HostRecord>, StoreError> {
        let Some(record) = self.db.hosts.get(&host).await? else { return Ok(None) };
        let shown = self.shown().get(&host).cloned();
        match shown {
            Some(shown) if record.value.clone().saw(&shown) => {
                self.change(host, move |record| {
                    record.saw(&shown);
                })
                .await
            }
            _ => Ok(Some(record.value)),
        }
    }

    /// Connects anew, to see what the host shows now: an open connection says nothing of a later certificate.
    async fn look(&self, host: HostId, client: &AgentClient, epoch: Epoch) {
        let hello = client.apart();
        let hello = tokio::time::timeout(SILENCE, hello.hello(epoch, env!("CARGO_PKG_VERSION"))).await;
        if !matches!(hello, Ok(Ok(_))) {
            tracing::debug!(%host, "which certificate the host shows is looked at later");
        }
    }

    async fn renew(&self, host: HostId, client: &AgentClient, epoch: Epoch) -> Result<(), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let request = client.request_certificate(epoch).await.map_err(|error| text(&error))?;
        let issued = self.issue_for_host(&request, host).map_err(|error| text(&error))?;
        // Let in before the host has it: it may have it whatever becomes of the call.
        let new =
            IssuedCertificate { serial: issued.details.serial.clone(), expires: issued.details.not_after };
        self.change(host, move |record| record.issued.push(new.clone()))
            .await
            .map_err(|error| text(&error))?;
        client.install_certificate(epoch, issued.certificate_pem).await.map_err(|error| text(&error))?;
        self.look(host, client, epoch).await;
        self.followed(host).await.map_err(|error| text(&error))?;
        Ok(())
    }

    async fn look_after(&self, host: HostId, client: &AgentClient, epoch: Epoch) -> Result<(), StoreError> {
        let Some(mut record) = self.followed(host).await? else { return Ok(()) };
        if !record.issued.is_empty() {
            self.look(host, client, epoch).await;
            match self.followed(host).await? {
                Some(followed) => record = followed,
                None => return Ok(()),
            }
        }
        if !record.wants_another(OffsetDateTime::now_utc()) {
            return Ok(());
        }
        match self.renew(host, client, epoch).await {
            Ok(()) => tracing::info!(%host, "the host's certificate was renewed"),
            Err(error) => tracing::warn!(
                %host,
                error,
                "the host's certificate could not be renewed; it keeps the one it has, and this is tried again in \
                 some hours"
            ),
        }
        Ok(())
    }
}

impl HostRecord {
    /// The host showed this. Whether that is news: those before it are not valid any more then. One that is none of the
    /// host's is no news (and is let in only by [`Self::any_certificate`]).
    fn saw(&mut self, shown: &PeerCertificate) -> bool {
        if self.certificate_serial == shown.serial {
            return self.previous_serial.take().is_some();
        }
        if self.previous_serial.as_ref() == Some(&shown.serial) {
            // What an earlier program recorded as the host's own has not got there yet.
            let newer = IssuedCertificate {
                serial: std::mem::replace(&mut self.certificate_serial, shown.serial.clone()),
                expires: std::mem::replace(&mut self.certificate_expires, shown.not_after),
            };
            self.issued.insert(0, newer);
            self.previous_serial = None;
            return true;
        }
        let Some(at) = self.issued.iter().position(|issued| issued.serial == shown.serial) else {
            return false;
        };
        self.certificate_serial.clone_from(&shown.serial);
        self.certificate_expires = shown.not_after;
        // Those after it may have got there, too.
        self.issued.drain(..=at);
        self.previous_serial = None;
        // It has one that is known: from here on no other.
        self.any_certificate = false;
        true
    }

    fn wants_another(&self, now: OffsetDateTime) -> bool {
        let old = self.certificate_expires - now <= HOST_LIFE / 2;
        let tried = self.issued.last().is_some_and(|last| last.expires - HOST_LIFE + RETRY > now);
        (old || self.any_certificate) && !tried
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
        serials.extend(record.issued.iter().map(|issued| issued.serial.clone()));
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
            Some(Admitted::Any) => {}
            Some(Admitted::Serials(serials)) if serials.contains(&certificate.serial) => {}
            Some(Admitted::Serials(_)) => {
                return Err("it was replaced by a newer one; let the host join anew".to_owned());
            }
            None => return Err("the host was removed; let it join anew".to_owned()),
        }
        self.shown().insert(host, certificate.clone());
        Ok(())
    }

    async fn renew_if_due(&self, host: HostId, client: &AgentClient, epoch: Epoch) {
        if let Err(error) = self.look_after(host, client, epoch).await {
            tracing::warn!(%host, %error, "the host's certificate cannot be looked after");
        }
    }
}

#[cfg(test)]
mod tests {
    use xenith_common_ids::PoolId;

    use super::*;

    fn record(serials: &[&str], issued: &[&str]) -> HostRecord {
        let expires = OffsetDateTime::UNIX_EPOCH + HOST_LIFE;
        let issued = issued.iter().map(|serial| IssuedCertificate { serial: (*serial).into(), expires });
        HostRecord {
            name: "xen1".into(),
            pool: PoolId::new(),
            address: String::new(),
            peer_address: None,
            maintenance: false,
            joined: OffsetDateTime::UNIX_EPOCH,
            local_sr: None,
            certificate_serial: serials.last().copied().unwrap_or_default().into(),
            certificate_expires: expires,
            issued: issued.collect(),
            previous_serial: (serials.len() > 1).then(|| serials[0].into()),
            any_certificate: false,
            held_by: None,
            disarmed: false,
            power: None,
        }
    }

    #[test]
    fn what_the_host_shows_ends_what_came_before_and_nothing_else() {
        type Row = (
            &'static str,
            &'static [&'static str],
            &'static [&'static str],
            &'static str,
            bool,
            &'static str,
        );
        let table: [Row; 7] = [
            ("nothing under way", &["a"], &[], "a", false, "a"),
            ("not there yet", &["a"], &["b", "c"], "a", false, "a b c"),
            ("the newest", &["a"], &["b", "c"], "c", true, "c"),
            ("one that seemed to fail", &["a"], &["b", "c"], "b", true, "b c"),
            ("a stranger", &["a"], &["b"], "x", false, "a b"),
            ("an earlier program's, installed", &["p", "a"], &[], "a", true, "a"),
            ("an earlier program's, not installed", &["p", "a"], &["b"], "p", true, "p a b"),
        ];
        for (case, serials, issued, shown, news, valid) in table {
            let mut record = record(serials, issued);
            let shown = PeerCertificate {
                peer: Peer::Host(HostId::new()),
                serial: shown.into(),
                not_before: OffsetDateTime::UNIX_EPOCH,
                not_after: OffsetDateTime::UNIX_EPOCH,
            };
            assert_eq!(record.saw(&shown), news, "{case}");
            assert!(!record.saw(&shown), "{case}: once");
            let Admitted::Serials(admitted) = Admitted::by(&record) else { panic!("{case}") };
            assert_eq!(admitted.join(" "), valid, "{case}");
        }
    }

    #[test]
    fn another_is_wanted_by_the_age_of_the_shown_one() {
        let (hour, half) = (Duration::from_secs(3600), HOST_LIFE / 2);
        let start = OffsetDateTime::UNIX_EPOCH;
        let table = [
            ("new", None, start + half - hour, false),
            ("half its life old", None, start + half, true),
            ("just tried", Some(start + half), start + half + hour, false),
            ("tried a while ago", Some(start + half), start + half + RETRY, true),
        ];
        for (case, tried, now, wanted) in table {
            let mut record = record(&["a"], &[]);
            record.issued.extend(
                tried.map(|tried| IssuedCertificate { serial: "b".into(), expires: tried + HOST_LIFE }),
            );
            assert_eq!(record.wants_another(now), wanted, "{case}");
        }
    }
}
