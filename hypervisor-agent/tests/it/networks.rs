//! Networks of a host: made, told of, kept over restarts of the agent and boots of the host, and taken away.

use xenith_common_ids::NetworkId;
use xenith_common_units::MacAddr;
use xenith_hypervisor_agent_api::{Command, CommandResult, VmAction};
use xenith_hypervisor_agent_backend::Hypervisor;
use xenith_hypervisor_agent_types::filter::{
    GroupRules, Members, PacketFilter, VifFilter, VifLock, VifSettings,
};
use xenith_hypervisor_agent_types::network::{HostNetwork, HostNetworks, Realised, Uplink, bridge_of};
use xenith_hypervisor_agent_types::{Autostart, NicSpec, Power};

use crate::harness::{Lab, spec, start};

fn network(uplink: &str) -> HostNetwork {
    let uplink: Uplink = serde_json::from_str(uplink).unwrap();
    let mtu = uplink.usual_mtu();
    HostNetwork { network: NetworkId::new(), name: "lan".to_owned(), uplink, mtu, peers: vec![] }
}

async fn realise(lab: &Lab, wanted: &HostNetworks) -> Realised {
    match lab.execute(Command::Networks(Box::new(wanted.clone()))).await {
        Ok(CommandResult::Networks(realised)) => *realised,
        other => panic!("{other:?}"),
    }
}

async fn bridges(lab: &Lab) -> Vec<String> {
    let names = lab.sim.host().await.unwrap().bridges.into_iter().map(|bridge| bridge.name);
    names.filter(|name| name != "xenbr0").collect()
}

#[tokio::test]
async fn networks_are_made_and_kept_without_an_orchestrator() {
    let mut lab = Lab::new().await;
    let good = network(r#"{"kind":"bond","bond":"b0","mode":"lacp","interfaces":["eth8","eth9"],"vlan":7}"#);
    let bad = network(r#"{"kind":"interface","interface":"eth77"}"#);
    let taken = network(r#"{"kind":"interface","interface":"eth0"}"#);
    let bridge = bridge_of(good.network);
    let wanted = HostNetworks { networks: vec![bad, taken, good], ..HostNetworks::default() };
    let realised = realise(&lab, &wanted).await;
    let problems: Vec<_> = realised.networks.iter().map(|network| network.problem.as_deref()).collect();
    assert!(problems[0].unwrap().contains("no interface eth77"), "{problems:?}");
    assert!(problems[1].unwrap().contains("is a port of xenbr0"), "{problems:?}");
    assert_eq!(problems[2], None);
    assert_eq!(bridges(&lab).await, [bridge.as_str()]);
    let told = lab.list().await.host.unwrap().bridges;
    assert!(told.iter().any(|known| known.name == bridge), "placement reads the facts: {told:?}");

    let mut autostarted = spec("web-1");
    let mac = "00:16:3e:00:00:01".parse().unwrap();
    autostarted.nics = vec![NicSpec { mac, network: wanted.networks[2].network, bridge: bridge.clone() }];
    autostarted.autostart = Some(Autostart { order: 1, delay_s: 0 });
    let vm = lab.define_as(autostarted).await;
    lab.done(vm, start()).await;

    let changes = lab.sim.device_changes();
    realise(&lab, &wanted).await;
    lab.restart().await;
    assert_eq!(lab.sim.device_changes(), changes, "what is as it is wanted is not touched");

    // Another boot: everything is there again before VMs start with the host.
    lab.kill().await;
    lab.sim.reboot_host();
    assert_eq!(bridges(&lab).await, [""; 0]);
    lab.boot = "second boot".to_owned();
    lab.start().await;
    assert_eq!(bridges(&lab).await, [bridge.as_str()]);
    lab.becomes(vm, Power::Running).await;

    lab.done(vm, VmAction::Destroy).await;
    realise(&lab, &HostNetworks::default()).await;
    assert_eq!(bridges(&lab).await, [""; 0]);
}

#[tokio::test]
async fn the_packet_filter_follows_and_comes_back() {
    let mut lab = Lab::new().await;
    let group = GroupRules {
        group: Default::default(),
        ingress: Some(vec!["any tag:web".parse().unwrap()]),
        egress: None,
    };
    let settings = VifSettings { lock: VifLock::Mac, ..VifSettings::default() };
    let mac: MacAddr = "00:16:3e:00:00:01".parse().unwrap();
    let vif = VifFilter { mac, settings, groups: [group.group].into() };
    let tags = [("web".to_owned(), Members::default())].into();
    let mut wanted = HostNetworks {
        filter: PacketFilter { vifs: vec![vif], groups: vec![group], tags },
        ..HostNetworks::default()
    };
    assert!(realise(&lab, &wanted).await.is_whole());
    assert_eq!(lab.sim.loaded_filter().unwrap().len(), 1);

    // Only the elements of a set.
    wanted.filter.tags.get_mut("web").unwrap().macs.insert("00:16:3e:00:00:02".parse().unwrap());
    realise(&lab, &wanted).await;
    realise(&lab, &wanted).await;
    let loaded = lab.sim.loaded_filter().unwrap();
    assert_eq!(loaded.len(), 2, "{loaded:?}");
    assert!(loaded[1].starts_with("add element") && loaded[1].lines().count() == 1, "{loaded:?}");

    // Somebody flushed all tables, and the agent was not there: the journal has it.
    lab.kill().await;
    lab.sim.flush_filter();
    lab.start().await;
    let loaded = lab.sim.loaded_filter().unwrap();
    assert!(loaded[0].contains("00:16:3e:00:00:02"), "{loaded:?}");

    realise(&lab, &HostNetworks::default()).await;
    assert_eq!(lab.sim.loaded_filter(), None);
}

#[tokio::test]
async fn a_host_that_cannot_filter_starts_by_itself_only_who_needs_no_rules() {
    let mut lab = Lab::new().await;
    lab.sim.take_filter(Some("this host has no nft; install nftables"));
    let internal = network(r#"{"kind":"internal"}"#);
    let mut wanted = HostNetworks { networks: vec![internal], ..HostNetworks::default() };
    assert!(realise(&lab, &wanted).await.is_whole(), "who wants no rules needs no nft");

    let macs: [MacAddr; 2] = ["00:16:3e:00:00:01", "00:16:3e:00:00:02"].map(|mac| mac.parse().unwrap());
    let mut vms = Vec::new();
    for (order, mac) in [1, 2].into_iter().zip(macs) {
        let mut autostarted = spec(&format!("web-{order}"));
        let nic = NicSpec { mac, network: NetworkId::new(), bridge: "xenbr0".to_owned() };
        autostarted.nics = vec![nic];
        autostarted.autostart = Some(Autostart { order, delay_s: 0 });
        vms.push(lab.define_as(autostarted).await);
    }
    let settings = VifSettings { lock: VifLock::Mac, ..VifSettings::default() };
    let vif = VifFilter { mac: macs[0], settings, groups: [].into() };
    wanted.filter = PacketFilter { vifs: vec![vif], ..PacketFilter::default() };
    let problem = realise(&lab, &wanted).await.filter_problem.unwrap();
    assert!(problem.contains("install nftables"), "{problem}");

    lab.kill().await;
    lab.sim.reboot_host();
    lab.boot = "second boot".to_owned();
    lab.start().await;
    lab.becomes(vms[1], Power::Running).await;
    // Its turn was before the other's.
    assert_eq!(lab.look(vms[0]).await.unwrap().power, Power::Stopped);
}
