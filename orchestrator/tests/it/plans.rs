//! Dry runs: every method that can be planned makes its checks, tells its plan, and changes nothing.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator_api::{
    Kind, Method, backup, host, import, snapshot, sr, standby, task, template, vdi, vm,
};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::snapshot::ListSnapshots;
use xenith_orchestrator_types::standby::{StandbyRef, StandbyStatus};
use xenith_orchestrator_types::task::{ListTasks, TaskStarted};

use crate::backups::Scene;
use crate::harness::{Installation, api_error, small, until};

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
    let app = &of.orchestrator.as_ref().unwrap().app;
    until("the list of VDIs has what is stored", async || {
        app.views.vdis_ahead(&app.db).unwrap().filter(Vec::is_empty)
    })
    .await;
    let vms = of.admin.all::<vm::List, _>("").await.unwrap();
    let mut whole = Vec::new();
    for row in &vms {
        let vm = of.vm(&row.name).await;
        whole.push(json!([vm.name, vm.definition, vm.spec, vm.power, vm.description]));
    }
    json!({
        "vms": whole,
        "vdis": of.admin.all::<vdi::List, _>("").await.unwrap(),
        "snapshots": of.admin.call::<snapshot::List>(&ListSnapshots::default()).await.unwrap().items,
        "templates": of.admin.all::<template::List, _>("").await.unwrap(),
        "hosts": of.admin.all::<host::List, _>("").await.unwrap().len(),
        "tasks": of.admin.call::<task::List>(&ListTasks::default()).await.unwrap().total,
    })
}

async fn of_upload(plans: &mut Plans<'_>) {
    let vm = serde_json::to_value(small("web-2")).unwrap();
    let disks = json!([{ "name": "web.vmdk", "capacity": 1 << 20 }]);
    plans.plan::<import::Upload>(json!({ "vm": vm, "disks": disks, "file": "web.ova" })).await;
}

async fn of_host(plans: &mut Plans<'_>) {
    plans.plan::<host::Evacuate>(json!({ "host": "xen1" })).await;
    plans.plan::<host::Upgrade>(json!({ "host": "xen1", "url": "http://127.0.0.1:9/live" })).await;
    plans.plan::<host::Reboot>(json!({ "host": "xen1" })).await;
    plans.plan::<host::Shutdown>(json!({ "host": "xen1", "guests": "shut-down" })).await;
    plans.plan::<host::SetManagement>(json!({ "host": "xen1", "vlan": 7 })).await;
    plans.plan::<host::Remove>(json!({ "host": "xen1", "force": true })).await;
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
    // Taken later, and of one disk more: neither is lost when the VM goes back.
    run::<vm::AttachDisk>(&all, json!({ "vm": "web-1", "disk": { "size": 1 << 20, "device": "xvdb" } }))
        .await;
    run::<snapshot::Create>(&all, json!({ "vm": "web-1", "name": "later" })).await;
    let spec = json!({ "kind": "folder", "path": all.hosts[0].folder().join("fast") });
    run::<sr::Create>(&all, json!({ "name": "fast", "host": "xen1", "spec": spec })).await;
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
    plans.plan::<snapshot::Create>(json!({ "vm": "web-1", "name": "kept" })).await;
    plans.plan::<snapshot::Revert>(json!({ "snapshot": "fresh" })).await;
    plans.plan::<snapshot::Clone>(json!({ "snapshot": "fresh", "name": "web-2" })).await;
    plans.plan::<template::Deploy>(json!({ "template": "debian", "name": "web-2" })).await;
    plans.plan::<template::Delete>(json!({ "template": "debian" })).await;
    plans.plan::<vdi::Migrate>(json!({ "vdi": "spare", "sr": "fast" })).await;
    plans.plan::<vdi::Delete>(json!({ "vdi": "spare" })).await;
    of_upload(&mut plans).await;
    of_host(&mut plans).await;
    let made = plans.made;
    assert_eq!(state(&all).await, before);

    // Tests of imports, standbys, migrations, balance, CPU levels, reboots and leases plan these, and the one of backups
    // below.
    let elsewhere = [
        "vdi.break_lease",
        "import.start",
        "standby.fail_over",
        "backup.restore",
        "backup.delete",
        "vm.migrate",
        "pool.balance",
        "pool.set_cpu_level",
        "pool.update",
    ];
    let plannable =
        xenith_orchestrator_api::methods().into_iter().filter(|info| info.kind == Kind::Plannable);
    let names: Vec<_> = plannable.map(|info| info.name).filter(|name| !elsewhere.contains(name)).collect();
    assert!(names.iter().all(|name| made.contains_key(name)), "give each a line above: {names:?}");
    for (method, plan) in &made {
        let title = plan["title"].as_str().unwrap_or_else(|| panic!("{method}: {plan}"));
        assert!(
            ["web-1", "web-2", "xen1", "spare", "debian"].iter().any(|name| title.contains(name)),
            "{method}: {title}"
        );
    }
    assert_eq!(made["vm.shutdown"]["act"]["shutdown"]["deadline_s"], 7, "{}", made["vm.shutdown"]);
    let left: Vec<_> = made["vm.detach_disk"]["after"]["disks"].as_array().unwrap().iter().collect();
    assert!(left.len() == 1 && left[0]["device"] == "xvdb", "{left:?}");
    for new in ["vm.clone", "import.upload"] {
        assert_eq!(made[new]["spec"]["name"], "web-2", "{new}");
    }
    assert_eq!(made["host.remove"]["forgotten_vms"], json!(["web-1"]));
    let stays = &made["host.evacuate"]["vms"][0];
    assert!(stays["name"] == "web-1" && stays["to"] == Value::Null, "{stays}");
    assert!(stays["error"].is_string() && stays["task"] == Value::Null, "{stays}");
    what_is_lost_is_told(&made);
    all.stop().await;
}

fn what_is_lost_is_told(made: &BTreeMap<&str, Value>) {
    let kept = &made["snapshot.create"];
    assert_eq!(texts(&kept["keeps"], &["the disk xvda (1 GiB)", "the disk xvdb"]), 2, "{kept}");
    assert!(kept["left_out"].as_str().unwrap().contains("memory"), "{kept}");
    let revert = &made["snapshot.revert"];
    assert_eq!(revert["then"], "the VM is off", "{revert}");
    assert_eq!(texts(&revert["lost"], &["the disk xvda (1 GiB)"]), 1, "{revert}");
    assert_eq!(texts(&revert["stays"], &["memory", "the disk xvdb", "the snapshot later"]), 3, "{revert}");
    let migrate = &made["vdi.migrate"];
    assert!(migrate["from"]["host"] == migrate["to"]["host"], "{migrate}");
    assert!(migrate["from"]["sr"] != migrate["to"]["sr"] && migrate["vm"] == Value::Null, "{migrate}");
    assert_eq!(
        texts(&migrate["made"], &["a new id"]) + texts(&migrate["lost"], &["this VDI"]),
        2,
        "{migrate}"
    );
    let template = &made["template.delete"];
    assert_eq!(texts(&template["lost"], &["disk xvda (1 GiB)"]), 1, "{template}");
    assert_eq!(texts(&template["stays"], &["VMs that were made from it"]), 1, "{template}");
}

/// How many lines there are, each of which has to say one of these, in this order.
fn texts(lines: &Value, wanted: &[&str]) -> usize {
    let lines: Vec<_> = lines.as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    let all = lines.iter().zip(wanted).all(|(line, wanted)| line.contains(wanted));
    assert!(all && lines.len() == wanted.len(), "{lines:?} should say {wanted:?}");
    lines.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_backup_would_bring_and_take_is_told_before() {
    let scene = Scene::new(2).await;
    let all = &scene.installation;
    run::<backup::Create>(all, json!({ "vm": "web-1", "repositories": ["main"] })).await;
    let standby = json!({ "vm": "web-1", "host": "xen1", "repository": "main", "name": "spare-1" });
    run::<standby::Create>(all, standby).await;
    until("the standby holds the backup", async || {
        let found = scene.call::<standby::Get>(json!({ "standby": "spare-1" })).await;
        if found.status == StandbyStatus::Incomplete {
            // It follows by itself, too: whoever comes second is refused.
            let standby = StandbyRef { standby: "spare-1".into() };
            let _second = all.admin.call::<standby::Follow>(&standby).await;
        }
        (found.status == StandbyStatus::Ready).then_some(())
    })
    .await;
    run::<vm::PowerOff>(all, json!({ "vm": "web-1" })).await;
    run::<vm::AttachDisk>(all, json!({ "vm": "web-1", "disk": { "size": 1 << 20, "device": "xvdb" } })).await;
    let (before, backups) = (state(all).await, scene.backups().await);

    let plan = async |target: Value| {
        let asked = json!({ "backup": "web-1@latest", "target": target });
        dry_run::<backup::Restore>(all, asked).await.unwrap()["plan"].clone()
    };
    let in_place = plan(json!({ "kind": "in_place" })).await;
    assert_eq!(texts(&in_place["lost"], &["the disk web-1-xvda (2 MiB)"]), 1, "{in_place}");
    assert_eq!(texts(&in_place["stays"], &["memory", "the disk xvdb"]), 2, "{in_place}");
    assert_eq!((&in_place["new_disks"], &in_place["spec"]), (&json!([]), &Value::Null), "{in_place}");
    let new = plan(json!({ "kind": "new_vm", "name": "web-2" })).await;
    assert!(new["target"].as_str().unwrap().starts_with("a new VM"), "{new}");
    assert_eq!((&new["spec"]["name"], &new["lost"]), (&json!("web-2"), &json!([])), "{new}");
    assert_eq!(new["new_disks"][0]["size"], 2 << 20, "{new}");
    let disks = plan(json!({ "kind": "disks" })).await;
    assert_eq!((disks["new_disks"].as_array().unwrap().len(), &disks["spec"]), (1, &Value::Null), "{disks}");

    let gone =
        dry_run::<backup::Delete>(all, json!({ "backup": backups[0].id })).await.unwrap()["plan"].clone();
    assert_eq!(texts(&gone["lost"], &["the state of web-1", "the last backup of web-1"]), 2, "{gone}");
    assert_eq!((&gone["left_here"], &gone["newest_left_here"]), (&json!(0), &Value::Null), "{gone}");
    assert_eq!(texts(&gone["depends_on_it"], &["will read the whole disk", "spare-1 holds it"]), 2, "{gone}");
    assert_eq!(scene.backups().await, backups);
    assert_eq!(state(all).await, before);

    // With another one the state is all that is lost.
    run::<backup::Create>(all, json!({ "vm": "web-1", "repositories": ["main"] })).await;
    let gone =
        dry_run::<backup::Delete>(all, json!({ "backup": backups[0].id })).await.unwrap()["plan"].clone();
    assert_eq!(texts(&gone["lost"], &["the state of web-1"]), 1, "{gone}");
    assert_eq!(gone["left_here"], 1, "{gone}");
    scene.installation.stop().await;
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
        ("a disk that is there", dry_run::<vdi::Migrate>(&all, attached.clone()).await, Reason::Invalid),
        ("a disk in use", dry_run::<vdi::Delete>(&all, attached).await, Reason::WrongState),
        ("VMs are there", dry_run::<host::Remove>(&all, json!({ "host": "xen1" })).await, Reason::WrongState),
        ("nothing to plan", dry_run::<vm::Bulk>(&all, json!({ "action": "start" })).await, Reason::Invalid),
    ] {
        assert_eq!(api_error(refused).reason(), reason, "{case}");
    }
    all.stop().await;
}
