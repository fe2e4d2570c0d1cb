//! The repository on a real S3 server, on loopback.

use std::sync::Arc;

use xenith_backup::immutable::{self, Which};
use xenith_backup::index::list_packs;
use xenith_backup::keys::{KdfCost, Keyring};
use xenith_backup::repo::now_millis;
use xenith_backup::store::{
    FaultyStore, Lock, LockMode, ObjectKey, ObjectStore, Retention, RetryingStore, S3Store, StoreError,
    probe, probe_locks,
};
use xenith_backup::verify::{Level, verify};
use xenith_backup::{Repository, gc};

use crate::roundtrip::collect;
use crate::s3_server::{Server, locking_server, server};
use crate::support::{MIB, backup, init, noise, open, passphrase, restored};

fn store(server: &Server, url: &str) -> S3Store {
    crate::s3_server::store(&server.endpoint, url)
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
    assert_eq!(store.list("packs/aa/o").unwrap().len(), 1, "the beginning of a name");
    assert_eq!(store.list("packs/aa/x").unwrap(), vec![]);
    store.delete(&key("packs/aa/one")).unwrap();
    store.delete(&key("packs/aa/one")).unwrap();
    assert_eq!(store.list("packs/").unwrap(), vec![]);
}

/// Answers each request with what `answer` says of its method.
fn answering(answer: fn(&str) -> &'static str) -> String {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = BufReader::new(socket.unwrap());
            let (mut method, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if socket.read_line(&mut line).unwrap() == 0 {
                    break;
                }
                let line = line.trim().to_ascii_lowercase();
                if method.is_empty() {
                    method = line.split(' ').next().unwrap_or_default().to_owned();
                } else if let Some(value) = line.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                } else if line.is_empty() {
                    break;
                }
            }
            socket.by_ref().take(length).read_to_end(&mut Vec::new()).unwrap();
            let status = answer(&method);
            let text = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            socket.get_mut().write_all(text.as_bytes()).unwrap();
        }
    });
    endpoint
}

#[test]
fn two_at_one_key_are_told_from_one_that_is_there() {
    let key = ObjectKey::parse("manifests/one").unwrap();
    let create = |endpoint: &str| {
        crate::s3_server::store(endpoint, "s3://bucket/repo").create(&key, &[b"x".as_slice().into()])
    };
    let nothing = answering(|method| if method == "put" { "409 Conflict" } else { "404 Not Found" });
    let error = create(&nothing).unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
}

#[test]
fn a_hold_is_lifted_on_s3() {
    let server = server();
    let repo = init(Arc::new(store(&server, "s3://bucket/repo")));
    let id = xenith_backup::id::BackupId::new(now_millis());
    xenith_backup::hold::place(&repo, &id).unwrap();
    xenith_backup::hold::place_for(&repo, &id, "instant").unwrap();
    assert_eq!(xenith_backup::hold::list(&repo).unwrap(), [id]);
    // Who needs it goes on needing it.
    xenith_backup::hold::lift_placed(&repo, &id).unwrap();
    assert_eq!(xenith_backup::hold::placed(&repo).unwrap(), []);
    assert_eq!(xenith_backup::hold::holders(&repo, &id).unwrap(), ["instant"]);
    xenith_backup::hold::lift(&repo, &id).unwrap();
    assert_eq!(xenith_backup::hold::list(&repo).unwrap(), []);
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

/// `XENITH_OUTAGE_SECONDS=60` for the minute that is promised.
#[test]
fn a_server_that_is_gone_for_a_while_is_waited_for() {
    let seconds = std::env::var("XENITH_OUTAGE_SECONDS").map_or(2, |text| text.parse().unwrap());
    let outage = std::time::Duration::from_secs(seconds);
    let server = server();
    let patient = RetryingStore::new(
        store(&server, "s3://bucket/repo"),
        std::time::Duration::from_millis(200),
        std::time::Duration::from_secs(180),
    );
    let repo = init(Arc::new(patient));
    let began = std::time::Instant::now();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut kept = Vec::new();
            while kept.len() < 4 || began.elapsed() < outage {
                let bytes = noise(kept.len() as u64, 2 * MIB);
                kept.push((backup(&repo, "vm", &bytes), bytes));
            }
            kept
        });
        std::thread::sleep(std::time::Duration::from_millis(150));
        server.set_reachable(false);
        std::thread::sleep(outage);
        server.set_reachable(true);
        for (manifest, bytes) in writer.join().unwrap() {
            assert!(restored(&repo, &manifest, "vm") == bytes);
        }
    });
    assert!(began.elapsed() >= outage);
    assert_eq!(verify(&repo, Level::Deep, 2).unwrap().problems, vec![]);
}

/// What is shown of any server with object lock; `bucket` has it.
fn locks_hold(endpoint: &str, bucket: &str, mode: LockMode) {
    let at = |folder: &str| crate::s3_server::store(endpoint, &format!("s3://{bucket}/{folder}"));
    let store = at("objects");
    probe_locks(&store, mode).unwrap();
    let key = ObjectKey::parse("packs/aa/one").unwrap();
    // Longer than a slow machine takes until the lock is made longer.
    let lock = Lock { mode, until: store.clock().unwrap() / 1000 * 1000 + 8000 };
    store.create_locked(&key, &[b"12".as_slice().into(), b"345".as_slice().into()], lock).unwrap();
    assert_eq!(store.read(&key, 100).unwrap(), "12345");
    assert_eq!(store.lock_of(&key).unwrap(), Some(lock));
    let taken = store.create_locked(&key, &[b"x".as_slice().into()], lock);
    assert!(matches!(taken, Err(StoreError::AlreadyExists { .. })), "{taken:?}");
    let refused = store.purge(&key);
    assert!(matches!(refused, Err(StoreError::Locked { until, .. }) if until == lock.until), "{refused:?}");
    let longer = Lock { until: lock.until + 1000, ..lock };
    store.extend_lock(&key, longer).unwrap();
    assert_eq!(store.lock_of(&key).unwrap(), Some(longer));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while let Err(error) = store.purge(&key) {
        assert!(matches!(error, StoreError::Locked { .. }), "{error}");
        assert!(std::time::Instant::now() < deadline, "the lock does not end");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert!(matches!(store.size(&key), Err(StoreError::NotFound { .. })));
    assert!(matches!(store.lock_of(&key), Err(StoreError::NotFound { .. }) | Ok(None)));

    let retention = Retention { days: 3, mode };
    let ring = Keyring::create(xenith_backup::chunk::Chunking::default()).with_retention(Some(retention));
    let repo = Repository::init(Arc::new(at("repo")), &ring, &passphrase(), KdfCost::CHEAP).unwrap();
    let (first, second) = (backup(&repo, "vm", &noise(1, MIB)), backup(&repo, "vm", &noise(2, MIB)));
    let report = verify(&repo, Level::Deep, 2).unwrap();
    assert_eq!(report.problems, vec![]);
    assert!(report.locks >= 7, "{report:?}");
    for info in at("repo").list("packs/").unwrap() {
        let lock = at("repo").lock_of(&info.key).unwrap().unwrap();
        assert!(lock.until.abs_diff(now_millis() + retention.millis()) < 600_000, "{lock:?}");
    }
    // Longer from now on: verify finds what is short of it, and is content once that is mended.
    let repo = repo.set_retention(Some(Retention { days: 30, mode })).unwrap();
    assert!(verify(&repo, Level::Quick, 2).unwrap().problems.len() >= 4);
    immutable::extend(&repo, &list_packs(&repo).unwrap(), Which::All).unwrap();
    assert_eq!(verify(&repo, Level::Quick, 2).unwrap().problems, vec![]);
    let plan = gc::propose(&repo, vec![first.id]).unwrap().plan;
    assert!(plan.not_before > now_millis() + 29 * 24 * 3600 * 1000, "{plan:?}");
    // Even a plan that does not know of the locks deletes nothing.
    let hasty = gc::Plan { not_before: 0, ..plan };
    gc::publish(&repo, &hasty).unwrap();
    let outcome = gc::carry_out(&repo, &hasty, hasty.created, 0).unwrap();
    assert!(
        matches!(&outcome, gc::Outcome::Locked { object, .. } if object.starts_with("manifests/")),
        "{outcome:?}"
    );
    for (manifest, seed) in [(&first, 1), (&second, 2)] {
        assert!(restored(&repo, manifest, "vm") == noise(seed, MIB));
    }
}

#[test]
fn a_bucket_with_object_lock_lets_nobody_delete() {
    let (server, bucket) = locking_server();
    locks_hold(&server.endpoint, "bucket", LockMode::Compliance);
    let hidden = bucket.hidden();
    assert!(!hidden.is_empty(), "init tries what a plain delete does");
    assert!(hidden.iter().all(|key| key.contains("/probe/") || key.contains("/keyring/")), "{hidden:?}");
    assert!(bucket.locked().iter().all(|key| !key.contains("/sessions/") && !key.contains("/index/")));
}

/// `XENITH_TEST_S3_LOCK=http://127.0.0.1:9000/bucket`: the same on whatever server that is, whose bucket has object lock,
/// with access key `key` and secret `secret`. It leaves locked objects behind.
#[test]
fn a_bucket_of_another_server_lets_nobody_delete() {
    let Ok(url) = std::env::var("XENITH_TEST_S3_LOCK") else { return };
    let (endpoint, bucket) = url.rsplit_once('/').unwrap();
    let folder = format!("{bucket}/{}", now_millis());
    locks_hold(endpoint, &folder, LockMode::Governance);
}

#[test]
fn a_bucket_without_object_lock_is_refused_for_it() {
    let server = server();
    let retention = Retention { days: 3, mode: LockMode::Compliance };
    let ring = Keyring::create(xenith_backup::chunk::Chunking::default()).with_retention(Some(retention));
    let store = Arc::new(store(&server, "s3://bucket/repo"));
    let refused = Repository::init(store, &ring, &passphrase(), KdfCost::CHEAP).unwrap_err();
    let said = xenith_backup::error::chain(&refused);
    assert!(said.contains("make a bucket with object lock"), "{said}");
}
