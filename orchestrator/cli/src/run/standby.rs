//! VMs that stand by for others.

use xenith_orchestrator_api::standby;
use xenith_orchestrator_types::standby::{
    CreateStandby, FailBackStandby, FailOverStandby, Standby, StandbyRef, StandbyStatus,
};

use crate::app::App;
use crate::ask;
use crate::cli::{CreateStandbyArgs, StandbyCommand};
use crate::error::CliError;
use crate::run::{list, said};
use crate::table::{Cell, Column, Row, Sheet, Tone};
use crate::wait::{begin, begin_or_plan};
use crate::words;

fn status(standby: &Standby) -> Cell {
    let tone = match standby.status {
        StandbyStatus::Ready => Tone::Good,
        StandbyStatus::Busy => Tone::Busy,
        StandbyStatus::Incomplete => Tone::Bad,
    };
    Cell::toned(tone, standby.status.as_str())
}

impl Row for Standby {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("name", |standby, _| Cell::new(&standby.name)),
            Column::new("of", |standby, _| Cell::maybe(standby.of_name.as_ref())),
            Column::new("status", |standby, _| status(standby)),
            Column::new("holds", |standby, _| Cell::maybe(standby.backup_created.map(words::ago))),
            Column::new("newest", |standby, _| Cell::maybe(standby.newest.map(words::ago))),
            Column::new("repository", |standby, _| Cell::new(&standby.repository_name)),
            Column::on_request("backup", |standby, _| Cell::maybe(standby.backup.as_ref())),
            Column::on_request("host", |standby, _| Cell::new(standby.host.to_string())),
            Column::on_request("id", |standby, _| Cell::new(standby.vm.to_string())),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.vm.to_string()
    }
}

fn sheet(standby: &Standby) -> Sheet {
    Sheet::new()
        .line("name", &standby.name)
        .line("id", standby.vm.to_string())
        .line("stands by for", standby.of_name.as_deref().unwrap_or("a VM that was deleted"))
        .cell("status", status(standby))
        .line("host", standby.host.to_string())
        .line("repository", &standby.repository_name)
        .maybe("backup", standby.backup.as_ref())
        .line("made", words::at_or_never(standby.backup_created))
        .line("newest backup", words::at_or_never(standby.newest))
        .line("follows", if standby.automatic { "by itself" } else { "when it is told to" })
        .line("MAC addresses", if standby.keep_macs { "those of the VM, at a fail-over" } else { "its own" })
}

async fn create(app: &App, asked: CreateStandbyArgs) -> Result<(), CliError> {
    let request = CreateStandby {
        vm: asked.vm,
        repository: asked.repository,
        name: asked.name,
        host: asked.host,
        sr: asked.sr,
        networks: asked.networks.into_iter().collect(),
        keep_macs: asked.keep_macs,
    };
    begin::<standby::Create>(app, &request, &asked.tasked).await
}

pub async fn run(app: &App, command: StandbyCommand) -> Result<(), CliError> {
    match command {
        StandbyCommand::List(listing) => list::<standby::List, Standby>(app, &listing).await,
        StandbyCommand::Get { standby } => {
            let found = app.call::<standby::Get>(&StandbyRef { standby }).await?;
            app.out.object(&found, || sheet(&found))
        }
        StandbyCommand::Create(asked) => create(app, asked).await,
        StandbyCommand::Follow { standby, tasked } => {
            begin::<standby::Follow>(app, &StandbyRef { standby }, &tasked).await
        }
        StandbyCommand::FailOver { standby, force, confirm, planned } => {
            if !planned.dry_run {
                let question = format!("Start {standby} with what its VM was when it was backed up last?");
                ask::confirm(&question, confirm)?;
            }
            begin_or_plan::<standby::FailOver>(app, &FailOverStandby { standby, force }, &planned).await
        }
        StandbyCommand::FailBack { standby, deadline, force, confirm, tasked } => {
            ask::confirm(
                &format!("Shut down the VM that {standby} stands by for, and start {standby}?"),
                confirm,
            )?;
            let deadline_s =
                deadline.map_or(0, |deadline| u32::try_from(deadline.as_secs()).unwrap_or(u32::MAX));
            begin::<standby::FailBack>(app, &FailBackStandby { standby, deadline_s, force }, &tasked).await
        }
        StandbyCommand::Release { standby, keyed } => {
            app.change::<standby::Release>(&StandbyRef { standby: standby.clone() }, &keyed).await?;
            said(app, &format!("{standby} is a VM like any other"));
            Ok(())
        }
        StandbyCommand::Delete { standby, confirm, tasked } => {
            ask::confirm(&format!("Delete {standby} and its disks?"), confirm)?;
            begin::<standby::Delete>(app, &StandbyRef { standby }, &tasked).await
        }
    }
}
