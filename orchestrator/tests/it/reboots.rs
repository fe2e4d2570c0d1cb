//! A host starts anew, or goes off: its VMs leave it first, high availability takes it for no death, and a saga that was
//! interrupted goes on.

use serde_json::{Value, json};
use xenith_hypervisor_agent_backend::Hypervisor;
use xenith_hypervisor_agent_sim::{Failure, FaultRule, Foreign, Operation, SimHypervisor};
use xenith_hypervisor_agent_types::Power;
use xenith_hypervisor_agent_types::system::PackagesDone;
use xenith_orchestrator_api::{event, ha, host, pool, task, vm};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::event::ListEvents;
use xenith_orchestrator_types::ha::HaHostState;
use xenith_orchestrator_types::host::{Host, HostRef, HostStatus};
use xenith_orchestrator_types::task::{TaskRef, TaskStatus};

use crate::ha::{armed, is};
use crate::harness::{Installation, api_error, small, until};
use crate::migration::{becomes, running, web};
use crate::power::Fake;
use crate::shared_storage::{done, of, sharing};

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

/// Without another host nobody has seen its lease, and nobody goes by it. Its watchdog runs all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_has_just_been_armed_goes_off_without_its_watchdog() {
    let mut all = sharing().await;
    all.hosts[1].stop_agent().await;
    let enable = json!({ "pool": "default", "sr": "nas", "lease_s": 9, "watchdog_s": 1, "beat_s": 1 });
    all.admin.call::<ha::Enable>(&of(enable)).await.unwrap();
    let bites = |all: &Installation| all.hosts[0].sim.watchdog().bites_at.is_some();
    until("its watchdog to run", async || bites(&all).then_some(())).await;
    let begun = all.admin.call::<host::Shutdown>(&of(xen1_with("refuse"))).await.unwrap().task;
    until("the host is told to go off", async || all.hosts[0].sim.is_off().then_some(())).await;
    assert!(!bites(&all), "it would be started again while it goes down");
    all.hosts[0].stop_agent().await;
    let task = all.wait_task(begun).await;
    assert_eq!(task.status, TaskStatus::Done, "{:?}", task.message);
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_that_does_not_leave_is_not_moved_all_day() {
    let all = sharing().await;
    web(&all).await;
    done::<vm::Start>(&all, json!({ "vm": "web-1" })).await;
    becomes(&all, Power::Running).await;
    all.hosts[1].sim.inject(FaultRule::fail(Operation::Resume, Failure::NoMemory).every());
    let failed = all.run::<host::Reboot>(&of(xen1_with("evacuate"))).await;
    assert_eq!(failed.status, TaskStatus::RolledBack, "{:?}", failed.message);
    let said = failed.message.unwrap_or_default();
    assert!(said.contains("not all VMs can leave xen1: web-1"), "{said}");
    assert_eq!(all.hosts[0].sim.system().boot, "boot-1");
    until("it to run on", async || (running(&all).await == [1, 0]).then_some(())).await;
    assert!(!xen1(&all).await.maintenance, "it is as it was before");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unmanaged_domain_is_named_at_once() {
    let all = sharing().await;
    let theirs = all.hosts[0].sim.make_foreign(&Foreign::named("theirs")).unwrap();
    let update = || of(json!({ "pool": "default", "what": { "kind": "reboot" } }));
    let said = "is an unmanaged domain";
    until("the plan to name it", async || {
        let plan = all.admin.plan::<pool::Update>(&update()).await.unwrap();
        plan.to_string().contains(said).then_some(())
    })
    .await;
    let error = api_error(all.admin.call::<pool::Update>(&update()).await);
    assert!(error.reason() == Reason::WrongState && error.data.detail[0].contains(said), "{error:?}");

    // Somebody may end it while the task waits.
    let begun = all.admin.call::<host::Reboot>(&of(xen1_with("shut-down"))).await.unwrap().task;
    until("the task to name it", async || {
        let told = all.admin.call::<task::Get>(&TaskRef { task: begun }).await.unwrap();
        told.message.filter(|message| message.contains(&format!("theirs {said}")))
    })
    .await;
    all.hosts[0].sim.destroy_from_outside(theirs).unwrap();
    let task = all.wait_task(begun).await;
    assert_eq!(task.status, TaskStatus::Done, "{:?}", task.message);
    all.stop().await;
}

/// What the task says of a host that goes off and whose answer nobody hears.
async fn goes_off_unheard(all: &mut Installation) -> String {
    all.hosts[0].sim.goes_off_at_once();
    let begun = all.admin.call::<host::Shutdown>(&of(xen1_with("refuse"))).await.unwrap().task;
    until("the host is told to go off", async || all.hosts[0].sim.is_off().then_some(())).await;
    all.hosts[0].stop_agent().await;
    let task = all.wait_task(begun).await;
    assert_eq!(task.status, TaskStatus::Done, "{:?}", task.message);
    assert!(xen1(all).await.maintenance);
    task.message.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_whose_answer_is_lost_counts_as_off_by_its_silence() {
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    let said = goes_off_unheard(&mut all).await;
    assert!(said.contains("is not known") && said.contains("no power control"), "{said}");
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_whose_answer_is_lost_is_off_when_its_power_control_says_so() {
    let (mut all, fake) = (Installation::with_host(SimHypervisor::builder()).await, Fake::new().await);
    all.admin.call::<host::SetPowerControl>(&of(fake.settings("xen1", "right"))).await.unwrap();
    fake.says(|says| says.power = "Off".into());
    let said = goes_off_unheard(&mut all).await;
    assert_eq!(said, "xen1 is off, as its power control says");
    assert!(fake.told().is_empty(), "it is only asked");
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hosts_of_a_pool_are_updated_one_after_the_other() {
    let mut all = sharing().await;
    web(&all).await;
    done::<vm::Start>(&all, json!({ "vm": "web-1" })).await;
    becomes(&all, Power::Running).await;
    for (host, restart) in all.hosts.iter().zip([true, false]) {
        host.sim.set_packages(PackagesDone { restart });
    }
    let update = |more: Value| {
        let mut params = json!({ "pool": "default", "what": { "kind": "packages" } });
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        params
    };
    let plan = all.admin.plan::<pool::Update>(&of(update(json!({})))).await.unwrap();
    let order: Vec<&str> =
        plan["hosts"].as_array().unwrap().iter().map(|host| host["name"].as_str().unwrap()).collect();
    assert_eq!(order, ["xen2", "xen1"], "the one that no VM has to leave comes first: {plan}");
    assert_eq!(plan["hosts"][1]["vms"][0]["to_name"], "xen2", "{plan}");
    let image = json!({ "what": { "kind": "image", "url": "http://127.0.0.1:9/live" } });
    let error = api_error(all.admin.call::<pool::Update>(&of(update(image))).await);
    assert!(error.reason() == Reason::WrongState && error.data.detail.len() == 2, "{error:?}");
    let error = api_error(all.admin.call::<pool::Update>(&of(update(json!({ "at_once": 2 })))).await);
    assert_eq!(error.data.field.as_deref(), Some("at_once"));

    // The orchestrator is started anew while the first host is under way.
    let begun = all.admin.call::<pool::Update>(&of(update(json!({})))).await.unwrap().task;
    let default = || of(json!({ "pool": "default" }));
    let paused = all.admin.call::<pool::PauseUpdate>(&default()).await.unwrap();
    assert!(paused.paused && paused.task == Some(begun));
    let error = api_error(all.admin.call::<pool::Balance>(&of(json!({ "pool": "default" }))).await);
    assert!(error.message.contains(&begun.to_string()), "{error}");
    all.restart().await;
    for name in ["xen1", "xen2"] {
        all.wait_host(name, HostStatus::Connected).await;
    }
    let status = all.admin.call::<pool::ResumeUpdate>(&default()).await.unwrap();
    assert!(!status.paused);
    let task = all.wait_task(begun).await;
    assert_eq!(task.status, TaskStatus::Done, "{:?}", task.message);
    for (host, boot) in all.hosts.iter().zip(["boot-2", "boot-1"]) {
        // Asked again after the orchestrator was started anew, they are up to date.
        assert!(host.sim.packages_updated() >= 1 && host.sim.system().boot == boot);
    }
    assert_eq!(running(&all).await, [1, 0], "the VM is back where it was");
    assert!(events(&all, "host.updated").await >= 2 && events(&all, "pool.updated").await >= 1);
    assert!(all.admin.call::<pool::UpdateStatus>(&default()).await.unwrap().task.is_none());
    all.stop().await;
}
