//! Who calls too often, or guesses: what they get, and what they cannot fill or take from others.

use std::time::Instant;

use futures::future::join_all;
use serde_json::{Value, json};
use xenith_orchestrator::config::{Allowance, Limits};
use xenith_orchestrator_api::{audit, auth, system, user};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::audit::{AuditPhase, AuditRecord, ListAudit};
use xenith_orchestrator_types::auth::NewPassword;
use xenith_orchestrator_types::user::CreateUser;

use crate::harness::{EMPTY, Installation, api_error};

const PASSWORD: &str = "correct horse battery";
/// Wrong passwords before it gets slow.
const FREE: usize = 5;
/// More than any burst here: what is not refused by then is not refused.
const FLOOD: usize = 200;
const SMALL: Allowance = Allowance { per_second: 1, burst: 20 };
const LARGE: Allowance = Allowance { per_second: 10_000, burst: 10_000 };

async fn limited(limits: Limits) -> Installation {
    Installation::start_limited(tempfile::tempdir().unwrap(), limits).await
}

fn http() -> reqwest::Client {
    reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build().unwrap()
}

/// Why a call over HTTP is refused; empty: it is not.
async fn refusal(
    all: &Installation,
    http: &reqwest::Client,
    secret: Option<&str>,
    (method, params): (&str, Value),
) -> String {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
    let mut request = http.post(format!("{}/rpc", all.url())).header("content-type", "application/json");
    if let Some(secret) = secret {
        request = request.bearer_auth(secret);
    }
    let answer = request.body(body).send().await.unwrap().bytes().await.unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    answer["error"]["data"]["reason"].as_str().unwrap_or_default().to_owned()
}

/// Calls until one is throttled. Why each was refused.
async fn flood(
    all: &Installation,
    http: &reqwest::Client,
    secret: Option<&str>,
    call: (&str, Value),
) -> Vec<String> {
    let mut reasons: Vec<String> = Vec::new();
    while reasons.len() < FLOOD && reasons.last().is_none_or(|reason| reason != "throttled") {
        reasons.push(refusal(all, http, secret, call.clone()).await);
    }
    reasons
}

/// The records of a method, oldest first.
async fn records(all: &Installation, method: &str) -> Vec<AuditRecord> {
    let request = ListAudit { sort: "sequence".into(), limit: 1000, ..ListAudit::default() };
    let mut records = all.admin.call::<audit::List>(&request).await.unwrap().items;
    records.retain(|record| record.method == method);
    records
}

async fn asked(all: &Installation, method: &str) -> usize {
    records(all, method).await.iter().filter(|record| record.phase == AuditPhase::Asked).count()
}

/// How many wrong passwords may be verified until a moment: the free ones, and one after each wait.
fn allowed(begun: Instant) -> usize {
    let mut left = begun.elapsed().as_secs();
    let (mut allowed, mut wait) = (FREE, 2);
    while left >= wait {
        (left, allowed, wait) = (left - wait, allowed + 1, 2 * wait);
    }
    allowed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_floods_with_a_secret_that_is_none_is_throttled() {
    let all = limited(Limits { calls: SMALL, ..Limits::default() }).await;
    let http = http();
    let reasons = flood(&all, &http, Some("xs1-guessed"), ("vm.list", json!({}))).await;
    assert_eq!(reasons[0], "unauthenticated");
    assert_eq!(reasons.last().unwrap(), "throttled", "{} calls", reasons.len());
    // From the same address, with a good one.
    assert!(all.admin.call::<system::Info>(&EMPTY).await.is_ok());
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_floods_what_is_told_to_anybody_is_throttled() {
    for path in ["/openrpc.json", "/metrics"] {
        let all = limited(Limits { calls: SMALL, ..Limits::default() }).await;
        let (http, url) = (http(), format!("{}{path}", all.url()));
        let mut statuses = Vec::new();
        for _ in 0..FLOOD {
            let answer = http.get(&url).send().await.unwrap();
            statuses.push(answer.status().as_u16());
            if answer.status().as_u16() == 429 {
                assert!(answer.headers().contains_key("retry-after"), "{path}");
                break;
            }
        }
        assert_eq!((statuses[0], *statuses.last().unwrap()), (200, 429), "{path}: {}", statuses.len());
        let calls = flood(&all, &http, None, ("rpc.discover", json!({}))).await;
        assert_eq!(calls.last().unwrap(), "throttled", "{path}");
        all.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_tell_of_what_was_refused() {
    let all = limited(Limits { changes_of_strangers: SMALL, ..Limits::default() }).await;
    let http = http();
    let login = ("auth.login", json!({ "name": "admin", "password": "wrong" }));
    assert_eq!(flood(&all, &http, None, login).await.last().unwrap(), "throttled");
    let text = http.get(format!("{}/metrics", all.url())).send().await.unwrap().text().await.unwrap();
    assert!(text.lines().any(|line| line == "xenith_calls_refused_total 1"), "{text}");
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_guesses_at_once_no_more_are_verified_than_one_after_the_other() {
    let all = limited(Limits { changes_of_strangers: LARGE, ..Limits::default() }).await;
    let http = http();
    let begun = Instant::now();
    let guess = |number: usize| {
        let params = json!({ "name": "admin", "password": format!("guess number {number}") });
        refusal(&all, &http, None, ("auth.login", params))
    };
    let reasons = join_all((0..50).map(guess)).await;
    let allowed = allowed(begun);
    let of = |reason: &str| reasons.iter().filter(|told| *told == reason).count();
    let (verified, refused) = (of("unauthenticated"), of("throttled"));
    assert_eq!(verified + refused, 50, "{reasons:?}");
    assert!((FREE..=allowed).contains(&verified), "{verified} of {allowed}");
    // What was tried is in the audit log, with its outcome; what was not is not. One is the harness's own.
    let written = records(&all, "auth.login").await;
    let of = |phase: AuditPhase| written.iter().filter(|record| record.phase == phase).count();
    assert_eq!((of(AuditPhase::Asked), of(AuditPhase::Failed)), (verified + 1, verified));
    assert_eq!(written.len(), 2 * (verified + 1));
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sign_ins_that_come_too_often_leave_nothing_in_the_audit_log() {
    let small = Allowance { per_second: 1, burst: 3 };
    let all = limited(Limits { changes_of_strangers: small, ..Limits::default() }).await;
    let http = http();
    // At once: one after the other they come no faster than a slow machine verifies passwords, which is not too often.
    let guess = |number: usize| {
        // Another name each time.
        let params = json!({ "name": format!("nobody-{number}"), "password": "a guess of some length" });
        refusal(&all, &http, None, ("auth.login", params))
    };
    let reasons = join_all((0..50).map(guess)).await;
    let of = |reason: &str| reasons.iter().filter(|told| *told == reason).count();
    let (tried, refused) = (of("unauthenticated"), of("throttled"));
    assert_eq!(tried + refused, 50, "{reasons:?}");
    assert!(refused > tried, "{tried} tried, {refused} refused");
    assert_eq!(asked(&all, "auth.login").await, tried + 1);
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_at_the_old_password_is_slowed_down() {
    let all = Installation::start().await;
    let dora = CreateUser { name: "dora".into(), password: PASSWORD.into(), bindings: vec![] };
    all.admin.call::<user::Create>(&dora).await.unwrap();
    let dora = all.login("dora", PASSWORD).await.unwrap();
    let begun = Instant::now();
    let change = async |old: &str, new: &str| {
        let change = NewPassword { old: old.into(), new: new.into() };
        api_error(dora.call::<auth::ChangePassword>(&change).await)
    };
    // Nothing is verified for a new one that is too short.
    for _ in 0..2 * FREE {
        assert_eq!(change("wrong", "short").await.data.field.as_deref(), Some("new"));
    }
    let mut wrong = 0;
    let throttled = loop {
        let error = change("wrong", "another horse battery").await;
        if error.reason() == Reason::Throttled {
            break error;
        }
        assert_eq!(error.data.field.as_deref(), Some("old"), "{error}");
        wrong += 1;
        assert!(wrong <= allowed(begun), "{wrong}");
    };
    assert!(wrong >= FREE && throttled.data.retry_after_s.is_some(), "{wrong}: {throttled:?}");
    assert_eq!(asked(&all, "auth.change_password").await, 2 * FREE + wrong);
    all.stop().await;
}
