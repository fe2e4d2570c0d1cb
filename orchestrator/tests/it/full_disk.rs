//! The orchestrator on a disk that runs full: a small one in memory, in namespaces of the test.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator_api::{alarm, alarm_rule, event, host, pool, system, vm};
use xenith_orchestrator_types::alarm::AlarmOf;
use xenith_orchestrator_types::event::ListEvents;
use xenith_orchestrator_types::host::HostStatus;
use xenith_orchestrator_types::pool::CreatePool;
use xenith_orchestrator_types::{ListRequest, Reason};

use crate::alarms::{receiver, turns};
use crate::harness::{EMPTY, Installation, api_error, small, until};

/// Set for a child: the disk.
const DISK: &str = "XENITH_TEST_SMALL_DISK";
/// A GiB is kept free; this much more is there to be filled.
const SIZE: &str = "1300m";

/// Takes all but 900 MiB.
fn fill(disk: &Path) -> PathBuf {
    let path = disk.join("somebody-elses");
    let mut file = File::create(&path).unwrap();
    for _ in 0..400 {
        file.write_all(&vec![0; 1 << 20]).unwrap();
    }
    path
}

async fn read_only_and_back(disk: &Path) {
    let mut all = Installation::start_in(tempfile::tempdir_in(disk).unwrap()).await;
    all.add_host("xen1", SimHypervisor::builder()).await;
    let url = all.url();
    let http = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build().unwrap();
    let get = async |path: &str| {
        let answer = http.get(format!("{url}{path}")).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let figure = async |line: &str| get("/metrics").await.1.lines().any(|shown| shown == line).then_some(());
    let create = async |name: &str| {
        let new = CreatePool { name: name.into(), description: String::new() };
        all.admin.call::<pool::Create>(&new).await
    };
    create("before").await.unwrap();
    // Whoever is told of anything is told of this: no other alarm can be raised meanwhile.
    let (webhook, posted) = receiver().await;
    let rule =
        serde_json::json!({ "name": "large", "metric": "memory", "threshold": 1e15, "webhook": webhook });
    all.admin.call::<alarm_rule::Create>(&serde_json::from_value(rule).unwrap()).await.unwrap();
    assert!(all.admin.call::<alarm::List>(&ListRequest::default()).await.unwrap().items.is_empty());

    let foreign = fill(disk);
    until("the figures say so", async || figure("xenith_store_read_only 1").await).await;
    let (status, text) = get("/readyz").await;
    assert!(status == 503 && text.contains("full"), "{status} {text}");
    assert!(all.admin.call::<system::Health>(&EMPTY).await.unwrap().read_only.is_some());
    let alarms = until("the alarm is raised", async || {
        let alarms = all.admin.call::<alarm::List>(&ListRequest::default()).await.unwrap().items;
        (!alarms.is_empty()).then_some(alarms)
    })
    .await;
    assert!(
        matches!(&*alarms, [alarm] if alarm.of == AlarmOf::Orchestrator && alarm.rule.is_none()),
        "{alarms:?}"
    );
    assert!(alarms[0].message.as_ref().unwrap().contains("full"), "{alarms:?}");
    until("the webhook is told", async || (turns(&posted) == ["orchestrator raised"]).then_some(())).await;
    let refused = api_error(create("meanwhile").await);
    assert_eq!(refused.reason(), Reason::ReadOnly, "{refused}");
    let refused = api_error(all.admin.call::<vm::Create>(&small("web-1")).await);
    assert_eq!(refused.reason(), Reason::ReadOnly, "{refused}");
    // What reads goes on, and hosts are heard.
    let hosts = all.admin.call::<host::List>(&ListRequest::default()).await.unwrap();
    assert_eq!(hosts.items[0].status, HostStatus::Connected);
    assert_eq!(get("/healthz").await.0, 200);

    std::fs::remove_file(foreign).unwrap();
    until("it writes again", async || create("after").await.ok()).await;
    until("the figures say so", async || figure("xenith_store_read_only 0").await).await;
    assert_eq!(get("/readyz").await.0, 200);
    let told = ListEvents { filter: "kind:store.writable".into(), ..ListEvents::default() };
    until("it is told", async || {
        (all.admin.call::<event::List>(&told).await.unwrap().total == 1).then_some(())
    })
    .await;
    until("the alarm has ended, and that is told", async || {
        let over = all.admin.call::<alarm::List>(&ListRequest::default()).await.unwrap().items.is_empty();
        (over && turns(&posted) == ["orchestrator raised", "orchestrator cleared"]).then_some(())
    })
    .await;
    for kind in ["alarm.raised", "alarm.cleared"] {
        let told =
            ListEvents { filter: format!("kind:{kind} subject:orchestrator"), ..ListEvents::default() };
        assert_eq!(all.admin.call::<event::List>(&told).await.unwrap().total, 1, "{kind}");
    }
    let pools = all.admin.call::<pool::List>(&ListRequest::default()).await.unwrap().items;
    assert!(pools.iter().all(|pool| pool.name != "meanwhile"), "{pools:?}");
    all.stop().await;
    println!("read-only, and back");
}

#[test]
fn child_on_a_small_disk() {
    let Some(disk) = std::env::var_os(DISK) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(Box::pin(read_only_and_back(Path::new(&disk))));
}

#[test]
fn it_is_read_only_while_its_disk_is_full() {
    let disk = tempfile::tempdir().unwrap();
    let script = format!("mount -t tmpfs -o size={SIZE} none \"$1\" && shift && exec \"$@\"");
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"])
        .arg(disk.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "full_disk::child_on_a_small_disk", "--nocapture", "--test-threads=1"])
        .env(DISK, disk.path())
        .output()
        .unwrap();
    let text = [output.stdout.as_slice(), &output.stderr].map(String::from_utf8_lossy).concat();
    assert!(output.status.success() && text.contains("read-only, and back"), "{}: {text}", output.status);
}
