//! Telling whoever wants to know how a run ended.
//!
//! What is owed is written in the commit that ends the run, and taken out when it was delivered or given up, so a
//! restart loses no report; a crash between the delivery and that delivers it twice. Delivering is a task of its own:
//! nobody who is slow to listen holds up a run. At most [`AT_ONCE`] are under way, each for as long as [`crate::outbox`] waits.

use std::time::Duration;

use futures::StreamExt;
use reqwest::Client;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use xenith_common_ids::BackupRunId;
use xenith_orchestrator_store::{Expect, Record, StoreError, Transaction};
use xenith_orchestrator_types::backup::{BackupRun, JobSettings, MailOn, RunStatus, RunVm};
use xenith_orchestrator_types::event::Severity;

use super::mirror::Mirror;
use super::{IDLE, advance};
use crate::app::App;
use crate::events::Happened;
use crate::mail::{self, Letter};
use crate::model::ReportRecord;
use crate::outbox;

const AT_ONCE: usize = 4;
const WEBHOOK: &str = "webhook";
const MAIL: &str = "mail";
/// Lines about VMs in a mail, those with problems first.
const LINES: usize = 500;

type Owed = Record<(BackupRunId, String), ReportRecord>;

/// Adds to the commit that ends a run: who has to be told.
pub(super) fn owe_in(app: &App, commit: Transaction, run: &BackupRun, settings: &JobSettings) -> Transaction {
    let mut commit = commit;
    let next = OffsetDateTime::now_utc();
    if !settings.webhook.is_empty() {
        let record = ReportRecord { to: settings.webhook.clone(), tries: 0, next };
        commit = app.db.reports.put_in(commit, &(run.id, WEBHOOK.to_owned()), &record);
    }
    let worth = settings.mail_on == MailOn::Always || run.status != RunStatus::Done;
    if worth && !settings.mail_to.is_empty() {
        let record = ReportRecord { to: settings.mail_to.join("\n"), tries: 0, next };
        commit = app.db.reports.put_in(commit, &(run.id, MAIL.to_owned()), &record);
    }
    commit
}

/// Delivers what is owed, until it is dropped.
pub(super) async fn send_all(app: &App) {
    let mut owed = Mirror::new(&app.db.reports);
    let mut client = None;
    loop {
        let mut wait = IDLE;
        match owed.catch_up().await {
            Ok(_) => {
                let now = OffsetDateTime::now_utc();
                let (due, later): (Vec<Owed>, Vec<Owed>) =
                    owed.all().cloned().partition(|report| report.value.next <= now);
                let next = later.iter().map(|report| report.value.next - now).min();
                wait = next.and_then(|next| Duration::try_from(next).ok()).unwrap_or(IDLE).min(IDLE);
                if !due.is_empty() && client.is_none() {
                    client = outbox::new_client().await;
                }
                let client = client.as_ref();
                futures::stream::iter(due)
                    .for_each_concurrent(AT_ONCE, |report| async move {
                        deliver_logged(app, client, &report).await
                    })
                    .await;
            }
            Err(error) => tracing::warn!(%error, "it cannot be read which reports are owed; trying again"),
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = owed.changed() => {}
        }
    }
}

async fn deliver_logged(app: &App, client: Option<&Client>, report: &Owed) {
    if let Err(error) = deliver(app, client, report).await {
        tracing::warn!(%error, "what became of a report could not be noted; it may be sent again");
    }
}

async fn deliver(app: &App, client: Option<&Client>, report: &Owed) -> Result<(), StoreError> {
    let (run, way) = &report.key;
    let Some(run) = app.db.backup_runs.get(run).await? else {
        return app.db.reports.delete(report).await.map(drop);
    };
    let sent = match (way.as_str(), client) {
        (WEBHOOK, Some(client)) => outbox::post(client, &report.value.to, &run.value).await,
        (WEBHOOK, None) => Err("this machine cannot make HTTP requests; its log says why".to_owned()),
        (MAIL, _) => mail(app, &report.value.to, &run.value).await,
        _ => Err(format!("this program does not know the way {way:?}")),
    };
    match sent {
        Ok(()) => app.db.reports.delete(report).await.map(drop),
        Err(why) => again(app, (report, &run.value), &why).await,
    }
}

/// Notes when the next try is, or that there is none. The first failure and the last are told, in the commit that
/// counts the try: a program that ends in between tells it neither twice nor never.
async fn again(app: &App, (report, run): (&Owed, &BackupRun), why: &str) -> Result<(), StoreError> {
    let tries = report.value.tries + 1;
    let wait = outbox::AGAIN.get(report.value.tries as usize);
    let read = app.db.reports.require_in(Transaction::new(), &report.key, Expect::At(report.revision));
    let counted = match wait {
        Some(minutes) => {
            let next = OffsetDateTime::now_utc() + time::Duration::minutes(*minutes);
            app.db.reports.put_in(read, &report.key, &ReportRecord { tries, next, ..report.value.clone() })
        }
        None => app.db.reports.delete_in(read, &report.key),
    };
    if tries > 1 && wait.is_some() {
        return app.db.store.commit(counted).await.map(drop);
    }
    let to = outbox::shown(&report.value.to);
    let after = if wait.is_some() {
        "it is tried again for a day".to_owned()
    } else {
        format!("it was given up after {tries} tries")
    };
    let message = format!("the report was not taken by {to}: {why}; {after}");
    let add = |run: &mut BackupRun| {
        if !run.notes.contains(&message) {
            run.notes.push(message.clone());
        }
    };
    app.db.backup_runs.modify(&run.id, add).await?;
    let happened = Happened {
        severity: Severity::Warning,
        kind: "backup.report",
        subject: format!("backup_run/{}", run.id),
        message,
        pool: None,
    };
    app.events.note_in(counted, happened).await.map(drop)
}

/// The run for people.
async fn mail(app: &App, to: &str, run: &BackupRun) -> Result<(), String> {
    let to = to.split('\n').map(mail::parse_address).collect::<Result<_, _>>();
    let to = to.map_err(|error| error.to_string())?;
    let subject = format!("[Xenith] backup {}: {}", run.status.as_str(), run.job_name);
    let letter = Letter { id: format!("report.{}", run.id), to, subject: &subject, text: text(run) };
    mail::send(&app.db, &app.vault, letter).await.map_err(|error| error.to_string())
}

fn text(run: &BackupRun) -> String {
    let mib = |bytes: u64| bytes >> 20;
    let sum = |of: fn(&RunVm) -> u64| mib(run.vms.iter().map(of).sum());
    let at = |at: OffsetDateTime| at.format(&Rfc3339).unwrap_or_default();
    let mut text = format!("{}\n\n", advance::summary(run));
    text += &format!("Run      {}\nBegan    {}\n", run.id, at(run.started));
    text += &run.ended.map(|ended| format!("Ended    {}\n", at(ended))).unwrap_or_default();
    let of = format!(
        "{} MiB read, {} MiB new, {} MiB stored",
        sum(|vm| vm.read),
        sum(|vm| vm.new_bytes),
        sum(|vm| vm.stored)
    );
    text += &format!("Bytes    {of}\n");
    text += &run.cancelled_by.as_ref().map(|by| format!("Ended by {by}\n")).unwrap_or_default();
    let (good, bad): (Vec<&RunVm>, Vec<&RunVm>) = run.vms.iter().partition(|vm| vm.status == RunStatus::Done);
    if !run.vms.is_empty() {
        text += &format!("Disks    {}\n", run.consistency.as_str());
    }
    text.push('\n');
    if let Some(part) = &run.orchestrator {
        text += &format!("The orchestrator: {}", part.status.as_str());
        match &part.message {
            Some(message) => text += &format!(", {message}\n"),
            None => text += &format!(", {} MiB stored\n", mib(part.stored)),
        }
        if part.status == RunStatus::Done {
            text +=
                "  Its master key is not in the backup: keep what `xenith-orchestrator master-key` prints.\n";
        }
    }
    for vm in bad.into_iter().chain(good).take(LINES) {
        text += &format!("{}: {}", vm.name, vm.status.as_str());
        match &vm.message {
            Some(message) => text += &format!(", {message}\n"),
            None => text += &format!(", {} MiB read, {} MiB stored\n", mib(vm.read), mib(vm.stored)),
        }
        if let Some(why) = &vm.not_quiesced_because {
            text += &format!("  not quiesced: {why}\n");
        }
        for why in &vm.whole_because {
            text += &format!("  read whole: {why}\n");
        }
    }
    if run.vms.len() > LINES {
        text += &format!("and {} more\n", run.vms.len() - LINES);
    }
    text
}
