//! `xenith-run` with simulated hosts: what it prints, what it leaves, and that it ends.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails, which is its purpose")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// A start takes two seconds; a busy machine gets two minutes.
const PATIENCE: Duration = Duration::from_secs(120);

struct Run {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

fn programs() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_BIN_EXE_xenith-run"));
    let folder = own.parent().unwrap().to_owned();
    for program in ["xenith-orchestrator", "xenith-agent", "xenith"] {
        assert!(folder.join(program).is_file(), "{program} is not built: cargo build --workspace --bins");
    }
    folder
}

/// Ports for an orchestrator and one agent, which is a hundred and one further.
fn port() -> u16 {
    for _ in 0..100 {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if port < 65_000 && TcpListener::bind(("127.0.0.1", port + 101)).is_ok() {
            return port;
        }
    }
    panic!("no two ports are free");
}

impl Run {
    fn command(data: &Path, port: u16) -> Command {
        programs();
        let mut command = Command::new(env!("CARGO_BIN_EXE_xenith-run"));
        command.args(["--kind", "sim", "--port", &port.to_string(), "--data"]).arg(data);
        command.env_remove("XENITH_PASSWORD").stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        command
    }

    fn start(data: &Path, port: u16) -> Self {
        Self::spawn(Self::command(data, port))
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Everything up to a line that holds `word`.
    async fn until(&mut self, word: &str) -> Vec<String> {
        let mut said = Vec::new();
        let reading = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                said.push(line);
                if said.last().unwrap().contains(word) {
                    return true;
                }
            }
            false
        };
        let found = tokio::time::timeout(PATIENCE, reading).await.unwrap_or(false);
        assert!(found, "it never said {word:?}: {said:#?}");
        said
    }

    /// Ctrl-C, to its end.
    async fn stop(mut self) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().await.unwrap().success());
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it ends").unwrap();
        assert!(status.success(), "{status}");
    }
}

/// The words behind `Try:`, without the program's folder.
fn commands(said: &[String]) -> Vec<Vec<String>> {
    let tries = said.iter().skip_while(|line| line.trim() != "Try:").skip(1);
    let words = |line: &String| line.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>();
    tries.map(words).take_while(|words| !words.is_empty()).collect()
}

async fn xenith(home: &Path, arguments: &[String], password: &str) -> String {
    let mut child = Command::new(&arguments[0])
        .args(&arguments[1..])
        .env("HOME", home)
        .env("XDG_CONFIG_HOME", home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut input, format!("{password}\n").as_bytes()).await.unwrap();
    drop(input);
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("it ends").unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn password(said: &[String]) -> Option<String> {
    let line = said.iter().find(|line| line.contains("shown this once"))?;
    line.split("password ").nth(1)?.split_whitespace().next().map(ToOwned::to_owned)
}

#[tokio::test]
async fn the_commands_it_prints_work_and_the_next_start_finds_everything() {
    let folder = tempfile::tempdir().unwrap();
    let (data, home) = (folder.path().join("data"), folder.path().join("home"));
    let port = port();
    let mut run = Run::start(&data, port);
    let said = run.until("Ctrl-C stops all of it").await;
    let url = format!("https://127.0.0.1:{port}");
    assert!(said.iter().any(|line| line.contains(&url)), "{said:#?}");
    let shown = password(&said).expect("the password of the first start");
    let commands = commands(&said);
    assert_eq!(commands.len(), 3, "{said:#?}");
    for command in &commands {
        xenith(&home, command, &shown).await;
    }
    let list = xenith(&home, &commands[2], "").await;
    assert!(list.contains("web-1") && list.contains("running"), "{list}");
    run.stop().await;

    let mut again = Run::start(&data, port);
    let said = again.until("Ctrl-C stops all of it").await;
    assert_eq!(password(&said), None, "it was shown once");
    let list = xenith(&home, &commands[2], "").await;
    assert!(list.contains("web-1"), "{list}");
    again.stop().await;
}

#[tokio::test]
async fn who_ends_the_first_start_early_has_seen_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = Run::start(folder.path(), port());
    // Before any host is up.
    let said = run.until("shown this once").await;
    assert!(!said.iter().any(|line| line.contains("Try:")), "{said:#?}");
    run.stop().await;
}

#[tokio::test]
async fn a_lost_token_is_made_anew_with_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let (data, port) = (folder.path(), port());
    let mut run = Run::start(data, port);
    let shown = password(&run.until("shown this once").await).unwrap();
    run.stop().await;
    std::fs::remove_file(data.join("run-token")).unwrap();

    let refused = Run::command(data, port).stderr(Stdio::piped()).output();
    let refused = tokio::time::timeout(PATIENCE, refused).await.expect("it ends").unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("XENITH_PASSWORD=… make run"), "{said}");

    for password in [Some(shown), None] {
        let mut command = Run::command(data, port);
        command.envs(password.map(|password| ("XENITH_PASSWORD", password)));
        let mut again = Run::spawn(command);
        again.until("Ctrl-C stops all of it").await;
        again.stop().await;
    }
}
