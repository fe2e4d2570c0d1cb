//! Parts of cloud-init's user data that are kept under a name, and what comes of them in a VM.

use std::fs;
use std::path::Path;

use data_encoding::BASE64_MIME;
use serde_json::{Value, json};
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator_api::{fragment, template, vm};
use xenith_orchestrator_types::Reason;

use crate::admins::{call, done};
use crate::harness::{Installation, api_error, small};

const SCRIPT: &str = "#!/bin/sh\necho ${name} ${role}\n";

async fn create(all: &Installation, name: &str, text: &str) -> Value {
    call(&all.admin, "fragment.create", json!({ "name": name, "user_data": text })).await.unwrap()
}

/// All files below a folder that are as large as a disk for cloud-init.
fn small_disks(folder: &Path) -> Vec<Vec<u8>> {
    let read = |entry: fs::DirEntry| match entry.metadata().unwrap() {
        about if about.is_dir() => small_disks(&entry.path()),
        about if about.len() == 1 << 20 => vec![fs::read(entry.path()).unwrap()],
        _ => vec![],
    };
    fs::read_dir(folder).unwrap().flat_map(|entry| read(entry.unwrap())).collect()
}

/// Name and text of each part of what the only VM of a host that has a disk for cloud-init is told, in their order.
fn told(all: &Installation) -> Vec<(String, String)> {
    let disks = small_disks(&all.hosts[0].folder().join("sr"));
    let mut archives = disks.iter().filter_map(|disk| {
        let text = String::from_utf8_lossy(disk).into_owned();
        let archive = &text[text.find("MIME-Version: 1.0")?..];
        Some(archive[..archive.find("--xenith-part--")?].to_owned())
    });
    let archive = archives.next().expect("a disk has an archive");
    assert_eq!(archives.next(), None, "one disk has it");
    let parts = archive.split("--xenith-part\n").skip(1).map(|part| {
        let (headers, text) = part.split_once("\n\n").unwrap();
        let name = headers.split("filename=\"").nth(1).unwrap().split('"').next().unwrap();
        let text = BASE64_MIME.decode(text.replace('\n', "\r\n").as_bytes()).unwrap();
        (name.to_owned(), String::from_utf8(text).unwrap())
    });
    parts.collect()
}

async fn with_template() -> Installation {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    done::<vm::Create>(&all, serde_json::to_value(small("golden-1")).unwrap()).await;
    done::<template::Create>(&all, json!({ "vm": "golden-1", "name": "golden" })).await;
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_is_told_its_templates_fragments_then_its_own() {
    let all = with_template().await;
    create(&all, "base", "#cloud-config\npackages: [vim]\n").await;
    create(&all, "join", SCRIPT).await;
    create(&all, "web", "#cloud-config\npackages: [nginx]\n").await;
    let set = json!({ "template": "golden", "fragments": ["base", "join"] });
    let template = call(&all.admin, "template.set_fragments", set).await.unwrap();
    assert_eq!(template["fragments"].as_array().unwrap().len(), 2, "{template}");

    let told_so = json!({
        "fragments": ["web"], "user_data": "#cloud-config\nfqdn: www.example.org\n", "variables": { "role": "web" },
    });
    let deploy = json!({ "template": "golden", "name": "web-1", "cloud_init": told_so });
    done::<template::Deploy>(&all, deploy).await;
    let parts = told(&all);
    let parts: Vec<_> = parts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    // cloud-configs from the last to the first, for the first one in there wins: see the module that makes it.
    let wanted = [
        ("02-join", "#!/bin/sh\necho web-1 web\n"),
        ("04-user-data", "#cloud-config\nfqdn: www.example.org\n"),
        ("03-web", "#cloud-config\npackages: [nginx]\n"),
        ("01-base", "#cloud-config\npackages: [vim]\n"),
    ];
    assert_eq!(parts, wanted);

    for (case, told_so, reason) in [
        ("twice", json!({ "fragments": ["web", "base"] }), Reason::Invalid),
        ("none of that name", json!({ "fragments": ["lost"] }), Reason::NotFound),
        ("beside an include", json!({ "user_data": "#include https://example.org\n" }), Reason::Invalid),
        ("a variable that nobody uses", json!({ "variables": { "other": "x" } }), Reason::Invalid),
    ] {
        let deploy = json!({ "template": "golden", "name": "web-2", "cloud_init": told_so });
        let error = api_error(call(&all.admin, "template.deploy", deploy).await);
        assert_eq!(error.reason(), reason, "{case}: {error}");
    }
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fragments_are_kept_changed_and_deleted() {
    let all = with_template().await;
    let made = create(&all, "base", "#cloud-config\n").await;
    assert_eq!(made["kind"], "cloud_config", "{made}");
    assert!(made.get("user_data").is_none() && made.get("sealed").is_none(), "{made}");
    for (case, params, reason) in [
        ("the same name", json!({ "name": "base", "user_data": "#!/bin/sh\n" }), Reason::Conflict),
        ("nothing for cloud-init", json!({ "name": "x", "user_data": "packages: [vim]\n" }), Reason::Invalid),
        ("an archive", json!({ "name": "x", "user_data": "MIME-Version: 1.0\n" }), Reason::Invalid),
        ("no name", json!({ "name": "", "user_data": "#!/bin/sh\n" }), Reason::Invalid),
        (
            "too long",
            json!({ "name": "x", "user_data": format!("#!{}", "/".repeat(64 * 1024)) }),
            Reason::Invalid,
        ),
    ] {
        let error = api_error(call(&all.admin, "fragment.create", params).await);
        assert_eq!(error.reason(), reason, "{case}: {error}");
    }

    let change = json!({ "fragment": "base", "user_data": SCRIPT, "description": "joins" });
    let changed = call(&all.admin, "fragment.update", change).await.unwrap();
    assert_eq!((&changed["kind"], &changed["description"]), (&json!("script"), &json!("joins")));
    let shown = call(&all.admin, "fragment.get", json!({ "fragment": made["id"] })).await.unwrap();
    assert_eq!((&shown["user_data"], &shown["fragment"]["name"]), (&json!(SCRIPT), &json!("base")));
    let same = json!({ "fragment": "base", "description": "" });
    call(&all.admin, "fragment.update", same).await.unwrap();
    let shown = call(&all.admin, "fragment.get", json!({ "fragment": "base" })).await.unwrap();
    assert_eq!(shown["user_data"], SCRIPT, "what is not said stays");
    let scripts = all.admin.all::<fragment::List, _>("kind:script pool:default").await.unwrap();
    assert_eq!(scripts.into_iter().map(|one| one.name).collect::<Vec<_>>(), ["base"]);
    assert!(all.admin.all::<fragment::List, _>("kind:boothook").await.unwrap().is_empty());

    let set = |fragments: Value| json!({ "template": "golden", "fragments": fragments });
    let twice = api_error(call(&all.admin, "template.set_fragments", set(json!(["base", "base"]))).await);
    assert_eq!(twice.reason(), Reason::Invalid, "{twice}");
    call(&all.admin, "template.set_fragments", set(json!(["base"]))).await.unwrap();
    let of = json!({ "fragment": "base" });
    let used = api_error(call(&all.admin, "fragment.delete", of.clone()).await);
    assert!(used.reason() == Reason::WrongState && used.message.contains("golden"), "{used}");
    call(&all.admin, "template.set_fragments", set(json!([]))).await.unwrap();
    call(&all.admin, "fragment.delete", of.clone()).await.unwrap();
    assert_eq!(api_error(call(&all.admin, "fragment.get", of).await).reason(), Reason::NotFound);
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fragments_are_of_a_pool_and_go_with_it() {
    let all = with_template().await;
    call(&all.admin, "pool.create", json!({ "name": "lab" })).await.unwrap();
    let other = json!({ "name": "other", "user_data": SCRIPT, "pool": "lab" });
    call(&all.admin, "fragment.create", other).await.unwrap();
    let set = json!({ "template": "golden", "fragments": ["other"] });
    let error = api_error(call(&all.admin, "template.set_fragments", set).await);
    assert_eq!(error.reason(), Reason::NotFound, "of another pool: {error}");
    call(&all.admin, "pool.delete", json!({ "pool": "lab" })).await.unwrap();
    assert!(all.admin.all::<fragment::List, _>("").await.unwrap().is_empty());
    all.stop().await;
}
