//! A file of a whole VM that a browser has: the page gives the pieces that it is asked for, and the VM is here.

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator_api::{import, token};
use xenith_orchestrator_types::import::{ImportPhase, ImportRef};
use xenith_orchestrator_types::task::TaskStatus;
use xenith_vmware_import::target::{self, TargetFormat};
use xenith_vmware_import_generator::{self as generate, Options, RawImage, StreamStyle};

use crate::harness::{Installation, PATIENCE};
use crate::wire::tls;

const SIZE: u64 = 24 << 20;

async fn secret(installation: &Installation) -> String {
    let wanted = serde_json::from_value(json!({ "name": "page", "days": 1 })).unwrap();
    installation.admin.call::<token::Create>(&wanted).await.unwrap().secret
}

struct Page<'a> {
    socket: WebSocketStream<TlsStream<TcpStream>>,
    file: &'a [u8],
    answered: usize,
}

impl<'a> Page<'a> {
    async fn open(installation: &Installation, secret: &str, (name, file): (&str, &'a [u8])) -> Self {
        let address = format!("wss://{}/upload/import", installation.address);
        let mut request = address.into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {secret}").parse().unwrap());
        let (socket, _) = client_async(request, tls(installation, b"http/1.1").await).await.unwrap();
        let mut page = Self { socket, file, answered: 0 };
        page.say(json!({ "open": { "file": name, "size": file.len() } })).await;
        page
    }

    async fn say(&mut self, said: Value) {
        self.socket.send(Message::text(said.to_string())).await.unwrap();
    }

    /// Gives what is asked for until something else is told. `None`: more than `most` was asked for.
    async fn told(&mut self, most: usize) -> Option<Value> {
        let conversation = async {
            loop {
                let text = match self.socket.next().await {
                    Some(Ok(Message::Text(text))) => text,
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    other => panic!("the conversation ended with {other:?}"),
                };
                let told: Value = serde_json::from_str(&text).unwrap();
                if told.get("progress").is_some() {
                    continue;
                }
                let Some(read) = told.get("read") else { return Some(told) };
                if self.answered == most {
                    return None;
                }
                self.answered += 1;
                let number = |name: &str| usize::try_from(read[name].as_u64().unwrap()).unwrap();
                let (from, length) = (number("from"), number("length"));
                let piece = self.file[from..from + length].to_vec();
                self.socket.send(Message::binary(piece)).await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, conversation).await.expect("something is told in time")
    }
}

/// A package as VMware writes it, and the disk in it.
fn package() -> (Vec<u8>, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    generate::sample(&path("disk.raw"), SIZE, 60, 7).unwrap();
    let content = RawImage::open(&path("disk.raw")).unwrap();
    generate::stream_optimized(&path("a.vmdk"), &content, &Options::default(), StreamStyle::VMware).unwrap();
    let (ovf, disk) = (generate::ovf_text(&["a.vmdk"], SIZE, ""), std::fs::read(path("a.vmdk")).unwrap());
    generate::tar(&path("vm.ova"), &[("vm.ovf", ovf.as_bytes()), ("a.vmdk", &disk[..])]).unwrap();
    (std::fs::read(path("vm.ova")).unwrap(), std::fs::read(path("disk.raw")).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ova_comes_from_a_browser_in_two_goes() {
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    let (secret, (file, disk)) = (secret(&installation).await, package());
    let mut page = Page::open(&installation, &secret, ("vm.ova", &file)).await;
    let found = page.told(usize::MAX).await.unwrap()["found"].take();
    assert_eq!((&found["name"], &found["memory_mib"]), (&json!("web & mail"), &json!(8192)), "{found}");
    assert_eq!(found["disks"], json!([{ "name": "a.vmdk", "capacity": SIZE }]));
    assert_eq!(found["nics"][0]["network"], "VM Network", "{found}");
    // What it is has been told by a part of it.
    assert!(page.answered < 20, "{} pieces", page.answered);

    let request = json!({
        "vm": {
            "name": "web-1",
            "platform": { "kind": "hvm", "firmware": "bios" },
            "vcpus": { "online": 1, "max": 1 },
            "memory": { "target": 128, "max": 128 },
            "disks": [{ "size": SIZE }],
            "nics": [],
        },
        "disks": [{ "name": "a.vmdk", "capacity": SIZE }],
        "file": "vm.ova",
        "no_prepare": true,
    });
    let request = serde_json::from_value(request).unwrap();
    let begun = installation.admin.call::<import::Upload>(&request).await.unwrap();
    let id = begun.object.clone().unwrap();
    let most = page.answered + 2;
    page.say(json!({ "send": { "import": id } })).await;
    assert_eq!(page.told(most).await, None, "the disk was sent before it was read");
    drop(page);

    let mut page = Page::open(&installation, &secret, ("vm.ova", &file)).await;
    page.told(usize::MAX).await.unwrap();
    page.say(json!({ "send": { "import": id, "again": true } })).await;
    assert_eq!(page.told(usize::MAX).await, Some(json!({ "whole": true })));
    assert_eq!(installation.wait_task(begun.task).await.status, TaskStatus::Done);
    let import = installation.admin.call::<import::Get>(&ImportRef { import: id }).await.unwrap();
    assert_eq!(import.phase, ImportPhase::Done);
    let path = installation.hosts[0].folder().join("sr").join(format!("{}.raw", import.disks[0].vdi));
    assert!(std::fs::read(path).unwrap() == disk, "the VDI is not what the file holds");
    installation.stop().await;
}

/// Formats whose tables lie anywhere: none could be read from front to back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_format_is_read_from_a_browser() {
    let installation = Installation::start().await;
    let secret = secret(&installation).await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    generate::sample(&path("disk.raw"), 4 << 20, 30, 9).unwrap();
    let disk = std::fs::read(path("disk.raw")).unwrap();
    for (name, format) in [("disk.qcow2", TargetFormat::Qcow2), ("disk.vhd", TargetFormat::Vhd)] {
        let target = target::create(&path(name), format, 4 << 20).unwrap();
        target.write_at(0, &disk).unwrap();
        target.finish().unwrap();
    }
    let content = RawImage::open(&path("disk.raw")).unwrap();
    generate::monolithic_sparse(&path("disk.vmdk"), &content, &Options::default()).unwrap();
    for name in ["disk.qcow2", "disk.vhd", "disk.vmdk", "disk.raw"] {
        let file = std::fs::read(path(name)).unwrap();
        let mut page = Page::open(&installation, &secret, (name, &file)).await;
        let told = page.told(usize::MAX).await.unwrap();
        assert_eq!(told["found"]["disks"], json!([{ "name": name, "capacity": 4 << 20 }]), "{told}");
    }
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_file_of_a_vm_is_refused() {
    let installation = Installation::start().await;
    let address = format!("wss://{}/upload/import", installation.address);
    let nobody = client_async(address.as_str(), tls(&installation, b"http/1.1").await).await;
    let Err(Error::Http(refused)) = nobody else { panic!("nobody has signed in") };
    assert_eq!(refused.status(), 401);

    let secret = secret(&installation).await;
    let descriptor = "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"vmfs\"\n\
        RW 8 VMFS \"disk-flat.vmdk\"\n";
    let cases: [(&str, &str, &[u8], &str); 3] = [
        ("garbage", "vm.ova", &[7; 4096], "vm.ova"),
        ("a descriptor without its disk", "disk.vmdk", descriptor.as_bytes(), "disk-flat.vmdk"),
        ("nothing", "vm.ova", &[], "vm.ova"),
    ];
    for (case, name, file, words) in cases {
        let mut page = Page::open(&installation, &secret, (name, file)).await;
        let error = page.told(usize::MAX).await.unwrap()["error"].take();
        assert_eq!(
            (&error["data"]["reason"], &error["passing"]),
            (&json!("invalid"), &json!(false)),
            "{case}"
        );
        assert!(error["message"].as_str().unwrap().contains(words), "{case}: {error}");
    }
    let mut page = Page::open(&installation, &secret, ("disk.img", &[7; 4096])).await;
    assert_eq!(page.told(0).await, None);
    page.socket.send(Message::binary(vec![7])).await.unwrap();
    let error = page.told(usize::MAX).await.unwrap()["error"].take();
    assert!(error["message"].as_str().unwrap().contains("1 bytes came"), "{error}");
    installation.stop().await;
}
