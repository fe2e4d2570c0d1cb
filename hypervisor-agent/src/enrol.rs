//! How this host gets its identity: a join token, spent once.
//!
//! What always holds: a joined host never joins by itself again; the token is told to nobody but who holds
//! the authority that it names; the identity is on disk before the token is removed. A crash in between
//! leaves a spent token, which the next start removes. A crash before the identity is on disk loses it: the
//! orchestrator then lists a host that never came, which is removed there and added anew.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use xenith_common_ids::HostId;
use xenith_common_pki::{Fingerprint, KeyAndRequest, Peer, PeerCertificate, PkiError};
use xenith_common_tasks::Backoff;
use xenith_hypervisor_agent_api::{JoinToken, ParseJoinTokenError};
use xenith_hypervisor_agent_client::{AgentClientError, JoinRequest, Joined, join};

use crate::config::Config;
use crate::identity::{Identity, IdentityError};

const FIRST_RETRY: Duration = Duration::from_secs(1);
/// An orchestrator that is being installed or restarted is back within minutes; nobody waits longer for us.
const SLOWEST_RETRY: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    #[error(
        "this host has not joined an orchestrator: on the orchestrator run `xenith host add`, then here \
         `xenith-agent join TOKEN`, or write the token to {path}"
    )]
    NoToken { path: PathBuf },
    #[error("{path} cannot be used")]
    BadTokenFile {
        path: PathBuf,
        #[source]
        source: ParseJoinTokenError,
    },
    #[error(transparent)]
    BadToken(#[from] ParseJoinTokenError),
    #[error("cannot {action} {path}")]
    TokenFile {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("this host has joined already, as {host}; remove {path} first if it is to join anew")]
    AlreadyJoined { host: HostId, path: PathBuf },
    #[error("the orchestrator did not let this host join; ask for a new token with `xenith host add`")]
    Refused(#[source] AgentClientError),
    #[error("the orchestrator could not be asked")]
    Unreachable(#[source] AgentClientError),
    #[error("the orchestrator's answer does not fit: {0}; it may be of another version")]
    Answer(String),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Pki(#[from] PkiError),
}

impl EnrolError {
    /// 2: somebody has to do something before it is worth trying again.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NoToken { .. }
            | Self::BadTokenFile { .. }
            | Self::BadToken(_)
            | Self::AlreadyJoined { .. }
            | Self::Refused(_)
            | Self::Answer(_) => 2,
            Self::TokenFile { .. } | Self::Unreachable(_) | Self::Identity(_) | Self::Pki(_) => 1,
        }
    }
}

/// What a start of the agent finds.
#[derive(Debug)]
pub enum Enrolment {
    Joined(Identity),
    /// Not joined, but it can be.
    Token(JoinToken),
}

/// Only looks. [`EnrolError::NoToken`] when there is neither.
pub fn peek(config: &Config) -> Result<Enrolment, EnrolError> {
    if let Some(identity) = Identity::load(&config.state)? {
        return Ok(Enrolment::Joined(identity));
    }
    let path = &config.join_token;
    read_token(path)?.map(Enrolment::Token).ok_or_else(|| EnrolError::NoToken { path: path.clone() })
}

/// The same, and removes a token that is spent.
pub fn look(config: &Config) -> Result<Enrolment, EnrolError> {
    let found = peek(config)?;
    if let Enrolment::Joined(identity) = &found {
        match read_token(&config.join_token) {
            Ok(Some(token)) if is_of(&token, identity)? => remove_token(&config.join_token)?,
            Ok(None) => {}
            _ => tracing::warn!(
                path = %config.join_token.display(),
                "this host has joined already, the join token is ignored; to join another orchestrator, \
                 remove {} first",
                config.state.join(Identity::FILE).display()
            ),
        }
    }
    Ok(found)
}

/// Joins, however long the orchestrator cannot be reached, and removes the token file. Safe to drop.
pub async fn join_patiently(config: &Config, token: &JoinToken) -> Result<Identity, EnrolError> {
    let key = KeyAndRequest::generate()?;
    let mut backoff = Backoff::new(FIRST_RETRY, SLOWEST_RETRY, u64::from(std::process::id()));
    let joined = loop {
        match join(token, request(config, &key)).await {
            Ok(joined) => break joined,
            Err(error) if error.is_retryable() => {
                let wait = backoff.next_delay();
                tracing::warn!(%error, retry_in_s = wait.as_secs(), "cannot join yet");
                tokio::time::sleep(wait).await;
            }
            Err(error) => return Err(EnrolError::Refused(error)),
        }
    };
    let identity = keep(config, token, &key, joined)?;
    remove_token(&config.join_token)?;
    Ok(identity)
}

/// Joins now or says why not: somebody is waiting.
pub async fn join_once(config: &Config, token: &str) -> Result<Identity, EnrolError> {
    let token: JoinToken = token.parse()?;
    if let Some(identity) = Identity::load(&config.state)? {
        return Err(EnrolError::AlreadyJoined {
            host: identity.host(),
            path: config.state.join(Identity::FILE),
        });
    }
    let key = KeyAndRequest::generate()?;
    let joined = join(&token, request(config, &key)).await.map_err(|error| match error {
        AgentClientError::Unreachable { .. } => EnrolError::Unreachable(error),
        error => EnrolError::Refused(error),
    })?;
    keep(config, &token, &key, joined)
}

fn request(config: &Config, key: &KeyAndRequest) -> JoinRequest {
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    JoinRequest {
        certificate_request_pem: key.request_pem.clone(),
        hostname: hostname.trim().to_owned(),
        address: config.advertised(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Checks that the answer is what was asked for, then writes it down.
fn keep(
    config: &Config,
    token: &JoinToken,
    key: &KeyAndRequest,
    joined: Joined,
) -> Result<Identity, EnrolError> {
    let read = |what: &str, pem: &str| {
        CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| EnrolError::Answer(format!("{what} is damaged ({error})")))
    };
    let authority = read("the authority's certificate", &joined.authority_pem)?;
    if Fingerprint::of(&authority) != token.fingerprint.parse()? {
        return Err(EnrolError::Answer("its authority is not the one that the token names".to_owned()));
    }
    let certificate = PeerCertificate::read(&read("our certificate", &joined.certificate_pem)?)?;
    if certificate.peer != Peer::Host(joined.host) {
        return Err(EnrolError::Answer(format!("our certificate is for {}", certificate.peer)));
    }
    let Joined { host, certificate_pem, authority_pem } = joined;
    let identity = Identity::enrol(&config.state, host, key, certificate_pem, authority_pem)?;
    tracing::info!(%host, "joined");
    Ok(identity)
}

fn read_token(path: &Path) -> Result<Option<JoinToken>, EnrolError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(EnrolError::TokenFile { action: "read", path: path.to_owned(), source }),
    };
    let token = text.parse().map_err(|source| EnrolError::BadTokenFile { path: path.to_owned(), source })?;
    Ok(Some(token))
}

fn remove_token(path: &Path) -> Result<(), EnrolError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(EnrolError::TokenFile { action: "remove", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Whether the token is for the orchestrator that we belong to.
fn is_of(token: &JoinToken, identity: &Identity) -> Result<bool, EnrolError> {
    Ok(Fingerprint::of(&identity.authority()?).to_string() == token.fingerprint)
}
