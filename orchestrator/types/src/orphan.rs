//! What hosts and records do not agree on. It is told; nothing is removed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::OrphanId;

/// Why something does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OrphanKind {
    /// A host has the definition of a VM that no record knows.
    Definition,
    /// A host runs a domain that an agent of ours made, and that neither a definition nor a record knows.
    Domain,
    /// A host has a VM that is recorded on another host.
    Elsewhere,
    /// A VM is recorded on a host that does not know it any more.
    Lost,
    /// An SR holds an image that no record knows.
    Image,
    /// A VDI is recorded in an SR that does not hold it.
    Missing,
    /// An image is there and cannot be used.
    Damaged,
    /// An SR holds a file that is no image, such as one half written.
    LeftOver,
    /// A record is about something that is gone: a name or an address that is taken for nothing.
    Record,
}

impl OrphanKind {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Definition => "definition",
            Self::Domain => "domain",
            Self::Elsewhere => "elsewhere",
            Self::Lost => "lost",
            Self::Image => "image",
            Self::Missing => "missing",
            Self::Damaged => "damaged",
            Self::LeftOver => "left-over",
            Self::Record => "record",
        }
    }
}

/// Something that a host has and no record knows, or a record that no host bears out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Orphan {
    pub id: OrphanId,
    pub kind: OrphanKind,
    /// `vm/…`, `vdi/…`, `snapshot/…`, `file/…`, `name/…`, `mac/…`.
    pub subject: String,
    pub name: String,
    /// The name of the host that it is on.
    pub host: Option<String>,
    /// What it is, and what can be done about it.
    pub message: String,
    /// When it was found.
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub since: OffsetDateTime,
}
