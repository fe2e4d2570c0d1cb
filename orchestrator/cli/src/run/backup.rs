//! Jobs, runs, backups.

use xenith_hypervisor_agent_types::backup::KeepPolicy;
use xenith_orchestrator_api::{backup, backup_job, backup_run};
use xenith_orchestrator_types::backup::{
    Backup, BackupJob, BackupJobRef, BackupProof, BackupRef, BackupRun, BackupRunRef, CreateBackup,
    CreateBackupJob, HoldBackup, ListBackupRuns, ListBackups, ListUnprotected, MailOn, ProveBackup,
    RestoreBackup, RestoreTarget, RunProof, RunStatus, RunVm, UnprotectedVm, UpdateBackupJob, WhyUnprotected,
};

use super::backup_files;
use crate::app::App;
use crate::ask;
use crate::cli::{
    BackupCommand, BackupJobCommand, BackupRunCommand, JobFlags, MailWhen, OnOff, RestoreFlags, WhichBackup,
};
use crate::error::CliError;
use crate::run::{list, paged, said};
use crate::table::{Cell, Column, Row, Sheet, Tone};
use crate::wait::{begin, begin_or_plan};
use crate::words;

fn keeps(keep: &KeepPolicy) -> String {
    let rules = [
        ("last", keep.last),
        ("hourly", keep.hourly),
        ("daily", keep.daily),
        ("weekly", keep.weekly),
        ("monthly", keep.monthly),
        ("yearly", keep.yearly),
    ];
    let rules: Vec<String> =
        rules.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name}={count}")).collect();
    if rules.is_empty() { "everything".to_owned() } else { rules.join(",") }
}

impl Row for BackupJob {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("name", |job, _| Cell::new(&job.settings.name)),
            Column::new("enabled", |job, _| Cell::new(if job.settings.enabled { "on" } else { "off" })),
            Column::new("schedule", |job, _| Cell::new(&job.settings.schedule)),
            Column::new("last_run", |job, _| Cell::maybe(job.last_run.map(words::ago))),
            Column::new("next_run", |job, _| Cell::maybe(job.next_run.map(words::at))),
            Column::new("keep", |job, _| Cell::new(keeps(&job.settings.keep))),
            Column::on_request("filter", |job, _| Cell::new(&job.settings.filter)),
            Column::on_request("vms", |job, _| Cell::new(job.settings.vms.len().to_string())),
            Column::on_request("id", |job, _| Cell::new(job.id.to_string())),
        ]
    }

    fn name(&self) -> String {
        self.settings.name.clone()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

fn job_sheet(job: &BackupJob) -> Sheet {
    let settings = &job.settings;
    Sheet::new()
        .line("name", &settings.name)
        .line("id", job.id.to_string())
        .line("enabled", if settings.enabled { "on" } else { "off" })
        .maybe("schedule", Some(&settings.schedule))
        .maybe("time zone", Some(&settings.timezone))
        .maybe("after", settings.after.map(|job| job.to_string()))
        .line("last run", words::at_or_never(job.last_run))
        .line("next run", words::at_or_never(job.next_run))
        .each("vm", settings.vms.iter().map(ToString::to_string))
        .maybe("filter", Some(&settings.filter))
        .each("repository", settings.repositories.iter().map(ToString::to_string))
        .line("keep", keeps(&settings.keep))
        .line("at a time", settings.concurrency.to_string())
        .line("retries", settings.retries.to_string())
        .each("only", settings.include_disks.iter().cloned())
        .each("left out", settings.exclude_disks.iter().cloned())
        .line("quiesce", settings.quiesce.as_str())
        .line("proved after a run", settings.prove.to_string())
        .each("port that answers", settings.prove_ports.iter().map(ToString::to_string))
        .maybe("webhook", Some(&settings.webhook))
        .maybe("backs up", settings.orchestrator.then_some("the orchestrator, too"))
        .each("mail to", settings.mail_to.iter().cloned())
}

fn minutes(duration: humantime::Duration) -> u32 {
    u32::try_from(duration.as_secs().div_ceil(60)).unwrap_or(u32::MAX)
}

fn mail_on(when: MailWhen) -> MailOn {
    match when {
        MailWhen::Always => MailOn::Always,
        MailWhen::Problems => MailOn::Problems,
    }
}

fn update(job: String, enabled: Option<OnOff>, flags: JobFlags) -> UpdateBackupJob {
    let some = |texts: Vec<String>| (!texts.is_empty()).then_some(texts);
    UpdateBackupJob {
        job,
        enabled: enabled.map(|enabled| enabled == OnOff::On),
        vms: some(flags.vms),
        filter: flags.filter,
        repositories: some(flags.repositories),
        schedule: flags.schedule,
        timezone: flags.timezone,
        after: flags.after,
        keep: flags.keep,
        concurrency: flags.concurrency,
        bandwidth: flags.bandwidth.map(|mib| mib << 20),
        window_minutes: flags.window.map(minutes),
        retries: flags.retries,
        exclude_disks: some(flags.exclude_disks),
        include_disks: some(flags.include_disks),
        rpo_minutes: flags.rpo.map(minutes),
        webhook: flags.webhook,
        orchestrator: flags.orchestrator.map(|orchestrator| orchestrator == OnOff::On),
        mail_to: some(flags.mail_to),
        mail_on: flags.mail_on.map(mail_on),
        prove: flags.prove,
        prove_ports: flags.prove_ports.map(|ports| ports.0),
        quiesce: flags.quiesce,
    }
}

fn create(name: String, flags: JobFlags) -> CreateBackupJob {
    CreateBackupJob {
        name,
        vms: flags.vms,
        filter: flags.filter.unwrap_or_default(),
        repositories: flags.repositories,
        schedule: flags.schedule.unwrap_or_default(),
        timezone: flags.timezone.unwrap_or_default(),
        after: flags.after,
        keep: flags.keep.unwrap_or_default(),
        concurrency: flags.concurrency.unwrap_or_default(),
        bandwidth: flags.bandwidth.unwrap_or_default() << 20,
        window_minutes: flags.window.map(minutes).unwrap_or_default(),
        retries: flags.retries.unwrap_or_default(),
        exclude_disks: flags.exclude_disks,
        include_disks: flags.include_disks,
        rpo_minutes: flags.rpo.map(minutes).unwrap_or_default(),
        webhook: flags.webhook.unwrap_or_default(),
        orchestrator: flags.orchestrator == Some(OnOff::On),
        mail_to: flags.mail_to,
        mail_on: flags.mail_on.map(mail_on).unwrap_or_default(),
        prove: flags.prove.unwrap_or_default(),
        prove_ports: flags.prove_ports.unwrap_or_default().0,
        quiesce: flags.quiesce.unwrap_or_default(),
    }
}

pub async fn job(app: &App, command: BackupJobCommand) -> Result<(), CliError> {
    let shown = match command {
        BackupJobCommand::List(listing) => return list::<backup_job::List, BackupJob>(app, &listing).await,
        BackupJobCommand::Get { job } => app.call::<backup_job::Get>(&BackupJobRef { job }).await?,
        BackupJobCommand::Create { name, settings, keyed } => {
            app.change::<backup_job::Create>(&create(name, settings), &keyed).await?
        }
        BackupJobCommand::Update { job, enabled, settings, keyed } => {
            app.change::<backup_job::Update>(&update(job, enabled, settings), &keyed).await?
        }
        BackupJobCommand::Delete { job, confirm, keyed } => {
            ask::confirm(&format!("Delete the backup job {job}? Its backups stay."), confirm)?;
            app.change::<backup_job::Delete>(&BackupJobRef { job: job.clone() }, &keyed).await?;
            said(app, &format!("{job} is deleted"));
            return Ok(());
        }
        BackupJobCommand::Run { job, keyed } => {
            let started = app.change::<backup_job::Run>(&BackupJobRef { job }, &keyed).await?;
            let people = format!("Run {0} has begun; look at it: xenith backup-run get {0}", started.run);
            return app.out.result(&started, &started.run.to_string(), &people);
        }
    };
    app.out.object(&shown, || job_sheet(&shown))
}

fn status(status: RunStatus) -> Cell {
    let tone = match status {
        RunStatus::Done => Tone::Good,
        RunStatus::Waiting | RunStatus::Running => Tone::Busy,
        RunStatus::Failed => Tone::Bad,
        RunStatus::Cancelled => Tone::Dim,
    };
    Cell::toned(tone, status.as_str())
}

fn total(run: &BackupRun, of: fn(&RunVm) -> u64) -> Cell {
    Cell::new(words::bytes(run.vms.iter().map(of).sum()))
}

impl Row for BackupRun {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("id", |run, _| Cell::new(run.id.to_string())),
            Column::new("job", |run, _| Cell::new(&run.job_name)),
            Column::new("status", |run, _| status(run.status)),
            Column::new("started", |run, _| Cell::new(words::ago(run.started))),
            Column::new("vms", |run, _| Cell::new(run.vms.len().to_string())),
            Column::new("read", |run, _| total(run, |vm| vm.read)),
            Column::new("new", |run, _| total(run, |vm| vm.new_bytes)),
            Column::new("stored", |run, _| total(run, |vm| vm.stored)),
            Column::new("proofs", |run, _| proofs_cell(run)),
            Column::on_request("ended", |run, _| Cell::maybe(run.ended.map(words::at))),
        ]
    }

    fn name(&self) -> String {
        self.id.to_string()
    }

    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// How many of the proofs after a run were passed.
fn proofs_cell(run: &BackupRun) -> Cell {
    let verdicts = || run.proofs.iter().filter_map(|of| of.proof.as_ref());
    let passed = verdicts().filter(|proof| proof.answered).count();
    let tone = match run.proofs.len() {
        0 => return Cell::new(""),
        all if passed == all => Tone::Good,
        _ if verdicts().any(|proof| !proof.answered) => Tone::Bad,
        _ => Tone::Dim,
    };
    Cell::toned(tone, format!("{passed} of {}", run.proofs.len()))
}

fn vm_line(vm: &RunVm) -> String {
    let mut line = format!("{} {}", vm.name, vm.status.as_str());
    if vm.status == RunStatus::Done {
        let rate = (vm.size as f64 / 1_048_576.0) / (vm.millis.max(1) as f64 / 1000.0);
        line.push_str(&format!(
            ": {} of disks, {} read, {} new, {} stored, {rate:.0} MiB/s",
            words::bytes(vm.size),
            words::bytes(vm.read),
            words::bytes(vm.new_bytes),
            words::bytes(vm.stored)
        ));
    }
    if let Some(consistency) = vm.consistency {
        line.push_str(&format!(", {}", consistency.as_str()));
    }
    if let Some(why) = &vm.not_quiesced_because {
        line.push_str(&format!(" ({why})"));
    }
    for text in vm.message.iter().chain(&vm.whole_because) {
        line.push_str(&format!("; {text}"));
    }
    line
}

pub async fn run(app: &App, command: BackupRunCommand) -> Result<(), CliError> {
    let shown = match command {
        BackupRunCommand::List { job, listing } => {
            let fetch = async |limit, cursor| {
                let (job, filter, sort) = (job.clone(), listing.filter.clone(), listing.sort.clone());
                app.call::<backup_run::List>(&ListBackupRuns { job, filter, sort, limit, cursor }).await
            };
            return paged(app, &listing.limited, &listing.columns, fetch).await;
        }
        BackupRunCommand::Get { run } => app.call::<backup_run::Get>(&BackupRunRef { run }).await?,
        BackupRunCommand::Cancel { run, keyed } => {
            app.change::<backup_run::Cancel>(&BackupRunRef { run }, &keyed).await?
        }
    };
    app.out.object(&shown, || {
        Sheet::new()
            .line("id", shown.id.to_string())
            .line("job", &shown.job_name)
            .cell("status", status(shown.status))
            .line("started", words::at(shown.started))
            .line("ended", words::at_or_never(shown.ended))
            .each("vm", shown.vms.iter().map(vm_line))
            .line("guests' disks", shown.consistency.as_str())
            .maybe("orchestrator", shown.orchestrator.as_ref().map(|part| part.status.as_str()))
            .each("proof", shown.proofs.iter().map(run_proof_line))
            .each("note", shown.notes.iter().cloned())
            .maybe("cancelled", shown.cancelled_by.as_ref())
    })
}

impl Row for Backup {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("id", |backup, _| Cell::new(&backup.id)),
            Column::new("vm", |backup, _| Cell::new(&backup.vm_name)),
            Column::new("created", |backup, _| Cell::new(words::at(backup.created))),
            Column::new("repository", |backup, _| Cell::new(&backup.repository_name)),
            Column::new("size", |backup, _| {
                Cell::new(words::bytes(backup.disks.iter().map(|disk| disk.size).sum()))
            }),
            Column::new("stored", |backup, _| {
                Cell::new(words::bytes(backup.disks.iter().map(|disk| disk.stored).sum()))
            }),
            Column::new("held", |backup, _| Cell::new(if backup.held { "held" } else { "" })),
            Column::new("proof", |backup, _| match &backup.proof {
                None => Cell::new(""),
                Some(proof) if proof.answered => Cell::toned(Tone::Good, "boots"),
                Some(_) => Cell::toned(Tone::Bad, "failed"),
            }),
        ]
    }

    fn name(&self) -> String {
        self.id.clone()
    }

    fn id(&self) -> String {
        self.id.clone()
    }
}

impl Row for UnprotectedVm {
    fn columns() -> Vec<Column<Self>> {
        vec![
            Column::new("vm", |row, _| Cell::new(&row.name)),
            Column::new("why", |row, _| {
                Cell::new(match row.why {
                    WhyUnprotected::NoJob => "no job covers it",
                    WhyUnprotected::NoBackup => "no backup yet",
                    WhyUnprotected::TooOld => "too old",
                })
            }),
            Column::new("newest", |row, _| Cell::new(words::at_or_never(row.newest))),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }

    fn id(&self) -> String {
        self.vm.to_string()
    }
}

fn proof_line(proof: &BackupProof) -> String {
    let verdict = if proof.answered { "boots" } else { "was not seen to boot" };
    format!("{}: it {verdict} ({}, {} s)", words::at(proof.at), proof.said, proof.seconds)
}

fn run_proof_line(of: &RunProof) -> String {
    let how = match (&of.proof, &of.message) {
        (Some(proof), _) => proof_line(proof),
        (None, Some(why)) => format!("not begun: {why}"),
        (None, None) => "no verdict yet".to_owned(),
    };
    format!("{}: {how}", of.name)
}

fn which(which: WhichBackup) -> BackupRef {
    BackupRef { backup: which.backup, repository: which.repository }
}

/// All of one backup, for people.
fn sheet(found: &Backup) -> Sheet {
    Sheet::new()
        .line("id", &found.id)
        .line("vm", &found.vm_name)
        .line("created", words::at(found.created))
        .line("repository", &found.repository_name)
        .line("held", if found.held { "yes" } else { "no" })
        .maybe("guest's disks", found.consistency.map(|consistency| consistency.as_str()))
        .maybe("not quiesced", found.not_quiesced_because.as_ref())
        .maybe("proof", found.proof.as_ref().map(proof_line))
        .each(
            "disk",
            found.disks.iter().map(|disk| {
                let why = disk.whole_because.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
                format!(
                    "{}: {}, {} read{why}, {} new, {} stored",
                    disk.name,
                    words::bytes(disk.size),
                    words::bytes(disk.read),
                    words::bytes(disk.new_bytes),
                    words::bytes(disk.stored)
                )
            }),
        )
}

pub async fn backup(app: &App, command: BackupCommand) -> Result<(), CliError> {
    match command {
        BackupCommand::List { vm, repository, listing } => {
            paged(app, &listing.limited, &listing.columns, async |limit, cursor| {
                let (repository, vm) = (repository.clone(), vm.clone());
                let (filter, sort) = (listing.filter.clone(), listing.sort.clone());
                let request = ListBackups { repository, vm, filter, sort, limit, cursor };
                app.call::<backup::List>(&request).await
            })
            .await
        }
        BackupCommand::Unprotected { older_than, listing } => {
            let older_than_minutes = older_than.map_or(0, minutes);
            paged(app, &listing.limited, &listing.columns, async |limit, cursor| {
                let (filter, sort) = (listing.filter.clone(), listing.sort.clone());
                let request = ListUnprotected { older_than_minutes, filter, sort, limit, cursor };
                app.call::<backup::Unprotected>(&request).await
            })
            .await
        }
        BackupCommand::Get { which: asked } => {
            let found = app.call::<backup::Get>(&which(asked)).await?;
            app.out.object(&found, || sheet(&found))
        }
        BackupCommand::Create { vm, repositories, exclude_disks, quiesce, tasked } => {
            let request = CreateBackup { vm, repositories, exclude_disks, quiesce };
            begin::<backup::Create>(app, &request, &tasked).await
        }
        BackupCommand::Hold { which: asked, held, tasked } => {
            let WhichBackup { backup, repository } = asked;
            let request = HoldBackup { backup, repository, held: held == OnOff::On };
            begin::<backup::Hold>(app, &request, &tasked).await
        }
        BackupCommand::Delete { which: asked, confirm, planned } => {
            if !planned.dry_run {
                ask::confirm(&format!("Delete the backup {}?", asked.backup), confirm)?;
            }
            begin_or_plan::<backup::Delete>(app, &which(asked), &planned).await
        }
        BackupCommand::Prove { which: asked, within, ports, host, tasked } => {
            let WhichBackup { backup, repository } = asked;
            let minutes = within.map_or(0, minutes);
            let ports = ports.unwrap_or_default().0;
            let request = ProveBackup { backup, repository, host, minutes, ports };
            begin::<backup::Prove>(app, &request, &tasked).await
        }
        BackupCommand::Files { which, at, disk, columns } => {
            backup_files::list(app, (which, at, disk), &columns).await
        }
        BackupCommand::Download { which, at, to, disk, ticket: _ } => match to {
            Some(to) => backup_files::download(app, (which, at, disk), &to).await,
            None => backup_files::ticket(app, (which, at, disk)).await,
        },
        BackupCommand::Restore(flags) => restore(app, flags).await,
    }
}

async fn restore(app: &App, flags: RestoreFlags) -> Result<(), CliError> {
    let RestoreFlags { which: asked, name, in_place, disks_only, disks, host, sr, networks, .. } = flags;
    let target = if in_place {
        let question = "Overwrite the VM's disks with the backup? What they hold now is lost.";
        if !flags.planned.dry_run {
            ask::confirm(question, flags.confirm)?;
        }
        RestoreTarget::InPlace
    } else if disks_only {
        RestoreTarget::Disks
    } else {
        RestoreTarget::NewVm { name }
    };
    let request = RestoreBackup {
        backup: asked.backup,
        repository: asked.repository,
        target,
        disks,
        host,
        sr,
        networks: networks.into_iter().collect(),
        start: flags.start,
        instant: flags.instant,
        bandwidth: flags.bandwidth.unwrap_or_default() << 20,
    };
    begin_or_plan::<backup::Restore>(app, &request, &flags.planned).await
}
