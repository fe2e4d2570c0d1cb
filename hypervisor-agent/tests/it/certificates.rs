//! Who is let in, and how a host's own certificate is renewed.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use xenith_common_ids::{Generation, HostId};
use xenith_common_pki::{Authority, KeyAndRequest, LiveIdentity, Peer, client_config};
use xenith_hypervisor_agent::identity::Identity;
use xenith_hypervisor_agent_client::{AgentAddress, AgentClient, AgentClientError};
use xenith_hypervisor_agent_types::FaultReason;

use crate::harness::{Lab, certify};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_orchestrator_gets_in() {
    let lab = Lab::new().await;
    let foreign = Authority::generate().unwrap().0;
    let (ours, host) = (&lab.authority, Peer::Host(lab.host));
    for (case, signer, peer, life) in [
        ("foreign authority", &foreign, Peer::Orchestrator, HOUR),
        ("expired", ours, Peer::Orchestrator, Duration::ZERO),
        ("this host's own", ours, host, HOUR),
        ("another host's", ours, Peer::Host(HostId::new()), HOUR),
    ] {
        let error = lab.client_of(signer, peer, life).hello(lab.epoch, "test").await.unwrap_err();
        assert!(matches!(error, AgentClientError::Unreachable { .. }), "{case}: {error}");
    }
    lab.client().hello(lab.epoch, "test").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_orchestrator_makes_sure_whom_it_talks_to() {
    let lab = Lab::new().await;
    let key = KeyAndRequest::generate().unwrap();
    let certificate = certify(&lab.authority, &key, Peer::Orchestrator, HOUR);
    let tls = || {
        let identity = LiveIdentity::new(&key.key_pem, &certificate).unwrap();
        Arc::new(client_config(identity, lab.authority.certificate()).unwrap())
    };
    let wrong_name = AgentAddress { host: HostId::new(), ..lab.address() };
    let client = AgentClient::connect(wrong_name, tls(), Arc::new(|_| Ok(())));
    let error = client.hello(lab.epoch, "test").await.unwrap_err();
    assert!(matches!(error, AgentClientError::Unreachable { .. }), "{error}");

    let revoked = Arc::new(|_: &xenith_common_pki::PeerCertificate| Err("it was revoked".to_owned()));
    let client = AgentClient::connect(lab.address(), tls(), revoked);
    let error = client.hello(lab.epoch, "test").await.unwrap_err();
    assert!(error.to_string().contains("it was revoked"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_disturbs_no_open_stream_and_survives_a_restart() {
    let mut lab = Lab::new().await;
    let client = lab.client();
    let stream = client.watch("", Generation(0)).await.unwrap();
    let mut stream = pin!(stream);
    stream.next().await.unwrap().unwrap();

    let shown = || {
        let identity = Identity::load(&lab.config.state).unwrap().unwrap();
        identity.live.certificate().unwrap()
    };
    let before = shown();
    let request = client.request_certificate(lab.epoch).await.unwrap();
    let sign = |peer| {
        let end = time::OffsetDateTime::now_utc() + HOUR;
        lab.authority.issue(&request, peer, end).unwrap().certificate_pem
    };
    // One for somebody else would cut the host off: refused, the old one stays.
    let error = client.install_certificate(lab.epoch, sign(Peer::Host(HostId::new()))).await.unwrap_err();
    assert!(matches!(&error, AgentClientError::Refused(fault) if fault.reason == FaultReason::Invalid));
    assert_eq!(shown(), before);
    client.install_certificate(lab.epoch, sign(Peer::Host(lab.host))).await.unwrap();
    assert_ne!(shown(), before);

    assert!(stream.next().await.unwrap().is_ok(), "the stream goes on");
    // The next connection sees the new one, also after a restart.
    let seen = |lab: &Lab| {
        let key = KeyAndRequest::generate().unwrap();
        let certificate = certify(&lab.authority, &key, Peer::Orchestrator, HOUR);
        let identity = LiveIdentity::new(&key.key_pem, &certificate).unwrap();
        let tls = Arc::new(client_config(identity, lab.authority.certificate()).unwrap());
        let serial = Arc::new(std::sync::Mutex::new(String::new()));
        let note = Arc::clone(&serial);
        let check = Arc::new(move |peer: &xenith_common_pki::PeerCertificate| {
            note.lock().unwrap().clone_from(&peer.serial);
            Ok(())
        });
        (AgentClient::connect(lab.address(), tls, check), serial)
    };
    let (client, first) = seen(&lab);
    client.hello(lab.epoch, "test").await.unwrap();
    lab.restart().await;
    let (client, second) = seen(&lab);
    client.hello(lab.epoch, "test").await.unwrap();
    assert_eq!(*first.lock().unwrap(), *second.lock().unwrap());
    let again = client.install_certificate(lab.epoch, String::new()).await.unwrap_err();
    assert!(again.to_string().contains("ask for one first"), "{again}");
}
