//! Power control: switching a host on and off past its system, through its management controller.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xenith_common_ids::HostId;

use crate::Reference;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PowerControlKind {
    /// DMTF's, over HTTPS. The certificate is known by its fingerprint.
    Redfish,
    /// IPMI 2.0 over the network, by `ipmitool` on the orchestrator's machine.
    Ipmi,
}

/// Where the power of a host is switched. The password is never shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PowerControl {
    pub kind: PowerControlKind,
    /// `host` or `host:port`.
    pub address: String,
    pub user: String,
    /// SHA-256 of its certificate, in hexadecimal. For Redfish.
    pub fingerprint: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostPowerControl {
    pub host: HostId,
    /// `None`: there is none.
    pub control: Option<PowerControl>,
}

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPowerControl {
    pub host: Reference,
    /// Left out: there is none any more, and the rest counts for nothing.
    #[serde(default)]
    pub kind: Option<PowerControlKind>,
    /// Of the management controller of this host and of no other: what it switches off is taken for this host.
    #[serde(default)]
    pub address: String,
    #[serde(default)]
    pub user: String,
    /// Left out: the one that is known stays, for the same address, user and certificate.
    #[serde(default)]
    pub password: Option<String>,
    /// SHA-256 of its certificate, in hexadecimal, with or without colons. Redfish needs it.
    #[serde(default)]
    pub fingerprint: Option<String>,
}

impl std::fmt::Debug for SetPowerControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SetPowerControl({}: {:?} at {} as {})", self.host, self.kind, self.address, self.user)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PowerOrder {
    /// Only asks.
    Status,
    On,
    /// At once, as by a long press of the button.
    Off,
    /// Off and on again.
    Cycle,
}

/// What a management controller says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MachinePower {
    On,
    Off,
    /// On its way, or something else than either.
    Unknown,
}

impl MachinePower {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Unknown => "unknown",
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderPower {
    pub host: Reference,
    pub order: PowerOrder,
    /// Off and cycle also while VMs run there, or while nobody knows: they lose what is in their memory.
    #[serde(default)]
    pub force: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostMachinePower {
    pub host: HostId,
    /// As it was said after the order, which may take some seconds.
    pub power: MachinePower,
}
