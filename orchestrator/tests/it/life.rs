//! The life of a VM, from its creation to its end.

use std::time::Duration;

use serde_json::json;
use xenith_common_ids::IncarnationId;
use xenith_hypervisor_agent_sim::{Delay, FaultRule, Manners, Operation, SimHypervisor};
use xenith_hypervisor_agent_types::Power;
use xenith_orchestrator_api::{audit, host, task, vm};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::host::HostMaintenance;
use xenith_orchestrator_types::task::{TaskRef, TaskStatus};
use xenith_orchestrator_types::vm::{
    DeleteVm, DiskAttachment, DiskDetachment, NewDisk, PowerOffVm, ShutdownVm, StartVm, UpdateVm, VmRef,
};

use crate::harness::{EMPTY, Installation, api_error, small, until};

fn named(vm: &str) -> VmRef {
    VmRef { vm: vm.into() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_lives_and_leaves_nothing_behind() {
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    let done = |task: xenith_orchestrator_types::task::Task| {
        assert_eq!(task.status, TaskStatus::Done, "{}: {:?}", task.title, task.message);
    };
    let plan = installation.admin.plan::<vm::Create>(&small("web-1")).await.unwrap();
    assert!(plan["placement"]["host"].is_string(), "{plan}");
    let mut create = small("web-1");
    create.start = true;
    done(installation.run::<vm::Create>(&create).await);
    installation.becomes("web-1", Power::Running).await;

    done(installation.run::<vm::Pause>(&named("web-1")).await);
    installation.becomes("web-1", Power::Paused).await;
    done(installation.run::<vm::Unpause>(&named("web-1")).await);
    done(installation.run::<vm::Suspend>(&named("web-1")).await);
    installation.becomes("web-1", Power::Suspended).await;
    done(installation.run::<vm::Resume>(&named("web-1")).await);

    let disk = NewDisk {
        device: None,
        size: Some((1u64 << 30).try_into().unwrap()),
        vdi: None,
        access: Default::default(),
        sr: None,
    };
    done(installation.run::<vm::AttachDisk>(&DiskAttachment { vm: "web-1".into(), disk }).await);
    let spec = installation.vm("web-1").await.spec.unwrap();
    assert_eq!(spec.disks.len(), 2);
    let detach = DiskDetachment { vm: "web-1".into(), device: spec.disks[1].device };
    done(installation.run::<vm::DetachDisk>(&detach).await);

    let mut update: UpdateVm = serde_json::from_value(serde_json::json!({ "vm": "web-1" })).unwrap();
    update.memory = serde_json::from_value(serde_json::json!({ "target": 200, "max": 512 })).unwrap();
    done(installation.run::<vm::Update>(&update).await);
    assert_eq!(installation.vm("web-1").await.pending_restart, ["memory.max"]);

    let shutdown = ShutdownVm { vm: "web-1".into(), deadline_s: 30, force: false };
    done(installation.run::<vm::Shutdown>(&shutdown).await);
    installation.becomes("web-1", Power::Stopped).await;
    done(installation.run::<vm::Delete>(&DeleteVm { vm: "web-1".into(), keep_disks: false }).await);
    assert_eq!(
        api_error(installation.admin.call::<vm::Get>(&named("web-1")).await).reason(),
        Reason::NotFound
    );
    // The detached one is the administrator's; the VM's own went with it.
    installation.lists_vdis(1).await;
    let names = std::fs::read_dir(installation.hosts[0].folder().join("sr")).unwrap();
    let images =
        names.filter(|name| name.as_ref().unwrap().path().extension() == Some("raw".as_ref())).count();
    assert_eq!(images, 1);
    let verified = installation.admin.call::<audit::Verify>(&EMPTY).await.unwrap();
    assert_eq!(verified.broken_at, None);
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_is_refused_in_words() {
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    installation.run::<vm::Create>(&small("web-1")).await;
    let refusal = |change: serde_json::Value| {
        let mut create = serde_json::to_value(small("web-2")).unwrap();
        for (name, value) in change.as_object().unwrap() {
            create[name] = value.clone();
        }
        serde_json::from_value(create).unwrap()
    };
    let table = [
        ("a name that is taken", serde_json::json!({ "name": "web-1" }), Reason::Conflict, "already"),
        (
            "no such network",
            serde_json::json!({ "nics": [{ "network": "dmz" }] }),
            Reason::NotFound,
            "network",
        ),
        ("no such host", serde_json::json!({ "host": "xen9" }), Reason::NotFound, "host"),
        (
            "more CPUs than the maximum",
            serde_json::json!({ "vcpus": { "online": 4, "max": 2 } }),
            Reason::Invalid,
            "vcpus.online",
        ),
        (
            "more memory than any host has",
            serde_json::json!({ "memory": { "target": 16_000_000, "max": 16_000_000 }, "start": true }),
            Reason::NoPlacement,
            "no host can take",
        ),
        ("neither size nor VDI", serde_json::json!({ "disks": [{}] }), Reason::Invalid, "either size"),
    ];
    for (case, change, reason, words) in table {
        let error = api_error(installation.admin.call::<vm::Create>(&refusal(change)).await);
        assert_eq!(error.reason(), reason, "{case}: {error}");
        assert!(error.message.contains(words), "{case}: {error}");
    }
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_in_maintenance_starts_no_vm() {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    all.run::<vm::Create>(&small("web-1")).await;
    let maintenance = async |maintenance: bool| {
        let params = HostMaintenance { host: "xen1".into(), maintenance };
        all.admin.call::<host::SetMaintenance>(&params).await.unwrap();
    };
    let start = StartVm { vm: "web-1".into() };
    maintenance(true).await;
    let clone = serde_json::from_value(json!({ "vm": "web-1", "name": "web-2", "start": true })).unwrap();
    for refused in [
        api_error(all.admin.call::<vm::Start>(&start).await),
        api_error(all.admin.plan::<vm::Start>(&start).await),
        api_error(all.admin.call::<vm::Clone>(&clone).await),
    ] {
        assert_eq!(refused.reason(), Reason::WrongState, "{refused}");
        assert!(refused.message.contains("xenith host set-maintenance xen1 off"), "{refused}");
    }
    maintenance(false).await;
    assert_eq!(all.run::<vm::Start>(&start).await.status, TaskStatus::Done);

    // What runs is not touched, and may do what it likes but begin anew.
    maintenance(true).await;
    let reboot = ShutdownVm { vm: "web-1".into(), deadline_s: 30, force: false };
    assert_eq!(all.run::<vm::Reboot>(&reboot).await.status, TaskStatus::Done);
    assert_eq!(all.run::<vm::Suspend>(&named("web-1")).await.status, TaskStatus::Done);
    let refused = api_error(all.admin.call::<vm::Resume>(&named("web-1")).await);
    assert_eq!(refused.reason(), Reason::WrongState, "{refused}");
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_is_not_down_in_time_is_powered_off_in_the_right_words() {
    let slow = "600s".parse::<Delay>().unwrap();
    let sim = SimHypervisor::builder().guest_shutdown(slow).manners("deaf", Manners::Deaf);
    let all = Installation::with_host(sim).await;
    for (name, words) in [
        ("deaf", "the guest did not answer in time; powering it off"),
        ("slow", "the guest is shutting down, but was not down in time; powering it off"),
    ] {
        let mut create = small(name);
        create.start = true;
        assert_eq!(all.run::<vm::Create>(&create).await.status, TaskStatus::Done);
        let sim = &all.hosts[0].sim;
        sim.inject(FaultRule::hang(Operation::Destroy, Duration::from_secs(600)));
        let before = sim.calls(Operation::Destroy);
        let shutdown = ShutdownVm { vm: name.into(), deadline_s: 1, force: true };
        let task = all.admin.call::<vm::Shutdown>(&shutdown).await.unwrap().task;
        until(words, async || {
            let task = all.admin.call::<task::Get>(&TaskRef { task }).await.unwrap();
            assert!(!task.status.is_over(), "{name}: {:?}", task.message);
            (task.message.as_deref() == Some(words)).then_some(())
        })
        .await;
        until("it is powered off", async || (sim.calls(Operation::Destroy) > before).then_some(())).await;
        sim.hurry();
        assert_eq!(all.wait_task(task).await.status, TaskStatus::Done, "{name}");
        all.becomes(name, Power::Stopped).await;
    }
    all.stop().await;
}

/// The run of web-1, while it runs.
async fn run_of(all: &Installation) -> Option<IncarnationId> {
    let vm = all.vm("web-1").await;
    vm.observed.filter(|_| vm.power == Power::Running)?.incarnation
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_that_is_started_again_runs_on() {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    let start = StartVm { vm: "web-1".into() };
    all.run::<vm::Create>(&small("web-1")).await;
    assert_eq!(all.run::<vm::Start>(&start).await.status, TaskStatus::Done);
    let run = until("it to run", async || run_of(&all).await).await;
    let ended = all.hosts[0].sim.calls(Operation::Destroy);
    let task = all.run::<vm::Start>(&start).await;
    assert_eq!(task.status, TaskStatus::RolledBack);
    let said = task.message.unwrap_or_default();
    assert!(said.contains("runs already"), "{said}");
    assert_eq!(all.hosts[0].sim.calls(Operation::Destroy), ended, "nobody asked for it to be powered off");
    assert_eq!(run_of(&all).await, Some(run));
    let off = PowerOffVm { vm: "web-1".into(), discard_memory: false };
    assert_eq!(all.run::<vm::PowerOff>(&off).await.status, TaskStatus::Done, "it is free");
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_fails_is_undone_and_says_why() {
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    installation.run::<vm::Create>(&small("web-1")).await;
    std::fs::remove_file(installation.hosts[0].folder().join("boot/vmlinuz")).unwrap();
    let task = installation.run::<vm::Start>(&StartVm { vm: "web-1".into() }).await;
    assert_eq!(task.status, TaskStatus::RolledBack);
    assert!(task.message.unwrap().contains("vmlinuz"));
    std::fs::write(installation.hosts[0].folder().join("boot/vmlinuz"), b"kernel").unwrap();
    let task = installation.run::<vm::Start>(&StartVm { vm: "web-1".into() }).await;
    assert_eq!(task.status, TaskStatus::Done, "nothing holds it back: {:?}", task.message);
    installation.stop().await;
}
