//! Single files out of a backup.

use serde_json::json;
use xenith_orchestrator_api::backup;
use xenith_orchestrator_types::Reason;

use super::{MIB, Scene, noise};
use crate::harness::api_error;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_found_and_fetched_from_the_host() {
    let scene = Scene::new(16).await;
    let image = scene.image("web-1").await;
    let tree = tempfile::tempdir().unwrap();
    std::fs::create_dir(tree.path().join("etc")).unwrap();
    std::fs::write(tree.path().join("etc/hostname"), b"web-1\n").unwrap();
    std::fs::write(tree.path().join("etc/big"), noise(5, 2 * MIB)).unwrap();
    let made = std::process::Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-F", "-d"])
        .arg(tree.path())
        .arg(&image)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("mke2fs is not installed: nothing is tested");
        return;
    }
    scene.run().await;
    let volumes = scene.call::<backup::Files>(json!({ "backup": "web-1@latest" })).await;
    assert_eq!(volumes.volumes[0].name, "disk");
    let ask = json!({ "backup": "web-1@latest", "at": "disk:/etc" });
    let names = |found: xenith_orchestrator_types::backup::BackupFiles| -> Vec<String> {
        found.entries.into_iter().map(|entry| entry.name).collect()
    };
    assert_eq!(names(scene.call::<backup::Files>(ask.clone()).await), ["big", "hostname"]);
    let mut rest = ask.clone();
    rest["after"] = json!("big");
    assert_eq!(names(scene.call::<backup::Files>(rest).await), ["hostname"]);
    let missing = json!({ "backup": "web-1@latest", "at": "disk:/nowhere" });
    let missing = serde_json::from_value(missing).unwrap();
    assert_eq!(
        api_error(scene.installation.admin.call::<backup::Files>(&missing).await).reason(),
        Reason::NotFound
    );

    let mut ask = ask;
    ask["archive"] = json!("tar");
    let ticket = scene.call::<backup::Download>(ask).await;
    let fetch = |ticket: xenith_orchestrator_types::backup::DownloadTicket| async move {
        tokio::task::spawn_blocking(move || {
            let (_, port) = ticket.address.rsplit_once(':').unwrap();
            let tls =
                xenith_common_pki::authority_client_config(&ticket.authority_pem, &[b"http/1.1"]).unwrap();
            let address: std::net::SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
            let http = reqwest::blocking::Client::builder()
                .tls_backend_preconfigured(tls)
                .resolve_to_addrs(&ticket.server_name, &[address])
                .no_proxy()
                .build()
                .unwrap();
            let url = format!("https://{}:{port}/v1/files", ticket.server_name);
            let answer = http.get(url).bearer_auth(ticket.ticket).send().unwrap();
            (answer.status().as_u16(), answer.bytes().unwrap().to_vec())
        })
        .await
        .unwrap()
    };
    let (status, archive) = fetch(ticket.clone()).await;
    assert_eq!(status, 200);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.tar"), archive).unwrap();
    let unpacked =
        std::process::Command::new("tar").args(["xf", "a.tar"]).current_dir(folder.path()).status();
    assert!(unpacked.unwrap().success());
    assert_eq!(std::fs::read(folder.path().join("etc/hostname")).unwrap(), b"web-1\n");
    assert!(std::fs::read(folder.path().join("etc/big")).unwrap() == noise(5, 2 * MIB));
    let (status, _) = fetch(ticket).await;
    assert_eq!(status, 401, "a ticket opens once");
    scene.installation.stop().await;
}
