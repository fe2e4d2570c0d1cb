//! Who shows how the installation is hears when that changes, and does not have to ask again and again.

use serde_json::json;
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator_api::{system, vm};
use xenith_orchestrator_client::{Client, NounChanges, Watch};
use xenith_orchestrator_types::system::SystemHealth;

use crate::access::heard;
use crate::admins::call;
use crate::harness::{EMPTY, Installation, small, until};
use crate::shared_storage::{done, of};

/// Until it is so, looked at only when something is told of it.
async fn told(of: &Client, watch: &mut Watch<NounChanges>, is_so: impl Fn(&SystemHealth) -> bool) {
    loop {
        let noun = heard(watch).await;
        if noun.as_deref() == Some("system") && is_so(&of.call::<system::Health>(&EMPTY).await.unwrap()) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_counted_of_the_installation_is_told_when_it_changes() {
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    let mut watch: Watch<NounChanges> = all.admin.watch(&EMPTY).await.unwrap();
    // To subscribe is answered before it is begun.
    until("changes are heard", async || {
        let name = format!("east-{}", xenith_common_ids::PoolId::new());
        call(&all.admin, "pool.create", json!({ "name": name })).await.unwrap();
        tokio::time::timeout(std::time::Duration::from_millis(500), heard(&mut watch)).await.ok()
    })
    .await;
    let new = serde_json::to_value(small("web-1")).unwrap();
    let made = all.admin.call::<vm::Create>(&of(new)).await.unwrap().task;
    told(&all.admin, &mut watch, |health| health.vms == 1).await;
    all.wait_task(made).await;
    let started = all.admin.call::<vm::Start>(&of(json!({ "vm": "web-1" }))).await.unwrap().task;
    told(&all.admin, &mut watch, |health| health.vms_running == 1).await;
    all.wait_task(started).await;
    all.hosts[0].stop_agent().await;
    told(&all.admin, &mut watch, |health| health.hosts_unknown == 1 && health.vms_running == 0).await;
    all.hosts[0].start_agent().await;
    told(&all.admin, &mut watch, |health| health.hosts_unknown == 0 && health.vms_running == 1).await;
    done::<vm::PowerOff>(&all, json!({ "vm": "web-1" })).await;
    told(&all.admin, &mut watch, |health| health.vms_running == 0).await;
    all.stop().await;
}
