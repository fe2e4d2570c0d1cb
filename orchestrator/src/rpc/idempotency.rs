//! The same mutation twice under one key is done once.
//!
//! The key is taken, durably, before the effect, and gets the answer after it. A crash in between leaves a key
//! without an answer: whether the effect happened cannot be told, so the second call is refused and says where
//! to look. A refusal is not kept: the caller mends the request and tries again under the same key.

use std::future::Future;
use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;
use xenith_common_ids::UserId;
use xenith_orchestrator_store::{StoreError, Transaction};
use xenith_orchestrator_types::{ApiError, Reason};

use crate::db::Db;
use crate::errors::store_error;
use crate::model::IdempotencyRecord;

/// How long answers are kept.
const KEPT: Duration = Duration::from_secs(86_400);
/// So many are looked at, and at most dropped, at once.
const PAGE: usize = 100;

pub async fn once(
    db: &Db,
    (user, key): (UserId, &str),
    (method, params): (&str, &Value),
    effect: impl Future<Output = Result<Value, ApiError>> + Send,
) -> Result<Value, ApiError> {
    let key = (user, key.to_owned());
    let params_hash = blake3::hash(params.to_string().as_bytes()).to_hex().to_string();
    let now = OffsetDateTime::now_utc();
    let mut record = IdempotencyRecord { method: method.to_owned(), params_hash, at: now, answer: None };
    if let Some(first) = db.idempotency.get(&key).await.map_err(|error| store_error(&error))? {
        if now - first.value.at < KEPT {
            return repeated(&first.value, &record);
        }
        db.idempotency.update(&first, &record).await.map_err(|error| taken(&error))?;
    } else {
        db.idempotency.insert(&key, &record).await.map_err(|error| taken(&error))?;
    }
    let result = effect.await;
    let kept = match &result {
        Ok(answer) => {
            record.answer = Some(answer.clone());
            db.idempotency.put(&key, &record).await
        }
        Err(_) => db.store.commit(db.idempotency.delete_in(Transaction::new(), &key)).await,
    };
    if let Err(error) = kept {
        tracing::warn!(%error, method, "the answer could not be kept under its idempotency key");
    }
    result
}

/// Drops what nobody is answered from any more. A day's mutations are read for it, a page at a time.
pub async fn prune(db: &Db) -> Result<(), StoreError> {
    let now = OffsetDateTime::now_utc();
    let mut after = None;
    loop {
        let page = db.idempotency.page(after, PAGE).await?;
        let old = page.records.iter().filter(|record| now - record.value.at >= KEPT);
        let commit = old.fold(Transaction::new(), |commit, old| db.idempotency.delete_in(commit, &old.key));
        if !commit.is_empty() {
            db.store.commit(commit).await?;
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

fn taken(error: &StoreError) -> ApiError {
    if error.is_conflict() { under_way() } else { store_error(error) }
}

fn under_way() -> ApiError {
    let mut error = ApiError::new(
        Reason::Conflict,
        "a call with this idempotency key has begun and has no answer yet; look at the tasks to see what became of it",
    );
    // Tells it apart from a name that is taken: a client whose connection broke asks again.
    error.data.field = Some("idempotency_key".to_owned());
    error
}

fn repeated(first: &IdempotencyRecord, second: &IdempotencyRecord) -> Result<Value, ApiError> {
    if first.method != second.method || first.params_hash != second.params_hash {
        return Err(ApiError::invalid("idempotency_key", "was used for another call; give each its own"));
    }
    first.answer.clone().ok_or_else(under_way)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use xenith_orchestrator_store::MemoryStore;

    use super::*;

    #[tokio::test]
    async fn the_second_call_gets_the_first_answer() {
        let db = Db::over(Arc::new(MemoryStore::new(&crate::db::schema())));
        let user = UserId::new();
        let call = |params: Value, answer: Result<Value, ApiError>| {
            let db = db.clone();
            async move { once(&db, (user, "k"), ("vm.start", &params), async { answer }).await }
        };
        let refused = ApiError::new(Reason::WrongState, "no");
        assert!(call(json!({"vm": "a"}), Err(refused)).await.is_err());
        assert_eq!(call(json!({"vm": "a"}), Ok(json!(1))).await.unwrap(), json!(1));
        assert_eq!(call(json!({"vm": "a"}), Ok(json!(2))).await.unwrap(), json!(1));
        assert_eq!(call(json!({"vm": "b"}), Ok(json!(3))).await.unwrap_err().reason(), Reason::Invalid);
    }

    #[tokio::test]
    async fn an_answer_is_kept_for_a_day() {
        let db = Db::over(Arc::new(MemoryStore::new(&crate::db::schema())));
        let user = UserId::new();
        for number in 0..3 * PAGE {
            let age = if number % 3 == 0 { KEPT - Duration::from_secs(60) } else { KEPT };
            let record = IdempotencyRecord {
                method: "vm.start".to_owned(),
                params_hash: String::new(),
                at: OffsetDateTime::now_utc() - age,
                answer: None,
            };
            db.idempotency.insert(&(user, format!("{number:03}")), &record).await.unwrap();
        }
        prune(&db).await.unwrap();
        let (left, _) = db.idempotency.all().await.unwrap();
        assert_eq!(left.len(), PAGE);
        assert!(left.iter().all(|record| record.key.1.parse::<usize>().unwrap() % 3 == 0));
    }
}
