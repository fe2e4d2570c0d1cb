//! Users, tokens, roles.

use xenith_orchestrator_inventory::listing::{Cells, Listing, YES_NO};
use xenith_orchestrator_inventory::{ColumnKind, Schema, Unit};
use xenith_orchestrator_types::Binding;
use xenith_orchestrator_types::token::Token;
use xenith_orchestrator_types::user::{RoleInfo, User};

use super::{of, text, whole};

fn roles(bindings: &[Binding]) -> Vec<String> {
    let mut roles: Vec<String> = bindings.iter().map(|binding| binding.role.to_string()).collect();
    roles.sort_unstable();
    roles.dedup();
    roles
}

pub struct UserRow(pub User);

pub static USER: Schema = Schema {
    noun: "user",
    default_sort: "name",
    columns: &[
        text("name", "a part of the name"),
        of("role", ColumnKind::Labels, "a role, wherever it holds"),
        of("disabled", ColumnKind::Choice(YES_NO), "whether they may not sign in"),
        of("totp", ColumnKind::Choice(YES_NO), "whether signing in asks for a code"),
        of("created", ColumnKind::Number(Unit::Time), "when the user was made"),
        of("age", ColumnKind::Age("created"), "time since then, such as >30d"),
        of("last_login", ColumnKind::Number(Unit::Time), "when they signed in last; none: never"),
    ],
};

impl Listing for UserRow {
    const SCHEMA: &'static Schema = &USER;

    fn id(&self) -> [u8; 16] {
        *self.0.id.as_bytes()
    }

    fn cells(&self, cells: &mut Cells<'_>) {
        let user = &self.0;
        cells.text(&user.name).texts(&roles(&user.bindings));
        cells.yes_no(user.disabled.into()).yes_no(user.totp.into());
        cells.time(Some(user.created)).time(user.last_login);
    }
}

pub struct TokenRow {
    pub token: Token,
    /// Whose it is, by name.
    pub user: String,
}

pub static TOKEN: Schema = Schema {
    noun: "token",
    default_sort: "name",
    columns: &[
        text("name", "a part of the name"),
        whole("user", "the name of its user"),
        of("role", ColumnKind::Labels, "a role that it is limited to; none: all that its user has"),
        of("created", ColumnKind::Number(Unit::Time), "when it was made"),
        of("age", ColumnKind::Age("created"), "time since then, such as >30d"),
        of("expires", ColumnKind::Number(Unit::Time), "when it ends, such as <2026-12-31"),
    ],
};

impl Listing for TokenRow {
    const SCHEMA: &'static Schema = &TOKEN;

    fn id(&self) -> [u8; 16] {
        *self.token.id.as_bytes()
    }

    fn cells(&self, cells: &mut Cells<'_>) {
        let token = &self.token;
        cells.text(&token.name).text(&self.user).texts(&roles(&token.bindings));
        cells.time(Some(token.created)).time(Some(token.expires));
    }
}

pub struct RoleRow(pub RoleInfo);

pub static ROLE: Schema = Schema {
    noun: "role",
    default_sort: "rank",
    columns: &[
        text("name", "a part of the name"),
        of("permission", ColumnKind::Labels, "a permission that it holds"),
        of("rank", ColumnKind::Number(Unit::Count), "how many permissions it holds"),
    ],
};

impl Listing for RoleRow {
    const SCHEMA: &'static Schema = &ROLE;

    /// Roles have no ids: their place among all of them.
    fn id(&self) -> [u8; 16] {
        u128::from(self.0.role as u8).to_be_bytes()
    }

    fn cells(&self, cells: &mut Cells<'_>) {
        let RoleInfo { role, permissions } = &self.0;
        let words: Vec<String> = permissions.iter().map(|one| format!("{one:?}").to_lowercase()).collect();
        cells.text(role.as_str()).texts(&words).number(Some(permissions.len() as u64));
    }
}
