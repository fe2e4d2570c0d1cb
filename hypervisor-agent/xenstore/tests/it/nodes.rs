//! Operations on nodes and domains.

use futures::future::{join_all, try_join_all};
use xenith_common_ids::DomId;
use xenith_hypervisor_agent_xenstore::test_support::Daemon;
use xenith_hypervisor_agent_xenstore::{Access, EventPort, GrantedFrame, Permissions, XenstoreError};

use crate::harness::{Lab, on_both_daemons, soon};

on_both_daemons! {
    tokio::test:
    values_are_bytes,
    errors_are_typed_and_name_the_path,
    nodes_are_made_listed_and_removed,
    permissions_round_trip_and_are_inherited,
    a_directory_of_3000_entries_is_listed_whole,
    a_large_directory_that_changes_while_it_is_read_is_some_state_it_had,
    domains_are_introduced_and_released,
}

on_both_daemons! {
    tokio::test(flavor = "multi_thread", worker_threads = 2):
    two_hundred_concurrent_writers,
}

async fn values_are_bytes(daemon: Daemon) {
    let lab = Lab::start(daemon).await;
    let all_bytes: Vec<u8> = (0..=255).collect();
    // What fits into a message behind the path, or what oxenstored's `quota-maxsize` is from the start.
    let largest = match daemon {
        Daemon::Xenstored => 4096 - 7,
        Daemon::Oxenstored => 2048,
    };
    for (name, value) in [
        ("text", b"hello".as_slice()),
        ("empty", b""),
        ("every byte", &all_bytes),
        ("ends with NUL", b"x\0"),
        ("largest", &vec![b'x'; largest]),
    ] {
        lab.store.write("/t/val", value).await.unwrap();
        assert_eq!(lab.store.read_bytes("/t/val").await.unwrap(), value, "{name}");
    }
    let too_large = lab.store.write("/t/val", vec![b'x'; largest + 1]).await;
    let expected = match daemon {
        Daemon::Xenstored => matches!(too_large, Err(XenstoreError::TooLarge { .. })),
        Daemon::Oxenstored => matches!(too_large, Err(XenstoreError::Quota { .. })),
    };
    assert!(expected, "{too_large:?}");
    lab.store.write("/t/val", b"\xff").await.unwrap();
    assert!(matches!(lab.store.read("/t/val").await, Err(XenstoreError::Malformed { .. })));
}

async fn errors_are_typed_and_name_the_path(daemon: Daemon) {
    let lab = Lab::start(daemon).await;
    let store = &lab.store;
    let too_large = store.write("/t/big", vec![0; 5000]).await.unwrap_err();
    assert!(matches!(&too_large, XenstoreError::TooLarge { size: 5007, limit: 4096, .. }), "{too_large:?}");
    let absent = store.read("/t/absent").await.unwrap_err();
    assert!(matches!(&absent, XenstoreError::NotFound { .. }), "{absent:?}");
    let bad = store.rm("/t/bad/").await.unwrap_err();
    assert!(matches!(&bad, XenstoreError::InvalidPath { .. }), "{bad:?}");
    for (error, path) in [(&too_large, "/t/big"), (&absent, "/t/absent"), (&bad, "/t/bad/")] {
        assert!(error.to_string().contains(path), "{error}");
        assert!(!error.is_retryable(), "{error}");
    }
    assert_eq!(store.read_if_there("/t/absent").await.unwrap(), None);
    assert!(matches!(store.directory("/t/absent").await, Err(XenstoreError::NotFound { .. })));
    // Refused by the daemon itself: the root cannot be removed, of oxenstored a domain that it does not know.
    let refused = match daemon {
        Daemon::Xenstored => store.rm("/").await,
        Daemon::Oxenstored => store.release(DomId(99)).await,
    };
    let refused = refused.unwrap_err();
    assert!(matches!(&refused, XenstoreError::Refused { .. }), "{refused:?}");
}

async fn nodes_are_made_listed_and_removed(daemon: Daemon) {
    let lab = Lab::start(daemon).await;
    let store = &lab.store;
    store.mkdir("/t/a/b").await.unwrap();
    store.mkdir("/t/a/b").await.unwrap();
    store.write("/t/a/c", "1").await.unwrap();
    let mut names = store.directory("/t/a").await.unwrap();
    names.sort();
    assert_eq!(names, ["b", "c"]);
    assert_eq!(store.directory("/t/a/b").await.unwrap(), Vec::<String>::new());
    store.rm("/t/a").await.unwrap();
    store.rm("/t/a").await.unwrap();
    assert_eq!(store.read_if_there("/t/a/c").await.unwrap(), None);
}

async fn permissions_round_trip_and_are_inherited(daemon: Daemon) {
    let lab = Lab::start(daemon).await;
    let wanted = Permissions { owner: DomId(3), everyone_else: Access::Read, others: Vec::new() }
        .and(DomId(5), Access::ReadWrite)
        .and(DomId(6), Access::None);
    lab.store.write("/t/node", "").await.unwrap();
    lab.store.set_permissions("/t/node", &wanted).await.unwrap();
    assert_eq!(lab.store.permissions("/t/node").await.unwrap(), wanted);
    lab.store.write("/t/node/child", "").await.unwrap();
    assert_eq!(lab.store.permissions("/t/node/child").await.unwrap(), wanted);
    let absent = lab.store.set_permissions("/t/absent", &wanted).await;
    assert!(matches!(absent, Err(XenstoreError::NotFound { .. })));
}

async fn a_directory_of_3000_entries_is_listed_whole(daemon: Daemon) {
    let lab = Lab::start(daemon).await;
    let mut expected: Vec<String> = (0..3000).map(|n| format!("entry-with-a-longer-name-{n:05}")).collect();
    for batch in expected.chunks(500) {
        let paths: Vec<String> = batch.iter().map(|name| format!("/big/{name}")).collect();
        soon("500 writes", try_join_all(paths.iter().map(|path| lab.store.write(path, "")))).await.unwrap();
    }
    let mut seen = soon("the list", lab.store.directory("/big")).await.unwrap();
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
}

async fn a_large_directory_that_changes_while_it_is_read_is_some_state_it_had(daemon: Daemon) {
    let lab = Lab::start(daemon).await;
    let paths: Vec<String> = (0..600).map(|n| format!("/big/entry-with-a-longer-name-{n:05}")).collect();
    try_join_all(paths.iter().map(|path| lab.store.write(path, ""))).await.unwrap();
    let other = lab.second_connection().await;
    // Swaps one entry for another, in one step: a torn list would have both or neither.
    let swapping = async {
        for turn in 0..50u32 {
            let (gone, come) = if turn % 2 == 0 { ("a", "z") } else { ("z", "a") };
            let (gone, come) = (&format!("/big/{gone}"), &format!("/big/{come}"));
            other
                .transaction("/big", |tx| async move {
                    tx.rm(gone).await?;
                    tx.write(come, "").await
                })
                .await
                .unwrap();
        }
    };
    other.write("/big/a", "").await.unwrap();
    let reading = async {
        for _ in 0..20 {
            match lab.store.directory("/big").await {
                Ok(names) => {
                    assert_eq!(names.len(), 601);
                    assert!(names.iter().any(|name| name == "a") != names.iter().any(|name| name == "z"));
                }
                Err(error) => assert!(matches!(error, XenstoreError::Again { .. }), "{error:?}"),
            }
        }
    };
    soon("reading beside a writer", async { tokio::join!(swapping, reading) }).await;
}

async fn two_hundred_concurrent_writers(daemon: Daemon) {
    let lab = Lab::start(daemon).await;
    let writers = (0..200).map(|writer| {
        let store = lab.store.clone();
        tokio::spawn(async move {
            for turn in 0..10 {
                let path = format!("/w/{writer}/{turn}");
                let value = format!("{writer} wrote {turn}");
                store.write(&path, &value).await.unwrap();
                assert_eq!(store.read(&path).await.unwrap(), value, "answers go to who asked");
            }
        })
    });
    for writer in soon("200 writers", join_all(writers)).await {
        writer.unwrap();
    }
    assert_eq!(lab.store.directory("/w").await.unwrap().len(), 200);
}

async fn domains_are_introduced_and_released(daemon: Daemon) {
    let lab = Lab::start(daemon).await;
    let domain = DomId(5);
    assert_eq!(lab.store.get_domain_path(domain).await.unwrap(), "/local/domain/5");
    assert!(!lab.store.is_introduced(domain).await.unwrap());
    let mut introduced = lab.store.watch_path("@introduceDomain").await.unwrap();
    let mut released = lab.store.watch_path("@releaseDomain").await.unwrap();
    crate::harness::next(&mut introduced).await;
    crate::harness::next(&mut released).await;

    lab.store.introduce(domain, GrantedFrame(1), EventPort(1)).await.unwrap();
    assert!(lab.store.is_introduced(domain).await.unwrap());
    assert_eq!(crate::harness::next(&mut introduced).await, crate::harness::changed("@introduceDomain"));
    lab.store.release(domain).await.unwrap();
    assert!(!lab.store.is_introduced(domain).await.unwrap());
    assert_eq!(crate::harness::next(&mut released).await, crate::harness::changed("@releaseDomain"));
    let again = lab.store.release(domain).await.unwrap_err();
    assert!(again.to_string().contains("/local/domain/5"), "{again}");
}
