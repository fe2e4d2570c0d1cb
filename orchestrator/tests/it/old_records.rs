//! Stores that earlier programs wrote: today's reads every record in them, and loses nothing of it.
//!
//! A file in `tests/fixtures/records` is a store as text, a record a line: its keyspace, its key in hexadecimal, its
//! value. `first.jsonl` is what the first version of these records looked like, taken from its types; the others are written
//! down from a whole installation, with this command, and named after the day:
//!
//! ```sh
//! XENITH_FIXTURE=$PWD/orchestrator/tests/fixtures/records/YYYY-MM-DD.jsonl \
//!     cargo nextest run -p xenith-orchestrator -E 'test(child_writes_down_a_store)'
//! ```
//!
//! Write one down before stored records change. What is here is never changed: it is on somebody's disk.
//! `2026-11-30.jsonl` and those with a word behind the day have only what was new that day, and what a start needs beside
//! it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use xenith_common_ids::OperationId;
use xenith_common_tasks::TaskSet;
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator::audit::Audit;
use xenith_orchestrator::config::Config;
use xenith_orchestrator::db::{self, Db};
use xenith_orchestrator::orchestrator::Orchestrator;
use xenith_orchestrator_api::{
    Method, alarm, alarm_rule, backup, backup_job, backup_run, host, mail, repository, snapshot, sr, standby,
    template, token, user, vm,
};
use xenith_orchestrator_client::CallOptions;
use xenith_orchestrator_saga::{EngineConfig, SagaEngine, SagaRegistry};
use xenith_orchestrator_store::{
    Keyspace, RocksStore, ScanRequest, Schema, StateStore, StoreKey, Transaction,
};
use xenith_orchestrator_types::backup::BackupRunRef;
use xenith_orchestrator_types::task::{TaskStarted, TaskStatus};

use crate::harness::{Installation, small, until};
use crate::lost::lost;

/// What the fixtures were written with. A newer one migrates them when it opens the store.
const SCHEMA: u32 = 1;

/// Sagas under way, of which an installation at rest has none: the same record as those that have ended.
const UNDER_WAY: &str = "saga.active";

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    keyspace: String,
    key: String,
    value: Value,
}

fn fixtures() -> Vec<(String, Vec<Line>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/records");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (path.file_name().unwrap().to_string_lossy().into_owned(), lines)
    };
    files.into_iter().map(read).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn keyspaces() -> BTreeMap<String, Keyspace> {
    db::schema().keyspaces().map(|keyspace| (keyspace.to_string(), keyspace)).collect()
}

/// A store on disk with these records.
async fn stored(path: &Path, lines: &[Line]) {
    let keyspaces = keyspaces();
    let all: Vec<Keyspace> = keyspaces.values().copied().collect();
    let store = RocksStore::open(path, Schema::new(SCHEMA).with(&all)).unwrap();
    for lines in lines.chunks(50) {
        let put = |commit: Transaction, line: &Line| {
            commit.put(keyspaces[&line.keyspace], bytes(&line.key), line.value.to_string())
        };
        store.commit(lines.iter().fold(Transaction::new(), put)).await.unwrap();
    }
}

/// Reads a collection; what it held is taken from `left`.
macro_rules! read {
    ($name:ident, $left:ident, $lost:ident: $($collection:expr),* $(,)?) => {$({
        let keyspace = format!("{:?}", $collection);
        let keyspace = keyspace.trim_start_matches("Collection(").trim_end_matches(')').to_owned();
        let (records, _) = $collection.all().await.unwrap_or_else(|error| panic!("{}: {error:?}", $name));
        for record in records {
            let key = hex(&record.key.encode());
            let before = $left.remove(&(keyspace.clone(), key.clone())).unwrap_or_else(|| panic!("{keyspace} {key}"));
            let after = serde_json::to_value(&record.value).unwrap();
            lost(&before, &after, &format!("{keyspace} {key}"), &mut $lost);
        }
    })*};
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_earlier_programs_stored_is_read_whole() {
    let mut covered = BTreeSet::new();
    for (name, lines) in fixtures() {
        covered.extend(lines.iter().map(|line| line.keyspace.clone()));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        stored(&path, &lines).await;
        let db = Db::open(&path).unwrap();
        let mut left: BTreeMap<(String, String), Value> =
            lines.into_iter().map(|line| ((line.keyspace, line.key), line.value)).collect();
        let mut gone = Vec::new();
        read!(name, left, gone: db.vms, db.vm_names, db.macs, db.hosts, db.host_names, db.joins, db.pools, db.networks);
        read!(name, left, gone: db.cpu_levels);
        read!(name, left, gone: db.balances, db.host_networks, db.security_groups, db.vifs, db.ha_pools, db.ha_hosts);
        read!(name, left, gone: db.vdis, db.imports, db.import_sources, db.waves, db.srs, db.templates, db.fragments);
        read!(name, left, gone: db.snapshots, db.snapshots_by_vm, db.repositories, db.repository_names, db.backup_jobs);
        read!(name, left, gone: db.backup_runs, db.backups, db.bases, db.standbys, db.old_snapshots, db.proofs);
        read!(name, left, gone: db.backups_by_vm, db.live_runs, db.reports, db.mail, db.upkeep, db.unprotected);
        read!(name, left, gone: db.alarms, db.alarm_rules, db.alarm_silences, db.alarm_notices, db.users, db.user_names);
        read!(name, left, gone: db.tokens, db.sessions, db.audit, db.audit_open, db.audit_asked, db.events);
        read!(name, left, gone: db.authority, db.idempotency);
        sagas(&db, &mut left, &mut gone).await;
        assert_eq!(gone, [""; 0], "{name}: renamed, or of another form; that takes a migration");
        let unread: Vec<_> = left.keys().collect();
        assert!(unread.is_empty(), "{name}: no collection has {unread:?}");
        let verified = Audit::open(db.clone()).await.unwrap().verify().await.unwrap();
        assert!(verified.broken_at.is_none() || name == "first.jsonl", "{name}: {verified:?}");
    }
    let missing: Vec<_> =
        keyspaces().into_keys().filter(|name| !covered.contains(name) && name != UNDER_WAY).collect();
    assert!(missing.is_empty(), "no fixture has a record of {missing:?}; write a new one down");
}

/// The engine reads its own.
async fn sagas(db: &Db, left: &mut BTreeMap<(String, String), Value>, gone: &mut Vec<String>) {
    let tasks = TaskSet::new();
    let (store, config) = (Arc::clone(&db.store), EngineConfig::default());
    let engine = SagaEngine::open(store, SagaRegistry::new(), config, &tasks).await.unwrap();
    let ended = engine.ended(None, 1000).await.unwrap().0.into_iter().map(|saga| ("saga.ended", saga));
    let active = engine.active(None, 1000).await.unwrap().0.into_iter().map(|saga| ("saga.active", saga));
    for (keyspace, (id, record)) in ended.chain(active) {
        let key = hex(&id.encode());
        let before = left.remove(&(keyspace.to_owned(), key.clone())).unwrap();
        lost(&before, &serde_json::to_value(&record).unwrap(), &format!("{keyspace} {key}"), gone);
    }
    left.retain(|(keyspace, _), _| keyspace != "saga.engine");
    tasks.shut_down(Duration::from_secs(10)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orchestrator_starts_on_what_earlier_programs_stored() {
    xenith_common_pki::install_provider();
    for (name, lines) in fixtures() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        // Its key was sealed by an installation that is no more.
        let lines: Vec<Line> = lines.into_iter().filter(|line| line.keyspace != "authority").collect();
        stored(&data.join("store"), &lines).await;
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = Config { listen, data, join_address: String::new(), ..Config::default() };
        let orchestrator =
            Orchestrator::start(&config).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(orchestrator.first_password, None, "{name}: it knows its users");
        orchestrator.stop().await.unwrap();
    }
}

/// See the module's text. Not run otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_writes_down_a_store() {
    let Some(path) = std::env::var_os("XENITH_FIXTURE") else { return };
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    all.add_host("xen2", SimHypervisor::builder()).await;
    inventory(&all).await;
    backups(&all).await;
    all.release().await;
    let db = Db::open(&all.folder().join("data/store")).unwrap();
    by_hand(&db).await;
    let mut text = String::new();
    for (name, keyspace) in keyspaces() {
        let page = db.store.scan(ScanRequest::prefix(keyspace, [], 1000)).await.unwrap();
        // Of what there is much, a part will do; the audit log stays a chain.
        for entry in page.entries.into_iter().take(12) {
            let value = serde_json::from_slice(&entry.value).unwrap();
            let line = Line { keyspace: name.clone(), key: hex(&entry.key), value };
            text.push_str(&serde_json::to_string(&line).unwrap());
            text.push('\n');
        }
    }
    fs::write(path, text).unwrap();
    drop(db);
    for host in &mut all.hosts {
        host.stop_agent().await;
    }
}

async fn done<M: Method<Result = TaskStarted>>(all: &Installation, params: Value) {
    let task = all.run::<M>(&serde_json::from_value(params).unwrap()).await;
    assert_eq!(task.status, TaskStatus::Done, "{}: {:?}", task.title, task.message);
}

async fn call<M: Method>(all: &Installation, params: Value) -> M::Result {
    let params = serde_json::from_value(params).unwrap();
    all.admin.call::<M>(&params).await.unwrap_or_else(|error| panic!("{}: {error}", M::NAME))
}

async fn inventory(all: &Installation) {
    let mut web = serde_json::to_value(small("web-1")).unwrap();
    (web["disks"], web["tags"], web["start"]) = (json!([{ "size": 1 << 20 }]), json!(["prod"]), json!(true));
    (web["host"], web["custom"]) = (json!("xen1"), json!({ "owner": "ann" }));
    done::<vm::Create>(all, web).await;
    let mut db = serde_json::to_value(small("db-1")).unwrap();
    (db["disks"], db["apart_from"]) = (json!([{ "size": 1 << 20 }]), json!(["web-1"]));
    let options = CallOptions { idempotency_key: Some(OperationId::new().to_string()) };
    let db = serde_json::from_value(db).unwrap();
    let task = all.admin.call_with::<vm::Create>(&db, &options).await.unwrap().task;
    assert_eq!(all.wait_task(task).await.status, TaskStatus::Done);
    done::<snapshot::Create>(all, json!({ "vm": "web-1", "name": "fresh" })).await;
    done::<template::Create>(all, json!({ "vm": "db-1", "name": "golden" })).await;
    let spec = json!({ "kind": "folder", "path": all.hosts[0].folder().join("fast") });
    done::<sr::Create>(all, json!({ "name": "fast", "host": "xen1", "spec": spec })).await;
    call::<host::Add>(all, json!({ "name": "xen3" })).await;
    call::<token::Create>(all, json!({ "name": "ci", "days": 7 })).await;
    let dora = json!({
        "name": "dora", "password": "correct horse battery",
        "bindings": [{ "role": "operator", "scope": { "kind": "tag", "value": "prod" } }],
    });
    call::<user::Create>(all, dora).await;
    let server = json!({
        "server": "mail.example.org", "port": 587, "user": "xenith", "password": "secret", "from": "x@example.org",
    });
    call::<mail::Set>(all, server).await;
    let rule = json!({
        "name": "busy", "of": "vm", "metric": "cpu", "threshold": 90.0, "mail_to": ["ops@example.org"],
    });
    call::<alarm_rule::Create>(all, rule).await;
    call::<alarm::Silence>(
        all,
        json!({ "rule": "busy", "of": "vm", "object": "web-1", "seconds": 600, "comment": "tests" }),
    )
    .await;
}

async fn backups(all: &Installation) {
    let place = json!({ "kind": "folder", "path": all.folder().join("repository") });
    done::<repository::Create>(all, json!({ "name": "main", "place": place })).await;
    let job =
        json!({ "name": "nightly", "vms": ["web-1"], "repositories": ["main"], "schedule": "30 2 * * *" });
    call::<backup_job::Create>(all, job).await;
    let run = call::<backup_job::Run>(all, json!({ "job": "nightly" })).await.run;
    until("the run is over", async || {
        let found = all.admin.call::<backup_run::Get>(&BackupRunRef { run }).await.unwrap();
        found.status.is_over().then_some(())
    })
    .await;
    done::<backup::Create>(all, json!({ "vm": "db-1", "repositories": ["main"] })).await;
    let standby = json!({ "vm": "web-1", "host": "xen2", "repository": "main" });
    done::<standby::Create>(all, standby).await;
}

/// A pool that has a proposal.
fn balance(now: &Value) -> Value {
    let id = || OperationId::new().to_string();
    let planned = json!({
        "vm": id(), "name": "web-1", "from": id(), "from_name": "xen1", "to": id(), "to_name": "xen2", "memory": 1024,
        "reason": "xen1 is at 92 % of its memory",
    });
    let proposal = json!({
        "goal": "density", "made": "2026-11-30T00:00:00Z", "moves": [planned], "notes": ["xen3 cannot be emptied"],
        "hosts": [{
            "host": id(), "name": "xen1", "memory_percent": 92, "memory_percent_after": 80, "cpu_percent": 20,
            "cpu_percent_after": 15,
        }],
        "power_off": [{ "host": id(), "name": "xen4" }],
    });
    json!({
        "policy": {
            "mode": "propose", "goal": "density", "threshold_percent": 10, "min_gain_percent": 5, "ceiling_percent": 80,
            "moves": 20, "at_once": 4, "per_host": 2, "per_hour": 60, "cool_down_minutes": 60,
        },
        "held_by": id(), "moved": [{ "vm": id(), "saga": id(), "at": now }], "proposal": proposal,
    })
}

fn fragment(pool: &Value, now: &Value) -> Value {
    json!({
        "fragment": {
            "id": OperationId::new().to_string(), "name": "base", "description": "", "pool": pool,
            "kind": "cloud_config", "changed": now,
        },
        "sealed": [1, 2, 3],
    })
}

/// What needs more than two hosts and a minute: of the form that these have at the time.
async fn by_hand(db: &Db) {
    let id = || OperationId::new().to_string();
    let now = serde_json::to_value(time::OffsetDateTime::UNIX_EPOCH).unwrap();
    let alarm = json!({
        "rule_name": "busy", "severity": "warning", "metric": "cpu", "message": null, "threshold": 90.0,
        "name": "web-1", "value": 97.5, "since": now, "told": true,
    });
    let base =
        json!({ "snapshot": id(), "sr": id(), "host": id(), "backup": "b1", "disk_name": "web-1.xvda" });
    let place = db.vms.all().await.unwrap().0.remove(0);
    let wave = json!({
        "name": "first", "source": id(), "status": "planned", "options": {}, "caps": {}, "started_by": null,
        "members": [{
            "vm": "vm-1", "name": "web", "host": "esx1", "datastores": ["ds1"], "transfer_mib": 1024,
            "import": null, "refused": null,
        }],
        "created": now, "ended": null,
    });
    let source = json!({
        "name": "vc", "address": "vc.example.org", "user": "admin", "sealed_password": [1, 2, 3],
        "fingerprint": "00:11", "about": "VMware vCenter", "created": now,
    });
    let import = json!({
        "name": "web", "vm": id(), "pool": place.value.pool, "tags": [], "host": place.value.host, "saga": id(),
        "origin": { "kind": "upload", "file": "web.ova" }, "phase": "done", "message": null, "disks": [],
        "passes": [], "cut_over": null, "ticket_hash": null, "created": now, "ended": now, "archived": true,
    });
    let notice = json!({
        "way": "Mail", "to": "ops@example.org", "raised": true, "at": now, "when": "above", "alarm": alarm,
        "tries": 0, "next": now,
    });
    let proof = json!({ "at": "2026-11-29T00:00:00Z", "answered": true, "said": "login:", "seconds": 9, "ports": [] });
    let audited = json!({ "of": 1, "user": null, "user_name": "admin", "from": "", "method": "vm.start" });
    let session = json!({ "user": id(), "expires": now });
    let group = json!({
        "id": id(), "name": "web", "pool": place.value.pool, "tag": "web", "description": "",
        "ingress": ["tcp:443", "any tag:web"], "egress": [],
    });
    let balance = balance(&now);
    let arms = json!({ "sr": id(), "timing": { "lease_s": 60, "watchdog_s": 10, "beat_s": 5 } });
    let nic = json!({ "lock": "addresses", "addresses": ["10.0.0.7"], "link": "down", "rate_mbit": 100 });
    macro_rules! put {
        ($($collection:ident[$key:expr] = $value:expr;)*) => {
            $(db.$collection.put(&$key, &serde_json::from_value($value).unwrap()).await.unwrap();)*
        };
    }
    put! {
        alarms[(Default::default(), "vm/1".to_owned())] = alarm;
        alarm_notices[(Default::default(), "1".to_owned())] = notice;
        import_sources[Default::default()] = source;
        imports[Default::default()] = import;
        waves[Default::default()] = wave;
        reports[(Default::default(), "mail".to_owned())] = json!({ "to": "ops@example.org", "tries": 1, "next": now });
        old_snapshots[Default::default()] = base;
        proofs[(Default::default(), "b1".to_owned())] = proof;
        unprotected[place.key] = now.clone();
        balances[place.value.pool] = balance;
        security_groups[Default::default()] = group;
        fragments[Default::default()] = fragment(&json!(place.value.pool), &now);
        vifs[place.key] = json!({ "00:16:3e:00:00:01": nic });
        cpu_levels[place.value.pool] = json!({
            "mode": { "kind": "auto" },
            "hosts": { (id()): "GenuineIntel:00000001:00000001:00000001:00000001:00000001:00000020:00000000:00000000" },
        });
        host_networks[place.value.host] = json!(null);
        ha_pools[place.value.pool] = json!({ "arms": arms, "priorities": { (id()): "high" } });
        ha_hosts[place.value.host] = json!({
            "believed": arms, "running": [id()], "restart": [id()], "rests": false,
            "fenced": { "proof": "lease", "at": now, "moved": [id()] },
        });
        audit_open[Default::default()] = audited;
        audit_asked[2] = json!(null);
        live_runs[Default::default()] = json!(id());
        sessions["00".repeat(32)] = session;
    }
}
