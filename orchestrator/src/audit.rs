//! The audit log: every mutation, before it has an effect and again when it is done.
//!
//! What always holds: records are numbered without gaps and each holds the BLAKE3 of the one before, so that a
//! changed, removed or inserted record breaks the chain from there on. The newest ones, cut off, break nothing, and who
//! can write the store can make a chain anew: both are seen by who has kept the head that was told before. A call whose
//! first record cannot be written is refused: nothing is done that is not in the log.
//!
//! A call that begins a task is over long before the task is: [`ends`] writes how that ended. A call that has neither
//! when the program ends gets its end at the next start: [`missed`].

mod ends;
mod missed;

use std::net::IpAddr;

use blake3::Hash;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use tokio::sync::Mutex;
use xenith_common_ids::AuditId;
use xenith_common_text::{counted, without_credentials};
use xenith_orchestrator_api::Caller;
use xenith_orchestrator_store::{StoreError, Transaction};
use xenith_orchestrator_types::ApiError;
use xenith_orchestrator_types::audit::{AuditPhase, AuditRecord, AuditVerified};

use crate::db::Db;
use crate::errors::store_error;

/// Parameters that are never written down; of others that are URLs, what opens them is not. What cloud-init is told sets passwords, and the address of a webhook is often
/// all that it takes to write there.
const SECRETS: [&str; 13] = [
    "password",
    "old",
    "new",
    "code",
    "secret",
    "token",
    "passphrase",
    "key",
    "access_key",
    "secret_key",
    "user_data",
    "variables",
    "webhook",
];
/// Of the parameters of a call, in bytes as JSON. The log is kept for ever.
const MOST_PARAMS: usize = 8 * 1024;
const PAGE: usize = 500;
/// How often a record is put at another end of the chain than was thought. Once is enough: see [`Audit::append_in`].
const ATTEMPTS: usize = 3;

pub use ends::start;

struct Head {
    next: u64,
    hash: String,
}

impl Head {
    async fn read(db: &Db) -> Result<Self, StoreError> {
        let newest = db.audit.page_descending(None, 1).await?;
        Ok(newest.records.first().map_or_else(
            || Self { next: 0, hash: genesis() },
            |record| Self { next: record.key + 1, hash: record.value.hash.clone() },
        ))
    }
}

pub struct Audit {
    db: Db,
    /// Held while a record is written: the chain has one end.
    head: Mutex<Head>,
    /// The number of the first record of this start. A call with one before it is not under way.
    since: u64,
}

fn genesis() -> String {
    blake3::hash(b"xenith audit log").to_hex().to_string()
}

fn address(caller: &Caller) -> String {
    caller.from.map(|ip: IpAddr| ip.to_string()).unwrap_or_default()
}

/// The tasks that a call began, in words.
fn tasks_of(answer: &Value) -> Option<String> {
    let task = |answer: &Value| answer.get("task").and_then(Value::as_str).map(ToOwned::to_owned);
    if let Some(task) = task(answer) {
        return Some(format!("task {task}"));
    }
    // Those of a host that is emptied are in a list of its VMs.
    let each = answer.get("vms").unwrap_or(answer).as_array()?;
    let many = each.iter().filter_map(task).count();
    (many > 0).then(|| counted(many, "task"))
}

/// The hash covers every field but itself.
fn hash(record: &AuditRecord) -> String {
    let bare = AuditRecord { hash: String::new(), ..record.clone() };
    let bytes = serde_json::to_vec(&bare).expect("a record is plain data that JSON can hold");
    blake3::hash(&bytes).to_hex().to_string()
}

/// Secrets out, and nothing longer than a screen.
fn without_secrets(params: &Value) -> Value {
    match params {
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, value)| {
                    let hidden = SECRETS.contains(&name.as_str());
                    (name.clone(), if hidden { Value::from("(not logged)") } else { without_secrets(value) })
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().take(100).map(without_secrets).collect()),
        Value::String(text) if text.len() > 2000 => Value::from(format!("({} bytes)", text.len())),
        Value::String(text) => Value::from(&*without_credentials(text)),
        other => other.clone(),
    }
}

/// What is written down of parameters: no secrets, and no more than [`MOST_PARAMS`]. Those of a refused call may be anything
/// that a MiB holds.
fn logged(params: &Value) -> Value {
    let bare = without_secrets(params);
    let bytes = |value: &Value| value.to_string().len();
    let whole = bytes(&bare);
    let fields = match bare {
        bare if whole <= MOST_PARAMS => return bare,
        Value::Object(fields) => fields,
        _ => return Value::from(format!("({whole} bytes)")),
    };
    let (mut kept, mut room, mut left_out) = (Map::new(), MOST_PARAMS, 0_u64);
    for (name, value) in fields {
        // With what stands around it.
        let around = bytes(&Value::from(name.as_str())) + 2;
        let value = match bytes(&value) {
            size if around + size <= room => value,
            size => Value::from(format!("({size} bytes)")),
        };
        match room.checked_sub(around + bytes(&value)) {
            Some(rest) => {
                room = rest;
                kept.insert(name, value);
            }
            None => left_out += 1,
        }
    }
    if left_out > 0 {
        kept.insert("(left out)".to_owned(), Value::from(left_out));
    }
    Value::Object(kept)
}

impl Audit {
    pub async fn open(db: Db) -> Result<Self, StoreError> {
        let head = Head::read(&db).await?;
        Ok(Self { db, since: head.next, head: Mutex::new(head) })
    }

    async fn append(&self, commit: Transaction, record: AuditRecord) -> Result<u64, ApiError> {
        self.append_in(commit, &[record]).await.map_err(|error| store_error(&error))
    }

    /// Commits `commit` with the records, in their order. Returns the number of the first.
    ///
    /// A caller that hangs up ends us between the commit and what we note of it, and the end of the chain is another one
    /// than we think: the commit conflicts then, and the end is read anew.
    async fn append_in(&self, commit: Transaction, records: &[AuditRecord]) -> Result<u64, StoreError> {
        let mut head = self.head.lock().await;
        let mut attempt = 1;
        loop {
            let first = head.next;
            let (whole, after) = self.chain(commit.clone(), &head, records);
            match self.db.store.commit(whole).await {
                Ok(_) => {
                    *head = after;
                    return Ok(first);
                }
                Err(error) if error.is_conflict() && attempt < ATTEMPTS => {
                    *head = Head::read(&self.db).await?;
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn chain(&self, mut commit: Transaction, head: &Head, records: &[AuditRecord]) -> (Transaction, Head) {
        let mut end = Head { next: head.next, hash: head.hash.clone() };
        for record in records {
            let mut record = AuditRecord { sequence: end.next, previous: end.hash, ..record.clone() };
            // An error may name a URL as it was given.
            record.outcome = record.outcome.map(|text| without_credentials(&text).into_owned());
            record.hash = hash(&record);
            commit = self.db.audit.insert_in(commit, &record.sequence, &record);
            if record.phase == AuditPhase::Asked {
                commit = self.db.audit_asked.put_in(commit, &record.sequence, &());
            }
            end = Head { next: record.sequence + 1, hash: record.hash };
        }
        (commit, end)
    }

    fn record(caller: &Caller, method: &str, params: Value, phase: AuditPhase) -> AuditRecord {
        AuditRecord {
            id: AuditId::new(),
            sequence: 0,
            at: OffsetDateTime::now_utc(),
            phase,
            of: None,
            user: caller.user,
            user_name: caller.name.clone(),
            from: address(caller),
            method: method.to_owned(),
            params,
            outcome: None,
            previous: String::new(),
            hash: String::new(),
        }
    }

    /// Before the effect. Returns the number to complete later.
    pub async fn ask(&self, caller: &Caller, method: &str, params: &Value) -> Result<u64, ApiError> {
        let record = Self::record(caller, method, logged(params), AuditPhase::Asked);
        self.append(Transaction::new(), record).await
    }

    /// What was done without being asked for here, in the commit that did it.
    pub async fn done_in(
        &self,
        commit: Transaction,
        caller: &Caller,
        (method, params): (&str, Value),
    ) -> Result<u64, StoreError> {
        self.append_in(commit, &[Self::record(caller, method, params, AuditPhase::Done)]).await
    }

    /// After the effect; a task that began is no more than begun. That it did is known by the commit that began it: an
    /// answer may also name a task of earlier. That the record cannot be written is logged: the effect is there, and so is
    /// the first record. The next start says then that the end is not known.
    pub async fn complete(&self, caller: &Caller, method: &str, of: u64, result: &Result<Value, ApiError>) {
        let began_nothing = matches!(self.db.audit_asked.get(&of).await, Ok(Some(_)));
        let (phase, outcome) = match result {
            Ok(answer) => match tasks_of(answer) {
                Some(tasks) if !began_nothing => (AuditPhase::Begun, Some(tasks)),
                _ => (AuditPhase::Done, None),
            },
            Err(error) => (AuditPhase::Failed, Some(error.message.clone())),
        };
        let record =
            AuditRecord { of: Some(of), outcome, ..Self::record(caller, method, Value::Null, phase) };
        let over = self.db.audit_asked.delete_in(Transaction::new(), &of);
        if let Err(error) = self.append(over, record).await {
            tracing::error!(%error, method, of, "the end of a call could not be written to the audit log");
        }
    }

    /// A call that was refused before anything happened.
    pub async fn refused(&self, caller: &Caller, method: &str, params: &Value, error: &ApiError) {
        let record = AuditRecord {
            outcome: Some(error.message.clone()),
            ..Self::record(caller, method, logged(params), AuditPhase::Refused)
        };
        if let Err(error) = self.append(Transaction::new(), record).await {
            tracing::warn!(%error, method, "a refusal could not be written to the audit log");
        }
    }

    /// Reads the whole chain, page by page.
    pub async fn verify(&self) -> Result<AuditVerified, ApiError> {
        let mut verified = AuditVerified { records: 0, broken_at: None, problem: None, head: genesis() };
        let mut after = None;
        loop {
            let page = self.db.audit.page(after, PAGE).await.map_err(|error| store_error(&error))?;
            for record in &page.records {
                if let Some(problem) = fits(&verified, record.key, &record.value) {
                    verified.broken_at = Some(verified.records);
                    verified.problem = Some(problem);
                    return Ok(verified);
                }
                verified.records += 1;
                verified.head.clone_from(&record.value.hash);
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(verified),
            }
        }
    }
}

/// What is wrong with the next record, if anything.
fn fits(so_far: &AuditVerified, key: u64, record: &AuditRecord) -> Option<String> {
    if key != so_far.records || record.sequence != key {
        return Some(format!("record {} is missing", so_far.records));
    }
    if record.previous != so_far.head {
        return Some("it does not follow the record before it: one of the two was changed".to_owned());
    }
    let right = Hash::from_hex(&record.hash).is_ok() && hash(record) == record.hash;
    (!right).then(|| "its contents were changed".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use xenith_common_ids::SagaId;
    use xenith_orchestrator_store::MemoryStore;

    use super::*;

    #[tokio::test]
    async fn whatever_is_changed_breaks_the_chain_there() {
        type Damage = fn(&mut AuditRecord);
        let table: [(&str, Option<Damage>, Option<u64>); 4] = [
            ("nothing", None, None),
            ("the user", Some(|record| record.user_name = "mallory".into()), Some(2)),
            ("the link", Some(|record| record.previous = genesis()), Some(2)),
            (
                "rehashed",
                Some(|record| {
                    record.method = "vm.start".into();
                    record.hash = hash(record);
                }),
                Some(3),
            ),
        ];
        for (case, damage, broken_at) in table {
            let db = Db::over(Arc::new(MemoryStore::new(&crate::db::schema())));
            let audit = Audit::open(db.clone()).await.unwrap();
            let caller = Caller { name: "admin".into(), ..Caller::anonymous(None) };
            for _ in 0..3 {
                let of =
                    audit.ask(&caller, "vm.delete", &json!({"vm": "web", "password": "x"})).await.unwrap();
                audit.complete(&caller, "vm.delete", of, &Ok(json!({}))).await;
            }
            if let Some(damage) = damage {
                db.audit.modify(&2, damage).await.unwrap();
            }
            let verified = audit.verify().await.unwrap();
            assert_eq!(verified.broken_at, broken_at, "{case}: {verified:?}");
            let kept = serde_json::to_string(&db.audit.get(&0).await.unwrap().unwrap().value).unwrap();
            assert!(!kept.contains("\"x\""), "a secret was logged: {kept}");
        }
    }

    #[tokio::test]
    async fn what_is_taken_out_is_missed_and_what_is_cut_off_shows_in_the_head() {
        for (gone, broken_at) in [(0, Some(0)), (2, Some(2)), (5, None)] {
            let db = Db::over(Arc::new(MemoryStore::new(&crate::db::schema())));
            let audit = Audit::open(db.clone()).await.unwrap();
            let caller = Caller { name: "admin".into(), ..Caller::anonymous(None) };
            for _ in 0..3 {
                let of = audit.ask(&caller, "vm.delete", &json!({ "vm": "web" })).await.unwrap();
                audit.complete(&caller, "vm.delete", of, &Ok(json!({}))).await;
            }
            let whole = audit.verify().await.unwrap();
            assert_eq!((whole.records, whole.broken_at), (6, None));
            let record = db.audit.get(&gone).await.unwrap().unwrap();
            db.audit.delete(&record).await.unwrap();
            let verified = audit.verify().await.unwrap();
            assert_eq!(verified.broken_at, broken_at, "{gone}: {verified:?}");
            assert_ne!(verified.head, whole.head, "{gone}");
        }
    }

    #[tokio::test]
    async fn only_a_call_that_began_tasks_is_told_as_begun() {
        let db = Db::over(Arc::new(MemoryStore::new(&crate::db::schema())));
        let audit = Audit::open(db.clone()).await.unwrap();
        let anna = Caller { name: "anna".into(), ..Caller::anonymous(None) };
        let two = json!([{ "task": "a" }, { "task": "b" }, { "task": null }]);
        for (case, answer, begins, phase, outcome) in [
            ("a task", json!({ "task": "a" }), true, AuditPhase::Begun, Some("task a")),
            ("of many VMs", two.clone(), true, AuditPhase::Begun, Some("2 tasks")),
            ("of a host that is emptied", json!({ "vms": two }), true, AuditPhase::Begun, Some("2 tasks")),
            ("an import that is archived", json!({ "task": "a" }), false, AuditPhase::Done, None),
            ("no task", json!({}), false, AuditPhase::Done, None),
        ] {
            let of = audit.ask(&anna, "vm.start", &json!({})).await.unwrap();
            if begins {
                let begin = audit.expect_end_in(Transaction::new(), SagaId::new(), &anna, ("vm.start", of));
                db.store.commit(begin).await.unwrap();
            }
            audit.complete(&anna, "vm.start", of, &Ok(answer)).await;
            let last = db.audit.page_descending(None, 1).await.unwrap().records.remove(0).value;
            assert_eq!((last.phase, last.outcome.as_deref(), last.of), (phase, outcome, Some(of)), "{case}");
        }
    }

    #[test]
    fn secrets_are_not_written_down_wherever_they_are() {
        let secret = "hunter2";
        for params in [
            json!({ "name": "dora", "password": secret }),
            json!({ "place": { "kind": "s3", "secret_key": secret } }),
            json!({ "template": "debian", "cloud_init": { "hostname": "web-1", "user_data": secret } }),
            json!({ "name": "base", "user_data": secret, "pool": "default" }),
            json!({ "template": "debian", "cloud_init": { "variables": { "first": secret } } }),
            json!({ "rule": "busy", "webhook": secret }),
            json!({ "vms": [{ "token": secret }] }),
        ] {
            let kept = without_secrets(&params).to_string();
            assert!(!kept.contains(secret) && kept.contains("(not logged)"), "{kept}");
        }
    }

    #[tokio::test]
    async fn of_urls_what_opens_them_is_not_written_down() {
        let db = Db::over(Arc::new(MemoryStore::new(&crate::db::schema())));
        let audit = Audit::open(db.clone()).await.unwrap();
        let nobody = Caller::anonymous(None);
        for (url, told) in [
            ("https://ann:hunter2@mirror/debian.qcow2", "https://(hidden)@mirror/debian.qcow2"),
            ("https://s3/images/a?X-Amz-Signature=hunter2", "https://s3/images/a?(hidden)"),
        ] {
            let params = json!({ "name": "web", "what": { "image": [{ "url": url }] } });
            let of = audit.ask(&nobody, "vdi.import", &params).await.unwrap();
            let failed = Err(ApiError::invalid("url", format_args!("the server answers 404 for {url}")));
            audit.complete(&nobody, "vdi.import", of, &failed).await;
            let (asked, ended) = (db.audit.get(&of).await.unwrap(), db.audit.get(&(of + 1)).await.unwrap());
            for record in [asked, ended] {
                let kept = serde_json::to_string(&record.unwrap().value).unwrap();
                assert!(kept.contains(told) && !kept.contains("hunter2"), "{kept}");
            }
        }
        assert_eq!(audit.verify().await.unwrap().broken_at, None);
    }

    #[test]
    fn what_fills_the_log_is_not_kept() {
        let small = json!({ "vm": "web-1", "tags": ["prod"] });
        assert_eq!(logged(&small), small);
        let many: Map<String, Value> =
            (0..10_000).map(|number| (format!("x{number}"), Value::from("y".repeat(50)))).collect();
        for (case, params) in [
            ("many members", Value::Object(many.clone())),
            ("a long name", json!({ "vm": "web-1", ("n".repeat(1 << 20)): 1 })),
            ("long within", json!({ "vm": "web-1", "spec": many })),
            ("a list of lists", json!({ "a": vec![vec!["b".repeat(2000); 100]; 100] })),
            ("no object", json!(vec!["b".repeat(2000); 100])),
        ] {
            let kept = logged(&params).to_string();
            assert!(kept.len() <= MOST_PARAMS + 100, "{case}: {}", kept.len());
        }
        let long = json!({ "vm": "web-1", "zzz": { "list": vec!["b".repeat(2000); 100] } });
        let kept = logged(&long);
        assert_eq!(kept["vm"], "web-1", "{kept}");
        assert!(kept["zzz"].as_str().is_some_and(|told| told.ends_with(" bytes)")), "{kept}");
    }

    #[tokio::test]
    async fn it_goes_on_after_a_caller_hung_up_within_a_record() {
        let db = Db::over(Arc::new(MemoryStore::new(&crate::db::schema())));
        let (audit, behind) =
            (Audit::open(db.clone()).await.unwrap(), Audit::open(db.clone()).await.unwrap());
        let nobody = Caller::anonymous(None);
        audit.ask(&nobody, "auth.login", &json!({})).await.unwrap();
        // For this one the chain is as it was before.
        assert_eq!(behind.ask(&nobody, "auth.login", &json!({})).await.unwrap(), 1);
        let verified = audit.verify().await.unwrap();
        assert_eq!((verified.records, verified.broken_at), (2, None));
    }

    #[tokio::test]
    async fn a_missing_record_is_noticed() {
        let db = Db::over(Arc::new(MemoryStore::new(&crate::db::schema())));
        let audit = Audit::open(db.clone()).await.unwrap();
        for _ in 0..3 {
            audit.ask(&Caller::anonymous(None), "auth.login", &json!({})).await.unwrap();
        }
        db.store.commit(db.audit.delete_in(Transaction::new(), &1)).await.unwrap();
        assert_eq!(audit.verify().await.unwrap().broken_at, Some(1));
    }
}
