//! VMs out of vSphere: the API, the sagas and a real agent, against govmomi's simulator behind
//! `vmware-import/tests/vcsim`. Without Go and the library these tests say so and end.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};

use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_hypervisor_agent_types::Power;
use xenith_orchestrator_api::{import, vdi, vm};
use xenith_orchestrator_types::import::{
    ConnectSource, CutOverImport, Import, ImportPhase, ImportRef, LookAtSource, NetworkMapping, SourceRef,
    StartImport,
};
use xenith_orchestrator_types::vm::{StartVm, VmRef};
use xenith_orchestrator_types::{ListRequest, Reason};
use xenith_vmware_import::plan::inventory::Power as SourcePower;
use xenith_vmware_import::vsphere::{Credentials, MoRef, Vim, source};

use crate::harness::{EMPTY, Installation, api_error, until};

const SIZE: usize = 6 << 20;

/// The simulator's own VM, in a folder with a disk that tests write to.
struct Site {
    child: Child,
    folder: tempfile::TempDir,
    host: String,
    fingerprint: String,
}

impl Drop for Site {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ended_before = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn front() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        let binary = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("vcsim-{}", std::process::id()));
        let built = Command::new("go")
            .args(["build", "-o"])
            .arg(&binary)
            .arg(".")
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../vmware-import/tests/vcsim"))
            .envs([("GO111MODULE", "off"), ("GOPATH", "/usr/share/gocode"), ("GOFLAGS", "")])
            .output();
        if built.is_ok_and(|output| output.status.success()) {
            return Some(binary);
        }
        eprintln!("golang-go and golang-github-vmware-govmomi-dev are not installed: this is not tested");
        None
    };
    BUILT.get_or_init(build).as_deref()
}

impl Site {
    fn start() -> Option<Self> {
        let binary = front()?;
        let folder = tempfile::tempdir().unwrap();
        let mut disk = vec![0; SIZE];
        disk.iter_mut()
            .enumerate()
            .filter(|(at, _)| at >> 20 != 2)
            .for_each(|(at, byte)| *byte = (at / 499) as u8);
        std::fs::write(folder.path().join("disk1-flat.vmdk"), disk).unwrap();
        let text = format!(
            "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"vmfs\"\nRW {} VMFS \"disk1-flat.vmdk\"\n",
            SIZE / 512
        );
        std::fs::write(folder.path().join("disk1.vmdk"), text).unwrap();
        std::fs::write(folder.path().join("changed.json"), "[]").unwrap();
        let changed = folder.path().join("changed.json");
        let mut child = Command::new(binary)
            .arg("-files")
            .arg(folder.path())
            .arg("-changed")
            .arg(changed)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let text = |key: &str| ready[key].as_str().unwrap().to_owned();
        Some(Self { host: text("host"), fingerprint: text("fingerprint"), child, folder })
    }

    fn request(&self, fingerprint: Option<&str>) -> ConnectSource {
        ConnectSource {
            name: "old".into(),
            address: self.host.clone(),
            user: "user".into(),
            password: "a very secret word".into(),
            fingerprint: fingerprint.map(ToOwned::to_owned),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.folder.path().join("disk1-flat.vmdk")).unwrap()
    }

    /// As the running guest would, with the tracker told.
    fn write(&self, at: u64, bytes: &[u8]) {
        let file =
            std::fs::File::options().write(true).open(self.folder.path().join("disk1-flat.vmdk")).unwrap();
        file.write_all_at(bytes, at).unwrap();
        let told = format!("[[{at},{}]]", bytes.len());
        std::fs::write(self.folder.path().join("changed.json"), told).unwrap();
    }

    /// Power, and how many snapshots there are.
    async fn state(&self, vm: &str) -> (SourcePower, usize) {
        let (host, pin, vm) = (self.host.clone(), self.fingerprint.clone(), MoRef::new("VirtualMachine", vm));
        let look = move || {
            let credentials = Credentials { user: "user".into(), password: "pass".into() };
            let vim = Arc::new(Vim::connect(&host, credentials, Some(pin.parse().unwrap())).unwrap());
            let found = vim.properties(&vm, &["snapshot"]).unwrap();
            let snapshots = found.get("snapshot").map_or(0, |tree| tree.all("rootSnapshotList").count());
            (source::power(&vim, &vm).unwrap(), snapshots)
        };
        tokio::task::spawn_blocking(look).await.unwrap()
    }
}

fn wanted(vm: &str) -> StartImport {
    StartImport {
        source: "old".into(),
        vm: vm.into(),
        name: Some("web-1".into()),
        networks: vec![NetworkMapping { from: "*".into(), to: Some("default".into()) }],
        pool: None,
        host: None,
        tags: Default::default(),
        cut_over_at: None,
        downtime_s: None,
        interval_s: 3600,
        shutdown_s: 60,
        force: false,
        verify: true,
        start: false,
    }
}

async fn shown(installation: &Installation) -> Import {
    installation.admin.call::<import::Get>(&ImportRef { import: "web-1".into() }).await.unwrap()
}

async fn reaches(installation: &Installation, phase: ImportPhase) -> Import {
    until(&format!("the import is {}", phase.as_str()), async || {
        let import = shown(installation).await;
        assert!(import.phase == phase || !import.phase.is_over(), "{import:?}");
        (import.phase == phase).then_some(import)
    })
    .await
}

fn vdi_of(installation: &Installation, import: &Import) -> Vec<u8> {
    let path = installation.hosts[0].folder().join("sr").join(format!("{}.raw", import.disks[0].vdi));
    let mut bytes = vec![0; SIZE];
    std::fs::File::open(path).unwrap().read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_vm_moves_and_can_go_back() {
    let Some(site) = Site::start() else { return };
    let mut installation = Installation::with_host(SimHypervisor::builder()).await;
    let unknown = api_error(installation.admin.call::<import::Connect>(&site.request(None)).await);
    assert!(unknown.message.contains("fingerprint"), "{unknown}");
    let pinned = site.request(Some(&site.fingerprint));
    installation.admin.call::<import::Connect>(&pinned).await.unwrap();
    let sources = installation.admin.call::<import::Sources>(&EMPTY).await.unwrap();
    assert!(sources[0].about.contains("VMware"), "{sources:?}");
    let look = LookAtSource { source: "old".into(), vms: vec![] };
    let vms = installation.admin.call::<import::Inventory>(&look).await.unwrap();
    let (there, id) = (vms[0].name.clone(), vms[0].id.clone());
    let assessed = installation.admin.call::<import::Assess>(&look).await.unwrap();
    // All of the simulator's VMs have one MAC address.
    let clash = assessed[0].findings.iter().any(|finding| finding.code == "nic-mac-clash");
    assert!(assessed.len() == vms.len() && clash && !assessed[0].movable, "{:?}", assessed[0]);
    let mut lost = wanted(&there);
    lost.networks.clear();
    let refused = api_error(installation.admin.call::<import::Start>(&lost).await);
    assert_eq!(refused.data.field.as_deref(), Some("networks"), "{refused}");

    let task = installation.admin.call::<import::Start>(&wanted(&there)).await.unwrap().task;
    let copied = reaches(&installation, ImportPhase::Following).await;
    assert_eq!(copied.passes[0].method, "allocated", "{copied:?}");
    assert!(vdi_of(&installation, &copied) == site.bytes(), "the first pass is not what the source was");
    let twice = api_error(installation.admin.call::<import::Start>(&wanted(&there)).await);
    assert_eq!(twice.reason(), Reason::Conflict, "{twice}");
    let locked = api_error(installation.admin.call::<vm::Start>(&StartVm { vm: "web-1".into() }).await);
    assert_eq!(locked.reason(), Reason::WrongState, "{locked}");
    let in_use = installation.admin.call::<import::Disconnect>(&SourceRef { source: "old".into() }).await;
    assert_eq!(api_error(in_use).reason(), Reason::WrongState);

    site.write(8192, &[7; 4096]);
    installation.hosts[0].stop_agent().await;
    installation.restart().await;
    installation.hosts[0].start_agent().await;
    let now = CutOverImport { import: "web-1".into(), at: None, force: false };
    installation.admin.call::<import::CutOver>(&now).await.unwrap();
    let done = installation.wait_task(task).await;
    let import = shown(&installation).await;
    assert_eq!(import.phase, ImportPhase::Done, "{done:?}");
    assert!(vdi_of(&installation, &import) == site.bytes(), "the VDI is not what the source is");
    let methods: Vec<&str> = import.passes.iter().map(|pass| pass.method.as_str()).collect();
    assert_eq!(methods, ["allocated", "changed", "compared"]);
    assert_eq!(import.passes[1].read, 4096, "{import:?}");
    assert_eq!(site.state(&id).await, (SourcePower::Off, 0));
    let data = std::fs::read_dir(installation.hosts[0].folder().join("state/imports")).unwrap().count();
    assert_eq!(data, 0, "the host still knows of it");
    installation.run::<vm::Start>(&StartVm { vm: "web-1".into() }).await;
    assert_eq!(installation.vm("web-1").await.power, Power::Running);

    let back = ImportRef { import: "web-1".into() };
    let runs = api_error(installation.admin.call::<import::RollBack>(&back).await);
    assert_eq!(runs.reason(), Reason::WrongState, "{runs}");
    installation.run::<vm::PowerOff>(&VmRef { vm: "web-1".into() }).await;
    installation.admin.call::<import::RollBack>(&back).await.unwrap();
    assert_eq!(site.state(&id).await, (SourcePower::On, 0), "the source runs again");
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolled_back_the_source_is_as_it_was_and_nothing_is_left_here() {
    let Some(site) = Site::start() else { return };
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    let pinned = site.request(Some(&site.fingerprint));
    installation.admin.call::<import::Connect>(&pinned).await.unwrap();
    let look = LookAtSource { source: "old".into(), vms: vec![] };
    let vms = installation.admin.call::<import::Inventory>(&look).await.unwrap();
    let task = installation.admin.call::<import::Start>(&wanted(&vms[0].id)).await.unwrap().task;
    reaches(&installation, ImportPhase::Following).await;
    let back = ImportRef { import: "web-1".into() };
    installation.admin.call::<import::RollBack>(&back).await.unwrap();
    installation.wait_task(task).await;
    let import = shown(&installation).await;
    assert_eq!(import.phase, ImportPhase::RolledBack, "{import:?}");
    assert_eq!(site.state(&vms[0].id).await, (SourcePower::On, 0));
    let vdis = installation.admin.call::<vdi::List>(&ListRequest::default()).await.unwrap();
    assert_eq!(vdis.total, 0, "{vdis:?}");
    let gone = api_error(installation.admin.call::<vm::Get>(&VmRef { vm: "web-1".into() }).await);
    assert_eq!(gone.reason(), Reason::NotFound);
    // The password is nowhere in clear: not in the store, not in the host's state.
    for folder in [installation.folder().to_owned(), installation.hosts[0].folder().to_owned()] {
        for (path, bytes) in all_files(&folder) {
            let word = b"a very secret word";
            assert!(!bytes.windows(word.len()).any(|part| part == word), "{}", path.display());
        }
    }
    installation.stop().await;
}

fn all_files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(all_files(&path)),
            Ok(kind) if kind.is_file() && !path.ends_with(".raw") => {
                found.extend(std::fs::read(&path).ok().map(|bytes| (path, bytes)));
            }
            _ => {}
        }
    }
    found
}
