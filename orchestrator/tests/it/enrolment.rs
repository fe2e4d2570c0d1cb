//! How hosts come and go.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use serde_json::json;
use xenith_common_pki::{Peer, PeerCertificate};
use xenith_hypervisor_agent_api::JoinToken;
use xenith_hypervisor_agent_client::{AgentClientError, JoinRequest, join};
use xenith_hypervisor_agent_sim::{SimHypervisor, unclaimed_address};
use xenith_hypervisor_agent_types::{FaultReason, Power};
use xenith_orchestrator::fleet::Renewal;
use xenith_orchestrator::model::JoinRecord;
use xenith_orchestrator::own_host::{self, Offered};
use xenith_orchestrator_api::{audit, event, host, vm};
use xenith_orchestrator_types::audit::{AuditPhase, ListAudit};
use xenith_orchestrator_types::event::ListEvents;
use xenith_orchestrator_types::host::{HostAddress, HostRef, HostStatus, RemoveHost};
use xenith_orchestrator_types::{ListRequest, Reason};

use crate::harness::{EMPTY, Installation, api_error, small, until};

pub fn request() -> JoinRequest {
    JoinRequest {
        certificate_request_pem: xenith_common_pki::KeyAndRequest::generate().unwrap().request_pem,
        hostname: "evil".into(),
        address: "127.0.0.1:1".into(),
        agent_version: "0".into(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_token_works_once_and_only_with_the_right_orchestrator() {
    let installation = Installation::start().await;
    let token: JoinToken = installation.join_token("xen1").await.parse().unwrap();
    let other_pin = JoinToken { fingerprint: "00".repeat(32), ..token.clone() };
    let untrusted = join(&other_pin, request()).await.unwrap_err();
    assert!(matches!(untrusted, AgentClientError::Unreachable { .. }), "{untrusted}");
    let made_up = JoinToken { secret: "ab".repeat(32), ..token.clone() };
    let refused = |error: AgentClientError| match error {
        AgentClientError::Refused(fault) => fault,
        other => panic!("not refused: {other}"),
    };
    let unknown = refused(join(&made_up, request()).await.unwrap_err());
    join(&token, request()).await.unwrap();
    let replayed = refused(join(&token, request()).await.unwrap_err());
    assert_eq!(replayed.reason, FaultReason::Forbidden);
    assert_eq!(replayed, unknown, "a spent token is told apart from none by nobody");
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_host_that_the_orchestrator_runs_on_joins_without_a_hand_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("join-token");
    let all = Installation::start_with(folder, |config| config.first_host_token = Some(path.clone())).await;
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let token: JoinToken = std::fs::read_to_string(&path).unwrap().parse().unwrap();
    join(&token, request()).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    let app = &all.orchestrator.as_ref().unwrap().app;
    until("the host is known", async || (!app.views.hosts().is_empty()).then_some(())).await;
    assert_eq!(own_host::offer(app, &path).await.unwrap(), Offered::No);
    assert!(!path.exists(), "whoever has joined needs no token");
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn that_a_host_joined_is_in_the_audit_log() {
    let all = Installation::start().await;
    let joined = async || {
        let request = ListAudit { filter: "method:host.join".into(), ..ListAudit::default() };
        all.admin.call::<audit::List>(&request).await.unwrap().items
    };
    let token: JoinToken = all.join_token("xen1").await.parse().unwrap();
    join(&token, request()).await.unwrap();
    join(&token, request()).await.unwrap_err();
    let records = joined().await;
    let [record] = &*records else { panic!("{records:?}") };
    assert_eq!((record.phase, record.of), (AuditPhase::Done, None));
    assert_eq!((&*record.user_name, &*record.from), ("admin", "127.0.0.1"));
    assert!(record.user.is_some());
    assert_eq!((&record.params["name"], &record.params["address"]), (&json!("xen1"), &json!("127.0.0.1:1")));

    // A token of an earlier program does not say who issued it.
    let token: JoinToken = all.join_token("xen2").await.parse().unwrap();
    let db = &all.orchestrator.as_ref().unwrap().app.db;
    let (joins, _) = db.joins.all().await.unwrap();
    let forget = |join: &mut JoinRecord| (join.user, join.user_name) = (None, String::new());
    db.joins.modify(&joins[0].key, forget).await.unwrap();
    join(&token, request()).await.unwrap();
    let newest = joined().await.remove(0);
    assert_eq!((newest.user, &*newest.user_name), (None, "xen2"));
    let verified = all.admin.call::<audit::Verify>(&EMPTY).await.unwrap();
    assert_eq!((verified.broken_at, verified.problem), (None, None));
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_hosts_that_race_with_one_join_token_one_joins() {
    let all = Installation::start().await;
    for round in 1..=4 {
        let token: JoinToken = all.join_token(&format!("xen{round}")).await.parse().unwrap();
        let racing = (0..8).map(|_| join(&token, request()));
        let ends = futures::future::join_all(racing).await;
        let (joined, refused): (Vec<_>, Vec<_>) = ends.into_iter().partition(Result::is_ok);
        assert_eq!(joined.len(), 1, "round {round}: {refused:?}");
        for end in refused {
            let error = end.unwrap_err();
            let forbidden =
                matches!(&error, AgentClientError::Refused(fault) if fault.reason == FaultReason::Forbidden);
            assert!(forbidden, "a spent token is told apart from none by nobody: {error}");
        }
        // Nothing is left of the others.
        let db = &all.orchestrator.as_ref().unwrap().app.db;
        let (hosts, _) = db.hosts.all().await.unwrap();
        let mut names: Vec<_> = hosts.into_iter().map(|host| host.value.name).collect();
        names.sort();
        assert_eq!(names, (1..=round).map(|number| format!("xen{number}")).collect::<Vec<_>>());
        assert_eq!(db.host_names.all().await.unwrap().0.len(), names.len());
        assert!(db.joins.all().await.unwrap().0.is_empty(), "the token is spent");
    }
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_removed_host_shows_is_refused() {
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    let app = Arc::clone(&all.orchestrator.as_ref().unwrap().app);
    let (hosts, _) = app.db.hosts.all().await.unwrap();
    let (id, record) = (hosts[0].key, hosts[0].value.clone());
    let shown = PeerCertificate {
        peer: Peer::Host(id),
        serial: record.certificate_serial.clone(),
        not_before: record.joined,
        not_after: record.certificate_expires,
    };
    assert_eq!(app.certificates.check(&shown), Ok(()));
    all.admin.call::<host::Remove>(&RemoveHost { host: "xen1".into(), force: true }).await.unwrap();
    let refused = app.certificates.check(&shown).unwrap_err();
    assert!(refused.contains("the host was removed"), "{refused}");

    // Its agent runs, and has a certificate that our authority signed and that has not expired: it is not spoken to.
    app.fleet.watch(id, &record);
    until("the agent is refused", async || {
        let link = format!("{:?}", app.fleet.state(id)?.link());
        assert!(link != "Connected", "a removed host is heard");
        link.contains("the host was removed").then_some(())
    })
    .await;
    app.fleet.remove(id);

    // Nor after a restart.
    drop(app);
    all.restart().await;
    let app = Arc::clone(&all.orchestrator.as_ref().unwrap().app);
    assert!(app.certificates.check(&shown).unwrap_err().contains("the host was removed"));
    drop(app);
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_moved_is_heard_under_its_new_address() {
    let mut all = Installation::with_host(SimHypervisor::builder()).await;
    all.run::<vm::Create>(&small("web-1")).await;
    let free = unclaimed_address();
    all.hosts[0].stop_agent().await;
    all.hosts[0].move_to(free);
    all.hosts[0].start_agent().await;
    all.wait_host("xen1", HostStatus::Unknown).await;
    let address = |text: &str| HostAddress { host: "xen1".into(), address: text.into() };
    let wrong = api_error(all.admin.call::<host::SetAddress>(&address("127.0.0.1")).await);
    assert_eq!((wrong.reason(), wrong.data.field.as_deref()), (Reason::Invalid, Some("address")));
    all.admin.call::<host::SetAddress>(&address(&free.to_string())).await.unwrap();
    let host = all.wait_host("xen1", HostStatus::Connected).await;
    assert_eq!((host.address, host.vms), (free.to_string(), 1));
    until("its VM is known again", async || (all.vm("web-1").await.power != Power::Unknown).then_some(()))
        .await;
    all.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_host_is_forgotten_and_its_guests_run_on() {
    let installation = Installation::with_host(SimHypervisor::builder()).await;
    let mut create = small("web-1");
    create.start = true;
    installation.run::<vm::Create>(&create).await;
    let remove = |force| RemoveHost { host: "xen1".into(), force };
    let refused = api_error(installation.admin.call::<host::Remove>(&remove(false)).await);
    assert_eq!(refused.reason(), Reason::WrongState);
    installation.admin.call::<host::Remove>(&remove(true)).await.unwrap();
    let gone = api_error(installation.admin.call::<host::Get>(&HostRef { host: "xen1".into() }).await);
    assert_eq!(gone.reason(), Reason::NotFound);
    until("no VM is listed", async || {
        let vms = installation.admin.call::<vm::List>(&ListRequest::default()).await.unwrap();
        (vms.total == 0).then_some(())
    })
    .await;
    let facts = installation.hosts[0].sim.clone();
    use xenith_hypervisor_agent_backend::Hypervisor;
    assert_eq!(facts.domains().await.unwrap().len(), 1, "the guest runs on");
    let events = installation.admin.call::<event::List>(&ListEvents::default()).await.unwrap();
    let kinds: Vec<_> = events.items.iter().map(|event| event.kind.as_str()).collect();
    assert!(kinds.contains(&"host.joined") && kinds.contains(&"host.removed"), "{kinds:?}");
    installation.stop().await;
}
