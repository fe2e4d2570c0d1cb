//! What is in the store of an orchestrator that has issued and taken secrets: none of them.

use serde_json::json;
use xenith_common_ids::OperationId;
use xenith_hypervisor_agent_api::JoinToken;
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator::db::{self, Db};
use xenith_orchestrator_api::{Method, auth, fragment, host, mail, repository, template, token, user, vm};
use xenith_orchestrator_client::{CallOptions, Credential};
use xenith_orchestrator_store::ScanRequest;
use xenith_orchestrator_types::auth::Credentials;
use xenith_orchestrator_types::host::AddHost;
use xenith_orchestrator_types::task::{TaskStarted, TaskStatus};
use xenith_orchestrator_types::token::CreateToken;

use crate::accounts::code_of;
use crate::harness::Installation;

const PASSWORD: &str = "correct horse battery";
const GUEST_PASSWORD: &str = "what-the-guest-lets-in";
const FRAGMENT_PASSWORD: &str = "what-all-guests-let-in";
const GUEST_VARIABLE: &str = "what-the-guest-joins-with";
const MAIL_PASSWORD: &str = "what-the-mail-server-wants";

/// Every key and value, and where it is.
async fn stored(db: &Db) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for keyspace in db::schema().keyspaces() {
        let mut after = None;
        loop {
            let request = ScanRequest { after, ..ScanRequest::prefix(keyspace, [], 1000) };
            let page = db.store.scan(request).await.unwrap();
            for entry in page.entries {
                found.push((keyspace.to_string(), entry.key.to_vec()));
                found.push((keyspace.to_string(), entry.value.to_vec()));
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    found
}

fn places(stored: &[(String, Vec<u8>)], text: &str) -> Vec<String> {
    let holds = |bytes: &[u8]| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    stored.iter().filter(|(_, bytes)| holds(bytes)).map(|(keyspace, _)| keyspace.clone()).collect()
}

async fn call<M: Method>(all: &Installation, params: serde_json::Value) -> M::Result {
    let params = serde_json::from_value(params).unwrap();
    all.admin.call::<M>(&params).await.unwrap_or_else(|error| panic!("{}: {error}", M::NAME))
}

async fn task<M: Method<Result = TaskStarted>>(all: &Installation, params: serde_json::Value) {
    let task = all.run::<M>(&serde_json::from_value(params).unwrap()).await;
    assert_eq!(task.status, TaskStatus::Done, "{}: {:?}", task.title, task.message);
}

/// Secrets that were given and issued, each under a name.
async fn secrets(all: &Installation) -> Vec<(&'static str, String)> {
    let credentials = Credentials { name: "admin".into(), password: all.password().into(), code: None };
    let nobody = all.client(Credential::None).await;
    let session = nobody.call::<auth::Login>(&credentials).await.unwrap().session;
    let api_token = call::<token::Create>(all, json!({ "name": "ci", "days": 7 })).await.secret;
    let (_, random) = api_token.split_once('.').unwrap();
    let random = random.to_owned();
    let join = call::<host::Add>(all, json!({ "name": "xen3" })).await.token;
    let join_secret = join.parse::<JoinToken>().unwrap().secret;
    let dora = json!({ "name": "dora", "password": PASSWORD, "bindings": [] });
    let hash_of_dora = blake3::hash(dora.to_string().as_bytes()).to_hex().to_string();
    call::<user::Create>(all, dora).await;
    let place = json!({ "kind": "folder", "path": all.folder().join("repository") });
    let main = serde_json::from_value(json!({ "name": "main", "place": place })).unwrap();
    assert_eq!(all.run::<repository::Create>(&main).await.status, TaskStatus::Done);
    let key = call::<repository::Key>(all, json!({ "repository": "main" })).await.secret;
    let server = json!({
        "server": "mail.example.org", "port": 587, "user": "xenith", "password": MAIL_PASSWORD,
        "from": "x@example.org",
    });
    call::<mail::Set>(all, server).await;
    let own = json!({ "password": all.password() });
    let factor = call::<user::TotpEnrol>(all, own).await.secret;
    let code = json!({ "code": code_of(&factor, 0) });
    let recovery = call::<user::TotpConfirm>(all, code).await.codes.remove(0);
    let plain = json!({ "name": "golden-1", "disks": [{ "size": 1 << 20 }], "vcpus": { "online": 1, "max": 1 },
        "memory": { "target": 128, "max": 128 },
        "platform": { "kind": "pvh", "boot": { "kernel": "vmlinuz" } } });
    task::<vm::Create>(all, plain).await;
    task::<template::Create>(all, json!({ "vm": "golden-1", "name": "golden" })).await;
    let part = format!("#cloud-config\nchpasswd: [\"{FRAGMENT_PASSWORD}\"]\n");
    call::<fragment::Create>(all, json!({ "name": "base", "user_data": part })).await;
    let told = json!({
        "fragments": ["base"],
        "user_data": format!("#cloud-config\npassword: {GUEST_PASSWORD}\nruncmd: [\"join ${{key}}\"]\n"),
        "variables": { "key": GUEST_VARIABLE },
    });
    task::<template::Deploy>(all, json!({ "template": "golden", "name": "web-1", "cloud_init": told })).await;
    vec![
        ("the first password", all.password().to_owned()),
        ("a session", session),
        ("an API token", api_token),
        ("the random part of an API token", random),
        ("a join token", join),
        ("the secret of a join token", join_secret),
        ("a user's password", PASSWORD.to_owned()),
        ("a hash of a user's password and two guessable parameters", hash_of_dora),
        ("a repository's key", key),
        ("what cloud-init is told", GUEST_PASSWORD.to_owned()),
        ("a fragment of what cloud-init is told", FRAGMENT_PASSWORD.to_owned()),
        ("a variable of what cloud-init is told", GUEST_VARIABLE.to_owned()),
        ("the mail server's password", MAIL_PASSWORD.to_owned()),
        ("the secret of a second factor", factor),
        ("a recovery code as it is compared", recovery.replace('-', "")),
        ("a recovery code", recovery),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_in_the_store() {
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    let secrets = secrets(&all).await;
    all.release().await;
    let db = Db::open(&all.folder().join("data/store")).unwrap();
    let stored = stored(&db).await;
    assert!(places(&stored, "dora").contains(&"user".to_owned()), "what is there is found");
    assert!(stored.iter().any(|(keyspace, _)| keyspace == "idempotency"), "the calls had keys");
    for (what, secret) in secrets {
        assert_eq!(places(&stored, &secret), [""; 0], "{what}");
    }
    drop(db);
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_is_answered_with_the_same_secret_also_after_a_restart() {
    let mut all = Installation::start().await;
    let key = || CallOptions { idempotency_key: Some(OperationId::new().to_string()) };
    let (of_token, of_host) = (key(), key());
    let wanted = CreateToken { name: "ci".into(), days: 7, bindings: vec![] };
    let host = AddHost { name: Some("xen1".into()), pool: None, minutes: 0 };
    let made = all.admin.call_with::<token::Create>(&wanted, &of_token).await.unwrap().secret;
    let issued = all.admin.call_with::<host::Add>(&host, &of_host).await.unwrap().token;
    for restarted in [false, true] {
        if restarted {
            all.restart().await;
        }
        let again = all.admin.call_with::<token::Create>(&wanted, &of_token).await.unwrap().secret;
        assert_eq!(again, made, "restarted: {restarted}");
        let again = all.admin.call_with::<host::Add>(&host, &of_host).await.unwrap().token;
        assert_eq!(again, issued, "restarted: {restarted}");
    }
    let db = &all.orchestrator.as_ref().unwrap().app.db;
    let (tokens, joins) = (db.tokens.all().await.unwrap().0, db.joins.all().await.unwrap().0);
    assert_eq!((tokens.len(), joins.len()), (1, 1), "made once");
    all.stop().await;
}
