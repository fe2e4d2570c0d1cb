//! Pools and what is in them: names, and what goes when one is deleted.

use futures::future::join_all;
use serde_json::json;
use xenith_hypervisor_agent_api::JoinToken;
use xenith_hypervisor_agent_client::join;
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator_api::{Method, fragment, host, network, pool, security_group, sr};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::host::JoinTokenIssued;
use xenith_orchestrator_types::task::TaskStatus;

use crate::admins::call;
use crate::enrolment::request;
use crate::harness::{Installation, api_error};

async fn token(all: &Installation, pool: &str) -> JoinToken {
    let issued = call(&all.admin, host::Add::NAME, json!({ "name": "xen1", "pool": pool })).await.unwrap();
    serde_json::from_value::<JoinTokenIssued>(issued).unwrap().token.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_those_of_one_name_that_are_made_at_once_one_is_made() {
    let all = Installation::start().await;
    for (method, params) in [
        (pool::Create::NAME, json!({ "name": "lab" })),
        (network::Create::NAME, json!({ "name": "lan", "bridge": "xenbr0" })),
        (security_group::Create::NAME, json!({ "name": "web", "tag": "web" })),
        (fragment::Create::NAME, json!({ "name": "base", "user_data": "#!/bin/sh\n" })),
    ] {
        let racing = (0..8).map(|_| call(&all.admin, method, params.clone()));
        let (made, refused): (Vec<_>, Vec<_>) = join_all(racing).await.into_iter().partition(Result::is_ok);
        assert_eq!(made.len(), 1, "{method}: {made:?}");
        for end in refused {
            assert_eq!(api_error(end).reason(), Reason::Conflict, "{method}");
        }
    }
    let (pools, _) = all.orchestrator.as_ref().unwrap().app.db.pools.all().await.unwrap();
    assert_eq!(pools.iter().filter(|pool| pool.value.name == "lab").count(), 1);
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_srs_of_one_name_that_are_made_at_once_one_is_made() {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    let folder = all.hosts[0].folder().to_owned();
    let racing = (0..8).map(|number| {
        let spec = json!({ "kind": "folder", "path": folder.join(format!("fast-{number}")) });
        let params = json!({ "name": "fast", "host": "xen1", "spec": spec });
        call(&all.admin, sr::Create::NAME, params)
    });
    let (made, refused): (Vec<_>, Vec<_>) = join_all(racing).await.into_iter().partition(Result::is_ok);
    assert_eq!(made.len(), 1, "{made:?}");
    for end in refused {
        assert_eq!(api_error(end).reason(), Reason::Conflict);
    }
    let begun = made.into_iter().next().unwrap().unwrap();
    let task = all.wait_task(serde_json::from_value(begun["task"].clone()).unwrap()).await;
    assert_eq!(task.status, TaskStatus::Done, "{:?}", task.message);
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_pool_takes_its_networks_and_join_tokens_along() {
    let all = Installation::start().await;
    let db = &all.orchestrator.as_ref().unwrap().app.db;
    call(&all.admin, pool::Create::NAME, json!({ "name": "lab" })).await.unwrap();
    let lan = |name: &str, pool: &str| json!({ "name": name, "bridge": "xenbr0", "pool": pool });
    call(&all.admin, network::Create::NAME, lan("lab-lan", "lab")).await.unwrap();
    call(&all.admin, network::Create::NAME, lan("lan", "default")).await.unwrap();
    let (to_lab, to_default) = (token(&all, "lab").await, token(&all, "default").await);
    call(&all.admin, pool::Delete::NAME, json!({ "pool": "lab" })).await.unwrap();
    let (networks, _) = db.networks.all().await.unwrap();
    let names: Vec<_> = networks.into_iter().map(|network| network.value.name).collect();
    assert_eq!(names, ["lan"]);
    join(&to_lab, request()).await.unwrap_err();
    assert!(db.hosts.all().await.unwrap().0.is_empty());

    // Nothing comes into one that is gone, whatever the read model still shows.
    let late = api_error(call(&all.admin, network::Create::NAME, lan("late", "lab")).await);
    assert_eq!(late.reason(), Reason::NotFound, "{late}");
    let late = api_error(call(&all.admin, host::Add::NAME, json!({ "pool": "lab" })).await);
    assert_eq!(late.reason(), Reason::NotFound, "{late}");

    // With a host in it, it stays.
    join(&to_default, request()).await.unwrap();
    let refused = api_error(call(&all.admin, pool::Delete::NAME, json!({ "pool": "default" })).await);
    assert_eq!(refused.reason(), Reason::WrongState, "{refused}");
    all.stop().await;
}

/// More is in it than one commit of the store takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_pool_takes_along_however_much_is_in_it() {
    let all = Installation::start().await;
    let db = &all.orchestrator.as_ref().unwrap().app.db;
    call(&all.admin, pool::Create::NAME, json!({ "name": "lab" })).await.unwrap();
    let new = |name: String, pool: &str| json!({ "name": name, "user_data": "#!/bin/sh\n", "pool": pool });
    call(&all.admin, fragment::Create::NAME, new("base".into(), "default")).await.unwrap();
    for number in 0..150 {
        call(&all.admin, fragment::Create::NAME, new(format!("part-{number}"), "lab")).await.unwrap();
    }
    call(&all.admin, pool::Delete::NAME, json!({ "pool": "lab" })).await.unwrap();
    let (fragments, _) = db.fragments.all().await.unwrap();
    let names: Vec<_> = fragments.into_iter().map(|record| record.value.fragment.name).collect();
    assert_eq!(names, ["base"]);
    all.stop().await;
}
