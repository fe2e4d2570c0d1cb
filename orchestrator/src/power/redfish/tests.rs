//! A small controller on loopback.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use time::OffsetDateTime;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use xenith_common_pki::{Authority, Fingerprint, LiveIdentity, install_provider, web_server_config};
use xenith_common_tasks::TaskSet;
use xenith_orchestrator_types::power::PowerControlKind;

use super::*;

/// What it says of its system, and what it was told.
#[derive(Default)]
struct Says {
    power: String,
    members: Vec<&'static str>,
    target: String,
    told: Vec<String>,
}

struct Fake {
    says: Arc<Mutex<Says>>,
    port: u16,
    fingerprint: Fingerprint,
    _tasks: TaskSet,
}

impl Fake {
    async fn new() -> Self {
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

    fn says(&self, change: impl FnOnce(&mut Says)) {
        change(&mut self.says.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn told(&self) -> Vec<String> {
        self.says.lock().unwrap_or_else(PoisonError::into_inner).told.clone()
    }

    fn controller(&self, password: &str) -> Controller {
        Controller {
            kind: PowerControlKind::Redfish,
            host: "127.0.0.1".into(),
            port: self.port,
            user: "xenith".into(),
            password: password.into(),
            fingerprint: Some(self.fingerprint),
        }
    }
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
    let fake = Fake::new().await;
    let controller = fake.controller("right");
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
    let fake = Fake::new().await;
    let error = fake.controller("wrong").power().await.unwrap_err();
    assert!(matches!(error, PowerError::Refused { .. }), "{error}");
    let pin = "11".repeat(32).parse().unwrap();
    let other = Controller { fingerprint: Some(pin), ..fake.controller("right") };
    let error = other.order(PowerOrder::Off).await.unwrap_err();
    assert!(matches!(error, PowerError::Unreachable { .. }), "{error}");
    let none = Controller { fingerprint: None, ..fake.controller("right") };
    assert!(matches!(none.power().await, Err(PowerError::Odd { .. })));
    assert!(fake.told().is_empty());
    let gone = Controller { port: 9, ..fake.controller("right") };
    assert!(matches!(gone.power().await, Err(PowerError::Unreachable { .. })));
}
