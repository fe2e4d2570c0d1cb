//! A name that several have: which they are is told, and of those only what the caller may see.

use serde_json::{Value, json};
use xenith_common_ids::{PoolId, VdiId};
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator_api::{backup, pool, vdi, vm};
use xenith_orchestrator_client::Client;
use xenith_orchestrator_store::{Keyspace, Transaction};
use xenith_orchestrator_types::pool::CreatePool;
use xenith_orchestrator_types::vdi::Vdi;
use xenith_orchestrator_types::{ApiError, Binding, Reason, Role, Scope};

use crate::admins::{backup_of, call, done, somebody, two_pools};
use crate::harness::{Installation, api_error, until};

async fn ambiguous(who: &Client, method: &str, params: Value) -> ApiError {
    let error = api_error(call(who, method, params.clone()).await);
    assert_eq!(error.reason(), Reason::Ambiguous, "{method} {params}: {error}");
    error
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_in_several_pools_is_told_of_the_pools_that_one_sees() {
    let (mut all, pia) = two_pools().await;
    let north = CreatePool { name: "north".into(), description: String::new() };
    all.admin.call::<pool::Create>(&north).await.unwrap();
    all.add_host_to(Some("north"), "xen3", SimHypervisor::builder()).await;
    for pool in ["default", "east", "north"] {
        let new = json!({
            "name": "twin", "pool": pool, "platform": { "kind": "pvh", "boot": { "kernel": "vmlinuz" } },
            "vcpus": { "online": 1, "max": 1 }, "memory": { "target": 64, "max": 64 },
        });
        done::<vm::Create>(&all, new).await;
    }
    let pools = all.admin.all::<pool::List, _>("").await.unwrap();
    let id = |name: &str| -> PoolId { pools.iter().find(|pool| pool.name == name).unwrap().id };
    let operates = |pool| Binding { role: Role::Operator, scope: Scope::Pool(pool) };
    let two = somebody(&all, "wanda", vec![operates(id("default")), operates(id("east"))]).await;

    for method in ["vm.get", "vm.start", "console.vm"] {
        for (who, shown, hidden) in [
            (&all.admin, vec!["default", "east", "north"], vec![]),
            (&two, vec!["default", "east"], vec!["north"]),
        ] {
            let told = ambiguous(who, method, json!({ "vm": "twin" })).await.data.candidates;
            assert_eq!(told.len(), shown.len(), "{method}: {told:?}");
            let names = |pool: &&&str| told.iter().any(|line| line.ends_with(&format!("(pool {pool})")));
            assert_eq!(shown.iter().filter(names).count(), shown.len(), "{method}: {told:?}");
            assert_eq!(hidden.iter().filter(names).count(), 0, "{method}: {told:?}");
        }
        // For who sees one of them it is not ambiguous at all.
        let only = call(&pia, method, json!({ "vm": "twin" })).await;
        let reason = only.err().map(|error| api_error(Err::<(), _>(error)).reason());
        assert_ne!(reason, Some(Reason::Ambiguous), "{method}");
    }
    assert_eq!(call(&pia, "vm.get", json!({ "vm": "twin" })).await.unwrap()["pool"], json!(id("east")));

    // What is told is good to ask with.
    let told = ambiguous(&two, "vm.get", json!({ "vm": "twin" })).await.data.candidates;
    let one = told[0].split_whitespace().next().unwrap();
    assert_eq!(call(&two, "vm.get", json!({ "vm": one })).await.unwrap()["id"], one);
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn digits_that_several_backups_begin_with_are_told_with_what_they_are_of() {
    let (all, pia) = two_pools().await;
    let first = backup_of(&all, "east-1").await;
    // Ids begin with the time: those of three days have these in common.
    let digits = &first[..5];
    let theirs = ambiguous(&all.admin, "backup.get", json!({ "backup": digits })).await;
    let told = &theirs.data.candidates;
    assert!(
        told.len() == 2 && told[0].contains("(of east-1, ") && told[1].contains("(of west-1, "),
        "{told:?}"
    );
    assert!(told.iter().all(|line| line.ends_with(", in main)")), "{told:?}");
    assert!(theirs.message.starts_with("2 backups"), "{theirs}");

    // She sees one, so it is that.
    let only = call(&pia, "backup.get", json!({ "backup": digits })).await.unwrap();
    assert_eq!(only["id"], json!(first));
    done::<backup::Create>(&all, json!({ "vm": "east-1", "repositories": ["main"] })).await;
    let second = backup_of(&all, "east-1").await;
    assert!(second != first && second.starts_with(digits), "{first} {second}");
    for method in ["backup.get", "backup.files", "backup.hold", "backup.delete", "backup.restore"] {
        let told = ambiguous(&pia, method, json!({ "backup": digits })).await.data.candidates;
        let ids: Vec<_> = told.iter().map(|line| line.split_whitespace().next().unwrap()).collect();
        assert_eq!(ids, [&second, &first], "{method}: the newest first, and nothing of the other pool");
        assert!(told.iter().all(|line| line.contains("(of east-1, ")), "{method}: {told:?}");
    }
    assert_eq!(call(&pia, "backup.get", json!({ "backup": second })).await.unwrap()["id"], json!(second));
    all.stop().await;
}

/// What is recorded counts, and not what the read model has of it: that is behind for a moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vdi_is_found_by_its_name_as_soon_as_it_is_recorded() {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    done::<vdi::Create>(&all, json!({ "name": "data", "size": 1 << 20, "host": "xen1" })).await;
    let like = call(&all.admin, "vdi.get", json!({ "vdi": "data" })).await.unwrap();
    let like: Vdi = serde_json::from_value(like).unwrap();
    let vdis = &all.orchestrator.as_ref().unwrap().app.db.vdis;
    for number in 0..50 {
        let named = json!({ "vdi": format!("data-{number}") });
        let [first, second] = [(); 2].map(|()| {
            let (id, name) = (VdiId::new(), format!("data-{number}"));
            Vdi { id, name, ..like.clone() }
        });
        vdis.insert(&first.id, &first).await.unwrap();
        let found = call(&all.admin, "vdi.get", named.clone()).await.unwrap();
        assert_eq!(found["id"], json!(first.id));
        vdis.insert(&second.id, &second).await.unwrap();
        let told = ambiguous(&all.admin, "vdi.get", named.clone()).await.data.candidates;
        assert_eq!(told.len(), 2, "{told:?}");
        let read = vdis.get(&first.id).await.unwrap().unwrap();
        vdis.delete(&read).await.unwrap();
        let found = call(&all.admin, "vdi.get", named).await.unwrap();
        assert_eq!(found["id"], json!(second.id));
    }
    all.stop().await;
}

/// The read model is behind with none of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_looked_up_however_much_else_is_written() {
    let all = Installation::start().await;
    let (store, sessions) = (&all.orchestrator.as_ref().unwrap().app.db.store, Keyspace::new("session"));
    // Together more than the store remembers for those who watch.
    for _ in 0..80 {
        let other = Transaction::new().put(sessions, "none", vec![b' '; 1_000_000]);
        store.commit(other).await.unwrap();
    }
    store.commit(Transaction::new().delete(sessions, "none")).await.unwrap();
    until("it is told that there is none", async || {
        let error = api_error(call(&all.admin, "vdi.get", json!({ "vdi": "data" })).await);
        (error.reason() == Reason::NotFound).then_some(())
    })
    .await;
    all.stop().await;
}
