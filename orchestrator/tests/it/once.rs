//! One idempotency key, several calls: at the same time, after a crash, and of different kinds.

use std::sync::Arc;

use futures::future::join_all;
use serde_json::{Value, json};
use xenith_orchestrator::app::App;
use xenith_orchestrator::model::IdempotencyRecord;
use xenith_orchestrator_api::{Method, auth, pool, user};
use xenith_orchestrator_types::{ApiError, Binding, Reason, Role, Scope};

use crate::admins::{PASSWORD, call, somebody};
use crate::harness::{EMPTY, Installation, api_error, until};

const KEY: &str = "the same";

fn keyed(mut params: Value) -> Value {
    params["idempotency_key"] = json!(KEY);
    params
}

fn new_pool(name: &str) -> Value {
    keyed(json!({ "name": name }))
}

fn app(of: &Installation) -> Arc<App> {
    Arc::clone(&of.orchestrator.as_ref().unwrap().app)
}

/// What the store has under the admin's key, changed.
async fn change(of: &Installation, change: impl Fn(&mut IdempotencyRecord) + Send + Sync) {
    let admin = of.admin.call::<auth::Whoami>(&EMPTY).await.unwrap().id;
    let changed = app(of).db.idempotency.modify(&(admin, KEY.to_owned()), change).await.unwrap();
    assert!(changed.is_some(), "the key is there");
}

/// The call that is repeated where the connection is found broken is none of those that are looked at.
async fn restart(all: &mut Installation) {
    all.restart().await;
    all.admin.call::<auth::Whoami>(&EMPTY).await.unwrap();
}

/// Beside the default one. The read model hears of them a moment later.
async fn pools_are(of: &Installation, wanted: &[&str]) {
    until(&format!("there are the pools {wanted:?}"), async || {
        let pools = of.admin.all::<pool::List, _>("").await.unwrap();
        let mut names: Vec<_> = pools.into_iter().map(|pool| pool.name).collect();
        names.retain(|name| name != "default");
        names.sort();
        (names == wanted).then_some(())
    })
    .await;
}

fn under_way(error: &ApiError) {
    let told = (error.reason(), error.data.field.as_deref());
    assert_eq!(told, (Reason::Conflict, Some("idempotency_key")), "{error}");
    assert!(error.message.contains("has begun and has no answer yet"), "{error}");
}

/// Passwords are hashed slowly: the first call is not over when the others come.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_at_the_same_time_take_effect_once() {
    let all = Installation::start().await;
    let bindings = json!([{ "role": "viewer", "scope": { "kind": "all" } }]);
    let new = keyed(json!({ "name": "dora", "password": PASSWORD, "bindings": bindings }));
    // Over connections of their own, so that none waits for another.
    let mut clients = Vec::new();
    for _ in 0..8 {
        // One after the other: more tries of one password at once than may fail are guesses.
        clients.push(all.login("admin", all.password()).await.unwrap());
    }
    let ends = join_all(clients.iter().map(|client| call(client, user::Create::NAME, new.clone()))).await;
    let (done, refused): (Vec<_>, Vec<_>) = ends.into_iter().partition(Result::is_ok);
    let done: Vec<Value> = done.into_iter().map(Result::unwrap).collect();
    assert!(!done.is_empty(), "{refused:?}");
    // Done twice, it would be refused because the name is taken, and without a hint to the key.
    assert!(done.iter().all(|answer| *answer == done[0]), "one answer: {done:?}");
    refused.into_iter().for_each(|end| under_way(&api_error(end)));
    let users = all.admin.all::<user::List, _>("name:dora").await.unwrap();
    assert_eq!(users.len(), 1);

    // Whoever was too early gets the answer now.
    assert_eq!(call(&all.admin, user::Create::NAME, new).await.unwrap(), done[0]);
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_outlives_a_restart_and_a_call_without_one_is_not_repeated() {
    let mut all = Installation::start().await;
    let first = call(&all.admin, pool::Create::NAME, new_pool("lab")).await.unwrap();
    restart(&mut all).await;
    assert_eq!(call(&all.admin, pool::Create::NAME, new_pool("lab")).await.unwrap(), first);
    pools_are(&all, &["lab"]).await;

    // A crash behind the effect and before the answer leaves the key alone. Nobody can tell what came of it.
    change(&all, |record| record.sealed_answer = None).await;
    restart(&mut all).await;
    for _ in 0..2 {
        under_way(&api_error(call(&all.admin, pool::Create::NAME, new_pool("lab")).await));
    }
    // Before the effect: it is not made up for either, so that nothing happens behind the caller's back.
    call(&all.admin, pool::Delete::NAME, json!({ "pool": "lab" })).await.unwrap();
    under_way(&api_error(call(&all.admin, pool::Create::NAME, new_pool("lab")).await));
    pools_are(&all, &[]).await;
    // Another key is another call.
    call(&all.admin, pool::Create::NAME, json!({ "name": "lab", "idempotency_key": "other" })).await.unwrap();

    // After a day nobody asks for the answer any more, and the key is good again.
    change(&all, |record| record.at -= time::Duration::hours(25)).await;
    call(&all.admin, pool::Create::NAME, new_pool("later")).await.unwrap();
    pools_are(&all, &["lab", "later"]).await;
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_for_one_call_of_one_user() {
    let all = Installation::start().await;
    let first = call(&all.admin, pool::Create::NAME, new_pool("lab")).await.unwrap();
    for (method, params) in [
        (pool::Create::NAME, new_pool("other")),
        (pool::Create::NAME, keyed(json!({ "name": "lab", "description": "larger" }))),
        (pool::Delete::NAME, keyed(json!({ "pool": "lab" }))),
    ] {
        let error = api_error(call(&all.admin, method, params.clone()).await);
        let told = (error.reason(), error.data.field.as_deref());
        assert_eq!(told, (Reason::Invalid, Some("idempotency_key")), "{method} {params}: {error}");
    }
    pools_are(&all, &["lab"]).await;
    assert_eq!(call(&all.admin, pool::Create::NAME, new_pool("lab")).await.unwrap(), first, "still good");

    // Another user's key of the same name has nothing to do with it, and gives nothing away.
    let anna = somebody(&all, "anna", vec![Binding { role: Role::Admin, scope: Scope::All }]).await;
    let taken = api_error(call(&anna, pool::Create::NAME, new_pool("lab")).await);
    assert_eq!((taken.reason(), taken.data.field), (Reason::Conflict, None), "{}", taken.message);
    call(&anna, pool::Create::NAME, new_pool("annas")).await.unwrap();
    pools_are(&all, &["annas", "lab"]).await;
    all.stop().await;
}
