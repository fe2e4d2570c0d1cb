//! Virtual machines.

mod bulk;
mod export;
mod show;

use xenith_common_text::counted;
use xenith_hypervisor_agent_types::Power;
use xenith_orchestrator_api::{Method, vm};
use xenith_orchestrator_client::VmChanges;
use xenith_orchestrator_types::ListRequest;
use xenith_orchestrator_types::task::TaskStarted;
use xenith_orchestrator_types::vm::{
    CdInsertion, CloneVm, CompleteFilter, DeleteVm, DiskAttachment, DiskDetachment, MigrateVm, NicAttachment,
    NicDetachment, PlaceVm, PowerOffVm, ShutdownVm, StartVm, Vm, VmRef, VmRow,
};

use crate::app::App;
use crate::ask;
use crate::cli::{Confirm, CreateArgs, One, PlaceArgs, Planned, Shutdown, UpdateArgs, VmCommand};
use crate::error::CliError;
use crate::run::watch::follow;
use crate::run::{list, print};
use crate::spec;
use crate::table::{Cell, Column, Row, Tone};
use crate::wait::begin_or_plan;

pub fn power(power: Power) -> Cell {
    let tone = match power {
        Power::Running => Tone::Good,
        Power::Stopped | Power::Suspended => Tone::Dim,
        Power::Crashed | Power::Unknown => Tone::Bad,
        Power::Starting | Power::Paused | Power::Stopping | Power::Suspending | Power::Resuming => Tone::Busy,
    };
    Cell::toned(tone, power.as_str())
}

impl Row for VmRow {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("name", |row, _| Cell::new(&row.name)),
            Column::new("power", |row, _| power(row.power)),
            Column::new("host", |row, _| Cell::maybe(row.host_name.as_ref())),
            Column::on_request("pool", |row, _| Cell::maybe(row.pool.as_ref())),
            Column::new("memory", |row, _| Cell::new(row.memory.to_string())),
            Column::new("vcpus", |row, _| Cell::new(row.vcpus.to_string())),
            Column::new("kind", |row, _| Cell::new(&row.kind)),
            Column::new("addresses", |row, _| Cell::list(&row.addresses)),
            Column::new("tags", |row, _| Cell::list(&row.tags)),
            Column::on_request("os", |row, _| Cell::maybe(row.os.as_ref())),
            Column::on_request("managed", |row, _| Cell::new(if row.managed { "yes" } else { "no" })),
            Column::on_request("id", |row, _| Cell::new(row.id.to_string())),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

pub async fn run(app: &App, command: VmCommand) -> Result<(), CliError> {
    match command {
        VmCommand::List { watch: true, listing } => follow::<VmChanges, _, _>(app, &listing).await,
        VmCommand::List { watch: false, listing } => list::<vm::List, VmRow>(app, &listing).await,
        VmCommand::Count { filter } => count(app, filter).await,
        VmCommand::Complete { text } => complete(app, text).await,
        VmCommand::Get { vm } => {
            let vm = app.call::<vm::Get>(&VmRef { vm }).await?;
            let names = app.names().await;
            app.out.object(&vm, || show::sheet(&vm, &names))
        }
        VmCommand::Place(place) => placement(app, place).await,
        VmCommand::Create(args) => create(app, *args).await,
        VmCommand::Update(args) => update(app, *args).await,
        VmCommand::Delete { vm, keep_disks, confirm, planned } => {
            delete(app, DeleteVm { vm, keep_disks }, confirm, planned).await
        }
        VmCommand::Start { vm, planned } => begin_or_plan::<vm::Start>(app, &StartVm { vm }, &planned).await,
        VmCommand::Shutdown(args) => shut_down::<vm::Shutdown>(app, args).await,
        VmCommand::Reboot(args) => shut_down::<vm::Reboot>(app, args).await,
        VmCommand::PowerOff { vm, discard_memory, confirm, planned } => {
            power_off(app, PowerOffVm { vm, discard_memory }, confirm, planned).await
        }
        VmCommand::Pause(one) => act::<vm::Pause>(app, one).await,
        VmCommand::Unpause(one) => act::<vm::Unpause>(app, one).await,
        VmCommand::Suspend(one) => act::<vm::Suspend>(app, one).await,
        VmCommand::Resume(one) => act::<vm::Resume>(app, one).await,
        VmCommand::Migrate { vm, host, move_disks, sr, bandwidth, planned } => {
            let bandwidth = bandwidth.unwrap_or_default() << 20;
            let params = MigrateVm { vm, host, move_disks, sr, bandwidth };
            begin_or_plan::<vm::Migrate>(app, &params, &planned).await
        }
        VmCommand::AttachDisk { vm, disk, planned } => {
            let disk = spec::new_disk(&disk);
            begin_or_plan::<vm::AttachDisk>(app, &DiskAttachment { vm, disk }, &planned).await
        }
        VmCommand::DetachDisk { vm, device, planned } => {
            begin_or_plan::<vm::DetachDisk>(app, &DiskDetachment { vm, device }, &planned).await
        }
        VmCommand::InsertCd { vm, iso, planned } => {
            begin_or_plan::<vm::InsertCd>(app, &CdInsertion { vm, iso }, &planned).await
        }
        VmCommand::EjectCd(one) => act::<vm::EjectCd>(app, one).await,
        VmCommand::Clone { vm, name, description, start, planned } => {
            begin_or_plan::<vm::Clone>(app, &CloneVm { vm, name, description, start }, &planned).await
        }
        VmCommand::Export(args) => export::run(app, args).await,
        VmCommand::Bulk(args) => bulk::run(app, args).await,
        VmCommand::AttachNic { vm, nic, planned } => {
            let nic = spec::new_nic(&nic);
            begin_or_plan::<vm::AttachNic>(app, &NicAttachment { vm, nic }, &planned).await
        }
        VmCommand::Nics { vm, columns } => {
            print(app, &app.call::<vm::Nics>(&VmRef { vm }).await?, &columns).await
        }
        VmCommand::SetNic(args) => super::security_group::set_nic(app, args).await,
        VmCommand::DetachNic { vm, mac, planned } => {
            begin_or_plan::<vm::DetachNic>(app, &NicDetachment { vm, mac }, &planned).await
        }
    }
}

async fn act<M>(app: &App, One { vm, planned }: One) -> Result<(), CliError>
where
    M: Method<Params = VmRef, Result = TaskStarted>,
{
    begin_or_plan::<M>(app, &VmRef { vm }, &planned).await
}

async fn power_off(
    app: &App,
    params: PowerOffVm,
    confirm: Confirm,
    planned: Planned,
) -> Result<(), CliError> {
    if !planned.dry_run {
        let vm = &params.vm;
        let question = match params.discard_memory {
            true => format!("End {vm} at once, and lose the memory that is saved of it if it is suspended?"),
            false => format!("End {vm} at once, without asking the guest?"),
        };
        ask::confirm(&question, confirm)?;
    }
    begin_or_plan::<vm::PowerOff>(app, &params, &planned).await
}

async fn shut_down<M>(app: &App, args: Shutdown) -> Result<(), CliError>
where
    M: Method<Params = ShutdownVm, Result = TaskStarted>,
{
    // Less than a second is one; 0 would stand for the default.
    let deadline_s = u32::try_from(args.deadline.as_secs())
        .map_err(|_| CliError::usage("--deadline is longer than a guest can take"))?
        .max(1);
    begin_or_plan::<M>(app, &ShutdownVm { vm: args.vm, deadline_s, force: args.force }, &args.planned).await
}

async fn count(app: &App, filter: String) -> Result<(), CliError> {
    let request = ListRequest { filter, ..ListRequest::default() };
    let count = app.call::<vm::Count>(&request).await?;
    app.out.value(&count, || format!("{}, {} running\n", counted(count.total, "VM"), count.running))
}

async fn complete(app: &App, text: String) -> Result<(), CliError> {
    super::filter::candidates(app, &app.call::<vm::Complete>(&CompleteFilter { text }).await?)
}

async fn placement(app: &App, args: PlaceArgs) -> Result<(), CliError> {
    let params = PlaceVm {
        memory: args.memory,
        vcpus: args.vcpus,
        pool: args.pool,
        networks: args.networks,
        vdis: args.vdis,
        apart_from: args.apart_from,
        together_with: args.together_with,
    };
    let placement = app.call::<vm::Place>(&params).await?;
    app.out.value(&placement, || show::placement(&placement, app.out.paint))
}

async fn create(app: &App, args: CreateArgs) -> Result<(), CliError> {
    let params = spec::create(&args)?;
    begin_or_plan::<vm::Create>(app, &params, &args.planned).await
}

async fn update(app: &App, args: UpdateArgs) -> Result<(), CliError> {
    let current: Option<Vm> = if spec::needs_current(&args) {
        Some(app.call::<vm::Get>(&VmRef { vm: args.vm.clone() }).await?)
    } else {
        None
    };
    let params = spec::update(&args, current.as_ref())?;
    begin_or_plan::<vm::Update>(app, &params, &args.planned).await
}

async fn delete(app: &App, params: DeleteVm, confirm: Confirm, planned: Planned) -> Result<(), CliError> {
    if !planned.dry_run && !confirm.yes {
        let mut question = format!("Delete {}?", params.vm);
        // A person decides better with the name and the disks before them.
        if ask::somebody() {
            let vm = app.call::<vm::Get>(&VmRef { vm: params.vm.clone() }).await?;
            let disks = vm.spec.map_or(0, |spec| spec.disks.len());
            let fate = if params.keep_disks { "Kept" } else { "Deleted with it" };
            question = format!("Delete {} ({})? {fate}: {}.", vm.name, vm.id, counted(disks, "disk"));
        }
        ask::confirm(&question, confirm)?;
    }
    begin_or_plan::<vm::Delete>(app, &params, &planned).await
}
