//! Sending e-mail through the server that was set.
//!
//! What always holds: a password goes over a connection that is private and to the server that it was given for, and
//! nowhere else. A message is handed to the server and forgotten; who must be told keeps that in a record of their own.

use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use xenith_orchestrator_types::mail::{MailSecurity, MailSettings};

use crate::db::Db;
use crate::secret::Vault;

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// What [`crate::model::MailRecord::sealed_password`] is sealed for.
pub const SEALED_PASSWORD: &str = "mail password";
/// For each answer of the server.
const PATIENCE: Duration = Duration::from_secs(20);
/// For all of it: greeting, TLS, sign-in and message.
const WHOLE: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum MailError {
    #[error("no mail server is set; set one with `xenith mail set`")]
    NotSet,
    #[error("{0:?} is not an e-mail address")]
    Address(String),
    #[error("the message cannot be written: {0}")]
    Message(lettre::error::Error),
    #[error("the mail server's settings cannot be used: {0}")]
    Settings(lettre::transport::smtp::Error),
    #[error("these are not certificates in PEM")]
    Authority,
    #[error("the mail server {server} did not take it: {reason}")]
    Refused { server: String, reason: lettre::transport::smtp::Error },
    #[error("the mail server {0} did not take it within a minute")]
    Late(String),
    #[error("the connection to the mail server could not be prepared")]
    Broken,
    #[error(transparent)]
    Secret(#[from] crate::secret::SecretError),
    #[error(transparent)]
    Store(#[from] xenith_orchestrator_store::StoreError),
    #[error("the mail server's password is not text; set it again with `xenith mail set`")]
    Password,
}

/// An address as it is written in a message's head.
pub fn parse_address(text: &str) -> Result<Mailbox, MailError> {
    text.trim().parse().map_err(|_| MailError::Address(text.to_owned()))
}

/// Makes all that a connection needs, and makes none.
pub async fn check(settings: &MailSettings) -> Result<(), MailError> {
    prepared(settings, None).await.map(drop)
}

/// A letter: plain text.
pub struct Letter<'a> {
    /// The same for one that is sent again: mail programs show it once.
    pub id: String,
    pub to: Vec<Mailbox>,
    pub subject: &'a str,
    pub text: String,
}

/// Through the server that is set now.
pub async fn send(db: &Db, vault: &Vault, letter: Letter<'_>) -> Result<(), MailError> {
    let record = db.mail.get(&()).await?.map(|record| record.value);
    let record = record.filter(|record| !record.settings.server.is_empty()).ok_or(MailError::NotSet)?;
    let password = if record.settings.has_password {
        let plain = vault.unseal(SEALED_PASSWORD, &record.sealed_password)?;
        Some(String::from_utf8(plain).map_err(|_| MailError::Password)?)
    } else {
        None
    };
    let settings = &record.settings;
    let message = message(settings, letter)?;
    let transport = prepared(settings, password).await?;
    let server = || format!("{}:{}", settings.server, settings.port);
    match tokio::time::timeout(WHOLE, transport.send(message)).await {
        Ok(sent) => sent.map(drop).map_err(|reason| MailError::Refused { server: server(), reason }),
        Err(_) => Err(MailError::Late(server())),
    }
}

fn message(settings: &MailSettings, letter: Letter<'_>) -> Result<Message, MailError> {
    let from = parse_address(&settings.from)?;
    let id = format!("<{}@{}>", letter.id, from.email.domain());
    let mut message = Message::builder().from(from).message_id(Some(id)).subject(letter.subject);
    for to in letter.to {
        message = message.to(to);
    }
    message.header(ContentType::TEXT_PLAIN).body(letter.text).map_err(MailError::Message)
}

/// Reads the machine's certificates, which blocks.
async fn prepared(settings: &MailSettings, password: Option<String>) -> Result<Transport, MailError> {
    let settings = settings.clone();
    let build = move || transport(&settings, password);
    tokio::task::spawn_blocking(build).await.map_err(|_| MailError::Broken)?
}

fn transport(settings: &MailSettings, password: Option<String>) -> Result<Transport, MailError> {
    let tls = match settings.security {
        MailSecurity::None => Tls::None,
        MailSecurity::Starttls => Tls::Required(parameters(settings)?),
        MailSecurity::Tls => Tls::Wrapper(parameters(settings)?),
    };
    // Dangerous is its default, no TLS.
    let mut builder =
        Transport::builder_dangerous(&settings.server).port(settings.port).timeout(Some(PATIENCE)).tls(tls);
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if !name.trim().is_empty() {
        builder = builder.hello_name(ClientId::Domain(name.trim().to_owned()));
    }
    // Never in the open, whatever a record may say.
    if let Some(password) = password.filter(|_| settings.security != MailSecurity::None) {
        builder = builder.credentials(Credentials::new(settings.user.clone(), password));
    }
    Ok(builder.build())
}

fn parameters(settings: &MailSettings) -> Result<TlsParameters, MailError> {
    let mut builder = TlsParameters::builder(settings.server.clone());
    let pem = settings.authority_pem.as_bytes();
    if !pem.is_empty() {
        if CertificateDer::pem_slice_iter(pem).next().is_none_or(|first| first.is_err()) {
            return Err(MailError::Authority);
        }
        let certificate = Certificate::from_pem(pem).map_err(|_| MailError::Authority)?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build_rustls().map_err(MailError::Settings)
}
