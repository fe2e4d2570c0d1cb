//! How the orchestrator sends e-mail.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the connection to the server is kept private.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MailSecurity {
    /// It begins in the open and must then become private; port 587.
    #[default]
    Starttls,
    /// Private from the start; port 465.
    Tls,
    /// For a server on the same machine or network that asks for no password; port 25.
    None,
}

impl MailSecurity {
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Starttls => 587,
            Self::Tls => 465,
            Self::None => 25,
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starttls => "starttls",
            Self::Tls => "tls",
            Self::None => "none",
        }
    }
}

/// The server that takes our mail. Its password is never shown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct MailSettings {
    /// Empty: no mail is sent.
    pub server: String,
    pub port: u16,
    pub security: MailSecurity,
    /// Empty: nobody signs in.
    pub user: String,
    pub has_password: bool,
    /// Who the mail is from.
    pub from: String,
    /// Certificates (PEM) that are trusted besides the machine's own.
    pub authority_pem: String,
}

#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetMail {
    /// Name or address; empty to send no mail any more.
    pub server: String,
    /// 0 for the usual one.
    #[serde(default)]
    pub port: u16,
    #[serde(default)]
    pub security: MailSecurity,
    #[serde(default)]
    pub user: String,
    /// Left out: the one that is known stays, for the same server, user and certificates.
    #[serde(default)]
    pub password: Option<String>,
    #[serde(default)]
    pub from: String,
    #[serde(default)]
    pub authority_pem: String,
}

impl std::fmt::Debug for SetMail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SetMail({}:{} as {})", self.server, self.port, self.user)
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestMail {
    pub to: String,
}
