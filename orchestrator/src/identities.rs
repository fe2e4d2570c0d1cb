//! The certificates that we show: to agents and hosts that join, and to people.
//!
//! What always holds: one of our own is never shown past half of its life, however long we run; one that an
//! administrator put into files is read again when a file has changed, and a pair that does not fit changes nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use tokio::time::{MissedTickBehavior, interval};
use xenith_common_pki::{Fingerprint, LiveIdentity, expires_of};
use xenith_orchestrator_types::system::ShownCertificate;

use crate::authority::{Certificates, OWN_LIFE};
use crate::config::Config;
use crate::orchestrator::StartError;

/// How often it is looked whether something is due.
const EVERY: Duration = Duration::from_secs(3600);

pub struct Identities {
    /// To agents, and to hosts that join.
    pub own: Arc<LiveIdentity>,
    /// To browsers and the CLI.
    pub web: Arc<LiveIdentity>,
    certificates: Arc<Certificates>,
    names: Config,
    seen: Mutex<Seen>,
}

/// What is shown now.
struct Seen {
    made: OffsetDateTime,
    /// When the files were written that it is from.
    files: Option<[SystemTime; 2]>,
}

impl std::fmt::Debug for Identities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identities")
    }
}

impl Identities {
    pub fn make(config: &Config, certificates: &Arc<Certificates>) -> Result<Self, StartError> {
        let files = files(config)?;
        let (key, chain) = web(config, certificates)?;
        let (own_key, own_chain) = certificates.own_identity()?;
        Ok(Self {
            own: LiveIdentity::new(&own_key, &own_chain)?,
            web: LiveIdentity::new(&key, &chain)?,
            certificates: Arc::clone(certificates),
            names: config.clone(),
            seen: Mutex::new(Seen { made: OffsetDateTime::now_utc(), files }),
        })
    }

    /// Renews what is due at `now`; whether something was.
    pub fn renew(&self, now: OffsetDateTime) -> Result<bool, StartError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let files = files(&self.names)?;
        let old = now - seen.made >= OWN_LIFE / 2;
        if files != seen.files || (old && files.is_none()) {
            let (key, chain) = web(&self.names, &self.certificates)?;
            self.web.replace(&key, &chain)?;
        } else if !old {
            return Ok(false);
        }
        if old {
            let (key, chain) = self.certificates.own_identity()?;
            self.own.replace(&key, &chain)?;
            seen.made = now;
        }
        seen.files = files;
        Ok(true)
    }

    /// What people are shown now; nothing where it cannot be read.
    #[must_use]
    pub fn shown(&self) -> Option<ShownCertificate> {
        let leaf = self.web.certificate()?;
        let expires = expires_of(&leaf).ok()?;
        let fingerprint = Fingerprint::of(&leaf).to_string();
        Some(ShownCertificate { fingerprint, expires, from_files: pair(&self.names).is_some() })
    }

    /// Looks every hour, for ever.
    pub async fn keep(self: Arc<Self>) {
        let mut hourly = interval(EVERY);
        hourly.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            hourly.tick().await;
            let identities = Arc::clone(&self);
            // Two small files, which may lie on a disk that hangs.
            let renewed =
                tokio::task::spawn_blocking(move || identities.renew(OffsetDateTime::now_utc())).await;
            match renewed {
                Ok(Ok(true)) => tracing::info!("our certificates were renewed"),
                Ok(Ok(false)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%error, "our certificates stay as they are; tried again in an hour");
                }
                Err(error) => tracing::error!(%error, "the renewal of our certificates ended"),
            }
        }
    }
}

fn pair(config: &Config) -> Option<(&Path, &Path)> {
    Some((config.key.as_deref()?, config.certificate.as_deref()?))
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StartError {
    let path = PathBuf::from(path);
    move |source| StartError::Io { action, path, source }
}

/// When the configured files were written.
fn files(config: &Config) -> Result<Option<[SystemTime; 2]>, StartError> {
    let Some((key, certificate)) = pair(config) else { return Ok(None) };
    let written = |path| fs::metadata(path).and_then(|file| file.modified()).map_err(io("look at", path));
    Ok(Some([written(key)?, written(certificate)?]))
}

/// Key and chain for people.
fn web(config: &Config, certificates: &Certificates) -> Result<(String, String), StartError> {
    match pair(config) {
        Some((key, certificate)) => {
            let read = |path| fs::read_to_string(path).map_err(io("read", path));
            Ok((read(key)?, read(certificate)?))
        }
        None => Ok(certificates.web_identity(&config.names, &config.addresses)?),
    }
}
