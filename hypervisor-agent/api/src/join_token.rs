//! What an administrator copies to a new host: where the orchestrator is, how to know it, and a secret.

use std::fmt;
use std::str::FromStr;

/// `xenith-join:<host:port>/<fingerprint>/<secret>`. The secret works once and expires; the fingerprint is
/// the SHA-256 of the orchestrator's authority, so that the secret is told to nobody else.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    pub address: String,
    pub fingerprint: String,
    pub secret: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not a join token; it begins with \"xenith-join:\" and comes from `xenith host add`")]
pub struct ParseJoinTokenError;

const PREFIX: &str = "xenith-join:";

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}/{}/{}", self.address, self.fingerprint, self.secret)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("address", &self.address).finish_non_exhaustive()
    }
}

impl FromStr for JoinToken {
    type Err = ParseJoinTokenError;

    fn from_str(text: &str) -> Result<Self, ParseJoinTokenError> {
        let parts: Vec<&str> =
            text.trim().strip_prefix(PREFIX).ok_or(ParseJoinTokenError)?.split('/').collect();
        match parts[..] {
            [address, fingerprint, secret]
                if address.contains(':') && fingerprint.len() == 64 && !secret.is_empty() =>
            {
                Ok(Self {
                    address: address.to_owned(),
                    fingerprint: fingerprint.to_owned(),
                    secret: secret.to_owned(),
                })
            }
            _ => Err(ParseJoinTokenError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_and_hides_its_secret() {
        let text = format!("xenith-join:[::1]:8443/{}/s3cret", "a".repeat(64));
        let token: JoinToken = text.parse().unwrap();
        assert_eq!(token.to_string(), text);
        assert!(!format!("{token:?}").contains("s3cret"));
        for bad in ["", "xenith-join:", "xenith-join:host/00/x", "host:1/2/3"] {
            assert_eq!(bad.parse::<JoinToken>(), Err(ParseJoinTokenError), "{bad}");
        }
    }
}
