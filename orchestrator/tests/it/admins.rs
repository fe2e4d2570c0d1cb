//! An admin of a pool: what is in it is theirs, what is beside it is not there, and what all share is refused.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use xenith_common_ids::VdiId;
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator_api::{Method, backup, backup_job, pool, repository, sr, user, vm};
use xenith_orchestrator_client::{Client, ClientError, Repeat};
use xenith_orchestrator_types::backup::ListBackups;
use xenith_orchestrator_types::pool::CreatePool;
use xenith_orchestrator_types::task::{TaskStarted, TaskStatus};
use xenith_orchestrator_types::user::CreateUser;
use xenith_orchestrator_types::{Binding, Permission, Reach, Reason, Role, Scope};

use crate::harness::{Installation, api_error, small, until};

pub const PASSWORD: &str = "correct horse battery";

pub async fn call(of: &Client, method: &str, params: Value) -> Result<Value, ClientError> {
    let Value::Object(params) = params else { panic!("an object") };
    let answer = of.call_raw(method, params, Repeat::Never).await?;
    Ok(serde_json::from_str(answer.get()).unwrap())
}

pub async fn done<M: Method<Result = TaskStarted>>(all: &Installation, params: Value) {
    let task = all.run::<M>(&serde_json::from_value(params).unwrap()).await;
    assert_eq!(task.status, TaskStatus::Done, "{}: {:?}", task.title, task.message);
}

async fn login(all: &Installation, name: &str, scope: Scope) -> Client {
    somebody(all, name, vec![Binding { role: Role::Admin, scope }]).await
}

/// A new user, signed in.
pub async fn somebody(all: &Installation, name: &str, bindings: Vec<Binding>) -> Client {
    let request = CreateUser { name: name.into(), password: PASSWORD.into(), bindings };
    all.admin.call::<user::Create>(&request).await.unwrap();
    all.login(name, PASSWORD).await.unwrap()
}

/// A pool `east` with the host `xen2`, and the default one with `xen1`; in each a VM, and a backup of it.
pub async fn two_pools() -> (Installation, Client) {
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    let east = CreatePool { name: "east".into(), description: String::new() };
    let east = all.admin.call::<pool::Create>(&east).await.unwrap().id;
    all.add_host_to(Some("east"), "xen2", SimHypervisor::builder()).await;
    let place = all.folder().join("repository");
    done::<repository::Create>(&all, json!({ "name": "main", "place": { "kind": "folder", "path": place } }))
        .await;
    for (name, pool) in [("west-1", "default"), ("east-1", "east")] {
        let new = json!({
            "name": name, "pool": pool, "platform": { "kind": "pvh", "boot": { "kernel": "vmlinuz" } },
            "vcpus": { "online": 1, "max": 1 }, "memory": { "target": 64, "max": 64 },
            "disks": [{ "size": 1 << 20 }],
        });
        done::<vm::Create>(&all, new).await;
        done::<backup::Create>(&all, json!({ "vm": name, "repositories": ["main"] })).await;
    }
    let spec = json!({ "kind": "folder", "path": all.hosts[0].folder().join("west") });
    done::<sr::Create>(&all, json!({ "name": "west", "host": "xen1", "spec": spec })).await;
    let of_all = json!({ "name": "all", "filter": "name:/./", "repositories": ["main"] });
    all.admin.call::<backup_job::Create>(&serde_json::from_value(of_all).unwrap()).await.unwrap();
    let pia = login(&all, "pia", Scope::Pool(east)).await;
    (all, pia)
}

pub async fn backup_of(all: &Installation, vm: &str) -> String {
    let request = ListBackups { vm: Some(vm.into()), ..ListBackups::default() };
    all.admin.call::<backup::List>(&request).await.unwrap().items[0].id.clone()
}

/// Calls of one admin, and which methods were tried on what is theirs and on what is not.
struct Tried<'a> {
    pia: &'a Client,
    own: BTreeSet<String>,
    others: BTreeSet<String>,
}

impl Tried<'_> {
    /// It goes on to what the method does; what comes of that is another matter.
    async fn own(&mut self, method: &str, params: Value) -> Option<Value> {
        self.own.insert(method.to_owned());
        let asked = format!("{method} {params}");
        match call(self.pia, method, params).await {
            Ok(answer) => Some(answer),
            Err(error) => {
                let error = api_error(Err::<(), _>(error));
                let reached = match error.reason() {
                    Reason::Forbidden => false,
                    Reason::NotFound => !error.message.starts_with("there is no "),
                    _ => true,
                };
                assert!(reached, "{asked}: {error}");
                None
            }
        }
    }

    async fn others(&mut self, method: &str, params: Value, reason: Reason) {
        self.others.insert(method.to_owned());
        let asked = format!("{method} {params}");
        let error = api_error(call(self.pia, method, params).await);
        assert_eq!(error.reason(), reason, "{asked}: {error}");
    }
}

fn methods(wanted: impl Fn(Permission) -> bool) -> BTreeSet<String> {
    let all = xenith_orchestrator_api::methods().into_iter();
    all.filter(|info| wanted(info.permission)).map(|info| info.name.to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_of_a_pool_administers_that_pool() {
    let (all, pia) = two_pools().await;
    let mut tried = Tried { pia: &pia, own: BTreeSet::new(), others: BTreeSet::new() };
    hosts_and_networks(&all, &mut tried).await;
    storage(&all, &mut tried).await;
    backups(&all, &mut tried).await;
    alarms(&all, &mut tried).await;
    // A disk that is made there is about that pool, and the other's is not there.
    let task = async |of: &Client, host: &str| {
        let disk = json!({ "name": "spare", "size": 1 << 20, "host": host });
        call(of, "vdi.create", disk).await.unwrap()["task"].clone()
    };
    let (mine, theirs) = (task(&pia, "xen2").await, task(&all.admin, "xen1").await);
    tried.own("task.abandon", json!({ "task": mine })).await;
    tried.others("task.abandon", json!({ "task": theirs }), Reason::NotFound).await;
    // The host goes last. It has VMs, which the refusal tells.
    tried.own("host.remove", json!({ "host": "xen2" })).await;
    tried.others("host.remove", json!({ "host": "xen1" }), Reason::NotFound).await;

    let expected = methods(|permission| permission == Permission::Administer);
    assert_eq!(tried.own, expected, "give each method that needs `administer` a line here");
    assert_eq!(tried.others, expected, "and one that tries what is not theirs");
    all.stop().await;
}

async fn hosts_and_networks(all: &Installation, tried: &mut Tried<'_>) {
    tried.own("host.add", json!({ "name": "xen3", "pool": "east" })).await.unwrap();
    tried.others("host.add", json!({ "name": "xen3" }), Reason::NotFound).await;
    let maintenance = |host: &str, maintenance: bool| json!({ "host": host, "maintenance": maintenance });
    tried.own("host.set_maintenance", maintenance("xen2", true)).await.unwrap();
    tried.own("host.evacuate", json!({ "host": "xen2" })).await.unwrap();
    tried.others("host.evacuate", json!({ "host": "xen1" }), Reason::NotFound).await;
    // From nowhere, so that it stays as it is.
    tried.own("host.upgrade", json!({ "host": "xen2", "url": "nowhere" })).await;
    tried.others("host.upgrade", json!({ "host": "xen1", "url": "nowhere" }), Reason::NotFound).await;
    for method in ["host.reboot", "host.shutdown"] {
        tried.own(method, json!({ "host": "xen2", "dry_run": true })).await.unwrap();
        tried.others(method, json!({ "host": "xen1" }), Reason::NotFound).await;
    }
    // As it is, so that it stays so.
    tried.own("host.set_management", json!({ "host": "xen2" })).await;
    tried.others("host.set_management", json!({ "host": "xen1" }), Reason::NotFound).await;
    tried.own("host.set_maintenance", maintenance("xen2", false)).await.unwrap();
    tried.others("host.set_maintenance", maintenance("xen1", true), Reason::NotFound).await;
    let control = |host: &str| json!({ "host": host });
    tried.own("host.power_control", control("xen2")).await.unwrap();
    tried.others("host.power_control", control("xen1"), Reason::NotFound).await;
    // None, as before.
    tried.own("host.set_power_control", control("xen2")).await.unwrap();
    tried.others("host.set_power_control", control("xen1"), Reason::NotFound).await;
    let status = |host: &str| json!({ "host": host, "order": "status" });
    tried.own("host.power", status("xen2")).await;
    tried.others("host.power", status("xen1"), Reason::NotFound).await;
    // No address, so that it stays where it is.
    tried.own("host.set_address", json!({ "host": "xen2", "address": "nowhere" })).await;
    tried.others("host.set_address", json!({ "host": "xen1", "address": "nowhere" }), Reason::NotFound).await;
    let peers = |host: &str| json!({ "host": host, "address": "10.10.0.1" });
    tried.own("host.set_peer_address", peers("xen2")).await.unwrap();
    tried.others("host.set_peer_address", peers("xen1"), Reason::NotFound).await;
    for method in ["pool.set_balance", "pool.balance"] {
        tried.own(method, json!({ "pool": "east" })).await;
        tried.others(method, json!({ "pool": "default" }), Reason::NotFound).await;
    }
    let level = |pool: &str| json!({ "pool": pool, "mode": { "kind": "off" } });
    tried.own("pool.set_cpu_level", level("east")).await.unwrap();
    tried.others("pool.set_cpu_level", level("default"), Reason::NotFound).await;
    let update = |pool: &str| json!({ "pool": pool, "what": { "kind": "reboot" }, "dry_run": true });
    tried.own("pool.update", update("east")).await.unwrap();
    tried.others("pool.update", update("default"), Reason::NotFound).await;
    for method in ["pool.pause_update", "pool.resume_update"] {
        tried.own(method, json!({ "pool": "east" })).await;
        tried.others(method, json!({ "pool": "default" }), Reason::NotFound).await;
    }
    // A lease that is too short, so that it stays off.
    let ha = |pool: &str| json!({ "pool": pool, "sr": "none", "lease_s": 1 });
    tried.own("ha.enable", ha("east")).await;
    tried.others("ha.enable", ha("default"), Reason::NotFound).await;
    tried.own("ha.disable", json!({ "pool": "east" })).await.unwrap();
    tried.others("ha.disable", json!({ "pool": "default" }), Reason::NotFound).await;
    let network = |pool: &str| json!({ "name": "lan", "bridge": "xenbr0", "pool": pool });
    tried.own("network.create", network("east")).await.unwrap();
    tried.others("network.create", network("default"), Reason::NotFound).await;
    tried.own("network.set_encryption", json!({ "network": "lan", "encryption": "none" })).await.unwrap();
    tried
        .others(
            "network.set_encryption",
            json!({ "network": "default", "encryption": "none" }),
            Reason::NotFound,
        )
        .await;
    tried.own("network.delete", json!({ "network": "lan" })).await.unwrap();
    tried.others("network.delete", json!({ "network": "default" }), Reason::NotFound).await;
    let group = |pool: &str| json!({ "name": "web", "tag": "web", "pool": pool });
    tried.own("security_group.create", group("east")).await.unwrap();
    tried.others("security_group.create", group("default"), Reason::NotFound).await;
    let admin = &all.admin;
    call(admin, "security_group.create", json!({ "name": "theirs", "tag": "web" })).await.unwrap();
    for method in ["security_group.set_rules", "security_group.delete"] {
        tried.own(method, json!({ "group": "web" })).await.unwrap();
        tried.others(method, json!({ "group": "theirs" }), Reason::NotFound).await;
    }
    call(admin, "security_group.delete", json!({ "group": "theirs" })).await.unwrap();
    // No NIC has that address, which who may look is told.
    let nic = |vm: &str| json!({ "vm": vm, "mac": "02:00:00:00:00:01" });
    tried.own("vm.set_nic", nic("east-1")).await;
    tried.others("vm.set_nic", nic("west-1"), Reason::NotFound).await;
}

async fn storage(all: &Installation, tried: &mut Tried<'_>) {
    let new = |name: &str, host: &str| {
        let path = all.hosts[1].folder().join(name);
        json!({ "name": name, "host": host, "spec": { "kind": "folder", "path": path } })
    };
    let made = tried.own("sr.create", new("fast", "xen2")).await.unwrap();
    all.wait_task(serde_json::from_value(made["task"].clone()).unwrap()).await;
    tried.others("sr.create", new("slow", "xen1"), Reason::NotFound).await;
    let at = |sr: &str, host: &str| json!({ "sr": sr, "host": host });
    let again = tried.own("sr.attach", at("fast", "xen2")).await.unwrap();
    all.wait_task(serde_json::from_value(again["task"].clone()).unwrap()).await;
    tried.others("sr.attach", at("west", "xen2"), Reason::NotFound).await;
    tried.others("sr.attach", at("fast", "xen1"), Reason::NotFound).await;
    let adopt = |sr: &str| json!({ "sr": sr, "vdi": VdiId::new(), "name": "found" });
    tried.own("sr.adopt", adopt("fast")).await;
    tried.others("sr.adopt", adopt("west"), Reason::NotFound).await;
    // In local SRs, where there are no leases.
    tried.own("vdi.break_lease", json!({ "vdi": "east-1-xvda" })).await;
    tried.others("vdi.break_lease", json!({ "vdi": "west-1-xvda" }), Reason::NotFound).await;
    tried.own("sr.forget", json!({ "sr": "fast" })).await;
    tried.others("sr.forget", json!({ "sr": "west" }), Reason::NotFound).await;
    tried.own("sr.detach", at("fast", "xen2")).await.unwrap();
    tried.others("sr.detach", at("west", "xen1"), Reason::NotFound).await;
}

async fn backups(all: &Installation, tried: &mut Tried<'_>) {
    let job = |vm: &str, more: Value| {
        let mut job = json!({ "name": "mine", "vms": [vm], "repositories": ["main"] });
        job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        job
    };
    tried.own("backup_job.create", job("east-1", json!({}))).await.unwrap();
    tried.others("backup_job.create", job("west-1", json!({ "name": "theirs" })), Reason::NotFound).await;
    for more in [json!({ "filter": "pool:east" }), json!({ "orchestrator": true })] {
        let mut more = more;
        more["name"] = json!("more");
        tried.others("backup_job.create", job("east-1", more), Reason::Forbidden).await;
    }
    tried.own("backup_job.update", json!({ "job": "mine", "retries": 1 })).await.unwrap();
    let widened = json!({ "job": "mine", "filter": "name:/./" });
    tried.others("backup_job.update", widened, Reason::Forbidden).await;
    tried.others("backup_job.update", json!({ "job": "all", "retries": 1 }), Reason::Forbidden).await;

    // Which VMs it is of is told as far as she sees them, and of a webhook the host.
    let hook = json!({ "name": "theirs", "webhook": "https://hooks.example.org/T0/what-it-takes" });
    call(&all.admin, "backup_job.create", job("west-1", hook)).await.unwrap();
    let west = call(&all.admin, "vm.get", json!({ "vm": "west-1" })).await.unwrap()["id"].clone();
    for (method, params) in [("backup_job.get", json!({ "job": "theirs" })), ("backup_job.list", json!({}))] {
        let whole = call(&all.admin, method, params.clone()).await.unwrap().to_string();
        assert!(whole.contains("what-it-takes") && whole.contains(west.as_str().unwrap()), "{whole}");
        let shown = call(tried.pia, method, params).await.unwrap().to_string();
        assert!(!shown.contains("what-it-takes") && !shown.contains(west.as_str().unwrap()), "{shown}");
        assert!(shown.contains("https://hooks.example.org"), "{shown}");
    }
    call(&all.admin, "backup_job.delete", json!({ "job": "theirs" })).await.unwrap();

    let mine = tried.own("backup_job.run", json!({ "job": "mine" })).await.unwrap()["run"].clone();
    tried.others("backup_job.run", json!({ "job": "all" }), Reason::Forbidden).await;
    let theirs = call(&all.admin, "backup_job.run", json!({ "job": "all" })).await.unwrap()["run"].clone();
    tried.own("backup_run.cancel", json!({ "run": mine })).await;
    tried.others("backup_run.cancel", json!({ "run": theirs }), Reason::Forbidden).await;
    for run in [mine, theirs] {
        until("the run is over", async || {
            let found = call(&all.admin, "backup_run.get", json!({ "run": run })).await.unwrap();
            (found["status"] != "running").then_some(())
        })
        .await;
    }
    tried.own("backup_job.delete", json!({ "job": "mine" })).await.unwrap();
    tried.others("backup_job.delete", json!({ "job": "all" }), Reason::Forbidden).await;

    let (mine, theirs) = (backup_of(all, "east-1").await, backup_of(all, "west-1").await);
    for (method, more) in [("backup.hold", json!({ "held": false })), ("backup.delete", json!({}))] {
        let of = |backup: &str| {
            let mut params = more.clone();
            params["backup"] = json!(backup);
            params
        };
        tried.own(method, of(&mine)).await.unwrap();
        tried.others(method, of(&theirs), Reason::NotFound).await;
    }
}

async fn alarms(all: &Installation, tried: &mut Tried<'_>) {
    let of = |host: &str| json!({ "rule": null, "of": "host", "object": host, "seconds": 60, "comment": "" });
    let mine = tried.own("alarm.silence", of("xen2")).await.unwrap()["id"].clone();
    tried.others("alarm.silence", of("xen1"), Reason::NotFound).await;
    let theirs = call(&all.admin, "alarm.silence", of("xen1")).await.unwrap()["id"].clone();
    let shown = tried.own("alarm.silences", json!({})).await.unwrap();
    assert_eq!(shown.as_array().unwrap().len(), 1, "{shown}");
    assert_eq!(shown[0]["id"], mine);
    tried.others.insert("alarm.silences".into());
    tried.others("alarm.unsilence", json!({ "silence": theirs }), Reason::NotFound).await;
    tried.own("alarm.unsilence", json!({ "silence": mine })).await.unwrap();
    // Of a rule it would be everybody's.
    let rule = json!({
        "name": "busy", "of": "host", "metric": "cpu", "when": "above", "threshold": 90, "severity": "warning",
    });
    call(&all.admin, "alarm_rule.create", rule).await.unwrap();
    let whole = json!({ "rule": "busy", "of": "host", "object": null, "seconds": 60, "comment": "" });
    tried.others("alarm.silence", whole, Reason::Forbidden).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_all_pools_share_needs_an_admin_of_everything() {
    let all = Installation::start().await;
    let default = all.admin.all::<pool::List, _>("").await.unwrap()[0].id;
    for (name, scope) in [("pia", Scope::Pool(default)), ("dora", Scope::Tag("dev".into()))] {
        let who = login(&all, name, scope).await;
        for method in methods(|permission| permission.reach() == Reach::Everything) {
            let error = api_error(call(&who, &method, json!({})).await);
            assert_eq!(error.reason(), Reason::Forbidden, "{method}: {error}");
            assert!(error.message.ends_with("it needs the role admin of everything"), "{method}: {error}");
        }
    }
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_by_tag_has_vms_and_no_hosts() {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    let dora = login(&all, "dora", Scope::Tag("dev".into())).await;
    for (method, params, reason) in [
        ("host.set_maintenance", json!({ "host": "xen1", "maintenance": true }), Reason::NotFound),
        // She may make her first VM in this pool, so she sees that it is there.
        ("host.add", json!({ "pool": "default" }), Reason::Forbidden),
        ("network.create", json!({ "name": "lan", "bridge": "xenbr0" }), Reason::Forbidden),
        ("network.delete", json!({ "network": "default" }), Reason::Forbidden),
        ("sr.forget", json!({ "sr": "local-xen1" }), Reason::NotFound),
    ] {
        let error = api_error(call(&dora, method, params).await);
        assert_eq!(error.reason(), reason, "{method}: {error}");
    }
    // Their VMs' tasks are theirs to leave as they are; this one is over, and others' are not there.
    let started = async |name: &str, tags: Value| {
        let mut new = serde_json::to_value(small(name)).unwrap();
        new["tags"] = tags;
        done::<vm::Create>(&all, new).await;
        let task = call(&all.admin, "vm.start", json!({ "vm": name })).await.unwrap()["task"].clone();
        all.wait_task(serde_json::from_value(task.clone()).unwrap()).await;
        json!({ "task": task })
    };
    let (mine, theirs) = (started("dev-1", json!(["dev"])).await, started("prod-1", json!([])).await);
    for (task, reason) in [(mine, Reason::WrongState), (theirs, Reason::NotFound)] {
        let error = api_error(call(&dora, "task.abandon", task).await);
        assert_eq!(error.reason(), reason, "{error}");
    }
    all.stop().await;
}
