//! What flags and files become.

use serde_json::{Value, json};

use crate::program::Program;
use crate::samples::answer_everything;
use crate::server::FakeOrchestrator;

/// The parameters of the last call.
async fn sent(arguments: &[&str], input: &str) -> Value {
    let server = FakeOrchestrator::start().await;
    answer_everything(&server);
    Program::signed_in(&server).run_with_input(arguments, input).await.is(0);
    server.asked().pop().unwrap().params
}

fn split(text: &str) -> Vec<&str> {
    text.split(' ').collect()
}

#[tokio::test]
async fn flags_make_a_vm() {
    let params = sent(
        &split(
            "vm create web-1 --kind pvh --kernel vmlinuz --ramdisk initrd.img --cmdline console=hvc0 --memory 256MiB \
             --max-memory 512MiB --vcpus 1 --disk 1GiB --disk vdi=data,device=xvdc,access=ro --nic default --host xen1 \
             --start --tag prod --autostart 10:30 --on-crash stop --graphics vnc --cpu-weight 512 --cpu-pin 0-1 \
             --protect delete --custom owner=ann --together-with db-1",
        ),
        "",
    )
    .await;
    let expected = json!({
        "name": "web-1",
        "platform": {
            "kind": "pvh",
            "boot": { "kernel": "vmlinuz", "ramdisk": "initrd.img", "cmdline": "console=hvc0" },
        },
        "vcpus": { "online": 1, "max": 1 },
        "memory": { "target": 256, "max": 512 },
        "disks": [
            { "device": null, "size": 1_073_741_824, "vdi": null, "access": "read-write", "sr": null },
            { "device": "xvdc", "size": null, "vdi": "data", "access": "read-only", "sr": null },
        ],
        "nics": [{ "network": "default", "mac": null }],
        "graphics": "vnc",
        "on_crash": "stop",
        "on_reboot": "restart",
        "autostart": { "order": 10, "delay_s": 30 },
        "description": "",
        "tags": ["prod"],
        "pool": null,
        "host": "xen1",
        "start": true,
        "apart_from": [],
        "together_with": ["db-1"],
        "hardware": {
            "cd": null, "video": null, "cpu": { "weight": 512, "pin": "0-1" }, "pci": [], "guest_agent": false,
            "usb": [], "tpm": false, "secure_boot": false,
        },
        "protection": { "delete": true, "start": false, "migration": false },
        "custom": { "owner": "ann" },
    });
    assert_eq!(params, expected);
}

#[tokio::test]
async fn files_may_be_short_and_flags_win() {
    let toml = "name = \"a\"\nmemory = \"1GiB\"\nvcpus = 2\ndisks = [\"10GiB\", { size = \"1GiB\" }]\nnics = [\"lan\"]\n";
    let yaml = "name: a\nmemory: {target: 1GiB, max: 1024}\nvcpus: {online: 2, max: 2}\n\
                disks: [10GiB, {size: 1073741824}]\nnics: [{network: lan}]\n";
    let json = r#"{"name":"a","memory":1024,"vcpus":2,"disks":["10GiB",{"size":"1GiB"}],"nics":["lan"]}"#;
    let mut results = Vec::new();
    for text in [toml, yaml, json] {
        results.push(sent(&split("vm create b -f - --tag x"), text).await);
    }
    assert_eq!(results[0], results[1]);
    assert_eq!(results[0], results[2]);
    let made = &results[0];
    assert_eq!(made["name"], "b");
    assert_eq!(made["memory"], json!({ "target": 1024, "max": 1024 }));
    assert_eq!(made["disks"][0]["size"], 10_u64 << 30);
    assert_eq!(made["platform"]["kind"], "hvm");
}

#[tokio::test]
async fn an_update_says_only_what_changes() {
    let mut params = sent(&split("vm update web-1 --memory 1GiB"), "").await;
    let fields = params.as_object_mut().unwrap();
    fields.retain(|_, value| !value.is_null());
    // 512 MiB was the most; more than that raises it.
    assert_eq!(
        params,
        json!({ "vm": "web-1", "memory": { "target": 1024, "max": 1024 }, "no_autostart": false })
    );
    let params = sent(&split("vm update web-1 --cmdline debug --remove-tag prod --add-tag dev"), "").await;
    assert_eq!(params["platform"]["boot"], json!({ "kernel": "vmlinuz", "cmdline": "debug" }));
    assert_eq!(params["tags"], json!(["dev"]));
}

#[tokio::test]
async fn a_channel_to_the_guest_agent_comes_and_goes() {
    for (flag, is_wanted) in [("on", true), ("off", false)] {
        let params = sent(&split(&format!("vm update web-1 --guest-agent {flag}")), "").await;
        assert_eq!(params["hardware"]["guest_agent"], is_wanted);
    }
}

#[tokio::test]
async fn devices_are_changed_one_by_one() {
    let params = sent(&split("vm update web-1 --cd=debian --video-memory 32MiB --unprotect start"), "").await;
    assert_eq!(params["hardware"]["cd"], json!({ "iso": "debian" }));
    assert_eq!(params["hardware"]["video"], json!({ "adapter": "std", "memory": 32 }));
    assert_eq!(params["protection"]["start"], false);
    assert_eq!(params["memory"], Value::Null);
    let params = sent(&split("vm update web-1 --cd --cpu-cap 150 --pci 03:00.0"), "").await;
    assert_eq!(params["hardware"]["cd"], json!({ "iso": null }));
    assert_eq!(params["hardware"]["guest_agent"], false);
    assert_eq!(params["hardware"]["cpu"], json!({ "cap": 150 }));
    assert_eq!(params["hardware"]["pci"], json!(["0000:03:00.0"]));
}
