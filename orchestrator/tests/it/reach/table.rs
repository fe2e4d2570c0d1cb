//! What is called in the scene of [`super`], and with what.

use serde_json::{Value, json};

/// Methods that name nothing; of others only what is theirs is in the answer. With what they are asked here, and whether
/// the answer has something of the west for who sees everything: what proves that the test looks at the right thing.
pub fn lists() -> Vec<(&'static str, Value, bool)> {
    let some = |method| (method, json!({}), true);
    // Nothing of the kind is in the scene.
    let none = |method| (method, json!({}), false);
    vec![
        some("host.list"),
        some("pool.list"),
        some("vm.list"),
        some("network.list"),
        some("security_group.list"),
        some("vdi.list"),
        some("import.list"),
        some("sr.list"),
        none("iso.list"),
        some("template.list"),
        some("fragment.list"),
        some("snapshot.list"),
        some("backup_run.list"),
        some("backup.list"),
        some("backup.unprotected"),
        some("standby.list"),
        some("task.list"),
        none("orphan.list"),
        none("event.list"),
        none("alarm.list"),
        ("vm.complete", json!({ "text": "pool:" }), true),
        ("filter.complete", json!({ "noun": "host", "text": "pool:" }), true),
    ]
}

/// What is not tried here, and why.
pub const EVERYBODYS: [(&str, &str); 10] = [
    ("vm.count", "a number, which has a test of its own"),
    ("system.health", "numbers"),
    ("metrics.list", "what can be measured at all"),
    ("repository.list", "repositories belong to the installation: who backs up or restores names one"),
    ("repository.get", "the same"),
    (
        "backup_job.list",
        "jobs belong to the installation; which VMs they name is tried with the admins of pools",
    ),
    ("backup_job.get", "the same"),
    ("backup_run.get", "as backup_run.list: the run is everybody's, the VMs in it are those that one sees"),
    ("change.subscribe", "nouns, and of those one may read; it has a test with the roles"),
    ("event.subscribe", "it asks of each event what event.list asks"),
];

/// These are tried by code of their own.
pub const APART: [&str; 5] = ["vm.bulk", "task.subscribe", "vm.subscribe", "host.subscribe", "vdi.subscribe"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// It acts on what is named, and names nothing else of the caller's.
    On,
    /// With something of the east it acts on what is named: a copy goes there, a VM is made there.
    There,
    /// With something of the east it only uses what is named, for which it is enough to see it.
    Named,
}

pub struct Row {
    pub method: &'static str,
    pub noun: &'static str,
    pub aim: Aim,
    pub params: fn(&str) -> Value,
}

fn row(method: &'static str, noun: &'static str, aim: Aim, params: fn(&str) -> Value) -> Row {
    Row { method, noun, aim, params }
}

pub fn new_vm(name: &str, more: Value) -> Value {
    let mut new = json!({
        "name": name, "platform": { "kind": "pvh", "boot": { "kernel": "vmlinuz" } },
        "vcpus": { "online": 1, "max": 1 }, "memory": { "target": 64, "max": 64 }, "disks": [{ "size": 1 << 20 }],
    });
    new.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    new
}

pub fn upload(name: &str, more: Value) -> Value {
    let disks = json!([{ "name": "disk.raw", "capacity": 1 << 20 }]);
    json!({ "vm": new_vm(name, more), "disks": disks, "file": "disk.raw" })
}

/// Nobody asks there: it is refused before.
const URL: &str = "https://127.0.0.1:9/image";

fn of_vms() -> Vec<Row> {
    use Aim::{Named, On, There};
    let plain = [
        "vm.get",
        "vm.update",
        "vm.delete",
        "vm.start",
        "vm.shutdown",
        "vm.reboot",
        "vm.power_off",
        "vm.pause",
        "vm.unpause",
        "vm.suspend",
        "vm.resume",
        "vm.eject_cd",
        "vm.migrate",
        "console.vm",
        "snapshot.list",
        "task.list",
    ];
    let mut rows = Vec::from(plain.map(|method| row(method, "vm", On, |vm| json!({ "vm": vm }))));
    rows.extend([
        row("vm.attach_disk", "vm", On, |vm| json!({ "vm": vm, "disk": { "size": 1 << 20 } })),
        row("vm.attach_disk", "vdi", There, |vdi| json!({ "vm": "east-1", "disk": { "vdi": vdi } })),
        row("vm.create", "vdi", There, |vdi| {
            new_vm("east-9", json!({ "pool": "east", "disks": [{ "vdi": vdi }] }))
        }),
        row("vm.create", "vdi", There, |vdi| {
            let hvm = json!({ "kind": "hvm" });
            new_vm("east-9", json!({ "pool": "east", "platform": hvm, "hardware": { "cd": { "iso": vdi } } }))
        }),
        row("vm.migrate", "host", There, |host| json!({ "vm": "east-1", "host": host })),
        row("vm.detach_disk", "vm", On, |vm| json!({ "vm": vm, "device": "xvda" })),
        row("vm.insert_cd", "vm", On, |vm| json!({ "vm": vm, "iso": "west-disk" })),
        row("vm.clone", "vm", On, |vm| json!({ "vm": vm, "name": "east-9" })),
        row("vm.attach_nic", "vm", On, |vm| json!({ "vm": vm, "nic": { "network": "east-net" } })),
        row("vm.attach_nic", "network", Named, |net| json!({ "vm": "east-1", "nic": { "network": net } })),
        row("vm.nics", "vm", On, |vm| json!({ "vm": vm })),
        row("vm.detach_nic", "vm", On, |vm| json!({ "vm": vm, "mac": "02:00:00:00:00:01" })),
        row("vm.create", "pool", On, |pool| new_vm("east-9", json!({ "pool": pool }))),
        row("vm.create", "host", There, |host| new_vm("east-9", json!({ "host": host }))),
        row("vm.create", "host", Named, |host| new_vm("east-9", json!({ "pool": "east", "host": host }))),
        row("vm.create", "network", Named, |network| {
            new_vm("east-9", json!({ "pool": "east", "nics": [{ "network": network }] }))
        }),
        row("vm.create", "vm", Named, |vm| new_vm("east-9", json!({ "pool": "east", "apart_from": [vm] }))),
        row("vm.place", "pool", On, |pool| json!({ "memory": 64, "vcpus": 1, "pool": pool })),
        row("vm.place", "network", On, |network| json!({ "memory": 64, "vcpus": 1, "networks": [network] })),
        row("vm.place", "vm", On, |vm| json!({ "memory": 64, "vcpus": 1, "together_with": [vm] })),
        row("pool.balance_status", "pool", On, |pool| json!({ "pool": pool })),
        row("pool.cpu_level", "pool", On, |pool| json!({ "pool": pool })),
        row("pool.update_status", "pool", On, |pool| json!({ "pool": pool })),
        row("metrics.query", "vm", On, |vm| json!({ "of": "vm", "object": vm })),
        row("metrics.query", "host", On, |host| json!({ "of": "host", "object": host })),
        row("ha.show", "pool", On, |pool| json!({ "pool": pool })),
        row("ha.set_priority", "vm", On, |vm| json!({ "vm": vm, "priority": "high" })),
        row("network.status", "network", On, |network| json!({ "network": network })),
        row("host.get", "host", On, |host| json!({ "host": host })),
        row("host.hardware", "host", On, |host| json!({ "host": host })),
        row("task.get", "task", On, |task| json!({ "task": task })),
        row("task.cancel", "task", On, |task| json!({ "task": task })),
        row("task.retry", "task", On, |task| json!({ "task": task })),
    ]);
    rows
}

fn of_storage() -> Vec<Row> {
    use Aim::{Named, On, There};
    let plain = ["vdi.get", "vdi.migrate", "vdi.upload_ticket", "vdi.export", "vdi.delete"];
    let mut rows = Vec::from(plain.map(|method| row(method, "vdi", On, |vdi| json!({ "vdi": vdi }))));
    rows.extend([
        row("vdi.create", "host", On, |host| json!({ "name": "new", "size": 1 << 20, "host": host })),
        row(
            "vdi.create",
            "sr",
            Named,
            |sr| json!({ "name": "new", "size": 1 << 20, "host": "east-xen", "sr": sr }),
        ),
        row("vdi.import", "host", On, |host| json!({ "name": "new", "url": URL, "host": host })),
        row("vdi.upload", "host", On, |host| json!({ "name": "new", "capacity": 1 << 20, "host": host })),
        row("vdi.resize", "vdi", On, |vdi| json!({ "vdi": vdi, "size": 2 << 20 })),
        row("vdi.clone", "vdi", On, |vdi| json!({ "vdi": vdi, "name": "new" })),
        row("vdi.copy", "vdi", On, |vdi| json!({ "vdi": vdi, "name": "new" })),
        row("vdi.copy", "host", There, |host| json!({ "vdi": "east-disk", "name": "new", "host": host })),
        row("vdi.migrate", "host", There, |host| json!({ "vdi": "east-disk", "host": host })),
        row("sr.get", "sr", On, |sr| json!({ "sr": sr })),
        row("sr.scan", "sr", On, |sr| json!({ "sr": sr })),
        row("template.get", "template", On, |template| json!({ "template": template })),
        row("template.delete", "template", On, |template| json!({ "template": template })),
        row("template.deploy", "template", On, |of| json!({ "template": of, "name": "east-9" })),
        row("template.set_fragments", "template", On, |of| json!({ "template": of, "fragments": [] })),
        row("fragment.get", "fragment", On, |of| json!({ "fragment": of })),
        row("fragment.create", "pool", On, |pool| {
            json!({ "name": "new", "user_data": "#cloud-config\n", "pool": pool })
        }),
        row("fragment.update", "fragment", On, |of| json!({ "fragment": of, "description": "new" })),
        row("fragment.delete", "fragment", On, |of| json!({ "fragment": of })),
        row("template.create", "vm", On, |vm| json!({ "vm": vm, "name": "new" })),
        row("template.import", "host", On, |host| {
            let (vcpus, memory) = (json!({ "online": 1, "max": 1 }), json!({ "target": 64, "max": 64 }));
            let platform = json!({ "kind": "pvh", "boot": { "kernel": "vmlinuz" } });
            json!({
                "name": "new", "url": URL, "host": host, "platform": platform, "vcpus": vcpus, "memory": memory,
            })
        }),
        row("snapshot.create", "vm", On, |vm| json!({ "vm": vm, "name": "new" })),
        row("snapshot.get", "snapshot", On, |of| json!({ "snapshot": of })),
        row("snapshot.revert", "snapshot", On, |of| json!({ "snapshot": of })),
        row("snapshot.delete", "snapshot", On, |of| json!({ "snapshot": of })),
        row("snapshot.clone", "snapshot", On, |of| json!({ "snapshot": of, "name": "east-9" })),
    ]);
    rows
}

fn of_backups() -> Vec<Row> {
    use Aim::{On, There};
    let standbys = [
        "standby.get",
        "standby.follow",
        "standby.fail_over",
        "standby.fail_back",
        "standby.release",
        "standby.delete",
    ];
    let mut rows =
        Vec::from(standbys.map(|method| row(method, "standby", On, |of| json!({ "standby": of }))));
    let imports = [
        "import.get",
        "import.ticket",
        "import.cut_over",
        "import.prepare",
        "import.roll_back",
        "import.archive",
    ];
    rows.extend(imports.map(|method| row(method, "import", On, |import| json!({ "import": import }))));
    let backups = ["backup.get", "backup.files", "backup.prove", "backup.restore"];
    rows.extend(backups.map(|method| row(method, "backup", On, |backup| json!({ "backup": backup }))));
    rows.extend([
        row("backup.create", "vm", On, |vm| json!({ "vm": vm, "repositories": ["main"] })),
        row("backup.download", "backup", On, |backup| json!({ "backup": backup, "at": "1:/" })),
        row("backup.prove", "host", There, |host| json!({ "backup": "east-1@latest", "host": host })),
        row("backup.restore", "host", There, |host| json!({ "backup": "east-1@latest", "host": host })),
        row("standby.create", "vm", On, |vm| json!({ "vm": vm, "repository": "main", "host": "east-xen" })),
        row(
            "standby.create",
            "host",
            There,
            |host| json!({ "vm": "east-1", "repository": "main", "host": host }),
        ),
        row("import.upload", "pool", On, |pool| upload("east-9", json!({ "pool": pool }))),
        row("import.upload", "host", There, |host| upload("east-9", json!({ "host": host }))),
    ]);
    rows
}

pub fn table() -> Vec<Row> {
    of_vms().into_iter().chain(of_storage()).chain(of_backups()).collect()
}
