//! The same mutation twice under one key is done once.
//!
//! The key is taken, durably, before the effect, and gets the answer after it. A crash in between leaves a key
//! without an answer: whether the effect happened cannot be told, so the second call is refused and says where
//! to look. A refusal is not kept: the caller mends the request and tries again under the same key.
//!
//! What always holds: an answer is stored sealed, and of parameters a digest under the Vault's key. Both may be secrets:
//! a new token, a password. Earlier programs stored them in the clear; what is left of that day is sealed at the first
//! look, at the latest when the store is tidied, which a start begins with.

use std::future::Future;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use time::OffsetDateTime;
use xenith_common_ids::UserId;
use xenith_orchestrator_store::{Record, StoreError, Transaction};
use xenith_orchestrator_types::{ApiError, Reason};

use crate::db::Db;
use crate::errors::store_error;
use crate::model::IdempotencyRecord;
use crate::secret::Vault;

const ANSWER: &str = "answer under an idempotency key";
const PARAMETERS: &str = "parameters under an idempotency key";
/// How long answers are kept.
const KEPT: Duration = Duration::from_secs(86_400);
/// So many are looked at, and at most dropped, at once.
const PAGE: usize = 100;

/// By user and the key that they gave.
type Key = (UserId, String);

pub async fn once(
    (db, vault): (&Db, &Vault),
    (user, key): (UserId, &str),
    (method, params): (&str, &Value),
    effect: impl Future<Output = Result<Value, ApiError>> + Send,
) -> Result<Value, ApiError> {
    let key = (user, key.to_owned());
    let record = IdempotencyRecord {
        method: method.to_owned(),
        params_hash: String::new(),
        keyed_hash: keyed(vault, &blake3::hash(params.to_string().as_bytes()).to_hex()),
        at: OffsetDateTime::now_utc(),
        answer: None,
        sealed_answer: None,
    };
    if let Some(first) = db.idempotency.get(&key).await.map_err(|error| store_error(&error))? {
        if record.at - first.value.at < KEPT {
            return repeated(vault, &first.value, &record);
        }
        db.idempotency.update(&first, &record).await.map_err(|error| taken(&error))?;
    } else {
        db.idempotency.insert(&key, &record).await.map_err(|error| taken(&error))?;
    }
    let result = effect.await;
    if let Err(error) = keep((db, vault), &key, record, &result).await {
        tracing::warn!(%error, method, "the answer could not be kept under its idempotency key");
    }
    result
}

async fn keep(
    (db, vault): (&Db, &Vault),
    key: &Key,
    mut record: IdempotencyRecord,
    result: &Result<Value, ApiError>,
) -> Result<(), ApiError> {
    let kept = match result {
        Ok(answer) => {
            record.sealed_answer = Some(sealed(vault, answer)?);
            db.idempotency.put(key, &record).await
        }
        Err(_) => db.store.commit(db.idempotency.delete_in(Transaction::new(), key)).await,
    };
    kept.map(drop).map_err(|error| store_error(&error))
}

/// Of a hash of parameters, so that those of earlier programs can be compared with those of today.
fn keyed(vault: &Vault, params_hash: &str) -> String {
    vault.digest(PARAMETERS, params_hash.as_bytes())
}

fn sealed(vault: &Vault, answer: &Value) -> Result<String, ApiError> {
    let sealed = vault.seal(ANSWER, answer.to_string().as_bytes()).map_err(ApiError::internal)?;
    Ok(BASE64.encode(sealed))
}

fn opened(vault: &Vault, sealed: &str) -> Result<Value, ApiError> {
    let sealed = BASE64.decode(sealed).map_err(ApiError::internal)?;
    let answer = vault.unseal(ANSWER, &sealed).map_err(ApiError::internal)?;
    serde_json::from_slice(&answer).map_err(ApiError::internal)
}

/// A record of an earlier program in today's form.
fn modern(vault: &Vault, record: &IdempotencyRecord) -> Result<IdempotencyRecord, ApiError> {
    let mut modern = record.clone();
    if !record.params_hash.is_empty() {
        modern.keyed_hash = keyed(vault, &std::mem::take(&mut modern.params_hash));
        modern.sealed_answer = modern.answer.take().map(|answer| sealed(vault, &answer)).transpose()?;
    }
    Ok(modern)
}

/// Drops what nobody is answered from any more, and seals what an earlier program left. A day's mutations are read for
/// it, a page at a time.
pub async fn prune((db, vault): (&Db, &Vault)) -> Result<(), ApiError> {
    let now = OffsetDateTime::now_utc();
    let mut after = None;
    loop {
        let page = db.idempotency.page(after, PAGE).await.map_err(|error| store_error(&error))?;
        let mut commit = Transaction::new();
        for record in &page.records {
            if now - record.value.at >= KEPT {
                commit = db.idempotency.delete_in(commit, &record.key);
            } else if !record.value.params_hash.is_empty() {
                seal((db, vault), record).await?;
            }
        }
        if !commit.is_empty() {
            db.store.commit(commit).await.map_err(|error| store_error(&error))?;
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

async fn seal((db, vault): (&Db, &Vault), old: &Record<Key, IdempotencyRecord>) -> Result<(), ApiError> {
    match db.idempotency.update(old, &modern(vault, &old.value)?).await {
        // It was written anew meanwhile, in today's form.
        Err(error) if error.is_conflict() => Ok(()),
        written => written.map(drop).map_err(|error| store_error(&error)),
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

fn repeated(vault: &Vault, first: &IdempotencyRecord, second: &IdempotencyRecord) -> Result<Value, ApiError> {
    let first = modern(vault, first)?;
    if first.method != second.method || first.keyed_hash != second.keyed_hash {
        return Err(ApiError::invalid("idempotency_key", "was used for another call; give each its own"));
    }
    opened(vault, &first.sealed_answer.ok_or_else(under_way)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use xenith_orchestrator_store::MemoryStore;

    use super::*;

    fn made() -> (Db, Vault) {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(&folder.path().join("master.key")).unwrap();
        (Db::over(Arc::new(MemoryStore::new(&crate::db::schema()))), vault)
    }

    fn record(at: OffsetDateTime) -> IdempotencyRecord {
        IdempotencyRecord {
            method: "vm.start".to_owned(),
            params_hash: String::new(),
            keyed_hash: String::new(),
            at,
            answer: None,
            sealed_answer: None,
        }
    }

    #[tokio::test]
    async fn the_second_call_gets_the_first_answer() {
        let (db, vault) = made();
        let user = UserId::new();
        let call = async |params: Value, answer: Result<Value, ApiError>| {
            once((&db, &vault), (user, "k"), ("vm.start", &params), async { answer }).await
        };
        let refused = ApiError::new(Reason::WrongState, "no");
        assert!(call(json!({"vm": "a"}), Err(refused)).await.is_err());
        assert_eq!(call(json!({"vm": "a"}), Ok(json!(1))).await.unwrap(), json!(1));
        assert_eq!(call(json!({"vm": "a"}), Ok(json!(2))).await.unwrap(), json!(1));
        assert_eq!(call(json!({"vm": "b"}), Ok(json!(3))).await.unwrap_err().reason(), Reason::Invalid);
    }

    #[tokio::test]
    async fn what_an_earlier_program_kept_is_answered_and_sealed() {
        let (db, vault) = made();
        let (user, params) = (UserId::new(), json!({"name": "ci"}));
        let key = (user, "k".to_owned());
        let old = IdempotencyRecord {
            params_hash: blake3::hash(params.to_string().as_bytes()).to_hex().to_string(),
            answer: Some(json!({"secret": "xt1-in-the-clear"})),
            ..record(OffsetDateTime::now_utc())
        };
        db.idempotency.insert(&key, &old).await.unwrap();
        for pruned in [false, true] {
            if pruned {
                prune((&db, &vault)).await.unwrap();
            }
            let again = async { Err(ApiError::internal("it was done twice")) };
            let answer = once((&db, &vault), (user, "k"), ("vm.start", &params), again).await.unwrap();
            assert_eq!(answer["secret"], "xt1-in-the-clear");
        }
        let kept = db.idempotency.get(&key).await.unwrap().unwrap().value;
        let text = serde_json::to_string(&kept).unwrap();
        for bare in ["xt1-in-the-clear", &old.params_hash] {
            assert!(!text.contains(bare), "{text}");
        }
    }

    #[tokio::test]
    async fn an_answer_is_kept_for_a_day() {
        let (db, vault) = made();
        let user = UserId::new();
        for number in 0..3 * PAGE {
            let age = if number % 3 == 0 { KEPT - Duration::from_secs(60) } else { KEPT };
            let record = record(OffsetDateTime::now_utc() - age);
            db.idempotency.insert(&(user, format!("{number:03}")), &record).await.unwrap();
        }
        prune((&db, &vault)).await.unwrap();
        let (left, _) = db.idempotency.all().await.unwrap();
        assert_eq!(left.len(), PAGE);
        assert!(left.iter().all(|record| record.key.1.parse::<usize>().unwrap() % 3 == 0));
    }
}
