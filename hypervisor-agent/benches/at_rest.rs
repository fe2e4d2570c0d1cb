//! The agent at rest: resident memory and CPU share with 50 running VMs and one orchestrator that watches.
//! Checks the promise of benches/SPECIFICATION.md, section "Agent"; fails when it is not kept.
//!
//! The built program over the simulated host, in a process of its own, measured from outside through /proc.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on says where by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use time::OffsetDateTime;
use xenith_common_ids::{Epoch, Generation, HostId, IncarnationId, OperationId, VmId};
use xenith_common_pki::{Authority, KeyAndRequest, LiveIdentity, Peer, client_config};
use xenith_hypervisor_agent::identity::Identity;
use xenith_hypervisor_agent_api::{Command as Order, Envelope, VmAction};
use xenith_hypervisor_agent_client::{AgentAddress, AgentClient};
use xenith_hypervisor_agent_types::test_support::small;
use xenith_hypervisor_agent_types::{MemorySpec, ValidVmSpec, VmSpec};

const VMS: usize = 50;
const WINDOW: Duration = Duration::from_secs(30);
const MOST_MIB: f64 = 32.0;
const MOST_PERCENT: f64 = 1.0;

struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Agent {
    fn resident_mib(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
    }

    /// User and system time so far, in clock ticks of 10 ms (`USER_HZ` is 100 on every Linux).
    fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        // After the name in parentheses come state (1) to utime (12) and stime (13), counted from there.
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }
}

fn spec(name: &str) -> ValidVmSpec {
    let memory = "256MiB".parse().unwrap();
    let spec = VmSpec { memory: MemorySpec { target: memory, max: memory }, ..small(name) };
    ValidVmSpec::try_from(spec).unwrap()
}

/// A joined host below `folder`, its agent running, and the orchestrator's client to it.
async fn launch(folder: &Path) -> (Agent, AgentClient) {
    let authority = Authority::generate().unwrap().0;
    let host = HostId::new();
    let end = OffsetDateTime::now_utc() + Duration::from_secs(3600);
    let certified = |peer| {
        let key = KeyAndRequest::generate().unwrap();
        let certificate = authority.issue(&key.request_pem, peer, end).unwrap().certificate_pem;
        (key, certificate)
    };
    let (key, certificate) = certified(Peer::Host(host));
    let authority_pem = authority.certificate_pem().to_owned();
    Identity::enrol(&folder.join("state"), host, &key, certificate, authority_pem).unwrap();
    fs::create_dir_all(folder.join("boot")).unwrap();
    fs::write(folder.join("boot/vmlinuz"), b"kernel").unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let shown = folder.display();
    let settings = folder.join("agent.toml");
    let text = format!(
        "listen = \"127.0.0.1:{port}\"\nstate = \"{shown}/state\"\nboot = \"{shown}/boot\"\n\
         storage = \"{shown}/sr\"\n"
    );
    fs::write(&settings, text).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_xenith-agent"))
        .arg("--config")
        .arg(&settings)
        .args(["run", "--hypervisor", "sim"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (key, certificate) = certified(Peer::Orchestrator);
    let identity = LiveIdentity::new(&key.key_pem, &certificate).unwrap();
    let tls = client_config(identity, authority.certificate()).unwrap();
    let address = AgentAddress { host, address: format!("127.0.0.1:{port}") };
    (Agent(child), AgentClient::connect(address, Arc::new(tls), Arc::new(|_| Ok(()))))
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    xenith_common_pki::install_provider();
    let folder = tempfile::tempdir().unwrap();
    let (agent, client) = launch(folder.path()).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while client.hello(Epoch(1), "bench").await.is_err() {
        assert!(Instant::now() < deadline, "the agent does not serve");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("without VMs: {:.1} MiB resident", agent.resident_mib());
    for number in 0..VMS {
        let vm = VmId::new();
        let spec = Box::new(spec(&format!("vm-{number}")));
        for action in [
            VmAction::Define { definition: 1, spec },
            VmAction::Start { incarnation: IncarnationId::new(), cpu_level: None },
        ] {
            let command = Order::Vm { vm, action };
            let envelope = Envelope { operation: OperationId::new(), epoch: Epoch(1), command };
            client.execute(&envelope).await.unwrap();
        }
    }
    let mut stream = Box::pin(client.watch("", Generation(0)).await.unwrap());
    assert_eq!(stream.next().await.unwrap().unwrap().vms.len(), VMS);

    let (began, before) = (Instant::now(), agent.cpu());
    let mut messages = 0;
    while let Some(left) = WINDOW.checked_sub(began.elapsed()) {
        if let Ok(message) = tokio::time::timeout(left, stream.next()).await {
            message.unwrap().unwrap();
            messages += 1;
        }
    }
    let share = (agent.cpu() - before).as_secs_f64() / began.elapsed().as_secs_f64() * 100.0;
    let resident = agent.resident_mib();
    println!(
        "{VMS} running VMs, one watching orchestrator, {} s: {resident:.1} MiB resident (at most {MOST_MIB}), \
         {share:.2} % of one CPU (at most {MOST_PERCENT}), {messages} messages",
        WINDOW.as_secs()
    );
    assert!(resident <= MOST_MIB && share <= MOST_PERCENT, "the promise is not kept");
}
