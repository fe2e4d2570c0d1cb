//! The repository on a real S3 server, on loopback.

use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use xenith_backup::store::{FaultyStore, ObjectKey, ObjectStore, RetryingStore, S3Store, StoreError, probe};
use xenith_backup::verify::{Level, verify};

use crate::roundtrip::collect;
use crate::support::{MIB, backup, init, noise, open, restored};

/// A server over a folder, which ends with the value.
struct Server {
    endpoint: String,
    _runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

fn server() -> Server {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("bucket")).unwrap();
    let mut builder = s3s::service::S3ServiceBuilder::new(s3s_fs::FileSystem::new(dir.path()).unwrap());
    builder.set_auth(s3s::auth::SimpleAuth::from_single("key", "secret"));
    let service = builder.build();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    runtime.spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let service = service.clone();
            tokio::spawn(async move {
                let http = hyper_util::server::conn::auto::Builder::new(hyper_util::rt::TokioExecutor::new());
                let _ = http.serve_connection(hyper_util::rt::TokioIo::new(socket), service).await;
            });
        }
    });
    Server { endpoint, _runtime: runtime, _dir: dir }
}

fn store(server: &Server, url: &str) -> S3Store {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let builder = AmazonS3Builder::new()
        .with_endpoint(&server.endpoint)
        .with_allow_http(true)
        .with_region("here")
        .with_access_key_id("key")
        .with_secret_access_key("secret");
    S3Store::with(url, builder).unwrap()
}

#[test]
fn the_store_keeps_its_promises() {
    let server = server();
    let store = store(&server, "s3://bucket/some/prefix");
    probe(&store).unwrap();
    let key = |text: &str| ObjectKey::parse(text).unwrap();
    store.create(&key("packs/aa/one"), &[b"12".as_slice().into(), b"345".as_slice().into()]).unwrap();
    assert_eq!(store.read_range(&key("packs/aa/one"), 1..4).unwrap(), "234");
    assert_eq!(store.read_range(&key("packs/aa/one"), 3..100).unwrap(), "45");
    assert_eq!(store.read_range(&key("packs/aa/one"), 50..60).unwrap(), "");
    let taken = store.create(&key("packs/aa/one"), &[b"x".as_slice().into()]);
    assert!(matches!(taken, Err(StoreError::AlreadyExists { .. })), "{taken:?}");
    assert!(matches!(store.size(&key("nothing")), Err(StoreError::NotFound { .. })));
    store.create(&key("index/two"), &[b"x".as_slice().into()]).unwrap();
    let listed: Vec<String> = store.list("packs/").unwrap().iter().map(|info| info.key.to_string()).collect();
    assert_eq!(listed, ["packs/aa/one"]);
    store.delete(&key("packs/aa/one")).unwrap();
    store.delete(&key("packs/aa/one")).unwrap();
    assert_eq!(store.list("packs/").unwrap(), vec![]);
}

#[test]
fn a_repository_on_s3() {
    let server = server();
    let open_store = || -> Arc<dyn ObjectStore> { Arc::new(store(&server, "s3://bucket/repo")) };
    let repo = init(open_store());
    let mut bytes = noise(1, 3 * MIB);
    let first = backup(&repo, "vm", &bytes);
    bytes[MIB..MIB + 4096].fill(1);
    let repo = open(open_store()).unwrap();
    let second = backup(&repo, "vm", &bytes);
    assert!(second.disks[0].stats.new_bytes < MIB as u64 / 2);
    assert!(restored(&repo, &second, "vm") == bytes);
    let proposal = xenith_backup::gc::propose(&repo, vec![first.id]).unwrap();
    xenith_backup::gc::publish(&repo, &proposal.plan).unwrap();
    collect(&repo);
    assert_eq!(verify(&repo, Level::Deep, 2).unwrap().problems, vec![]);
    assert!(restored(&repo, &second, "vm") == bytes);
}

#[test]
fn an_outage_in_the_middle_is_waited_out() {
    let server = server();
    let flaky = FaultyStore::new(
        store(&server, "s3://bucket/repo"),
        Some((xenith_backup::store::Fault::LoseAnswer, 6)),
    );
    let patient =
        RetryingStore::new(flaky, std::time::Duration::from_millis(5), std::time::Duration::from_secs(20));
    let repo = init(Arc::new(patient));
    let bytes = noise(1, MIB);
    let manifest = backup(&repo, "vm", &bytes);
    assert!(restored(&repo, &manifest, "vm") == bytes);
}
