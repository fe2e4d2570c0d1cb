//! Lists without an inventory: filtered, sorted and paged like those with one.

use serde_json::{Value, json};
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator_api::{
    Method, audit, filter, import, iso, network, pool, repository, role, snapshot, sr, template, token, user,
    vm, wave,
};
use xenith_orchestrator_types::filter::CompleteListFilter;
use xenith_orchestrator_types::{Page, Reason};

use crate::harness::{Installation, api_error, small, until};

/// The names that a list has, in its order, and the cursor for the next page.
async fn names<M, T>(of: &Installation, params: Value, name: fn(T) -> String) -> (String, Option<String>)
where
    M: Method<Result = Page<T>>,
{
    let page = of.admin.call::<M>(&serde_json::from_value(params).unwrap()).await.unwrap();
    (page.items.into_iter().map(name).collect::<Vec<_>>().join(" "), page.next)
}

async fn is<M, T>(of: &Installation, filter: &str, sort: &str, name: fn(T) -> String, wanted: &str)
where
    M: Method<Result = Page<T>>,
{
    let (found, _) = names::<M, T>(of, json!({ "filter": filter, "sort": sort }), name).await;
    assert_eq!(found, wanted, "{} of {filter:?} by {sort:?}", M::NAME);
}

async fn do_<M: Method>(of: &Installation, params: Value) -> M::Result {
    of.admin
        .call::<M>(&serde_json::from_value(params).unwrap())
        .await
        .unwrap_or_else(|e| panic!("{}: {e}", M::NAME))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn places_and_people_are_filtered_sorted_and_paged() {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    for (name, bridge) in [("lan", "xenbr1"), ("wan", "xenbr2")] {
        do_::<network::Create>(
            &all,
            json!({ "name": name, "bridge": bridge, "description": "made by hand" }),
        )
        .await;
    }
    for (filter, sort, wanted) in [
        ("", "", "default lan wan"),
        ("", "-bridge", "wan lan default"),
        ("bridge:xenbr1", "", "lan"),
        ("pool:default hand", "-", "wan lan"),
        ("pool:other", "", ""),
    ] {
        is::<network::List, _>(&all, filter, sort, |network| network.name, wanted).await;
    }
    let (first, next) = names::<network::List, _>(&all, json!({ "limit": 2 }), |network| network.name).await;
    let second = json!({ "limit": 2, "cursor": next });
    let second = names::<network::List, _>(&all, second, |network| network.name).await;
    assert_eq!((first.as_str(), second), ("default lan", ("wan".to_owned(), None)));

    do_::<pool::Create>(&all, json!({ "name": "edge", "description": "branch offices" })).await;
    until("the pool is known", async || {
        let found = names::<pool::List, _>(&all, json!({ "filter": "office" }), |pool| pool.name).await;
        (found.0 == "edge").then_some(())
    })
    .await;
    is::<pool::List, _>(&all, "", "-name", |pool| pool.name, "edge default").await;

    let viewer = json!([{ "role": "viewer", "scope": { "kind": "all" } }]);
    do_::<user::Create>(
        &all,
        json!({ "name": "anna", "password": "correct horse battery", "bindings": viewer }),
    )
    .await;
    do_::<user::Update>(&all, json!({ "user": "anna", "disabled": true })).await;
    for (filter, wanted) in [
        ("", "admin anna"),
        ("role:viewer", "anna"),
        ("disabled:no", "admin"),
        ("totp:yes", ""),
        ("last_login:none", "anna"),
    ] {
        is::<user::List, _>(&all, filter, "", |user| user.name, wanted).await;
    }
    do_::<token::Create>(&all, json!({ "name": "ci", "days": 9 })).await;
    do_::<token::Create>(&all, json!({ "name": "audit", "days": 90, "bindings": viewer })).await;
    for (filter, sort, wanted) in [
        ("user:admin", "expires", "ci audit"),
        ("role:none", "", "ci"),
        ("user:anna", "", ""),
        ("age:<1d role:viewer", "", "audit"),
    ] {
        is::<token::List, _>(&all, filter, sort, |token| token.name, wanted).await;
    }
    is::<role::List, _>(&all, "", "", |info| info.role.to_string(), "viewer operator admin").await;
    is::<role::List, _>(&all, "permission:operate", "-rank", |info| info.role.to_string(), "admin operator")
        .await;
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storage_and_what_is_made_of_it_is_filtered() {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    all.run::<vm::Create>(&small("web-1")).await;
    for name in ["fresh", "tuned"] {
        let take = json!({ "vm": "web-1", "name": name, "description": "before the release" });
        all.run::<snapshot::Create>(&serde_json::from_value(take).unwrap()).await;
    }
    let make = json!({ "vm": "web-1", "name": "debian" });
    all.run::<template::Create>(&serde_json::from_value(make).unwrap()).await;
    is::<sr::List, _>(&all, "kind:local host:xen1", "", |sr| sr.name, "local-xen1").await;
    is::<sr::List, _>(&all, "content:iso", "", |sr| sr.name, "").await;
    is::<iso::List, _>(&all, "", "", |vdi| vdi.name, "").await;
    for (filter, sort, wanted) in [
        ("", "", "fresh tuned"),
        ("", "-created", "tuned fresh"),
        ("current:yes", "", "tuned"),
        ("vm:web host:xen1 age:<1h release", "", "fresh tuned"),
        ("vm:db", "", ""),
    ] {
        is::<snapshot::List, _>(&all, filter, sort, |snapshot| snapshot.name, wanted).await;
    }
    is::<template::List, _>(&all, "kind:pvh ready:yes pool:default", "", |template| template.name, "debian")
        .await;
    is::<template::List, _>(&all, "kind:hvm", "", |template| template.name, "").await;
    is::<repository::List, _>(&all, "kind:s3", "", |repository| repository.name, "").await;
    is::<import::List, _>(&all, "phase:following archived:no", "-created", |import| import.name, "").await;
    is::<wave::List, _>(&all, "status:running", "vms", |wave| wave.name, "").await;
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_log_is_filtered_from_either_end() {
    let all = Installation::start().await;
    for name in ["a", "b", "c"] {
        do_::<pool::Create>(&all, json!({ "name": name })).await;
    }
    let refused = json!({ "pool": "nowhere" });
    assert!(all.admin.call::<pool::Delete>(&serde_json::from_value(refused).unwrap()).await.is_err());
    let made = |record: xenith_orchestrator_types::audit::AuditRecord| {
        format!("{}={}", record.params["name"].as_str().unwrap_or("?"), record.phase as u8)
    };
    let page = async |params: Value| names::<audit::List, _>(&all, params, made).await;
    // Asked for, and done; newest first.
    assert_eq!(page(json!({ "filter": "method:pool.create phase:asked" })).await.0, "c=0 b=0 a=0");
    let oldest = json!({ "filter": "method:pool.create phase:asked", "sort": "sequence", "limit": 2 });
    let (first, next) = page(oldest.clone()).await;
    assert_eq!(first, "a=0 b=0");
    let mut rest = oldest;
    rest["cursor"] = json!(next);
    assert_eq!(page(rest).await.0, "c=0");
    assert_eq!(page(json!({ "filter": "user:admin phase:failed pool.delete" })).await.0, "?=3");
    assert_eq!(page(json!({ "filter": "user:nobody" })).await, (String::new(), None));
    for (params, field) in [
        (json!({ "filter": "colour:red" }), "filter"),
        (json!({ "sort": "user" }), "sort"),
        (json!({ "cursor": "+3" }), "cursor"),
        (json!({ "sort": "sequence", "cursor": "3" }), "cursor"),
    ] {
        let error = api_error(all.admin.call::<audit::List>(&serde_json::from_value(params).unwrap()).await);
        assert_eq!((error.reason(), error.data.field.as_deref()), (Reason::Invalid, Some(field)), "{error}");
    }
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_and_words_are_completed_for_every_list() {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    for (noun, text, wanted) in [
        ("network", "bri", "bridge:"),
        ("snapshot", "vm:web cur", "current:"),
        ("user", "disabled:", "yes"),
        ("audit", "phase:f", "failed"),
        ("host", "na", "name:"),
        ("task", "status:pa", "parked"),
    ] {
        let request = CompleteListFilter { noun: noun.into(), text: text.into() };
        let found = all.admin.call::<filter::Complete>(&request).await.unwrap();
        let texts: Vec<_> = found.candidates.iter().map(|candidate| candidate.text.as_str()).collect();
        assert!(texts.contains(&wanted), "{noun} {text:?}: {texts:?}");
    }
    let request = CompleteListFilter { noun: "colour".into(), text: String::new() };
    let error = api_error(all.admin.call::<filter::Complete>(&request).await);
    assert_eq!(error.data.field.as_deref(), Some("noun"), "{error}");
    assert!(error.message.contains("backup_job"), "{error}");
    all.stop().await;
}
