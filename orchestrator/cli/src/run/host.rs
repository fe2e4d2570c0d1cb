//! Physical machines.

mod power;

use xenith_hypervisor_agent_types::management::BondChoice;
use xenith_orchestrator_api::host;
use xenith_orchestrator_client::HostChanges;
use xenith_orchestrator_types::host::{
    AddHost, EndBoot, EvacuateHost, EvacuatedVm, Host, HostAddress, HostGuests, HostHardware,
    HostMaintenance, HostManagement, HostPeerAddress, HostRef, HostStatus, RemoveHost, UpgradeHost,
};

use crate::app::App;
use crate::ask;
use crate::cli::{BondFlag, Columns, Format, GuestsFlags, HostCommand, Keyed, OnOff, SetManagementArgs};
use crate::error::CliError;
use crate::run::watch::follow;
use crate::run::{list, print, said};
use crate::table::{Cell, Column, Names, Paint, Row, Sheet, Tone};
use crate::wait::{begin_or_plan, plan};
use crate::words;

fn status(host: &Host) -> Cell {
    match host.status {
        HostStatus::Connected if host.maintenance => Cell::toned(Tone::Busy, "maintenance"),
        HostStatus::Connected => Cell::toned(Tone::Good, "connected"),
        HostStatus::Unknown => Cell::toned(Tone::Bad, "unknown"),
        HostStatus::Enrolling => Cell::toned(Tone::Busy, "enrolling"),
    }
}

impl Row for Host {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("name", |host, _| Cell::new(&host.name)),
            Column::new("status", |host, _| status(host)),
            Column::new("pool", |host, names| Cell::new(names.pool(host.pool))),
            Column::new("address", |host, _| Cell::new(&host.address)),
            Column::new("vms", |host, _| Cell::new(host.vms.to_string())),
            Column::new("cpus", |host, _| {
                Cell::maybe(host.facts.as_ref().map(|facts| facts.topology.cpus.to_string()))
            }),
            Column::new("memory_free", |host, _| {
                Cell::maybe(host.facts.as_ref().map(|facts| facts.memory_free.to_string()))
            }),
            Column::new("memory", |host, _| {
                Cell::maybe(host.facts.as_ref().map(|facts| facts.memory_total.to_string()))
            }),
            Column::on_request("xen", |host, _| Cell::maybe(xen(host))),
            Column::on_request("agent", |host, _| Cell::maybe(host.agent_version.as_ref())),
            Column::on_request("heard", |host, _| Cell::maybe(host.last_heard.map(words::ago))),
            Column::on_request("problem", |host, _| Cell::maybe(host.problem.as_ref())),
            Column::on_request("id", |host, _| Cell::new(host.id.to_string())),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

fn xen(host: &Host) -> Option<String> {
    host.facts.as_ref().map(|facts| format!("{}.{}{}", facts.xen.major, facts.xen.minor, facts.xen.extra))
}

fn sheet(host: &Host, names: &Names) -> Sheet {
    let sheet = Sheet::new()
        .line("name", &host.name)
        .line("id", host.id.to_string())
        .cell("status", status(host))
        .maybe("problem", host.problem.as_ref())
        .line("maintenance", if host.maintenance { "on: takes no new VMs" } else { "off" })
        .line("pool", names.pool(host.pool))
        .line("address", &host.address)
        .maybe("peer address", host.peer_address.as_ref())
        .line("vms", host.vms.to_string())
        .maybe("agent", host.agent_version.as_ref())
        .maybe("local sr", host.local_sr.map(|sr| sr.to_string()))
        .line("last heard", words::at_or_never(host.last_heard))
        .line("certificate expires", words::at(host.certificate_expires));
    let Some(facts) = &host.facts else { return sheet };
    let topology = &facts.topology;
    sheet
        .line("host name", &facts.hostname)
        .maybe("xen", xen(host))
        .line("cpu", &facts.cpu_model)
        .maybe("cpu features", facts.cpu_features.map(|features| features.to_string()))
        .line(
            "cpus",
            format!(
                "{} ({} cores a socket, {} threads a core, {} nodes)",
                topology.cpus, topology.cores_per_socket, topology.threads_per_core, topology.nodes
            ),
        )
        .line(
            "memory",
            format!("{} free of {}, dom0 has {}", facts.memory_free, facts.memory_total, facts.memory_dom0),
        )
        .line("guests", facts.capabilities.join(", "))
        .each(
            "bridges",
            facts.bridges.iter().map(|bridge| format!("{} ({})", bridge.name, bridge.uplinks.join(", "))),
        )
}

fn hardware_sheet(hardware: &HostHardware) -> Sheet {
    let numa = hardware.numa.iter().map(|node| {
        let cpus = node.cpus.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
        format!("{}: CPUs {cpus}, {} free of {}", node.node, node.memory_free, node.memory_total)
    });
    let pci = hardware.pci.iter().map(|device| {
        let driver = device.driver.as_deref().unwrap_or("no driver");
        format!("{} {} {} ({driver})", device.address, device.class, device.id)
    });
    Sheet::new()
        .each("numa nodes", numa)
        .each("pci devices", pci)
        .maybe("not for guests", hardware.passthrough_problem.as_ref())
}

impl Row for EvacuatedVm {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("vm", |row, _| Cell::new(&row.name)),
            Column::new("to", |row, _| Cell::maybe(row.to_name.as_ref())),
            Column::new("disks copied", |row, _| {
                Cell::maybe((row.disk_bytes > 0).then(|| words::bytes(row.disk_bytes)))
            }),
            Column::new("task", |row, _| Cell::maybe(row.task.map(|task| task.to_string()))),
            Column::new("problem", |row, _| match &row.error {
                Some(error) if row.detail.is_empty() => Cell::toned(Tone::Bad, error),
                Some(error) => Cell::toned(Tone::Bad, format!("{error}: {}", row.detail.join("; "))),
                None => Cell::maybe(None::<String>),
            }),
            Column::on_request("id", |row, _| Cell::new(row.vm.to_string())),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.vm.to_string()
    }
}

/// Fails when some VM stays, after telling which and why.
async fn evacuated(app: &App, vms: Vec<EvacuatedVm>) -> Result<(), CliError> {
    print(app, &vms, &Columns::default()).await?;
    let failed = vms.iter().filter(|vm| vm.error.is_some()).count();
    if failed > 0 {
        return Err(CliError::Partly { failed, of: vms.len() });
    }
    Ok(())
}

fn end_boot(host: String, flags: GuestsFlags) -> EndBoot {
    let guests = match flags {
        GuestsFlags { evacuate: true, .. } => HostGuests::Evacuate,
        GuestsFlags { shut_down_vms: true, .. } => HostGuests::ShutDown,
        GuestsFlags { .. } => HostGuests::Refuse,
    };
    EndBoot { host, guests, move_disks: flags.move_disks }
}

async fn set_management(app: &App, args: SetManagementArgs) -> Result<(), CliError> {
    let SetManagementArgs { host, address, gateway, dns, vlan, bond, interfaces, agent_address, planned } =
        args;
    let bond = bond.map(|bond| match bond {
        BondFlag::None => BondChoice::None,
        BondFlag::ActiveBackup => BondChoice::ActiveBackup,
        BondFlag::Lacp => BondChoice::Lacp,
    });
    let params = HostManagement { host, address, gateway, dns, vlan, bond, interfaces, agent_address };
    begin_or_plan::<host::SetManagement>(app, &params, &planned).await
}

async fn add(
    app: &App,
    (name, pool): (Option<String>, Option<String>),
    valid: humantime::Duration,
    keyed: &Keyed,
) -> Result<(), CliError> {
    // Part of a minute is a minute; 0 would stand for the default.
    let minutes = u32::try_from(valid.as_secs().div_ceil(60).max(1))
        .map_err(|_| CliError::usage("--valid is at most 7d"))?;
    let issued = app.change::<host::Add>(&AddHost { name, pool, minutes }, keyed).await?;
    if matches!(app.out.format, Format::Name | Format::Id) {
        return app.out.line(&issued.token);
    }
    app.out.value(&issued, || format!("{}\n", issued.token))?;
    said(
        app,
        &format!(
            "On the new host: xenith-agent join TOKEN. It works once, until {}",
            words::at(issued.expires)
        ),
    );
    Ok(())
}

pub async fn run(app: &App, command: HostCommand) -> Result<(), CliError> {
    match command {
        HostCommand::List { watch: true, listing } => follow::<HostChanges, _, _>(app, &listing).await,
        HostCommand::List { watch: false, listing } => list::<host::List, Host>(app, &listing).await,
        HostCommand::Get { host } => {
            let host = app.call::<host::Get>(&HostRef { host }).await?;
            let names = app.names().await;
            app.out.object(&host, || sheet(&host, &names))
        }
        HostCommand::Hardware { host } => {
            let hardware = app.call::<host::Hardware>(&HostRef { host }).await?;
            app.out.value(&hardware, || hardware_sheet(&hardware).render(Paint::Plain))
        }
        HostCommand::Add { name, pool, valid, keyed } => add(app, (name, pool), valid, &keyed).await,
        HostCommand::SetMaintenance { host, maintenance, keyed } => {
            let params = HostMaintenance { host, maintenance: maintenance == OnOff::On };
            let host = app.change::<host::SetMaintenance>(&params, &keyed).await?;
            let names = app.names().await;
            app.out.object(&host, || sheet(&host, &names))
        }
        HostCommand::Evacuate { host, move_disks, dry_run: true, .. } => {
            plan::<host::Evacuate>(app, &EvacuateHost { host, move_disks }).await
        }
        HostCommand::Evacuate { host, move_disks, keyed, .. } => {
            let params = EvacuateHost { host, move_disks };
            let evacuation = app.change::<host::Evacuate>(&params, &keyed).await?;
            evacuated(app, evacuation.vms).await
        }
        HostCommand::Upgrade { host, url, evacuate, move_disks, planned } => {
            let params = UpgradeHost { host, url, evacuate, move_disks };
            begin_or_plan::<host::Upgrade>(app, &params, &planned).await
        }
        HostCommand::Reboot { host, guests, planned } => {
            begin_or_plan::<host::Reboot>(app, &end_boot(host, guests), &planned).await
        }
        HostCommand::Shutdown { host, guests, planned } => {
            begin_or_plan::<host::Shutdown>(app, &end_boot(host, guests), &planned).await
        }
        HostCommand::PowerControl { host } => power::control(app, host).await,
        HostCommand::SetPowerControl(args) => power::set_control(app, *args).await,
        HostCommand::Power { host, order, force, confirm, keyed } => {
            power::order(app, (host, order, force), confirm, &keyed).await
        }
        HostCommand::SetAddress { host, address, keyed } => {
            let host = app.change::<host::SetAddress>(&HostAddress { host, address }, &keyed).await?;
            let names = app.names().await;
            app.out.object(&host, || sheet(&host, &names))
        }
        HostCommand::SetPeerAddress { host, address, keyed } => {
            let host = app.change::<host::SetPeerAddress>(&HostPeerAddress { host, address }, &keyed).await?;
            let names = app.names().await;
            app.out.object(&host, || sheet(&host, &names))
        }
        HostCommand::SetManagement(args) => set_management(app, *args).await,
        HostCommand::Remove { host, force, dry_run: true, .. } => {
            plan::<host::Remove>(app, &RemoveHost { host, force }).await
        }
        HostCommand::Remove { host, force, confirm, keyed, .. } => {
            ask::confirm(&format!("Forget {host} and revoke its certificate?"), confirm)?;
            app.change::<host::Remove>(&RemoveHost { host: host.clone(), force }, &keyed).await?;
            said(app, &format!("{host} is forgotten; VMs on it run on"));
            Ok(())
        }
    }
}
