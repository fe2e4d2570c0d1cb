//! The mail server that reports go through.

use async_trait::async_trait;
use xenith_common_ids::EventId;
use xenith_orchestrator_api::Call;
use xenith_orchestrator_api::mail::MailApi;
use xenith_orchestrator_types::mail::{MailSecurity, MailSettings, SetMail, TestMail};
use xenith_orchestrator_types::{ApiError, Empty, Reason};

use super::App;
use crate::errors::store_error;
use crate::mail::{self, Letter, MailError, SEALED_PASSWORD};
use crate::model::MailRecord;

/// Some dozens of certificates.
const LARGEST_AUTHORITY: usize = 100_000;

impl From<MailError> for ApiError {
    fn from(error: MailError) -> Self {
        match error {
            MailError::Store(error) => store_error(&error),
            MailError::Secret(error) => Self::internal(error),
            MailError::Address(_) => Self::invalid("to", error),
            MailError::Authority => Self::invalid("authority_pem", error),
            error => Self::new(Reason::WrongState, error.to_string()),
        }
    }
}

fn checked(request: &SetMail) -> Result<MailSettings, ApiError> {
    let server = request.server.trim();
    if server.is_empty() {
        return Ok(MailSettings::default());
    }
    if server.len() > 253 || server.chars().any(|c| c.is_whitespace() || c.is_control() || c == '/') {
        return Err(ApiError::invalid("server", "give a name or an address, without a scheme"));
    }
    mail::parse_address(&request.from).map_err(|error| ApiError::invalid("from", error))?;
    if request.security == MailSecurity::None && !request.user.is_empty() {
        let text = "nobody signs in over a connection that is not private; use starttls or tls";
        return Err(ApiError::invalid("security", text));
    }
    if request.user.is_empty() && request.password.is_some() {
        return Err(ApiError::invalid("user", "say whose password this is"));
    }
    if request.password.as_deref() == Some("") {
        return Err(ApiError::invalid("password", "it is empty; leave it out to keep the one that is known"));
    }
    if request.authority_pem.len() > LARGEST_AUTHORITY {
        return Err(ApiError::invalid("authority_pem", "these are more certificates than one server needs"));
    }
    Ok(MailSettings {
        server: server.to_owned(),
        port: if request.port == 0 { request.security.port() } else { request.port },
        security: request.security,
        user: request.user.clone(),
        has_password: false,
        from: request.from.trim().to_owned(),
        authority_pem: request.authority_pem.clone(),
    })
}

#[async_trait]
impl MailApi for App {
    async fn get(&self, _: &Call, _: Empty) -> Result<MailSettings, ApiError> {
        let record = self.db.mail.get(&()).await.map_err(|e| store_error(&e))?;
        Ok(record.map(|record| record.value.settings).unwrap_or_default())
    }

    async fn set(&self, _: &Call, request: SetMail) -> Result<MailSettings, ApiError> {
        let mut settings = checked(&request)?;
        let known = self.db.mail.get(&()).await.map_err(|e| store_error(&e))?.map(|record| record.value);
        let sealed_password = if settings.user.is_empty() {
            Vec::new()
        } else if let Some(password) = &request.password {
            self.vault.seal(SEALED_PASSWORD, password.as_bytes()).map_err(ApiError::internal)?
        } else {
            // It is never sent to a server that it was not given for, and who vouches for that is part of which.
            let whom =
                |of: &MailSettings| (of.server.clone(), of.port, of.user.clone(), of.authority_pem.clone());
            let same = known
                .filter(|record| record.settings.has_password && whom(&record.settings) == whom(&settings));
            let missing = "give the password: none is known for this server, user and these certificates";
            same.ok_or_else(|| ApiError::invalid("password", missing))?.sealed_password
        };
        if !settings.server.is_empty() {
            mail::check(&settings).await?;
        }
        settings.has_password = !sealed_password.is_empty();
        let record = MailRecord { settings: settings.clone(), sealed_password };
        self.db.mail.put(&(), &record).await.map_err(|e| store_error(&e))?;
        Ok(settings)
    }

    async fn test(&self, _: &Call, request: TestMail) -> Result<Empty, ApiError> {
        let letter = Letter {
            id: EventId::new().to_string(),
            to: vec![mail::parse_address(&request.to)?],
            subject: "Xenith: a test",
            text: "This orchestrator can send mail.\n".to_owned(),
        };
        mail::send(&self.db, &self.vault, letter).await?;
        Ok(Empty {})
    }
}
