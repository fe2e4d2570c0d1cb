//! Nobody but the pinned one is talked to.

use xenith_common_pki::{Authority, Fingerprint};
use xenith_orchestrator_client::{Client, ClientError, Credential, Endpoint, Pin, Trust, probe};

use crate::server::FakeOrchestrator;

async fn refused(endpoint: Endpoint, trust: Trust) -> String {
    match Client::connect(endpoint, trust, Credential::Bearer("s3cret".into())).await {
        Err(ClientError::Untrusted { problem, .. }) => problem,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn only_the_pinned_authority_will_do() {
    let server = FakeOrchestrator::start().await;
    let endpoint: Endpoint = server.url().parse().unwrap();
    let (stranger, _key) = Authority::generate().unwrap();
    let problem = refused(endpoint.clone(), Trust::Pinned(stranger.fingerprint())).await;
    assert!(problem.contains("neither the pinned one"), "{problem}");
    let problem = refused(endpoint, Trust::System).await;
    assert!(problem.contains("neither the pinned one"), "{problem}");
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn the_name_counts_too() {
    let server = FakeOrchestrator::start().await;
    let by_other_name = format!("https://localhost:{}", server.address.port()).parse().unwrap();
    let problem = refused(by_other_name, Trust::Pinned(server.authority)).await;
    assert!(problem.contains("other names") && problem.contains("xen.test"), "{problem}");
}

#[tokio::test]
async fn a_probe_shows_what_to_compare() {
    let server = FakeOrchestrator::start().await;
    let presented = probe(&server.url().parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(presented.fingerprint, server.authority);
    assert_eq!(presented.kind, Pin::Authority);
    assert_eq!(presented.names, ["xen.test", "127.0.0.1"]);
    let zero: Fingerprint = "0".repeat(64).parse().unwrap();
    assert_ne!(presented.fingerprint, zero);
    assert!(server.asked().is_empty());
}
