//! `xenith-run` as a child: what it says, its own children, and its end.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use xenith_lab::unclaimed_port;

pub struct Run {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

/// Whether `cargo xtask lab-test run` runs this.
pub fn lab_is_asked() -> bool {
    std::env::var("XENITH_LAB").is_ok_and(|test| test == "run")
}

/// A start of simulated hosts takes two seconds; a busy machine gets two minutes. An emulated host gets ten to boot, and
/// again ten when that failed.
pub fn patience() -> Duration {
    Duration::from_secs(if lab_is_asked() { 25 * 60 } else { 120 })
}

fn programs() {
    let own = PathBuf::from(env!("CARGO_BIN_EXE_xenith-run"));
    for program in ["xenith-orchestrator", "xenith-agent", "xenith"] {
        // In the lab the agent is another one, and xenith-run says where it is missing.
        let needed = program != "xenith-agent" || !lab_is_asked();
        let there = own.with_file_name(program).is_file();
        assert!(there || !needed, "{program} is not built: cargo build --workspace --bins");
    }
}

/// Ports for an orchestrator and one agent, which is a hundred and one further.
pub fn port() -> u16 {
    unclaimed_port(101).unwrap()
}

/// State and parent of a process: `man 5 proc`, the fields behind the name.
fn state_and_parent(pid: u32) -> Option<(String, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, a parenthesis too.
    let mut fields = stat.rsplit_once(") ")?.1.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

/// One that has ended and that nobody has collected does not run.
pub fn runs(pid: u32) -> bool {
    state_and_parent(pid).is_some_and(|(state, _)| state != "Z")
}

/// Children, and theirs.
fn descendants(of: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let family: Vec<(u32, u32)> = pids.filter_map(|pid| Some((pid, state_and_parent(pid)?.1))).collect();
    let mut found = vec![of];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(family.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

impl Run {
    pub fn command(kind: &str, data: &Path, port: u16) -> Command {
        programs();
        let mut command = Command::new(env!("CARGO_BIN_EXE_xenith-run"));
        command.args(["--kind", kind, "--port", &port.to_string(), "--data"]).arg(data);
        // What is logged is looked at.
        command.env_remove("XENITH_LOG").env_remove("XENITH_LOG_FORMAT");
        command.env_remove("XENITH_PASSWORD").stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        command
    }

    pub fn start(data: &Path, port: u16) -> Self {
        Self::spawn(Self::command("sim", data, port))
    }

    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Everything up to a line that holds `word`.
    pub async fn until(&mut self, word: &str) -> Vec<String> {
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
        let found = tokio::time::timeout(patience(), reading).await.unwrap_or(false);
        assert!(found, "it never said {word:?}: {said:#?}");
        said
    }

    /// The processes that it has started and that run.
    pub fn children(&self) -> Vec<u32> {
        descendants(self.child.id().unwrap())
    }

    /// Ctrl-C, to its end: it says that all went well, and nothing that it started runs any more.
    pub async fn stop(mut self) {
        let children = self.children();
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().await.unwrap().success());
        let status = tokio::time::timeout(patience(), self.child.wait()).await.expect("it ends").unwrap();
        assert!(status.success(), "{status}");
        let left: Vec<_> = children.into_iter().filter(|pid| runs(*pid)).collect();
        assert!(left.is_empty(), "these processes are left: {left:?}");
    }
}

/// The words behind `Try:`, with the program's path.
pub fn commands(said: &[String]) -> Vec<Vec<String>> {
    let tries = said.iter().skip_while(|line| line.trim() != "Try:").skip(1);
    let words = |line: &String| line.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>();
    tries.map(words).take_while(|words| !words.is_empty()).collect()
}

/// A command as it was printed; what it said. The password is typed for whoever asks.
pub async fn xenith(home: &Path, arguments: &[String], password: &str) -> String {
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
    let output = tokio::time::timeout(patience(), child.wait_with_output()).await.expect("it ends").unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Repeats the command until it says `word` of the VM: lists are told a moment after a task ended.
pub async fn says(home: &Path, command: &[String], word: &str) {
    let begun = Instant::now();
    loop {
        let said = xenith(home, command, "").await;
        if said.contains("web-1") && said.contains(word) {
            return;
        }
        assert!(begun.elapsed() < patience(), "no {word:?} in {said}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// `vm list --watch` in another terminal: a line for each change.
struct Watching {
    lines: Lines<BufReader<ChildStdout>>,
    /// Ends with this.
    _child: Child,
}

impl Watching {
    fn start(home: &Path, program: &str) -> Self {
        let mut child = Command::new(program)
            .args(["vm", "list", "--watch"])
            .env("HOME", home)
            .env("XDG_CONFIG_HOME", home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { lines, _child: child }
    }

    /// Until it tells the VM in this state.
    async fn tells(&mut self, power: &str) {
        let wanted = format!("web-1 {power}");
        let mut said = Vec::new();
        let telling = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                said.push(line);
                if said.last().unwrap().contains(&wanted) {
                    return true;
                }
            }
            false
        };
        let told = tokio::time::timeout(patience(), telling).await.unwrap_or(false);
        assert!(told, "it never told {wanted:?}: {said:#?}");
    }
}

/// What else a person does with the VM that runs: it is shut down and started again, as another terminal shows.
pub async fn goes_off_and_on(home: &Path, program: &str) {
    let mut watching = Watching::start(home, program);
    watching.tells("running").await;
    for (verb, power) in [("shutdown", "stopped"), ("start", "running")] {
        let command = [program, "vm", verb, "web-1", "--wait"].map(ToOwned::to_owned);
        xenith(home, &command, "").await;
        watching.tells(power).await;
    }
}

/// The password of the very first start.
pub fn password(said: &[String]) -> Option<String> {
    let line = said.iter().find(|line| line.contains("shown this once"))?;
    line.split("password ").nth(1)?.split_whitespace().next().map(ToOwned::to_owned)
}
