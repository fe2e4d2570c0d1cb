//! Virtual disk images.

pub(super) mod export;
mod upload;

use xenith_orchestrator_api::vdi;
use xenith_orchestrator_client::VdiChanges;
use xenith_orchestrator_types::vdi::{
    BreakLease, CloneVdi, CopyVdi, CreateVdi, ImportVdi, MigrateVdi, ResizeVdi, Vdi, VdiRef,
};

use crate::app::App;
use crate::ask;
use crate::cli::VdiCommand;
use crate::error::CliError;
use crate::run::list;
use crate::run::watch::follow;
use crate::table::{Cell, Column, Row, Sheet};
use crate::wait::{begin, begin_or_plan, plan};
use crate::words;

impl Row for Vdi {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("name", |vdi, _| Cell::new(&vdi.name)),
            Column::new("size", |vdi, _| Cell::new(words::bytes(vdi.size.bytes()))),
            Column::new("host", |vdi, names| Cell::new(names.host(vdi.host))),
            Column::new("attached_to", |vdi, _| Cell::maybe(vdi.attached_to.map(|vm| vm.to_string()))),
            Column::on_request("sr", |vdi, _| Cell::new(vdi.sr.to_string())),
            Column::on_request("id", |vdi, _| Cell::new(vdi.id.to_string())),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

pub async fn run(app: &App, command: VdiCommand) -> Result<(), CliError> {
    match command {
        VdiCommand::List { watch: true, listing } => follow::<VdiChanges, _, _>(app, &listing).await,
        VdiCommand::List { watch: false, listing } => list::<vdi::List, Vdi>(app, &listing).await,
        VdiCommand::Create { name, size, host, sr, tasked } => {
            begin::<vdi::Create>(app, &CreateVdi { name, size, host, sr }, &tasked).await
        }
        VdiCommand::Import { name, url, sha256, host, sr, tasked } => {
            begin::<vdi::Import>(app, &ImportVdi { name, host, sr, url, sha256 }, &tasked).await
        }
        VdiCommand::Get { vdi } => {
            let found = app.call::<vdi::Get>(&VdiRef { vdi }).await?;
            let names = app.names().await;
            app.out.object(&found, || {
                Sheet::new()
                    .line("name", &found.name)
                    .line("id", found.id.to_string())
                    .line("size", words::bytes(found.size.bytes()))
                    .line("host", names.host(found.host))
                    .line("sr", found.sr.to_string())
                    .maybe("attached to", found.attached_to.map(|vm| vm.to_string()))
                    .maybe("held by task", found.held_by.map(|task| task.to_string()))
                    .maybe("leased to", found.leased_to.as_ref().map(ToString::to_string))
            })
        }
        VdiCommand::Resize { vdi, size, tasked } => {
            begin::<vdi::Resize>(app, &ResizeVdi { vdi, size }, &tasked).await
        }
        VdiCommand::Clone { vdi, name, tasked } => {
            begin::<vdi::Clone>(app, &CloneVdi { vdi, name }, &tasked).await
        }
        VdiCommand::Copy { vdi, name, host, sr, tasked } => {
            begin::<vdi::Copy>(app, &CopyVdi { vdi, name, host, sr }, &tasked).await
        }
        VdiCommand::Migrate { vdi, host, sr, bandwidth, planned } => {
            let bandwidth = bandwidth.unwrap_or_default() << 20;
            begin_or_plan::<vdi::Migrate>(app, &MigrateVdi { vdi, host, sr, bandwidth }, &planned).await
        }
        VdiCommand::Upload(args) => upload::run(app, *args).await,
        VdiCommand::Send { vdi, from } => upload::send(app, vdi, from).await,
        VdiCommand::UploadTicket { vdi, keyed } => {
            let ticket = app.change::<vdi::UploadTicket>(&VdiRef { vdi }, &keyed).await?;
            app.out.value(&ticket, || format!("{}\n", ticket.ticket))
        }
        VdiCommand::Export(args) => export::run(app, args).await,
        VdiCommand::BreakLease { vdi, host, dry_run: true, .. } => {
            plan::<vdi::BreakLease>(app, &BreakLease { vdi, host }).await
        }
        VdiCommand::BreakLease { vdi, host, confirm, keyed, .. } => {
            let question = format!(
                "Take the lease of {vdi} from its host? If that host still writes it, the disk is ruined."
            );
            ask::confirm(&question, confirm)?;
            let broken = app.change::<vdi::BreakLease>(&BreakLease { vdi, host }, &keyed).await?;
            app.out.value(&broken, || {
                format!("The lease was taken from {}.\nNow {}.\n", broken.was, broken.warning)
            })
        }
        VdiCommand::Delete { vdi, confirm, planned } => {
            if !planned.dry_run {
                ask::confirm(&format!("Delete the disk {vdi} and all that is on it?"), confirm)?;
            }
            begin_or_plan::<vdi::Delete>(app, &VdiRef { vdi }, &planned).await
        }
    }
}
