//! The orchestrator itself.

use xenith_orchestrator_api::system;
use xenith_orchestrator_types::Empty;
use xenith_orchestrator_types::system::ShownCertificate;

use crate::app::App;
use crate::cli::SystemCommand;
use crate::error::CliError;
use crate::table::{Cell, Sheet, Tone};
use crate::words;

pub async fn run(app: &App, command: SystemCommand) -> Result<(), CliError> {
    match command {
        SystemCommand::Info => {
            let info = app.call::<system::Info>(&Empty {}).await?;
            let url = app.client().await?.endpoint().to_string();
            app.out.value(&info, || {
                Sheet::new()
                    .line("orchestrator", url)
                    .line("version", &info.version)
                    .line("authority", &info.authority)
                    .maybe("authority expires", info.authority_expires.map(words::at))
                    .maybe("certificate expires", info.certificate.as_ref().map(shown))
                    .render(app.out.paint)
            })
        }
        SystemCommand::Health => {
            let health = app.call::<system::Health>(&Empty {}).await?;
            let unknown = match health.hosts_unknown {
                0 => Cell::toned(Tone::Good, "0"),
                some => Cell::toned(Tone::Bad, some.to_string()),
            };
            let store = match &health.read_only {
                None => Cell::toned(Tone::Good, "writable"),
                Some(reason) => Cell::toned(Tone::Bad, format!("read-only: {reason}")),
            };
            app.out.value(&health, || {
                Sheet::new()
                    .line("hosts", health.hosts.to_string())
                    .cell("hosts not heard", unknown)
                    .line("vms", health.vms.to_string())
                    .line("vms running", health.vms_running.to_string())
                    .line("tasks active", health.tasks_active.to_string())
                    .cell("store", store)
                    .render(app.out.paint)
            })
        }
    }
}

fn shown(certificate: &ShownCertificate) -> String {
    let who = if certificate.from_files { "from files: renew it" } else { "renews itself" };
    format!("{} ({who})", words::at(certificate.expires))
}
