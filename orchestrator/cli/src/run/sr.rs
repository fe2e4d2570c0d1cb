//! Storage repositories.

use xenith_hypervisor_agent_types::SrSpec;
use xenith_orchestrator_api::{iso, sr};
use xenith_orchestrator_types::sr::{AdoptVdi, CreateSr, Sr, SrContent, SrOnHost, SrRef, SrScan};
use xenith_orchestrator_types::vdi::Vdi;

use crate::app::App;
use crate::ask;
use crate::cli::{CreateSrArgs, IsoCommand, SrCommand, SrPlace};
use crate::error::CliError;
use crate::run::{list, said};
use crate::table::{Cell, Column, Names, Paint, Row, Sheet, Tone};
use crate::wait::begin;
use crate::words;

fn place(sr: &Sr) -> String {
    sr.spec.as_ref().map_or_else(|| "local".to_owned(), ToString::to_string)
}

const fn content(sr: &Sr) -> &'static str {
    match sr.content {
        SrContent::Vms => "disks",
        SrContent::Iso => "iso",
    }
}

fn hosts(sr: &Sr, names: &Names) -> String {
    sr.hosts.iter().map(|host| names.host(*host)).collect::<Vec<_>>().join(", ")
}

impl Row for Sr {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("name", |sr, _| Cell::new(&sr.name)),
            Column::new("place", |sr, _| Cell::new(place(sr))),
            Column::on_request("content", |sr, _| Cell::new(content(sr))),
            Column::new("hosts", |sr, names| Cell::new(hosts(sr, names))),
            Column::new("free", |sr, _| Cell::maybe(sr.space.map(|space| words::bytes(space.free)))),
            Column::new("total", |sr, _| Cell::maybe(sr.space.map(|space| words::bytes(space.total)))),
            Column::new("vdis", |sr, _| Cell::new(sr.vdis.to_string())),
            Column::new("snapshots", |sr, _| match sr.copy_on_write {
                Some(true) => Cell::new("at once"),
                Some(false) => Cell::toned(Tone::Busy, "copies"),
                None => Cell::maybe(None::<String>),
            }),
            Column::on_request("used", |sr, _| {
                Cell::maybe(sr.space.map(|space| words::bytes(space.physical)))
            }),
            Column::on_request("promised", |sr, _| {
                Cell::maybe(sr.space.map(|space| words::bytes(space.promised)))
            }),
            Column::on_request("problem", |sr, _| Cell::maybe(sr.problem.clone())),
            Column::on_request("id", |sr, _| Cell::new(sr.id.to_string())),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

pub async fn run(app: &App, command: SrCommand) -> Result<(), CliError> {
    match command {
        SrCommand::List(listing) => list::<sr::List, Sr>(app, &listing).await,
        SrCommand::Get { sr } => {
            let found = app.call::<sr::Get>(&SrRef { sr }).await?;
            let names = app.names().await;
            app.out.object(&found, || sheet(&found, &names))
        }
        SrCommand::Create(create) => {
            let CreateSrArgs { name, host, place, nfs_options, iso, tasked } = *create;
            let content = if iso { SrContent::Iso } else { SrContent::Vms };
            let spec = spec(place, nfs_options);
            begin::<sr::Create>(app, &CreateSr { name, host, spec, content }, &tasked).await
        }
        SrCommand::Attach(on) => {
            begin::<sr::Attach>(app, &SrOnHost { sr: on.sr, host: on.host }, &on.tasked).await
        }
        SrCommand::Detach(on) => {
            begin::<sr::Detach>(app, &SrOnHost { sr: on.sr, host: on.host }, &on.tasked).await
        }
        SrCommand::Forget { sr, confirm, keyed } => {
            ask::confirm(&format!("Forget the SR {sr} and the names of its VDIs?"), confirm)?;
            app.change::<sr::Forget>(&SrRef { sr: sr.clone() }, &keyed).await?;
            said(app, &format!("{sr} is forgotten; what is in it stays"));
            Ok(())
        }
        SrCommand::Scan { sr } => {
            let found = app.call::<sr::Scan>(&SrRef { sr }).await?;
            app.out.value(&found, || scan_sheet(&found).render(Paint::Plain))
        }
        SrCommand::Adopt { sr, vdi, name, keyed } => {
            let id = vdi.parse().map_err(|error| CliError::usage(format!("{error}")))?;
            let adopted = app.change::<sr::Adopt>(&AdoptVdi { sr, vdi: id, name }, &keyed).await?;
            app.out.object(&adopted, || {
                Sheet::new().line("name", &adopted.name).line("id", adopted.id.to_string())
            })
        }
    }
}

pub async fn isos(app: &App, IsoCommand::List(listing): IsoCommand) -> Result<(), CliError> {
    list::<iso::List, Vdi>(app, &listing).await
}

fn spec(place: SrPlace, options: String) -> SrSpec {
    let SrPlace { folder, nfs, disks, thin_pool } = place;
    if let Some(path) = folder {
        return SrSpec::Folder { path };
    }
    if let Some(nfs) = nfs {
        // The colon before the path: an IPv6 address has colons of its own.
        let (server, export) = nfs.split_once(":/").unwrap_or((&nfs, ""));
        let export = if export.is_empty() { String::new() } else { format!("/{export}") };
        return SrSpec::Nfs { server: server.to_owned(), export, options };
    }
    SrSpec::LvmThin { disks, pool: thin_pool.unwrap_or_default() }
}

fn sheet(sr: &Sr, names: &Names) -> Sheet {
    let space =
        |of: fn(xenith_hypervisor_agent_types::SrSpace) -> u64| sr.space.map(|space| words::bytes(of(space)));
    Sheet::new()
        .line("name", &sr.name)
        .line("id", sr.id.to_string())
        .line("place", place(sr))
        .line("content", content(sr))
        .line("hosts", hosts(sr, names))
        .line("vdis", sr.vdis.to_string())
        .maybe("free", space(|space| space.free))
        .maybe("total", space(|space| space.total))
        .maybe("used by VDIs", space(|space| space.physical))
        .maybe("promised to VDIs", space(|space| space.promised))
        .maybe("snapshots", sr.copy_on_write.map(|shared| if shared { "at once" } else { "copies" }))
        .maybe("problem", sr.problem.clone())
}

fn scan_sheet(scan: &SrScan) -> Sheet {
    let orphans = scan.orphans.iter().map(|vdi| {
        let of = vdi.snapshot_of.map(|of| format!(", a snapshot of {of}")).unwrap_or_default();
        format!("{} {}{of}", vdi.vdi, words::bytes(vdi.size.bytes()))
    });
    let left_overs = scan
        .left_overs
        .iter()
        .map(|left| format!("{} {}, untouched for {} s", left.name, words::bytes(left.bytes), left.idle_s));
    let damaged = scan.damaged.iter().map(|damaged| format!("{}: {}", damaged.vdi, damaged.problem));
    Sheet::new()
        .line("known", scan.known.to_string())
        .each("orphans", orphans)
        .each("missing", scan.missing.iter().map(ToString::to_string))
        .each("damaged", damaged)
        .each("left-overs", left_overs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let none = || SrPlace { folder: None, nfs: None, disks: Vec::new(), thin_pool: None };
        let text = str::to_owned;
        for (place, shown) in [
            (SrPlace { folder: Some(text("/srv/vms")), ..none() }, "/srv/vms"),
            (SrPlace { nfs: Some(text("[fe80::1]:/vms")), ..none() }, "[fe80::1]:/vms"),
            (SrPlace { disks: vec![text("/dev/sdb"), text("/dev/sdc")], ..none() }, "/dev/sdb /dev/sdc"),
            (SrPlace { thin_pool: Some(text("vg/data")), ..none() }, "vg/data"),
        ] {
            let spec = spec(place, String::new());
            assert_eq!((spec.check(), spec.to_string()), (Ok(()), shown.to_owned()));
        }
    }
}
