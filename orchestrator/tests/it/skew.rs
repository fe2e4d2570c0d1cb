//! Agents and orchestrators of different protocols find out, say so, and change nothing.

use std::future::{Ready, ready};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::server::{Grpc, UnaryService};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic_prost::ProstCodec;
use xenith_common_pki::{KeyAndRequest, Peer, pinned_client_config};
use xenith_hypervisor_agent_api::wire::enrolment_client::EnrolmentClient;
use xenith_hypervisor_agent_api::{JoinToken, PROTOCOL, fault_from_status, wire};
use xenith_hypervisor_agent_types::FaultReason;
use xenith_orchestrator_api::event;
use xenith_orchestrator_types::event::ListEvents;
use xenith_orchestrator_types::host::HostStatus;

use crate::fake_agent::fake_agent;
use crate::harness::{Installation, until};

/// Answers a greeting as an agent of the next protocol would: with the two numbers and its version, which every
/// protocol keeps in their places.
#[derive(Clone)]
struct NextProtocol;

impl UnaryService<wire::HelloRequest> for NextProtocol {
    type Response = wire::HelloReply;
    type Future = Ready<Result<tonic::Response<wire::HelloReply>, tonic::Status>>;

    fn call(&mut self, _: tonic::Request<wire::HelloRequest>) -> Self::Future {
        let agent_version = "9.9.9".to_owned();
        ready(Ok(tonic::Response::new(wire::HelloReply {
            protocol: PROTOCOL + 1,
            agent_version,
            ..Default::default()
        })))
    }
}

async fn answer(request: Request) -> axum::response::Response {
    let mut grpc = Grpc::new(ProstCodec::<wire::HelloReply, wire::HelloRequest>::default());
    grpc.unary(NextProtocol, request).await.map(Body::new)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_of_another_protocol_is_unknown_and_the_reason_is_told() {
    let installation = Installation::start().await;
    let router = axum::Router::new().fallback(answer);
    let serving = fake_agent(&installation, "xen9", router).await;
    let host = until("the skew is explained", async || {
        let host = installation.wait_host("xen9", HostStatus::Unknown).await;
        host.problem.is_some().then_some(host)
    })
    .await;
    let problem = host.problem.unwrap();
    for part in [
        "version 9.9.9",
        &format!("speaks protocol {}", PROTOCOL + 1),
        &format!("this orchestrator speaks {PROTOCOL}"),
        "upgrade",
    ] {
        assert!(problem.contains(part), "{part:?} is not in {problem:?}");
    }
    until("it is an event, too", async || {
        let request = ListEvents { filter: "kind:=host.lost \"protocol\"".into(), ..ListEvents::default() };
        let told = installation.admin.call::<event::List>(&request).await.unwrap();
        (told.total == 1).then_some(())
    })
    .await;
    serving.abort();
    installation.stop().await;
}

/// A connection as a host has it that wants to join, without the client that sends nothing wrong.
pub async fn channel_to_join(token: &JoinToken) -> Channel {
    let tls = pinned_client_config(token.fingerprint.parse().unwrap(), &[b"h2"]).unwrap();
    let tls = TlsConnector::from(Arc::new(tls));
    let address = token.address.clone();
    let connector = tower::service_fn(move |_: Uri| {
        let (tls, address) = (tls.clone(), address.clone());
        async move {
            let tcp = TcpStream::connect(&address).await?;
            let stream = tls.connect(Peer::Orchestrator.server_name(), tcp).await?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    Endpoint::from_static("http://orchestrator").connect_with_connector(connector).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_of_another_protocol_may_not_join_and_keeps_its_token() {
    let installation = Installation::start().await;
    let token: JoinToken = installation.join_token("xen1").await.parse().unwrap();
    let channel = channel_to_join(&token).await;
    let key = KeyAndRequest::generate().unwrap();
    let request = |protocol| wire::JoinRequest {
        protocol,
        secret: token.secret.clone(),
        certificate_request_pem: key.request_pem.clone(),
        hostname: "xen1".into(),
        address: "127.0.0.1:1".into(),
        agent_version: "0.0.1".into(),
    };
    let mut client = EnrolmentClient::new(channel);
    for other in [0, PROTOCOL - 1, PROTOCOL + 1] {
        let fault = fault_from_status(&client.join(request(other)).await.unwrap_err()).unwrap();
        assert_eq!(fault.reason, FaultReason::Unsupported, "{other}: {fault}");
        for part in
            ["version 0.0.1", &format!("protocol {other}"), &format!("orchestrator {PROTOCOL}"), "upgrade"]
        {
            assert!(fault.message.contains(part), "{part:?} is not in {:?}", fault.message);
        }
    }
    client.join(request(PROTOCOL)).await.expect("the token was not spent");
    installation.stop().await;
}
