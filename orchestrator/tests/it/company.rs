//! VMs that should share a host, and VMs that should not.

use serde_json::{Value, json};
use xenith_common_ids::HostId;
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator_api::vm;
use xenith_orchestrator_types::vm::{CreateVm, UpdateVm, VmRef};
use xenith_orchestrator_types::{Reason, Role, Scope};

use crate::access::user;
use crate::harness::{Installation, api_error, small, until};

fn with(name: &str, more: Value) -> CreateVm {
    let mut create = serde_json::to_value(small(name)).unwrap();
    create.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(create).unwrap()
}

async fn host_of(of: &Installation, name: &str) -> HostId {
    of.vm(name).await.host.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_goes_where_its_company_is() {
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    all.add_host("xen2", SimHypervisor::builder()).await;
    all.run::<vm::Create>(&with("db-1", json!({ "host": "xen2", "start": true }))).await;
    let beside = host_of(&all, "db-1").await;
    let company = json!({ "together_with": ["db-1"] });
    until("the host tells of the VM", async || {
        let plan = all.admin.plan::<vm::Create>(&with("web-1", company.clone())).await.ok()?;
        plan["placement"].to_string().contains("has 1 of 1 VM to be together with").then_some(())
    })
    .await;
    all.run::<vm::Create>(&with("web-1", company)).await;
    all.run::<vm::Create>(&with("web-2", json!({ "apart_from": ["db-1"] }))).await;
    assert_eq!(host_of(&all, "web-1").await, beside);
    assert_ne!(host_of(&all, "web-2").await, beside);

    let db = all.vm("db-1").await.id;
    assert_eq!(all.vm("web-1").await.together_with, [db]);
    assert_eq!(all.vm("web-2").await.apart_from, [db]);
    let change = |change: Value| serde_json::from_value(change).unwrap();
    all.run::<vm::Update>(&change(json!({ "vm": "web-2", "apart_from": [], "together_with": ["db-1"] })))
        .await;
    let changed = all.vm("web-2").await;
    assert_eq!((changed.apart_from, changed.together_with), (vec![], vec![db]));

    let both = all.admin.call::<vm::Update>(&change(json!({ "vm": "web-2", "apart_from": ["db-1"] }))).await;
    let new = with("web-3", json!({ "apart_from": ["db-1"], "together_with": ["db-1"] }));
    for refused in [both, all.admin.call::<vm::Create>(&new).await] {
        let error = api_error(refused);
        assert_eq!((error.reason(), error.data.field.as_deref()), (Reason::Invalid, Some("together_with")));
    }
    let unknown = all.admin.call::<vm::Create>(&with("web-3", json!({ "together_with": ["nobody"] }))).await;
    assert_eq!(api_error(unknown).reason(), Reason::NotFound);
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn company_that_the_caller_does_not_see_outlasts_a_change() {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    for (name, tag) in [("prod-1", "prod"), ("prod-2", "prod"), ("dev-1", "dev"), ("dev-2", "dev")] {
        all.run::<vm::Create>(&with(name, json!({ "tags": [tag], "disks": [], "nics": [] }))).await;
    }
    let company = json!({ "apart_from": ["prod-1", "dev-1"], "together_with": ["prod-2"] });
    let mut web = json!({ "tags": ["dev"], "disks": [], "nics": [] });
    web.as_object_mut().unwrap().extend(company.as_object().unwrap().clone());
    all.run::<vm::Create>(&with("web-1", web)).await;
    let mut ids = Vec::new();
    for name in ["prod-1", "prod-2", "dev-2"] {
        ids.push(all.vm(name).await.id);
    }
    let [prod_1, prod_2, dev_2] = ids[..] else { panic!("three VMs") };
    let dora = user(&all, "dora", Role::Operator, Scope::Tag("dev".into())).await;
    let mut named = [prod_1, dev_2];
    named.sort();
    for (case, change, apart, together, told) in [
        ("another one", json!({ "apart_from": ["dev-2"] }), &named[..], &[prod_2][..], &[dev_2][..]),
        ("none", json!({ "apart_from": [], "together_with": [] }), &[prod_1][..], &[prod_2][..], &[][..]),
    ] {
        let mut request = json!({ "vm": "web-1" });
        request.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let request: UpdateVm = serde_json::from_value(request).unwrap();
        let task = dora.call::<vm::Update>(&request).await.unwrap().task;
        all.wait_task(task).await;
        let kept = all.vm("web-1").await;
        assert_eq!((&kept.apart_from[..], &kept.together_with[..]), (apart, together), "{case}");
        let seen = dora.call::<vm::Get>(&VmRef { vm: "web-1".into() }).await.unwrap();
        assert_eq!((&seen.apart_from[..], &seen.together_with[..]), (told, &[][..]), "{case}");
    }
    all.stop().await;
}
