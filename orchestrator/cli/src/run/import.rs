//! VMs on their way to us.

mod send;
mod source;
mod upload;
mod xva;

pub(super) use send::send_all;
pub(super) use source::{networks, options, seconds, storage};
pub(super) use upload::read as read_file;
use xenith_orchestrator_api::{Method, import};
use xenith_orchestrator_types::Empty;
use xenith_orchestrator_types::import::{
    ConnectSource, CutOverImport, GuestPreparation, Import, ImportDisk, ImportOrigin, ImportPass,
    ImportPhase, ImportRef, ListImports, LookAtSource, PrepareImport, SourceRef,
};

use crate::app::App;
use crate::ask;
use crate::cli::{ImportCommand, Keyed, LookArgs};
use crate::error::CliError;
use crate::run::{paged, print, said};
use crate::table::{Cell, Column, Row, Sheet, Tone};
use crate::words;

fn phase(phase: ImportPhase) -> Cell {
    let tone = match phase {
        ImportPhase::Done => Tone::Good,
        ImportPhase::RolledBack | ImportPhase::WaitingForShutdown | ImportPhase::NotPrepared => Tone::Bad,
        _ => Tone::Busy,
    };
    Cell::toned(tone, phase.as_str())
}

fn origin(origin: &ImportOrigin) -> String {
    match origin {
        ImportOrigin::Upload { file } => file.clone(),
        ImportOrigin::Vsphere { source_name, vm_name, .. } => format!("{source_name}: {vm_name}"),
    }
}

fn share(import: &Import) -> String {
    let total: u64 = import.disks.iter().map(|disk| disk.capacity).sum();
    let done: u64 = import.disks.iter().map(|disk| disk.done).sum();
    format!("{} %", done * 100 / total.max(1))
}

impl Row for Import {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("name", |import, _| Cell::new(&import.name)),
            Column::new("phase", |import, _| phase(import.phase)),
            Column::new("copied", |import, _| Cell::new(share(import))),
            Column::new("from", |import, _| Cell::new(origin(&import.origin))),
            Column::new("host", |import, names| Cell::new(names.host(import.host))),
            Column::new("created", |import, _| Cell::new(words::ago(import.created))),
            Column::new("message", |import, _| Cell::maybe(import.message.as_ref())),
            Column::on_request("id", |import, _| Cell::new(import.id.to_string())),
            Column::on_request("task", |import, _| Cell::new(import.task.to_string())),
            Column::on_request("vm", |import, _| Cell::new(import.vm.to_string())),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

fn sheet(import: &Import) -> Sheet {
    let disk = |disk: &ImportDisk| {
        let percent = disk.done * 100 / disk.capacity.max(1);
        format!("{}: {percent} % of {}", disk.name, words::bytes(disk.capacity))
    };
    let pass = |pass: &ImportPass| {
        let why = if pass.reason.is_empty() { String::new() } else { format!(" ({})", pass.reason) };
        let (read, written) = (words::bytes(pass.read), words::bytes(pass.written));
        format!("{}: {}{why}, {read} read, {written} written", pass.disk, pass.method)
    };
    Sheet::new()
        .line("name", &import.name)
        .line("id", import.id.to_string())
        .cell("phase", phase(import.phase))
        .maybe("message", import.message.as_ref())
        .line("from", origin(&import.origin))
        .line("vm", import.vm.to_string())
        .line("task", import.task.to_string())
        .each("disks", import.disks.iter().map(disk))
        .each("passes", import.passes.iter().map(pass))
        .maybe("guest", import.preparation.as_ref().map(guest))
        .each(
            "guest's changes",
            import.preparation.iter().flat_map(|preparation| preparation.changes.clone()),
        )
        .each(
            "guest's warnings",
            import.preparation.iter().flat_map(|preparation| preparation.warnings.clone()),
        )
        .maybe("cut over at", import.cut_over_at.map(words::at))
        .line("created", words::at(import.created))
        .maybe("ended", import.ended.map(words::at))
}

fn guest(preparation: &GuestPreparation) -> String {
    let GuestPreparation { outcome, os, message, .. } = preparation;
    let about =
        [os, message].into_iter().filter(|text| !text.is_empty()).cloned().collect::<Vec<_>>().join(": ");
    if about.is_empty() { outcome.clone() } else { format!("{outcome} ({about})") }
}

pub async fn run(app: &App, command: ImportCommand) -> Result<(), CliError> {
    match command {
        ImportCommand::List { archived, listing } => {
            paged(app, &listing.limited, &listing.columns, async |limit, cursor| {
                let (filter, sort) = (listing.filter.clone(), listing.sort.clone());
                app.call::<import::List>(&ListImports { archived, filter, sort, limit, cursor }).await
            })
            .await
        }
        ImportCommand::Get { import } => {
            let import = app.call::<import::Get>(&ImportRef { import }).await?;
            app.out.object(&import, || sheet(&import))
        }
        ImportCommand::Upload(args) => upload::run(app, *args).await,
        ImportCommand::Send { import, from } => {
            let (_, images) = upload::read(&from).await?;
            let import = send::send(app, &import, images).await?;
            app.out.result(&import, &import.id.to_string(), &format!("{}: every disk was sent", import.name))
        }
        ImportCommand::Ticket { import, keyed } => {
            let ticket = app.change::<import::Ticket>(&ImportRef { import }, &keyed).await?;
            let text = format!(
                "{}\nfor https://{}, which takes it once for each disk",
                ticket.ticket, ticket.address
            );
            app.out.result(&ticket, &ticket.ticket, &text)
        }
        ImportCommand::Connect { name, address, user, certificate: fingerprint, keyed } => {
            let request = ConnectSource { name, address, user, password: String::new(), fingerprint };
            source::connect(app, request, &keyed).await
        }
        ImportCommand::Sources { columns } => {
            let sources = app.call::<import::Sources>(&Empty {}).await?;
            print(app, &sources, &columns).await
        }
        ImportCommand::Disconnect { source, confirm, keyed } => {
            ask::confirm(&format!("Forget the source {source} and its password?"), confirm)?;
            app.change::<import::Disconnect>(&SourceRef { source }, &keyed).await?;
            said(app, "The source is forgotten.");
            Ok(())
        }
        ImportCommand::Inventory { look, columns } => {
            let LookArgs { source, vms } = look;
            let vms = app.call::<import::Inventory>(&LookAtSource { source, vms }).await?;
            print(app, &vms, &columns).await
        }
        ImportCommand::Assess { look, columns } => source::assess(app, look, &columns).await,
        ImportCommand::Plan(args) => super::wave::plan(app, *args).await,
        ImportCommand::Start(args) => source::start(app, *args).await,
        ImportCommand::CutOver { import, at, force, keyed } => {
            let import = app.change::<import::CutOver>(&CutOverImport { import, at, force }, &keyed).await?;
            app.out.object(&import, || sheet(&import))
        }
        ImportCommand::Prepare { import, without, keyed } => {
            let import = app.change::<import::Prepare>(&PrepareImport { import, without }, &keyed).await?;
            app.out.object(&import, || sheet(&import))
        }
        ImportCommand::RollBack { import, confirm, keyed } => {
            ask::confirm(&format!("Undo the import of {import}, and delete what was copied?"), confirm)?;
            change::<import::RollBack>(app, ImportRef { import }, keyed).await
        }
        ImportCommand::Archive { import, keyed } => {
            change::<import::Archive>(app, ImportRef { import }, keyed).await
        }
    }
}

async fn change<M>(app: &App, params: ImportRef, keyed: Keyed) -> Result<(), CliError>
where
    M: Method<Params = ImportRef, Result = Import>,
{
    let import = app.change::<M>(&params, &keyed).await?;
    app.out.object(&import, || sheet(&import))
}
