//! How far a role reaches, for every method and subscription that works on what a scope covers.
//!
//! Two pools, `west` and `east`, with everything that has a name. Who has a role in the east, or for a tag, calls each
//! method on what is in the west, by name and by id: it is not there for them, in the same words as what is nowhere. Who
//! may look at everything is refused there. A method that is in none of the tables fails the test.

mod table;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use xenith_common_tasks::TaskSet;
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator_api::{
    InventoryChange, SUBSCRIPTIONS, WatchRows, WatchTasks, methods, openrpc, repository, snapshot, sr,
    standby, template, vdi, vm,
};
use xenith_orchestrator_client::{
    Client, HostChanges, Subscription, TaskChanges, Update, VdiChanges, VmChanges, Watch,
};
use xenith_orchestrator_types::host::HostStatus;
use xenith_orchestrator_types::{ApiError, Binding, Permission, Reach, Reason, Role, Scope};

use crate::admins::{backup_of, call, done, somebody, two_pools};
use crate::harness::{Installation, PATIENCE, api_error, until};
use table::{APART, Aim, EVERYBODYS, Row, lists, new_vm, table, upload};

/// Everything of the west by noun: what it is called, beside what nothing is called.
struct Scene {
    all: Installation,
    known: BTreeMap<&'static str, Vec<[String; 2]>>,
}

/// As an id looks, of nothing.
fn other(id: &str) -> String {
    let (start, last) = id.split_at(id.len() - 1);
    format!("{start}{}", if last == "0" { "1" } else { "0" })
}

fn text(of: &Value, field: &str) -> String {
    of[field].as_str().unwrap_or_else(|| panic!("{field} of {of}")).to_owned()
}

impl Scene {
    async fn new() -> Self {
        let mut scene = Self { all: Installation::start().await, known: BTreeMap::new() };
        for pool in ["west", "east"] {
            let admin = scene.all.admin.clone();
            let made = call(&admin, "pool.create", json!({ "name": pool })).await.unwrap();
            scene.all.add_host_to(Some(pool), &format!("{pool}-xen"), SimHypervisor::builder()).await;
            let net = json!({ "name": format!("{pool}-net"), "bridge": "xenbr0", "pool": pool });
            let net = call(&admin, "network.create", net).await.unwrap();
            // Of a tag that no VM has.
            let group = json!({ "name": format!("{pool}-group"), "tag": "nobody", "pool": pool });
            call(&admin, "security_group.create", group).await.unwrap();
            if pool == "west" {
                scene.note("pool", "west", &text(&made, "id"));
                scene.note("network", "west-net", &text(&net, "id"));
            }
        }
        scene.furnish().await;
        scene.back_up().await;
        scene.look().await;
        scene
    }

    fn note(&mut self, noun: &'static str, name: &str, id: &str) {
        let pairs = [[name.to_owned(), "none-1".to_owned()], [id.to_owned(), other(id)]];
        self.known.insert(noun, pairs.into());
    }

    async fn furnish(&self) {
        let all = &self.all;
        for (name, pool, tags) in
            [("west-1", "west", json!([])), ("east-1", "east", json!([])), ("dev-1", "east", json!(["dev"]))]
        {
            let nics = json!([{ "network": format!("{pool}-net") }]);
            let new = new_vm(name, json!({ "pool": pool, "tags": tags, "nics": nics }));
            done::<vm::Create>(all, new).await;
        }
        for pool in ["west", "east"] {
            let (name, host) = (format!("{pool}-disk"), format!("{pool}-xen"));
            done::<vdi::Create>(all, json!({ "name": name, "size": 1 << 20, "host": host })).await;
        }
        let spec = json!({ "kind": "folder", "path": all.hosts[0].folder().join("more") });
        done::<sr::Create>(all, json!({ "name": "west-sr", "host": "west-xen", "spec": spec })).await;
        done::<snapshot::Create>(all, json!({ "vm": "west-1", "name": "west-snap" })).await;
        done::<template::Create>(all, json!({ "vm": "west-1", "name": "west-image" })).await;
        let part = json!({ "name": "west-part", "user_data": "#cloud-config\n", "pool": "west" });
        call(&all.admin, "fragment.create", part).await.unwrap();
    }

    /// A run over all VMs, a standby that holds what came of it, and a VM without a backup.
    async fn back_up(&self) {
        let all = &self.all;
        let place = json!({ "kind": "folder", "path": all.folder().join("repository") });
        done::<repository::Create>(all, json!({ "name": "main", "place": place })).await;
        let job = json!({ "name": "all", "filter": "name:/./", "repositories": ["main"] });
        call(&all.admin, "backup_job.create", job).await.unwrap();
        let run = call(&all.admin, "backup_job.run", json!({ "job": "all" })).await.unwrap()["run"].clone();
        let run = until("the run is over", async || {
            let run = call(&all.admin, "backup_run.get", json!({ "run": run })).await.unwrap();
            (run["ended"] != Value::Null).then_some(run)
        })
        .await;
        assert_eq!(run["status"], "done", "{run}");
        let standby =
            json!({ "vm": "west-1", "host": "west-xen", "repository": "main", "name": "west-standby" });
        done::<standby::Create>(all, standby).await;
        done::<vm::Create>(all, new_vm("west-2", json!({ "pool": "west" }))).await;
    }

    /// What there is now, as who sees everything finds it; and an upload that waits for its sender.
    async fn look(&mut self) {
        let admin = self.all.admin.clone();
        let begun = call(&admin, "import.upload", upload("west-import", json!({ "pool": "west" }))).await;
        let task = text(&begun.unwrap(), "task");
        self.known.insert("task", vec![[task.clone(), other(&task)]]);
        for (noun, method, name, id) in [
            ("vm", "vm.get", "west-1", "id"),
            ("host", "host.get", "west-xen", "id"),
            ("vdi", "vdi.get", "west-disk", "id"),
            ("sr", "sr.get", "west-sr", "id"),
            ("template", "template.get", "west-image", "id"),
            ("snapshot", "snapshot.get", "west-snap", "id"),
            ("import", "import.get", "west-import", "id"),
            ("standby", "standby.get", "west-standby", "vm"),
        ] {
            let found = call(&admin, method, json!({ noun: name })).await.unwrap();
            self.note(noun, name, &text(&found, id));
        }
        let part = call(&admin, "fragment.get", json!({ "fragment": "west-part" })).await.unwrap();
        self.note("fragment", "west-part", &text(&part["fragment"], "id"));
        let backup = backup_of(&self.all, "west-1").await;
        let latest = ["west-1@latest".to_owned(), "none-1@latest".to_owned()];
        self.known.insert("backup", vec![[backup.clone(), other(&backup)], latest]);
    }

    fn binding(&self, role: Role, pool: &str) -> Binding {
        let pools = self.all.orchestrator.as_ref().unwrap().app.views.pools();
        let pool = pools.into_iter().find(|found| found.name == pool).unwrap();
        Binding { role, scope: Scope::Pool(pool.id) }
    }

    /// All that is asked in the rows that `wanted` lets through.
    async fn each(&self, wanted: impl Fn(&Row) -> bool, mut ask: impl AsyncFnMut(&Row, &[String; 2])) {
        for row in table().iter().filter(|row| wanted(row)) {
            for pair in &self.known[row.noun] {
                ask(row, pair).await;
            }
        }
    }
}

fn alike(what: &str, told: &ApiError, never: &ApiError, [there, none]: &[String; 2]) {
    assert_eq!(told.reason(), Reason::NotFound, "{what}: {told}");
    assert_eq!(told.message.replace(there.as_str(), none), never.message, "{what}: no hint that it exists");
    assert_eq!(told.data, never.data, "{what}: no hint that it exists");
}

/// What is told of one VM among many.
async fn of_bulk(who: &Client, vm: &str) -> Value {
    let answer = call(who, "vm.bulk", json!({ "vms": [vm], "action": "start" })).await.unwrap();
    answer[0].clone()
}

async fn following(who: &Client, task: &str) -> ApiError {
    let task = WatchTasks { task: Some(task.parse().unwrap()), ..WatchTasks::default() };
    let mut watch: Watch<TaskChanges> = who.watch(&task).await.unwrap();
    let told = tokio::time::timeout(PATIENCE, watch.next()).await.expect("something is told in time");
    api_error(told.map(|told| told.is_some()))
}

/// The rows that a subscription begins with.
async fn first_rows<S, T, Id>(who: &Client) -> String
where
    S: Subscription<Params = WatchRows, Item = InventoryChange<T, Id>>,
    T: serde::Serialize,
{
    let mut watch: Watch<S> = who.watch(&WatchRows::default()).await.unwrap();
    let mut rows = String::new();
    let told = async {
        loop {
            match watch.next().await.unwrap().unwrap() {
                Update::Item(InventoryChange::Added(row) | InventoryChange::Changed(row)) => {
                    rows.push_str(&serde_json::to_string(&row).unwrap());
                }
                Update::Item(InventoryChange::Ready { .. }) => return,
                _ => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("what is there is told in time");
    rows
}

/// What a list shows holds a name of the pool west; a backup may be the newest all the same.
fn of_the_west(shown: &str) -> bool {
    shown.replace("newest", "").contains("west")
}

async fn hides_the_west(scene: &Scene, who: &Client) {
    for (method, params, _) in lists() {
        let shown = call(who, method, params).await.unwrap().to_string();
        assert!(!of_the_west(&shown), "{method}: {shown}");
    }
    for pair in &scene.known["vm"] {
        let (told, never) = (of_bulk(who, &pair[0]).await, of_bulk(who, &pair[1]).await);
        assert_eq!(told.to_string().replace(&pair[0], &pair[1]), never.to_string());
        assert!(told["task"] == Value::Null && told["error"] != Value::Null, "{told}");
    }
    for pair in &scene.known["task"] {
        let (told, never) = (following(who, &pair[0]).await, following(who, &pair[1]).await);
        alike("task.subscribe", &told, &never, pair);
    }
    for rows in [
        first_rows::<VmChanges, _, _>(who).await,
        first_rows::<HostChanges, _, _>(who).await,
        first_rows::<VdiChanges, _, _>(who).await,
    ] {
        assert!(!of_the_west(&rows), "{rows}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_out_of_scope_is_not_there() {
    let scene = Scene::new().await;
    let pia = somebody(&scene.all, "pia", vec![scene.binding(Role::Admin, "east")]).await;
    let dev = Binding { role: Role::Admin, scope: Scope::Tag("dev".into()) };
    let dora = somebody(&scene.all, "dora", vec![dev]).await;
    // What is theirs is there: the scene is what it should be.
    for (who, vms) in [(&pia, 2), (&dora, 1)] {
        let count = call(who, "vm.count", json!({})).await.unwrap();
        assert_eq!(count["total"], vms, "{count}");
    }
    let everything = &scene.all.admin;
    for (method, params, has) in lists() {
        let shown = call(everything, method, params).await.unwrap().to_string();
        assert!(!has || of_the_west(&shown), "{method}: {shown}");
    }
    assert!(of_the_west(&first_rows::<VmChanges, _, _>(everything).await));

    for (who, wanted) in [(&pia, None), (&dora, Some(Aim::On))] {
        let wanted = |row: &Row| wanted.is_none_or(|aim| row.aim == aim);
        scene
            .each(wanted, async |row, pair| {
                let ask = async |name: &str| api_error(call(who, row.method, (row.params)(name)).await);
                let what = format!("{} {}", row.method, (row.params)(&pair[0]));
                alike(&what, &ask(&pair[0]).await, &ask(&pair[1]).await, pair);
            })
            .await;
        hides_the_west(&scene, who).await;
    }
    // A name that something hidden has is free for who does not see that, and means both for who does.
    let same = json!({ "vm": "east-1", "name": "west-image" });
    done_by(&scene.all, &pia, "template.create", same.clone()).await;
    assert_eq!(api_error(call(&pia, "template.create", same).await).reason(), Reason::Conflict);
    let both = api_error(call(everything, "template.get", json!({ "template": "west-image" })).await);
    assert_eq!((both.reason(), both.data.candidates.len()), (Reason::Ambiguous, 2), "{both}");
    let own = call(&pia, "template.get", json!({ "template": "west-image" })).await.unwrap();
    assert!(both.data.candidates.iter().any(|one| one.starts_with(own["id"].as_str().unwrap())), "{both}");
    scene.all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_only_look_at_it_changes_nothing_there() {
    let scene = Scene::new().await;
    let looks = Binding { role: Role::Viewer, scope: Scope::All };
    let bindings = [scene.binding(Role::Operator, "east"), scene.binding(Role::Operator, "default"), looks];
    let olga = somebody(&scene.all, "olga", bindings.into()).await;
    let changing = |permission| matches!(permission, Permission::Operate | Permission::Provision);
    let changing: BTreeSet<_> =
        methods().into_iter().filter(|info| changing(info.permission)).map(|info| info.name).collect();
    let wanted = |row: &Row| row.aim != Aim::Named && changing.contains(row.method);
    scene
        .each(wanted, async |row, [there, _]| {
            let params = (row.params)(there);
            let asked = format!("{} {params}", row.method);
            let error = api_error(call(&olga, row.method, params).await);
            assert_eq!(error.reason(), Reason::Forbidden, "{asked}: {error}");
        })
        .await;
    let told = of_bulk(&olga, "west-1").await;
    assert!(told["error"].as_str().unwrap().contains("may not do this"), "{told}");
    // In her own pool she may.
    done_by(&scene.all, &olga, "vm.create", new_vm("east-9", json!({ "pool": "east" }))).await;
    scene.all.stop().await;
}

/// The hosts of all pools can read a repository. Where somebody names none, it is one of theirs all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_goes_to_no_pool_of_others_when_the_host_is_away() {
    let (mut all, pia) = two_pools().await;
    all.hosts[1].stop_agent().await;
    all.wait_host("xen2", HostStatus::Unknown).await;
    for target in [json!({ "kind": "new_vm", "name": "east-9" }), json!({ "kind": "disks" })] {
        let params = json!({ "backup": "east-1@latest", "target": target });
        let error = api_error(call(&pia, "backup.restore", params.clone()).await);
        assert_eq!(error.reason(), Reason::HostUnreachable, "{params}: {error}");
        // For who may make something there, any host will do.
        let mut planned = params;
        planned["dry_run"] = json!(true);
        let plan = call(&all.admin, "backup.restore", planned).await;
        let plan = plan.map(|plan| plan["plan"]["host"].clone());
        let xen1 = call(&all.admin, "host.get", json!({ "host": "xen1" })).await.unwrap()["id"].clone();
        assert_eq!(plan.unwrap(), xen1);
    }
    all.stop().await;
}

async fn done_by(all: &Installation, who: &Client, method: &str, params: Value) {
    let begun = call(who, method, params).await.unwrap();
    let task = all.wait_task(serde_json::from_value(begun["task"].clone()).unwrap()).await;
    assert_eq!(task.status.as_str(), "done", "{}: {:?}", task.title, task.message);
}

#[test]
fn every_method_that_a_scope_covers_is_tried() {
    let all = methods().into_iter().map(|info| (info.name, info.permission));
    let all = all.chain(SUBSCRIPTIONS.iter().map(|info| (info.name, info.permission)));
    // Tests of admins try those that administer.
    let covered =
        |permission: Permission| permission.reach() == Reach::Scope && permission != Permission::Administer;
    let expected: BTreeSet<_> =
        all.filter(|(_, permission)| covered(*permission)).map(|(name, _)| name).collect();
    let tried: BTreeSet<_> = table().iter().map(|row| row.method).chain(APART).collect();
    let listed: BTreeSet<_> = lists().into_iter().map(|(method, _, _)| method).collect();
    let excused: BTreeSet<_> = EVERYBODYS.iter().map(|(method, _)| *method).collect();
    let found: BTreeSet<_> = tried.iter().chain(&listed).chain(&excused).copied().collect();
    assert_eq!(found, expected, "give each method a row, a place among the lists, or a reason");
    let twice: Vec<_> =
        excused.iter().filter(|name| tried.contains(*name) || listed.contains(*name)).collect();
    assert!(twice.is_empty(), "what is tried needs no excuse: {twice:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_called_is_what_is_declared() {
    let all = Installation::start().await;
    let tasks = TaskSet::new();
    let app = &all.orchestrator.as_ref().unwrap().app;
    let module = xenith_orchestrator::rpc::module(app, &tasks).unwrap();
    let registered: BTreeSet<_> = module.method_names().collect();
    let subscriptions = || SUBSCRIPTIONS.iter();
    let declared: BTreeSet<_> =
        methods().iter().map(|info| info.name).chain(subscriptions().map(|info| info.name)).collect();
    let beside = subscriptions().map(|info| info.unsubscribe).chain(["rpc.discover"]);
    let expected: BTreeSet<_> = declared.iter().copied().chain(beside).collect();
    assert_eq!(registered, expected, "nothing is registered beside the tables, and nothing is missing");

    let document = openrpc();
    let named = document["methods"].as_array().unwrap().iter();
    let documented: BTreeSet<_> = named.map(|method| method["name"].as_str().unwrap()).collect();
    assert_eq!(documented, declared, "the document is of the same tables");
    let told = call(&all.admin, "rpc.discover", json!({})).await.unwrap();
    assert_eq!(told, document);
    drop(module);
    all.stop().await;
}
