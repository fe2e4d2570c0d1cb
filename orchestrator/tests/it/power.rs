//! Power control, with a small controller on loopback: what it says, what it is told, and that high availability takes its
//! word.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use xenith_common_pki::{Authority, Fingerprint, LiveIdentity, install_provider, web_server_config};
use xenith_common_tasks::TaskSet;
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_hypervisor_agent_types::Power;
use xenith_orchestrator::model::PowerControlRecord;
use xenith_orchestrator::power::{Controller, PowerError, SEALED_PASSWORD};
use xenith_orchestrator::secret::Vault;
use xenith_orchestrator_api::{event, host, vm};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::ha::HaHostState;
use xenith_orchestrator_types::power::{MachinePower, PowerControlKind, PowerOrder};

use crate::ha::{armed_for, is, is_known_to_run};
use crate::harness::{Installation, api_error, until};
use crate::migration::{becomes, running, web};
use crate::shared_storage::{done, id, of};

/// What it says of its system, and what it was told.
#[derive(Default)]
pub struct Says {
    pub power: String,
    members: Vec<&'static str>,
    target: String,
    told: Vec<String>,
}

pub struct Fake {
    says: Arc<Mutex<Says>>,
    port: u16,
    fingerprint: Fingerprint,
    _tasks: TaskSet,
}

impl Fake {
    pub async fn new() -> Self {
        install_provider();
        let (authority, _) = Authority::generate().unwrap();
        let until = OffsetDateTime::now_utc() + time::Duration::HOUR;
        let (key, chain) = authority.issue_web(&["bmc1".to_owned()], &[], until).unwrap();
        let identity = LiveIdentity::new(&key, &chain).unwrap();
        let fingerprint = Fingerprint::of(&identity.certificate().unwrap());
        let tls = web_server_config(identity).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let says = Says {
            power: "On".into(),
            members: vec!["/redfish/v1/Systems/1"],
            target: "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset".into(),
            told: vec![],
        };
        let says = Arc::new(Mutex::new(says));
        let tasks = TaskSet::new();
        let (acceptor, answers, token) = (TlsAcceptor::from(Arc::new(tls)), Arc::clone(&says), tasks.token());
        tasks.spawn("fake controller", async move {
            loop {
                let (stream, _) = tokio::select! {
                    () = token.cancelled() => return,
                    accepted = listener.accept() => accepted.unwrap(),
                };
                // One that does not like the certificate goes away.
                let _client_gone = answer(&acceptor, stream, &answers).await;
            }
        });
        Self { says, port, fingerprint, _tasks: tasks }
    }

    pub fn says(&self, change: impl FnOnce(&mut Says)) {
        change(&mut self.says.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub fn told(&self) -> Vec<String> {
        self.says.lock().unwrap_or_else(PoisonError::into_inner).told.clone()
    }

    fn record(&self, vault: &Vault, password: &str) -> PowerControlRecord {
        PowerControlRecord {
            kind: PowerControlKind::Redfish,
            address: format!("127.0.0.1:{}", self.port),
            user: "xenith".into(),
            fingerprint: Some(self.fingerprint.to_string()),
            sealed_password: vault.seal(SEALED_PASSWORD, password.as_bytes()).unwrap(),
        }
    }

    /// As the power control of this host.
    pub fn settings(&self, host: &str, password: &str) -> Value {
        let address = format!("127.0.0.1:{}", self.port);
        let pin = self.fingerprint.to_string();
        json!({
            "host": host, "kind": "redfish", "address": address, "user": "xenith", "password": password,
            "fingerprint": pin,
        })
    }
}

fn vault() -> (tempfile::TempDir, Vault) {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::open(&folder.path().join("master.key")).unwrap();
    (folder, vault)
}

async fn answer(acceptor: &TlsAcceptor, stream: TcpStream, says: &Mutex<Says>) -> std::io::Result<()> {
    let mut stream = BufReader::new(acceptor.accept(stream).await?);
    let (mut first, mut known, mut length) = (String::new(), false, 0);
    stream.read_line(&mut first).await?;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => known = value == format!("Basic {}", STANDARD.encode("xenith:right")),
            "content-length" => length = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let (status, body) = {
        let mut says = says.lock().unwrap_or_else(PoisonError::into_inner);
        if !known {
            ("401 Unauthorized", json!({}))
        } else if first.starts_with("POST") && path == says.target {
            let told: Value = serde_json::from_slice(&body).unwrap_or_default();
            let kind = told["ResetType"].as_str().unwrap_or_default().to_owned();
            says.power = if kind == "ForceOff" { "Off" } else { "On" }.to_owned();
            says.told.push(kind);
            ("204 No Content", Value::Null)
        } else if path == "/redfish/v1/Systems" {
            let member = |path: &&str| json!({ "@odata.id": path });
            ("200 OK", json!({ "Members": says.members.iter().map(member).collect::<Vec<_>>() }))
        } else if path == "/redfish/v1/Systems/1" {
            let allowed = ["On", "ForceOff", "PowerCycle"];
            let reset = json!({ "target": says.target, "ResetType@Redfish.AllowableValues": allowed });
            ("200 OK", json!({ "PowerState": says.power, "Actions": { "#ComputerSystem.Reset": reset } }))
        } else {
            ("404 Not Found", json!({}))
        }
    };
    let body = if body == Value::Null { String::new() } else { body.to_string() };
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

#[tokio::test]
async fn it_is_switched_off_and_on_and_what_it_does_not_say_is_not_off() {
    let (fake, (_folder, vault)) = (Fake::new().await, vault());
    let controller = Controller::open(&fake.record(&vault, "right"), &vault).unwrap();
    assert_eq!(controller.power().await.unwrap(), MachinePower::On);
    controller.order(PowerOrder::Off).await.unwrap();
    assert_eq!(controller.power().await.unwrap(), MachinePower::Off);
    // It does not know ForceRestart.
    controller.order(PowerOrder::Cycle).await.unwrap();
    assert_eq!(fake.told(), ["ForceOff", "PowerCycle"]);
    for state in ["PoweringOff", "off", ""] {
        fake.says(|says| says.power = state.into());
        assert_eq!(controller.power().await.unwrap(), MachinePower::Unknown, "{state:?}");
    }
    fake.says(|says| says.members.clear());
    assert!(matches!(controller.power().await, Err(PowerError::Odd { .. })));
    fake.says(|says| says.members = vec!["/redfish/v1/Systems/1", "/redfish/v1/Systems/2"]);
    assert!(matches!(controller.power().await, Err(PowerError::Odd { .. })));
    fake.says(|says| says.members = vec!["https://elsewhere.example.org/redfish/v1/Systems/1"]);
    let error = controller.power().await.unwrap_err().to_string();
    assert!(error.contains("no path of it"), "{error}");
}

#[tokio::test]
async fn another_certificate_is_told_nothing_and_another_password_proves_nothing() {
    let (fake, (_folder, vault)) = (Fake::new().await, vault());
    let open = |record: &PowerControlRecord| Controller::open(record, &vault).unwrap();
    let error = open(&fake.record(&vault, "wrong")).power().await.unwrap_err();
    assert!(matches!(error, PowerError::Refused { .. }), "{error}");
    let right = fake.record(&vault, "right");
    let other = PowerControlRecord { fingerprint: Some("11".repeat(32)), ..right.clone() };
    let error = open(&other).order(PowerOrder::Off).await.unwrap_err();
    assert!(matches!(error, PowerError::Unreachable { .. }), "{error}");
    let none = PowerControlRecord { fingerprint: None, ..right.clone() };
    assert!(matches!(open(&none).power().await, Err(PowerError::Odd { .. })));
    assert!(fake.told().is_empty());
    // Nobody listens there any more.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = listener.local_addr().unwrap().to_string();
    drop(listener);
    let gone = open(&PowerControlRecord { address: gone, ..right });
    assert!(matches!(gone.power().await, Err(PowerError::Unreachable { .. })));
}

/// High availability would take the word of it for both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_hosts_that_are_given_one_controller_at_once_one_has_it() {
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    all.add_host("xen2", SimHypervisor::builder()).await;
    let fake = Fake::new().await;
    let (xen1, xen2) = (of(fake.settings("xen1", "right")), of(fake.settings("xen2", "right")));
    let (first, second) = tokio::join!(
        all.admin.call::<host::SetPowerControl>(&xen1),
        all.admin.call::<host::SetPowerControl>(&xen2)
    );
    assert_ne!(first.is_ok(), second.is_ok(), "{first:?}, {second:?}");
    let refused = api_error(if first.is_ok() { second } else { first });
    assert_eq!(refused.data.field.as_deref(), Some("address"), "{refused}");
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_silent_twice_is_switched_off_and_its_vm_runs_elsewhere() {
    // By its lease alone it would take more than a minute.
    let (mut all, fake) = (armed_for(60).await, Fake::new().await);
    let (xen1, xen2) = (id(&all, "xen1").await, id(&all, "xen2").await);
    let refused =
        api_error(all.admin.call::<host::SetPowerControl>(&of(fake.settings("xen1", "wrong"))).await);
    assert!(refused.reason() == Reason::WrongState && refused.message.contains("password"), "{refused}");
    let set = all.admin.call::<host::SetPowerControl>(&of(fake.settings("xen1", "right"))).await.unwrap();
    assert_eq!(set.control.unwrap().user, "xenith");
    let refused =
        api_error(all.admin.call::<host::SetPowerControl>(&of(fake.settings("xen2", "right"))).await);
    assert!(
        refused.data.field.as_deref() == Some("address") && refused.message.contains("xen1"),
        "{refused}"
    );
    let again = all.admin.call::<host::SetPowerControl>(&of(fake.settings("xen1", "right"))).await;
    assert!(again.is_ok(), "its own is its own");
    web(&all).await;
    done::<vm::Start>(&all, json!({ "vm": "web-1" })).await;
    becomes(&all, Power::Running).await;
    is_known_to_run(&all, xen1).await;
    let off = json!({ "host": "xen1", "order": "off" });
    let refused = api_error(all.admin.call::<host::Power>(&of(off)).await);
    assert_eq!(refused.reason(), Reason::WrongState, "a VM runs there");
    assert!(fake.told().is_empty());

    all.hosts[0].stop_agent().await;
    all.hosts[0].sim.reboot_host();
    is(&all, "xen1", HaHostState::Fenced).await;
    assert_eq!(fake.told(), ["ForceOff"]);
    until("web-1 to run on xen2", async || {
        let vm = all.vm("web-1").await;
        (vm.host == Some(xen2) && vm.power == Power::Running).then_some(())
    })
    .await;
    assert_eq!(running(&all).await, [0, 1]);
    let told = all.admin.call::<event::List>(&of(json!({}))).await.unwrap().items;
    let fenced = told.iter().find(|event| event.kind == "host.fenced").unwrap();
    assert!(fenced.message.contains("its power is off"), "{}", fenced.message);
    all.stop().await;
}
