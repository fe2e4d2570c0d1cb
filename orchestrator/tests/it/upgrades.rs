//! A host gets a new system: its VMs leave first where that is asked, and a bad one is left for the old one again.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::OnceLock;

use serde_json::{Value, json};
use xenith_common_ids::TaskId;
use xenith_hypervisor_agent_backend::Hypervisor;
use xenith_hypervisor_agent_sim::{IMAGE, NewSystem, SimHypervisor};
use xenith_hypervisor_agent_types::Power;
use xenith_hypervisor_agent_types::system::{SystemSlot, SystemStanding};
use xenith_orchestrator_api::{event, host, task, vm};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::event::ListEvents;
use xenith_orchestrator_types::host::{Host, HostRef, HostStatus};
use xenith_orchestrator_types::task::{Task, TaskRef, TaskStatus};

use crate::harness::{Installation, api_error, small, until};
use crate::shared_storage::{done, of, sharing};

/// Where the image for simulated hosts is to be had, as long as the tests run.
pub fn image_folder() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    URL.get_or_init(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/live", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A caller that was killed is what the tests are about.
                let _caller_gone = serve(stream);
            }
        });
        url
    })
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = BufReader::new(stream.try_clone()?).lines();
    let first = head.next().transpose()?.unwrap_or_default();
    while head.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let path = first.split(' ').nth(1).unwrap_or_default();
    let found = IMAGE.iter().find(|(name, _)| path == format!("/live/{name}"));
    let (status, content) =
        found.map_or(("404 Not Found", [].as_slice()), |(_, content)| ("200 OK", *content));
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len())?;
    stream.write_all(content)
}

fn upgrade(more: Value) -> Value {
    let mut params = json!({ "host": "xen1", "url": image_folder() });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    params
}

async fn xen1(all: &Installation) -> Host {
    all.admin.call::<host::Get>(&HostRef { host: "xen1".into() }).await.unwrap()
}

async fn begin(all: &Installation, more: Value) -> TaskId {
    all.admin.call::<host::Upgrade>(&of(upgrade(more))).await.unwrap().task
}

async fn ended(all: &Installation, more: Value, status: TaskStatus) -> Task {
    let begun = begin(all, more).await;
    let task = all.wait_task(begun).await;
    assert_eq!(task.status, status, "{:?}", task.message);
    task
}

async fn events(all: &Installation, kind: &str) -> u64 {
    let request = ListEvents { filter: format!("kind:{kind}"), ..ListEvents::default() };
    all.admin.call::<event::List>(&request).await.unwrap().total
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_vms_leave_and_a_system_that_does_not_come_up_is_left_again() {
    let all = sharing().await;
    let mut web = serde_json::to_value(small("web-1")).unwrap();
    web["disks"] = json!([]);
    web["host"] = json!("xen1");
    web["start"] = json!(true);
    done::<vm::Create>(&all, web).await;
    until("its host to tell that it runs", async || {
        let seen = all.vm("web-1").await;
        let has_domain = seen.observed.as_ref().is_some_and(|observed| observed.domid.is_some());
        (has_domain && seen.power == Power::Running).then_some(())
    })
    .await;

    let error = api_error(all.admin.call::<host::Upgrade>(&of(upgrade(json!({})))).await);
    assert_eq!(error.reason(), Reason::WrongState);
    assert!(error.message.contains("--evacuate") && error.data.detail[0].starts_with("web-1"), "{error:?}");
    let plan = all.admin.plan::<host::Upgrade>(&of(upgrade(json!({ "evacuate": true })))).await.unwrap();
    assert_eq!((&plan["into_slot"], &plan["vms"][0]["to_name"]), (&json!("b"), &json!("xen2")), "{plan}");
    assert!(!xen1(&all).await.maintenance, "a plan changes nothing");

    let sim = &all.hosts[0].sim;
    sim.set_new_systems(NewSystem::FallsBack);
    let task = ended(&all, json!({ "evacuate": true }), TaskStatus::RolledBack).await;
    assert!(task.message.as_deref().unwrap_or_default().contains("did not come up on xen1"), "{task:?}");
    assert_eq!(sim.domains().await.unwrap().len(), 0);
    assert_eq!(all.hosts[1].sim.domains().await.unwrap().len(), 1, "the guest runs on, elsewhere");
    assert_eq!(
        (sim.system().slot, sim.system().boot.as_str()),
        (SystemSlot::A, "boot-2"),
        "it was tried once"
    );
    assert!(!xen1(&all).await.maintenance, "it is as it was before");
    assert_eq!(events(&all, "host.fell_back").await, 1);

    sim.set_new_systems(NewSystem::ComesUp);
    ended(&all, json!({}), TaskStatus::Done).await;
    let now = sim.system();
    assert_eq!((now.slot, now.standing, &*now.version), (SystemSlot::B, SystemStanding::Good, "99.0.0"));
    assert_eq!(events(&all, "host.upgraded").await, 1);
    assert!(!xen1(&all).await.maintenance);
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cancels_while_the_new_system_is_on_trial_gets_the_old_one_back() {
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    let maintenance = |on: bool| of(json!({ "host": "xen1", "maintenance": on }));
    all.admin.call::<host::SetMaintenance>(&maintenance(true)).await.unwrap();
    all.hosts[0].sim.set_new_systems(NewSystem::StaysOnTrial);
    let upgrading = begin(&all, json!({})).await;
    until("the new system runs", async || {
        (all.hosts[0].sim.system().standing == SystemStanding::OnTrial).then_some(())
    })
    .await;

    all.restart().await;
    all.wait_host("xen1", HostStatus::Connected).await;
    let error = api_error(all.admin.call::<host::SetMaintenance>(&maintenance(false)).await);
    assert!(error.message.contains(&upgrading.to_string()), "{error}");
    let error = api_error(all.admin.call::<host::Upgrade>(&of(upgrade(json!({})))).await);
    assert_eq!(error.reason(), Reason::WrongState, "{error}");

    all.admin.call::<task::Cancel>(&TaskRef { task: upgrading }).await.unwrap();
    assert_eq!(all.wait_task(upgrading).await.status, TaskStatus::RolledBack);
    let now = all.hosts[0].sim.system();
    assert_eq!((now.slot, now.standing), (SystemSlot::A, SystemStanding::Good));
    assert!(xen1(&all).await.maintenance, "it was in maintenance before");
    all.stop().await;
}
