//! The program as it is installed: a damaged store, a second start.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use xenith_orchestrator_api::{auth, pool};
use xenith_orchestrator_client::{Client, Credential, Endpoint, Trust};
use xenith_orchestrator_types::auth::Credentials;
use xenith_orchestrator_types::pool::CreatePool;

use crate::harness::{PATIENCE, until};

struct Program {
    child: Child,
    address: SocketAddr,
    fingerprint: String,
    password: Option<String>,
}

fn command(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xenith-orchestrator"));
    command
        .args(["--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .env_remove("XENITH_ORCHESTRATOR_CONFIG")
        .env("RUST_LOG", "warn")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

impl Program {
    async fn start(data: &Path) -> Self {
        xenith_common_pki::install_provider();
        let mut child = command(data).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let shows_password = !data.join("store").exists();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut address, mut fingerprint, mut password) = (None, None, None);
        let reading = async {
            // The password, which only the first start shows, comes last.
            while address.is_none() || fingerprint.is_none() || (shows_password && password.is_none()) {
                let Some(line) = lines.next_line().await.unwrap() else { break };
                let mut words = line.split_whitespace();
                match (words.next(), words.next()) {
                    (Some("listening"), Some(url)) => {
                        address = url.strip_prefix("https://").and_then(|address| address.parse().ok());
                    }
                    (Some("authority"), Some(shown)) => fingerprint = Some(shown.to_owned()),
                    (Some("password"), Some(shown)) => password = Some(shown.to_owned()),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("it starts in time");
        let (address, fingerprint) =
            (address.expect("it listens"), fingerprint.expect("it has an authority"));
        Self { child, address, fingerprint, password }
    }

    async fn client(&self, credential: Credential) -> Client {
        let endpoint: Endpoint = format!("https://{}", self.address).parse().unwrap();
        let pin = self.fingerprint.parse().unwrap();
        until("the program answers", async || {
            Client::connect(endpoint.clone(), Trust::Pinned(pin), credential.clone()).await.ok()
        })
        .await
    }

    async fn admin(&self, password: &str) -> Client {
        let nobody = self.client(Credential::None).await;
        let credentials = Credentials { name: "admin".into(), password: password.into(), code: None };
        let session = nobody.call::<auth::Login>(&credentials).await.unwrap().session;
        self.client(Credential::Bearer(session)).await
    }

    async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// To its end, which must come by itself.
async fn ends(data: &Path) -> Output {
    tokio::time::timeout(PATIENCE, command(data).output()).await.expect("it ends").unwrap()
}

fn files(folder: &Path, suffix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.filter(|path| path.to_string_lossy().ends_with(suffix)).collect();
    found.sort();
    found
}

/// Those that are whole, the newest last.
fn checkpoints(data: &Path) -> Vec<PathBuf> {
    let made = std::fs::read_dir(data.join("checkpoints")).into_iter().flatten().flatten();
    let mut whole: Vec<_> =
        made.map(|entry| entry.path()).filter(|path| path.extension().is_none()).collect();
    whole.sort();
    whole
}

fn new_pool(name: &str) -> CreatePool {
    CreatePool { name: name.into(), description: "x".repeat(200) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_store_is_refused_with_the_way_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let program = Program::start(folder.path()).await;
    // A checkpoint empties the log: what follows is to be in it.
    until("there is a first checkpoint", async || checkpoints(folder.path()).pop()).await;
    let password = program.password.clone().unwrap();
    let admin = program.admin(&password).await;
    for number in 0..50 {
        admin.call::<pool::Create>(&new_pool(&format!("pool-{number}"))).await.unwrap();
    }
    program.kill().await;

    // Cut at its very end, the log is whole but for what was never acknowledged.
    let log = files(&store, ".log").pop().unwrap();
    let bytes = std::fs::read(&log).unwrap();
    std::fs::write(&log, &bytes[..bytes.len() - 3]).unwrap();
    let before = checkpoints(folder.path());
    let program = Program::start(folder.path()).await;
    let admin = program.admin(&password).await;
    assert!(admin.all::<pool::List, _>("").await.unwrap().len() >= 50);
    // The start makes one; that of the first start knows no pool yet.
    let checkpoint = until("there is a new checkpoint", async || {
        checkpoints(folder.path()).pop().filter(|newest| !before.contains(newest))
    })
    .await;
    for number in 50..60 {
        admin.call::<pool::Create>(&new_pool(&format!("pool-{number}"))).await.unwrap();
    }
    program.kill().await;

    // Damaged in the middle, it is refused, in words that say what to do.
    let log = files(&store, ".log").into_iter().max_by_key(|path| std::fs::metadata(path).unwrap().len());
    let log = log.unwrap();
    let mut bytes = std::fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(&log, &bytes).unwrap();
    let refused = ends(folder.path()).await;
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    for part in [store.to_str().unwrap(), "damaged", "keep a copy", "checkpoint"] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    // Which is then done.
    std::fs::rename(&store, folder.path().join("damaged")).unwrap();
    std::fs::rename(&checkpoint, &store).unwrap();
    let program = Program::start(folder.path()).await;
    let admin = program.admin(&password).await;
    assert!(admin.all::<pool::List, _>("").await.unwrap().len() >= 50);
    program.kill().await;
}

/// Who starts it waits for one line, and must not have to guess whether a password follows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_first_words_come_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = command(folder.path()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let (mut output, mut bytes) = (child.stdout.take().unwrap(), vec![0; 4096]);
    let read = tokio::time::timeout(PATIENCE, output.read(&mut bytes)).await.expect("it starts in time");
    let said = String::from_utf8_lossy(&bytes[..read.unwrap()]).into_owned();
    let labels: Vec<_> = said.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(labels, ["listening", "authority", "password"], "{said}");
    assert!(said.ends_with('\n'), "{said}");
    child.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_one_on_the_same_folder_says_who_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(folder.path()).await;
    let refused = ends(folder.path()).await;
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success());
    assert!(text.contains(&program.child.id().unwrap().to_string()), "{text}");
    program.kill().await;
}
