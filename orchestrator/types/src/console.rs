//! Consoles: a ticket that opens one, once.
//!
//! The ticket's `path` is for a WebSocket on the orchestrator's own address. Binary messages are bytes both ways
//! (of a terminal, or of RFB for VNC); a text message of the client is a [`ConsoleControl`] as JSON. The
//! orchestrator closes with code 1000 when the console has ended, and with one of [`close`] else, the reason in
//! words.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_hypervisor_agent_types::TerminalSize;

use crate::Reference;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConsoleKind {
    /// The terminal of the guest.
    #[default]
    Serial,
    /// The screen of the guest, by the protocol RFB.
    Vnc,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenVmConsole {
    pub vm: Reference,
    #[serde(default)]
    pub kind: ConsoleKind,
    /// Serial: how many bytes of what was written before come first. Without a number, all that the host
    /// keeps (64 KiB).
    #[serde(default)]
    pub history: Option<u32>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenHostConsole {
    pub host: Reference,
    /// Of the terminal at first; without one, 80 by 24.
    #[serde(default)]
    pub size: Option<TerminalSize>,
}

/// Opens one console, once, within half a minute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConsoleTicket {
    /// Such as `/console/4a7d…`: a WebSocket at the orchestrator's address. Whoever has it gets the console.
    pub path: String,
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub expires: OffsetDateTime,
}

/// What a client says beside bytes: `{"resize": {"columns": 80, "rows": 24}}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ConsoleControl {
    Resize(TerminalSize),
}

/// Codes of a WebSocket that is closed (RFC 6455, 7.4.2: 4000 and up are ours).
pub mod close {
    /// The host refuses or failed; opening it again may help or not, the reason says.
    pub const FAILED: u16 = 4000;
    /// The connection to the host broke, or the orchestrator stops: open it again.
    pub const LOST: u16 = 4001;
    /// The session is over, or the role was taken away.
    pub const NOT_ALLOWED: u16 = 4003;
}
