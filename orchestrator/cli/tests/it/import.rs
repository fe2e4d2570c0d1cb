//! From a file on this machine to a VM on a host: the command, the orchestrator and a real agent.

use std::path::{Path, PathBuf};

use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_hypervisor_agent_types::Power;
use xenith_orchestrator_api::{import, vm};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::import::{Import, ImportPhase, ImportRef, ListImports};
use xenith_orchestrator_types::vm::{StartVm, VmRef};
use xenith_vmware_import_generator::{self as generate, Options, StreamStyle};

use crate::harness::{Installation, api_error, until};
use crate::program::Program;

const SIZE: u64 = 20 * 1024 * 1024 + 7 * 512;

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap() };
        generate::sample(&files.path("disk.raw"), SIZE, 20, 7).unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A package with two disks, as ovftool writes it; `sums` is its manifest.
    fn ova(&self, sums: &str) -> String {
        let content = generate::RawImage::open(&self.path("disk.raw")).unwrap();
        let stream = self.path("stream.vmdk");
        generate::stream_optimized(&stream, &content, &Options::default(), StreamStyle::VMware).unwrap();
        let disk = std::fs::read(stream).unwrap();
        let ovf = generate::ovf_text(&["a.vmdk", "b.vmdk"], SIZE, "");
        let path = self.path("vm.ova");
        let mut members: Vec<(&str, &[u8])> = vec![("vm.ovf", ovf.as_bytes())];
        if !sums.is_empty() {
            members.push(("vm.mf", sums.as_bytes()));
        }
        members.extend([("a.vmdk", &disk[..]), ("b.vmdk", &disk[..])]);
        generate::tar(&path, &members).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// Signed in to a real orchestrator.
pub async fn program(installation: &Installation) -> Program {
    let token = serde_json::json!({ "name": "test", "days": 1 });
    let token = installation
        .admin
        .call::<xenith_orchestrator_api::token::Create>(&serde_json::from_value(token).unwrap())
        .await
        .unwrap();
    Program::alone()
        .with("XENITH_URL", &installation.url())
        .with("XENITH_FINGERPRINT", &installation.fingerprint.to_string())
        .with("XENITH_TOKEN", &token.secret)
}

async fn shown(installation: &Installation, name: &str) -> Import {
    installation.admin.call::<import::Get>(&ImportRef { import: name.into() }).await.unwrap()
}

fn vdi(installation: &Installation, import: &Import, disk: usize) -> Vec<u8> {
    std::fs::read(image(installation.hosts[0].folder(), import, disk)).unwrap()
}

fn image(host: &Path, import: &Import, disk: usize) -> PathBuf {
    host.join("sr").join(format!("{}.raw", import.disks[disk].vdi))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ova_becomes_a_vm_that_runs() {
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    let (files, program) = (Files::new(), program(&installation).await);
    let ova = files.ova("");
    let refused = program.run(&["import", "upload", &ova, "--name", "web-1"]).await.is(2);
    assert!(refused.err.contains("VM Network") && refused.err.contains("none"), "{refused:?}");
    let network = ["--network", "VM Network=default", "--memory", "128MiB", "--vcpus", "1"];
    let call = [&["import", "upload", &ova, "--name", "web-1", "--start"][..], &network].concat();
    let plan = program.run(&[&call[..], &["--dry-run", "-o", "json"]].concat()).await.is(0);
    assert!(plan.out.contains("web-1"), "{plan:?}");
    let done = program.run(&call).await.is(0);
    assert!(done.err.contains("CD/DVD drive 1 cannot come along"), "{done:?}");
    let vm = installation.vm("web-1").await;
    assert_eq!((vm.power, vm.spec.unwrap().disks.len()), (Power::Running, 2));
    let import = shown(&installation, "web-1").await;
    assert_eq!(import.phase, ImportPhase::Done);
    let reference = std::fs::read(files.path("disk.raw")).unwrap();
    for disk in 0..2 {
        let found = vdi(&installation, &import, disk);
        assert!(found[..reference.len()] == reference[..], "disk {disk} is another");
        assert!(
            found.len() as u64 == SIZE.next_multiple_of(1 << 20)
                && found[reference.len()..].iter().all(|b| *b == 0)
        );
    }
    let left = std::fs::read_dir(installation.hosts[0].folder().join("state/imports")).unwrap().count();
    assert_eq!(left, 0, "the host still knows of it");
    program.run(&["import", "archive", "web-1"]).await.is(0);
    let listed = installation.admin.call::<import::List>(&ListImports::default()).await.unwrap();
    assert_eq!(listed.total, 0);
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_is_locked_until_its_disks_are_whole_and_restarts_change_nothing() {
    let mut installation = Installation::with_host(SimHypervisor::builder()).await;
    let (files, program) = (Files::new(), program(&installation).await);
    let raw = files.path("disk.raw");
    let raw = raw.to_str().unwrap();
    let hardware = ["--memory", "128MiB", "--vcpus", "1", "--network", "default"];
    let begin = [&["import", "upload", raw, "--name", "db-1", "--no-send"][..], &hardware].concat();
    program.run(&begin).await.is(0);
    let refused = api_error(installation.admin.call::<vm::Start>(&StartVm { vm: "db-1".into() }).await);
    assert_eq!(refused.reason(), Reason::WrongState, "{refused}");
    until("it waits for its disks", async || {
        (shown(&installation, "db-1").await.phase == ImportPhase::Uploading).then_some(())
    })
    .await;
    installation.hosts[0].stop_agent().await;
    installation.restart().await;
    installation.hosts[0].start_agent().await;
    assert_eq!(shown(&installation, "db-1").await.phase, ImportPhase::Uploading);
    let other = files.path("other.raw");
    std::fs::write(&other, [1; 512]).unwrap();
    let refused = program.run(&["import", "send", "db-1", other.to_str().unwrap()]).await.is(2);
    assert!(refused.err.contains("sizes differ"), "{refused:?}");
    program.run(&["import", "send", "db-1", raw]).await.is(0);
    let import = until("it is done", async || {
        let import = shown(&installation, "db-1").await;
        import.phase.is_over().then_some(import)
    })
    .await;
    assert_eq!(import.phase, ImportPhase::Done, "{import:?}");
    let reference = std::fs::read(files.path("disk.raw")).unwrap();
    assert!(vdi(&installation, &import, 0)[..reference.len()] == reference[..]);
    assert_eq!(installation.vm("db-1").await.spec.unwrap().nics.len(), 1);
    installation.run::<vm::Start>(&StartVm { vm: "db-1".into() }).await;
    assert_eq!(installation.vm("db-1").await.power, Power::Running);
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_back_leaves_nothing_and_damage_is_found_first() {
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    let (files, program) = (Files::new(), program(&installation).await);
    let network = ["--network", "default", "--memory", "128MiB", "--vcpus", "1"];
    let damaged = files.ova(&format!("SHA256(a.vmdk)= {}\n", "00".repeat(32)));
    let call = [&["import", "upload", &damaged, "--name", "web-1"][..], &network].concat();
    let refused = program.run(&call).await.is(1);
    assert!(refused.err.contains("a.vmdk"), "{refused:?}");
    let whole = files.ova("");
    let begin = [&["import", "upload", &whole, "--name", "web-1", "--no-send"][..], &network].concat();
    program.run(&begin).await.is(0);
    let import = until("it waits for its disks", async || {
        let import = shown(&installation, "web-1").await;
        (import.phase == ImportPhase::Uploading).then_some(import)
    })
    .await;
    assert!(image(installation.hosts[0].folder(), &import, 0).exists());
    program.run(&["import", "roll-back", "web-1", "--yes"]).await.is(0);
    installation.wait_task(import.task).await;
    assert_eq!(shown(&installation, "web-1").await.phase, ImportPhase::RolledBack);
    assert!(!image(installation.hosts[0].folder(), &import, 0).exists());
    let gone = api_error(installation.admin.call::<vm::Get>(&VmRef { vm: "web-1".into() }).await);
    assert_eq!(gone.reason(), Reason::NotFound);
    installation.stop().await;
}

/// What XCP-ng would have written: a VM with two disks and a NIC.
fn xva(files: &Files) -> (String, Vec<u8>) {
    use xenith_common_block::MemorySource;
    use xenith_common_image::xva::{XvaDisk, XvaNic, XvaVm, XvaWriter};
    let content = std::fs::read(files.path("disk.raw")).unwrap();
    let disk = |name: &str, position| XvaDisk {
        name: name.into(),
        size: content.len() as u64,
        position,
        bootable: position == 0,
        read_only: false,
    };
    let vm = XvaVm {
        name: "from-xcp".into(),
        vcpus: 2,
        vcpus_max: 2,
        memory: 256 << 20,
        memory_max: 256 << 20,
        uefi: true,
        disks: vec![disk("root", 0), disk("data", 1)],
        nics: vec![XvaNic { mac: "00:16:3e:00:00:07".into(), network: "Pool-wide network".into() }],
        ..XvaVm::default()
    };
    let path = files.path("vm.xva");
    let mut writer = XvaWriter::new(std::fs::File::create(&path).unwrap(), "vm.xva", &vm).unwrap();
    for _ in 0..2 {
        let sink = writer.disk().unwrap();
        xenith_common_block::copy(&MemorySource::new(content.clone()), &sink, |_| Ok(())).unwrap();
        sink.finish().unwrap();
    }
    writer.finish().unwrap();
    (path.to_str().unwrap().to_owned(), content)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_xva_becomes_a_vm_that_runs() {
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    let (files, program) = (Files::new(), program(&installation).await);
    let (path, reference) = xva(&files);
    let network = ["--network", "Pool-wide network=default"];
    let call = [&["import", "upload", &path, "--start"][..], &network].concat();
    program.run(&call).await.is(0);
    let vm = installation.vm("from-xcp").await;
    let spec = vm.spec.unwrap();
    assert_eq!((vm.power, spec.disks.len(), spec.memory.target.mib()), (Power::Running, 2, 256));
    assert_eq!(spec.nics[0].mac.to_string(), "00:16:3e:00:00:07");
    let import = shown(&installation, "from-xcp").await;
    for disk in 0..2 {
        assert!(
            vdi(&installation, &import, disk)[..reference.len()] == reference[..],
            "disk {disk} is another"
        );
    }
    // Cut off: found before anything is made.
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(files.path("cut.xva"), &bytes[..bytes.len() - (1 << 20)]).unwrap();
    let cut = files.path("cut.xva");
    let call = [&["import", "upload", cut.to_str().unwrap(), "--name", "web-9"][..], &network].concat();
    let refused = program.run(&call).await;
    assert!(refused.code != 0 && refused.err.contains("cut.xva"), "{refused:?}");
    installation.stop().await;
}
