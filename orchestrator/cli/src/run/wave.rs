//! Waves of imports, and the plans that they come from.

use std::collections::BTreeMap;

use xenith_common_text::counted;
use xenith_orchestrator_api::{import, wave};
use xenith_orchestrator_types::wave::{
    CreateWave, FreedHosts, ImportPlan, PlanImports, PlannedWave, Wave, WaveCaps, WaveMember, WaveRef,
    WaveStatus, WaveStep,
};

use crate::app::App;
use crate::ask;
use crate::cli::{CapArgs, PlanArgs, WaveArgs, WaveCommand};
use crate::error::CliError;
use crate::run::import::{networks, options, seconds, storage};
use crate::run::{list, said};
use crate::table::{Cell, Column, Row, Sheet, Tone};
use crate::words;

const MIB: u64 = 1 << 20;

fn status(wave: &Wave) -> Cell {
    let stopped = |step: WaveStep| matches!(step, WaveStep::Stuck | WaveStep::Refused);
    let tone = match wave.status {
        _ if wave.members.iter().any(|member| stopped(member.step)) => Tone::Bad,
        WaveStatus::Done => Tone::Good,
        WaveStatus::Planned | WaveStatus::Running | WaveStatus::Paused => Tone::Busy,
    };
    Cell::toned(tone, wave.status.as_str())
}

fn count(wave: &Wave, step: WaveStep) -> usize {
    wave.members.iter().filter(|member| member.step == step).count()
}

impl Row for Wave {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("name", |wave, _| Cell::new(&wave.name)),
            Column::new("status", |wave, _| status(wave)),
            Column::new("moved", |wave, _| {
                Cell::new(format!("{} of {}", count(wave, WaveStep::Moved), wave.members.len()))
            }),
            Column::new("moving", |wave, _| Cell::new(count(wave, WaveStep::Moving).to_string())),
            Column::new("following", |wave, _| Cell::new(count(wave, WaveStep::Following).to_string())),
            Column::new("data", |wave, _| Cell::new(words::bytes(wave.total_mib * MIB))),
            Column::new("created", |wave, _| Cell::new(words::ago(wave.created))),
            Column::on_request("id", |wave, _| Cell::new(wave.id.to_string())),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

fn sheet(wave: &Wave) -> Sheet {
    let member = |member: &WaveMember| {
        let why = member.message.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        format!("{} {} ({}){why}", member.name, member.step.as_str(), words::bytes(member.transfer_mib * MIB))
    };
    let WaveCaps { overall, per_host, per_datastore, per_target, per_sr } = wave.caps;
    Sheet::new()
        .line("name", &wave.name)
        .line("id", wave.id.to_string())
        .cell("status", status(wave))
        .line(
            "moved",
            format!("{} of {}", words::bytes(wave.moved_mib * MIB), words::bytes(wave.total_mib * MIB)),
        )
        .line(
            "at a time",
            format!(
                "{overall}; {per_host} per host, {per_datastore} per datastore, {per_target} per target, {per_sr} per SR"
            ),
        )
        .each("vms", wave.members.iter().map(member))
        .line("created", words::at(wave.created))
        .maybe("ended", wave.ended.map(words::at))
}

const fn caps(args: CapArgs) -> WaveCaps {
    WaveCaps {
        overall: args.parallel,
        per_host: args.per_host,
        per_datastore: args.per_datastore,
        per_target: args.per_target,
        per_sr: args.per_sr,
    }
}

pub async fn run(app: &App, command: WaveCommand) -> Result<(), CliError> {
    let wave = match command {
        WaveCommand::List(listing) => return list::<wave::List, Wave>(app, &listing).await,
        WaveCommand::Delete { wave, confirm, keyed } => {
            ask::confirm(&format!("Forget the wave {wave}? Imports that it began stay."), confirm)?;
            app.change::<wave::Delete>(&WaveRef { wave }, &keyed).await?;
            said(app, "The wave is forgotten.");
            return Ok(());
        }
        WaveCommand::Get { wave } => app.call::<wave::Get>(&WaveRef { wave }).await?,
        WaveCommand::Create(args) => create(app, *args).await?,
        WaveCommand::Start { wave, keyed } => app.change::<wave::Start>(&WaveRef { wave }, &keyed).await?,
        WaveCommand::Pause { wave, keyed } => app.change::<wave::Pause>(&WaveRef { wave }, &keyed).await?,
    };
    app.out.object(&wave, || sheet(&wave))
}

async fn create(app: &App, args: WaveArgs) -> Result<Wave, CliError> {
    let request = CreateWave {
        name: args.name,
        source: args.source,
        vms: args.vms,
        options: options(args.how),
        caps: caps(args.caps),
    };
    app.change::<wave::Create>(&request, &args.keyed).await
}

/// `xenith import plan`.
pub async fn plan(app: &App, args: PlanArgs) -> Result<(), CliError> {
    let mut depends_on: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, other) in args.with {
        depends_on.entry(name).or_default().push(other);
    }
    let request = PlanImports {
        source: args.source,
        vms: args.vms,
        networks: networks(&args.networks),
        storage: storage(&args.storage),
        caps: caps(args.caps),
        window_hours: (seconds(args.window) / 3600).max(1),
        max_vms: args.max_vms,
        line_mib_s: args.line,
        criticality: args.criticality.into_iter().collect(),
        depends_on,
    };
    let plan = app.call::<import::Plan>(&request).await?;
    app.out.object(&plan, || plan_sheet(&plan))
}

impl Row for ImportPlan {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("waves", |plan, _| Cell::new(plan.waves.len().to_string())),
            Column::new("vms", |plan, _| Cell::new(plan.vms.len().to_string())),
            Column::new("blocked", |plan, _| Cell::new(plan.blocked.len().to_string())),
            Column::new("data", |plan, _| Cell::new(words::bytes(plan.total_mib * MIB))),
        ]
    }

    fn name(&self) -> String {
        "plan".to_owned()
    }

    fn id(&self) -> String {
        "plan".to_owned()
    }
}

fn plan_sheet(plan: &ImportPlan) -> Sheet {
    let hours = |seconds: u64| format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60);
    let wave = |wave: &PlannedWave| {
        let over = if wave.exceeds_window { ", more than a window" } else { "" };
        format!(
            "{}: {}, {}, {} ({} to {}), limited by {}{over}: {}",
            wave.number,
            counted(wave.vms.len(), "VM"),
            words::bytes(wave.transfer_mib * MIB),
            hours(wave.seconds),
            hours(wave.best_seconds),
            hours(wave.worst_seconds),
            wave.narrowest,
            wave.vms.join(" ")
        )
    };
    let freed = |freed: &FreedHosts| {
        format!("after wave {} ({}): {}", freed.after_wave, hours(freed.after_seconds), freed.hosts.join(" "))
    };
    let findings = plan.vms.iter().flat_map(|vm| {
        let told = vm.findings.iter().filter(|finding| finding.severity != "note");
        told.map(|f| format!("{}: {} ({}): {}. {}", vm.name, f.code, f.severity, f.reason, f.fix))
    });
    Sheet::new()
        .line("data", words::bytes(plan.total_mib * MIB))
        .each("waves", plan.waves.iter().map(wave))
        .each("blocked", plan.blocked.iter().cloned())
        .each("findings", findings)
        .each("hosts that come free", plan.freed.iter().filter(|freed| !freed.hosts.is_empty()).map(freed))
        .each("notes", plan.notes.iter().cloned())
}
