//! When a job is due: by its cron, or because the job before it is over.
//!
//! Both go by what the jobs' records say, so a restart misses nothing: after a night without an orchestrator one run
//! makes up for all that were missed, and a job that follows another one sees that its last run ended later than its
//! own began.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use time::OffsetDateTime;
use xenith_common_ids::BackupJobId;

use super::mirror::Mirror;
use crate::model::JobRecord;
use crate::schedule::Schedule;

type Jobs = Mirror<BackupJobId, JobRecord>;

/// The next point of a job's own schedule.
#[must_use]
pub fn next_run(job: &JobRecord) -> Option<OffsetDateTime> {
    if !job.settings.enabled {
        return None;
    }
    let schedule = Schedule::parse(&job.settings.schedule, &job.settings.timezone).ok()??;
    schedule.next(job.last_run.unwrap_or(job.created))
}

/// The jobs' next due times.
#[derive(Default)]
pub struct Plan {
    next: BTreeMap<BackupJobId, OffsetDateTime>,
}

impl Plan {
    /// Of jobs that were made, changed or deleted.
    pub fn note(&mut self, jobs: &Jobs, changed: &BTreeSet<BackupJobId>) {
        for id in changed {
            match jobs.get(id).and_then(|job| next_run(&job.value)) {
                Some(next) => self.next.insert(*id, next),
                None => self.next.remove(id),
            };
        }
    }

    /// Which jobs are due, each once.
    pub fn due(&self, jobs: &Jobs, now: OffsetDateTime) -> BTreeSet<BackupJobId> {
        let by_clock = self.next.iter().filter(|(_, next)| **next <= now).map(|(id, _)| *id);
        let follows = |job: &JobRecord| {
            let before = job.settings.after.and_then(|before| jobs.get(&before));
            let over = before.and_then(|before| before.value.last_over);
            job.settings.enabled && over.is_some_and(|over| over > job.last_run.unwrap_or(job.created))
        };
        let after_others = jobs.all().filter(|job| follows(&job.value)).map(|job| job.key);
        by_clock.chain(after_others).collect()
    }

    /// How long nothing is due.
    pub fn idle(&self, now: OffsetDateTime) -> Duration {
        let next = self
            .next
            .values()
            .min()
            .map_or(Duration::MAX, |next| Duration::try_from(*next - now).unwrap_or_default());
        // One that cannot begin is no reason to try a thousand times a second.
        next.max(Duration::from_millis(200))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use time::macros::datetime;
    use xenith_orchestrator_store::MemoryStore;

    use super::*;
    use crate::db::Db;

    const CREATED: OffsetDateTime = datetime!(2026-01-10 00:00 UTC);

    fn job(schedule: &str, after: Option<BackupJobId>) -> JobRecord {
        let settings = json!({
            "name": "n", "enabled": true, "repositories": [], "concurrency": 1, "schedule": schedule, "after": after,
        });
        JobRecord {
            settings: serde_json::from_value(settings).unwrap(),
            created: CREATED,
            last_run: None,
            warned: Default::default(),
            last_over: None,
            overdue: Default::default(),
            odd: Default::default(),
        }
    }

    #[tokio::test]
    async fn a_job_is_due_by_the_clock_and_after_another() {
        let db = Db::over(Arc::new(MemoryStore::new(&crate::db::schema())));
        let (nightly, copy, idle) = (BackupJobId::new(), BackupJobId::new(), BackupJobId::new());
        db.backup_jobs.put(&nightly, &job("30 2 * * *", None)).await.unwrap();
        db.backup_jobs.put(&copy, &job("", Some(nightly))).await.unwrap();
        db.backup_jobs.put(&idle, &job("", None)).await.unwrap();
        let (mut jobs, mut plan) = (Jobs::new(&db.backup_jobs), Plan::default());
        let mut due = async |now| {
            let changed = jobs.catch_up().await.unwrap();
            plan.note(&jobs, &changed);
            (plan.due(&jobs, now), plan.idle(now))
        };
        let (early, half_past_two) = (datetime!(2026-01-10 02:29 UTC), datetime!(2026-01-10 02:30 UTC));
        assert_eq!(due(early).await, ([].into(), Duration::from_secs(60)));
        assert_eq!(due(half_past_two).await.0, [nightly].into());
        // It begins, and ends; what follows it is due until it has begun.
        let began = |job: &mut JobRecord| job.last_run = Some(half_past_two);
        db.backup_jobs.modify(&nightly, began).await.unwrap();
        assert_eq!(due(half_past_two).await, ([].into(), Duration::from_secs(86_400)));
        let ended = datetime!(2026-01-10 03:00 UTC);
        db.backup_jobs.modify(&nightly, |job| job.last_over = Some(ended)).await.unwrap();
        assert_eq!(due(ended).await.0, [copy].into());
        db.backup_jobs.modify(&copy, |job| job.last_run = Some(ended)).await.unwrap();
        assert_eq!(due(ended).await.0, [].into());
        // A week without an orchestrator is made up for by one run.
        assert_eq!(due(datetime!(2026-01-17 12:00 UTC)).await.0, [nightly].into());
        db.backup_jobs.modify(&nightly, |job| job.settings.enabled = false).await.unwrap();
        assert_eq!(due(datetime!(2026-01-17 12:00 UTC)).await.0, [].into());
    }
}
