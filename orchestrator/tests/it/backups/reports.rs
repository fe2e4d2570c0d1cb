//! What is told of a run: by mail, and to who listens.

use serde_json::json;
use xenith_orchestrator_api::{backup_job, backup_run, mail};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::backup::{BackupRun, RunStatus};

use super::{Scene, events};
use crate::harness::{api_error, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_told_by_mail() {
    use crate::mail::{Kind, Server};
    let scene = Scene::new(4).await;
    let server = Server::start(Kind::Open).await;
    let settings = json!({
        "server": "127.0.0.1", "port": server.port, "security": "none", "from": "xenith@example.org",
    });
    scene.call::<mail::Set>(settings).await;
    let mail_to = json!(["ops@example.org", "\"Smith, Anna\" <anna@example.org>"]);
    scene.call::<backup_job::Update>(json!({ "job": "nightly", "mail_to": mail_to })).await;
    let told = async || {
        until("a mail has come", async || {
            let seen = server.seen();
            seen.into_iter().find(|line| line.contains("Subject:"))
        })
        .await
    };
    scene.run().await;
    let letter = told().await;
    for part in [
        "[Xenith] backup done: nightly",
        "ops@example.org",
        "anna@example.org",
        "web-1: done",
        "1 VM backed up",
        "crash-consistent",
    ] {
        assert!(letter.contains(part), "{part}: {letter}");
    }
    // Only what went wrong, from now on.
    scene.call::<backup_job::Update>(json!({ "job": "nightly", "mail_on": "problems" })).await;
    scene.run().await;
    std::fs::rename(scene.folder("repository"), scene.folder("elsewhere")).unwrap();
    scene.over(scene.begin().await).await;
    let letter = told().await;
    assert!(letter.contains("backup failed: nightly") && letter.contains("web-1: failed"), "{letter}");
    let bad = serde_json::from_value(json!({ "job": "nightly", "mail_to": ["nobody"] })).unwrap();
    assert_eq!(
        api_error(scene.installation.admin.call::<backup_job::Update>(&bad).await).reason(),
        Reason::Invalid
    );
    scene.installation.stop().await;
}

/// Takes a POST, and answers with `status`; `None` hangs up at the end of the request.
async fn listener(answers: Vec<Option<u16>>) -> (String, tokio::task::JoinHandle<Vec<String>>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook?secret=1", socket.local_addr().unwrap());
    let taken = tokio::spawn(async move {
        let mut bodies = Vec::new();
        for answer in answers {
            let (mut stream, _) = socket.accept().await.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            let body = loop {
                let len = stream.read(&mut buffer).await.unwrap();
                request.extend_from_slice(&buffer[..len]);
                let text = String::from_utf8_lossy(&request).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head
                    .lines()
                    .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
                if body.len() >= length.unwrap_or(0) || len == 0 {
                    break body.to_owned();
                }
            };
            bodies.push(body);
            if let Some(status) = answer {
                let reply = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(reply.as_bytes()).await.unwrap();
            }
        }
        bodies
    });
    (url, taken)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_listens_slowly_holds_nothing_up_and_a_report_is_not_lost() {
    let mut scene = Scene::new(4).await;
    // Takes connections and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let webhook = format!("http://{}/", silent.local_addr().unwrap());
    scene.call::<backup_job::Update>(json!({ "job": "nightly", "webhook": webhook })).await;
    // The second begins and ends while the report of the first waits for its answer.
    scene.run().await;
    scene.run().await;
    let owed = async |scene: &Scene| {
        scene.installation.orchestrator.as_ref().unwrap().app.db.reports.all().await.unwrap().0
    };
    assert_eq!(owed(&scene).await.len(), 2);
    // Both are delivered by the next orchestrator, to where they were to go; the first try of one fails.
    drop(silent);
    scene.installation.restart().await;
    until("they were tried and it was told", async || {
        let told = events(&scene, "backup.report").await;
        (told.len() == 2).then_some(told)
    })
    .await;
    let (url, taken) = listener(vec![Some(200), Some(204)]).await;
    for report in owed(&scene).await {
        let now = time::OffsetDateTime::now_utc();
        let due = |record: &mut xenith_orchestrator::model::ReportRecord| {
            record.next = now;
            record.to.clone_from(&url);
        };
        let db = scene.installation.orchestrator.as_ref().unwrap().app.db.clone();
        db.reports.modify(&report.key, due).await.unwrap();
    }
    until("nothing is owed", async || owed(&scene).await.is_empty().then_some(())).await;
    for body in taken.await.unwrap() {
        let run: BackupRun = serde_json::from_str(&body).unwrap();
        assert_eq!((run.job_name.as_str(), run.status), ("nightly", RunStatus::Done));
    }
    // One that refuses is told of once, without what may be a secret in its address.
    let (url, taken) = listener(vec![Some(500)]).await;
    scene.call::<backup_job::Update>(json!({ "job": "nightly", "webhook": url })).await;
    let run = scene.run().await;
    let notes = until("it is noted", async || {
        let found = scene.call::<backup_run::Get>(json!({ "run": run.id })).await;
        (!found.notes.is_empty()).then_some(found.notes)
    })
    .await;
    assert!(notes[0].contains("500") && !notes[0].contains("secret"), "{notes:?}");
    taken.await.unwrap();
    scene.installation.stop().await;
}
