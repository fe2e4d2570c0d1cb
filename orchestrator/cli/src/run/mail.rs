//! The mail server that reports go through.

use xenith_orchestrator_api::mail;
use xenith_orchestrator_types::Empty;
use xenith_orchestrator_types::mail::{MailSecurity, MailSettings, SetMail, TestMail};

use crate::app::App;
use crate::ask;
use crate::cli::{MailCommand, MailPrivacy, MailServer};
use crate::error::CliError;
use crate::run::said;
use crate::table::Sheet;

fn sheet(settings: &MailSettings) -> Sheet {
    if settings.server.is_empty() {
        return Sheet::new().line("server", "none: no mail is sent");
    }
    Sheet::new()
        .line("server", &settings.server)
        .line("port", settings.port.to_string())
        .line("security", settings.security.as_str())
        .maybe("user", Some(&settings.user))
        .line("from", &settings.from)
        .line(
            "certificates",
            if settings.authority_pem.is_empty() { "the machine's" } else { "its own, too" },
        )
}

fn request(server: MailServer) -> Result<SetMail, CliError> {
    let authority_pem = match &server.authority {
        Some(path) => std::fs::read_to_string(path).map_err(|source| CliError::File {
            what: "read",
            path: path.clone(),
            source,
        })?,
        None => String::new(),
    };
    let asked = !server.user.is_empty() && !server.keep_password;
    let question = || ask::secret(&format!("Password of {}", server.user), "XENITH_MAIL_PASSWORD");
    let password = asked.then(question).transpose()?;
    Ok(SetMail {
        server: server.server,
        port: server.port,
        security: match server.security {
            MailPrivacy::Starttls => MailSecurity::Starttls,
            MailPrivacy::Tls => MailSecurity::Tls,
            MailPrivacy::None => MailSecurity::None,
        },
        user: server.user,
        password,
        from: server.from,
        authority_pem,
    })
}

pub async fn run(app: &App, command: MailCommand) -> Result<(), CliError> {
    let shown = match command {
        MailCommand::Get => app.call::<mail::Get>(&Empty {}).await?,
        MailCommand::Set(server) => {
            let keyed = server.keyed.clone();
            app.change::<mail::Set>(&request(server)?, &keyed).await?
        }
        MailCommand::Test { to, keyed } => {
            app.change::<mail::Test>(&TestMail { to: to.clone() }, &keyed).await?;
            said(app, &format!("The server took a message for {to}"));
            return Ok(());
        }
    };
    app.out.value(&shown, || sheet(&shown).render(app.out.paint))
}
