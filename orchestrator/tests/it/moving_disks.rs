//! Disks move while their VM runs: to another SR of its host, and along to another host.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use xenith_common_ids::VdiId;
use xenith_hypervisor_agent_sim::{Failure, FaultRule, Operation, SimHypervisor};
use xenith_hypervisor_agent_types::Power;
use xenith_orchestrator_api::{Method, host, pool, snapshot, sr, task, vdi, vm};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::task::{Task, TaskRef, TaskStarted, TaskStatus};
use xenith_orchestrator_types::vdi::{Vdi, VdiRef};

use crate::harness::{Installation, api_error, small, until};
use crate::migration::{becomes, running};
use crate::shared_storage::{done, id, of};

const SIZE: u64 = 4 << 20;
const BLOCK: usize = 4096;

/// On xen1, with a disk in its own SR, which the guest has written.
async fn web(all: &Installation) {
    let mut create = serde_json::to_value(small("web-1")).unwrap();
    create["disks"] = json!([{ "size": SIZE }]);
    (create["host"], create["start"]) = (json!("xen1"), json!(true));
    done::<vm::Create>(all, create).await;
    becomes(all, Power::Running).await;
    let disk = image(&local(all, 0), disk_of(all).await);
    for at in [0, SIZE / 2, SIZE - BLOCK as u64] {
        write(&disk, at, 1);
    }
}

fn local(all: &Installation, host: usize) -> PathBuf {
    all.hosts[host].folder().join("sr")
}

fn image(sr: &Path, vdi: VdiId) -> PathBuf {
    sr.join(format!("{vdi}.raw"))
}

async fn disk_of(all: &Installation) -> VdiId {
    all.vm("web-1").await.spec.unwrap().disks[0].vdi
}

async fn record(all: &Installation) -> Vdi {
    all.admin.call::<vdi::Get>(&VdiRef { vdi: "web-1-xvda".into() }).await.unwrap()
}

/// As a guest does.
fn write(disk: &Path, at: u64, byte: u8) {
    let file = fs::OpenOptions::new().write(true).open(disk).unwrap();
    file.write_all_at(&[byte; BLOCK], at).unwrap();
}

/// What of VDIs and snapshots is in an SR, but this one.
fn beside(sr: &Path, vdi: Option<VdiId>) -> Vec<String> {
    let entries = fs::read_dir(sr).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.path().is_file());
    let names = files.map(|entry| entry.file_name().into_string().unwrap());
    let kept = vdi.map(|vdi| vdi.to_string());
    let beside = |name: &String| {
        !name.starts_with('.') && !kept.as_ref().is_some_and(|kept| name.starts_with(kept.as_str()))
    };
    names.filter(beside).collect()
}

/// Begins it, and lets the guest write to its disk when its memory is asked for, which is after every pass. Returns what
/// the disk held in the end.
async fn writes_to_the_last<M: Method<Result = TaskStarted>>(
    all: &Installation,
    params: Value,
    (host, operation): (usize, Operation),
) -> Vec<u8> {
    let disk = image(&local(all, host), disk_of(all).await);
    let sim = &all.hosts[host].sim;
    sim.inject(FaultRule::hang(operation, Duration::from_secs(600)));
    let before = sim.calls(operation);
    let started = all.admin.call::<M>(&of(params)).await.unwrap();
    until("its memory is asked for", async || (sim.calls(operation) > before).then_some(())).await;
    write(&disk, 0, 0);
    write(&disk, SIZE / 4, 7);
    let last = fs::read(&disk).unwrap();
    sim.hurry();
    let task = all.wait_task(started.task).await;
    assert_eq!(task.status, TaskStatus::Done, "{}: {:?}", task.title, task.message);
    last
}

async fn ends<M: Method<Result = TaskStarted>>(
    all: &Installation,
    params: Value,
    status: TaskStatus,
) -> Task {
    let task = all.run::<M>(&of(params)).await;
    assert_eq!(task.status, status, "{}: {:?}", task.title, task.message);
    task
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_goes_to_another_sr_while_its_vm_writes() {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    let (first, second) = (local(&all, 0), all.hosts[0].folder().join("second"));
    let spec = json!({ "kind": "folder", "path": second });
    done::<sr::Create>(&all, json!({ "name": "fast", "host": "xen1", "spec": spec })).await;
    web(&all).await;
    let (old, before) = (disk_of(&all).await, record(&all).await);
    let away = || json!({ "vdi": "web-1-xvda", "sr": "fast" });

    let plan = all.admin.plan::<vdi::Migrate>(&of(away())).await.unwrap();
    let stands = plan["stands"].as_str().unwrap();
    assert!(stands.contains("128 MiB of memory") && plan["copy"]["at_most_bytes"] == json!(SIZE), "{plan}");
    assert_eq!(disk_of(&all).await, old, "a plan changes nothing");

    let last = writes_to_the_last::<vdi::Migrate>(&all, away(), (0, Operation::Suspend)).await;
    let new = disk_of(&all).await;
    assert_ne!(new, old);
    assert!(fs::read(image(&second, new)).unwrap() == last, "what was written last is missing");
    becomes(&all, Power::Running).await;
    let after = record(&all).await;
    assert_eq!((after.attached_to, after.held_by), (before.attached_to, None));
    assert!(after.id == new && after.sr != before.sr && after.size == before.size, "{after:?}");
    assert_eq!((beside(&first, None), beside(&second, Some(new))), (vec![], vec![]));

    // What fails before it runs with the new one leaves it as it is.
    let back = || json!({ "vdi": "web-1-xvda" });
    let sim = &all.hosts[0].sim;
    sim.inject(FaultRule::fail(Operation::Suspend, Failure::Unresponsive));
    ends::<vdi::Migrate>(&all, back(), TaskStatus::RolledBack).await;
    becomes(&all, Power::Running).await;
    assert_eq!((disk_of(&all).await, record(&all).await.held_by), (new, None));
    assert_eq!((beside(&first, None), beside(&second, Some(new))), (vec![], vec![]));

    // Behind that it goes on where it was.
    sim.inject(FaultRule::fail(Operation::Resume, Failure::NoMemory));
    let parked = ends::<vdi::Migrate>(&all, back(), TaskStatus::Parked).await;
    all.admin.call::<task::Retry>(&TaskRef { task: parked.id }).await.unwrap();
    let over = all.wait_task(parked.id).await;
    assert_eq!(over.status, TaskStatus::Done, "{:?}", over.message);
    becomes(&all, Power::Running).await;
    assert!(fs::read(image(&first, disk_of(&all).await)).unwrap() == last);
    assert_eq!(beside(&second, None), Vec::<String>::new());

    // A snapshot keeps a disk where it is.
    done::<snapshot::Create>(&all, json!({ "vm": "web-1", "name": "early" })).await;
    let refused = api_error(all.admin.plan::<vdi::Migrate>(&of(away())).await);
    assert!(refused.reason() == Reason::WrongState && refused.message.contains("early"), "{refused}");
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_moves_with_the_disks_that_its_new_host_does_not_reach() {
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    all.add_host("xen2", SimHypervisor::builder()).await;
    web(&all).await;
    let run = all.vm("web-1").await.observed.unwrap().incarnation;
    let along = || json!({ "vm": "web-1", "move_disks": true });

    let plan = all.admin.plan::<vm::Migrate>(&of(along())).await.unwrap();
    assert!(plan["how"].as_str().unwrap().contains("its disks and then its memory"), "{plan}");
    assert_eq!(plan["along"]["disks"][0]["name"], json!("web-1-xvda"), "{plan}");

    let last = writes_to_the_last::<vm::Migrate>(&all, along(), (0, Operation::SuspendLive)).await;
    let new = disk_of(&all).await;
    assert!(fs::read(image(&local(&all, 1), new)).unwrap() == last, "what was written last is missing");
    becomes(&all, Power::Running).await;
    let moved = all.vm("web-1").await;
    assert_eq!((running(&all).await, moved.observed.unwrap().incarnation), (vec![0, 1], run));
    assert_eq!((record(&all).await.held_by, Some(record(&all).await.host)), (None, moved.host));
    assert_eq!((beside(&local(&all, 0), None), beside(&local(&all, 1), Some(new))), (vec![], vec![]));

    // Its memory does not fit there any more when all of the disks is there.
    all.hosts[0].sim.inject(FaultRule::fail(Operation::Resume, Failure::NoMemory));
    ends::<vm::Migrate>(&all, along(), TaskStatus::RolledBack).await;
    until("it to run on", async || (running(&all).await == [0, 1]).then_some(())).await;
    becomes(&all, Power::Running).await;
    assert_eq!((disk_of(&all).await, record(&all).await.held_by), (new, None));
    assert_eq!((beside(&local(&all, 0), None), beside(&local(&all, 1), Some(new))), (vec![], vec![]));

    // Off, by name of the SR.
    done::<vm::PowerOff>(&all, json!({ "vm": "web-1" })).await;
    becomes(&all, Power::Stopped).await;
    write(&image(&local(&all, 1), new), SIZE / 8, 9);
    let last = fs::read(image(&local(&all, 1), new)).unwrap();
    done::<vm::Migrate>(&all, json!({ "vm": "web-1", "sr": "local-xen1" })).await;
    assert!(fs::read(image(&local(&all, 0), disk_of(&all).await)).unwrap() == last);
    assert_eq!(beside(&local(&all, 1), None), Vec::<String>::new());
    done::<vm::Start>(&all, json!({ "vm": "web-1" })).await;
    becomes(&all, Power::Running).await;
    assert_eq!(running(&all).await, [1, 0]);

    // A snapshot keeps the disks where they are.
    done::<snapshot::Create>(&all, json!({ "vm": "web-1", "name": "early" })).await;
    let refused = api_error(all.admin.plan::<vm::Migrate>(&of(along())).await);
    assert!(refused.reason() == Reason::WrongState && refused.message.contains("early"), "{refused}");
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_a_host_takes_its_disks_along_where_that_is_asked_for() {
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    all.add_host("xen2", SimHypervisor::builder()).await;
    web(&all).await;
    let reboot = |along: Value| json!({ "host": "xen1", "guests": "evacuate", "move_disks": along });
    let refused = api_error(all.admin.call::<host::Reboot>(&of(reboot(json!(false)))).await);
    assert!(refused.data.detail[0].starts_with("web-1"), "{refused:?}");
    let evacuate = of(json!({ "host": "xen1", "move_disks": true }));
    let plan = all.admin.plan::<host::Evacuate>(&evacuate).await.unwrap();
    assert_eq!((&plan["vms"][0]["to_name"], &plan["disk_bytes"]), (&json!("xen2"), &json!(SIZE)), "{plan}");
    done::<host::Reboot>(&all, reboot(json!(true))).await;
    assert_eq!((running(&all).await, record(&all).await.host), (vec![0, 1], id(&all, "xen2").await));
    assert_eq!(beside(&local(&all, 0), None), Vec::<String>::new());

    // An update brings it back, with its disks.
    let what = json!({ "kind": "reboot" });
    let update = json!({ "pool": "default", "what": what, "hosts": ["xen2"], "move_disks": true });
    let plan = all.admin.plan::<pool::Update>(&of(update.clone())).await.unwrap();
    assert_eq!(plan["hosts"][0]["disk_bytes"], json!(SIZE), "{plan}");
    done::<pool::Update>(&all, update).await;
    assert_eq!((running(&all).await, record(&all).await.host), (vec![0, 1], id(&all, "xen2").await));
    assert_eq!(all.hosts[1].sim.system().boot, "boot-2");
    assert_eq!(beside(&local(&all, 0), None), Vec::<String>::new());
    all.stop().await;
}

/// Off, it has no domain that would keep a host up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_go_down_when_what_moves_between_them_has_moved() {
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    all.add_host("xen2", SimHypervisor::builder()).await;
    web(&all).await;
    done::<vm::PowerOff>(&all, json!({ "vm": "web-1" })).await;
    becomes(&all, Power::Stopped).await;
    // A byte a second.
    let along = json!({ "vm": "web-1", "move_disks": true, "bandwidth": 1 });
    let moves = all.admin.call::<vm::Migrate>(&of(along)).await.unwrap().task;
    let mut reboots = Vec::new();
    for (host, way) in [("xen1", "away"), ("xen2", "there")] {
        let reboot = json!({ "host": host, "guests": "refuse" });
        let begun = all.admin.call::<host::Reboot>(&of(reboot)).await.unwrap().task;
        let waits = format!("{host} is not empty yet: web-1 is moved {way} still, by task {moves}");
        until(&format!("{host} to wait for it"), async || {
            let told = all.admin.call::<task::Get>(&TaskRef { task: begun }).await.unwrap();
            told.message.filter(|message| *message == waits)
        })
        .await;
        reboots.push(begun);
    }
    assert!(all.hosts.iter().all(|host| host.sim.system().boot == "boot-1"));

    all.admin.call::<task::Cancel>(&TaskRef { task: moves }).await.unwrap();
    let task = all.wait_task(moves).await;
    assert_eq!(task.status, TaskStatus::RolledBack, "{:?}", task.message);
    for begun in reboots {
        let task = all.wait_task(begun).await;
        assert_eq!(task.status, TaskStatus::Done, "{}: {:?}", task.title, task.message);
    }
    assert!(all.hosts.iter().all(|host| host.sim.system().boot == "boot-2"));
    all.stop().await;
}
