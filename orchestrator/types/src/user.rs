//! People and programs that may sign in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use xenith_common_ids::UserId;

use crate::{Binding, Permission, Reference};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct User {
    pub id: UserId,
    pub name: String,
    pub bindings: Vec<Binding>,
    pub disabled: bool,
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub created: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub last_login: Option<OffsetDateTime>,
    /// After the password, signing in asks for a code.
    #[serde(default)]
    pub totp: bool,
    /// Told by `auth.whoami` alone: a role asks for that, and until it is so nothing but the account is open.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub totp_due: bool,
}

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    pub name: String,
    /// At least 12 characters.
    pub password: String,
    #[serde(default)]
    pub bindings: Vec<Binding>,
}

impl std::fmt::Debug for CreateUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreateUser").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserRef {
    pub user: Reference,
}

/// Only the fields that are given change.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateUser {
    pub user: Reference,
    #[serde(default)]
    pub password: Option<String>,
    #[serde(default)]
    pub bindings: Option<Vec<Binding>>,
    #[serde(default)]
    pub disabled: Option<bool>,
}

impl std::fmt::Debug for UpdateUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpdateUser").field("user", &self.user).finish_non_exhaustive()
    }
}

/// The caller's password once more: who finds a session open does not change how its user signs in.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnPassword {
    pub password: String,
}

impl std::fmt::Debug for OwnPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnPassword(secret)")
    }
}

/// For an authenticator app. The only time that the secret is shown; it counts once a code of it was given.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct TotpEnrolment {
    /// `otpauth://totp/…`, which apps read as a QR code.
    pub uri: String,
    /// The same secret in base32, to be typed.
    pub secret: String,
}

impl std::fmt::Debug for TotpEnrolment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TotpEnrolment(secret)")
    }
}

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmTotp {
    /// The six digits that the app shows now.
    pub code: String,
}

impl std::fmt::Debug for ConfirmTotp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ConfirmTotp(secret)")
    }
}

/// Each is good for one sign-in in place of a code. The only time that they are shown.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct RecoveryCodes {
    pub codes: Vec<String>,
}

impl std::fmt::Debug for RecoveryCodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecoveryCodes").field("codes", &self.codes.len()).finish()
    }
}

/// A role and the permissions that it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoleInfo {
    pub role: crate::Role,
    pub permissions: Vec<Permission>,
}

/// Whose access to tell: one's own where nobody is named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccessOf {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Reference>,
}

/// What a user may do, on what, and by which of their roles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UserAccess {
    pub user: UserId,
    pub name: String,
    /// Why nothing of this holds at present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub barred: Option<Barred>,
    /// Those that they have, in a fixed order. What is not here, they may not do.
    pub permissions: Vec<PermissionAccess>,
}

/// Why a user's roles give them nothing at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Barred {
    /// They may not sign in.
    Disabled,
    /// A role of theirs asks for two-factor sign-in, which they have not set up. Tokens of theirs work.
    SecondFactorDue,
}

/// One permission of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PermissionAccess {
    pub permission: Permission,
    /// The methods and subscriptions that need it.
    pub methods: Vec<String>,
    /// On how much of what is there now, by all grounds together.
    pub on: Covered,
    /// The roles that give it. None: everybody who signs in has it, for their own account.
    pub grounds: Vec<AccessGround>,
}

/// A role that gives a permission, and how much it covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccessGround {
    pub binding: Binding,
    pub on: Covered,
}

/// How much a scope covers at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Covered {
    /// Also what comes later, and what is in no pool.
    pub everything: bool,
    pub pools: u64,
    pub hosts: u64,
    pub srs: u64,
    pub networks: u64,
    pub vms: u64,
}
