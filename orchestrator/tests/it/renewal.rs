//! Renewals of a host's certificate that fail, or are cut off: the host is let in with what it has, and with nothing
//! that was replaced.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use xenith_common_ids::HostId;
use xenith_common_pki::{Peer, PeerCertificate};
use xenith_hypervisor_agent_sim::SimHypervisor;
use xenith_orchestrator::app::App;
use xenith_orchestrator::fleet::Renewal;
use xenith_orchestrator::model::{HostRecord, IssuedCertificate};
use xenith_orchestrator_types::host::HostStatus;

use crate::harness::{Installation, until};

const HOURS: Duration = Duration::from_secs(5 * 3600);

fn app(installation: &Installation) -> Arc<App> {
    Arc::clone(&installation.orchestrator.as_ref().unwrap().app)
}

async fn record(app: &App, host: HostId) -> HostRecord {
    app.db.hosts.get(&host).await.unwrap().unwrap().value
}

/// Whether a certificate with this serial is let in.
fn let_in(app: &App, host: HostId, serial: &str) -> Result<(), String> {
    let now = OffsetDateTime::now_utc();
    let peer = Peer::Host(host);
    let shown = PeerCertificate { peer, serial: serial.into(), not_before: now, not_after: now + HOURS };
    app.certificates.check(&shown)
}

async fn greet_anew(installation: &mut Installation) {
    installation.hosts[0].stop_agent().await;
    installation.wait_host("xen1", HostStatus::Unknown).await;
    installation.hosts[0].start_agent().await;
    installation.wait_host("xen1", HostStatus::Connected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_that_fails_however_often_locks_nobody_out() {
    let mut installation = Installation::with_host(SimHypervisor::builder()).await;
    let app = app(&installation);
    let (hosts, _) = app.db.hosts.all().await.unwrap();
    let (host, first) = (hosts[0].key, hosts[0].value.certificate_serial.clone());
    // The agent cannot write a new identity: a folder is where its file would be made.
    let in_the_way = installation.hosts[0].folder().join("state/identity.partial");
    std::fs::create_dir(&in_the_way).unwrap();
    let soon = OffsetDateTime::now_utc() + HOURS;
    app.db.hosts.modify(&host, |host: &mut HostRecord| host.certificate_expires = soon).await.unwrap();
    let renew = async || {
        let client = app.fleet.client(host).unwrap();
        app.certificates.renew_if_due(host, &client, app.fleet.epoch()).await;
    };
    let hours_later = async || {
        let earlier = |host: &mut HostRecord| {
            host.issued.iter_mut().for_each(|issued| issued.expires -= HOURS);
        };
        app.db.hosts.modify(&host, earlier).await.unwrap();
    };
    let mut failed = 0;
    for attempt in 1..=3 {
        hours_later().await;
        renew().await;
        let tried = record(&app, host).await;
        assert!(tried.issued.len() > failed, "attempt {attempt}: {tried:?}");
        failed = tried.issued.len();
        assert_eq!((&tried.certificate_serial, tried.certificate_expires), (&first, soon), "still the shown");
        greet_anew(&mut installation).await;
    }

    std::fs::remove_dir(&in_the_way).unwrap();
    let never_there = record(&app, host).await.issued;
    let renewed = until("the certificate is renewed", async || {
        hours_later().await;
        renew().await;
        let record = record(&app, host).await;
        (record.certificate_serial != first && record.issued.is_empty()).then_some(record)
    })
    .await;
    assert!(renewed.certificate_expires > soon);
    for old in never_there.iter().map(|issued| &issued.serial).chain([&first]) {
        assert!(let_in(&app, host, old).unwrap_err().contains("replaced by a newer one"), "{old}");
    }
    greet_anew(&mut installation).await;
    drop(app);
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orchestrator_that_ends_within_a_renewal_locks_nobody_out() {
    let mut installation = Installation::with_host(SimHypervisor::builder()).await;
    let (hosts, _) = app(&installation).db.hosts.all().await.unwrap();
    let (host, first) = (hosts[0].key, hosts[0].value.certificate_serial.clone());
    // As far as a renewal goes before the certificate is sent.
    let begin = async |app: &App| {
        let client = app.fleet.client(host).unwrap();
        let request = client.request_certificate(app.fleet.epoch()).await.unwrap();
        let issued = app.certificates.issue_for_host(&request, host).unwrap();
        let new =
            IssuedCertificate { serial: issued.details.serial.clone(), expires: issued.details.not_after };
        app.db.hosts.modify(&host, |host: &mut HostRecord| host.issued.push(new.clone())).await.unwrap();
        (client, issued)
    };
    let running = app(&installation);
    let (_, unsent) = begin(&running).await;
    drop(running);
    installation.restart().await;
    installation.wait_host("xen1", HostStatus::Connected).await;
    let running = app(&installation);
    let found = record(&running, host).await;
    assert_eq!((found.certificate_serial, found.issued.len()), (first.clone(), 1));

    let (client, sent) = begin(&running).await;
    client.install_certificate(running.fleet.epoch(), sent.certificate_pem.clone()).await.unwrap();
    drop((running, client));
    installation.restart().await;
    installation.wait_host("xen1", HostStatus::Connected).await;
    let running = app(&installation);
    until("the host was seen with the new one", async || {
        let found = record(&running, host).await;
        (found.certificate_serial == sent.details.serial && found.issued.is_empty()).then_some(())
    })
    .await;
    assert!(let_in(&running, host, &sent.details.serial).is_ok());
    for old in [&first, &unsent.details.serial] {
        assert!(let_in(&running, host, old).unwrap_err().contains("replaced by a newer one"), "{old}");
    }
    drop(running);
    installation.stop().await;
}
