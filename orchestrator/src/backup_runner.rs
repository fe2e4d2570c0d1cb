//! Runs of backup jobs: begun by the clock or by hand, carried on VM by VM.
//!
//! A reconciler: it reads what is due and what is not over, and does the next thing. A saga begins in the transaction
//! that notes it in the run, so that a run goes on after a restart where it was, and no VM is backed up twice for it.
//!
//! What always holds: a job has at most one run that is not over (`backup.live`, inserted only if absent, whoever
//! begins it). A round costs what is due and what runs: jobs and live runs are kept in memory as the store's feed tells
//! them ([`mirror`]), so that nothing is read again that did not change.
//!
//! | part | what it does |
//! |---|---|
//! | [`schedule`] | when a job is due |
//! | [`begin`] | which VMs a run is of, and the run's record |
//! | [`advance`] | from VM to VM, until the verdict |
//! | [`own`] | the orchestrator's own part |
//! | [`room`] | how many write to a repository at a time |
//! | [`rpo`] | whose last good backup is too old |
//! | [`odd`] | whose newest backup changed oddly much |
//! | [`prune`] | what is kept |
//! | [`checks`] | repositories are looked at |
//! | [`proofs`] | which backups are seen to boot |
//! | [`standbys`] | who stands by follows |
//! | [`report`] | telling whoever wants to know |

mod advance;
mod begin;
mod checks;
mod mirror;
mod odd;
mod own;
mod proofs;
mod prune;
mod report;
mod room;
mod rpo;
mod schedule;
mod standbys;

use std::sync::Arc;
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use xenith_common_ids::{BackupJobId, BackupRunId};
use xenith_common_tasks::TaskSet;
use xenith_orchestrator_store::{StoreError, Transaction};
use xenith_orchestrator_types::ApiError;
use xenith_orchestrator_types::event::Severity;

use crate::app::App;
use crate::db::Db;
use crate::errors::store_error;
use crate::events::Happened;
use crate::model::JobRecord;
use crate::upkeep;
use mirror::Mirror;
use rpo::Rpo;

pub use advance::progress;
pub use begin::{What, begin, is_running, params, vms};
pub use proofs::verdict_event;
pub use schedule::next_run;

/// How often runs that are not over are looked at; a run begun by hand wakes it.
const TICK: Duration = Duration::from_secs(2);
/// With nothing to do, so often all the same: clocks are set.
const IDLE: Duration = Duration::from_secs(30);
/// Between two looks at how old the last good backups are.
const RPO_EVERY: Duration = Duration::from_secs(60);
/// Between two looks at what standbys hold; a VM of a run that was backed up brings one at once.
const FOLLOW_EVERY: Duration = Duration::from_secs(60);
/// Between two looks at which VMs nothing protects, and at old runs.
const SELDOM: Duration = Duration::from_secs(600);
const WHO: &str = "backup schedule";
/// Says in the store that runs that are not over are listed.
const LISTED: &str = "live runs";

/// Starts it, and the sender of its reports.
pub fn start(app: &Arc<App>, tasks: &TaskSet) {
    let (token, runner) = (tasks.token(), Arc::clone(app));
    tasks.spawn("backup-runner", async move {
        tokio::select! {
            () = token.cancelled() => {}
            () = drive(&runner) => {}
        }
    });
    let (token, reporter) = (tasks.token(), Arc::clone(app));
    tasks.spawn("backup-reports", async move {
        tokio::select! {
            () = token.cancelled() => {}
            () = report::send_all(&reporter) => {}
        }
    });
}

/// Of a store that was written before runs that are not over were listed: finds them.
pub async fn ensure_live_runs(db: &Db) -> Result<(), StoreError> {
    upkeep::once(db, LISTED, &db.backup_runs, |run| {
        if run.value.status.is_over() {
            return Transaction::new();
        }
        db.live_runs.put_in(Transaction::new(), &run.value.job, &run.key)
    })
    .await
}

/// What is kept between two rounds.
struct Runner {
    jobs: Mirror<BackupJobId, JobRecord>,
    live: Mirror<BackupJobId, BackupRunId>,
    plan: schedule::Plan,
    rpo: Rpo,
    rpo_at: Instant,
    seldom_at: Instant,
    tried: standbys::Tried,
    follow_at: Instant,
}

async fn drive(app: &App) {
    let mut runner = Runner {
        jobs: Mirror::new(&app.db.backup_jobs),
        live: Mirror::new(&app.db.live_runs),
        plan: Default::default(),
        rpo: Rpo::new(&app.db),
        rpo_at: Instant::now(),
        // Not at the very start, when hosts are not heard yet.
        seldom_at: Instant::now() + TICK,
        tried: Default::default(),
        follow_at: Instant::now() + TICK,
    };
    loop {
        let mut wait = TICK;
        match runner.catch_up().await {
            Ok(()) => wait = runner.round(app).await,
            Err(error) => tracing::warn!(%error, "backup jobs cannot be read; trying again"),
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = app.runner.notified() => {}
            () = runner.jobs.changed() => {}
            () = runner.live.changed() => {}
            () = runner.rpo.watch() => {}
        }
    }
}

impl Runner {
    async fn catch_up(&mut self) -> Result<(), StoreError> {
        let changed = self.jobs.catch_up().await?;
        self.plan.note(&self.jobs, &changed);
        self.rpo.forget_jobs(&changed);
        self.live.catch_up().await?;
        Ok(())
    }

    /// Does what there is to do, and says when to look again.
    async fn round(&mut self, app: &App) -> Duration {
        let now = OffsetDateTime::now_utc();
        let mut failed = false;
        // A conflict means that somebody changed a record meanwhile: the next round sees it.
        let mut check = |result: Result<(), ApiError>| {
            if let Err(error) = result {
                tracing::warn!(%error, "a step of the backup runner failed; the next round tries again");
                failed = true;
            }
        };
        for id in self.plan.due(&self.jobs, now) {
            let Some(job) = self.jobs.get(&id) else { continue };
            let running = self.live.get(&id).map(|live| &live.value);
            check(begin::begin_scheduled(app, job, running, now).await);
        }
        if self.rpo_at <= Instant::now() {
            self.rpo_at = Instant::now() + RPO_EVERY;
            for job in self.jobs.all() {
                check(self.rpo.check(app, job, now).await);
            }
        }
        if self.seldom_at <= Instant::now() {
            self.seldom_at = Instant::now() + SELDOM;
            check(crate::protection::warn(app).await);
            check(prune::forget_runs(app, now).await.map_err(|error| store_error(&error)));
            check(checks::check(app, now).await);
        }
        // The run that began first has the first turn, where a repository does not take everybody at once.
        let mut live: Vec<_> = self.live.all().collect();
        live.sort_by_key(|live| live.value);
        for live in live {
            match advance::advance(app, (live.key, live.value), now).await {
                Ok(advance::News::BackedUp) => self.follow_at = Instant::now(),
                Ok(advance::News::Nothing) => {}
                Err(error) => check(Err(error)),
            }
        }
        if self.follow_at <= Instant::now() {
            self.follow_at = Instant::now() + FOLLOW_EVERY;
            check(standbys::follow(app, &mut self.tried).await);
        }
        if failed || !self.live.is_empty() { TICK } else { self.plan.idle(now).min(IDLE) }
    }
}

pub async fn note(app: &App, (severity, kind): (Severity, &'static str), subject: String, message: String) {
    let vm = subject.strip_prefix("vm/").and_then(|vm| vm.parse().ok()).and_then(|vm| app.views.vm(vm));
    let pool = vm.map(|record| record.pool);
    app.events.note(Happened { severity, kind, subject, message, pool }).await;
}
