//! High availability.

use xenith_orchestrator_api::ha;
use xenith_orchestrator_types::ha::{
    EnableHa, HaHost, HaRef, HaVm, PoolHa, RestartPriority, SetRestartPriority,
};

use crate::app::App;
use crate::ask;
use crate::cli::{HaCommand, PriorityFlag};
use crate::error::CliError;
use crate::table::Sheet;

fn priority(flag: PriorityFlag) -> RestartPriority {
    match flag {
        PriorityFlag::High => RestartPriority::High,
        PriorityFlag::Medium => RestartPriority::Medium,
        PriorityFlag::Low => RestartPriority::Low,
        PriorityFlag::Off => RestartPriority::Off,
    }
}

fn host(host: &HaHost) -> String {
    let waiting = match host.waiting.len() {
        0 => String::new(),
        count => format!(", {count} of its VMs wait to be restarted"),
    };
    let problem = host.problem.as_ref().map(|problem| format!(": {problem}")).unwrap_or_default();
    format!("{} {}{waiting}{problem}", host.name, host.state.as_str())
}

fn vm(vm: &HaVm) -> String {
    let priority = match vm.priority {
        RestartPriority::High => "high",
        RestartPriority::Medium => "medium",
        RestartPriority::Low => "low",
        RestartPriority::Off => "off",
    };
    format!("{} {priority}", vm.name)
}

fn sheet(shown: &PoolHa) -> Sheet {
    let settings = shown.armed.map(|armed| {
        format!(
            "on; a host that is cut off is reset after {} s (watchdog {} s, beat {} s)",
            armed.lease_s, armed.watchdog_s, armed.beat_s
        )
    });
    Sheet::new()
        .line("high availability", settings.unwrap_or_else(|| "off".to_owned()))
        .maybe("leases in", shown.armed.map(|armed| armed.sr.to_string()))
        .each("hosts", shown.hosts.iter().map(host))
        .each("priorities", shown.priorities.iter().map(vm))
}

pub async fn run(app: &App, command: HaCommand) -> Result<(), CliError> {
    let shown = match command {
        HaCommand::Show { pool } => app.call::<ha::Show>(&HaRef { pool }).await?,
        HaCommand::Enable(args) => {
            let request = EnableHa {
                pool: args.pool,
                sr: args.sr,
                lease_s: args.lease,
                watchdog_s: args.watchdog,
                beat_s: args.beat,
            };
            app.change::<ha::Enable>(&request, &args.keyed).await?
        }
        HaCommand::Disable { pool, confirm, keyed } => {
            ask::confirm(&format!("Turn high availability of {pool} off?"), confirm)?;
            app.change::<ha::Disable>(&HaRef { pool }, &keyed).await?
        }
        HaCommand::SetPriority { vm, priority: flag, keyed } => {
            app.change::<ha::SetPriority>(&SetRestartPriority { vm, priority: priority(flag) }, &keyed)
                .await?
        }
    };
    app.out.value(&shown, || sheet(&shown).render(app.out.paint))
}
