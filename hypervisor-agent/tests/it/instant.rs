//! A VM that runs from its backup while its disk comes in: agents and servers die meanwhile, and every byte is right.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command as Program;
use std::sync::Arc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xenith_backup::id::BackupId;
use xenith_backup::ingest::{self, Changes, DiskJob, Options, Progress};
use xenith_backup::keys::{Credential, KdfCost, Keyring};
use xenith_backup::store::LocalStore;
use xenith_backup::{Repository, chunk::Chunking, gc, hold};
use xenith_common_block::MemorySource;
use xenith_common_ids::{SrId, VdiId, VmId};
use xenith_hypervisor_agent::instant::Launcher;
use xenith_hypervisor_agent::instant::control::{self, Ask, Attach};
use xenith_hypervisor_agent_api::{Command, CommandResult, VmAction};
use xenith_hypervisor_agent_client::AgentClientError;
use xenith_hypervisor_agent_types::backup::{
    BackupCommand, BackupReply, InstantDisk, InstantUntil, RepositoryAccess, RepositoryKey, RepositoryPlace,
    Secret,
};
use xenith_hypervisor_agent_types::{DiskAccess, DiskDevice, DiskSpec, Fault, FaultReason, VdiSize};

use crate::harness::{Lab, power_off, spec, start, until};

const MIB: usize = 1 << 20;
/// Slow enough that it is not there at once, fast enough that it ends.
const SLOWLY: u64 = 6 << 20;
/// Until somebody says otherwise.
const HARDLY: u64 = 1 << 20;

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes()
    };
    (0..len.div_ceil(8)).flat_map(|_| next()).take(len).collect()
}

/// The least of a client: reads and writes over the socket that a simulated domain is given.
struct Guest(UnixStream);

impl Guest {
    fn open(socket: &Path) -> Self {
        let mut stream = UnixStream::connect(socket).unwrap();
        let mut hello = [0; 18];
        stream.read_exact(&mut hello).unwrap();
        stream.write_all(&3u32.to_be_bytes()).unwrap();
        // The export's name, after which requests begin.
        stream.write_all(b"IHAVEOPT\0\0\0\x01\0\0\0\x05web-1").unwrap();
        let mut size_and_flags = [0; 10];
        stream.read_exact(&mut size_and_flags).unwrap();
        Self(stream)
    }

    fn ask(&mut self, command: u16, offset: usize, length: usize, data: &[u8]) -> Vec<u8> {
        let mut request = 0x2560_9513u32.to_be_bytes().to_vec();
        request.extend_from_slice(&0u16.to_be_bytes());
        request.extend_from_slice(&command.to_be_bytes());
        request.extend_from_slice(&7u64.to_be_bytes());
        request.extend_from_slice(&(offset as u64).to_be_bytes());
        request.extend_from_slice(&(length as u32).to_be_bytes());
        request.extend_from_slice(data);
        self.0.write_all(&request).unwrap();
        let mut reply = [0; 16];
        self.0.read_exact(&mut reply).unwrap();
        assert_eq!(reply[4..8], [0; 4], "the disk answers with an error");
        let mut answer = vec![0; if command == 0 { length } else { 0 }];
        self.0.read_exact(&mut answer).unwrap();
        answer
    }

    fn read(&mut self, offset: usize, length: usize) -> Vec<u8> {
        self.ask(0, offset, length, &[])
    }

    fn write(&mut self, offset: usize, data: &[u8]) {
        self.ask(1, offset, data.len(), data);
    }

    fn flush(&mut self) {
        self.ask(3, 0, 0, &[]);
    }
}

/// A host, a repository with a backup of a disk, and a new VDI that is a little larger.
struct Scene {
    lab: Lab,
    access: RepositoryAccess,
    backup: String,
    bytes: Vec<u8>,
    sr: SrId,
    vdi: VdiId,
    vm: VmId,
}

impl Scene {
    async fn new() -> Self {
        let mut lab = Lab::builder().build();
        let program = PathBuf::from(env!("CARGO_BIN_EXE_xenith-agent"));
        lab.disk_servers = Launcher::Process { program, attach: Attach::Socket };
        lab.start().await;
        // Three leaves: one of data, one with an island, one of zeros and an odd end.
        let mut bytes = vec![0; 40 * MIB];
        bytes[..16 * MIB].copy_from_slice(&noise(1, 16 * MIB));
        bytes[20 * MIB..21 * MIB].copy_from_slice(&noise(2, MIB));
        bytes[40 * MIB - 5000..].copy_from_slice(&noise(3, 5000));
        let place = lab.config.state.parent().unwrap().join("repository");
        let backup = back_up(&place, &bytes);
        let key = RepositoryKey::Passphrase(Secret::new("pass".to_owned()));
        let place = RepositoryPlace::Folder { path: place.display().to_string() };
        let (sr, vdi) = (lab.client().hello(lab.epoch, "test").await.unwrap().local_sr, VdiId::new());
        let size = VdiSize::from_bytes(41 << 20).unwrap();
        lab.execute(Command::EnsureVdi { vdi, sr, size }).await.unwrap();
        bytes.resize(41 * MIB, 0);
        let mut with_disk = spec("web-1");
        let device = DiskDevice::nth(0).unwrap();
        with_disk.disks.push(DiskSpec { device, vdi, access: DiskAccess::ReadWrite });
        let vm = lab.define_as(with_disk).await;
        Self { lab, access: RepositoryAccess { place, key, writer: None }, backup, bytes, sr, vdi, vm }
    }

    async fn tell(&self, until: InstantUntil, bandwidth: u64) -> Result<BackupReply, Fault> {
        let (access, backup) = (self.access.clone(), self.backup.clone());
        let disk = InstantDisk { access, backup, disk: "web-1".into(), vdi: self.vdi, bandwidth, until };
        match self.lab.execute(Command::Backup(Box::new(BackupCommand::Instant(disk)))).await {
            Ok(CommandResult::Backup(reply)) => Ok(*reply),
            Err(AgentClientError::Refused(fault)) => Err(fault),
            other => panic!("{other:?}"),
        }
    }

    async fn serve(&self, bandwidth: u64) {
        assert_eq!(self.tell(InstantUntil::Serving, bandwidth).await, Ok(BackupReply::Serving));
    }

    async fn delete(&self) -> Result<CommandResult, AgentClientError> {
        self.lab.execute(Command::DeleteVdi { vdi: self.vdi, sr: self.sr }).await
    }

    fn folder(&self) -> PathBuf {
        self.lab.config.state.join("instant").join(self.vdi.to_string())
    }

    fn image(&self) -> PathBuf {
        self.lab.config.storage.join(format!("{}.raw", self.vdi))
    }

    /// What the VM's domain was given.
    async fn given(&self) -> PathBuf {
        let domid = self.lab.look(self.vm).await.unwrap().domid.unwrap();
        self.lab.sim.devices(domid).unwrap().disks[0].path.clone()
    }

    async fn guest(&self) -> Guest {
        let socket = self.given().await;
        assert_eq!(socket, self.folder().join(control::EXPORT));
        Guest::open(&socket)
    }

    fn held(&self) -> usize {
        let RepositoryPlace::Folder { path } = &self.access.place else { unreachable!() };
        hold::list(&open(Path::new(path))).unwrap().len()
    }

    fn is_complete(&self) -> bool {
        control::ask(&self.folder(), Ask::Status).unwrap().complete
    }

    /// Of the server's process.
    fn pid(&self) -> Pid {
        let wanted = self.folder().join(control::LOCK);
        let holds = |process: &Path| {
            let descriptors = std::fs::read_dir(process.join("fd")).ok()?;
            let found =
                descriptors.flatten().any(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to == wanted));
            found.then(|| process.file_name()?.to_str()?.parse().ok()).flatten()
        };
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        Pid::from_raw(processes.filter_map(|entry| holds(&entry.path())).next().unwrap())
    }
}

fn open(place: &Path) -> Repository {
    let store = Arc::new(LocalStore::open(place).unwrap());
    Repository::open(store, &Credential::Passphrase("pass".to_owned())).unwrap()
}

fn back_up(place: &Path, bytes: &[u8]) -> String {
    let store = Arc::new(LocalStore::create_root(place).unwrap());
    let ring = Keyring::create(Chunking::default());
    let pass = Credential::Passphrase("pass".to_owned());
    let repo = Repository::init(store, &ring, &pass, KdfCost::CHEAP).unwrap();
    let source = MemorySource::new(bytes.to_vec());
    let changed = Changes::Unknown { because: "it is the first".to_owned() };
    let job = DiskJob { name: "web-1".to_owned(), source: &source, changed };
    let manifest = ingest::backup(&repo, vec![job], &Options::default(), &Progress::default()).unwrap();
    manifest.id.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vm_runs_from_its_backup_while_agents_come_and_go() {
    let mut scene = Scene::new().await;
    // Agents come and go meanwhile, on a slow machine too.
    scene.serve(SLOWLY / 3).await;
    scene.lab.done(scene.vm, start()).await;
    let mut guest = scene.guest().await;
    // At once, wherever it reads.
    assert!(guest.read(20 * MIB - 4096, 8192) == scene.bytes[20 * MIB - 4096..20 * MIB + 4096]);
    assert!(guest.read(40 * MIB - 6000, 8000) == scene.bytes[40 * MIB - 6000..40 * MIB + 2000]);
    // A sector in a block that is not there, a block, zeros that are data, data that is zeros.
    for (at, len) in [(20 * MIB + 512, 512), (MIB, 4096), (30 * MIB + 512, 9000), (40 * MIB + 100 * 512, 512)]
    {
        let written = noise(at as u64, len);
        guest.write(at, &written);
        scene.bytes[at..at + len].copy_from_slice(&written);
    }
    guest.flush();
    // Nobody else gets at it.
    let refused = scene.delete().await.unwrap_err().to_string();
    assert!(refused.contains("is a disk of VM"), "{refused}");
    assert_eq!(scene.held(), 1, "what is needed must not be pruned");

    scene.lab.kill().await;
    assert!(guest.read(0, MIB) == scene.bytes[..MIB], "without an agent");
    scene.lab.start().await;
    assert!(!scene.is_complete(), "too fast to show anything");
    assert!(guest.read(MIB, 4096) == scene.bytes[MIB..MIB + 4096]);
    let done = scene.tell(InstantUntil::Complete, 0).await.unwrap();
    assert!(matches!(done, BackupReply::Restored { .. }));
    assert_eq!(scene.held(), 0);
    // It goes on with the server, and what it writes now is in the image, too.
    guest.write(2 * MIB, &[7; 4096]);
    scene.bytes[2 * MIB..2 * MIB + 4096].fill(7);
    drop(guest);

    scene.lab.done(scene.vm, VmAction::Destroy).await;
    scene.lab.done(scene.vm, start()).await;
    assert_eq!(scene.given().await, scene.image(), "from the next start on it is a disk as any other");
    assert!(std::fs::read(scene.image()).unwrap() == scene.bytes);
    assert!(control::ask(&scene.folder(), Ask::Status).is_err(), "the server is gone");
    // Who asks again, as after a crash, changes nothing.
    scene.serve(0).await;
    assert!(std::fs::read(scene.image()).unwrap() == scene.bytes);
    scene.lab.done(scene.vm, VmAction::Destroy).await;
    scene.delete().await.unwrap();
    assert!(!scene.folder().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_died_goes_on_with_what_was_flushed() {
    let mut scene = Scene::new().await;
    scene.serve(HARDLY).await;
    scene.lab.done(scene.vm, start()).await;
    let mut guest = scene.guest().await;
    let written = noise(9, 3000);
    guest.write(5 * MIB + 512, &written);
    guest.flush();
    scene.bytes[5 * MIB + 512..5 * MIB + 3512].copy_from_slice(&written);
    kill(scene.pid(), Signal::SIGKILL).unwrap();
    until("the server to be gone", async || control::ask(&scene.folder(), Ask::Status).is_err()).await;
    scene.lab.done(scene.vm, VmAction::Destroy).await;
    // Without it the VM would see a disk with holes.
    for _ in 0..2 {
        let refused = scene.lab.vm(scene.vm, start()).await.unwrap_err();
        assert_eq!(refused.reason, FaultReason::NotReady);
        assert!(refused.message.contains("being restored from its backup"), "{refused}");
        scene.lab.restart().await;
    }
    scene.tell(InstantUntil::Complete, 0).await.unwrap();
    scene.lab.done(scene.vm, start()).await;
    assert_eq!(scene.given().await, scene.image());
    assert!(std::fs::read(scene.image()).unwrap() == scene.bytes);
    assert_eq!(scene.held(), 0);
    scene.lab.done(scene.vm, power_off()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_goes_on_while_a_plan_rests_that_came_before_its_hold_was_seen() {
    let scene = Scene::new().await;
    scene.serve(HARDLY).await;
    let RepositoryPlace::Folder { path } = &scene.access.place else { unreachable!() };
    let (repo, backup) = (open(Path::new(path)), BackupId::parse(&scene.backup).unwrap());
    // As a collector does that looked at the holds just before.
    let plan = gc::propose(&repo, vec![backup]).unwrap().plan;
    gc::publish(&repo, &plan).unwrap();
    kill(scene.pid(), Signal::SIGKILL).unwrap();
    until("the server to be gone", async || control::ask(&scene.folder(), Ask::Status).is_err()).await;
    scene.tell(InstantUntil::Complete, 0).await.unwrap();
    assert!(std::fs::read(scene.image()).unwrap() == scene.bytes);
    // But nothing new begins from what is to be forgotten.
    let served = scene.vdi;
    let refused = Scene { vdi: VdiId::new(), ..scene };
    let size = VdiSize::from_bytes(41 << 20).unwrap();
    refused.lab.execute(Command::EnsureVdi { vdi: refused.vdi, sr: refused.sr, size }).await.unwrap();
    let fault = refused.tell(InstantUntil::Serving, 0).await.unwrap_err();
    assert_eq!(fault.reason, FaultReason::NotFound, "{fault}");
    assert_eq!(refused.held(), 0);
    refused.lab.execute(Command::DeleteVdi { vdi: served, sr: refused.sr }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_was_complete_when_its_host_died_is_a_plain_one() {
    let mut scene = Scene::new().await;
    scene.serve(SLOWLY).await;
    scene.lab.done(scene.vm, start()).await;
    scene.tell(InstantUntil::Complete, 0).await.unwrap();
    let mut guest = scene.guest().await;
    guest.write(2 * MIB, &[7; 4096]);
    guest.flush();
    scene.bytes[2 * MIB..2 * MIB + 4096].fill(7);
    // Its task is over, so nobody asks for the disk any more, and its backup may be forgotten.
    kill(scene.pid(), Signal::SIGKILL).unwrap();
    until("the server to be gone", async || control::ask(&scene.folder(), Ask::Status).is_err()).await;
    drop(guest);
    scene.lab.done(scene.vm, VmAction::Destroy).await;
    scene.lab.restart().await;
    let again = scene.tell(InstantUntil::Complete, 0).await.unwrap();
    assert!(matches!(again, BackupReply::Restored { .. }), "{again:?}");
    scene.lab.done(scene.vm, start()).await;
    assert_eq!(scene.given().await, scene.image());
    assert!(std::fs::read(scene.image()).unwrap() == scene.bytes);
    scene.lab.done(scene.vm, VmAction::Destroy).await;
    scene.delete().await.unwrap();
    assert!(!scene.folder().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_disk_holds_is_not_known_any_more_when_its_vm_has_left() {
    let scene = Scene::new().await;
    let (access, backup) = (scene.access.clone(), scene.backup.clone());
    let follow = BackupCommand::Follow { access, backup, disk: "web-1".into(), vdi: scene.vdi };
    scene.lab.execute(Command::Backup(Box::new(follow))).await.unwrap();
    assert!(std::fs::read(scene.image()).unwrap() == scene.bytes);
    let mark = scene.lab.config.state.join("standby").join(format!("{}.json", scene.vdi));
    assert!(mark.exists(), "the next backup is written by what differs");
    // On another host it may be written by whatever runs there.
    scene.lab.vm(scene.vm, VmAction::Forget).await.unwrap();
    assert!(!mark.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_not_wanted_any_more_is_given_up() {
    let scene = Scene::new().await;
    // A backup that is not there is no reason to touch the disk for good.
    let missing = Scene { backup: "0".repeat(32), ..scene };
    let refused = missing.tell(InstantUntil::Serving, 0).await.unwrap_err();
    assert_eq!(refused.reason, FaultReason::NotFound, "{refused}");
    missing.delete().await.unwrap();
    let again = Scene::new().await;
    // Nothing is begun by who believes that it was.
    let refused = again.tell(InstantUntil::Complete, 0).await.unwrap_err();
    assert!(refused.message.contains("does not know any more"), "{refused}");
    again.serve(HARDLY).await;
    assert_eq!(again.held(), 1);
    // A person who releases the backup does not take it away from under the disk.
    let (access, backup) = (again.access.clone(), again.backup.clone());
    let release = Command::Backup(Box::new(BackupCommand::Hold { access, backup, held: false }));
    let refused = again.lab.execute(release).await.unwrap_err().to_string();
    assert!(refused.contains("still held by instant-"), "{refused}");
    assert_eq!(again.held(), 1);
    let pid = again.pid();
    again.delete().await.unwrap();
    assert!(!again.folder().exists() && !again.image().exists());
    assert_eq!(again.held(), 0);
    until("the server to end", async || kill(pid, None).is_err()).await;
    let refused = again.tell(InstantUntil::Complete, 0).await.unwrap_err();
    assert_eq!(refused.reason, FaultReason::NotFound);
}

#[test]
fn the_server_is_for_the_agent() {
    let output = Program::new(env!("CARGO_BIN_EXE_xenith-agent"))
        .arg("serve-disk")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("started by the agent"));
}
