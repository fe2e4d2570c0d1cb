//! VMs out of vSphere: the API, the sagas and a real agent, against govmomi's simulator.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_hypervisor_agent_types::Power;
use xenith_orchestrator::app::ImportsLeft;
use xenith_orchestrator_api::{import, sr, vm, wave as wave_api};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::host::HostStatus;
use xenith_orchestrator_types::import::{
    ConnectSource, CutOverImport, Import, ImportPhase, ImportRef, LookAtSource, NetworkMapping,
    PrepareImport, SourceRef, SourceVm, StartImport, StorageMapping,
};
use xenith_orchestrator_types::vm::{PowerOffVm, StartVm, VmRef};
use xenith_orchestrator_types::wave::{
    CreateWave, PlanImports, Wave, WaveCaps, WaveOptions, WaveRef, WaveStatus, WaveStep,
};
use xenith_vmware_import::guest::helper::machine::Kit;
use xenith_vmware_import::plan::inventory::Power as SourcePower;
use xenith_vmware_import::vsphere::snapshots::SNAPSHOT;
use xenith_vmware_import::vsphere::soap::{Body, Flag};
use xenith_vmware_import::vsphere::source::Tracking;
use xenith_vmware_import::vsphere::{Credentials, MoRef, Vim, source};
use xenith_vmware_import_generator::{self as generate, Options, RawImage, StreamStyle};

use crate::harness::{EMPTY, Installation, api_error, until};
use crate::vcsim::{Server, descriptor};

const SIZE: usize = 6 << 20;

/// The simulator's own VM, in a folder with a disk that tests write to.
struct Site {
    server: Server,
    folder: tempfile::TempDir,
}

impl Site {
    fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    fn start_with(arguments: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = vec![0; SIZE];
        disk.iter_mut()
            .enumerate()
            .filter(|(at, _)| at >> 20 != 2)
            .for_each(|(at, byte)| *byte = (at / 499) as u8);
        std::fs::write(folder.path().join("disk1-flat.vmdk"), disk).unwrap();
        std::fs::write(folder.path().join("disk1.vmdk"), descriptor(SIZE as u64)).unwrap();
        let changed = folder.path().join("changed.json");
        std::fs::write(&changed, "[]").unwrap();
        let (files, changed) = (folder.path().to_str().unwrap(), changed.to_str().unwrap());
        let server = Server::start(&[arguments, &["-files", files, "-changed", changed]].concat())?;
        Some(Self { server, folder })
    }

    /// Lets exports give the disk as it is now.
    fn export(&self) {
        let content = RawImage::open(&self.folder.path().join("disk1-flat.vmdk")).unwrap();
        let to = self.folder.path().join("nfc.vmdk");
        generate::stream_optimized(&to, &content, &Options::default(), StreamStyle::VMware).unwrap();
    }

    async fn tracking(&self, vm: &str) -> Tracking {
        let (host, pin, vm) =
            (self.server.host.clone(), self.server.fingerprint.clone(), MoRef::new("VirtualMachine", vm));
        let look = move || {
            let credentials = Credentials { user: "user".into(), password: "pass".into() };
            let vim = Vim::connect(&host, credentials, Some(pin.parse().unwrap())).unwrap();
            source::tracking(&vim, &vm).unwrap()
        };
        tokio::task::spawn_blocking(look).await.unwrap()
    }

    /// A snapshot as an import takes it.
    async fn snapshot(&self, vm: &str) {
        let (host, pin, vm) =
            (self.server.host.clone(), self.server.fingerprint.clone(), MoRef::new("VirtualMachine", vm));
        let take = move || {
            let credentials = Credentials { user: "user".into(), password: "pass".into() };
            let vim = Vim::connect(&host, credentials, Some(pin.parse().unwrap())).unwrap();
            let body =
                Body::new().text("name", SNAPSHOT).flag("memory", Flag::False).flag("quiesce", Flag::False);
            vim.run("CreateSnapshot_Task", &vm, &body, std::time::Duration::from_secs(60)).unwrap();
        };
        tokio::task::spawn_blocking(take).await.unwrap();
    }

    fn request(&self, fingerprint: Option<&str>) -> ConnectSource {
        ConnectSource {
            name: "old".into(),
            address: self.server.host.clone(),
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
        let (host, pin, vm) =
            (self.server.host.clone(), self.server.fingerprint.clone(), MoRef::new("VirtualMachine", vm));
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
        storage: vec![],
        pool: None,
        host: None,
        tags: Default::default(),
        cut_over_at: None,
        downtime_s: None,
        interval_s: 3600,
        shutdown_s: 60,
        force: false,
        verify: true,
        track: false,
        no_prepare: false,
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
    let pinned = site.request(Some(&site.server.fingerprint));
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

    let plan = installation.admin.plan::<import::Start>(&wanted(&there)).await.unwrap();
    assert!(plan["spec"]["name"] == "web-1" && plan["assessment"]["movable"].is_boolean(), "{plan}");
    assert!(installation.admin.all::<vm::List, _>("").await.unwrap().is_empty(), "it was only planned");
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
    installation.becomes("web-1", Power::Running).await;

    let back = ImportRef { import: "web-1".into() };
    let runs = api_error(installation.admin.call::<import::RollBack>(&back).await);
    assert_eq!(runs.reason(), Reason::WrongState, "{runs}");
    installation.run::<vm::PowerOff>(&PowerOffVm { vm: "web-1".into(), discard_memory: false }).await;
    // Nobody knows whether it runs there.
    installation.hosts[0].stop_agent().await;
    installation.wait_host("xen1", HostStatus::Unknown).await;
    let away = api_error(installation.admin.call::<import::RollBack>(&back).await);
    assert_eq!(away.reason(), Reason::HostUnreachable, "{away}");
    assert_eq!(site.state(&id).await.0, SourcePower::Off, "two of it may run");
    installation.hosts[0].start_agent().await;
    until("it goes back", async || installation.admin.call::<import::RollBack>(&back).await.ok()).await;
    assert_eq!(site.state(&id).await, (SourcePower::On, 0), "the source runs again");
    installation.stop().await;
}

/// As of a running VM on a real host: no byte of its files is given. It goes to an SR of ours, and back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_disk_comes_by_export_into_the_sr_that_was_named() {
    let Some(site) = Site::start_with(&["-folder-locked"]) else { return };
    site.export();
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    let place = installation.hosts[0].folder().join("fast");
    std::fs::create_dir(&place).unwrap();
    let sr = serde_json::json!({
        "name": "fast", "host": "xen1", "spec": { "kind": "folder", "path": place.to_str().unwrap() },
    });
    let made = installation.admin.call::<sr::Create>(&serde_json::from_value(sr).unwrap()).await.unwrap();
    installation.wait_task(made.task).await;
    installation.admin.call::<import::Connect>(&site.request(Some(&site.server.fingerprint))).await.unwrap();
    let look = LookAtSource { source: "old".into(), vms: vec![] };
    let vms = installation.admin.call::<import::Inventory>(&look).await.unwrap();
    assert_eq!(vms[0].networks, ["DC0_DVPG0"], "a network by its key says nothing to people");
    let id = vms[0].id.clone();
    let to = |from: &str, to: &str| vec![StorageMapping { from: from.into(), to: to.into() }];
    let asked = |storage: Vec<StorageMapping>| StartImport {
        storage,
        track: true,
        cut_over_at: Some(time::OffsetDateTime::now_utc()),
        force: true,
        ..wanted(&id)
    };
    // No disk gets a place by a guess.
    let lost = api_error(installation.admin.call::<import::Start>(&asked(to("another", "fast"))).await);
    assert_eq!(lost.data.field.as_deref(), Some("storage"), "{lost}");
    let plan = |storage: serde_json::Value| {
        let text = serde_json::json!({ "source": "old", "vms": [id], "storage": storage });
        serde_json::from_value::<PlanImports>(text).unwrap()
    };
    let missing = plan(serde_json::json!([{ "from": "another", "to": "fast" }]));
    let missing = installation.admin.call::<import::Plan>(&missing).await.unwrap();
    let codes: Vec<&str> = missing.vms[0].findings.iter().map(|finding| finding.code.as_str()).collect();
    assert!(codes.contains(&"storage-unmapped") && missing.waves.is_empty(), "{missing:?}");
    let mapped = plan(serde_json::json!([{ "from": "*", "to": "fast" }]));
    let mapped = installation.admin.call::<import::Plan>(&mapped).await.unwrap();
    assert_eq!((mapped.waves.len(), mapped.blocked.len()), (1, 0), "{mapped:?}");

    assert_eq!(site.tracking(&id).await, Tracking::Off);
    let task = installation.admin.call::<import::Start>(&asked(to("*", "fast"))).await.unwrap().task;
    let done = installation.wait_task(task).await;
    let import = shown(&installation).await;
    assert_eq!(import.phase, ImportPhase::Done, "{done:?}");
    assert!(
        !import.passes.is_empty() && import.passes.iter().all(|pass| pass.method == "exported"),
        "{import:?}"
    );
    assert!(import.passes[0].reason.contains("500"), "why not by ranges: {import:?}");
    let mut bytes = vec![0; SIZE];
    let here = place.join(format!("{}.raw", import.disks[0].vdi));
    std::fs::File::open(here).unwrap().read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes == site.bytes(), "the VDI is not what the source is");
    assert_eq!((site.state(&id).await, site.tracking(&id).await), ((SourcePower::Off, 0), Tracking::On));
    installation.admin.call::<import::RollBack>(&ImportRef { import: "web-1".into() }).await.unwrap();
    assert_eq!((site.state(&id).await, site.tracking(&id).await), ((SourcePower::On, 0), Tracking::Off));
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_cuts_over_by_itself_when_the_rest_fits_the_downtime() {
    // Its guest cannot be asked to shut down: with force it is switched off at once.
    let Some(site) = Site::start_with(&["-no-tools"]) else { return };
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    installation.admin.call::<import::Connect>(&site.request(Some(&site.server.fingerprint))).await.unwrap();
    let look = LookAtSource { source: "old".into(), vms: vec![] };
    let vms = installation.admin.call::<import::Inventory>(&look).await.unwrap();
    let request = StartImport {
        interval_s: 1,
        downtime_s: Some(600),
        force: true,
        verify: false,
        ..wanted(&vms[0].id)
    };
    let task = installation.admin.call::<import::Start>(&request).await.unwrap().task;
    installation.wait_task(task).await;
    let import = shown(&installation).await;
    assert_eq!(import.phase, ImportPhase::Done, "{import:?}");
    // The first, one while it followed, and the last of a VM that is off.
    assert_eq!(import.passes.len(), 3, "{import:?}");
    assert_eq!(site.state(&vms[0].id).await, (SourcePower::Off, 0));
    assert!(vdi_of(&installation, &import) == site.bytes());
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolled_back_the_source_is_as_it_was_and_nothing_is_left_here() {
    let Some(site) = Site::start() else { return };
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    let pinned = site.request(Some(&site.server.fingerprint));
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
    installation.lists_vdis(0).await;
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

/// Half cut over: the source is off, and the host that was to take it does not answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolled_back_with_the_host_away_the_source_runs_again() {
    let Some(site) = Site::start() else { return };
    let mut installation = Installation::with_host(SimHypervisor::builder()).await;
    installation.admin.call::<import::Connect>(&site.request(Some(&site.server.fingerprint))).await.unwrap();
    let look = LookAtSource { source: "old".into(), vms: vec![] };
    let vms = installation.admin.call::<import::Inventory>(&look).await.unwrap();
    let id = vms[0].id.clone();
    let task = installation.admin.call::<import::Start>(&wanted(&id)).await.unwrap().task;
    reaches(&installation, ImportPhase::Following).await;
    installation.hosts[0].stop_agent().await;
    let now = CutOverImport { import: "web-1".into(), at: None, force: false };
    installation.admin.call::<import::CutOver>(&now).await.unwrap();
    until("the source is off", async || (site.state(&id).await.0 == SourcePower::Off).then_some(())).await;
    installation.admin.call::<import::RollBack>(&ImportRef { import: "web-1".into() }).await.unwrap();
    until("the source runs again", async || (site.state(&id).await == (SourcePower::On, 0)).then_some(()))
        .await;
    assert!(!shown(&installation).await.phase.is_over(), "its VDIs are still on the host");
    installation.hosts[0].start_agent().await;
    installation.wait_task(task).await;
    let import = shown(&installation).await;
    assert_eq!(import.phase, ImportPhase::RolledBack, "{import:?}");
    assert_eq!(site.state(&id).await, (SourcePower::On, 0));
    installation.lists_vdis(0).await;
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

/// Of one VM after the other; `cut_over_at` is past, so none waits for a person.
fn wave(vms: &[SourceVm], caps: WaveCaps) -> CreateWave {
    let options = WaveOptions {
        networks: vec![NetworkMapping { from: "*".into(), to: None }],
        cut_over_at: Some(time::OffsetDateTime::now_utc()),
        shutdown_s: 60,
        force: true,
        ..WaveOptions::default()
    };
    let vms = vms.iter().map(|vm| vm.id.clone()).collect();
    CreateWave { name: "friday".into(), source: "old".into(), vms, options, caps }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wave_moves_so_many_at_a_time_stands_and_goes_on() {
    let Some(site) = Site::start() else { return };
    let mut installation = Installation::with_host(SimHypervisor::builder()).await;
    installation.admin.call::<import::Connect>(&site.request(Some(&site.server.fingerprint))).await.unwrap();
    let look = LookAtSource { source: "old".into(), vms: vec![] };
    let vms = installation.admin.call::<import::Inventory>(&look).await.unwrap();
    let (moving, count) = (&vms[..3], 3);
    let caps = WaveCaps { overall: 1, ..WaveCaps::default() };
    let request = wave(moving, caps);
    let made = installation.admin.call::<wave_api::Create>(&request).await.unwrap();
    assert_eq!((made.status, made.members.len()), (WaveStatus::Planned, count));
    let twice = api_error(installation.admin.call::<wave_api::Create>(&request).await);
    assert_eq!(twice.reason(), Reason::Conflict, "{twice}");

    let friday = WaveRef { wave: "friday".into() };
    installation.admin.call::<wave_api::Start>(&friday).await.unwrap();
    let begun = |wave: &Wave| wave.members.iter().filter(|member| member.import.is_some()).count();
    until("the first one has begun", async || {
        let wave = installation.admin.call::<wave_api::Get>(&friday).await.unwrap();
        (begun(&wave) > 0).then_some(())
    })
    .await;
    installation.admin.call::<wave_api::Pause>(&friday).await.unwrap();
    // What has begun goes on to its end; an orchestrator that comes back begins no more either.
    installation.restart().await;
    let paused = until("the one that has begun is here", async || {
        let wave = installation.admin.call::<wave_api::Get>(&friday).await.unwrap();
        let here = wave.members.iter().filter(|member| member.step == WaveStep::Moved).count();
        (here == begun(&wave)).then_some(wave)
    })
    .await;
    assert!(begun(&paused) < count, "it went on while it was to stand: {paused:?}");
    assert_eq!(paused.status, WaveStatus::Paused);

    installation.admin.call::<wave_api::Start>(&friday).await.unwrap();
    let done = until("all are here", async || {
        let wave = installation.admin.call::<wave_api::Get>(&friday).await.unwrap();
        let at_once = wave.members.iter().filter(|member| member.step == WaveStep::Moving).count();
        assert!(at_once <= 1, "{wave:?}");
        (wave.status == WaveStatus::Done).then_some(wave)
    })
    .await;
    assert!(done.members.iter().all(|member| member.step == WaveStep::Moved), "{done:?}");
    assert_eq!(done.moved_mib, done.total_mib);
    for (vm, member) in moving.iter().zip(&done.members) {
        assert_eq!(site.state(&vm.id).await, (SourcePower::Off, 0), "{member:?}");
        assert!(!installation.vm(&member.name).await.power.has_domain());
    }
    installation.admin.call::<wave_api::Delete>(&friday).await.unwrap();
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_that_cannot_begin_is_told_and_tried_again() {
    let Some(mut site) = Site::start() else { return };
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    let pinned = site.request(Some(&site.server.fingerprint));
    let source = installation.admin.call::<import::Connect>(&pinned).await.unwrap();
    // A password that was renewed is told with the same name; another server is another source.
    let renewed = ConnectSource { password: "a newer word".into(), ..pinned.clone() };
    let renewed = installation.admin.call::<import::Connect>(&renewed).await.unwrap();
    assert_eq!((renewed.id, renewed.created), (source.id, source.created));
    let another = ConnectSource { address: "elsewhere.example".into(), ..pinned };
    let another = api_error(installation.admin.call::<import::Connect>(&another).await);
    assert_eq!(another.reason(), Reason::Conflict, "{another}");
    let look = LookAtSource { source: "old".into(), vms: vec![] };
    let vms = installation.admin.call::<import::Inventory>(&look).await.unwrap();
    let mut request = wave(&vms[..1], WaveCaps::default());
    request.options.networks.clear();
    installation.admin.call::<wave_api::Create>(&request).await.unwrap();
    let friday = WaveRef { wave: "friday".into() };
    for _ in 0..2 {
        installation.admin.call::<wave_api::Start>(&friday).await.unwrap();
        let done = until("it could not begin", async || {
            let wave = installation.admin.call::<wave_api::Get>(&friday).await.unwrap();
            (wave.status == WaveStatus::Done).then_some(wave)
        })
        .await;
        assert_eq!(done.members[0].step, WaveStep::Refused);
        assert!(done.members[0].message.as_ref().unwrap().contains("network"), "{done:?}");
    }
    let plan = PlanImports { source: "old".into(), ..serde_json::from_str("{\"source\":\"old\"}").unwrap() };
    let plan = installation.admin.call::<import::Plan>(&plan).await.unwrap();
    // All of the simulator's VMs have one MAC address, so none may move as it is.
    assert_eq!((plan.vms.len(), plan.blocked.len()), (vms.len(), vms.len()), "{plan:?}");
    let one =
        PlanImports { vms: vec![vms[0].id.clone()], ..serde_json::from_str("{\"source\":\"old\"}").unwrap() };
    let plan = installation.admin.call::<import::Plan>(&one).await.unwrap();
    assert_eq!((plan.waves.len(), plan.waves[0].vms.as_slice()), (1, &[vms[0].name.clone()][..]), "{plan:?}");
    assert!(plan.waves[0].best_seconds <= plan.waves[0].seconds && plan.waves[0].seconds > 0, "{plan:?}");
    // A VM here that has its name is in its way.
    let db = installation.orchestrator.as_ref().unwrap().app.db.clone();
    let named = (vms[0].name.clone(), xenith_common_ids::PoolId::new());
    db.vm_names.insert(&named, &xenith_common_ids::VmId::new()).await.unwrap();
    let plan = installation.admin.call::<import::Plan>(&one).await.unwrap();
    assert_eq!((plan.waves.len(), plan.blocked.len()), (0, 1), "{plan:?}");

    // A source that does not answer refuses nothing: its VMs wait for it.
    let monday = CreateWave { name: "monday".into(), ..wave(&vms[1..3], WaveCaps::default()) };
    installation.admin.call::<wave_api::Create>(&monday).await.unwrap();
    site.server.child.kill().unwrap();
    site.server.child.wait().unwrap();
    let monday = WaveRef { wave: "monday".into() };
    installation.admin.call::<wave_api::Start>(&monday).await.unwrap();
    let waits = until("it says what it waits for", async || {
        let wave = installation.admin.call::<wave_api::Get>(&monday).await.unwrap();
        wave.members.iter().any(|member| member.message.is_some()).then_some(wave)
    })
    .await;
    assert_eq!(waits.status, WaveStatus::Running);
    assert!(waits.members.iter().all(|member| member.step == WaveStep::Waiting), "{waits:?}");
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_cannot_be_prepared_waits_for_a_person() {
    let Some(site) = Site::start() else { return };
    let mut installation = Installation::with_host(SimHypervisor::builder()).await;
    // A helper cannot be made: its parts are not there.
    let nowhere = std::path::PathBuf::from("/nowhere");
    let kit = Kit { kernel: nowhere.clone(), modules: nowhere.clone(), program: nowhere, tools: Vec::new() };
    installation.hosts[0].stop_agent().await;
    installation.hosts[0].helpers = Some(kit);
    installation.hosts[0].start_agent().await;
    installation.admin.call::<import::Connect>(&site.request(Some(&site.server.fingerprint))).await.unwrap();
    let look = LookAtSource { source: "old".into(), vms: vec![] };
    let vms = installation.admin.call::<import::Inventory>(&look).await.unwrap();
    let request = StartImport {
        cut_over_at: Some(time::OffsetDateTime::now_utc()),
        force: true,
        verify: false,
        ..wanted(&vms[0].id)
    };
    let task = installation.admin.call::<import::Start>(&request).await.unwrap().task;
    let without = PrepareImport { import: "web-1".into(), without: true };
    for again in [false, true] {
        let waits = until("it waits for a person", async || {
            let import = shown(&installation).await;
            let tried = import.preparation.as_ref().is_some_and(|known| known.outcome == "failed");
            (import.phase == ImportPhase::NotPrepared && tried).then_some(import)
        })
        .await;
        assert!(waits.message.as_ref().unwrap().contains("/nowhere"), "{waits:?}");
        let locked = api_error(installation.admin.call::<vm::Start>(&StartVm { vm: "web-1".into() }).await);
        assert_eq!(locked.reason(), Reason::WrongState, "{locked}");
        if !again {
            installation.restart().await;
            let retry = PrepareImport { import: "web-1".into(), without: false };
            installation.admin.call::<import::Prepare>(&retry).await.unwrap();
        }
    }
    // The source is gone for good: what has been copied is moved all the same.
    let db = installation.orchestrator.as_ref().unwrap().app.db.clone();
    let (sources, _) = db.import_sources.all().await.unwrap();
    db.import_sources.delete(&sources[0]).await.unwrap();
    // While it is tried again, nothing is to be decided.
    until("the decision is taken", async || installation.admin.call::<import::Prepare>(&without).await.ok())
        .await;
    installation.wait_task(task).await;
    let import = shown(&installation).await;
    assert_eq!(import.phase, ImportPhase::Done, "{import:?}");
    assert_eq!(import.preparation.as_ref().unwrap().outcome, "declined", "{import:?}");
    assert!(vdi_of(&installation, &import) == site.bytes(), "the disk is as it was copied");
    let late = api_error(installation.admin.call::<import::Prepare>(&without).await);
    assert_eq!(late.reason(), Reason::WrongState, "{late}");
    installation.stop().await;
}

/// As when the source refused the password at the end: the VM has moved, and the source is told a new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_import_left_at_its_source_goes_later() {
    let Some(site) = Site::start() else { return };
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    installation.admin.call::<import::Connect>(&site.request(Some(&site.server.fingerprint))).await.unwrap();
    let look = LookAtSource { source: "old".into(), vms: vec![] };
    let vms = installation.admin.call::<import::Inventory>(&look).await.unwrap();
    let id = vms[0].id.clone();
    let request = StartImport {
        cut_over_at: Some(time::OffsetDateTime::now_utc()),
        force: true,
        verify: false,
        no_prepare: true,
        ..wanted(&id)
    };
    let task = installation.admin.call::<import::Start>(&request).await.unwrap().task;
    installation.wait_task(task).await;
    let import = shown(&installation).await;
    assert_eq!(import.phase, ImportPhase::Done, "{import:?}");

    let app = Arc::clone(&installation.orchestrator.as_ref().unwrap().app);
    site.snapshot(&id).await;
    app.clean_sources(&mut ImportsLeft::default()).await.unwrap();
    assert_eq!(site.state(&id).await, (SourcePower::Off, 1), "it was not left by the import");
    let left = |record: &mut xenith_orchestrator::model::ImportRecord| {
        (record.left_at_source, record.message) = (true, Some("a snapshot is there".into()));
    };
    app.db.imports.modify(&import.id, left).await.unwrap().unwrap();
    // By this look, or by that of the orchestrator itself.
    until("it is gone", async || {
        app.clean_sources(&mut ImportsLeft::default()).await.unwrap();
        shown(&installation).await.message.is_none().then_some(())
    })
    .await;
    assert_eq!(site.state(&id).await, (SourcePower::Off, 0));
    drop(app);
    installation.stop().await;
}
