//! Hosts with unlike processors: what VMs are given of them, where they can run on then, and what is told of a host with
//! less.

use serde_json::{Value, json};
use xenith_hypervisor_agent_sim::{Failure, FaultRule, Operation, SimBuilder, SimHypervisor};
use xenith_hypervisor_agent_types::{CpuFeatures, Power};
use xenith_orchestrator_api::{event, host, pool, vm};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::cpu_level::CpuLevelStatus;
use xenith_orchestrator_types::event::{Event, ListEvents};
use xenith_orchestrator_types::task::TaskStatus;
use xenith_orchestrator_types::vm::Vm;

use crate::ha::{arm, is_known_to_run};
use crate::harness::{Installation, api_error, small, until};
use crate::migration::{running, web};
use crate::shared_storage::{done, id, of, sharing_of};

/// Leaf 7 ebx.
const AVX2: u32 = 1 << 5;
const AVX512: u32 = 1 << 16;

fn features(ebx: u32) -> CpuFeatures {
    CpuFeatures::new("GenuineIntel", [1, 1, 1, 1, 1, ebx, 0, 0]).unwrap()
}

/// Other features are another model.
fn able(ebx: u32) -> SimBuilder {
    SimHypervisor::builder().with(|config| {
        config.host.cpu_model = format!("Xeon {ebx:x}");
        config.host.cpu_features = Some(features(ebx));
    })
}

async fn level(all: &Installation) -> CpuLevelStatus {
    all.admin.call::<pool::CpuLevel>(&of(json!({ "pool": "default" }))).await.unwrap()
}

/// When all hosts have told what they have.
async fn set(all: &Installation, mode: Value) -> CpuLevelStatus {
    until("all hosts to tell", async || {
        level(all).await.hosts.iter().all(|host| host.features.is_some()).then_some(())
    })
    .await;
    let set = of(json!({ "pool": "default", "mode": mode }));
    all.admin.call::<pool::SetCpuLevel>(&set).await.unwrap()
}

async fn planned(all: &Installation, mode: Value) -> Value {
    all.admin.plan::<pool::SetCpuLevel>(&of(json!({ "pool": "default", "mode": mode }))).await.unwrap()
}

/// On xen1, without disks: it can go wherever its processor can.
async fn started(all: &Installation, name: &str) -> Vm {
    let mut create = serde_json::to_value(small(name)).unwrap();
    create["disks"] = json!([]);
    (create["host"], create["start"]) = (json!("xen1"), json!(true));
    done::<vm::Create>(all, create).await;
    runs(all, name).await
}

async fn runs(all: &Installation, name: &str) -> Vm {
    until("it to run", async || {
        let vm = all.vm(name).await;
        (vm.power == Power::Running && vm.observed.is_some()).then_some(vm)
    })
    .await
}

fn given(vm: &Vm) -> Option<CpuFeatures> {
    vm.observed.as_ref().unwrap().cpu_given.as_deref().copied()
}

/// Why it cannot move.
async fn refused(all: &Installation, vm: &str) -> String {
    let error = api_error(all.admin.plan::<vm::Migrate>(&of(json!({ "vm": vm }))).await);
    assert_eq!(error.reason(), Reason::NoPlacement, "{error}");
    error.data.detail.join("; ")
}

async fn told(all: &Installation) -> Event {
    until("that a host has less", async || {
        let events = all.admin.call::<event::List>(&ListEvents::default()).await.unwrap().items;
        events.into_iter().find(|event| event.kind == "pool.cpu_level_lacking")
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_started_under_the_level_moves_between_unlike_hosts() {
    let mut all = Installation::with_host(able(AVX2 | AVX512)).await;
    all.add_host("xen2", able(AVX2)).await;
    let wide = started(&all, "wide").await;
    assert_eq!((given(&wide), level(&all).await.levels), (None, vec![]), "no level is asked for");
    let why = refused(&all, "wide").await;
    assert!(why.contains("xen2 has other processors") && why.contains("pool set-cpu-level"), "{why}");

    let status = set(&all, json!({ "kind": "auto" })).await;
    assert_eq!(status.levels, [features(AVX2)], "what both have");
    let [xen1, xen2] = &status.hosts[..] else { panic!("{status:?}") };
    assert_eq!((xen1.name.as_str(), xen2.name.as_str()), ("xen1", "xen2"));
    assert_eq!(xen1.hidden, ["avx512f"]);
    assert!([&xen1.lacking, &xen2.hidden, &xen2.lacking].into_iter().all(Vec::is_empty), "{status:?}");
    // Who runs with more than that is named, and a plan sets nothing.
    let plan = planned(&all, json!({ "kind": "auto" })).await;
    assert_eq!((&plan["restart_total"], &plan["restart"][0]["name"]), (&json!(1), &json!("wide")), "{plan}");
    let plan = planned(&all, json!({ "kind": "off" })).await;
    assert_eq!((&plan["levels_before"], &plan["levels"]), (&json!([features(AVX2)]), &json!([])), "{plan}");
    assert_eq!(plan["restart"], json!([]));
    assert_eq!(level(&all).await.levels, [features(AVX2)]);
    let facts = all.admin.call::<host::Get>(&of(json!({ "host": "xen1" }))).await.unwrap().facts.unwrap();
    assert_eq!(facts.cpu_features, Some(features(AVX2 | AVX512)));

    let narrow = started(&all, "narrow").await;
    assert_eq!(given(&narrow), Some(features(AVX2)));
    // What the hypervisor was told.
    let domid = narrow.observed.unwrap().domid.unwrap();
    let told = all.hosts[0].sim.hardware_of(domid).unwrap().cpu_level.unwrap();
    assert_eq!((*told.host(), *told.given()), (features(AVX2 | AVX512), features(AVX2)));
    let xen2 = id(&all, "xen2").await;
    done::<vm::Migrate>(&all, json!({ "vm": "narrow" })).await;
    assert_eq!(running(&all).await, [1, 1]);
    let moved = until("the new host to tell of it", async || {
        let vm = all.vm("narrow").await;
        (vm.power == Power::Running && vm.host == Some(xen2)).then_some(vm)
    })
    .await;
    assert_eq!(given(&moved), Some(features(AVX2)), "it is still what it was given");

    // The way out: a fresh start.
    refused(&all, "wide").await;
    done::<vm::PowerOff>(&all, json!({ "vm": "wide" })).await;
    done::<vm::Start>(&all, json!({ "vm": "wide" })).await;
    runs(&all, "wide").await;
    done::<vm::Migrate>(&all, json!({ "vm": "wide" })).await;
    assert_eq!(running(&all).await, [0, 2]);
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lesser_host_lowers_the_level_and_is_told_of() {
    let mut all = Installation::with_host(able(AVX2 | AVX512)).await;
    assert_eq!(set(&all, json!({ "kind": "auto" })).await.levels, [features(AVX2 | AVX512)]);
    let before = started(&all, "before").await;
    assert_eq!(given(&before), Some(features(AVX2 | AVX512)));

    all.add_host("xen2", able(AVX2)).await;
    let event = told(&all).await;
    for words in ["xen2", "lacks avx512f", "from now on", "1 VM cannot move there", "before"] {
        assert!(event.message.contains(words), "{words}: {}", event.message);
    }
    assert_eq!(level(&all).await.levels, [features(AVX2)]);
    let why = refused(&all, "before").await;
    assert!(why.contains("(avx512f); shut it down and start it"), "{why}");
    started(&all, "after").await;
    done::<vm::Migrate>(&all, json!({ "vm": "after" })).await;
    assert_eq!(running(&all).await, [1, 1]);

    // What a host has is remembered while it is not heard.
    all.hosts[1].stop_agent().await;
    all.restart().await;
    assert_eq!(level(&all).await.levels, [features(AVX2)], "of a host that is not heard");
    assert!(set(&all, json!({ "kind": "off" })).await.levels.is_empty());
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_level_that_was_set_counts_where_hosts_have_more_and_where_they_have_less() {
    let mut all = Installation::with_host(able(AVX2 | AVX512)).await;
    all.add_host("xen2", able(0)).await;
    let status = set(&all, json!({ "kind": "set", "features": features(AVX2) })).await;
    assert_eq!(status.levels, [features(AVX2)]);
    assert_eq!(status.hosts[1].lacking, ["avx2"], "{status:?}");
    let web = started(&all, "web-1").await;
    assert_eq!(given(&web), Some(features(AVX2)));
    let why = refused(&all, "web-1").await;
    assert!(why.contains("xen2 lacks CPU features") && why.contains("(avx2)"), "{why}");

    // Nobody's processors.
    let amd = CpuFeatures::new("AuthenticAMD", [1; 8]).unwrap();
    let wrong = of(json!({ "pool": "default", "mode": { "kind": "set", "features": amd } }));
    let error = api_error(all.admin.call::<pool::SetCpuLevel>(&wrong).await);
    assert_eq!((error.reason(), error.data.field.as_deref()), (Reason::Invalid, Some("mode")), "{error}");

    // Off, it goes anywhere: a start takes what the host has.
    done::<vm::PowerOff>(&all, json!({ "vm": "web-1" })).await;
    done::<vm::Migrate>(&all, json!({ "vm": "web-1" })).await;
    done::<vm::Start>(&all, json!({ "vm": "web-1" })).await;
    runs(&all, "web-1").await;
    assert_eq!(given(&all.vm("web-1").await), Some(features(0)));
    all.stop().await;
}

/// What the orchestrator knows of a host may be old; Xen may find what nobody compares. One of the two runs it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_is_refused_on_arrival_runs_on_where_it_was() {
    let mut all = Installation::with_host(able(AVX2)).await;
    all.add_host("xen2", able(AVX2)).await;
    set(&all, json!({ "kind": "auto" })).await;
    let web = started(&all, "web-1").await;
    all.hosts[1].sim.inject(FaultRule::fail(Operation::Resume, Failure::Unsupported));
    let failed = all.run::<vm::Migrate>(&of(json!({ "vm": "web-1" }))).await;
    assert_eq!(failed.status, TaskStatus::RolledBack, "{:?}", failed.message);
    runs(&all, "web-1").await;
    let after = all.vm("web-1").await;
    assert_eq!((running(&all).await, after.host), (vec![1, 0], web.host));
    assert_eq!(given(&after), Some(features(AVX2)));
    all.stop().await;
}

/// A restart by high availability is a fresh start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vm_of_a_dead_host_starts_on_a_lesser_one() {
    let mut all = sharing_of(able(AVX2 | AVX512), able(AVX2)).await;
    arm(&all, 9).await;
    web(&all).await;
    done::<vm::Start>(&all, json!({ "vm": "web-1" })).await;
    runs(&all, "web-1").await;
    is_known_to_run(&all, id(&all, "xen1").await).await;
    refused(&all, "web-1").await;
    set(&all, json!({ "kind": "auto" })).await;
    let xen2 = id(&all, "xen2").await;
    all.hosts[0].stop_agent().await;
    all.hosts[0].sim.reboot_host();
    let restarted = until("web-1 to run on xen2", async || {
        let vm = all.vm("web-1").await;
        (vm.host == Some(xen2) && vm.power == Power::Running).then_some(vm)
    })
    .await;
    assert_eq!((given(&restarted), running(&all).await), (Some(features(AVX2)), vec![0, 1]));
    all.stop().await;
}
