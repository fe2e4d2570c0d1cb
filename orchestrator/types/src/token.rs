//! API tokens: what scripts sign in with.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::{TokenId, UserId};

use crate::{Binding, Reference};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    pub id: TokenId,
    pub user: UserId,
    pub name: String,
    /// What of its user's rights it has.
    pub bindings: Vec<Binding>,
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub created: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub expires: OffsetDateTime,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    pub name: String,
    /// 1 to 366.
    pub days: u16,
    /// Empty: all rights of the user, as they are at each use. Never more than those.
    #[serde(default)]
    pub bindings: Vec<Binding>,
}

/// The only time that the secret is shown.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct CreatedToken {
    pub token: Token,
    pub secret: String,
}

impl std::fmt::Debug for CreatedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedToken").field("token", &self.token).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRef {
    pub token: Reference,
}
