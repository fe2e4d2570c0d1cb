//! The client of a guest's agent, beside servers on a unix socket that say what a hostile or broken guest may say; and
//! the promise that a guest that was frozen is thawed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use xenith_common_ids::{DomId, IncarnationId, VmId};
use xenith_common_tasks::TaskSet;
use xenith_common_units::VcpuCount;
use xenith_hypervisor_agent::guest_agent::link::{Link, LinkError};
use xenith_hypervisor_agent::guest_agent::{GuestAgents, Limits, QuiesceError};
use xenith_hypervisor_agent::journal::Journal;
use xenith_hypervisor_agent_backend::{Hypervisor, Start};
use xenith_hypervisor_agent_sim::{GuestAgentManners, SimHypervisor};
use xenith_hypervisor_agent_types::{
    DirectBoot, DomainHardware, DomainIdentity, DomainSpec, Firmware, Graphics, MemorySpec, PlatformKind,
    VcpuSpec,
};

use crate::harness::{mib, until};

/// Short where a test waits for the end of it.
const SHORT: Duration = Duration::from_millis(200);
/// Where a guest answers before it does not any more: a slow machine must not be taken for the end.
const BRIEF: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(60);

fn limits() -> Limits {
    let (retry, longest_retry) = (SHORT, SHORT);
    Limits { answer: LONG, freeze: LONG, frozen: LONG, thaw: LONG, stopping: LONG, retry, longest_retry }
}

/// A guest that does what `play` does with its end of the channel.
struct Guest {
    _folder: TempDir,
    path: PathBuf,
    playing: JoinHandle<()>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.playing.abort();
    }
}

fn guest<F: Future<Output = ()> + Send + 'static>(
    play: impl FnOnce(UnixStream) -> F + Send + 'static,
) -> Guest {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("channel");
    let listener = UnixListener::bind(&path).unwrap();
    let playing = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        play(stream).await;
    });
    Guest { _folder: folder, path, playing }
}

/// The next question, and the number in it.
async fn question(stream: &mut UnixStream) -> (String, u64) {
    let mut line = Vec::new();
    loop {
        match stream.read_u8().await {
            Ok(b'\n') | Err(_) => break,
            Ok(byte) => line.push(byte),
        }
    }
    let text = String::from_utf8_lossy(&line).replace('\u{fffd}', "");
    let digits: String =
        text.split("\"id\":").nth(1).unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
    (text, digits.parse().unwrap_or_default())
}

/// The answer to a sync, and what comes with it.
fn synced_by(id: u64, then: &str) -> Vec<u8> {
    let mut bytes = vec![0xff];
    bytes.extend_from_slice(format!("{{\"return\": {id}}}\n{then}").as_bytes());
    bytes
}

async fn say(stream: &mut UnixStream, bytes: impl AsRef<[u8]>) {
    // A client that hung up has heard enough.
    let _hung_up = stream.write_all(bytes.as_ref()).await;
}

/// As it should be, but for `answer` to the question after the sync.
fn synced(answer: &'static [u8]) -> Guest {
    guest(move |mut stream| async move {
        let (text, id) = question(&mut stream).await;
        assert!(text.contains("guest-sync-delimited"), "{text}");
        say(&mut stream, synced_by(id, "")).await;
        question(&mut stream).await;
        say(&mut stream, answer).await;
        std::future::pending::<()>().await;
    })
}

#[tokio::test]
async fn the_sync_finds_the_answer_to_us() {
    let stale = guest(|mut stream| async move {
        // Somebody before us left answers, one of them to a sync of his own, in pieces.
        let (_, id) = question(&mut stream).await;
        say(
            &mut stream,
            b"rest of an answer\"}\n{\"return\": 7}\n\xff{\"return\": 12}\n{\"return\": \"frozen\"}\n",
        )
        .await;
        say(&mut stream, b"\xffnot JSON\n\xff{\"retu").await;
        say(&mut stream, "rn\": 5}\n{\"error\": {\"class\": \"GenericError\"}}\n".to_string()).await;
        say(&mut stream, synced_by(id, "{\"return\": \"late\"}\n")).await;
        question(&mut stream).await;
        say(&mut stream, b"{\"return\": \"thawed\"}\n").await;
        std::future::pending::<()>().await;
    });
    let mut link = Link::open(&stale.path, limits()).await.unwrap();
    assert!(!link.is_frozen().await.unwrap());
}

#[tokio::test]
async fn a_thaw_is_ordered_at_once_and_not_taken_for_a_late_freeze() {
    let slow = guest(|mut stream| async move {
        let (_, id) = question(&mut stream).await;
        say(&mut stream, synced_by(id, "")).await;
        assert!(question(&mut stream).await.0.contains("guest-fsfreeze-freeze"));
        // Nothing is said until the thaw is in the channel, behind a sync.
        let (_, id) = question(&mut stream).await;
        assert!(question(&mut stream).await.0.contains("guest-fsfreeze-thaw"));
        say(&mut stream, b"{\"return\": 9}\n").await;
        say(&mut stream, synced_by(id, "{\"return\": 2}\n")).await;
        std::future::pending::<()>().await;
    });
    let mut link = Link::open(&slow.path, Limits { freeze: SHORT, ..limits() }).await.unwrap();
    assert!(matches!(link.freeze().await, Err(LinkError::Silent)));
    assert_eq!(link.thaw().await.unwrap(), 2);
}

#[tokio::test]
async fn what_a_guest_says_that_is_no_answer() {
    for (answer, words) in [
        (&b"{\"return\": \"much\"}\n"[..], "\\\"much\\\""),
        (b"{\"return\": -1}\n", "-1"),
        (b"{\"return\": 1e400}\n", "1e400"),
        (b"[{\"return\": 1}]\n", "no answer"),
        (b"\x00\x01\x02\n", "no answer"),
        (
            b"{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\\nway\"}}\n",
            "refused guest-fsfreeze-freeze: no way",
        ),
    ] {
        let guest = synced(answer);
        let mut link = Link::open(&guest.path, limits()).await.unwrap();
        let error = link.freeze().await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_guest_can_neither_hang_nor_fill_us() {
    let endless = |bytes: &'static [u8]| {
        guest(move |mut stream| async move { while stream.write_all(bytes).await.is_ok() {} })
    };
    let long_line = guest(|mut stream| async move {
        let (_, id) = question(&mut stream).await;
        say(&mut stream, synced_by(id, "")).await;
        question(&mut stream).await;
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    });
    let mut link = Link::open(&long_line.path, limits()).await.unwrap();
    assert!(link.freeze().await.unwrap_err().to_string().contains("a line of more than"));
    let flood = endless(&[b'x'; 4096]);
    assert!(Link::open(&flood.path, limits()).await.err().unwrap().to_string().contains("nobody asked for"));
    // Marks without end, and nothing at all, are ended by the time.
    let short = Limits { answer: SHORT, ..limits() };
    let marks = endless(b"\xff{\"return\": 1}\n");
    assert!(matches!(Link::open(&marks.path, short).await, Err(LinkError::Silent)));
    let silent = guest(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    });
    assert!(matches!(Link::open(&silent.path, short).await, Err(LinkError::Silent)));
    let hangs_up = guest(|mut stream| async move {
        question(&mut stream).await;
    });
    assert!(matches!(Link::open(&hangs_up.path, limits()).await, Err(LinkError::Io(_))));
    assert!(matches!(Link::open(&silent.path.with_extension("gone"), limits()).await, Err(LinkError::Io(_))));
}

/// A simulated host with one running guest that has a channel, and what the agent has for it.
struct Scene {
    state: TempDir,
    sim: Arc<SimHypervisor>,
    tasks: TaskSet,
    vm: VmId,
    domid: DomId,
}

impl Scene {
    async fn new() -> Self {
        let sim = SimHypervisor::builder().build();
        let vm = VmId::new();
        let domid = sim.create(&spec(vm), Start::Running).await.unwrap();
        Self { state: tempfile::tempdir().unwrap(), sim, tasks: TaskSet::new(), vm, domid }
    }

    fn agents(&self, limits: Limits) -> GuestAgents {
        let journal = Journal::open(self.state.path()).unwrap();
        let hypervisor: Arc<dyn Hypervisor> = Arc::clone(&self.sim) as _;
        GuestAgents::new(hypervisor, (journal, self.state.path()), self.tasks.child()).with_limits(limits)
    }

    fn behave(&self, manners: GuestAgentManners) {
        self.sim.set_guest_agent(self.domid, manners).unwrap();
    }

    fn notes(&self) -> usize {
        std::fs::read_dir(self.state.path().join("frozen")).map_or(0, Iterator::count)
    }

    /// The task that held the guest has ended.
    async fn freezes_again(&self, agents: &GuestAgents) {
        until("it can be frozen", async || match agents.freeze(self.vm, self.domid).await {
            Ok(frozen) => frozen.thaw().await.is_ok(),
            Err(_) => false,
        })
        .await;
    }

    async fn thaws(&self) {
        until("the guest to be thawed", async || !self.sim.is_frozen(self.domid) && self.notes() == 0).await;
    }
}

fn spec(vm: VmId) -> DomainSpec {
    DomainSpec {
        identity: DomainIdentity { vm, incarnation: IncarnationId::new() },
        name: "v".parse().unwrap(),
        kind: PlatformKind::Pvh,
        direct_boot: Some(DirectBoot { kernel: "/k".to_owned(), ramdisk: None, cmdline: String::new() }),
        firmware: Firmware::Bios,
        boot_order: vec![],
        vcpus: VcpuSpec { online: VcpuCount::ONE, max: VcpuCount::ONE },
        memory: MemorySpec { target: mib(64), max: mib(64) },
        disks: vec![],
        nics: vec![],
        graphics: Graphics::None,
        hardware: DomainHardware { guest_agent: true, ..Default::default() },
    }
}

#[tokio::test]
async fn a_guest_stands_still_and_goes_on() {
    let scene = Scene::new().await;
    let agents = scene.agents(limits());
    for freezes in 1..=2 {
        let frozen = agents.freeze(scene.vm, scene.domid).await.unwrap();
        assert!(scene.sim.is_frozen(scene.domid));
        assert_eq!(scene.notes(), 1);
        frozen.thaw().await.unwrap();
        assert!(!scene.sim.is_frozen(scene.domid));
        assert_eq!((scene.sim.freezes(scene.domid), scene.notes()), (freezes, 0));
    }
    scene.behave(GuestAgentManners::ThawsItself);
    let frozen = agents.freeze(scene.vm, scene.domid).await.unwrap();
    assert!(matches!(frozen.thaw().await, Err(QuiesceError::ThawedItself)));
}

#[tokio::test]
async fn a_guest_that_nobody_asks_for_any_more_is_thawed() {
    let scene = Scene::new().await;
    let agents = scene.agents(limits());
    drop(agents.freeze(scene.vm, scene.domid).await.unwrap());
    scene.thaws().await;
    // Given up before the guest had answered at all: it is left alone.
    scene.freezes_again(&agents).await;
    scene.sim.pause(scene.domid).await.unwrap();
    let asked = tokio::time::timeout(SHORT, agents.freeze(scene.vm, scene.domid)).await;
    assert!(asked.is_err());
    scene.sim.unpause(scene.domid).await.unwrap();
    scene.freezes_again(&agents).await;
    assert_eq!((scene.sim.freezes(scene.domid), scene.sim.is_frozen(scene.domid)), (3, false));
}

#[tokio::test]
async fn a_guest_stands_only_so_long() {
    let scene = Scene::new().await;
    let agents = scene.agents(Limits { frozen: SHORT, ..limits() });
    let began = Instant::now();
    let frozen = agents.freeze(scene.vm, scene.domid).await.unwrap();
    scene.thaws().await;
    assert!(began.elapsed() >= SHORT);
    assert!(matches!(frozen.thaw().await, Err(QuiesceError::TimeUp)));
}

#[tokio::test]
async fn a_guest_that_takes_too_long_to_freeze_is_thawed() {
    let scene = Scene::new().await;
    let agents = scene.agents(Limits { freeze: SHORT, ..limits() });
    scene.behave(GuestAgentManners::Late);
    let asked = agents.freeze(scene.vm, scene.domid).await;
    assert!(matches!(asked, Err(QuiesceError::NotInTime(_))));
    assert_eq!(
        (scene.sim.freezes(scene.domid), scene.sim.is_frozen(scene.domid), scene.notes()),
        (1, false, 0)
    );
}

#[tokio::test]
async fn an_agent_that_stops_thaws_first() {
    let scene = Scene::new().await;
    let frozen = scene.agents(limits()).freeze(scene.vm, scene.domid).await.unwrap();
    scene.tasks.shut_down(LONG).await.unwrap();
    assert!(!scene.sim.is_frozen(scene.domid));
    assert_eq!(scene.notes(), 0);
    assert!(matches!(frozen.thaw().await, Err(QuiesceError::Stopping)));
}

#[tokio::test]
async fn a_guest_agent_that_dies_frozen_is_told_until_it_thaws() {
    let scene = Scene::new().await;
    let agents = scene.agents(Limits { answer: BRIEF, thaw: SHORT, ..limits() });
    scene.behave(GuestAgentManners::DiesFrozen);
    let frozen = agents.freeze(scene.vm, scene.domid).await.unwrap();
    assert!(matches!(frozen.thaw().await, Err(QuiesceError::NotThawed(_))));
    assert!(scene.sim.is_frozen(scene.domid));
    let again = agents.freeze(scene.vm, scene.domid).await;
    assert!(matches!(again, Err(QuiesceError::StillHeld)));
    // Stopped in between: the note stays, and the next agent goes on.
    scene.tasks.shut_down(LONG).await.unwrap();
    assert_eq!(scene.notes(), 1);
    let tasks = TaskSet::new();
    let scene = Scene { tasks, ..scene };
    scene.agents(Limits { answer: BRIEF, thaw: SHORT, ..limits() }).recover().unwrap();
    assert!(scene.sim.is_frozen(scene.domid));
    scene.behave(GuestAgentManners::Answers);
    scene.thaws().await;
}

#[tokio::test]
async fn a_guest_that_boots_has_nothing_frozen() {
    let scene = Scene::new().await;
    let agents = scene.agents(Limits { answer: BRIEF, thaw: SHORT, ..limits() });
    scene.behave(GuestAgentManners::DiesFrozen);
    let frozen = agents.freeze(scene.vm, scene.domid).await.unwrap();
    assert!(matches!(frozen.thaw().await, Err(QuiesceError::NotThawed(_))));
    assert_eq!(scene.notes(), 1);
    // What boots has no agent: nobody would ever answer.
    agents.boots(scene.vm).await;
    assert_eq!(scene.notes(), 0);
    until("nobody to hold it", async || {
        let asked = agents.freeze(scene.vm, scene.domid).await;
        matches!(asked, Err(QuiesceError::Link(LinkError::Silent)))
    })
    .await;
}

#[tokio::test]
async fn a_note_of_a_guest_that_is_gone_is_dropped() {
    let scene = Scene::new().await;
    let agents = scene.agents(Limits { answer: BRIEF, thaw: SHORT, ..limits() });
    scene.behave(GuestAgentManners::DiesFrozen);
    drop(agents.freeze(scene.vm, scene.domid).await.unwrap());
    scene.sim.destroy(scene.domid).await.unwrap();
    until("the note to go", async || scene.notes() == 0).await;
}

#[tokio::test]
async fn a_guest_that_was_frozen_before_is_thawed_and_refused() {
    let scene = Scene::new().await;
    let path = scene.sim.consoles(scene.domid).await.unwrap().guest_agent.unwrap();
    let mut link = Link::open(&path, limits()).await.unwrap();
    assert_eq!(link.freeze().await.unwrap(), 2);
    drop(link);
    let agents = scene.agents(limits());
    assert!(matches!(agents.freeze(scene.vm, scene.domid).await, Err(QuiesceError::WasFrozen)));
    scene.thaws().await;
    scene.freezes_again(&agents).await;
}

#[tokio::test]
async fn guests_that_cannot_be_frozen_are_left_as_they_were() {
    let scene = Scene::new().await;
    let agents = scene.agents(Limits { answer: BRIEF, ..limits() });
    for (manners, words) in [
        (GuestAgentManners::Refuses, "failed to freeze /srv"),
        (GuestAgentManners::Silent, "does not answer"),
    ] {
        scene.behave(manners);
        let error = agents.freeze(scene.vm, scene.domid).await.err().unwrap();
        assert!(error.to_string().contains(words), "{error}");
        assert!(!scene.sim.is_frozen(scene.domid));
        assert_eq!(scene.notes(), 0);
    }
}
