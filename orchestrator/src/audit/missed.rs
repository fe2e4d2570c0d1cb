//! Calls whose end was not written: the program ended in the middle of them, or their last record found no room.
//!
//! What always holds: the number of a call is noted in the commit of its first record, and is taken off that list in the
//! commit of its last one, or in the one that begins its task, of which [`super::ends`] tells then. So what is on the list
//! from before this start was not under way any more, and nobody can tell whether it took effect: that is what is written,
//! as a record in the chain like any other. The list holds the calls under way, and those of this start whose last record
//! found no room; how long the log is does not matter. Calls that programs without the list left without an end stay as
//! they are.

use xenith_orchestrator_store::{Expect, StoreError, Transaction};
use xenith_orchestrator_types::audit::{AuditPhase, AuditRecord};

use super::Audit;
use super::ends::end;
use crate::model::AuditedTask;

/// Calls in one commit. Each takes four operations of the 128 that a commit may have.
const BATCH: usize = 30;
const UNKNOWN: &str = "unknown: the orchestrator ended before it could be written down";

impl Audit {
    pub(super) async fn close_missed(&self) -> Result<(), StoreError> {
        loop {
            let page = self.db.audit_asked.page(None, BATCH).await?;
            let (mut commit, mut records) = (Transaction::new(), Vec::new());
            for missed in page.records.iter().take_while(|asked| asked.key < self.since) {
                commit = self.db.audit_asked.require_in(commit, &missed.key, Expect::At(missed.revision));
                commit = self.db.audit_asked.delete_in(commit, &missed.key);
                if let Some(asked) = self.db.audit.get(&missed.key).await? {
                    records.push(unknown(asked.value));
                }
            }
            if commit.is_empty() {
                return Ok(());
            }
            self.append_in(commit, &records).await?;
        }
    }
}

fn unknown(asked: AuditRecord) -> AuditRecord {
    let AuditRecord { sequence: of, user, user_name, from, method, .. } = asked;
    end(&AuditedTask { of, user, user_name, from, method }, AuditPhase::Failed, UNKNOWN)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use xenith_common_ids::SagaId;
    use xenith_orchestrator_api::Caller;
    use xenith_orchestrator_store::MemoryStore;

    use super::*;
    use crate::db::Db;

    async fn records(db: &Db) -> Vec<AuditRecord> {
        db.audit.all().await.unwrap().0.into_iter().map(|record| record.value).collect()
    }

    #[tokio::test]
    async fn what_an_earlier_start_left_is_closed_once_and_nothing_else() {
        let db = Db::over(Arc::new(MemoryStore::new(&crate::db::schema())));
        let anna = Caller { name: "anna".into(), ..Caller::anonymous(None) };
        let audit = Audit::open(db.clone()).await.unwrap();
        let done = audit.ask(&anna, "pool.create", &json!({})).await.unwrap();
        audit.complete(&anna, "pool.create", done, &Ok(json!({}))).await;
        let begun = audit.ask(&anna, "vm.start", &json!({})).await.unwrap();
        let begin = audit.expect_end_in(Transaction::new(), SagaId::new(), &anna, ("vm.start", begun));
        db.store.commit(begin).await.unwrap();
        let mut left = Vec::new();
        for _ in 0..2 * BATCH + 1 {
            left.push(audit.ask(&anna, "user.update", &json!({})).await.unwrap());
        }
        let before = records(&db).await.len();
        audit.close_missed().await.unwrap();
        assert_eq!(records(&db).await.len(), before, "they are under way");

        let next = Audit::open(db.clone()).await.unwrap();
        let under_way = next.ask(&anna, "user.update", &json!({})).await.unwrap();
        for _ in 0..2 {
            next.close_missed().await.unwrap();
            let written = records(&db).await.split_off(before + 1);
            let of: Vec<u64> = written.iter().filter_map(|record| record.of).collect();
            assert_eq!(of, left);
            for record in written {
                assert_eq!((record.phase, record.outcome.as_deref()), (AuditPhase::Failed, Some(UNKNOWN)));
                assert_eq!((&*record.user_name, &*record.method), ("anna", "user.update"));
            }
        }
        next.complete(&anna, "user.update", under_way, &Ok(json!({}))).await;
        assert!(db.audit_asked.all().await.unwrap().0.is_empty());
        let verified = next.verify().await.unwrap();
        assert_eq!((verified.broken_at, verified.problem), (None, None));
    }
}
