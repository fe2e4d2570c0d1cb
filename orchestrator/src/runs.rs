//! What lists say of backup runs, kept in memory: a run names all its VMs, and those of a year are too many to read for
//! every page.
//!
//! What always holds: what is said of a run is what the store said when it was asked last, and a run that is not over is
//! asked for each time. Of one that is over none of it changes any more: verdicts of proofs come later and are not among
//! it. Ids grow, so that new runs are found at the end of the collection, and forgotten ones at its beginning. Nothing of
//! it is written anywhere: after a crash it is read again.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use tokio::sync::Mutex;
use xenith_common_ids::{BackupJobId, BackupRunId};
use xenith_orchestrator_store::StoreError;
use xenith_orchestrator_types::backup::{BackupRun, RunStatus};

use crate::db::Db;

/// Runs read at a time; one of a large job is large.
const AT_ONCE: usize = 10;

/// A run without its VMs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFacts {
    pub id: BackupRunId,
    pub job: BackupJobId,
    pub job_name: String,
    pub status: RunStatus,
    pub started: OffsetDateTime,
    pub ended: Option<OffsetDateTime>,
}

impl RunFacts {
    fn of(run: &BackupRun) -> Self {
        Self {
            id: run.id,
            job: run.job,
            job_name: run.job_name.clone(),
            status: run.status,
            started: run.started,
            ended: run.ended,
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Runs(Mutex<BTreeMap<BackupRunId, RunFacts>>);

impl Runs {
    /// All runs, oldest first. The first call reads all of them; who else asks meanwhile waits for it.
    pub async fn all(&self, db: &Db) -> Result<Vec<RunFacts>, StoreError> {
        let mut known = self.0.lock().await;
        let oldest = db.backup_runs.page(None, 1).await?.records.first().map(|record| record.key);
        known.retain(|id, _| oldest.is_some_and(|oldest| *id >= oldest));
        let open: Vec<_> = known.values().filter(|run| !run.status.is_over()).map(|run| run.id).collect();
        for id in open {
            match db.backup_runs.get(&id).await? {
                Some(record) => known.insert(id, RunFacts::of(&record.value)),
                None => known.remove(&id),
            };
        }
        let mut after = None;
        loop {
            let page = db.backup_runs.page_descending(after, AT_ONCE).await?;
            let mut news = false;
            for record in page.records {
                news |= known.insert(record.key, RunFacts::of(&record.value)).is_none();
            }
            after = page.next;
            if after.is_none() || !news {
                return Ok(known.values().cloned().collect());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use xenith_orchestrator_store::MemoryStore;

    use super::*;

    fn run(status: RunStatus) -> BackupRun {
        BackupRun {
            id: BackupRunId::new(),
            job: BackupJobId::new(),
            job_name: "nightly".to_owned(),
            status,
            started: OffsetDateTime::UNIX_EPOCH,
            ended: None,
            vms: vec![],
            consistency: Default::default(),
            orchestrator: None,
            notes: vec![],
            cancelled_by: None,
            proofs: vec![],
        }
    }

    #[tokio::test]
    async fn it_follows_the_store() {
        let db = Db::over(Arc::new(MemoryStore::new(&crate::db::schema())));
        let runs = Runs::default();
        assert_eq!(runs.all(&db).await.unwrap(), []);
        let mut made: Vec<_> = (0..3 * AT_ONCE).map(|_| run(RunStatus::Done)).collect();
        made[2].status = RunStatus::Running;
        for run in &made {
            db.backup_runs.insert(&run.id, run).await.unwrap();
        }
        let facts = |of: &[BackupRun]| of.iter().map(RunFacts::of).collect::<Vec<_>>();
        assert_eq!(runs.all(&db).await.unwrap(), facts(&made));
        // One that is far from either end is over, one is new, the oldest are forgotten.
        made[2].status = RunStatus::Failed;
        db.backup_runs.put(&made[2].id, &made[2]).await.unwrap();
        made.push(run(RunStatus::Waiting));
        db.backup_runs.insert(&made[3 * AT_ONCE].id, &made[3 * AT_ONCE]).await.unwrap();
        for gone in made.drain(..2) {
            let found = db.backup_runs.get(&gone.id).await.unwrap().unwrap();
            db.backup_runs.delete(&found).await.unwrap();
        }
        assert_eq!(runs.all(&db).await.unwrap(), facts(&made));
    }
}
