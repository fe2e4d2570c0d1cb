//! The two proofs of the saga engine over every saga of ours: each step twice, a failure and a crash everywhere.
//!
//! A saga is begun as a user begins it, by a method of the API, against real agents over simulated hypervisors:
//! what the method writes in the saga's own transaction is proven along. A new saga is one line in [`sagas!`].

mod sender;
mod world;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use xenith_orchestrator_saga::harness::{subject_every_step_twice, subject_failures_and_crashes};

use world::{ApiCall, Case, Proof, World};

/// `name: "kind" after [calls] => ("method", parameters)`, and what [`Case`] can say of it besides: a test each.
macro_rules! sagas {
    ($($name:ident: $kind:literal after $before:expr => $call:expr $(, $say:ident($($what:expr)?))*;)*) => {
        fn kinds() -> BTreeSet<&'static str> {
            [$($kind),*].into()
        }

        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let proof = Proof(Arc::new(Case::new($before, $call)$(.$say($($what)?))*));
            proof.is_of_kind($kind).await;
            subject_every_step_twice(&proof).await;
            subject_failures_and_crashes(&proof).await;
        })*
    };
}

sagas! {
    create: "vm_create" after vec![] => web();
    create_and_start: "vm_create" after vec![] => with(web(), "start", json!(true));
    clone: "vm_create" after vec![web()] => with(on_web("vm.clone"), "name", json!("web-2"));
    clone_of_running: "vm_create" after started() => with(with(on_web("vm.clone"), "name", json!("web-2")), "start", json!(true));
    insert_cd: "vm_update" after cd_player() => with(on_web("vm.insert_cd"), "iso", json!("data"));
    create_in_sr: "vm_create" after vec![fast()] => with(web(), "disks", json!([{ "size": 1 << 20, "sr": "fast" }]));
    start: "vm_act" after vec![web()] => on_web("vm.start");
    shutdown: "vm_act" after started() => on_web("vm.shutdown"), guest_decides();
    reboot: "vm_act" after started() => on_web("vm.reboot"), guest_decides();
    power_off: "vm_act" after started() => on_web("vm.power_off"), guest_decides();
    pause: "vm_act" after started() => on_web("vm.pause"), guest_decides();
    unpause: "vm_act" after then(started(), "vm.pause") => on_web("vm.unpause"), guest_decides();
    suspend: "vm_act" after started() => on_web("vm.suspend"), guest_decides();
    discard: "vm_act" after then(started(), "vm.suspend") => with(on_web("vm.power_off"), "discard_memory", json!(true)), guest_decides();
    resume: "vm_act" after then(started(), "vm.suspend") => on_web("vm.resume"), guest_decides();
    rename: "vm_update" after vec![web()] => with(on_web("vm.update"), "name", json!("web-2"));
    attach_disk: "vm_update" after started() => with(on_web("vm.attach_disk"), "disk", json!({ "size": 1 << 20 }));
    detach_disk: "vm_update" after started() => with(on_web("vm.detach_disk"), "device", json!("xvda"));
    migrate: "vm_migrate" after vec![bare(), on_web("vm.start")] => on_web("vm.migrate"), hosts(2), told();
    migrate_stopped: "vm_migrate" after vec![bare()] => with(on_web("vm.migrate"), "host", json!("xen2")), hosts(2), told();
    migrate_with_disks: "vm_migrate" after vec![at_home(), on_web("vm.start")] => with(on_web("vm.migrate"), "move_disks", json!(true)), hosts(2), told();
    delete: "vm_delete" after vec![web()] => on_web("vm.delete");
    delete_but_keep_disks: "vm_delete" after vec![web()] => with(on_web("vm.delete"), "keep_disks", json!(true));
    import_upload: "import_upload" after vec![] => upload(), sends();
    repository_create: "repository_act" after vec![] => repository();
    repository_test: "repository_act" after vec![repository()] => ("repository.test", json!({ "repository": "main" }));
    backup_first: "backup_vm" after vec![repository(), web()] => back_up();
    backup_again: "backup_vm" after backed_up() => back_up();
    restore_new_vm: "backup_restore" after backed_up() => restore(json!({ "kind": "new_vm", "name": "web-2" }));
 restore_instantly: "backup_restore" after backed_up() => with(restore(json!({ "kind": "new_vm", "name": "web-2" })), "instant", json!(true));
    prove: "backup_restore" after backed_up() => ("backup.prove", json!({ "backup": "web-1@latest", "minutes": 1 }));
    prove_by_port: "backup_restore" after backed_up() => ("backup.prove", json!({ "backup": "web-1@latest", "minutes": 1, "ports": [22] }));
    restore_in_place: "backup_restore" after backed_up() => restore(json!({ "kind": "in_place" }));
    standby_create: "vm_create" after backed_up() => standby(), hosts(2);
    standby_follow_first: "standby_act" after vec![repository(), web(), back_up(), standby()] => of_standby("standby.follow"), hosts(2);
    standby_follow: "standby_act" after standing_by(back_up()) => of_standby("standby.follow"), hosts(2);
    standby_fail_over: "standby_act" after standing_by(back_up()) => of_standby("standby.fail_over"), hosts(2);
    standby_fail_back: "standby_act" after standing_by(on_web("vm.start")) => of_standby("standby.fail_back"), hosts(2), guest_decides();
    standby_delete: "vm_delete" after standing_by(back_up()) => of_standby("standby.delete"), hosts(2);
    vdi_create: "vdi_create" after vec![] => data();
    sr_create: "sr_attach" after vec![] => fast();
    sr_detach: "sr_detach" after vec![fast()] => on_fast("sr.detach");
    sr_attach: "sr_attach" after vec![fast(), on_fast("sr.detach")] => on_fast("sr.attach");
    vdi_in_sr: "vdi_create" after vec![fast()] => with(data(), "sr", json!("fast"));
    template_create: "template_create" after vec![web()] => template();
    template_delete: "template_delete" after vec![web(), template()] => of_template("template.delete");
    template_deploy: "vm_create" after vec![web(), template()] => with(
        with(of_template("template.deploy"), "name", json!("web-2")),
        "cloud_init",
        json!({})
    );
    vdi_import: "vdi_import" after vec![] => (
        "vdi.import",
        json!({ "name": "data", "host": "xen1", "url": world::image_server() })
    );
    vdi_resize: "vdi_resize" after vec![data()] => ("vdi.resize", json!({ "vdi": "data", "size": 2 << 20 }));
    vdi_clone: "vdi_create" after vec![data()] => ("vdi.clone", json!({ "vdi": "data", "name": "copy" }));
    vdi_copy_here: "vdi_copy" after vec![data(), fast()] => with(with(of_data("vdi.copy"), "name", json!("copy")), "sr", json!("fast"));
    vdi_copy_of_running: "vdi_copy" after started() => ("vdi.copy", json!({ "vdi": "web-1-xvda", "name": "copy" }));
    vdi_copy_there: "vdi_copy" after vec![data()] => with(with(of_data("vdi.copy"), "name", json!("copy")), "host", json!("xen2")), hosts(2);
    vdi_migrate: "vdi_copy" after vec![data()] => with(of_data("vdi.migrate"), "host", json!("xen2")), hosts(2);
    vdi_migrate_of_vm: "vdi_copy" after vec![web(), fast()] => ("vdi.migrate", json!({ "vdi": "web-1-xvda", "sr": "fast" }));
    vdi_migrate_of_running: "vdi_move" after vec![fast(), web(), on_web("vm.start")] => ("vdi.migrate", json!({ "vdi": "web-1-xvda", "sr": "fast" })), told();
    vdi_upload: "vdi_upload" after vec![] => (
        "vdi.upload",
        json!({ "name": "data", "host": "xen1", "capacity": sender::CAPACITY })
    ), sends();
    snapshot_create: "snapshot_create" after vec![web()] => snapshot("late");
    snapshot_of_running: "snapshot_create" after started() => snapshot("late");
    snapshot_revert: "snapshot_revert" after vec![web(), snapshot("early")] => of_early("snapshot.revert");
    snapshot_with_memory: "snapshot_create" after started() => with(snapshot("late"), "memory", json!(true));
    snapshot_revert_with_memory: "snapshot_revert" after kept_with_memory() => of_early("snapshot.revert");
    snapshot_revert_disks_only: "snapshot_revert" after kept_with_memory() => with(of_early("snapshot.revert"), "disks_only", json!(true));
    snapshot_delete_with_memory: "snapshot_delete" after kept_with_memory() => of_early("snapshot.delete");
    snapshot_delete: "snapshot_delete" after vec![web(), snapshot("early"), snapshot("late")] => of_early("snapshot.delete");
    snapshot_clone: "vm_create" after vec![web(), snapshot("early")] => with(of_early("snapshot.clone"), "name", json!("web-2"));
    delete_with_snapshots: "vm_delete" after vec![web(), snapshot("early")] => on_web("vm.delete");
    host_upgrade: "host_upgrade" after vec![] => upgrade();
    host_reboot: "host_restart" after vec![] => ("host.reboot", json!({ "host": "xen1" }));
    host_management: "host_management" after vec![] => ("host.set_management", json!({ "host": "xen1", "vlan": 7 }));
    vdi_delete: "vdi_delete" after vec![data()] => ("vdi.delete", json!({ "vdi": "data" }));
}

/// A VM with a disk and a NIC, not started.
fn web() -> ApiCall {
    let small = serde_json::to_value(crate::harness::small("web-1")).unwrap();
    with(("vm.create", small), "disks", json!([{ "size": 1 << 20 }]))
}

/// The same, on the first host, with its disk in that one's own SR.
fn at_home() -> ApiCall {
    with(web(), "host", json!("xen1"))
}

/// A VM on the first host that has no disk, so that every host reaches what it needs.
fn bare() -> ApiCall {
    with(with(web(), "disks", json!([])), "host", json!("xen1"))
}

/// The same, with its disk to be sent.
fn upload() -> ApiCall {
    let disks = json!([{ "name": "web.vmdk", "capacity": sender::CAPACITY }]);
    ("import.upload", json!({ "vm": web().1, "disks": disks, "file": "web.ova" }))
}

fn on_web(method: &'static str) -> ApiCall {
    (method, json!({ "vm": "web-1" }))
}

fn started() -> Vec<ApiCall> {
    vec![web(), on_web("vm.start")]
}

/// An HVM guest with an empty CD drive, started, and a VDI to put in.
fn cd_player() -> Vec<ApiCall> {
    let mut player = web();
    player.1["platform"] = json!({ "kind": "hvm" });
    player.1["hardware"] = json!({ "cd": {} });
    vec![data(), player, on_web("vm.start")]
}

fn data() -> ApiCall {
    ("vdi.create", json!({ "name": "data", "size": 1 << 20, "host": "xen1" }))
}

fn of_data(method: &'static str) -> ApiCall {
    (method, json!({ "vdi": "data" }))
}

/// An SR in a second folder of the host.
fn fast() -> ApiCall {
    let spec = json!({ "kind": "folder", "path": world::SECOND });
    ("sr.create", json!({ "name": "fast", "host": "xen1", "spec": spec }))
}

fn on_fast(method: &'static str) -> ApiCall {
    (method, json!({ "sr": "fast", "host": "xen1" }))
}

fn upgrade() -> ApiCall {
    ("host.upgrade", json!({ "host": "xen1", "url": crate::upgrades::image_folder() }))
}

fn template() -> ApiCall {
    ("template.create", json!({ "vm": "web-1", "name": "web" }))
}

fn of_template(method: &'static str) -> ApiCall {
    (method, json!({ "template": "web" }))
}

fn snapshot(name: &str) -> ApiCall {
    ("snapshot.create", json!({ "vm": "web-1", "name": name }))
}

/// A VM that was snapshotted with its memory, and is off.
fn kept_with_memory() -> Vec<ApiCall> {
    then([started(), vec![with(snapshot("early"), "memory", json!(true))]].concat(), "vm.power_off")
}

fn of_early(method: &'static str) -> ApiCall {
    (method, json!({ "snapshot": "early" }))
}

/// In a folder of the world's own.
fn repository() -> ApiCall {
    (
        "repository.create",
        json!({ "name": "main", "place": { "kind": "folder", "path": "/WORLD/repository" } }),
    )
}

fn back_up() -> ApiCall {
    ("backup.create", json!({ "vm": "web-1", "repositories": ["main"] }))
}

fn backed_up() -> Vec<ApiCall> {
    vec![repository(), web(), back_up()]
}

fn standby() -> ApiCall {
    ("standby.create", json!({ "vm": "web-1", "host": "xen2", "repository": "main", "keep_macs": true }))
}

fn of_standby(method: &'static str) -> ApiCall {
    (method, json!({ "standby": "web-1-standby" }))
}

/// One that holds a backup, and what happens after that.
fn standing_by(then: ApiCall) -> Vec<ApiCall> {
    vec![repository(), web(), back_up(), standby(), of_standby("standby.follow"), then]
}

fn restore(target: Value) -> ApiCall {
    ("backup.restore", json!({ "backup": "web-1@latest", "target": target }))
}

fn then(mut calls: Vec<ApiCall>, method: &'static str) -> Vec<ApiCall> {
    calls.push(on_web(method));
    calls
}

fn with(mut call: ApiCall, field: &str, value: Value) -> ApiCall {
    call.1[field] = value;
    call
}

#[tokio::test]
async fn every_saga_that_is_registered_has_a_line_here() {
    let registered: BTreeSet<_> = World::bare().await.registry().kinds().collect();
    let mut kinds = kinds();
    // Its source is a simulator in another process, which takes seconds for each of hundreds of cases: proven by
    // rolling it back and by restarting both sides, in tests/it/import.rs.
    kinds.insert("import_vsphere");
    // It writes down a store on a disk, and this world's is in memory: proven by a restart in the middle, and by what
    // comes back, in tests/it/own_backup.rs.
    kinds.insert("backup_self");
    // Its moves are sagas of their own, which are proven here; that it resumes, keeps within its limits and lets go is
    // proven beside it, in src/sagas/pool_balance.rs.
    kinds.insert("pool_balance");
    // The same of its hosts, in src/sagas/pool_update.rs.
    kinds.insert("pool_update");
    assert_eq!(kinds, registered, "sagas! needs a line for each saga of sagas::registry, and none beside");
}
