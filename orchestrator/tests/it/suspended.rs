//! A VM of which memory is saved, and that is not resumed: it is off when somebody has said that this memory may go.

use serde_json::json;
use xenith_hypervisor_agent_types::Power;
use xenith_orchestrator_api::{vdi, vm};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::task::TaskStatus;
use xenith_orchestrator_types::vm::BulkResult;

use crate::harness::{api_error, until};
use crate::migration::{becomes, web};
use crate::shared_storage::{data, done, id, of, sharing};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_vm_is_powered_off_with_the_loss_of_its_memory_and_not_without() {
    let mut all = sharing().await;
    let xen1 = id(&all, "xen1").await;
    web(&all).await;
    done::<vm::Start>(&all, json!({ "vm": "web-1" })).await;
    done::<vm::Suspend>(&all, json!({ "vm": "web-1" })).await;
    becomes(&all, Power::Suspended).await;
    let off = || of(json!({ "vm": "web-1" }));
    let plan = api_error(all.admin.plan::<vm::PowerOff>(&off()).await);
    let begun = api_error(all.admin.call::<vm::PowerOff>(&off()).await);
    let deleted = api_error(all.admin.call::<vm::Delete>(&of(json!({ "vm": "web-1" }))).await);
    for error in [plan, begun, deleted] {
        assert_eq!(error.reason(), Reason::WrongState, "{error}");
        assert!(error.message.contains("xenith vm power-off web-1 --discard-memory"), "{error}");
    }
    let many = json!({ "vms": ["web-1"], "action": "power-off" });
    let told: Vec<BulkResult> = all.admin.call::<vm::Bulk>(&of(many)).await.unwrap();
    assert!(told[0].error.as_deref().is_some_and(|error| error.contains("is suspended")), "{told:?}");

    let discard = || of(json!({ "vm": "web-1", "discard_memory": true }));
    let plan = all.admin.plan::<vm::PowerOff>(&discard()).await.unwrap();
    assert!(plan["title"].as_str().unwrap().contains("discard its saved memory"), "{plan}");
    assert!(plan["lost"][0].as_str().unwrap().contains("memory"), "{plan}");
    becomes(&all, Power::Suspended).await;
    assert_eq!(data(&all).await.leased_to.map(|lease| lease.host), Some(xen1));

    // Its agent is away when this is asked, and comes back to it.
    all.hosts[0].stop_agent().await;
    let task = all.admin.call::<vm::PowerOff>(&discard()).await.unwrap().task;
    all.hosts[0].start_agent().await;
    let ended = all.wait_task(task).await;
    assert_eq!(ended.status, TaskStatus::Done, "{:?}", ended.message);
    becomes(&all, Power::Stopped).await;
    assert_eq!(data(&all).await.leased_to, None, "nobody needs the disk as it was");
    let resumed = all.run::<vm::Resume>(&of(json!({ "vm": "web-1" }))).await;
    assert_ne!(resumed.status, TaskStatus::Done, "there is nothing to go on from");

    done::<vm::Start>(&all, json!({ "vm": "web-1" })).await;
    becomes(&all, Power::Running).await;
    // Of one that runs there is nothing to discard: it ends.
    done::<vm::PowerOff>(&all, json!({ "vm": "web-1", "discard_memory": true })).await;
    becomes(&all, Power::Stopped).await;
    done::<vm::Delete>(&all, json!({ "vm": "web-1" })).await;
    let gone = until("its disk to go", async || {
        all.admin.call::<vdi::Get>(&of(json!({ "vdi": "data" }))).await.err()
    })
    .await;
    assert_eq!(api_error::<()>(Err(gone)).reason(), Reason::NotFound);
    all.stop().await;
}

/// Who asks while nobody hears its host is told when its host is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_that_turns_out_to_be_suspended_is_not_said_to_be_off() {
    let mut all = sharing().await;
    web(&all).await;
    done::<vm::Start>(&all, json!({ "vm": "web-1" })).await;
    done::<vm::Suspend>(&all, json!({ "vm": "web-1" })).await;
    becomes(&all, Power::Suspended).await;
    all.hosts[0].stop_agent().await;
    becomes(&all, Power::Unknown).await;
    let task = all.admin.call::<vm::PowerOff>(&of(json!({ "vm": "web-1" }))).await.unwrap().task;
    all.hosts[0].start_agent().await;
    let ended = all.wait_task(task).await;
    assert_ne!(ended.status, TaskStatus::Done, "{:?}", ended.message);
    becomes(&all, Power::Suspended).await;
    done::<vm::Resume>(&all, json!({ "vm": "web-1" })).await;
    becomes(&all, Power::Running).await;
    all.stop().await;
}
