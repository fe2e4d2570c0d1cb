//! Frames that are too large or make no sense: each ends its own call and nothing else.

use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status};
use xenith_common_ids::OperationId;
use xenith_common_pki::{KeyAndRequest, LiveIdentity, Peer, client_config};
use xenith_hypervisor_agent_api::wire::agent_client::AgentClient as Wire;
use xenith_hypervisor_agent_api::{MAX_MESSAGE_BYTES, PROTOCOL, fault_from_status, wire};

use crate::harness::{Lab, certify};

/// Sends bytes as they are.
#[derive(Debug, Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(to, &item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        let length = bytes::Buf::remaining(from);
        bytes::Buf::advance(from, length);
        Ok(Some(()))
    }
}

/// The orchestrator's connection, without the client that would refuse to send nonsense.
async fn connect(lab: &Lab) -> Channel {
    let key = KeyAndRequest::generate().unwrap();
    let life = std::time::Duration::from_secs(3600);
    let certificate = certify(&lab.authority, &key, Peer::Orchestrator, life);
    let identity = LiveIdentity::new(&key.key_pem, &certificate).unwrap();
    let tls = TlsConnector::from(Arc::new(client_config(identity, lab.authority.certificate()).unwrap()));
    let (address, name) = (lab.config.listen, Peer::Host(lab.host).server_name());
    let connector = tower::service_fn(move |_: Uri| {
        let (tls, name) = (tls.clone(), name.clone());
        async move { tls.connect(name, TcpStream::connect(address).await?).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://agent").connect_with_connector(connector).await.unwrap()
}

async fn send(channel: &Channel, call: &'static str, bytes: Vec<u8>) -> Status {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let path = PathAndQuery::from_static(call);
    grpc.unary(Request::new(bytes), path, Raw).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_frame_ends_its_call_only() {
    let lab = Lab::new().await;
    let channel = connect(&lab).await;
    let watch = Wire::new(channel.clone()).watch(wire::WatchRequest::default()).await.unwrap().into_inner();
    let mut watch = pin!(watch);
    watch.next().await.unwrap().unwrap();

    let execute = "/xenith.agent.v1.Agent/Execute";
    for (case, call, bytes, code) in [
        ("oversize", execute, vec![0; MAX_MESSAGE_BYTES + 1], Code::OutOfRange),
        ("not protobuf", execute, vec![0xff; 100], Code::Internal),
        ("a length beyond the end", execute, vec![0x0a, 0xff, 0xff, 0xff, 0x7f], Code::Internal),
        ("empty", execute, vec![], Code::InvalidArgument),
        ("no such call", "/xenith.agent.v1.Agent/Explode", vec![], Code::Unimplemented),
        ("no such service", "/other.Service/Call", vec![], Code::Unimplemented),
    ] {
        let status = send(&channel, call, bytes).await;
        assert_eq!(status.code(), code, "{case}: {status}");
    }
    // The same connection goes on, the open stream with it.
    let status = Wire::new(channel.clone()).hello(wire::HelloRequest::default()).await;
    assert!(status.is_ok(), "another protocol gets our versions: {status:?}");
    watch.next().await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_value_is_named_by_its_field() {
    let lab = Lab::new().await;
    let mut client = Wire::new(connect(&lab).await);
    let define = |spec| {
        wire::execute_request::Command::DefineVm(wire::DefineVm {
            vm_id: OperationId::new().to_string(),
            definition: 1,
            spec,
        })
    };
    let start =
        |vm_id: &str| wire::execute_request::Command::DestroyVm(wire::VmCommand { vm_id: vm_id.into() });
    let spec = |disk: &str| wire::VmSpec {
        name: "v".into(),
        platform: Some(wire::Platform {
            kind: Some(wire::platform::Kind::Pv(wire::DirectBoot {
                kernel: "k".into(),
                ..Default::default()
            })),
        }),
        vcpus_online: 1,
        vcpus_max: 1,
        memory_target_mib: 128,
        memory_max_mib: 128,
        graphics: wire::Graphics::None as i32,
        on_crash: wire::CrashAction::Stop as i32,
        on_reboot: wire::RebootAction::Stop as i32,
        disks: vec![wire::Disk {
            device: disk.into(),
            vdi_id: OperationId::new().to_string(),
            read_only: false,
        }],
        ..Default::default()
    };
    for (field, command) in [
        ("command", None),
        ("vm_id", Some(start("web-1"))),
        ("spec", Some(define(None))),
        ("spec.name", Some(define(Some(wire::VmSpec { name: "../x".into(), ..spec("xvda") })))),
        ("spec.disks[0].device", Some(define(Some(spec("sda"))))),
        (
            "spec.memory_max_mib",
            Some(define(Some(wire::VmSpec { memory_max_mib: u64::MAX, ..spec("xvda") }))),
        ),
        ("spec.graphics", Some(define(Some(wire::VmSpec { graphics: 77, ..spec("xvda") })))),
    ] {
        let operation_id = OperationId::new().to_string();
        let status =
            client.execute(wire::ExecuteRequest { operation_id, epoch: 1, command }).await.unwrap_err();
        let fault = fault_from_status(&status).unwrap();
        assert_eq!(fault.field.as_deref(), Some(field), "{fault}");
        assert!(fault.message.starts_with(field), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_greeting_in_another_protocol_gets_our_versions_and_changes_nothing() {
    let lab = Lab::new().await;
    let mut client = Wire::new(connect(&lab).await);
    let greet =
        |protocol, epoch| wire::HelloRequest { protocol, epoch, orchestrator_version: "9.9.9".into() };
    for other in [0, PROTOCOL + 1] {
        let answer = client.hello(greet(other, 77)).await.unwrap().into_inner();
        assert_eq!(
            (answer.protocol, answer.agent_version.as_str()),
            (PROTOCOL, env!("CARGO_PKG_VERSION")),
            "{other}"
        );
    }
    // Its epoch was not taken: who commands this host goes on.
    assert!(client.hello(greet(PROTOCOL, 5)).await.is_ok());
    let stale = fault_from_status(&client.hello(greet(PROTOCOL, 4)).await.unwrap_err()).unwrap();
    assert!(stale.message.contains("epoch 5"), "{stale}");
}
