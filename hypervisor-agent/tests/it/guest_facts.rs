//! What guests write into a real xenstored, as the agent tells it.

use std::time::Duration;

use futures::StreamExt;
use tokio::time::timeout;
use xenith_common_ids::DomId;
use xenith_common_tasks::TaskSet;
use xenith_hypervisor_agent::backends::StoreFacts;
use xenith_hypervisor_agent_backend::GuestFactsSource;
use xenith_hypervisor_agent_xenstore::test_support::XenstoredFixture;
use xenith_hypervisor_agent_xenstore::{Options, Xenstore, domain_path};

const GUEST: DomId = DomId(7);
const SOON: Duration = Duration::from_secs(30);

async fn say(store: &Xenstore, facts: &[(&str, &str)]) {
    for (path, value) in facts {
        store.write(&format!("{}/{path}", domain_path(GUEST)), value).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facts_come_as_they_change_and_end_with_the_domain() {
    let daemon = XenstoredFixture::start().await;
    let tasks = TaskSet::new();
    let store = Xenstore::connect(Options::new(daemon.endpoint()), &tasks).await.unwrap();
    let source = StoreFacts::new(store.clone());
    // Nobody there: nothing to tell, and no waiting.
    assert_eq!(timeout(SOON, source.watch(DomId(9)).next()).await.unwrap(), None);

    say(&store, &[("name", "web-1"), ("control/shutdown", ""), ("memory/target", "262144")]).await;
    let mut facts = source.watch(GUEST);
    let first = timeout(SOON, facts.next()).await.unwrap().unwrap();
    assert_eq!((first.addresses.len(), first.os), (0, None));
    say(
        &store,
        &[
            ("attr/vif/0/ipv4/0", "192.0.2.7"),
            ("attr/vif/1/ipv4/0", "192.0.2.7"),
            ("attr/PVAddons/MajorVersion", "9"),
            ("attr/PVAddons/MinorVersion", "3"),
            ("drivers/0", "XENBUS 9.1.0.1"),
            ("data/os_name", "Debian GNU/Linux 12"),
            ("data/os_distro", "debian"),
            ("data/meminfo_free", "131072"),
        ],
    )
    .await;
    let told = loop {
        let told = timeout(SOON, facts.next()).await.unwrap().unwrap();
        if told.memory_free.is_some() {
            break told;
        }
    };
    assert_eq!(*told.addresses, ["192.0.2.7".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(told.os.as_deref(), Some("Debian GNU/Linux 12"));
    assert_eq!(told.memory_free.unwrap().mib(), 128);
    assert_eq!(told.data.get("os_distro"), Some("debian"));
    assert!(told.pv_drivers.unwrap().contains("XENBUS"));

    store.rm(&domain_path(GUEST)).await.unwrap();
    while timeout(SOON, facts.next()).await.unwrap().is_some() {}
}
