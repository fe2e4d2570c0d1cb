//! Users, tokens, roles.

use xenith_orchestrator_api::{pool, role, token, user};
use xenith_orchestrator_types::token::{CreateToken, Token, TokenRef};
use xenith_orchestrator_types::user::{
    AccessGround, AccessOf, Barred, Covered, CreateUser, PermissionAccess, RoleInfo, UpdateUser, User,
    UserAccess, UserRef,
};
use xenith_orchestrator_types::{ApiError, Binding, Scope};

use crate::app::App;
use crate::ask;
use crate::cli::{Format, GrantScope, RoleCommand, RoleGrant, TokenCommand, UserCommand};
use crate::error::CliError;
use crate::run::{list, said, totp};
use crate::table::{Cell, Column, Paint, Row, Sheet, Tone};
use crate::words;

impl Row for User {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("name", |user, _| Cell::new(&user.name)),
            Column::new("roles", |user, _| Cell::new(words::bindings(&user.bindings))),
            Column::new("sign_in", |user, _| match user.disabled {
                true => Cell::toned(Tone::Bad, "disabled"),
                false => Cell::toned(Tone::Good, "yes"),
            }),
            Column::new("totp", |user, _| Cell::new(if user.totp { "yes" } else { "no" })),
            Column::new("last_login", |user, _| Cell::new(words::at_or_never(user.last_login))),
            Column::on_request("created", |user, _| Cell::new(words::at(user.created))),
            Column::on_request("id", |user, _| Cell::new(user.id.to_string())),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

pub fn user_sheet(user: &User) -> Sheet {
    let roles = user.bindings.iter().map(words::binding).collect::<Vec<_>>();
    let roles = if roles.is_empty() { vec!["none".to_owned()] } else { roles };
    Sheet::new()
        .line("name", &user.name)
        .line("id", user.id.to_string())
        .each("roles", roles)
        .line("may sign in", if user.disabled { "no" } else { "yes" })
        .line(
            "two-factor",
            match (user.totp, user.totp_due) {
                (true, _) => "on",
                (false, false) => "off",
                (false, true) => "a role asks for it; set it up: xenith user totp-enrol",
            },
        )
        .line("created", words::at(user.created))
        .line("last login", words::at_or_never(user.last_login))
}

fn covered(on: &Covered) -> String {
    let Covered { everything, pools, hosts, srs, networks, vms } = on;
    let far = if *everything { "everything: " } else { "" };
    format!("{far}{vms} VMs, {hosts} hosts, {srs} SRs, {networks} networks, {pools} pools")
}

/// A line for all of it, and one for each role where there are several.
fn permission_lines(of: &PermissionAccess) -> Vec<String> {
    let by =
        |ground: &AccessGround| format!("{}, by {}", covered(&ground.on), words::binding(&ground.binding));
    match of.grounds.as_slice() {
        [] => vec!["one's own account".to_owned()],
        [one] => vec![by(one)],
        all => std::iter::once(covered(&of.on)).chain(all.iter().map(by)).collect(),
    }
}

fn access_sheet(access: &UserAccess) -> Sheet {
    let barred = access.barred.map(|why| match why {
        Barred::Disabled => "the user is disabled: nothing of this holds",
        Barred::SecondFactorDue => "two-factor sign-in is to be set up first: until then, only tokens work",
    });
    let sheet = Sheet::new().line("name", &access.name).maybe("barred", barred);
    let each = |sheet: Sheet, of: &PermissionAccess| sheet.each(of.permission.as_str(), permission_lines(of));
    access.permissions.iter().fold(sheet, each)
}

impl Row for Token {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("name", |token, _| Cell::new(&token.name)),
            Column::new("rights", |token, _| match token.bindings.as_slice() {
                [] => Cell::new("all of its user"),
                bindings => Cell::new(words::bindings(bindings)),
            }),
            Column::new("expires", |token, _| Cell::new(words::at(token.expires))),
            Column::on_request("created", |token, _| Cell::new(words::at(token.created))),
            Column::on_request("user", |token, _| Cell::new(token.user.to_string())),
            Column::new("id", |token, _| Cell::new(token.id.to_string())),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

impl Row for RoleInfo {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("role", |info, _| Cell::new(info.role.to_string())),
            Column::new("permissions", |info, _| {
                let words: Vec<_> =
                    info.permissions.iter().map(|one| format!("{one:?}").to_lowercase()).collect();
                Cell::list(&words)
            }),
        ]
    }

    fn name(&self) -> String {
        self.role.to_string()
    }

    fn id(&self) -> String {
        self.role.to_string()
    }
}

/// Pools by name become pools by id: roles are kept by id, so that renaming a pool changes no rights.
async fn bindings(app: &App, grants: Vec<RoleGrant>) -> Result<Vec<Binding>, CliError> {
    let needs_pools = grants.iter().any(|grant| matches!(grant.scope, GrantScope::Pool(_)));
    let pools = if needs_pools { app.all::<pool::List, _>().await? } else { Vec::new() };
    let binding = |grant: RoleGrant| {
        let scope = match grant.scope {
            GrantScope::All => Scope::All,
            GrantScope::Tag(tag) => Scope::Tag(tag),
            GrantScope::Pool(name) => {
                let found = pools.iter().find(|pool| pool.name == name || pool.id.to_string() == name);
                Scope::Pool(found.ok_or_else(|| ApiError::not_found("pool", &name))?.id)
            }
        };
        Ok(Binding { role: grant.role, scope })
    };
    grants.into_iter().map(binding).collect()
}

pub async fn user(app: &App, command: UserCommand) -> Result<(), CliError> {
    match command {
        UserCommand::List(listing) => list::<user::List, User>(app, &listing).await,
        UserCommand::Get { user } => {
            let user = app.call::<user::Get>(&UserRef { user }).await?;
            app.out.object(&user, || user_sheet(&user))
        }
        UserCommand::Access { user } => {
            let access = app.call::<user::Access>(&AccessOf { user }).await?;
            app.out.value(&access, || access_sheet(&access).render(Paint::Plain))
        }
        UserCommand::Create { name, roles, keyed } => {
            let bindings = bindings(app, roles).await?;
            let password = ask::new_secret(&format!("Password of {name}"), "XENITH_NEW_PASSWORD")?;
            let user = app.change::<user::Create>(&CreateUser { name, password, bindings }, &keyed).await?;
            app.out.object(&user, || user_sheet(&user))
        }
        UserCommand::Update { user, roles, no_roles, password, disable, enable, keyed } => {
            let bindings = match (no_roles, roles.is_empty()) {
                (true, _) => Some(Vec::new()),
                (false, true) => None,
                (false, false) => Some(bindings(app, roles).await?),
            };
            let password = match password {
                true => Some(ask::new_secret(&format!("New password of {user}"), "XENITH_NEW_PASSWORD")?),
                false => None,
            };
            let disabled = (disable || enable).then_some(disable);
            if bindings.is_none() && password.is_none() && disabled.is_none() {
                return Err(CliError::usage("nothing to change was given"));
            }
            let params = UpdateUser { user, password, bindings, disabled };
            let user = app.change::<user::Update>(&params, &keyed).await?;
            app.out.object(&user, || user_sheet(&user))
        }
        UserCommand::Delete { user, confirm, keyed } => {
            ask::confirm(&format!("Delete the user {user}, their sessions and tokens?"), confirm)?;
            app.change::<user::Delete>(&UserRef { user: user.clone() }, &keyed).await?;
            said(app, &format!("{user} is deleted"));
            Ok(())
        }
        UserCommand::TotpEnrol { keyed } => totp::enrol(app, &keyed).await,
        UserCommand::TotpConfirm { keyed } => totp::confirm(app, &keyed).await,
        UserCommand::TotpDisable { keyed } => totp::disable(app, &keyed).await,
        UserCommand::TotpReset { user, confirm, keyed } => {
            ask::confirm(&format!("Turn the two-factor sign-in of {user} off?"), confirm)?;
            let user = app.change::<user::TotpReset>(&UserRef { user }, &keyed).await?;
            app.out.object(&user, || user_sheet(&user))
        }
    }
}

pub async fn token(app: &App, command: TokenCommand) -> Result<(), CliError> {
    match command {
        TokenCommand::List(listing) => list::<token::List, Token>(app, &listing).await,
        TokenCommand::Create { name, days, roles, keyed } => {
            let bindings = bindings(app, roles).await?;
            let created = app.change::<token::Create>(&CreateToken { name, days, bindings }, &keyed).await?;
            if matches!(app.out.format, Format::Name | Format::Id) {
                return app.out.line(&created.secret);
            }
            app.out.value(&created, || format!("{}\n", created.secret))?;
            let expires = words::at(created.token.expires);
            said(app, &format!("Keep it: it is not shown again. It works until {expires}"));
            Ok(())
        }
        TokenCommand::Revoke { token, confirm, keyed } => {
            ask::confirm(&format!("Revoke the token {token}?"), confirm)?;
            app.change::<token::Revoke>(&TokenRef { token: token.clone() }, &keyed).await?;
            said(app, &format!("{token} is revoked"));
            Ok(())
        }
    }
}

pub async fn role(app: &App, RoleCommand::List(listing): RoleCommand) -> Result<(), CliError> {
    list::<role::List, RoleInfo>(app, &listing).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_in_words() {
        let on = serde_json::json!({
            "everything": false, "pools": 0, "hosts": 0, "srs": 0, "networks": 0, "vms": 3,
        });
        let ground = |role: &str, tag: &str| serde_json::json!({ "binding": { "role": role, "scope": { "kind": "tag", "value": tag } }, "on": on });
        let access: UserAccess = serde_json::from_value(serde_json::json!({
            "user": "01890a5d-ac96-774b-bcce-b302099a8057", "name": "dora", "barred": "disabled",
            "permissions": [
                { "permission": "own", "methods": ["auth.whoami"], "on": on, "grounds": [] },
                {
                    "permission": "view", "methods": ["vm.list"], "on": on,
                    "grounds": [ground("viewer", "dev"), ground("operator", "test")],
                },
                { "permission": "operate", "methods": ["vm.start"], "on": on, "grounds": [ground("operator", "test")] },
            ],
        }))
        .unwrap();
        let shown = access_sheet(&access).render(Paint::Plain);
        let covers = "3 VMs, 0 hosts, 0 SRs, 0 networks, 0 pools";
        let by = |binding: &str| format!("{covers}, by {binding}");
        let (viewer, operator) = (by("viewer@tag:dev"), by("operator@tag:test"));
        let lines: Vec<_> =
            shown.lines().map(|line| line.split_at(9)).map(|(of, text)| (of.trim(), text)).collect();
        assert_eq!(
            lines,
            [
                ("name", "dora"),
                ("barred", "the user is disabled: nothing of this holds"),
                ("own", "one's own account"),
                ("view", covers),
                ("", viewer.as_str()),
                ("", operator.as_str()),
                ("operate", operator.as_str()),
            ]
        );
    }
}
