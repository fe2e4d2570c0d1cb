//! One of everything that the API answers.

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::datetime;
use xenith_common_ids::{HostId, NetworkId, PoolId, TaskId, TokenId, UserId, VmId};
use xenith_hypervisor_agent_types::Power;
use xenith_orchestrator_types::event::{Event, Severity};
use xenith_orchestrator_types::host::{Host, HostStatus};
use xenith_orchestrator_types::network::Network;
use xenith_orchestrator_types::pool::Pool;
use xenith_orchestrator_types::task::{StepStatus, Task, TaskStarted, TaskStatus, TaskStep};
use xenith_orchestrator_types::token::Token;
use xenith_orchestrator_types::user::User;
use xenith_orchestrator_types::vm::{Vm, VmRow};
use xenith_orchestrator_types::{Binding, Page, Role, Scope};

use crate::server::FakeOrchestrator;

pub const AT: OffsetDateTime = datetime!(2026-11-23 08:00:00 UTC);
pub const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

fn id<T: std::str::FromStr>() -> T
where
    T::Err: std::fmt::Debug,
{
    ID.parse().unwrap()
}

pub fn page<T>(items: Vec<T>) -> Page<T> {
    Page { total: items.len() as u64, items, next: None, revision: None }
}

pub fn row(name: &str) -> VmRow {
    serde_json::from_value(json!({
        "id": VmId::new(), "name": name, "power": "running", "managed": true, "host": HostId::new(),
        "host_name": "xen1", "pool": "default", "tags": ["prod"], "memory": 256, "vcpus": 2, "kind": "pvh",
        "addresses": ["10.0.0.7"], "os": null,
    }))
    .unwrap()
}

pub fn vm() -> Vm {
    serde_json::from_value(json!({
        "id": ID, "name": "web-1", "description": "", "tags": ["prod"], "pool": ID, "host": ID,
        "power": Power::Running, "managed": true, "definition": 1, "observed": null, "pending_restart": [],
        "created": null,
        "spec": {
            "name": "web-1", "platform": { "kind": "pvh", "boot": { "kernel": "vmlinuz", "cmdline": "quiet" } },
            "vcpus": { "online": 2, "max": 4 }, "memory": { "target": 256, "max": 512 },
        },
    }))
    .unwrap()
}

pub fn user() -> User {
    let bindings = vec![Binding { role: Role::Admin, scope: Scope::All }];
    User {
        id: id::<UserId>(),
        name: "admin".into(),
        bindings,
        disabled: false,
        created: AT,
        last_login: None,
        totp: false,
        totp_due: false,
    }
}

pub fn host() -> Host {
    Host {
        id: id(),
        name: "xen1".into(),
        pool: id(),
        address: "10.0.0.1:8444".into(),
        peer_address: None,
        status: HostStatus::Connected,
        problem: None,
        maintenance: false,
        agent_version: None,
        local_sr: None,
        facts: None,
        vms: 3,
        last_heard: None,
        certificate_expires: AT,
    }
}

pub fn task(status: TaskStatus) -> Task {
    Task {
        id: id::<TaskId>(),
        method: "vm.start".into(),
        title: "Start web-1".into(),
        subjects: vec![format!("vm/{ID}")],
        user: None,
        user_name: "ann".into(),
        status,
        percent: 50,
        message: (status == TaskStatus::RolledBack).then(|| "xen1: not enough memory".into()),
        steps: vec![TaskStep { name: "ensure running".into(), status: StepStatus::Running }],
        created: AT,
        ended: None,
    }
}

pub fn started() -> TaskStarted {
    TaskStarted { task: id::<TaskId>(), object: Some(ID.into()) }
}

fn silence() -> Value {
    json!({
        "id": ID, "rule": ID, "subject": null, "comment": "", "until": "2026-11-23T08:00:00Z", "user": "admin",
    })
}

fn alarm_rule() -> Value {
    json!({
        "id": ID, "name": "busy", "enabled": true, "of": "vm", "filter": "tag:prod", "metric": "cpu",
        "when": "above", "threshold": 90.0, "clear": 80.0, "for_s": 600, "severity": "warning",
        "mail_to": ["ops@example.org"], "webhook": "", "syslog": "",
    })
}

fn event() -> Event {
    let subject = format!("host/{ID}");
    let (kind, message) = ("host.lost".into(), "xen1 is not heard".into());
    Event { id: id(), at: AT, severity: Severity::Warning, kind, subject, message }
}

fn token() -> Token {
    Token {
        id: id::<TokenId>(),
        user: id::<UserId>(),
        name: "ci".into(),
        bindings: vec![],
        created: AT,
        expires: AT,
    }
}

fn repository() -> Value {
    json!({
        "id": ID, "name": "main", "place": { "kind": "folder", "path": "/backups" }, "repository": "00",
        "checked": "2026-11-23T08:00:00Z", "problem": null, "concurrency": 0, "bandwidth": 0,
    })
}

fn balance() -> Value {
    json!({
        "pool": ID, "task": null, "moved_last_hour": 2,
        "policy": {
            "mode": "propose", "goal": "density", "threshold_percent": 10, "min_gain_percent": 5, "ceiling_percent": 80,
            "moves": 20, "at_once": 4, "per_host": 2, "per_hour": 60, "cool_down_minutes": 60,
            "power_hosts": true, "hosts_on": 2, "power_cool_down_minutes": 30,
        },
        "asleep": [{ "host": ID, "name": "xen3", "since": "2026-11-23T07:00:00Z", "comes_up": false }],
        "proposal": {
            "goal": "density", "made": "2026-11-23T08:00:00Z", "notes": [],
            "moves": [{
                "vm": ID, "name": "web-1", "from": ID, "from_name": "xen1", "to": ID, "to_name": "xen2",
                "memory": 1024, "reason": "xen1 is at 12 % of its memory, and others can take all of it",
            }],
            "hosts": [{
                "host": ID, "name": "xen1", "memory_percent": 12, "memory_percent_after": 0, "cpu_percent": 4,
                "cpu_percent_after": 0,
            }],
            "power_off": [{ "host": ID, "name": "xen1" }],
        },
    })
}

fn cpu_level() -> Value {
    let features = |ebx: &str| {
        format!("GenuineIntel:00000001:00000001:00000001:00000001:00000001:{ebx}:00000000:00000000")
    };
    json!({
        "pool": ID, "mode": { "kind": "auto" }, "levels": [features("00000020")],
        "hosts": [
            {
                "host": ID, "name": "xen1", "features": features("00010020"), "hidden": ["avx512f"], "lacking": [],
            },
            { "host": ID, "name": "xen2", "features": null, "hidden": [], "lacking": [] },
        ],
    })
}

fn backup_job() -> Value {
    json!({
        "id": ID, "name": "nightly", "enabled": true, "vms": [], "filter": "tag:prod", "repositories": [ID],
        "schedule": "30 2 * * *", "timezone": "Europe/Berlin", "concurrency": 2,
        "last_run": null, "next_run": "2026-11-24T01:30:00Z",
    })
}

fn backup_run() -> Value {
    json!({
        "id": ID, "job": ID, "job_name": "nightly", "status": "done", "started": "2026-11-23T08:00:00Z",
        "ended": "2026-11-23T08:01:00Z", "vms": [{
            "vm": ID, "name": "web-1", "status": "done", "task": ID, "tries": 1, "message": null, "size": 1 << 30,
            "read": 1 << 20, "new_bytes": 1 << 19, "stored": 1 << 18, "millis": 1000,
            "consistency": "crash-consistent", "not_quiesced_because": "the guest agent does not answer",
        }],
        "proofs": [{
            "vm": ID, "name": "web-1", "task": ID, "message": null, "proof": {
                "at": "2026-11-23T08:02:00Z", "answered": true, "said": "port 22 answers", "seconds": 9,
                "ports": [{ "port": 22, "answered": true }],
            },
        }],
    })
}

fn standby() -> Value {
    json!({
        "vm": ID, "name": "web-1-standby", "of": ID, "of_name": "web-1", "repository": ID, "repository_name": "main",
        "host": ID, "status": "ready", "backup": "0189", "backup_created": "2026-01-01T00:00:00Z",
        "newest": "2026-01-01T00:00:00Z", "automatic": true, "keep_macs": false,
    })
}

fn backup() -> Value {
    json!({
        "id": "0189", "repository": ID, "repository_name": "main", "vm": ID, "vm_name": "web-1",
        "created": "2026-11-23T08:00:00Z", "held": false, "proof": null, "consistency": "offline", "disks": [{
            "name": "web-1.xvda.0", "size": 1 << 30, "read": 1, "new_bytes": 1, "stored": 1, "millis": 1,
            "whole_because": null,
        }],
    })
}

fn fragment() -> Value {
    json!({
        "id": ID, "name": "base", "description": "", "pool": ID, "kind": "cloud_config",
        "changed": "2026-11-23T08:00:00Z",
    })
}

/// Every method answers something that fits.
#[allow(clippy::too_many_lines, reason = "a table with a line per method")]
pub fn answer_everything(server: &FakeOrchestrator) {
    let pool = Pool { id: id::<PoolId>(), name: "default".into(), description: String::new() };
    let network = Network {
        id: id::<NetworkId>(),
        name: "lan".into(),
        pool: id(),
        bridge: "xenbr0".into(),
        description: String::new(),
        uplink: None,
        mtu: None,
        encryption: Default::default(),
    };
    let group = json!({
        "id": ID, "name": "web", "pool": ID, "tag": "web", "description": "", "ingress": ["tcp:443"], "egress": [],
    });
    let nic = json!({
        "mac": "00:16:3e:00:00:01", "network": ID, "security_groups": ["web"],
        "settings": { "lock": "addresses", "addresses": ["10.0.0.7"], "link": "down", "rate_mbit": 100 },
    });
    let at = "2026-11-23T08:00:00Z";
    let audit = json!({
        "id": ID, "sequence": 1, "at": at, "phase": "done", "of": null, "user": null, "user_name": "admin",
        "from": "10.0.0.9", "method": "vm.start", "params": { "vm": "web-1" }, "outcome": null,
        "previous": "00", "hash": "01",
    });
    let vdi = json!({
        "id": ID, "name": "root", "size": 1 << 30, "sr": ID, "host": ID, "attached_to": null,
    });
    let import = json!({
        "id": ID, "name": "web-1", "vm": ID, "host": ID, "task": ID, "phase": "uploading", "message": null,
        "origin": { "kind": "upload", "file": "web-1.ova" }, "passes": [], "cut_over_at": null, "created": at,
        "disks": [{ "name": "web-1.vmdk", "vdi": ID, "capacity": 1 << 30, "done": 0 }], "ended": null,
        "archived": false,
    });
    let wave = json!({
        "id": ID, "name": "friday", "source": ID, "status": "running", "options": {}, "total_mib": 2048,
        "caps": { "overall": 20, "per_host": 4, "per_datastore": 8, "per_target": 8, "per_sr": 8 }, "moved_mib": 1024,
        "members": [{
            "vm": "vm-1", "name": "web-1", "transfer_mib": 1024, "step": "stuck", "import": ID,
            "message": "the guest has not shut down",
        }],
        "created": at, "ended": null,
    });
    let plan = json!({
        "vms": [], "blocked": ["db-1"], "total_mib": 2048, "notes": [],
        "freed": [{ "after_wave": 1, "after_seconds": 3600, "hosts": ["esx-2"] }],
        "waves": [{
            "number": 1, "vms": ["web-1"], "criticality": 0, "transfer_mib": 1024, "seconds": 3600,
            "best_seconds": 3000, "worst_seconds": 5400, "narrowest": "line", "exceeds_window": false,
        }],
    });
    let source = json!({
        "id": ID, "name": "vc", "address": "vc.example", "user": "me", "fingerprint": "AA", "about": "vCenter 8",
        "created": at,
    });
    let ticket = json!({
        "ticket": "secret", "address": "10.0.0.1:8445", "server_name": "a", "authority_pem": "", "disks": [],
    });
    let sr = json!({
        "id": ID, "name": "nas", "pool": ID, "spec": { "kind": "nfs", "server": "nas", "export": "/export/vms" },
        "hosts": [ID], "vdis": 2, "copy_on_write": true, "problem": null,
        "space": { "total": 1_u64 << 40, "free": 1_u64 << 39, "physical": 1 << 30, "promised": 1_u64 << 35 },
    });
    let template = json!({
        "id": ID, "name": "debian", "description": "", "pool": ID, "host": ID, "created": at, "ready": true,
        "platform": vm().spec.unwrap().platform, "vcpus": { "online": 1, "max": 1 },
        "memory": { "target": 1024, "max": 1024 }, "graphics": "vnc",
        "disks": [{ "device": "xvda", "vdi": ID, "sr": ID, "size": 1_u64 << 31 }],
    });
    let snapshot = json!({
        "id": ID, "name": "before", "description": "", "vm": ID, "host": ID, "parent": null, "current": true,
        "created": at, "paused_ms": 12, "consistency": "filesystem-consistent", "spec": vm().spec,
        "disks": [{ "device": "xvda", "vdi": ID, "snapshot": ID, "sr": ID, "size": 1 << 30 }],
    });
    let candidate = json!({ "host": ID, "name": "xen1", "score": 7, "reasons": ["8 GiB free"] });
    for method in xenith_orchestrator_api::methods() {
        let answer: Value = match method.name {
            "auth.login" => json!({ "session": "s", "expires": at, "user": user() }),
            "auth.whoami" | "user.get" | "user.create" | "user.update" | "user.totp_disable"
            | "user.totp_reset" => json!(user()),
            "user.access" => json!({ "user": ID, "name": "ann", "permissions": [] }),
            "user.totp_enrol" => {
                json!({ "uri": "otpauth://totp/Xenith:admin?secret=GEZD", "secret": "GEZD" })
            }
            "user.totp_confirm" => json!({ "codes": ["ABCD-EFGH-IJKL-MNOP", "QRST-UVWX-YZ23-4567"] }),
            "user.list" => json!(page(vec![user()])),
            "token.list" => json!(page(vec![token()])),
            "token.create" => json!({ "token": token(), "secret": "xt_secret" }),
            "role.list" => json!(page(vec![json!({ "role": "viewer", "permissions": ["view", "own"] })])),
            "host.list" => json!(page(vec![host()])),
            "host.get" | "host.set_maintenance" | "host.set_address" | "host.set_peer_address" => {
                json!(host())
            }
            "host.evacuate" => json!({
                "host": ID,
                "vms": [{ "vm": ID, "name": "web-1", "to": ID, "to_name": "xen2", "task": ID, "error": null }],
            }),
            "host.upgrade" | "host.reboot" | "host.shutdown" | "host.set_management" => json!(started()),
            "host.power_control" | "host.set_power_control" => json!({ "host": ID, "control": null }),
            "host.power" => json!({ "host": ID, "power": "off" }),
            "host.add" => json!({ "token": "join-me", "expires": at }),
            "host.hardware" => json!({
                "numa": [{ "node": 0, "memory_total": 1024, "memory_free": 512, "cpus": "0-3" }],
                "pci": [{ "address": "0000:03:00.0", "id": "8086:1533", "class": "network card", "driver": "igb" }],
                "passthrough_problem": null,
            }),
            "vm.bulk" => json!([{ "vm": ID, "name": "web-1", "task": ID, "error": null }]),
            "iso.list" => json!(page(vec![&vdi])),
            "pool.list" => json!(page(vec![&pool])),
            "pool.create" => json!(pool),
            "pool.balance" | "pool.update" => json!(started()),
            "pool.update_status" | "pool.pause_update" | "pool.resume_update" => {
                json!({ "pool": ID, "task": ID, "paused": true })
            }
            "pool.balance_status" | "pool.set_balance" => balance(),
            "pool.cpu_level" | "pool.set_cpu_level" => cpu_level(),
            "network.list" => json!(page(vec![&network])),
            "network.create" | "network.set_encryption" => json!(network),
            "network.status" => json!({
                "network": ID,
                "hosts": [{ "host": ID, "name": "xen1", "state": "failed", "reason": "this host has no eth1" }],
            }),
            "security_group.list" => json!(page(vec![&group])),
            "security_group.create" | "security_group.set_rules" => group.clone(),
            "vm.nics" => json!([nic]),
            "vm.set_nic" => nic.clone(),
            "vm.list" => json!(page(vec![row("web-1")])),
            "vm.count" => json!({ "total": 5, "running": 2 }),
            "vm.complete" | "filter.complete" => {
                json!({ "from": 6, "candidates": [{ "text": "running", "hint": "2" }] })
            }
            "vm.get" => json!(vm()),
            "vm.place" => json!({ "host": ID, "candidates": [candidate] }),
            "vdi.get" => vdi.clone(),
            "vdi.break_lease" => json!({
                "vdi": ID, "was": { "host": ID, "host_name": "xen1" }, "warning": "make sure that xen1 is off",
            }),
            "vdi.upload_ticket" => ticket.clone(),
            "vdi.export" => json!({
                "vdi": ID, "size": 1 << 30, "ticket": "secret", "address": "10.0.0.1:8445", "server_name": "a",
                "authority_pem": "",
            }),
            "sr.list" => json!(page(vec![&sr])),
            "sr.get" => sr.clone(),
            "sr.scan" => json!({
                "sr": ID, "host": ID, "copy_on_write": true, "space": sr["space"], "known": 2, "orphans": [],
                "missing": [], "left_overs": [], "damaged": [],
            }),
            "sr.adopt" => vdi.clone(),
            "sr.forget" => json!({}),
            "template.list" => json!(page(vec![&template])),
            "template.get" | "template.set_fragments" => template.clone(),
            "fragment.list" => json!(page(vec![fragment()])),
            "fragment.get" => {
                json!({ "fragment": fragment(), "user_data": "#cloud-config\npackages: [vim]\n" })
            }
            "fragment.create" | "fragment.update" => fragment(),
            "fragment.delete" => json!({}),
            "snapshot.list" => json!(page(vec![&snapshot])),
            "snapshot.get" => snapshot.clone(),
            "repository.list" => json!(page(vec![repository()])),
            "repository.get" | "repository.update" => repository(),
            "repository.key" => json!({ "kind": "key file", "secret": "00" }),
            "repository.delete" | "backup_job.delete" => json!({}),
            "backup_job.list" => json!(page(vec![backup_job()])),
            "backup_job.run" => json!({ "run": ID }),
            name if name.starts_with("backup_job.") => backup_job(),
            "backup_run.list" => json!(page(vec![backup_run()])),
            name if name.starts_with("backup_run.") => backup_run(),
            "backup.list" => json!(page(vec![backup()])),
            "backup.get" => backup(),
            "backup.files" => json!({ "disk": "web-1.xvda.0", "volumes": [], "more": false, "entries": [
                { "name": "passwd", "kind": "file", "size": 1, "mode": 420, "modified": 0 },
            ] }),
            "backup.download" => json!({
                "ticket": "00", "address": "xen1:8445", "server_name": "host", "authority_pem": "",
            }),
            "backup.unprotected" => {
                json!(page(vec![json!({ "vm": ID, "name": "web-1", "why": "no_job", "newest": null })]))
            }
            name if name.starts_with("repository.") || name.starts_with("backup.") => json!(started()),
            "standby.list" => json!(page(vec![standby()])),
            "standby.get" => standby(),
            "standby.release" => json!({}),
            name if name.starts_with("standby.") => json!(started()),
            "vdi.list" => json!({ "items": [vdi], "total": 1, "next": null }),
            "import.plan" => plan.clone(),
            "wave.list" => json!(page(vec![&wave])),
            "wave.delete" => json!({}),
            name if name.starts_with("wave.") => wave.clone(),
            "import.list" => json!({ "items": [import], "total": 1, "next": null }),
            "import.connect" => source.clone(),
            "import.sources" => json!([source]),
            "import.disconnect" => json!({}),
            "import.inventory" => json!([{
                "id": "vm-1", "name": "web-1", "power": "on", "host": "esx1", "os": "Debian", "vcpus": 2,
                "memory_mib": 1024, "disks": 1, "transfer_mib": 900, "networks": ["VM Network"], "template": false,
            }]),
            "import.assess" => json!([{
                "id": "vm-1", "name": "web-1", "transfer_mib": 900, "method": "changed blocks", "movable": true,
                "findings": [],
            }]),
            "import.start" => json!(started()),
            "import.upload" => json!(started()),
            "import.ticket" => ticket.clone(),
            name if name.starts_with("import.") => import.clone(),
            "console.vm" | "console.host" => json!({ "path": "/console/00", "expires": at }),
            "task.list" => json!(page(vec![task(TaskStatus::Done)])),
            "task.get" | "task.cancel" | "task.retry" | "task.abandon" => json!(task(TaskStatus::Done)),
            name if name.starts_with("ha.") => json!({
                "pool": ID, "armed": { "sr": ID, "lease_s": 60, "watchdog_s": 10, "beat_s": 5 },
                "hosts": [{ "host": ID, "name": "xen1", "state": "armed", "problem": null, "waiting": [] }],
                "priorities": [{ "vm": ID, "name": "web-1", "priority": "high" }],
            }),
            "orphan.list" => json!({ "items": [{
                "id": ID, "kind": "image", "subject": format!("vdi/{ID}"), "name": ID, "host": "xen1",
                "message": "local-xen1 holds an image that no record knows", "since": at,
            }], "total": 1, "next": null }),
            "alarm.list" => json!(page(vec![json!({
                "rule": ID, "rule_name": "busy", "severity": "warning", "of": "vm", "id": ID, "name": "web-1",
                "metric": "cpu", "value": 95.5, "threshold": 90.0, "since": "2026-11-23T08:00:00Z",
                "message": null, "silenced": false,
            })])),
            "alarm.silence" => silence(),
            "alarm.silences" => json!([silence()]),
            "alarm.unsilence" | "alarm_rule.delete" => json!({}),
            "alarm_rule.list" => json!([alarm_rule()]),
            "alarm_rule.get" | "alarm_rule.create" | "alarm_rule.update" => alarm_rule(),
            "metrics.list" => json!([{
                "metric": "cpu", "unit": "%", "of": ["vm", "host"], "summary": "How busy the CPUs are.",
            }]),
            "metrics.query" => json!({
                "from": "2026-11-23T08:00:00Z", "step_s": 60, "total": 1,
                "series": [{
                    "of": "vm", "id": ID, "name": "web-1", "metric": "cpu", "unit": "%",
                    "avg": [1.5, null, 3.0], "min": [1.0, null, 3.0], "max": [2.0, null, 3.0],
                }],
            }),
            "event.list" => json!(page(vec![event()])),
            "audit.list" => json!({ "items": [audit], "total": 1, "next": null }),
            "audit.verify" => json!({ "records": 3, "broken_at": null, "problem": null, "head": "ab" }),
            "mail.get" | "mail.set" => json!({
                "server": "mail.example.org", "port": 587, "security": "starttls", "user": "", "has_password": false,
                "from": "xenith@example.org", "authority_pem": "",
            }),
            "system.info" => json!({
                "version": "0.1.0", "authority": "ab", "authority_pem": "", "authority_expires": at,
                "certificate": { "fingerprint": "cd", "expires": at, "from_files": false },
            }),
            "system.health" => json!({
                "hosts": 1, "hosts_unknown": 0, "vms": 1, "vms_running": 1, "tasks_active": 0, "read_only": null,
                "changes_heard": 9,
            }),
            name if ["vm", "vdi", "sr", "template", "snapshot"]
                .contains(&name.split('.').next().unwrap()) =>
            {
                json!(started())
            }
            _ => json!({}),
        };
        server.answer(method.name, answer);
    }
    server.feed("task.subscribe", vec![json!(task(TaskStatus::Running)), json!(task(TaskStatus::Done))]);
    server.feed("event.subscribe", vec![json!(event())]);
    let rows = [row("web-1"), row("web-2")].map(|row| json!({ "kind": "added", "value": row }));
    let ready = json!({ "kind": "ready", "value": { "total": 2 } });
    server.feed("vm.subscribe", rows.into_iter().chain([ready]).collect());
}
