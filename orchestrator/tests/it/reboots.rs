//! A host starts anew, or goes off: its VMs leave it first, high availability takes it for no death, and a saga that was
//! interrupted goes on.

use serde_json::{Value, json};
use xenith_hypervisor_agent_backend::Hypervisor;
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_hypervisor_agent_types::Power;
use xenith_orchestrator_api::{event, host, vm};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::event::ListEvents;
use xenith_orchestrator_types::ha::HaHostState;
use xenith_orchestrator_types::host::{Host, HostRef};
use xenith_orchestrator_types::task::TaskStatus;

use crate::ha::{armed, is};
use crate::harness::{Installation, api_error, small, until};
use crate::migration::{becomes, running, web};
use crate::shared_storage::{done, of};

async fn xen1(all: &Installation) -> Host {
    all.admin.call::<host::Get>(&HostRef { host: "xen1".into() }).await.unwrap()
}

pub async fn events(all: &Installation, kind: &str) -> u64 {
    let request = ListEvents { filter: format!("kind:{kind}"), ..ListEvents::default() };
    all.admin.call::<event::List>(&request).await.unwrap().total
}

fn xen1_with(guests: &str) -> Value {
    json!({ "host": "xen1", "guests": guests })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_vms_leave_and_its_reboot_is_no_death() {
    let all = armed().await;
    web(&all).await;
    done::<vm::Start>(&all, json!({ "vm": "web-1" })).await;
    becomes(&all, Power::Running).await;
    let error = api_error(all.admin.call::<host::Reboot>(&of(xen1_with("refuse"))).await);
    assert_eq!(error.reason(), Reason::WrongState);
    assert!(error.data.detail[0].starts_with("web-1"), "{error:?}");
    let plan = all.admin.plan::<host::Reboot>(&of(xen1_with("evacuate"))).await.unwrap();
    assert_eq!(plan["vms"][0]["to_name"], "xen2", "{plan}");
    assert!(!xen1(&all).await.maintenance, "a plan changes nothing");

    done::<host::Reboot>(&all, xen1_with("evacuate")).await;
    assert_eq!(all.hosts[0].sim.system().boot, "boot-2");
    assert_eq!(running(&all).await, [0, 1]);
    assert!(!xen1(&all).await.maintenance);
    is(&all, "xen1", HaHostState::Armed).await;
    assert_eq!((events(&all, "host.rebooted").await, events(&all, "host.fenced").await), (1, 0));
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_goes_off_after_its_guests_whatever_becomes_of_the_orchestrator() {
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    let mut web = serde_json::to_value(small("web-1")).unwrap();
    web["disks"] = json!([]);
    web["start"] = json!(true);
    done::<vm::Create>(&all, web).await;
    becomes(&all, Power::Running).await;
    let begun = all.admin.call::<host::Shutdown>(&of(xen1_with("shut-down"))).await.unwrap().task;
    until("the host is told to go off", async || all.hosts[0].sim.is_off().then_some(())).await;
    assert_eq!(all.hosts[0].sim.domains().await.unwrap().len(), 0, "its guest went down first");

    all.restart().await;
    all.hosts[0].stop_agent().await;
    let task = all.wait_task(begun).await;
    assert_eq!(task.status, TaskStatus::Done, "{:?}", task.message);
    assert!(xen1(&all).await.maintenance, "who switches it on again ends that");
    all.stop().await;
}
