//! What a guest says, and our mark on its domain.

use std::time::Duration;

use xenith_common_ids::{DomId, IncarnationId, VmId};
use xenith_hypervisor_agent_xenstore::guest::{ADDRESSES_MAX, Debounce, GuestFacts, GuestWatcher};
use xenith_hypervisor_agent_xenstore::test_support::Daemon;
use xenith_hypervisor_agent_xenstore::{
    Access, Incarnation, Permissions, Xenstore, XenstoreError, domain_path,
};

use crate::harness::{Lab, on_both_daemons, soon};

on_both_daemons! {
    tokio::test:
    facts_in_all_their_styles,
    a_hostile_guest_is_bounded,
    a_watcher_gives_the_facts_as_they_change_and_ends_with_the_domain,
    a_busy_guest_is_read_in_turns_and_a_cancelled_wait_loses_nothing,
    a_watcher_ends_when_the_daemon_comes_back_without_the_domain,
    the_mark_of_a_domain,
}

const GUEST: DomId = DomId(7);
const QUICK: Debounce = Debounce { quiet: Duration::from_millis(20), most: Duration::from_millis(200) };

async fn say(store: &Xenstore, facts: &[(&str, &str)]) {
    for (path, value) in facts {
        store.write(&format!("{}/{path}", domain_path(GUEST)), value).await.unwrap();
    }
}

async fn boot(store: &Xenstore) {
    say(store, &[("name", "web-1"), ("control/shutdown", ""), ("memory/target", "262144")]).await;
}

fn addresses(facts: &GuestFacts) -> Vec<String> {
    facts.addresses.iter().map(|found| format!("{} {}", found.vif, found.address)).collect()
}

async fn facts_in_all_their_styles(daemon: Daemon) {
    let lab = Lab::start(daemon).await;
    boot(&lab.store).await;
    assert_eq!(lab.store.guest_facts(GUEST).await.unwrap().addresses, []);
    say(
        &lab.store,
        &[
            ("attr/vif/0/ipv4/0", "192.0.2.7"),
            ("attr/vif/0/ipv6/0", "2001:db8::7"),
            ("attr/vif/1/ipv4/1", "198.51.100.3"),
            ("attr/eth0/ip", "192.0.2.7 192.0.2.8"),
            ("attr/eth2/ipv6/0/addr", "fe80::1"),
            ("attr/PVAddons/MajorVersion", "9"),
            ("attr/PVAddons/MinorVersion", "3"),
            ("attr/PVAddons/MicroVersion", "1"),
            ("data/os_name", "Windows Server 2022|C:\\Windows|\\Device\\Harddisk0"),
            ("data/os_distro", "windows"),
            ("data/os_uname", "10.0\x1b[2J"),
            ("data/meminfo_free", "131072"),
            ("memory/static-max", "524288"),
            ("drivers/0", "XENBUS 9.1.0.1 (release)"),
            ("control/shutdown", "poweroff"),
            ("control/feature-poweroff", "1"),
            ("control/feature-reboot", "0"),
        ],
    )
    .await;
    let facts = lab.store.guest_facts(GUEST).await.unwrap();
    let expected =
        ["0 192.0.2.7", "0 192.0.2.8", "0 2001:db8::7", "1 198.51.100.3", "2 fe80::1"].map(str::to_owned);
    assert_eq!(addresses(&facts), expected);
    assert_eq!(facts.os.name.as_deref(), Some("Windows Server 2022"));
    assert_eq!(facts.os.distro.as_deref(), Some("windows"));
    assert_eq!(facts.os.uname.as_deref(), Some("10.0[2J"));
    assert_eq!(facts.pv_drivers.version.as_deref(), Some("9.3.1"));
    assert_eq!(facts.pv_drivers.drivers, ["XENBUS 9.1.0.1 (release)"]);
    assert!(facts.pv_drivers.are_there());
    let memory = [facts.memory.target, facts.memory.maximum, facts.memory.free, facts.memory.total];
    assert_eq!(
        memory.map(|amount| amount.map(|amount| amount.mib())),
        [Some(256), Some(512), Some(128), None]
    );
    assert_eq!(facts.shutdown.requested.as_deref(), Some("poweroff"));
    assert!(facts.shutdown.listens_to_poweroff && !facts.shutdown.listens_to_reboot);
}

async fn a_hostile_guest_is_bounded(daemon: Daemon) {
    let lab = Lab::start(daemon).await;
    boot(&lab.store).await;
    let many = (0..40).map(|n| format!("203.0.113.{n}")).collect::<Vec<_>>().join(" ");
    let huge = "\u{202e}\x1b".repeat(10) + &"x".repeat(2000);
    let mut facts: Vec<(String, &str)> = vec![("data/os_name".into(), &huge), ("drivers/0".into(), &huge)];
    for vif in 0..20 {
        facts.extend((0..35).map(|n| (format!("attr/vif/{vif}/ipv4/{n}"), many.as_str())));
    }
    facts.extend(
        ["attr/vif/99999", "attr/vif/-1/ipv4/0", "attr/eth/ip"].map(|path| (path.into(), "192.0.2.1")),
    );
    facts.push(("memory/target".into(), "-1"));
    // More names than fit into one message, which is where the two daemons differ.
    for directory in ["attr", "attr/vif", "attr/vif/0/ipv4", "data", "drivers"] {
        facts.extend((0..200).map(|n| (format!("{directory}/a-name-that-says-nothing-{n:05}"), "")));
    }
    let facts: Vec<(&str, &str)> = facts.iter().map(|(path, value)| (path.as_str(), *value)).collect();
    say(&lab.store, &facts).await;
    let other = format!("{}/data/os_name", domain_path(DomId(8)));
    lab.store.write(&other, "Debian").await.unwrap();
    let mut link = lab.store.state();
    link.mark_unchanged();

    let seen = lab.store.guest_facts(GUEST).await.unwrap();
    assert_eq!(seen.addresses.len(), ADDRESSES_MAX);
    assert_eq!(seen.os.name.as_deref(), Some("x".repeat(256).as_str()));
    assert_eq!(seen.memory.target, None);

    let beside = lab.store.guest_facts(DomId(8)).await.unwrap();
    assert_eq!(beside.os.name.as_deref(), Some("Debian"), "its neighbour is read as ever");
    assert!(!link.has_changed().unwrap(), "and the connection is the same");
}

async fn a_watcher_gives_the_facts_as_they_change_and_ends_with_the_domain(daemon: Daemon) {
    let lab = Lab::start(daemon).await;
    let absent = GuestWatcher::new(&lab.store, GUEST, QUICK).await.unwrap_err();
    assert!(matches!(absent, XenstoreError::NotFound { .. }), "{absent:?}");
    boot(&lab.store).await;
    let mut watcher = GuestWatcher::new(&lab.store, GUEST, QUICK).await.unwrap();
    let first = soon("the first facts", watcher.changed()).await.unwrap();
    assert_eq!(first.memory.target.map(|target| target.mib()), Some(256));

    say(&lab.store, &[("attr/vif/0/ipv4/0", "192.0.2.7"), ("data/os_name", "Debian")]).await;
    let mut facts = soon("new facts", watcher.changed()).await.unwrap();
    while facts.os.name.is_none() {
        facts = soon("the rest of the new facts", watcher.changed()).await.unwrap();
    }
    assert_eq!(addresses(&facts), ["0 192.0.2.7"]);

    // What changes no fact gives nothing: the next thing seen is the next fact.
    say(&lab.store, &[("data/os_name", "Debian"), ("data/updated", "1"), ("data/x", "y")]).await;
    say(&lab.store, &[("memory/target", "131072")]).await;
    let facts = soon("new facts", watcher.changed()).await.unwrap();
    assert_eq!(facts.memory.target.map(|target| target.mib()), Some(128));

    lab.store.rm(&domain_path(GUEST)).await.unwrap();
    assert_eq!(soon("the end", watcher.changed()).await, None);
}

async fn a_busy_guest_is_read_in_turns_and_a_cancelled_wait_loses_nothing(daemon: Daemon) {
    let lab = Lab::start(daemon).await;
    boot(&lab.store).await;
    let mut watcher = GuestWatcher::new(&lab.store, GUEST, QUICK).await.unwrap();
    soon("the first facts", watcher.changed()).await.unwrap();
    let guest = lab.second_connection().await;
    let mut readings = 0u32;
    {
        let busy = async {
            for n in 0..3000 {
                say(&guest, &[("data/meminfo_free", &(n * 1024).to_string())]).await;
            }
        };
        let mut busy = Box::pin(busy);
        let reading = async {
            for patience in (1..60).cycle().map(Duration::from_millis) {
                // Cancelled again and again in the middle of whatever it does.
                if let Ok(facts) = tokio::time::timeout(patience, watcher.changed()).await {
                    readings += 1;
                    if facts.unwrap().memory.free.map(|free| free.mib()) == Some(2999) {
                        return;
                    }
                }
            }
        };
        soon("the last value arrives", async { tokio::join!(&mut busy, reading) }).await;
    }
    assert!(readings < 1500, "{readings} readings for 3000 changes");
}

async fn a_watcher_ends_when_the_daemon_comes_back_without_the_domain(daemon: Daemon) {
    let mut lab = Lab::start(daemon).await;
    boot(&lab.store).await;
    let mut watcher = GuestWatcher::new(&lab.store, GUEST, QUICK).await.unwrap();
    soon("the first facts", watcher.changed()).await.unwrap();
    lab.daemon.restart().await;
    assert_eq!(soon("the end", watcher.changed()).await, None);
}

async fn the_mark_of_a_domain(daemon: Daemon) {
    let lab = Lab::start(daemon).await;
    let store = &lab.store;
    let mark = Incarnation { vm: VmId::new(), incarnation: IncarnationId::new() };
    let absent = store.write_incarnation(GUEST, mark).await.unwrap_err();
    assert!(matches!(absent, XenstoreError::NotFound { .. }), "no domain is made by a mark: {absent:?}");
    assert_eq!(store.read_incarnation(GUEST).await.unwrap(), None);

    boot(store).await;
    assert_eq!(store.read_incarnation(GUEST).await.unwrap(), None);
    // Left by something else, and open to everybody.
    let home = domain_path(GUEST);
    let open = Permissions { owner: GUEST, everyone_else: Access::ReadWrite, others: Vec::new() };
    for path in ["xenith", "xenith/vm"] {
        store.write(&format!("{home}/{path}"), "").await.unwrap();
        store.set_permissions(&format!("{home}/{path}"), &open).await.unwrap();
    }
    for _ in 0..2 {
        store.write_incarnation(GUEST, mark).await.unwrap();
        assert_eq!(store.read_incarnation(GUEST).await.unwrap(), Some(mark));
    }
    assert_eq!(store.read(&format!("{home}/xenith/vm")).await.unwrap(), mark.vm.to_string());
    let expected = Permissions::private().and(GUEST, Access::Read);
    for path in ["xenith", "xenith/vm", "xenith/incarnation"] {
        assert_eq!(store.permissions(&format!("{home}/{path}")).await.unwrap(), expected, "{path}");
    }

    store.write(&format!("{home}/xenith/vm"), "nonsense").await.unwrap();
    let wrong = store.read_incarnation(GUEST).await.unwrap_err();
    assert!(matches!(wrong, XenstoreError::Malformed { .. }), "{wrong:?}");
    store.rm(&format!("{home}/xenith/vm")).await.unwrap();
    assert!(store.read_incarnation(GUEST).await.is_err(), "half a mark is none");
}
