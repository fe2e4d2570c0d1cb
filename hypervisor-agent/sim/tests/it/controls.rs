//! A host seen from outside: other people's domains, bridges, a power cut, the end.

use std::time::Duration;

use xenith_common_ids::DomId;
use xenith_common_tasks::TaskSet;
use xenith_hypervisor_agent_backend::{DomainEventKind, Hypervisor, HypervisorError, Start};
use xenith_hypervisor_agent_sim::{Foreign, ManualClock, Operation, SimHypervisor, UnknownBridges};
use xenith_hypervisor_agent_types::{Bridge, DeathReason, DomainStatus};

use crate::fixture::{mib, nic, spec, until};

#[tokio::test]
async fn an_administrator_with_xl() {
    let sim = SimHypervisor::builder().memory(mib(3072)).build();
    let mut events = sim.events();
    let foreign = sim.make_foreign(&Foreign::named("by-hand")).unwrap();
    let info = sim.domain(foreign).await.unwrap();
    assert_eq!((info.identity, info.status), (None, DomainStatus::Running));
    assert_eq!(sim.host().await.unwrap().memory_free, mib(1024 - 128));
    let taken = sim.create(&spec("by-hand"), Start::Paused).await;
    assert_eq!(taken, Err(HypervisorError::NameTaken { name: "by-hand".into(), domid: foreign }));
    let ours = sim.create(&spec("ours"), Start::Paused).await.unwrap();
    assert!(ours > foreign);
    sim.destroy_from_outside(ours).unwrap();
    assert_eq!(sim.destroy_from_outside(ours), Err(HypervisorError::NoSuchDomain(ours)));
    sim.end_guest(foreign, DeathReason::Watchdog).unwrap();
    let mut told = Vec::new();
    for _ in 0..4 {
        told.push(events.next().await.map(|event| (event.domid, event.kind)).unwrap());
    }
    let expected = [
        (foreign, DomainEventKind::Appeared),
        (ours, DomainEventKind::Appeared),
        (ours, DomainEventKind::Gone),
        (foreign, DomainEventKind::Died(DeathReason::Watchdog)),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn bridges_come_and_go() {
    let sim = SimHypervisor::builder().build();
    let mut plugged = spec("web");
    plugged.nics.push(nic(1));
    plugged.nics[0].bridge = "storage".to_owned();
    assert!(matches!(
        sim.create(&plugged, Start::Paused).await,
        Err(HypervisorError::InvalidSpec { ref field, .. }) if field == "nics[0].bridge"
    ));
    sim.add_bridge(Bridge { name: "storage".into(), uplinks: vec![], mtu: 9000 });
    assert_eq!(sim.host().await.unwrap().bridges.len(), 2);
    assert!(sim.create(&plugged, Start::Paused).await.is_ok());
    sim.remove_bridge("storage");
    plugged.name = "web2".parse().unwrap();
    assert!(sim.create(&plugged, Start::Paused).await.is_err());

    let lax =
        SimHypervisor::builder().with(|config| config.host.unknown_bridges = UnknownBridges::Accept).build();
    assert!(lax.create(&plugged, Start::Paused).await.is_ok());
}

#[tokio::test]
async fn a_power_cut_takes_every_domain_and_ids_begin_anew() {
    let hand = ManualClock::new();
    let sim = SimHypervisor::builder().manual_clock(&hand).build();
    let before = sim.create(&spec("web"), Start::Running).await.unwrap();
    sim.inject("hang the next create for 5s".parse().unwrap());
    let pending = tokio::spawn({
        let sim = sim.clone();
        async move { sim.create(&spec("slow"), Start::Running).await }
    });
    while sim.domains().await.unwrap().len() < 2 {
        tokio::task::yield_now().await;
    }
    let mut events = sim.events();
    sim.reboot_host();
    assert_eq!(events.next().await.unwrap().kind, DomainEventKind::Resync);
    assert_eq!(sim.domains().await.unwrap(), []);
    let after = sim.create(&spec("db"), Start::Running).await.unwrap();
    assert_eq!(after, before, "the id is another domain's now");
    hand.advance(Duration::from_secs(5)).await;
    assert_eq!(pending.await.unwrap(), Err(HypervisorError::Closed), "the cut call has no effect");
    assert_eq!(sim.domains().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_host_ends_with_its_tasks() {
    let tasks = TaskSet::new();
    let sim =
        SimHypervisor::builder().tasks(&tasks).fault("hang every pause for 1h".parse().unwrap()).build();
    let domid = sim.create(&spec("web"), Start::Running).await.unwrap();
    sim.consoles(domid).await.unwrap();
    let pending = tokio::spawn({
        let sim = sim.clone();
        async move { sim.pause(domid).await }
    });
    until("the call", || sim.calls(Operation::Pause) == 1).await;
    tasks.shut_down(Duration::from_secs(5)).await.unwrap();
    assert_eq!(pending.await.unwrap(), Err(HypervisorError::Closed));
    assert_eq!(sim.pause(domid).await, Err(HypervisorError::Closed));
    assert_eq!(sim.destroy(DomId(7)).await, Err(HypervisorError::Closed));
}

#[tokio::test]
async fn what_xen_itself_keeps_is_left_when_xenstore_is_lost() {
    let sim = SimHypervisor::builder().build();
    let (web, half) = (spec("web"), spec("half"));
    let domid = sim.create(&web, Start::Running).await.unwrap();
    sim.create(&half, Start::Paused).await.unwrap();
    sim.lose_xenstore();
    let info = sim.domain(domid).await.unwrap();
    assert_eq!((info.identity, info.status), (None, DomainStatus::Running));
    assert!(info.is_of(web.identity.vm) && info.name != "web", "{info:?}");
    let again = sim.create(&web, Start::Paused).await;
    assert_eq!(again, Err(HypervisorError::VmTaken { domid }));
    sim.create(&half, Start::Paused).await.expect("what has never run is in nobody's way");
}
