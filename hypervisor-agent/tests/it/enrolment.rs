//! How a host joins, against a small orchestrator that answers as each case wants.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use xenith_common_ids::HostId;
use xenith_common_pki::{Authority, LiveIdentity, Peer, web_server_config};
use xenith_hypervisor_agent::config::Config;
use xenith_hypervisor_agent::enrol::{self, EnrolError, Enrolment};
use xenith_hypervisor_agent_api::wire::enrolment_server::{Enrolment as WireEnrolment, EnrolmentServer};
use xenith_hypervisor_agent_api::{JoinToken, status_from_fault, wire};
use xenith_hypervisor_agent_types::{Fault, FaultReason};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Welcome,
    /// The token is spent or has expired.
    Refuse,
    /// It speaks another protocol.
    OtherProtocol,
    /// Not ready the first two times.
    Later,
    CertificateOfAnother,
    OtherAuthority,
}

pub struct Orchestrator {
    pub authority: Arc<Authority>,
    pub host: HostId,
    pub token: JoinToken,
    pub seen: Arc<Mutex<Vec<wire::JoinRequest>>>,
}

struct Service {
    authority: Arc<Authority>,
    host: HostId,
    answer: Answer,
    seen: Arc<Mutex<Vec<wire::JoinRequest>>>,
}

#[tonic::async_trait]
impl WireEnrolment for Service {
    async fn join(&self, request: Request<wire::JoinRequest>) -> Result<Response<wire::JoinReply>, Status> {
        let request = request.into_inner();
        let asked = {
            let mut seen = self.seen.lock().unwrap();
            seen.push(request.clone());
            seen.len()
        };
        let fault = |reason, text| Err(status_from_fault(&Fault::new(reason, text)));
        match self.answer {
            Answer::Refuse => return fault(FaultReason::Forbidden, "the token has expired"),
            Answer::OtherProtocol => {
                let text = "this agent (version 0.1.0) speaks protocol 1, the orchestrator 2; upgrade the older of the two";
                return fault(FaultReason::Unsupported, text);
            }
            Answer::Later if asked < 3 => return fault(FaultReason::NotReady, "starting"),
            _ => {}
        }
        let peer = match self.answer {
            Answer::CertificateOfAnother => HostId::new(),
            _ => self.host,
        };
        let end = OffsetDateTime::now_utc() + Duration::from_secs(3600);
        let issued = self.authority.issue(&request.certificate_request_pem, Peer::Host(peer), end).unwrap();
        let other = Authority::generate().unwrap().0;
        let authority = if self.answer == Answer::OtherAuthority { &other } else { &*self.authority };
        Ok(Response::new(wire::JoinReply {
            host_id: self.host.to_string(),
            certificate_pem: issued.certificate_pem,
            authority_pem: authority.certificate_pem().to_owned(),
        }))
    }
}

impl Orchestrator {
    /// Listens until the test's runtime ends.
    pub async fn start(answer: Answer) -> Self {
        xenith_common_pki::install_provider();
        let authority = Arc::new(Authority::generate().unwrap().0);
        let end = OffsetDateTime::now_utc() + Duration::from_secs(3600);
        let (key, chain) = authority.issue_web(&[Peer::Orchestrator.dns_name()], &[], end).unwrap();
        let tls = web_server_config(LiveIdentity::new(&key, &chain).unwrap()).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, incoming) = tokio::sync::mpsc::channel(4);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                // A client that did not like us is no news here.
                if let Ok(stream) = acceptor.accept(tcp).await {
                    sender.send(Ok::<_, std::io::Error>(stream)).await.unwrap();
                }
            }
        });
        let (host, seen) = (HostId::new(), Arc::default());
        let service = Service { authority: Arc::clone(&authority), host, answer, seen: Arc::clone(&seen) };
        let server = tonic::transport::Server::builder().add_service(EnrolmentServer::new(service));
        tokio::spawn(server.serve_with_incoming(ReceiverStream::new(incoming)));
        let fingerprint = authority.fingerprint().to_string();
        let token = JoinToken { address, fingerprint, secret: "s3cret".to_owned() };
        Self { authority, host, token, seen }
    }
}

pub fn config(folder: &std::path::Path) -> Config {
    Config {
        listen: ([127, 0, 0, 1], 0).into(),
        state: folder.join("state"),
        boot: folder.join("boot"),
        storage: folder.join("sr"),
        join_token: folder.join("token"),
        ..Config::default()
    }
}

#[tokio::test]
async fn a_token_file_becomes_an_identity_and_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let orchestrator = Orchestrator::start(Answer::Later).await;
    assert!(matches!(enrol::look(&config), Err(EnrolError::NoToken { .. })));
    std::fs::write(&config.join_token, format!("{}\n", orchestrator.token)).unwrap();
    let Enrolment::Token(token) = enrol::look(&config).unwrap() else { panic!("joined?") };
    let identity = enrol::join_patiently(&config, &token).await.unwrap();
    assert_eq!(identity.host(), orchestrator.host);
    assert!(!config.join_token.exists());
    let seen = orchestrator.seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 3);
    assert_eq!((seen[0].secret.as_str(), seen[0].address.as_str()), ("s3cret", ":0"));
    assert!(seen.iter().all(|request| request.certificate_request_pem == seen[0].certificate_request_pem));

    // As after a crash between the two: the spent token is removed, one of another installation is not.
    std::fs::write(&config.join_token, orchestrator.token.to_string()).unwrap();
    assert!(matches!(enrol::look(&config).unwrap(), Enrolment::Joined(_)));
    assert!(!config.join_token.exists());
    let other = JoinToken { fingerprint: "0".repeat(64), ..orchestrator.token.clone() };
    std::fs::write(&config.join_token, other.to_string()).unwrap();
    assert!(matches!(enrol::look(&config).unwrap(), Enrolment::Joined(_)));
    assert!(config.join_token.exists());
    let again = enrol::join_once(&config, &orchestrator.token.to_string()).await.unwrap_err();
    assert!(matches!(again, EnrolError::AlreadyJoined { .. }), "{again}");
}

#[tokio::test]
async fn what_is_refused_leaves_no_identity() {
    for (case, answer, code) in [
        ("spent", Answer::Refuse, 2),
        ("another's certificate", Answer::CertificateOfAnother, 2),
        ("another authority", Answer::OtherAuthority, 2),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let orchestrator = Orchestrator::start(answer).await;
        std::fs::write(&config.join_token, orchestrator.token.to_string()).unwrap();
        let error = enrol::join_patiently(&config, &orchestrator.token).await.unwrap_err();
        assert_eq!(error.exit_code(), code, "{case}: {error}");
        assert!(matches!(enrol::look(&config).unwrap(), Enrolment::Token(_)), "{case}");
    }
}

#[tokio::test]
async fn an_orchestrator_of_another_protocol_is_told_and_the_token_kept() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let orchestrator = Orchestrator::start(Answer::OtherProtocol).await;
    std::fs::write(&config.join_token, orchestrator.token.to_string()).unwrap();
    let error = enrol::join_patiently(&config, &orchestrator.token).await.unwrap_err();
    assert_eq!(error.exit_code(), 2, "nobody is served by trying again: {error}");
    let told = xenith_common_text::chain(&error);
    assert!(told.contains("the orchestrator 2; upgrade the older"), "{told}");
    assert!(matches!(enrol::look(&config).unwrap(), Enrolment::Token(_)), "it can be tried again after that");
    assert_eq!(orchestrator.seen.lock().unwrap()[0].protocol, xenith_hypervisor_agent_api::PROTOCOL);
}

#[tokio::test]
async fn the_secret_is_told_to_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let orchestrator = Orchestrator::start(Answer::Welcome).await;
    let pinned = JoinToken { fingerprint: "a".repeat(64), ..orchestrator.token.clone() };
    let error = enrol::join_once(&config, &pinned.to_string()).await.unwrap_err();
    assert!(matches!(error, EnrolError::Unreachable(_)), "{error}");
    assert!(orchestrator.seen.lock().unwrap().is_empty());
    for bad in ["", "xenith-join:nonsense"] {
        assert!(matches!(enrol::join_once(&config, bad).await, Err(EnrolError::BadToken(_))), "{bad:?}");
    }
}
