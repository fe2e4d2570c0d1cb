//! The program itself, as systemd and people run it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use xenith_common_ids::Epoch;
use xenith_common_pki::{KeyAndRequest, LiveIdentity, Peer, client_config};
use xenith_hypervisor_agent_client::{AgentAddress, AgentClient};
use xenith_hypervisor_agent_sim::unclaimed_address;

use crate::enrolment::{Answer, Orchestrator};
use crate::harness::{certify, until};

/// A settings file below `folder`, serving on `port`.
fn settings(folder: &Path, port: u16) -> PathBuf {
    let shown = folder.display();
    let text = format!(
        "listen = \"127.0.0.1:{port}\"\nstate = \"{shown}/state\"\nboot = \"{shown}/boot\"\n\
         storage = \"{shown}/sr\"\njoin_token = \"{shown}/token\"\n"
    );
    let path = folder.join("agent.toml");
    std::fs::write(&path, text).unwrap();
    path
}

fn agent(settings: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xenith-agent"));
    command.arg("--config").arg(settings).args(arguments).stdin(Stdio::null());
    command.env_remove("NOTIFY_SOCKET").env_remove("XENITH_SIM_CONFIG");
    command
}

fn output(settings: &Path, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = agent(settings, arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

struct Running(Child);

impl Running {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn without_a_token_it_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), 0);
    let (code, _, stderr) = output(&settings, &["run"]);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("xenith host add") && stderr.contains("xenith-agent join"), "{stderr}");
    let (code, _, stderr) = output(&folder.path().join("none"), &["run"]);
    assert_eq!(code, 2, "{stderr}");
    let (code, stdout, _) = output(&settings, &["--version"]);
    assert_eq!((code, stdout.starts_with("xenith-agent ")), (0, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_xen_it_says_so_and_keeps_its_token() {
    if Path::new("/dev/xen/xenbus").exists() {
        // A dom0: the program would start here, which other tests may do.
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), 0);
    let orchestrator = Orchestrator::start(Answer::Welcome).await;
    std::fs::write(folder.path().join("token"), orchestrator.token.to_string()).unwrap();
    let (code, _, stderr) = output(&settings, &["run"]);
    assert_eq!(code, 3, "{stderr}");
    assert!(stderr.contains("not a usable Xen host") && stderr.contains("doctor"), "{stderr}");
    assert!(folder.path().join("token").exists());
    assert!(orchestrator.seen.lock().unwrap().is_empty());
}

#[test]
fn doctor_looks_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path(), 0);
    let (code, table, stderr) = output(&settings, &["doctor"]);
    let (same, json, _) = output(&settings, &["doctor", "-o", "json"]);
    assert_eq!(code, same, "{stderr}");
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    let checks = report["checks"].as_array().unwrap();
    for name in [
        "xen",
        "xenstored",
        "libxenlight",
        "guests",
        "memory",
        "bridges",
        "modules",
        "qemu",
        "programs",
        "clock",
        "state",
        "storage",
        "boot",
        "joined",
        "port",
    ] {
        let check = checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name}"));
        assert!(table.contains(name));
        let wrong = check["level"] != "ok";
        assert_eq!(wrong, check["fix"].is_string() && check["why"].is_string(), "{check}");
    }
    assert!(!folder.path().join("state").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_joins_serves_and_stops_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let port = unclaimed_address().port();
    let settings = settings(folder.path(), port);
    let orchestrator = Orchestrator::start(Answer::Welcome).await;
    let token = orchestrator.token.to_string();
    let joined = tokio::task::spawn_blocking({
        let settings = settings.clone();
        move || output(&settings, &["join", &token, "--address", "xen1.example:8444"])
    });
    let (code, stdout, stderr) = joined.await.unwrap();
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains(&orchestrator.host.to_string()), "{stdout}");
    assert_eq!(orchestrator.seen.lock().unwrap()[0].address, "xen1.example:8444");

    let notify = folder.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&notify).unwrap();
    let mut command = agent(&settings, &["run", "--hypervisor", "sim"]);
    command.env("NOTIFY_SOCKET", &notify).stderr(Stdio::null());
    let mut running = Running(command.spawn().unwrap());

    let key = KeyAndRequest::generate().unwrap();
    let certificate = certify(&orchestrator.authority, &key, Peer::Orchestrator, Duration::from_secs(3600));
    let identity = LiveIdentity::new(&key.key_pem, &certificate).unwrap();
    let tls = client_config(identity, orchestrator.authority.certificate()).unwrap();
    let address = AgentAddress { host: orchestrator.host, address: format!("127.0.0.1:{port}") };
    let client = AgentClient::connect(address, Arc::new(tls), Arc::new(|_| Ok(())));
    until("the agent to serve", async || client.hello(Epoch(1), "test").await.is_ok()).await;

    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let told = || {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert!(told().starts_with("READY=1\nSTATUS=serving on"));
    // One agent only.
    let (code, _, stderr) = output(&settings, &["run", "--hypervisor", "sim"]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("another agent runs"), "{stderr}");

    running.signal(Signal::SIGTERM);
    let status = tokio::task::block_in_place(|| running.0.wait()).unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(told(), "STOPPING=1");
}
