//! Disks and whole VMs between hosts and files of this machine: the command, the orchestrator and a real agent.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use xenith_common_image::xva::Xva;
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator_api::{snapshot, vdi, vm};
use xenith_orchestrator_types::vdi::{Vdi, VdiRef};
use xenith_orchestrator_types::vm::Vm;
use xenith_vmware_import_generator as generate;

use crate::harness::Installation;
use crate::import::program;
use crate::program::Program;

/// A whole number of MiB, so that what comes back has the size of what went.
const SIZE: u64 = 24 << 20;

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        generate::sample(&files.path("disk.raw"), SIZE, 20, 7).unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn reference(&self) -> Vec<u8> {
        std::fs::read(self.path("disk.raw")).unwrap()
    }

    /// By a reader that is not ours.
    fn by_qemu(&self, image: &str) -> Option<Vec<u8>> {
        let raw = self.path("converted.raw");
        let made =
            Command::new("qemu-img").args(["convert", "-O", "raw"]).arg(self.path(image)).arg(&raw).status();
        match made {
            Ok(status) => {
                assert!(status.success(), "{image}");
                Some(std::fs::read(&raw).unwrap())
            }
            Err(error) => {
                eprintln!("skipped: {error}; install qemu-utils");
                None
            }
        }
    }
}

async fn found(installation: &Installation, name: &str) -> Vdi {
    installation.admin.call::<vdi::Get>(&VdiRef { vdi: name.into() }).await.unwrap()
}

fn on_host(installation: &Installation, vdi: &Vdi) -> Vec<u8> {
    std::fs::read(installation.hosts[0].folder().join("sr").join(format!("{}.raw", vdi.id))).unwrap()
}

async fn uploaded(program: &Program, files: &Files) {
    let call = ["vdi", "upload", "data", &files.text("disk.raw"), "--host", "xen1"];
    program.run(&call).await.is(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_goes_to_a_host_and_comes_back_in_every_format() {
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    let (files, program) = (Files::new(), program(&installation).await);
    uploaded(&program, &files).await;
    let vdi = found(&installation, "data").await;
    assert!(on_host(&installation, &vdi) == files.reference());
    for name in ["out.raw", "out.qcow2", "out.vhd", "out.vmdk"] {
        program.run(&["vdi", "export", "data", &files.text(name)]).await.is(0);
        if name == "out.raw" {
            assert!(std::fs::read(files.path(name)).unwrap() == files.reference());
        }
        if let Some(bytes) = files.by_qemu(name) {
            // A VHD's geometry may round the size up.
            assert!(bytes[..SIZE as usize] == files.reference()[..], "{name} is another disk");
            assert!(bytes[SIZE as usize..].iter().all(|byte| *byte == 0), "{name}");
        }
        let again = program.run(&["vdi", "export", "data", &files.text(name)]).await.is(2);
        assert!(again.err.contains("there already"), "{again:?}");
    }
    let left: Vec<_> =
        std::fs::read_dir(files.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("part")), "{left:?}");
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_was_begun_is_sent_later() {
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    let (files, program) = (Files::new(), program(&installation).await);
    let disk = files.text("disk.raw");
    program.run(&["vdi", "upload", "data", &disk, "--host", "xen1", "--no-send"]).await.is(0);
    std::fs::write(files.path("other.raw"), [1; 512]).unwrap();
    let refused = program.run(&["vdi", "send", "data", &files.text("other.raw")]).await.is(2);
    assert!(refused.err.contains("sizes differ"), "{refused:?}");
    program.run(&["vdi", "send", "data", &disk]).await.is(0);
    assert!(on_host(&installation, &found(&installation, "data").await) == files.reference());
    let refused = program.run(&["vdi", "send", "data", &disk]).await.is(2);
    assert!(refused.err.contains("it is whole"), "{refused:?}");
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_goes_on_where_it_was() {
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    let (files, program) = (Files::new(), program(&installation).await);
    uploaded(&program, &files).await;
    let vdi = found(&installation, "data").await;
    // As a run that was killed at its beginning left it, and one of another disk.
    let mark = serde_json::to_value(xenith_vmware_import::upload::Mark::default()).unwrap();
    for id in [vdi.id.to_string(), xenith_common_ids::VdiId::new().to_string()] {
        std::fs::write(files.path("out.raw.xenith-part"), vec![0; SIZE as usize]).unwrap();
        let notes = json!({ "vdi": id, "size": SIZE, "format": "raw", "checkpoint": 0, "mark": mark });
        std::fs::write(files.path("out.raw.xenith-part.json"), notes.to_string()).unwrap();
        program.run(&["vdi", "export", "data", &files.text("out.raw")]).await.is(0);
        assert!(std::fs::read(files.path("out.raw")).unwrap() == files.reference());
        std::fs::remove_file(files.path("out.raw")).unwrap();
    }
    installation.stop().await;
}

async fn made(installation: &Installation, name: &str) -> Vm {
    let vdi = found(installation, "data").await.id;
    let create = json!({
        "name": name, "platform": { "kind": "hvm", "firmware": "uefi" }, "vcpus": { "online": 2, "max": 2 },
        "memory": { "target": 256, "max": 256 }, "disks": [{ "vdi": vdi }], "nics": [{ "network": "default" }],
        "description": "a & b", "tags": ["prod"],
    });
    let task = installation.run::<vm::Create>(&serde_json::from_value(create).unwrap()).await;
    assert_eq!(task.message, None, "{task:?}");
    installation.vm(name).await
}

/// The VM that came back is like the one that went.
async fn like(installation: &Installation, name: &str, before: &Vm, reference: &[u8]) {
    let (vm, spec) = (installation.vm(name).await, before.spec.as_ref().unwrap());
    let again = vm.spec.unwrap();
    assert_eq!(
        (&again.platform.kind(), again.vcpus, again.memory),
        (&spec.platform.kind(), spec.vcpus, spec.memory)
    );
    assert_eq!((again.disks.len(), again.nics.len()), (1, 1));
    let vdi = found(installation, &again.disks[0].vdi.to_string()).await;
    assert!(on_host(installation, &vdi) == reference, "{name} has another disk");
}

/// An XVA taken apart by tar, and the folder of its one disk.
fn untarred(xva: &Path) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    assert!(Command::new("tar").arg("-xf").arg(xva).arg("-C").arg(folder.path()).status().unwrap().success());
    let mut inside = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let disk = inside.find(|path| path.is_dir()).unwrap();
    (folder, disk)
}

/// The VM of an XVA in one that xva-img has written, which is not ours, where it is installed: older than ours, with SHA-1
/// for each piece.
fn written_by_xva_img(xva: &Path, disk_image: &Path, to: &Path) -> bool {
    let (folder, disk) = untarred(xva);
    std::fs::remove_dir_all(&disk).unwrap();
    std::fs::create_dir(&disk).unwrap();
    let shown = format!("{}/", disk.display());
    match Command::new("xva-img").arg("disk-import").arg(&shown).arg(disk_image).status() {
        Ok(status) => assert!(status.success(), "disk-import"),
        Err(error) => {
            eprintln!("skipped: xva-img: {error}");
            return false;
        }
    }
    let records = folder.path().join("ova.xml");
    let packed = Command::new("xva-img").arg("package").arg(to).arg(records).arg(&shown).status();
    assert!(packed.unwrap().success(), "package");
    true
}

/// Taken apart by xva-img, which is not ours, where it is installed.
fn by_xva_img(xva: &Path, reference: &[u8]) {
    let (folder, disk) = untarred(xva);
    let raw = folder.path().join("disk.raw");
    match Command::new("xva-img")
        .arg("-p")
        .arg("disk-export")
        .arg(format!("{}/", disk.display()))
        .arg(&raw)
        .status()
    {
        Ok(status) => assert!(status.success() && std::fs::read(&raw).unwrap() == reference),
        Err(error) => eprintln!("skipped: xva-img: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_goes_into_a_file_and_comes_back() {
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    let (files, program) = (Files::new(), program(&installation).await);
    uploaded(&program, &files).await;
    let (before, reference) = (made(&installation, "web-1").await, files.reference());
    for name in ["web.xva", "web.ova"] {
        program.run(&["vm", "export", "web-1", &files.text(name)]).await.is(0);
    }
    let xva = Xva::open(&files.path("web.xva")).unwrap();
    assert_eq!((xva.vm.name.as_str(), xva.vm.description.as_str(), xva.vm.uefi), ("web-1", "a & b", true));
    assert_eq!(xva.vm.nics[0].network, "default");
    by_xva_img(&files.path("web.xva"), &reference);
    let untar =
        Command::new("tar").arg("-xf").arg(files.path("web.ova")).arg("-C").arg(files.0.path()).status();
    assert!(untar.unwrap().success());
    if let Some(bytes) = files.by_qemu("disk1.vmdk") {
        assert!(bytes == reference, "the OVA has another disk");
    }
    for (file, name) in [("web.xva", "web-2"), ("web.ova", "web-3")] {
        let call =
            ["import", "upload", &files.text(file), "--name", name, "--network", "default", "--new-macs"];
        program.run(&call).await.is(0);
        like(&installation, name, &before, &reference).await;
    }
    if written_by_xva_img(&files.path("web.xva"), &files.path("disk.raw"), &files.path("foreign.xva")) {
        let foreign = files.text("foreign.xva");
        let call = ["import", "upload", &foreign, "--name", "web-4", "--network", "default", "--new-macs"];
        program.run(&call).await.is(0);
        like(&installation, "web-4", &before, &reference).await;
    }
    // One that runs is not read under its guest.
    let start = json!({ "vm": "web-1" });
    installation.run::<vm::Start>(&serde_json::from_value(start).unwrap()).await;
    let refused = program.run(&["vm", "export", "web-1", &files.text("late.xva")]).await;
    assert!(refused.code != 0 && refused.err.contains("stop the VM"), "{refused:?}");
    assert!(!files.path("late.xva").exists());
    // What a snapshot of it holds stands still.
    let kept = json!({ "vm": "web-1", "name": "now" });
    let task = installation.run::<snapshot::Create>(&serde_json::from_value(kept).unwrap()).await;
    assert_eq!(task.message, None, "{task:?}");
    program.run(&["vm", "export", "web-1", &files.text("late.xva"), "--snapshot", "now"]).await.is(0);
    by_xva_img(&files.path("late.xva"), &reference);
    assert_eq!(Xva::open(&files.path("late.xva")).unwrap().vm.disks.len(), 1);
    program.run(&["vdi", "export", "data", &files.text("late.raw"), "--snapshot", "now"]).await.is(0);
    assert!(std::fs::read(files.path("late.raw")).unwrap() == reference);
    installation.stop().await;
}
