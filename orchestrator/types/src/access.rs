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
    /// What belongs to a pool: its hosts, networks and SRs, its VMs' backups, tasks that are stuck.
    Administer,
    /// What all pools share: the pools themselves, repositories, sources of imports, alarm rules, mail; a shell of a host,
    /// from which the secrets of repositories can be read.
    System,
    /// Users, roles, other people's tokens, the audit log.
    Secure,
}

impl Permission {
    pub const ALL: [Self; 8] = [
        Self::Anyone,
        Self::Own,
        Self::View,
        Self::Operate,
        Self::Provision,
        Self::Administer,
        Self::System,
        Self::Secure,
    ];

    /// As the API writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anyone => "anyone",
            Self::Own => "own",
            Self::View => "view",
            Self::Operate => "operate",
            Self::Provision => "provision",
            Self::Administer => "administer",
            Self::System => "system",
            Self::Secure => "secure",
        }
    }

    /// How far it holds for who has it through a role that holds somewhere.
    #[must_use]
    pub const fn reach(self) -> Reach {
        match self {
            Self::Anyone | Self::Own => Reach::Oneself,
            Self::View | Self::Operate | Self::Provision | Self::Administer => Reach::Scope,
            Self::System | Self::Secure => Reach::Everything,
        }
    }
}

/// How far a permission holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It is about nobody else.
    Oneself,
    /// On what the role's scope covers. A pool covers all that is in it; a tag covers VMs, their disks, tasks and
    /// backups, never hosts, networks and SRs.
    Scope,
    /// Only with a role that holds everywhere: nobody makes himself an admin of all pools from within one.
    Everything,
}

impl Reach {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Oneself => "oneself",
            Self::Scope => "scope",
            Self::Everything => "everything",
        }
    }
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
            Permission::Administer | Permission::System | Permission::Secure => matches!(self, Self::Admin),
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

/// Where a role holds. What all pools share, and users, need the scope `all`.
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
