//! Who sees and does what.

use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator_api::{Method, auth, host, network, pool, sr, task, token, user, vdi, vm};
use xenith_orchestrator_client::{Client, Credential, NounChanges, Update, Watch};
use xenith_orchestrator_types::host::{AddHost, HostMaintenance, HostRef, HostStatus};
use xenith_orchestrator_types::network::CreateNetwork;
use xenith_orchestrator_types::pool::CreatePool;
use xenith_orchestrator_types::sr::SrRef;
use xenith_orchestrator_types::task::{ListTasks, TaskRef};
use xenith_orchestrator_types::token::{CreateToken, TokenRef};
use xenith_orchestrator_types::user::{AccessOf, Barred, CreateUser, UpdateUser, UserAccess, UserRef};
use xenith_orchestrator_types::vdi::CreateVdi;
use xenith_orchestrator_types::vm::{CreateVm, DeleteVm, StartVm, VmRef};
use xenith_orchestrator_types::{Binding, ListRequest, Permission, Reason, Role, Scope};

use crate::harness::{EMPTY, Installation, PATIENCE, api_error, small, until};

const PASSWORD: &str = "correct horse battery";

/// One who has a role, signed in.
pub async fn user(installation: &Installation, name: &str, role: Role, scope: Scope) -> Client {
    let request =
        CreateUser { name: name.into(), password: PASSWORD.into(), bindings: vec![Binding { role, scope }] };
    installation.admin.call::<user::Create>(&request).await.unwrap();
    installation.login(name, PASSWORD).await.unwrap()
}

fn disk(name: &str, host: &str) -> CreateVdi {
    CreateVdi { name: name.into(), size: (1 << 20).try_into().unwrap(), host: host.into(), sr: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_is_as_far_as_a_role_reaches() {
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    let mut prod = small("prod-1");
    prod.tags.insert("prod".into());
    installation.run::<vm::Create>(&prod).await;
    let mut dev = small("dev-1");
    dev.tags.insert("dev".into());
    installation.run::<vm::Create>(&dev).await;
    let operator = user(&installation, "dora", Role::Operator, Scope::Tag("dev".into())).await;
    until("one of the two is listed", async || {
        let seen = operator.call::<vm::List>(&ListRequest::default()).await.unwrap();
        ((seen.total, seen.items.len()) == (1, 1) && seen.items[0].name == "dev-1").then_some(())
    })
    .await;
    let hidden = api_error(operator.call::<vm::Get>(&VmRef { vm: "prod-1".into() }).await);
    let missing = api_error(operator.call::<vm::Get>(&VmRef { vm: "none-1".into() }).await);
    assert_eq!(hidden.message.replace("prod-1", "none-1"), missing.message, "no hint that it exists");
    assert!(operator.call::<vm::Start>(&StartVm { vm: "dev-1".into() }).await.is_ok());
    let add = AddHost { name: None, pool: None, minutes: 0 };
    assert_eq!(api_error(operator.call::<host::Add>(&add).await).reason(), Reason::Forbidden);
    let viewer = user(&installation, "vera", Role::Viewer, Scope::All).await;
    let refused = api_error(viewer.call::<vm::Start>(&StartVm { vm: "prod-1".into() }).await);
    assert_eq!(refused.reason(), Reason::Forbidden);
    installation.stop().await;
}

/// A VM that finds no room wakes hosts that sleep.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_only_sees_a_pool_is_not_told_that_it_has_no_room() {
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    let west = CreatePool { name: "west".into(), description: String::new() };
    let west = all.admin.call::<pool::Create>(&west).await.unwrap().id;
    all.add_host_to(Some("west"), "xen2", SimHypervisor::builder()).await;
    let out = HostMaintenance { host: "xen2".into(), maintenance: true };
    all.admin.call::<host::SetMaintenance>(&out).await.unwrap();
    let own = all.wait_host("xen1", HostStatus::Connected).await.pool;
    let bindings = vec![
        Binding { role: Role::Operator, scope: Scope::Pool(own) },
        Binding { role: Role::Viewer, scope: Scope::Pool(west) },
    ];
    let request = CreateUser { name: "dora".into(), password: PASSWORD.into(), bindings };
    all.admin.call::<user::Create>(&request).await.unwrap();
    let dora = all.login("dora", PASSWORD).await.unwrap();
    let wanted =
        CreateVm { disks: vec![], nics: vec![], host: Some("xen2".into()), start: true, ..small("web-1") };
    let no_room = until("xen2 is out", async || {
        let planned = all.admin.plan::<vm::Create>(&wanted).await;
        planned.is_err().then(|| api_error(planned))
    })
    .await;
    assert_eq!(no_room.reason(), Reason::NoPlacement, "who may is told: {no_room}");
    assert_eq!(api_error(dora.call::<vm::Create>(&wanted).await).reason(), Reason::Forbidden);
    all.stop().await;
}

fn of(name: &str) -> AccessOf {
    AccessOf { user: Some(name.into()) }
}

/// Which permissions, on how many VMs and hosts, and by how many roles.
fn told(access: &UserAccess) -> Vec<(Permission, u64, u64, usize)> {
    let each = access.permissions.iter();
    each.map(|one| (one.permission, one.on.vms, one.on.hosts, one.grounds.len())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_is_told_what_they_may_do_and_by_which_role() {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    for (name, tags) in [("prod-1", vec!["prod"]), ("dev-1", vec!["dev"]), ("both-1", vec!["dev", "prod"])] {
        let mut vm = small(name);
        vm.tags.extend(tags.into_iter().map(String::from));
        all.run::<vm::Create>(&vm).await;
    }
    let dora = user(&all, "dora", Role::Operator, Scope::Tag("dev".into())).await;
    let more = [(Role::Operator, "dev"), (Role::Viewer, "prod")];
    let bindings = more.map(|(role, tag)| Binding { role, scope: Scope::Tag(tag.into()) });
    let change =
        UpdateUser { user: "dora".into(), password: None, bindings: Some(bindings.to_vec()), disabled: None };
    all.admin.call::<user::Update>(&change).await.unwrap();

    // A VM that two roles cover counts once; no tag covers a host.
    let own = until("the VMs are counted", async || {
        let own = dora.call::<user::Access>(&AccessOf::default()).await.unwrap();
        (own.permissions.iter().any(|one| one.on.vms == 3)).then_some(own)
    })
    .await;
    let expected = vec![
        (Permission::Own, 0, 0, 0),
        (Permission::View, 3, 0, 2),
        (Permission::Operate, 2, 0, 1),
        (Permission::Provision, 2, 0, 1),
    ];
    assert_eq!(told(&own), expected);
    assert!(own.permissions[2].methods.iter().any(|method| method == "vm.start"), "{own:?}");
    assert_eq!(all.admin.call::<user::Access>(&of("dora")).await.unwrap(), own, "an admin is told the same");
    assert_eq!(dora.call::<user::Access>(&of("dora")).await.unwrap(), own, "by one's own name, too");

    // Of others nothing, and no hint who there is.
    let hidden = api_error(dora.call::<user::Access>(&of("admin")).await);
    let missing = api_error(dora.call::<user::Access>(&of("nobody")).await);
    assert_eq!((hidden.reason(), &hidden.message), (Reason::Forbidden, &missing.message));

    let admin = all.admin.call::<user::Access>(&AccessOf::default()).await.unwrap();
    assert_eq!(admin.permissions.len(), Permission::ALL.len() - 1, "{admin:?}");
    assert!(admin.permissions.iter().skip(1).all(|one| one.on.everything && one.on.hosts == 1), "{admin:?}");

    let change = UpdateUser { user: "dora".into(), password: None, bindings: None, disabled: Some(true) };
    all.admin.call::<user::Update>(&change).await.unwrap();
    let barred = all.admin.call::<user::Access>(&of("dora")).await.unwrap();
    assert_eq!((barred.barred, told(&barred)), (Some(Barred::Disabled), expected));
    all.stop().await;
}

/// The next noun of which something was changed.
pub async fn heard(watch: &mut Watch<NounChanges>) -> Option<String> {
    loop {
        let update = tokio::time::timeout(PATIENCE, watch.next()).await.expect("something is told in time");
        if let Some(Update::Item(change)) = update.unwrap() {
            return change.noun;
        }
    }
}

/// Nor what is counted, which nobody calls for.
async fn heard_but_pools(watch: &mut Watch<NounChanges>) -> Option<String> {
    loop {
        let noun = heard(watch).await;
        if !matches!(noun.as_deref(), Some("pool" | "system")) {
            return noun;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_change_is_heard_by_who_may_read_it() {
    let all = Installation::start().await;
    let vera = user(&all, "vera", Role::Viewer, Scope::All).await;
    let mut all_of_it: Watch<NounChanges> = all.admin.watch(&EMPTY).await.unwrap();
    let mut hers: Watch<NounChanges> = vera.watch(&EMPTY).await.unwrap();
    // To subscribe is answered before it is begun: calls go on until both have heard one.
    for watch in [&mut all_of_it, &mut hers] {
        until("changes are heard", async || {
            let name = format!("east-{}", xenith_common_ids::PoolId::new());
            let new = CreatePool { name, description: String::new() };
            all.admin.call::<pool::Create>(&new).await.unwrap();
            let told = tokio::time::timeout(std::time::Duration::from_millis(500), heard(watch)).await;
            told.ok().map(|noun| assert_eq!(noun.as_deref(), Some("pool")))
        })
        .await;
    }
    let change = UpdateUser { user: "vera".into(), password: None, bindings: None, disabled: Some(false) };
    all.admin.call::<user::Update>(&change).await.unwrap();
    let (bridge, pool) = ("xenbr0".into(), None);
    let new = CreateNetwork { name: "lan".into(), bridge, pool, ..CreateNetwork::default() };
    all.admin.call::<network::Create>(&new).await.unwrap();
    // Users are none of a viewer's business, also not that there was something with them.
    assert_eq!(heard_but_pools(&mut hers).await.as_deref(), Some("network"));
    let mut both = [heard_but_pools(&mut all_of_it).await, heard_but_pools(&mut all_of_it).await];
    both.sort();
    assert_eq!(both.map(Option::unwrap), ["network", "user"]);
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_is_as_far_as_a_role_reaches() {
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    let east = CreatePool { name: "east".into(), description: String::new() };
    let east = all.admin.call::<pool::Create>(&east).await.unwrap().id;
    all.add_host_to(Some("east"), "xen2", SimHypervisor::builder()).await;
    let pia = user(&all, "pia", Role::Operator, Scope::Pool(east)).await;
    all.run::<vm::Create>(&small("web-1")).await;

    // Where it could go is told of her own hosts only, whether it can or not.
    let plain = |name: &str, megabytes: u64| -> CreateVm {
        let memory = serde_json::json!({ "target": megabytes, "max": megabytes });
        let pvh = serde_json::json!({ "kind": "pvh", "boot": { "kernel": "vmlinuz" } });
        let wish = serde_json::json!({ "name": name, "pool": "east", "platform": pvh, "memory": memory, "vcpus": { "online": 1, "max": 1 }, "start": true });
        serde_json::from_value(wish).unwrap()
    };
    let plan = pia.plan::<vm::Create>(&plain("db-1", 64)).await.unwrap();
    let candidates = plan["placement"]["candidates"].as_array().unwrap();
    assert!(candidates.len() == 1 && candidates[0]["name"] == "xen2", "{plan}");
    let refused = api_error(pia.call::<vm::Create>(&plain("db-1", 1 << 22)).await);
    assert_eq!(refused.reason(), Reason::NoPlacement);
    assert!(refused.data.detail.iter().all(|line| line.starts_with("xen2 ")), "{refused:?}");

    // Her own tasks are hers to wait for and to see, also those of no VM, and of one that is gone.
    let started = pia.call::<vdi::Create>(&disk("data", "xen2")).await.unwrap().task;
    until("her disk is made", async || {
        let task = pia.call::<task::Get>(&TaskRef { task: started }).await.unwrap();
        task.status.is_over().then_some(())
    })
    .await;
    let list = pia.call::<task::List>(&ListTasks::default()).await.unwrap();
    assert!(list.items.iter().any(|task| task.id == started), "{list:?}");
    // What others do elsewhere is not.
    let elsewhere = all.admin.call::<vdi::Create>(&disk("other", "xen1")).await.unwrap().task;
    let told = api_error(pia.call::<task::Get>(&TaskRef { task: elsewhere }).await);
    assert_eq!(told.reason(), Reason::NotFound);
    all.stop().await;
}

/// A refusal of what is there and hidden says the same as one of what is not there.
async fn hides<M: Method<Result: std::fmt::Debug>>(
    of: &Client,
    names: [&str; 2],
    params: impl Fn(&str) -> M::Params,
) {
    let [hidden, missing] = names;
    let told = api_error(of.call::<M>(&params(hidden)).await);
    let never = api_error(of.call::<M>(&params(missing)).await);
    assert_eq!(told.reason(), Reason::NotFound, "{}: {told:?}", M::NAME);
    assert_eq!(told.message.replace(hidden, missing), never.message, "{}", M::NAME);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_shows_the_pools_and_networks_of_its_vms_and_hides_the_rest() {
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    for name in ["east", "west"] {
        let new = CreatePool { name: name.into(), description: String::new() };
        all.admin.call::<pool::Create>(&new).await.unwrap();
        let (bridge, pool) = ("xenbr0".into(), Some(name.to_owned()));
        let new = CreateNetwork { name: format!("{name}-net"), bridge, pool, ..CreateNetwork::default() };
        all.admin.call::<network::Create>(&new).await.unwrap();
    }
    all.add_host_to(Some("east"), "xen2", SimHypervisor::builder()).await;
    all.add_host_to(Some("west"), "xen3", SimHypervisor::builder()).await;
    let dora = user(&all, "dora", Role::Operator, Scope::Tag("dev".into())).await;
    let shown = async || {
        let pools = dora.call::<pool::List>(&ListRequest::default()).await.unwrap().items;
        let networks = dora.call::<network::List>(&ListRequest::default()).await.unwrap().items;
        let names = pools.into_iter().map(|pool| pool.name);
        let mut names: Vec<String> = names.chain(networks.into_iter().map(|network| network.name)).collect();
        names.sort();
        names.join(" ")
    };
    // Where she could make her first VM.
    assert_eq!(shown().await, "default default");
    let mut dev = small("dev-1");
    (dev.pool, dev.nics) = (Some("east".into()), vec![]);
    dev.tags.insert("dev".into());
    all.run::<vm::Create>(&dev).await;
    until("her VM's pool is there for her", async || {
        (shown().await == "default default east east-net").then_some(())
    })
    .await;

    let srs = all.admin.call::<sr::List>(&ListRequest::default()).await.unwrap().items;
    let sr_name = srs.first().map(|sr| sr.name.clone()).unwrap();
    hides::<host::Get>(&dora, ["xen3", "xen9"], |host| HostRef { host: host.into() }).await;
    // That of her VM is the pool's, too.
    hides::<host::Get>(&dora, ["xen2", "xen9"], |host| HostRef { host: host.into() }).await;
    hides::<sr::Get>(&dora, [&sr_name, "none-1"], |sr| SrRef { sr: sr.into() }).await;
    let vm_on = |network: &str, pool: &str| {
        let mut vm = small("dev-2");
        vm.tags.insert("dev".into());
        vm.pool = Some(pool.into());
        vm.nics[0].network = network.into();
        vm
    };
    hides::<vm::Create>(&dora, ["west-net", "none-net"], |network| vm_on(network, "east")).await;
    hides::<vm::Create>(&dora, ["west", "none"], |pool| vm_on("default", pool)).await;
    // Who sees both pools plugs a VM of the one into no network of the other, though the bridge has the same name there.
    let elsewhere = api_error(all.admin.plan::<vm::Create>(&vm_on("west-net", "east")).await);
    let nic = serde_json::json!({ "vm": "dev-1", "nic": { "network": "west-net" } });
    let attached = api_error(all.admin.plan::<vm::AttachNic>(&serde_json::from_value(nic).unwrap()).await);
    for refused in [elsewhere, attached] {
        let told = (refused.reason(), refused.data.field.as_deref());
        assert_eq!(told, (Reason::Invalid, Some("nics[0].network")), "{refused}");
    }
    assert!(all.admin.plan::<vm::Create>(&vm_on("east-net", "east")).await.is_ok());
    assert_eq!(dora.call::<host::List>(&ListRequest::default()).await.unwrap().total, 0);
    assert_eq!(dora.call::<sr::List>(&ListRequest::default()).await.unwrap().total, 0);

    // With the last VM of the tag it is hidden again.
    all.run::<vm::Delete>(&DeleteVm { vm: "dev-1".into(), keep_disks: false }).await;
    until("the pool is hidden again", async || (shown().await == "default default").then_some(())).await;
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_begins_a_task_sees_it_to_its_end() {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    let mut dev = small("dev-1");
    dev.tags.insert("dev".into());
    all.run::<vm::Create>(&dev).await;
    let dora = user(&all, "dora", Role::Operator, Scope::Tag("dev".into())).await;
    let delete = DeleteVm { vm: "dev-1".into(), keep_disks: false };
    let deletion = dora.call::<vm::Delete>(&delete).await.unwrap().task;
    until("the VM is gone, and she is told so", async || {
        let task = dora.call::<task::Get>(&TaskRef { task: deletion }).await.unwrap();
        task.status.is_over().then_some(())
    })
    .await;
    let told = dora.call::<task::Get>(&TaskRef { task: deletion }).await.unwrap();
    assert_eq!(told.user_name, "dora");
    let hers = ListTasks { filter: "user:dora".into(), ..ListTasks::default() };
    let hers = all.admin.call::<task::List>(&hers).await.unwrap();
    assert_eq!(
        hers.items.iter().map(|task| (task.id, &*task.user_name)).collect::<Vec<_>>(),
        [(deletion, "dora")]
    );
    // A token of hers is somebody else: it may be meant for less.
    let request = CreateToken { name: "ci".into(), days: 1, bindings: vec![] };
    let secret = dora.call::<token::Create>(&request).await.unwrap().secret;
    let script = all.client(Credential::Bearer(secret)).await;
    let hidden = api_error(script.call::<task::Get>(&TaskRef { task: deletion }).await);
    assert_eq!(hidden.reason(), Reason::NotFound);
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_and_tokens_end_when_they_should() {
    let installation = Installation::start().await;
    let nobody = installation.client(Credential::None).await;
    let refused = api_error(nobody.call::<vm::List>(&ListRequest::default()).await);
    assert_eq!(refused.reason(), Reason::Unauthenticated);

    let request = CreateToken { name: "ci".into(), days: 1, bindings: vec![] };
    let created = installation.admin.call::<token::Create>(&request).await.unwrap();
    let script = installation.client(Credential::Bearer(created.secret)).await;
    assert_eq!(script.call::<auth::Whoami>(&EMPTY).await.unwrap().name, "admin");
    let refused = api_error(script.call::<token::Create>(&request).await);
    assert_eq!(refused.reason(), Reason::Forbidden, "a token makes no tokens");
    installation.admin.call::<token::Revoke>(&TokenRef { token: "ci".into() }).await.unwrap();
    assert_eq!(api_error(script.call::<auth::Whoami>(&EMPTY).await).reason(), Reason::Unauthenticated);

    let dora = user(&installation, "dora", Role::Viewer, Scope::All).await;
    let disable = UpdateUser { user: "dora".into(), password: None, bindings: None, disabled: Some(true) };
    installation.admin.call::<user::Update>(&disable).await.unwrap();
    assert_eq!(api_error(dora.call::<auth::Whoami>(&EMPTY).await).reason(), Reason::Unauthenticated);
    let last = api_error(installation.admin.call::<user::Delete>(&UserRef { user: "admin".into() }).await);
    assert_eq!(last.reason(), Reason::Conflict, "the last admin stays");
    installation.stop().await;
}

/// What is pushed goes to who may still have it, and the last word says why it ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_loses_their_account_or_role_loses_what_they_follow() {
    let all = Installation::start().await;
    let change =
        |name: &str, bindings, disabled| UpdateUser { user: name.into(), password: None, bindings, disabled };
    for (name, lost, reason) in [
        ("vera", change("vera", None, Some(true)), Reason::Unauthenticated),
        ("dora", change("dora", Some(vec![]), None), Reason::Forbidden),
    ] {
        let theirs = user(&all, name, Role::Viewer, Scope::All).await;
        let mut watch: Watch<NounChanges> = theirs.watch(&EMPTY).await.unwrap();
        all.admin.call::<user::Update>(&lost).await.unwrap();
        let refused = until(&format!("what {name} follows has ended"), async || {
            let name = format!("{name}-{}", xenith_common_ids::PoolId::new());
            let new = CreatePool { name, description: String::new() };
            all.admin.call::<pool::Create>(&new).await.unwrap();
            let told = tokio::time::timeout(std::time::Duration::from_millis(500), watch.next()).await;
            told.ok()?.err()
        })
        .await;
        assert_eq!(api_error(Err::<(), _>(refused)).reason(), reason, "{name}");
    }
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_is_slowed_down() {
    let installation = Installation::start().await;
    let mut reasons = Vec::new();
    // Each wait is twice the one before: sooner or later one is longer than this machine takes for a try.
    while reasons.last() != Some(&Reason::Throttled) {
        assert!(reasons.len() < 12, "{reasons:?}");
        reasons.push(api_error(installation.login("admin", "wrong").await.map(|_| ())).reason());
    }
    assert_eq!(reasons[0], Reason::Unauthenticated);
    installation.stop().await;
}
