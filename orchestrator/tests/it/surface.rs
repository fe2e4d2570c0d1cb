//! What the port shows besides calls, and who is kept out: certificates, tokens, limits, the audit trail.

use std::time::Duration;

use time::OffsetDateTime;
use xenith_common_pki::{Authority, Peer, PeerCertificate};
use xenith_hypervisor_agent_api::JoinToken;
use xenith_hypervisor_agent_client::{AgentClientError, JoinRequest, join};
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator::config::Config;
use xenith_orchestrator::fleet::Renewal;
use xenith_orchestrator::model::{HostRecord, JoinRecord};
use xenith_orchestrator::orchestrator::Orchestrator;
use xenith_orchestrator_api::{WatchEvents, audit, auth, system, vm};
use xenith_orchestrator_client::{Client, ClientError, Credential, Endpoint, EventChanges, Trust, Watch};
use xenith_orchestrator_types::audit::{AuditPhase, ListAudit};
use xenith_orchestrator_types::auth::Credentials;
use xenith_orchestrator_types::host::HostStatus;
use xenith_orchestrator_types::vm::StartVm;

use crate::harness::{EMPTY, Installation, small, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_readiness_and_figures_are_shown() {
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    let mut create = small("web-1");
    create.start = true;
    installation.run::<vm::Create>(&create).await;
    let http = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build().unwrap();
    let get = async |path: &str| {
        let answer = http.get(format!("{}{path}", installation.url())).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(get("/healthz").await, (200, "alive\n".to_owned()));
    assert_eq!(get("/readyz").await, (200, "ready\n".to_owned()));
    until("the figures agree", async || {
        let (status, text) = get("/metrics").await;
        let has = |line: &str| text.lines().any(|shown| shown == line);
        let all = status == 200
            && has("xenith_hosts{status=\"connected\"} 1")
            && has("xenith_vms{power=\"running\"} 1")
            && has("xenith_tasks_active 0")
            && has("xenith_store_read_only 0")
            && has("# TYPE xenith_hosts gauge");
        all.then_some(())
    })
    .await;
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ones_own_certificate_is_shown_to_people_and_ours_to_hosts() {
    xenith_common_pki::install_provider();
    let folder = tempfile::tempdir().unwrap();
    let (other, _) = Authority::generate().unwrap();
    let end = OffsetDateTime::now_utc() + Duration::from_secs(3600);
    let names = ["localhost".to_owned()];
    let (key, chain) = other.issue_web(&names, &[[127, 0, 0, 1].into()], end).unwrap();
    let (certificate, key_file) = (folder.path().join("web.pem"), folder.path().join("web.key"));
    std::fs::write(&certificate, chain).unwrap();
    std::fs::write(&key_file, key).unwrap();
    let config = Config {
        listen: ([127, 0, 0, 1], 0).into(),
        data: folder.path().join("data"),
        certificate: Some(certificate),
        key: Some(key_file),
        ..Config::default()
    };
    let orchestrator = Orchestrator::start(&config).await.unwrap();
    let endpoint: Endpoint = format!("https://{}", orchestrator.address).parse().unwrap();
    let pinned = async |pin| Client::connect(endpoint.clone(), Trust::Pinned(pin), Credential::None).await;
    let people =
        until("the configured certificate is shown", async || pinned(other.fingerprint()).await.ok()).await;
    let told = people.call::<system::Info>(&EMPTY).await.unwrap();
    let shown = told.certificate.unwrap();
    assert!(shown.from_files && (shown.expires - end).abs() <= time::Duration::SECOND, "{shown:?}");
    assert!(told.authority_expires.is_some_and(|ours| ours > end), "the authority's is another one");
    let password = orchestrator.first_password.clone().unwrap();
    let credentials = Credentials { name: "admin".into(), password, code: None };
    assert!(people.call::<auth::Login>(&credentials).await.is_ok());
    assert!(pinned(orchestrator.fingerprint.parse().unwrap()).await.is_err(), "ours is not shown to people");
    // A host that joins asks for our own name and gets our own certificate: only the token is wrong here.
    let token = JoinToken {
        address: orchestrator.address.to_string(),
        fingerprint: orchestrator.fingerprint.clone(),
        secret: "ab".repeat(32),
    };
    let refused = join(&token, request()).await.unwrap_err();
    assert!(matches!(refused, AgentClientError::Refused(_)), "{refused}");

    // Renewed by whoever looks after it: shown without a restart, unless it does not fit.
    let later = OffsetDateTime::now_utc();
    assert!(!orchestrator.identities.renew(later).unwrap(), "nothing has changed");
    let (newer, _) = Authority::generate().unwrap();
    let (key, chain) =
        newer.issue_web(&[], &[[127, 0, 0, 1].into()], later + Duration::from_secs(600)).unwrap();
    std::fs::write(config.certificate.as_ref().unwrap(), chain).unwrap();
    assert!(orchestrator.identities.renew(later).is_err(), "that is another key's");
    assert!(pinned(other.fingerprint()).await.is_ok(), "what was shown is shown on");
    std::fs::write(config.key.as_ref().unwrap(), key).unwrap();
    assert!(orchestrator.identities.renew(later).unwrap());
    assert!(pinned(newer.fingerprint()).await.is_ok() && pinned(other.fingerprint()).await.is_err());

    // Ours too, long before they end.
    let own = orchestrator.identities.own.certificate();
    assert!(orchestrator.identities.renew(later + Duration::from_secs(200 * 86_400)).unwrap());
    assert_ne!(orchestrator.identities.own.certificate(), own);
    orchestrator.stop().await.unwrap();
}

fn request() -> JoinRequest {
    JoinRequest {
        certificate_request_pem: xenith_common_pki::KeyAndRequest::generate().unwrap().request_pem,
        hostname: "xen9".into(),
        address: "127.0.0.1:1".into(),
        agent_version: "0".into(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_token_that_has_expired_is_refused_like_one_that_never_was() {
    let installation = Installation::start().await;
    let token: JoinToken = installation.join_token("xen1").await.parse().unwrap();
    let db = &installation.orchestrator.as_ref().unwrap().app.db;
    let (joins, _) = db.joins.all().await.unwrap();
    let past = OffsetDateTime::now_utc() - Duration::from_secs(1);
    db.joins.modify(&joins[0].key, |join: &mut JoinRecord| join.expires = past).await.unwrap();
    let expired = join(&token, request()).await.unwrap_err();
    let made_up = JoinToken { secret: "ab".repeat(32), ..token };
    assert_eq!(expired.to_string(), join(&made_up, request()).await.unwrap_err().to_string());
    assert!(matches!(expired, AgentClientError::Refused(_)), "{expired}");
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hosts_certificate_is_renewed_in_time_and_a_revoked_one_refused() {
    let mut installation = Installation::with_host(SimHypervisor::builder()).await;
    let app = std::sync::Arc::clone(&installation.orchestrator.as_ref().unwrap().app);
    let (hosts, _) = app.db.hosts.all().await.unwrap();
    let (id, before) = (hosts[0].key, hosts[0].value.certificate_serial.clone());
    let soon = OffsetDateTime::now_utc() + Duration::from_secs(60);
    app.db.hosts.modify(&id, |host: &mut HostRecord| host.certificate_expires = soon).await.unwrap();
    // It is looked at with each greeting.
    installation.hosts[0].stop_agent().await;
    installation.hosts[0].start_agent().await;
    let renewed = until("the certificate is renewed", async || {
        let host = app.db.hosts.get(&id).await.unwrap().unwrap().value;
        (host.certificate_serial != before && host.certificate_expires > soon).then_some(host)
    })
    .await;
    // The host was reached anew for that, and has shown it: the old one is nobody's any more.
    assert_eq!((renewed.issued.len(), &renewed.previous_serial), (0, &None));
    let old = PeerCertificate {
        peer: Peer::Host(id),
        serial: before,
        not_before: soon,
        not_after: soon + Duration::from_secs(60),
    };
    assert!(app.certificates.check(&old).unwrap_err().contains("replaced by a newer one"));
    // The new one is shown and accepted from now on.
    installation.hosts[0].stop_agent().await;
    installation.hosts[0].start_agent().await;
    installation.wait_host("xen1", HostStatus::Connected).await;

    // Another serial is recorded: what the host shows has been revoked.
    let other = HostRecord { certificate_serial: "00".into(), previous_serial: None, ..renewed };
    app.certificates.admit(id, &other);
    installation.hosts[0].stop_agent().await;
    installation.wait_host("xen1", HostStatus::Unknown).await;
    installation.hosts[0].start_agent().await;
    let host = until("the refusal is explained", async || {
        let host = installation.wait_host("xen1", HostStatus::Unknown).await;
        host.problem.as_ref().is_some_and(|why| why.contains("replaced by a newer one")).then_some(host)
    })
    .await;
    assert_eq!(host.status, HostStatus::Unknown);
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_has_so_many_subscriptions_and_no_more() {
    let installation = Installation::start().await;
    let mut open: Vec<Watch<EventChanges>> = Vec::new();
    for _ in 0..64 {
        open.push(installation.admin.watch(&WatchEvents::default()).await.unwrap());
    }
    let one_more: Result<Watch<EventChanges>, _> = installation.admin.watch(&WatchEvents::default()).await;
    // The protocol's own word for too many.
    assert!(matches!(one_more, Err(ClientError::Refused { code: -32006, .. })));
    assert!(installation.admin.call::<system::Info>(&EMPTY).await.is_ok(), "the connection goes on");
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_is_in_the_audit_log_before_and_after() {
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    installation.run::<vm::Create>(&small("web-1")).await;
    let refused = installation.admin.call::<vm::Start>(&StartVm { vm: "none".into() }).await;
    assert!(refused.is_err());
    let page = installation.admin.call::<audit::List>(&ListAudit::default()).await.unwrap();
    let of = |method: &str| {
        let mut records: Vec<_> = page.items.iter().filter(|record| record.method == method).collect();
        records.sort_by_key(|record| record.sequence);
        records
    };
    for (method, ends) in [("vm.create", AuditPhase::Begun), ("vm.start", AuditPhase::Failed)] {
        let mut records = of(method);
        // How the task ended has tests of its own.
        records.retain(|record| record.phase != AuditPhase::Done);
        assert_eq!(records.len(), 2, "{method}: {records:?}");
        let (asked, ended) = (records[0], records[1]);
        assert_eq!((asked.phase, ended.phase), (AuditPhase::Asked, ends), "{method}");
        assert_eq!(ended.of, Some(asked.sequence));
        assert_eq!((asked.user_name.as_str(), asked.from.as_str()), ("admin", "127.0.0.1"), "{method}");
    }
    assert_eq!(of("vm.start")[0].params["vm"], "none");
    let passwords = page.items.iter().filter(|record| record.method == "auth.login");
    assert!(passwords.clone().count() > 0);
    for record in passwords {
        let text = record.params.to_string();
        assert!(!text.contains(installation.password()), "{text}");
    }
    let verified = installation.admin.call::<audit::Verify>(&EMPTY).await.unwrap();
    assert_eq!((verified.broken_at, verified.problem), (None, None));
    assert!(verified.records >= page.total);
    installation.stop().await;
}
