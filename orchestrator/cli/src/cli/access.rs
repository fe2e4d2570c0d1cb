//! Users, tokens, roles.

use std::str::FromStr;

use clap::Subcommand;
use xenith_orchestrator_types::Role;

use super::{Confirm, Keyed, Listing};

/// `operator`, `viewer@pool:lab`, `operator@tag:dev`: a role and where it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleGrant {
    pub role: Role,
    pub scope: GrantScope,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantScope {
    All,
    /// By name or id.
    Pool(String),
    Tag(String),
}

impl FromStr for RoleGrant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (role, scope) = text.split_once('@').unwrap_or((text, "all"));
        let scope = match scope.split_once(':') {
            None if scope == "all" => GrantScope::All,
            Some(("pool", pool)) if !pool.is_empty() => GrantScope::Pool(pool.to_owned()),
            Some(("tag", tag)) if !tag.is_empty() => GrantScope::Tag(tag.to_owned()),
            _ => return Err(format!("{scope:?} is not where a role holds; use all, pool:NAME or tag:TAG")),
        };
        Ok(Self { role: role.parse()?, scope })
    }
}

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// List users: -f role:admin, -f disabled:yes, -f totp:no.
    List(Listing),
    /// Show one user.
    #[command(visible_alias = "show")]
    Get {
        #[arg(value_name = "USER")]
        user: String,
    },
    /// Tell what a user may do, on what, and by which role; oneself where nobody is named.
    Access {
        #[arg(value_name = "USER")]
        user: Option<String>,
    },
    /// Create a user. The password is asked for, or comes from XENITH_NEW_PASSWORD or standard input.
    Create {
        #[arg(value_name = "NAME")]
        name: String,
        /// viewer, operator or admin; where it holds follows an @: operator@pool:lab, viewer@tag:dev.
        #[arg(long = "role", value_name = "ROLE[@SCOPE]")]
        roles: Vec<RoleGrant>,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Change a user's password, roles or whether they may sign in.
    Update {
        #[arg(value_name = "USER")]
        user: String,
        /// Replaces all roles: viewer, operator or admin; where it holds follows an @.
        #[arg(long = "role", value_name = "ROLE[@SCOPE]", conflicts_with = "no_roles")]
        roles: Vec<RoleGrant>,
        /// Takes all roles away.
        #[arg(long)]
        no_roles: bool,
        /// Asks for a new password (or XENITH_NEW_PASSWORD, or standard input).
        #[arg(long)]
        password: bool,
        /// No longer lets the user sign in.
        #[arg(long, conflicts_with = "enable")]
        disable: bool,
        /// Lets the user sign in again.
        #[arg(long)]
        enable: bool,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Delete a user, their sessions and tokens.
    Delete {
        #[arg(value_name = "USER")]
        user: String,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Make a secret for one's own authenticator app; `totp-confirm` turns two-factor sign-in on.
    ///
    /// One's own password is asked for, or comes from XENITH_PASSWORD or standard input. The secret is shown this once.
    TotpEnrol {
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Turn one's own two-factor sign-in on, with a code of the new secret; prints the recovery codes.
    ///
    /// The code is asked for, or comes from XENITH_CODE or standard input. One's other sessions end.
    TotpConfirm {
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Turn one's own two-factor sign-in off; one's own password is asked for.
    TotpDisable {
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Turn another user's two-factor sign-in off, who has lost phone and recovery codes.
    TotpReset {
        #[arg(value_name = "USER")]
        user: String,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        keyed: Keyed,
    },
}

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// List one's own tokens; an admin of everything sees all: -f user:anna, -f "expires:<2026-12-31".
    List(Listing),
    /// Create a token; its secret is shown this once, alone on standard output.
    Create {
        #[arg(value_name = "NAME")]
        name: String,
        /// How many days it works, 1 to 366.
        #[arg(long, default_value = "90", value_parser = clap::value_parser!(u16).range(1..=366))]
        days: u16,
        /// Only these of one's own rights; without any, all of them.
        #[arg(long = "role", value_name = "ROLE[@SCOPE]")]
        roles: Vec<RoleGrant>,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Revoke a token.
    Revoke {
        #[arg(value_name = "TOKEN")]
        token: String,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        keyed: Keyed,
    },
}

#[derive(Debug, Subcommand)]
pub enum RoleCommand {
    /// List the roles and what they allow.
    List(Listing),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants() {
        for (text, scope) in [
            ("admin", Some(GrantScope::All)),
            ("admin@all", Some(GrantScope::All)),
            ("operator@pool:lab", Some(GrantScope::Pool("lab".into()))),
            ("viewer@tag:a:b", Some(GrantScope::Tag("a:b".into()))),
            ("viewer@pool:", None),
            ("viewer@lab", None),
            ("root", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<RoleGrant>().ok().map(|grant| grant.scope), scope, "{text}");
        }
    }
}
