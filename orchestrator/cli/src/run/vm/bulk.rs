//! The same for many VMs.

use xenith_orchestrator_api::vm;
use xenith_orchestrator_types::vm::{BulkAction, BulkResult, BulkVms};

use crate::app::App;
use crate::ask;
use crate::cli::{BulkArgs, BulkVerb, Columns};
use crate::error::CliError;
use crate::run::print;
use crate::table::{Cell, Column, Row, Tone};

impl Row for BulkResult {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("vm", |row, _| Cell::new(row.name.as_ref().unwrap_or(&row.vm))),
            Column::new("task", |row, _| Cell::maybe(row.task.map(|task| task.to_string()))),
            Column::new("problem", |row, _| match &row.error {
                Some(error) => Cell::toned(Tone::Bad, error),
                None => Cell::maybe(None::<String>),
            }),
            Column::on_request("id", |row, _| Cell::new(&row.vm)),
        ]
    }

    fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.vm.clone())
    }

    fn id(&self) -> String {
        self.vm.clone()
    }
}

/// Fails when something could not be begun, after telling what.
pub async fn run(app: &App, args: BulkArgs) -> Result<(), CliError> {
    let (action, verb) = match args.action {
        BulkVerb::Start => (BulkAction::Start, None),
        BulkVerb::Shutdown => (BulkAction::Shutdown, Some("Shut down")),
        BulkVerb::Reboot => (BulkAction::Reboot, Some("Reboot")),
        BulkVerb::PowerOff if args.discard_memory => {
            (BulkAction::PowerOff, Some("End at once, with the loss of memory that is saved,"))
        }
        BulkVerb::PowerOff => (BulkAction::PowerOff, Some("End at once, without asking the guests,")),
        BulkVerb::Pause => (BulkAction::Pause, None),
        BulkVerb::Unpause => (BulkAction::Unpause, None),
        BulkVerb::Suspend => (BulkAction::Suspend, None),
        BulkVerb::Resume => (BulkAction::Resume, None),
        BulkVerb::Delete => (BulkAction::Delete, Some("Delete, with their disks,")),
    };
    if let Some(verb) = verb {
        let mut whom = args.vms.clone();
        if !args.filter.is_empty() {
            whom.push(format!("all VMs that {:?} lets through", args.filter));
        }
        ask::confirm(&format!("{verb} {}?", whom.join(", ")), args.confirm)?;
    }
    let deadline_s = u32::try_from(args.deadline.as_secs())
        .map_err(|_| CliError::usage("--deadline is longer than a guest can take"))?
        .max(1);
    let request = BulkVms {
        vms: args.vms,
        filter: args.filter,
        action,
        deadline_s,
        force: args.force,
        discard_memory: args.discard_memory,
    };
    let results = app.change::<vm::Bulk>(&request, &args.keyed).await?;
    print(app, &results, &Columns::default()).await?;
    let failed = results.iter().filter(|result| result.error.is_some()).count();
    if failed > 0 {
        return Err(CliError::Partly { failed, of: results.len() });
    }
    Ok(())
}
