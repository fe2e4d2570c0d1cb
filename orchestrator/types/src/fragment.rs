//! Parts of cloud-init's user data that are kept under a name, for the VMs of many deployments.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{FragmentId, PoolId};

use crate::Reference;

/// What cloud-init does with a fragment. It follows from how the text begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FragmentKind {
    /// `#cloud-config`: merged with the others of this kind.
    CloudConfig,
    /// `#!`: run once, at the end of the first boot, after those before it.
    Script,
    /// `#cloud-boothook`: run early in every boot.
    Boothook,
}

impl FragmentKind {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CloudConfig => "cloud_config",
            Self::Script => "script",
            Self::Boothook => "boothook",
        }
    }
}

/// Without its text, which may hold secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fragment {
    pub id: FragmentId,
    /// Unique within the pool.
    pub name: String,
    pub description: String,
    pub pool: PoolId,
    pub kind: FragmentKind,
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub changed: OffsetDateTime,
}

/// For those who may make VMs with it, and could read it there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FragmentContents {
    pub fragment: Fragment,
    pub user_data: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateFragment {
    pub name: String,
    /// `#cloud-config` or a script, also below `## template: jinja`; or `#cloud-boothook`. `${name}`, `${hostname}` and the
    /// variables of a deployment are replaced then.
    pub user_data: String,
    #[serde(default)]
    pub pool: Option<Reference>,
    #[serde(default)]
    pub description: String,
}

/// What is not said stays. VMs that were made with it stay as they are.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateFragment {
    pub fragment: Reference,
    #[serde(default)]
    pub user_data: Option<String>,
    #[serde(default)]
    pub description: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FragmentRef {
    pub fragment: Reference,
}
