//! An agent that talks nonsense: its host is unknown, with the reason, and nobody else suffers.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::http::{Response, header};
use xenith_hypervisor_agent_api::{PROTOCOL, wire};
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator_types::host::HostStatus;

use crate::fake_agent::fake_agent;
use crate::harness::{Installation, small, until};

/// A gRPC message of these bytes, said to be of this length.
fn message(length: u32, bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(bytes);
    frame
}

/// Answers every call with these bytes.
fn says(bytes: Vec<u8>) -> axum::Router {
    axum::Router::new().fallback(async move || {
        Response::builder()
            .header(header::CONTENT_TYPE, "application/grpc")
            .body(axum::body::Body::from(bytes.clone()))
            .unwrap()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_talks_nonsense_is_unknown_and_disturbs_nobody() {
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    // A greeting without a host, an epoch, facts.
    let empty = prost::Message::encode_to_vec(&wire::HelloReply { protocol: PROTOCOL, ..Default::default() });
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
    let cases = [
        ("no message at all", Vec::new()),
        ("no protobuf", message(4, b"\xff\xff\xff\xff")),
        ("cut off", message(1000, b"short")),
        ("larger than anything", message(u32::MAX, b"\x08\x01")),
        ("without its fields", message(length(&empty), &empty)),
        ("not even gRPC", b"HTTP/1.1 200 OK".to_vec()),
    ];
    let mut agents = Vec::new();
    for (number, (_, bytes)) in cases.iter().enumerate() {
        agents.push(fake_agent(&installation, &format!("bad{number}"), says(bytes.clone())).await);
    }
    for (number, (case, _)) in cases.iter().enumerate() {
        let name = format!("bad{number}");
        let host = until(case, async || {
            let host = installation.wait_host(&name, HostStatus::Unknown).await;
            host.problem.is_some().then_some(host)
        })
        .await;
        let problem = host.problem.unwrap();
        assert!(!problem.trim().is_empty() && problem.len() < 500, "{case}: {problem:?}");
    }
    installation.wait_host("xen1", HostStatus::Connected).await;
    let task = installation.run::<xenith_orchestrator_api::vm::Create>(&small("web-1")).await;
    assert_eq!(task.status, xenith_orchestrator_types::task::TaskStatus::Done, "{:?}", task.message);
    for agent in agents {
        agent.abort();
    }
    installation.stop().await;
}

/// What went wrong is not tried again at once: a fleet of such agents would keep everybody busy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_not_understood_is_greeted_less_and_less_often() {
    let installation = Installation::start().await;
    let greetings: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let noted = Arc::clone(&greetings);
    let router = axum::Router::new().fallback(move |request: axum::extract::Request| {
        let noted = Arc::clone(&noted);
        async move {
            if request.uri().path().ends_with("/Hello") {
                noted.lock().unwrap().push(Instant::now());
            }
            "not even gRPC"
        }
    });
    let agent = fake_agent(&installation, "bad", router).await;
    let at = until("it was greeted five times", async || {
        let at = greetings.lock().unwrap().clone();
        (at.len() >= 5).then_some(at)
    })
    .await;
    // It begins with a quarter of a second and doubles; by chance each wait may be half as long.
    assert!(at[4] - at[3] >= Duration::from_millis(500), "{at:?}");
    agent.abort();
    installation.stop().await;
}
