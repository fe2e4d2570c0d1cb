//! Who may do what: permissions, roles made of them, and where a role holds.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xenith_common_ids::PoolId;

/// What one method of the API needs. Each method names exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Permission {
    /// Nothing: signing in, version.
    Anyone,
    /// One's own account.
    Own,
    /// Look at inventory, tasks and events.
    View,
    /// Start, stop and change what is there.
    Operate,
    /// Create and delete VMs, disks and networks.
    Provision,
    /// Hosts, pools, the system.
    Administer,
    /// Users, roles, other people's tokens, the audit log.
    Secure,
}

impl Permission {
    pub const ALL: [Self; 7] =
        [Self::Anyone, Self::Own, Self::View, Self::Operate, Self::Provision, Self::Administer, Self::Secure];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Viewer,
    Operator,
    Admin,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    #[must_use]
    pub const fn allows(self, permission: Permission) -> bool {
        match permission {
            Permission::Anyone | Permission::Own | Permission::View => true,
            Permission::Operate | Permission::Provision => matches!(self, Self::Operator | Self::Admin),
            Permission::Administer | Permission::Secure => matches!(self, Self::Admin),
        }
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not a role; use viewer, operator or admin"))
    }
}

/// Where a role holds. Permissions on hosts, pools, users and the system need the scope `all`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", tag = "kind", content = "value")]
pub enum Scope {
    All,
    Pool(PoolId),
    /// VMs with this tag.
    Tag(String),
}

/// A role somewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    pub role: Role,
    pub scope: Scope,
}
