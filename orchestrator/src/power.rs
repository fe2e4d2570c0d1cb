//! Management controllers of hosts: what they say of the power, and orders to them.
//!
//! What always holds: *off* is said only where the controller itself said so, in answer to a question that was asked now. An
//! answer that does not come, or is of another form, is an error or *unknown*, and never off. Every exchange ends within
//! [`WITHIN`]. Passwords are in memory while an exchange lasts, and in no argument of a program.

mod ipmi;
mod redfish;

use std::net::IpAddr;
use std::time::Duration;

use xenith_common_pki::Fingerprint;
use xenith_orchestrator_types::power::{MachinePower, PowerControlKind, PowerOrder};

use crate::model::PowerControlRecord;
use crate::secret::{SecretError, Vault};

/// What [`PowerControlRecord::sealed_password`] is sealed for.
pub const SEALED_PASSWORD: &str = "power control";
/// One question or order. Controllers are slow; some take ten seconds for a new session.
pub const WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum PowerError {
    #[error("the power control at {address} does not answer: {why}")]
    Unreachable { address: String, why: String },
    #[error(
        "the power control at {address} refuses {user}: name or password is wrong, or it may not do this"
    )]
    Refused { address: String, user: String },
    #[error("the power control at {address} is not understood: {why}")]
    Odd { address: String, why: String },
    #[error(
        "ipmitool cannot be started on the orchestrator's machine ({0}); install the package ipmitool there"
    )]
    NoProgram(std::io::Error),
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// A controller, with its password.
pub struct Controller {
    kind: PowerControlKind,
    host: String,
    port: u16,
    user: String,
    password: String,
    fingerprint: Option<Fingerprint>,
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Controller({:?} at {})", self.kind, self.address())
    }
}

impl Controller {
    pub fn open(record: &PowerControlRecord, vault: &Vault) -> Result<Self, PowerError> {
        let odd = |why: &str| PowerError::Odd { address: record.address.clone(), why: why.to_owned() };
        let (host, port) =
            parse_address(&record.address, record.kind).ok_or_else(|| odd("its address is none"))?;
        let password = vault.unseal(SEALED_PASSWORD, &record.sealed_password)?;
        let fingerprint = record.fingerprint.as_deref().map(str::parse::<Fingerprint>).transpose();
        Ok(Self {
            kind: record.kind,
            host,
            port,
            user: record.user.clone(),
            password: String::from_utf8(password).map_err(|_| odd("its password is no text"))?,
            fingerprint: fingerprint.map_err(|_| odd("its fingerprint is none"))?,
        })
    }

    fn address(&self) -> String {
        match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V6(ip)) => format!("[{ip}]:{}", self.port),
            _ => format!("{}:{}", self.host, self.port),
        }
    }

    fn unreachable(&self, why: impl ToString) -> PowerError {
        PowerError::Unreachable { address: self.address(), why: why.to_string() }
    }

    fn refused(&self) -> PowerError {
        PowerError::Refused { address: self.address(), user: self.user.clone() }
    }

    fn odd(&self, why: impl ToString) -> PowerError {
        PowerError::Odd { address: self.address(), why: why.to_string() }
    }

    pub async fn power(&self) -> Result<MachinePower, PowerError> {
        self.in_time(async {
            match self.kind {
                PowerControlKind::Redfish => redfish::power(self).await,
                PowerControlKind::Ipmi => ipmi::power(self).await,
            }
        })
        .await
    }

    /// Answered when the controller has taken it; what came of it, [`Self::power`] says.
    pub async fn order(&self, order: PowerOrder) -> Result<(), PowerError> {
        self.in_time(async {
            match (order, self.kind) {
                (PowerOrder::Status, _) => Ok(()),
                (order, PowerControlKind::Redfish) => redfish::order(self, order).await,
                (order, PowerControlKind::Ipmi) => ipmi::order(self, order).await,
            }
        })
        .await
    }

    async fn in_time<T>(
        &self,
        exchange: impl Future<Output = Result<T, PowerError>> + Send,
    ) -> Result<T, PowerError> {
        let late = |_| self.unreachable("nothing was heard in time");
        tokio::time::timeout(WITHIN, exchange).await.map_err(late)?
    }
}

/// Name or address, and port. An IPv6 address with a port has brackets.
pub fn parse_address(text: &str, kind: PowerControlKind) -> Option<(String, u16)> {
    let usual = match kind {
        PowerControlKind::Redfish => 443,
        PowerControlKind::Ipmi => 623,
    };
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some((ip.to_string(), usual));
    }
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((ip, "")) => (ip, usual),
        Some((ip, port)) => (ip, port.strip_prefix(':')?.parse().ok()?),
        None => match text.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (text, usual),
        },
    };
    if text.starts_with('[') {
        return host.parse::<std::net::Ipv6Addr>().ok().map(|ip| (ip.to_string(), port));
    }
    // No hyphen first: it would be an option of a program.
    let name = host.starts_with(|c: char| c.is_ascii_alphanumeric())
        && host.len() <= 253
        && host.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    (name && port != 0).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_controllers() {
        let parse = |text| parse_address(text, PowerControlKind::Ipmi);
        for (text, host, port) in [
            ("bmc1.example.org", "bmc1.example.org", 623),
            ("10.0.0.1:6230", "10.0.0.1", 6230),
            ("fd00::1", "fd00::1", 623),
            ("[fd00::1]", "fd00::1", 623),
            ("[fd00::1]:443", "fd00::1", 443),
        ] {
            assert_eq!(parse(text), Some((host.to_owned(), port)), "{text}");
        }
        assert_eq!(parse_address("bmc1", PowerControlKind::Redfish), Some(("bmc1".to_owned(), 443)));
        for wrong in
            ["", "-oProxy", "bmc1:", "bmc1:0", "https://bmc1", "bmc1/x", "a b", "[bmc1]", "bmc1:99999"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
