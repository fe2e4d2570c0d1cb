//! Who may talk with the VMs that have a tag, and what may pass a NIC.

use xenith_hypervisor_agent_types::filter::{Rule, VifLink, VifLock};
use xenith_orchestrator_api::{security_group, vm};
use xenith_orchestrator_types::network::{NicChange, NicSettings};
use xenith_orchestrator_types::security_group::{
    CreateSecurityGroup, SecurityGroup, SecurityGroupRef, SetSecurityGroupRules,
};

use crate::app::App;
use crate::ask;
use crate::cli::{LinkFlag, LockFlag, SecurityGroupCommand, SetNicArgs};
use crate::error::CliError;
use crate::run::{list, said};
use crate::table::{Cell, Column, Row, Sheet, Tone};

/// A direction as people read it.
fn direction(rules: Option<&Vec<Rule>>) -> String {
    match rules {
        None => "open".to_owned(),
        Some(rules) if rules.is_empty() => "closed".to_owned(),
        Some(rules) => rules.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
    }
}

impl Row for SecurityGroup {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("name", |group, _| Cell::new(&group.name)),
            Column::new("tag", |group, _| Cell::new(&group.tag)),
            Column::new("ingress", |group, _| Cell::new(direction(group.ingress.as_ref()))),
            Column::new("egress", |group, _| Cell::new(direction(group.egress.as_ref()))),
            Column::new("pool", |group, names| Cell::new(names.pool(group.pool))),
            Column::on_request("description", |group, _| Cell::new(&group.description)),
            Column::on_request("id", |group, _| Cell::new(group.id.to_string())),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

fn addresses(nic: &NicSettings) -> Vec<String> {
    nic.settings.addresses.iter().map(ToString::to_string).collect()
}

const fn lock(lock: VifLock) -> &'static str {
    match lock {
        VifLock::Open => "open",
        VifLock::Mac => "mac",
        VifLock::Addresses => "addresses",
    }
}

fn link(link: VifLink) -> Cell {
    match link {
        VifLink::Up => Cell::new("up"),
        VifLink::Down => Cell::toned(Tone::Bad, "down"),
    }
}

fn rate(nic: &NicSettings) -> Option<String> {
    nic.settings.rate_mbit.map(|rate| format!("{rate} Mbit/s"))
}

impl Row for NicSettings {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("mac", |nic, _| Cell::new(nic.mac.to_string())),
            Column::new("lock", |nic, _| Cell::new(lock(nic.settings.lock))),
            Column::new("addresses", |nic, _| Cell::list(&addresses(nic))),
            Column::new("link", |nic, _| link(nic.settings.link)),
            Column::new("rate", |nic, _| Cell::maybe(rate(nic))),
            Column::new("security_groups", |nic, _| Cell::list(&nic.security_groups)),
            Column::on_request("network", |nic, _| Cell::new(nic.network.to_string())),
        ]
    }

    fn name(&self) -> String {
        self.mac.to_string()
    }

    fn id(&self) -> String {
        self.mac.to_string()
    }
}

pub async fn run(app: &App, command: SecurityGroupCommand) -> Result<(), CliError> {
    match command {
        SecurityGroupCommand::List(listing) => {
            list::<security_group::List, SecurityGroup>(app, &listing).await
        }
        SecurityGroupCommand::Create { name, tag, pool, description, rules, keyed } => {
            let (ingress, egress) = rules.lists();
            let params = CreateSecurityGroup { name, tag, pool, description, ingress, egress };
            let group = app.change::<security_group::Create>(&params, &keyed).await?;
            shown(app, &group).await
        }
        SecurityGroupCommand::SetRules { group, rules, keyed } => {
            let (ingress, egress) = rules.lists();
            let params = SetSecurityGroupRules { group, ingress, egress };
            let group = app.change::<security_group::SetRules>(&params, &keyed).await?;
            shown(app, &group).await
        }
        SecurityGroupCommand::Delete { group, confirm, keyed } => {
            ask::confirm(&format!("Delete the security group {group}?"), confirm)?;
            app.change::<security_group::Delete>(&SecurityGroupRef { group: group.clone() }, &keyed).await?;
            said(app, &format!("{group} is deleted; its rules no longer hold"));
            Ok(())
        }
    }
}

async fn shown(app: &App, group: &SecurityGroup) -> Result<(), CliError> {
    let names = app.names().await;
    app.out.object(group, || {
        Sheet::new()
            .line("name", &group.name)
            .line("id", group.id.to_string())
            .line("tag", &group.tag)
            .line("ingress", direction(group.ingress.as_ref()))
            .line("egress", direction(group.egress.as_ref()))
            .line("pool", names.pool(group.pool))
    })
}

/// `vm set-nic`.
pub async fn set_nic(app: &App, args: SetNicArgs) -> Result<(), CliError> {
    let SetNicArgs { vm, mac, lock: locked, addresses: given, no_addresses, link: linked, rate_mbit, keyed } =
        args;
    let addresses_now = (no_addresses || !given.is_empty()).then(|| given.into_iter().collect());
    let params = NicChange {
        vm,
        mac,
        lock: locked.map(|flag| match flag {
            LockFlag::Open => VifLock::Open,
            LockFlag::Mac => VifLock::Mac,
            LockFlag::Addresses => VifLock::Addresses,
        }),
        addresses: addresses_now,
        link: linked.map(|flag| match flag {
            LinkFlag::Up => VifLink::Up,
            LinkFlag::Down => VifLink::Down,
        }),
        rate_mbit,
    };
    let nic = app.change::<vm::SetNic>(&params, &keyed).await?;
    app.out.object(&nic, || {
        Sheet::new()
            .line("mac", nic.mac.to_string())
            .line("lock", lock(nic.settings.lock))
            .cell("addresses", Cell::list(&addresses(&nic)))
            .cell("link", link(nic.settings.link))
            .maybe("rate", rate(&nic))
            .cell("security groups", Cell::list(&nic.security_groups))
    })
}
