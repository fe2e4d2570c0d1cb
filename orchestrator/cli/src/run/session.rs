//! Signing in and out, and the contexts that remember it.
//!
//! Order of a login: know the server (pin, or a person compares the fingerprint), then send the password, then with it
//! the code of the second factor where there is one, then store the session. A crash before the last leaves a session on
//! the server that ends by itself.

use serde::Serialize;
use xenith_orchestrator_api::auth;
use xenith_orchestrator_client::{Client, ClientError, Credential, Endpoint, Pin, Presented, Trust, probe};
use xenith_orchestrator_types::auth::{Credentials, LoggedIn, NewPassword};
use xenith_orchestrator_types::user::User;
use xenith_orchestrator_types::{ApiError, Empty, Reason};

use crate::app::App;
use crate::ask;
use crate::cli::{Columns, ContextCommand, Login};
use crate::config::{Context, Contexts};
use crate::error::CliError;
use crate::run::said;
use crate::table::{Cell, Column, Names, Row, Tone};

pub async fn login(app: &App, login: Login) -> Result<(), CliError> {
    let contexts = Contexts::load()?;
    let endpoint = endpoint(app, &login, &contexts)?;
    let name = context_name(app, &login, &contexts, &endpoint);
    let trust = trust(app, &login, &contexts, &endpoint).await?;
    let (credential, user) = if login.with_token {
        let token = ask::secret("Token", "XENITH_TOKEN")?;
        let client = Client::connect(endpoint.clone(), trust, Credential::Bearer(token.clone())).await?;
        (token, client.call::<auth::Whoami>(&Empty {}).await?)
    } else {
        // The server first: a password is not typed for nothing.
        let client = Client::connect(endpoint.clone(), trust, Credential::None).await?;
        let user = match &login.user {
            Some(user) => user.clone(),
            None => ask::text("User", "--user")?,
        };
        let password = ask::secret(&format!("Password of {user}"), "XENITH_PASSWORD")?;
        let signed_in = sign_in(&client, Credentials { name: user, password, code: None }).await?;
        (signed_in.session, signed_in.user)
    };
    let context = Context {
        url: endpoint.to_string(),
        fingerprint: match trust {
            Trust::Pinned(pin) => Some(pin.to_string()),
            Trust::System => None,
        },
        user: Some(user.name.clone()),
        credential: Some(credential),
    };
    Contexts::update(|contexts| {
        contexts.contexts.insert(name.clone(), context);
        contexts.current = Some(name.clone());
        Ok(())
    })?;
    app.note(&format!("Signed in to {endpoint} as {} (context {name})", user.name));
    Ok(())
}

/// A code is asked for only where the orchestrator wants one, which it tells once the password is right.
async fn sign_in(client: &Client, mut credentials: Credentials) -> Result<LoggedIn, CliError> {
    match client.call::<auth::Login>(&credentials).await {
        Err(ClientError::Api(error)) if wants_code(&error) => {
            credentials.code = Some(ask::secret("Code or recovery code", "XENITH_CODE")?);
            Ok(client.call::<auth::Login>(&credentials).await?)
        }
        other => Ok(other?),
    }
}

fn wants_code(error: &ApiError) -> bool {
    error.reason() == Reason::Invalid && error.data.field.as_deref() == Some("code")
}

fn endpoint(app: &App, login: &Login, contexts: &Contexts) -> Result<Endpoint, CliError> {
    if let Some(endpoint) = login.to.as_ref().or(app.global.endpoint.as_ref()) {
        return Ok(endpoint.clone());
    }
    let current = app.global.context.as_ref().or(contexts.current.as_ref());
    match current {
        Some(name) => Ok(contexts.find(name)?.url.parse()?),
        None => Err(CliError::usage_next(
            "no orchestrator is known yet",
            "give its address: xenith login https://HOST:8443",
        )),
    }
}

/// As said; else that of a context for the same address; else the host's name.
fn context_name(app: &App, login: &Login, contexts: &Contexts, endpoint: &Endpoint) -> String {
    let same = |context: &Context| context.url == endpoint.to_string();
    let known = || {
        let current = contexts.current.as_ref().and_then(|name| contexts.contexts.get_key_value(name));
        let mut candidates = current.into_iter().chain(&contexts.contexts);
        candidates.find(|(_, context)| same(context)).map(|(name, _)| name.clone())
    };
    login
        .save_as
        .clone()
        .or_else(|| app.global.context.clone())
        .or_else(known)
        .unwrap_or_else(|| endpoint.address().0)
}

/// A pin that is known is never replaced by what a server shows: only by --fingerprint.
async fn trust(
    app: &App,
    login: &Login,
    contexts: &Contexts,
    endpoint: &Endpoint,
) -> Result<Trust, CliError> {
    if let Some(pin) = app.global.pin {
        return Ok(Trust::Pinned(pin));
    }
    let known = contexts.contexts.values().find(|context| context.url == endpoint.to_string());
    if let Some(text) = known.and_then(|context| context.fingerprint.as_ref()) {
        let pin = text.parse().map_err(|_| CliError::usage("the fingerprint in the contexts is damaged"))?;
        return Ok(Trust::Pinned(pin));
    }
    let Some(presented) = probe(endpoint).await? else { return Ok(Trust::System) };
    introduce(app, endpoint, &presented);
    if !login.accept_new {
        if !ask::somebody() {
            return Err(ClientError::Untrusted {
                url: endpoint.to_string(),
                problem: format!("nobody has compared its fingerprint {}", presented.fingerprint),
            }
            .into());
        }
        ask::yes("Is that the fingerprint that the orchestrator printed when it started?")?;
    }
    Ok(Trust::Pinned(presented.fingerprint))
}

fn introduce(app: &App, endpoint: &Endpoint, presented: &Presented) {
    let kind = match presented.kind {
        Pin::Authority => "the installation's authority",
        Pin::Certificate => "its certificate",
    };
    app.note(&format!("{endpoint} is not known yet. SHA-256 fingerprint of {kind}:"));
    app.note(&format!("  {}", presented.fingerprint));
    if !presented.names.is_empty() {
        app.note(&format!("Its certificate is for {}.", presented.names.join(", ")));
    }
}

pub async fn logout(app: &App) -> Result<(), CliError> {
    let target = Contexts::load()?.target(&app.global)?;
    let ended = match app.call::<auth::Logout>(&Empty {}).await {
        // It is over already: that is what was wanted.
        Err(CliError::Client(ClientError::Api(error))) if error.reason() == Reason::Unauthenticated => Ok(()),
        other => other.map(|Empty {}| ()),
    };
    if let Some(name) = &target.context {
        Contexts::update(|contexts| {
            if let Some(context) = contexts.contexts.get_mut(name) {
                context.credential = None;
            }
            Ok(())
        })?;
    }
    ended?;
    said(app, &format!("Signed out of {}", target.endpoint));
    Ok(())
}

pub async fn whoami(app: &App) -> Result<(), CliError> {
    let user: User = app.call::<auth::Whoami>(&Empty {}).await?;
    let sheet =
        super::access::user_sheet(&user).line("orchestrator", app.client().await?.endpoint().to_string());
    app.out.object(&user, || sheet)
}

pub async fn change_password(app: &App) -> Result<(), CliError> {
    app.client().await?;
    let old = ask::secret("Password now", "XENITH_PASSWORD")?;
    let new = ask::new_secret("New password", "XENITH_NEW_PASSWORD")?;
    app.call::<auth::ChangePassword>(&NewPassword { old, new }).await?;
    said(app, "The password is changed; other sessions have ended");
    Ok(())
}

/// A context without its secret.
#[derive(Debug, Serialize)]
struct ContextRow {
    name: String,
    current: bool,
    url: String,
    user: Option<String>,
    signed_in: bool,
    fingerprint: Option<String>,
}

impl Row for ContextRow {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("name", |row, _| Cell::new(&row.name)),
            Column::new("current", |row, _| {
                if row.current { Cell::toned(Tone::Good, "yes") } else { Cell::toned(Tone::Dim, "-") }
            }),
            Column::new("url", |row, _| Cell::new(&row.url)),
            Column::new("user", |row, _| Cell::maybe(row.user.as_ref())),
            Column::new("signed_in", |row, _| Cell::new(if row.signed_in { "yes" } else { "no" })),
            Column::on_request("fingerprint", |row, _| Cell::maybe(row.fingerprint.as_ref())),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.name.clone()
    }
}

pub fn context(app: &App, command: ContextCommand) -> Result<(), CliError> {
    match command {
        ContextCommand::List => {
            let contexts = Contexts::load()?;
            let row = |(name, context): (&String, &Context)| ContextRow {
                name: name.clone(),
                current: contexts.current.as_ref() == Some(name),
                url: context.url.clone(),
                user: context.user.clone(),
                signed_in: context.credential.is_some(),
                fingerprint: context.fingerprint.clone(),
            };
            let rows: Vec<_> = contexts.contexts.iter().map(row).collect();
            app.out.rows(&rows, &Columns::default(), &Names::default())
        }
        ContextCommand::Use { name } => {
            Contexts::update(|contexts| {
                contexts.find(&name)?;
                contexts.current = Some(name.clone());
                Ok(())
            })?;
            said(app, &format!("{name} is the current context"));
            Ok(())
        }
        ContextCommand::Remove { name } => {
            Contexts::update(|contexts| {
                contexts.find(&name)?;
                contexts.contexts.remove(&name);
                contexts.current.take_if(|current| *current == name);
                Ok(())
            })?;
            said(app, &format!("{name} is forgotten; its session, if there was one, ends by itself"));
            Ok(())
        }
    }
}
