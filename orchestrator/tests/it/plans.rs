//! Dry runs: every method that can be planned makes its checks, tells its plan, and changes nothing.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator_api::{Kind, Method, host, snapshot, task, template, vdi, vm};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::task::{ListTasks, TaskStarted};

use crate::harness::{Installation, api_error, small};

async fn run<M: Method<Result = TaskStarted>>(of: &Installation, params: Value) {
    of.run::<M>(&serde_json::from_value(params).unwrap()).await;
}

/// Plans by the names of their methods.
struct Plans<'a> {
    of: &'a Installation,
    made: BTreeMap<&'static str, Value>,
}

impl Plans<'_> {
    /// Through the wire, as everybody: the method's type says nothing of plans.
    async fn plan<M: Method>(&mut self, params: Value) {
        let plan = dry_run::<M>(self.of, params).await.unwrap_or_else(|error| panic!("{}: {error}", M::NAME));
        self.made.insert(M::NAME, plan["plan"].clone());
    }
}

async fn dry_run<M: Method>(
    of: &Installation,
    mut params: Value,
) -> Result<Value, xenith_orchestrator_client::ClientError> {
    params["dry_run"] = json!(true);
    let Value::Object(params) = params else { panic!("an object") };
    let answer = of.admin.call_raw(M::NAME, params, xenith_orchestrator_client::Repeat::Never).await?;
    Ok(serde_json::from_str(answer.get()).unwrap())
}

/// What a plan must not change.
async fn state(of: &Installation) -> Value {
    let vms = of.admin.all::<vm::List, _>("").await.unwrap();
    let mut whole = Vec::new();
    for row in &vms {
        let vm = of.vm(&row.name).await;
        whole.push(json!([vm.name, vm.definition, vm.spec, vm.power, vm.description]));
    }
    json!({
        "vms": whole,
        "vdis": of.admin.all::<vdi::List, _>("").await.unwrap(),
        "hosts": of.admin.all::<host::List, _>("").await.unwrap().len(),
        "tasks": of.admin.call::<task::List>(&ListTasks::default()).await.unwrap().total,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_is_checked_told_and_not_carried_out() {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    run::<vdi::Create>(&all, json!({ "name": "spare", "host": "xen1", "size": 1 << 20 })).await;
    let mut player = serde_json::to_value(small("web-1")).unwrap();
    player["platform"] = json!({ "kind": "hvm" });
    player["hardware"] = json!({ "cd": {} });
    run::<vm::Create>(&all, player).await;
    run::<snapshot::Create>(&all, json!({ "vm": "web-1", "name": "fresh" })).await;
    run::<template::Create>(&all, json!({ "vm": "web-1", "name": "debian" })).await;
    let before = state(&all).await;

    let mac = all.vm("web-1").await.spec.unwrap().nics[0].mac;
    let one = || json!({ "vm": "web-1" });
    let mut plans = Plans { of: &all, made: BTreeMap::new() };
    plans.plan::<vm::Create>(serde_json::to_value(small("web-2")).unwrap()).await;
    plans.plan::<vm::Update>(json!({ "vm": "web-1", "description": "new" })).await;
    plans.plan::<vm::Delete>(one()).await;
    plans.plan::<vm::Start>(one()).await;
    plans.plan::<vm::Shutdown>(json!({ "vm": "web-1", "deadline_s": 7 })).await;
    plans.plan::<vm::Reboot>(one()).await;
    plans.plan::<vm::PowerOff>(one()).await;
    plans.plan::<vm::Pause>(one()).await;
    plans.plan::<vm::Unpause>(one()).await;
    plans.plan::<vm::Suspend>(one()).await;
    plans.plan::<vm::Resume>(one()).await;
    plans.plan::<vm::AttachDisk>(json!({ "vm": "web-1", "disk": { "size": 1 << 30 } })).await;
    plans.plan::<vm::DetachDisk>(json!({ "vm": "web-1", "device": "xvda" })).await;
    plans.plan::<vm::InsertCd>(json!({ "vm": "web-1", "iso": "spare" })).await;
    plans.plan::<vm::EjectCd>(one()).await;
    plans.plan::<vm::AttachNic>(json!({ "vm": "web-1", "nic": { "network": "default" } })).await;
    plans.plan::<vm::DetachNic>(json!({ "vm": "web-1", "mac": mac })).await;
    plans.plan::<vm::Clone>(json!({ "vm": "web-1", "name": "web-2" })).await;
    plans.plan::<snapshot::Clone>(json!({ "snapshot": "fresh", "name": "web-2" })).await;
    plans.plan::<template::Deploy>(json!({ "template": "debian", "name": "web-2" })).await;
    plans.plan::<vdi::Delete>(json!({ "vdi": "spare" })).await;
    plans.plan::<host::Remove>(json!({ "host": "xen1", "force": true })).await;
    let made = plans.made;
    assert_eq!(state(&all).await, before);

    // Tests of imports and standbys plan these.
    let elsewhere = ["import.start", "import.upload", "standby.fail_over"];
    let plannable =
        xenith_orchestrator_api::methods().into_iter().filter(|info| info.kind == Kind::Plannable);
    let names: Vec<_> = plannable.map(|info| info.name).filter(|name| !elsewhere.contains(name)).collect();
    assert!(names.iter().all(|name| made.contains_key(name)), "give each a line above: {names:?}");
    for (method, plan) in &made {
        let title = plan["title"].as_str().unwrap_or_else(|| panic!("{method}: {plan}"));
        assert!(
            ["web-1", "web-2", "xen1", "spare"].iter().any(|name| title.contains(name)),
            "{method}: {title}"
        );
    }
    assert_eq!(made["vm.shutdown"]["act"]["shutdown"]["deadline_s"], 7, "{}", made["vm.shutdown"]);
    assert_eq!(made["vm.detach_disk"]["after"]["disks"], json!([]));
    assert_eq!(made["vm.clone"]["spec"]["name"], "web-2");
    assert_eq!(made["host.remove"]["forgotten_vms"], json!(["web-1"]));
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_that_could_not_be_carried_out_is_refused() {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    run::<vm::Create>(&all, serde_json::to_value(small("web-1")).unwrap()).await;
    run::<snapshot::Create>(&all, json!({ "vm": "web-1", "name": "fresh" })).await;
    run::<template::Create>(&all, json!({ "vm": "web-1", "name": "debian" })).await;
    let attached = json!({ "vdi": "web-1-xvda" });
    for (case, refused, reason) in [
        (
            "a name that is taken",
            dry_run::<vm::Clone>(&all, json!({ "vm": "web-1", "name": "web-1" })).await,
            Reason::Conflict,
        ),
        (
            "the same",
            dry_run::<snapshot::Clone>(&all, json!({ "snapshot": "fresh", "name": "web-1" })).await,
            Reason::Conflict,
        ),
        (
            "the same",
            dry_run::<template::Deploy>(&all, json!({ "template": "debian", "name": "web-1" })).await,
            Reason::Conflict,
        ),
        ("a disk in use", dry_run::<vdi::Delete>(&all, attached).await, Reason::WrongState),
        ("VMs are there", dry_run::<host::Remove>(&all, json!({ "host": "xen1" })).await, Reason::WrongState),
        ("nothing to plan", dry_run::<vm::Bulk>(&all, json!({ "action": "start" })).await, Reason::Invalid),
    ] {
        assert_eq!(api_error(refused).reason(), reason, "{case}");
    }
    all.stop().await;
}
