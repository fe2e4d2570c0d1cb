//! Hosts that share networks and storage.

use xenith_orchestrator_api::pool;
use xenith_orchestrator_types::balance::{
    AsleepHost, BalanceGoal, BalanceMode, BalancePlan, BalancePolicy, BalancePool, BalanceStatus,
    BalancedHost, PlannedMove, SetBalance,
};
use xenith_orchestrator_types::cpu_level::{CpuLevelMode, CpuLevelStatus, HostCpu, SetCpuLevel};
use xenith_orchestrator_types::pool::{CreatePool, HostUpdate, Pool, PoolRef, PoolUpdateStatus, UpdatePool};

use crate::app::App;
use crate::ask;
use crate::cli::{GoalFlag, ModeFlag, OnOff, PoolCommand, SetBalanceArgs, UpdatePoolArgs};
use crate::error::CliError;
use crate::run::{list, said};
use crate::table::{Cell, Column, Paint, Row, Sheet};
use crate::wait::{begin_or_plan, plan};
use crate::words;

impl Row for Pool {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("name", |pool, _| Cell::new(&pool.name)),
            Column::new("description", |pool, _| Cell::new(&pool.description)),
            Column::on_request("id", |pool, _| Cell::new(pool.id.to_string())),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

pub async fn run(app: &App, command: PoolCommand) -> Result<(), CliError> {
    match command {
        PoolCommand::List(listing) => list::<pool::List, Pool>(app, &listing).await,
        PoolCommand::Create { name, description, keyed } => {
            let pool = app.change::<pool::Create>(&CreatePool { name, description }, &keyed).await?;
            app.out.object(&pool, || {
                Sheet::new()
                    .line("name", &pool.name)
                    .line("id", pool.id.to_string())
                    .maybe("description", Some(&pool.description))
            })
        }
        PoolCommand::Delete { pool, confirm, keyed } => {
            ask::confirm(&format!("Delete the pool {pool}?"), confirm)?;
            app.change::<pool::Delete>(&PoolRef { pool: pool.clone() }, &keyed).await?;
            said(app, &format!("{pool} is deleted"));
            Ok(())
        }
        PoolCommand::Balance { pool, goal, planned } => {
            let params = BalancePool { pool, goal: goal.map(goal_of) };
            begin_or_plan::<pool::Balance>(app, &params, &planned).await
        }
        PoolCommand::BalanceStatus { pool } => {
            let status = app.call::<pool::BalanceStatus>(&PoolRef { pool }).await?;
            app.out.value(&status, || sheet(&status).render(Paint::Plain))
        }
        PoolCommand::SetBalance(args) => set_balance(app, *args).await,
        PoolCommand::CpuLevel { pool } => {
            let status = app.call::<pool::CpuLevel>(&PoolRef { pool }).await?;
            app.out.value(&status, || cpu_sheet(&status).render(Paint::Plain))
        }
        PoolCommand::SetCpuLevel { pool, level, dry_run: true, .. } => {
            plan::<pool::SetCpuLevel>(app, &SetCpuLevel { pool, mode: level }).await
        }
        PoolCommand::SetCpuLevel { pool, level, keyed, .. } => {
            let params = SetCpuLevel { pool, mode: level };
            let status = app.change::<pool::SetCpuLevel>(&params, &keyed).await?;
            app.out.value(&status, || cpu_sheet(&status).render(Paint::Plain))
        }
        PoolCommand::Update(args) => update(app, *args).await,
        PoolCommand::UpdateStatus { pool } => {
            let status = app.call::<pool::UpdateStatus>(&PoolRef { pool }).await?;
            app.out.value(&status, || update_sheet(&status).render(Paint::Plain))
        }
        PoolCommand::PauseUpdate { pool, keyed } => {
            let status = app.change::<pool::PauseUpdate>(&PoolRef { pool }, &keyed).await?;
            app.out.value(&status, || update_sheet(&status).render(Paint::Plain))
        }
        PoolCommand::ResumeUpdate { pool, keyed } => {
            let status = app.change::<pool::ResumeUpdate>(&PoolRef { pool }, &keyed).await?;
            app.out.value(&status, || update_sheet(&status).render(Paint::Plain))
        }
    }
}

async fn update(app: &App, args: UpdatePoolArgs) -> Result<(), CliError> {
    let UpdatePoolArgs { pool, image, packages, reboot, hosts, at_once, vms_stay, move_disks, planned } =
        args;
    // One of the three was given.
    let what = match (image, packages, reboot) {
        (Some(url), ..) => HostUpdate::Image { url },
        (None, true, _) => HostUpdate::Packages,
        (None, false, _) => HostUpdate::Reboot,
    };
    let params = UpdatePool { pool, what, hosts, at_once, vms_stay, move_disks };
    begin_or_plan::<pool::Update>(app, &params, &planned).await
}

fn cpu_sheet(status: &CpuLevelStatus) -> Sheet {
    let mode = match status.mode {
        CpuLevelMode::Off => "off: VMs get all that their host has",
        CpuLevelMode::Auto => "auto: what all hosts have",
        CpuLevelMode::Set { .. } => "set",
    };
    let host = |host: &HostCpu| {
        let mut said = match &host.features {
            Some(features) => format!("{}: {features}", host.name),
            None => format!("{}: does not tell what its processors can do", host.name),
        };
        for (what, names) in [("hides", &host.hidden), ("lacks", &host.lacking)] {
            if !names.is_empty() {
                said.push_str(&format!(", {what} {}", names.join(" ")));
            }
        }
        said
    };
    Sheet::new()
        .line("cpu level", mode)
        .each("level", status.levels.iter().map(ToString::to_string))
        .each("hosts", status.hosts.iter().map(host))
}

fn update_sheet(status: &PoolUpdateStatus) -> Sheet {
    let how = match (status.task, status.paused) {
        (None, _) => "not under way",
        (Some(_), true) => "paused: no further host is begun",
        (Some(_), false) => "under way",
    };
    Sheet::new().line("update", how).maybe("task", status.task.map(|task| task.to_string()))
}

const fn goal_of(flag: GoalFlag) -> BalanceGoal {
    match flag {
        GoalFlag::Performance => BalanceGoal::Performance,
        GoalFlag::Density => BalanceGoal::Density,
    }
}

async fn set_balance(app: &App, args: SetBalanceArgs) -> Result<(), CliError> {
    // Part of a minute is a minute.
    let minutes = |flag: &str, time: Option<humantime::Duration>| {
        let minutes = time.map(|time| u32::try_from(time.as_secs().div_ceil(60))).transpose();
        minutes.map_err(|_| CliError::usage(format!("--{flag} is at most 7d")))
    };
    let params = SetBalance {
        pool: args.pool,
        mode: args.mode.map(|flag| match flag {
            ModeFlag::Off => BalanceMode::Off,
            ModeFlag::Propose => BalanceMode::Propose,
            ModeFlag::Automatic => BalanceMode::Automatic,
        }),
        goal: args.goal.map(goal_of),
        threshold_percent: args.threshold,
        min_gain_percent: args.min_gain,
        ceiling_percent: args.ceiling,
        moves: args.moves,
        at_once: args.at_once,
        per_host: args.per_host,
        per_hour: args.per_hour,
        cool_down_minutes: minutes("cool-down", args.cool_down)?,
        power_hosts: args.power_hosts.map(|power_hosts| power_hosts == OnOff::On),
        hosts_on: args.hosts_on,
        power_cool_down_minutes: minutes("power-cool-down", args.power_cool_down)?,
    };
    let status = app.change::<pool::SetBalance>(&params, &args.keyed).await?;
    app.out.value(&status, || sheet(&status).render(Paint::Plain))
}

fn sheet(status: &BalanceStatus) -> Sheet {
    let policy = &status.policy;
    let sheet = Sheet::new()
        .line("mode", policy.mode.as_str())
        .line("goal", policy.goal.as_str())
        .line("threshold", format!("{} % above the mean", policy.threshold_percent))
        .line("least gain", format!("{} %", policy.min_gain_percent))
        .line("ceiling", format!("{} %", policy.ceiling_percent))
        .line(
            "moves",
            format!(
                "{} a plan, {} an hour, {} at once, {} of these with one host",
                policy.moves, policy.per_hour, policy.at_once, policy.per_host
            ),
        )
        .line("cool-down", format!("{} min", policy.cool_down_minutes))
        .line("hosts switched off", switched(policy))
        .line("moved last hour", status.moved_last_hour.to_string())
        .maybe("task", status.task.map(|task| task.to_string()))
        .each("asleep", status.asleep.iter().map(asleep));
    match &status.proposal {
        None => sheet,
        Some(plan) => proposed(sheet, plan),
    }
}

fn switched(policy: &BalancePolicy) -> String {
    match policy.power_hosts {
        false => "no".to_owned(),
        true => format!(
            "where others do without them; {} on, {} min between",
            policy.hosts_on, policy.power_cool_down_minutes
        ),
    }
}

fn asleep(host: &AsleepHost) -> String {
    let comes_up = if host.comes_up { ", comes up" } else { "" };
    format!("{} since {}{comes_up}", host.name, words::at(host.since))
}

fn proposed(sheet: Sheet, plan: &BalancePlan) -> Sheet {
    let one =
        |one: &PlannedMove| format!("{}: {} to {} ({})", one.name, one.from_name, one.to_name, one.reason);
    let host = |host: &BalancedHost| {
        format!(
            "{}: memory {} % to {} %, processors {} % to {} %",
            host.name,
            host.memory_percent,
            host.memory_percent_after,
            host.cpu_percent,
            host.cpu_percent_after
        )
    };
    sheet
        .line("proposed", words::at(plan.made))
        .each("moves", plan.moves.iter().map(one))
        .each("hosts", plan.hosts.iter().map(host))
        .each("then to power off", plan.power_off.iter().map(|host| host.name.clone()))
        .each("notes", plan.notes.iter().cloned())
}
