//! Points in time of VMs.

use std::collections::HashMap;

use xenith_common_ids::SnapshotId;
use xenith_hypervisor_agent_types::{KeptMemory, WrittenWhile};
use xenith_orchestrator_api::snapshot;
use xenith_orchestrator_types::snapshot::{
    CloneSnapshot, CreateSnapshot, ListSnapshots, RevertSnapshot, Snapshot, SnapshotDisk, SnapshotRef,
};

use crate::app::App;
use crate::ask;
use crate::cli::SnapshotCommand;
use crate::error::CliError;
use crate::run::{gathered, print, told};
use crate::table::{Cell, Column, Row, Sheet};
use crate::wait::{begin, begin_or_plan};
use crate::words;

impl Row for Snapshot {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("name", |snapshot, _| Cell::new(&snapshot.name)),
            Column::new("vm", |snapshot, _| Cell::new(snapshot.spec.name.to_string())),
            Column::new("created", |snapshot, _| Cell::new(words::at(snapshot.created))),
            Column::new("current", |snapshot, _| Cell::maybe(snapshot.current.then(|| "yes".to_owned()))),
            Column::new("disks", |snapshot, _| Cell::new(snapshot.disks.len().to_string())),
            Column::new("memory", |snapshot, _| {
                Cell::maybe(memory(snapshot).map(|kept| words::bytes(kept.bytes)))
            }),
            Column::new("description", |snapshot, _| Cell::new(&snapshot.description)),
            Column::on_request("host", |snapshot, names| Cell::new(names.host(snapshot.host))),
            Column::on_request("parent", |snapshot, _| Cell::maybe(snapshot.parent.map(|id| id.to_string()))),
            Column::on_request("id", |snapshot, _| Cell::new(snapshot.id.to_string())),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// Parents before their children, children indented.
fn as_tree(snapshots: Vec<Snapshot>) -> Vec<Snapshot> {
    let known: HashMap<SnapshotId, Option<SnapshotId>> =
        snapshots.iter().map(|snapshot| (snapshot.id, snapshot.parent)).collect();
    let path = |snapshot: &Snapshot| {
        let mut path = vec![snapshot.id];
        let mut at = snapshot.parent;
        // Bounded by the list's length, whatever the parents say.
        while let Some(id) = at.filter(|id| known.contains_key(id) && path.len() <= known.len()) {
            path.push(id);
            at = known.get(&id).copied().flatten();
        }
        path.reverse();
        path
    };
    let mut rows: Vec<_> =
        snapshots.iter().map(|snapshot| ((snapshot.vm, path(snapshot)), snapshot.clone())).collect();
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    rows.into_iter()
        .map(|((_, path), snapshot)| {
            let depth = path.len() - 1;
            let branch = if depth == 0 { String::new() } else { format!("{}└ ", "  ".repeat(depth - 1)) };
            Snapshot { name: format!("{branch}{}", snapshot.name), ..snapshot }
        })
        .collect()
}

pub async fn run(app: &App, command: SnapshotCommand) -> Result<(), CliError> {
    match command {
        SnapshotCommand::List { vm, listing } => {
            let fetch = async |limit, cursor| {
                let (vm, filter, sort) = (vm.clone(), listing.filter.clone(), listing.sort.clone());
                app.call::<snapshot::List>(&ListSnapshots { vm, filter, sort, limit, cursor }).await
            };
            let (snapshots, more) = gathered(&listing.limited, &listing.columns, fetch).await?;
            let tree = app.out.for_people() && listing.sort.is_empty();
            let rows = if tree { as_tree(snapshots) } else { snapshots };
            print(app, &rows, &listing.columns).await?;
            told(app, rows.len(), more);
            Ok(())
        }
        SnapshotCommand::Get { snapshot, vm } => {
            let found = app.call::<snapshot::Get>(&SnapshotRef { snapshot, vm }).await?;
            app.out.object(&found, || sheet(&found))
        }
        SnapshotCommand::Create { vm, name, description, quiesce, memory, planned } => {
            let request = CreateSnapshot { vm, name, description, quiesce, memory };
            begin_or_plan::<snapshot::Create>(app, &request, &planned).await
        }
        SnapshotCommand::Revert { snapshot, vm, disks_only, confirm, planned } => {
            if !planned.dry_run {
                let question = format!("Give up what the VM's disks hold now and go back to {snapshot}?");
                ask::confirm(&question, confirm)?;
            }
            let request = RevertSnapshot { snapshot, vm, disks_only };
            begin_or_plan::<snapshot::Revert>(app, &request, &planned).await
        }
        SnapshotCommand::Delete { snapshot, vm, confirm, tasked } => {
            ask::confirm(&format!("Delete the snapshot {snapshot}?"), confirm)?;
            begin::<snapshot::Delete>(app, &SnapshotRef { snapshot, vm }, &tasked).await
        }
        SnapshotCommand::Clone { snapshot, name, vm, start, planned } => {
            begin_or_plan::<snapshot::Clone>(app, &CloneSnapshot { snapshot, vm, name, start }, &planned)
                .await
        }
    }
}

/// That the VM can go on from; none while it is being taken.
fn memory(snapshot: &Snapshot) -> Option<&KeptMemory> {
    snapshot.memory.as_ref()?.kept.as_ref()
}

fn sheet(found: &Snapshot) -> Sheet {
    let sheet = Sheet::new()
        .line("name", &found.name)
        .line("id", found.id.to_string())
        .line("vm", found.spec.name.to_string())
        .line("created", words::at(found.created))
        .maybe("parent", found.parent.map(|id| id.to_string()))
        .maybe("description", Some(&found.description))
        .maybe("vm stood", found.paused_ms.map(|ms| format!("{ms} ms")))
        .maybe("guest's disks", found.consistency.map(|consistency| consistency.as_str()))
        .maybe("not quiesced", found.not_quiesced_because.as_ref());
    let sheet = sheet.maybe(
        "memory",
        memory(found).map(|kept| {
            let way = match kept.written_while {
                WrittenWhile::Running => "while it ran",
                WrittenWhile::Standing => "while it stood",
            };
            format!("{}, written {way}", words::bytes(kept.bytes))
        }),
    );
    let disk = |disk: &SnapshotDisk| format!("{} {}", disk.device, words::bytes(disk.size.bytes()));
    sheet.each("disks", found.disks.iter().map(disk))
}
