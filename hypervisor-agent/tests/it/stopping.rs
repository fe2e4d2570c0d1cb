//! An agent that is told to stop does so at once, whatever it waits for.

use tokio::net::TcpListener;
use xenith_hypervisor_agent_api::Command;
use xenith_hypervisor_agent_types::backup::{
    BackupCommand, RepositoryAccess, RepositoryKey, RepositoryPlace, Secret,
};

use crate::harness::Lab;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_that_is_away_is_not_waited_for() {
    let mut lab = Lab::new().await;
    let store = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let secret = |text: &str| Secret::new(text.to_owned());
    let place = RepositoryPlace::S3 {
        bucket: "backups".to_owned(),
        prefix: String::new(),
        endpoint: format!("http://{}", store.local_addr().unwrap()),
        region: String::new(),
        access_key: secret("access"),
        secret_key: secret("secret"),
    };
    let access =
        RepositoryAccess { place, key: RepositoryKey::Passphrase(secret("passphrase")), writer: None };
    let envelope = lab.envelope(Command::Backup(Box::new(BackupCommand::List { access })));
    let client = lab.client();
    let sent = tokio::spawn(async move { client.execute(&envelope).await });
    // It has begun, and finds nobody from now on.
    drop(store.accept().await.unwrap());
    drop(store);
    // Fails where something of it has not ended within seconds.
    lab.stop().await;
    assert!(sent.await.unwrap().is_err());
}
