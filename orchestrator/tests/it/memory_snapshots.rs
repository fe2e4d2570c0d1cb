//! Snapshots with memory, from what is asked to a VM that runs from that instant: what is refused says the way out.

use serde_json::{Value, json};
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_hypervisor_agent_types::Power;

use crate::admins::call;
use crate::harness::{Installation, small, until};

async fn done(all: &Installation, method: &str, params: Value) {
    let begun = call(&all.admin, method, params).await.unwrap_or_else(|error| panic!("{method}: {error}"));
    let task = all.wait_task(serde_json::from_value(begun["task"].clone()).unwrap()).await;
    assert_eq!(task.status.as_str(), "done", "{method}: {:?}", task.message);
}

async fn refused(all: &Installation, method: &str, params: Value) -> String {
    call(&all.admin, method, params).await.unwrap_err().to_string()
}

async fn heard(all: &Installation, power: Power) {
    until("it to be heard", async || (all.vm("web-1").await.power == power).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_goes_on_from_a_snapshot_with_memory_or_is_told_why_not() {
    let all = Installation::with_host(SimHypervisor::builder()).await;
    done(&all, "vm.create", serde_json::to_value(small("web-1")).unwrap()).await;
    let take = |name: &str| json!({ "vm": "web-1", "name": name, "memory": true });
    heard(&all, Power::Stopped).await;
    let off = refused(&all, "snapshot.create", take("early")).await;
    assert!(off.contains("memory is kept of a VM that runs"), "{off}");
    done(&all, "vm.start", json!({ "vm": "web-1" })).await;
    let mut quiesced = take("early");
    quiesced["quiesce"] = json!("demand");
    let both = refused(&all, "snapshot.create", quiesced).await;
    assert!(both.contains("would come back from its memory as it stood"), "{both}");
    let mut planned = take("early");
    planned["dry_run"] = json!(true);
    let plan = call(&all.admin, "snapshot.create", planned).await.unwrap();
    assert!(plan["plan"]["vm"].as_str().unwrap().contains("stands for what it changes last"), "{plan}");

    done(&all, "snapshot.create", take("early")).await;
    let kept = call(&all.admin, "snapshot.get", json!({ "snapshot": "early" })).await.unwrap();
    assert_eq!(kept["memory"]["kept"]["written_while"], "running", "{kept}");
    heard(&all, Power::Running).await;
    let sr = kept["memory"]["sr"].clone();
    let scan = call(&all.admin, "sr.scan", json!({ "sr": sr })).await.unwrap();
    assert_eq!(scan["orphans"], json!([]), "its memory is known: {scan}");

    done(&all, "vm.power_off", json!({ "vm": "web-1" })).await;
    done(&all, "vm.update", json!({ "vm": "web-1", "memory": { "target": 256, "max": 256 } })).await;
    let back = json!({ "snapshot": "early" });
    let other = refused(&all, "snapshot.revert", back.clone()).await;
    assert!(other.contains("the memory") && other.contains("--disks-only"), "{other}");
    done(&all, "snapshot.revert", json!({ "snapshot": "early", "disks_only": true })).await;
    heard(&all, Power::Stopped).await;
    done(&all, "vm.update", json!({ "vm": "web-1", "memory": { "target": 128, "max": 256 } })).await;
    done(&all, "snapshot.revert", back).await;
    heard(&all, Power::Running).await;
    let memory = kept["memory"]["vdi"].as_str().unwrap();
    let image = all.hosts[0].folder().join("sr").join(format!("{memory}.raw"));
    assert!(image.exists(), "it is there for the next time");
    done(&all, "snapshot.delete", json!({ "snapshot": "early" })).await;
    assert!(!image.exists(), "it goes with its snapshot");
    all.stop().await;
}
