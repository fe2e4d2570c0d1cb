//! Oversize and malformed calls end themselves and nothing else.

use std::sync::Arc;

use futures::{SinkExt, StreamExt};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};
use tonic::Code;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;
use xenith_hypervisor_agent_api::wire as agent;
use xenith_hypervisor_agent_api::wire::enrolment_client::EnrolmentClient;
use xenith_hypervisor_agent_api::{JoinToken, PROTOCOL, fault_from_status};
use xenith_hypervisor_agent_types::FaultReason;
use xenith_orchestrator_api::{WatchEvents, host};
use xenith_orchestrator_client::{EventChanges, Update, Watch};
use xenith_orchestrator_types::host::AddHost;

use crate::harness::{Installation, PATIENCE, small};
use crate::skew::channel_to_join;

const INFO: &str = r#"{"jsonrpc":"2.0","id":7,"method":"system.info","params":{}}"#;

/// Bodies, and the codes of JSON-RPC that answer them.
fn bad() -> Vec<(&'static str, Vec<u8>, i64)> {
    let oversize = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#, "x".repeat(1 << 20));
    let batch: Vec<Value> =
        (0..101).map(|id| json!({ "jsonrpc": "2.0", "id": id, "method": "system.info" })).collect();
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"system.info","params":{}{}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        ("oversize", oversize.into_bytes(), -32007),
        ("no JSON", text("{\"jsonrpc\":"), -32700),
        ("no UTF-8", b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\xfe\"}".to_vec(), -32600),
        ("nested too deep", deep.into_bytes(), -32602),
        ("a batch of too many", serde_json::to_vec(&batch).unwrap(), -32010),
        ("an empty batch", text("[]"), -32600),
        ("no method", text(r#"{"jsonrpc":"2.0","id":1}"#), -32600),
        ("another version", text(r#"{"jsonrpc":"1.0","id":1,"method":"system.info"}"#), -32600),
        ("an unknown method", text(r#"{"jsonrpc":"2.0","id":1,"method":"vm.explode"}"#), -32601),
        (
            "parameters by position",
            text(r#"{"jsonrpc":"2.0","id":1,"method":"system.info","params":[1]}"#),
            -32602,
        ),
        (
            "an unknown parameter",
            text(r#"{"jsonrpc":"2.0","id":1,"method":"system.info","params":{"x":1}}"#),
            -32602,
        ),
    ]
}

/// Keeps its connection from one call to the next.
fn http() -> reqwest::Client {
    reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build().unwrap()
}

pub async fn tls(installation: &Installation, protocol: &[u8]) -> TlsStream<TcpStream> {
    let pinned = xenith_common_pki::pinned_client_config(installation.fingerprint, &[protocol]).unwrap();
    let tcp = TcpStream::connect(installation.address).await.unwrap();
    let name = ServerName::from(installation.address.ip());
    TlsConnector::from(Arc::new(pinned)).connect(name, tcp).await.unwrap()
}

/// Something else that is under way meanwhile, on a connection of its own.
struct Bystander(Watch<EventChanges>);

impl Bystander {
    async fn new(installation: &Installation) -> Self {
        Self(installation.admin.watch(&WatchEvents::default()).await.unwrap())
    }

    /// It still hears what happens, and was never interrupted.
    async fn hears(&mut self, installation: &Installation) {
        let token = installation.join_token("xen7").await.parse().unwrap();
        let key = xenith_common_pki::KeyAndRequest::generate().unwrap();
        let request = xenith_hypervisor_agent_client::JoinRequest {
            certificate_request_pem: key.request_pem,
            hostname: "xen7".into(),
            address: "127.0.0.1:1".into(),
            agent_version: "0".into(),
        };
        xenith_hypervisor_agent_client::join(&token, request).await.unwrap();
        let heard = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("it hears in time");
        let Some(Update::Item(event)) = heard.unwrap() else { panic!("the subscription was interrupted") };
        assert_eq!(event.kind, "host.joined");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_call_over_http_ends_itself_only() {
    let installation = Installation::start().await;
    let mut bystander = Bystander::new(&installation).await;
    let http = http();
    let url = format!("https://{}/rpc", installation.address);
    let post = async |body: Vec<u8>| {
        let request = http.post(&url).header("content-type", "application/json").body(body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap())
    };
    for (case, body, code) in bad() {
        let (status, answer) = post(body).await;
        match serde_json::from_slice::<Value>(&answer) {
            // Refused before anybody looks into it.
            Ok(answer) if case == "oversize" => {
                assert_eq!(
                    (status, &answer["error"]["data"]["reason"]),
                    (413, &json!("invalid")),
                    "{answer}"
                );
            }
            Ok(answer) => assert_eq!(answer["error"]["code"], code, "{case}: {status} {answer}"),
            Err(error) => panic!("{case}: {status} {error}: {}", String::from_utf8_lossy(&answer)),
        }
        // The next call on the same connection is answered.
        let (status, answer) = post(INFO.as_bytes().to_vec()).await;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert!(status == 200 && answer["result"]["version"].is_string(), "after {case}: {status} {answer}");
    }
    bystander.hears(&installation).await;
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_message_on_a_web_socket_ends_itself_only() {
    let installation = Installation::start().await;
    let mut bystander = Bystander::new(&installation).await;
    let request = format!("wss://{}/rpc", installation.address).into_client_request().unwrap();
    let stream = tls(&installation, b"http/1.1").await;
    let (mut socket, _) = client_async(request, stream).await.unwrap();
    async fn answer(socket: &mut WebSocketStream<TlsStream<TcpStream>>, case: &str) -> Value {
        let answer = async {
            loop {
                match socket.next().await {
                    Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    other => panic!("{case} ended the connection: {other:?}"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|_| panic!("{case}: no answer"))
    }
    for (case, body, code) in bad() {
        // A message of another kind than text is bytes; text that is none cannot be sent as text.
        let message = match String::from_utf8(body) {
            Ok(text) => Message::text(text),
            Err(error) => Message::binary(error.into_bytes()),
        };
        socket.send(message).await.unwrap();
        let refused = answer(&mut socket, case).await;
        assert_eq!(refused["error"]["code"], code, "{case}: {refused}");
        socket.send(Message::text(INFO)).await.unwrap();
        let good = answer(&mut socket, case).await;
        assert!(good["result"]["version"].is_string(), "after {case}: {good}");
    }
    bystander.hears(&installation).await;
    installation.stop().await;
}

/// A call as a program without our types makes it.
async fn raw(installation: &Installation, session: &str, method: &str, params: Value) -> Value {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let request = http().post(format!("{}/rpc", installation.url())).bearer_auth(session);
    let request = request.header("content-type", "application/json").body(body.to_string());
    serde_json::from_slice(&request.send().await.unwrap().bytes().await.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_parameter_is_named() {
    let installation = Installation::start().await;
    let credentials = json!({ "name": "admin", "password": installation.password() });
    let session = raw(&installation, "", "auth.login", credentials).await;
    let session = session["result"]["session"].as_str().unwrap().to_owned();
    let good = serde_json::to_value(small("web-1")).unwrap();
    let with = |pointer: &str, value: Value| {
        let mut vm = good.clone();
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        vm.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(member.into(), value);
        vm
    };
    let disks = json!([{ "size": 1_073_741_824 }, { "size": "much" }]);
    let cases = [
        ("a wrong type", "vm.create", with("/vcpus/online", json!("x")), "vcpus.online", "expected"),
        ("an unknown tag", "vm.create", with("/platform/kind", json!("kvm")), "platform.kind", "`pvh`"),
        ("an unknown variant", "vm.create", with("/on_crash", json!("cry")), "on_crash", "`restart`"),
        ("an unknown field", "vm.create", with("/memory/min", json!(1)), "memory.min", "`target`"),
        ("an element of an array", "vm.create", with("/disks", disks), "disks[1].size", "expected"),
        ("a missing field", "vm.start", json!({}), "vm", "missing"),
        ("no such field at all", "system.info", json!({ "x": 1 }), "x", "unknown field"),
    ];
    for (case, method, params, field, says) in cases {
        let answer = raw(&installation, &session, method, params).await;
        assert_eq!(answer["error"]["data"]["field"], field, "{case}: {answer}");
        assert_eq!(answer["error"]["data"]["reason"], "invalid", "{case}: {answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.starts_with(field) && message.contains(says), "{case}: {answer}");
    }
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_is_told_to_who_has_signed_in() {
    let installation = Installation::start().await;
    let stranger = raw(&installation, "", "rpc.discover", json!({})).await;
    assert_eq!(stranger["error"]["data"]["reason"], "unauthenticated", "it is a lot to copy for anybody");
    let credentials = json!({ "name": "admin", "password": installation.password() });
    let session = raw(&installation, "", "auth.login", credentials).await;
    let session = session["result"]["session"].as_str().unwrap().to_owned();
    let answer = raw(&installation, &session, "rpc.discover", json!({})).await;
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/api/openrpc.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(golden).unwrap()).unwrap();
    assert!(answer["result"] == golden, "what is served is not orchestrator/api/openrpc.json");
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_one_batch_fail_alone() {
    let installation = Installation::start().await;
    let batch = json!([
        { "jsonrpc": "2.0", "id": 1, "method": "system.info", "params": {} },
        { "jsonrpc": "2.0", "id": 2, "method": "vm.explode" },
        { "jsonrpc": "2.0", "id": 3, "method": "vm.list", "params": {} },
        { "id": 4 },
        { "jsonrpc": "2.0", "id": 5, "method": "system.info", "params": {} },
    ]);
    let request = http().post(format!("https://{}/rpc", installation.address));
    let request = request.header("content-type", "application/json").body(batch.to_string());
    let answer = request.send().await.unwrap().bytes().await.unwrap();
    let answers: Vec<Value> = serde_json::from_slice(&answer).unwrap();
    let of = |id: u64| answers.iter().find(|answer| answer["id"] == id).unwrap_or(&Value::Null);
    assert!(of(1)["result"]["version"].is_string() && of(5)["result"]["version"].is_string(), "{answers:?}");
    assert_eq!(of(2)["error"]["code"], -32601, "{answers:?}");
    assert_eq!(of(3)["error"]["data"]["reason"], "unauthenticated", "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| answer["error"]["code"] == -32600).count(), 1, "{answers:?}");
    // Somebody who is signed in was not disturbed.
    let add = AddHost { name: None, pool: None, minutes: 0 };
    assert!(installation.admin.call::<host::Add>(&add).await.is_ok());
    installation.stop().await;
}

/// Where hosts join, which is the one call of theirs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_frame_of_who_wants_to_join_ends_its_call_only() {
    let installation = Installation::start().await;
    let mut bystander = Bystander::new(&installation).await;
    let token: JoinToken = installation.join_token("xen1").await.parse().unwrap();
    let channel = channel_to_join(&token).await;
    let key = xenith_common_pki::KeyAndRequest::generate().unwrap();
    let good = agent::JoinRequest {
        protocol: PROTOCOL,
        secret: token.secret.clone(),
        certificate_request_pem: key.request_pem,
        hostname: "xen1".into(),
        address: "127.0.0.1:1".into(),
        agent_version: "0".into(),
    };
    let mut client = EnrolmentClient::new(channel.clone());

    // Its first field is text, where a request to join has a number.
    let garbled = agent::WatchRequest { instance: "x".into(), generation: 1 };
    let codec = ProstCodec::<agent::WatchRequest, agent::JoinReply>::default();
    let mut raw = tonic::client::Grpc::new(channel);
    raw.ready().await.unwrap();
    let join = PathAndQuery::from_static("/xenith.agent.v1.Enrolment/Join");
    let refused = raw.unary(tonic::Request::new(garbled), join, codec).await.unwrap_err();
    assert_eq!(refused.code(), Code::Internal, "not a request to join: {refused}");

    let oversize = agent::JoinRequest { hostname: "x".repeat(1 << 20), ..good.clone() };
    let refused = client.join(oversize).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "oversize: {refused}");

    for (case, bad, field) in [
        (
            "an address without a port",
            agent::JoinRequest { address: "xen1".into(), ..good.clone() },
            "address",
        ),
        (
            "no request for a certificate",
            agent::JoinRequest { certificate_request_pem: "none".into(), ..good.clone() },
            "certificate_request_pem",
        ),
    ] {
        let fault = fault_from_status(&client.join(bad).await.unwrap_err()).unwrap();
        assert_eq!(
            (fault.reason, fault.field.as_deref()),
            (FaultReason::Invalid, Some(field)),
            "{case}: {fault}"
        );
        assert!(fault.message.starts_with(field), "{case}: {fault}");
    }

    // The token was not spent by any of these, and the connection is the same.
    client.join(good).await.expect("a good request is taken");
    bystander.hears(&installation).await;
    installation.stop().await;
}
