//! Handshakes over memory: who gets in, and who does not.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails, which is its purpose")]

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use rustls::pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use xenith_common_ids::HostId;
use xenith_common_pki::{
    Authority, Fingerprint, KeyAndRequest, LiveIdentity, Peer, PeerCertificate, client_config,
    pinned_client_config, server_config, web_server_config,
};

const HOUR: Duration = Duration::from_secs(3600);

fn in_an_hour() -> OffsetDateTime {
    OffsetDateTime::now_utc() + HOUR
}

fn identity(authority: &Authority, peer: Peer, not_after: OffsetDateTime) -> Arc<LiveIdentity> {
    let key = KeyAndRequest::generate().unwrap();
    let issued = authority.issue(&key.request_pem, peer, not_after).unwrap();
    assert_eq!(issued.details.peer, peer);
    LiveIdentity::new(&key.key_pem, &issued.certificate_pem).unwrap()
}

/// Both ends of a handshake; `Ok` holds whom the server saw.
async fn handshake(
    server: rustls::ServerConfig,
    client: rustls::ClientConfig,
    name: ServerName<'static>,
) -> Result<Option<Peer>, String> {
    let (near, far) = tokio::io::duplex(16 * 1024);
    let accept = async {
        let stream = TlsAcceptor::from(Arc::new(server)).accept(far).await.map_err(|e| e.to_string())?;
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
        let peer = certificates.first().map(|leaf| PeerCertificate::read(leaf).unwrap().peer);
        Ok::<_, String>(peer)
    };
    let connect =
        async { TlsConnector::from(Arc::new(client)).connect(name, near).await.map_err(|e| e.to_string()) };
    let (accepted, connected) = tokio::join!(accept, connect);
    connected?;
    accepted
}

#[tokio::test]
async fn only_peers_of_one_authority_meet() {
    let (ours, _) = Authority::generate().unwrap();
    let (foreign, _) = Authority::generate().unwrap();
    let host = Peer::Host(HostId::new());
    let other = Peer::Host(HostId::new());
    let table = [
        ("ours", &ours, &ours, in_an_hour(), host, true),
        ("a client of a foreign authority", &ours, &foreign, in_an_hour(), host, false),
        ("a server of a foreign authority", &foreign, &ours, in_an_hour(), host, false),
        ("a server of another name", &ours, &ours, in_an_hour(), other, false),
        ("an expired server", &ours, &ours, OffsetDateTime::now_utc() - HOUR, host, false),
    ];
    for (case, of_server, of_client, not_after, dialled, meets) in table {
        let server_identity = identity(of_server, host, not_after);
        let server = server_config(server_identity, ours.certificate()).unwrap();
        let client_identity = identity(of_client, Peer::Orchestrator, in_an_hour());
        let client = client_config(client_identity, ours.certificate()).unwrap();
        let result = handshake(server, client, dialled.server_name()).await;
        assert_eq!(result.is_ok(), meets, "{case}: {result:?}");
        if meets {
            assert_eq!(result.unwrap(), Some(Peer::Orchestrator), "{case}");
        }
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let (ours, _) = Authority::generate().unwrap();
    let host = Peer::Host(HostId::new());
    let of_host = identity(&ours, host, in_an_hour());
    let leaf = Fingerprint::of(&of_host.certificate().unwrap());
    let server = server_config(of_host, ours.certificate()).unwrap();
    let client = pinned_client_config(leaf, &[b"h2"]).unwrap();
    let refused = handshake(server, client, host.server_name()).await.unwrap_err();
    assert!(refused.contains("no certificates"), "{refused}");
}

#[tokio::test]
async fn a_pin_holds_for_the_leaf_and_for_the_authority() {
    let (ours, key) = Authority::generate().unwrap();
    let ours = Authority::from_pem(ours.certificate_pem(), &key).unwrap();
    let (key, chain) =
        ours.issue_web(&["xenith.example".into()], &[[127, 0, 0, 1].into()], in_an_hour()).unwrap();
    let web = LiveIdentity::new(&key, &chain).unwrap();
    let leaf = Fingerprint::of(&web.certificate().unwrap());
    let wrong: Fingerprint = "00".repeat(32).parse().unwrap();
    for (case, pin, name, trusted) in [
        ("authority, right name", ours.fingerprint(), "xenith.example", true),
        ("authority, right address", ours.fingerprint(), "127.0.0.1", true),
        ("authority, other name", ours.fingerprint(), "evil.example", false),
        ("leaf, any name", leaf, "evil.example", true),
        ("other pin", wrong, "xenith.example", false),
    ] {
        let server = web_server_config(web.clone()).unwrap();
        let client = pinned_client_config(pin, &[b"http/1.1"]).unwrap();
        let result = handshake(server, client, ServerName::try_from(name).unwrap().to_owned()).await;
        assert_eq!(result.is_ok(), trusted, "{case}: {result:?}");
    }
}

#[test]
fn a_certificate_is_for_a_request_and_its_key() {
    let (ours, _) = Authority::generate().unwrap();
    let key = KeyAndRequest::generate().unwrap();
    let issued = ours.issue(&key.request_pem, Peer::Orchestrator, in_an_hour()).unwrap();
    assert!(ours.issue("no request", Peer::Orchestrator, in_an_hour()).is_err());
    let other_key = KeyAndRequest::generate().unwrap();
    assert!(LiveIdentity::new(&other_key.key_pem, &issued.certificate_pem).is_err(), "key of another");
}
