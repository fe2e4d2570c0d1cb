//! Networks of a host: made, told of, kept over restarts of the agent and boots of the host, and taken away.

use xenith_common_ids::{HostId, NetworkId};
use xenith_common_units::MacAddr;
use xenith_hypervisor_agent_api::{Command, CommandResult, VmAction};
use xenith_hypervisor_agent_backend::Hypervisor;
use xenith_hypervisor_agent_types::filter::{
    GroupRules, Members, PacketFilter, VifFilter, VifLock, VifSettings,
};
use xenith_hypervisor_agent_types::mesh::{Encryption, Mesh, MeshGeneration, MeshPeer, mesh_address};
use xenith_hypervisor_agent_types::network::{HostNetwork, HostNetworks, Realised, Uplink, bridge_of};
use xenith_hypervisor_agent_types::{Autostart, NicSpec, Power};

use crate::harness::{Lab, spec, start};

fn network(uplink: &str) -> HostNetwork {
    let uplink: Uplink = serde_json::from_str(uplink).unwrap();
    let mtu = uplink.usual_mtu(Encryption::None);
    let (network, name) = (NetworkId::new(), "lan".to_owned());
    HostNetwork { network, name, uplink, mtu, peers: vec![], encryption: Encryption::None }
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
async fn keys_of_the_mesh_are_made_once_and_kept_over_a_boot() {
    let mut lab = Lab::new().await;
    let peer = HostId::from_bytes([7; 16]);
    let peer = MeshPeer {
        key: "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=".parse().unwrap(),
        endpoint: "192.0.2.7".parse().unwrap(),
        address: mesh_address(peer),
    };
    let address = mesh_address(HostId::from_bytes([1; 16]));
    let generations = vec![MeshGeneration { number: 1, peers: vec![peer.clone()] }];
    let encrypted = HostNetwork {
        encryption: Encryption::WireGuard,
        peers: vec![peer.address.into()],
        ..network(r#"{"kind":"private","vni":5}"#)
    };
    let mesh = Some(Mesh { address, active: 1, generations });
    let mut wanted = HostNetworks { networks: vec![encrypted], mesh, ..HostNetworks::default() };
    let realised = realise(&lab, &wanted).await;
    assert!(realised.is_whole(), "{realised:?}");
    let keys = realised.mesh.unwrap().keys;
    let made = lab.sim.mesh();
    assert_eq!((made[0].name.as_str(), &made[0].routes[..]), ("xw-1", &[peer.address][..]));

    lab.kill().await;
    lab.sim.reboot_host();
    assert!(lab.sim.mesh().is_empty());
    lab.boot = "second boot".to_owned();
    lab.start().await;
    assert_eq!(lab.sim.mesh(), made, "with the same key, and without an orchestrator");

    // The next keys come beside these, and these go when they are not wanted any more.
    let mesh = wanted.mesh.as_mut().unwrap();
    mesh.generations.push(MeshGeneration { number: 2, peers: vec![] });
    let both = realise(&lab, &wanted).await.mesh.unwrap().keys;
    assert_eq!((both.len(), &both[&1]), (2, &keys[&1]));
    let mesh = wanted.mesh.as_mut().unwrap();
    (mesh.active, mesh.generations) = (2, vec![MeshGeneration { number: 2, peers: vec![] }]);
    realise(&lab, &wanted).await;
    let names: Vec<_> = lab.sim.mesh().into_iter().map(|device| device.name).collect();
    assert_eq!(names, ["xw-0"]);

    lab.sim.take_wireguard(Some("its kernel has no WireGuard"));
    lab.kill().await;
    lab.sim.reboot_host();
    lab.boot = "third boot".to_owned();
    lab.start().await;
    let told = realise(&lab, &wanted).await;
    assert!(told.networks[0].problem.as_deref().unwrap().contains("no WireGuard"), "{told:?}");
}

/// The kernel takes packets of a tunnel from every interface; the table for that is there before the tunnel.
#[tokio::test]
async fn tunnels_of_encrypted_networks_hear_the_mesh_alone() {
    let mut lab = Lab::new().await;
    let private = |vni: u32| network(&format!(r#"{{"kind":"private","vni":{vni}}}"#));
    let encrypted = HostNetwork { encryption: Encryption::WireGuard, ..private(5) };
    let bridge = bridge_of(encrypted.network);
    let address = mesh_address(HostId::from_bytes([1; 16]));
    let generations = vec![MeshGeneration { number: 1, peers: vec![] }];
    let mut wanted = HostNetworks {
        networks: vec![encrypted, private(6)],
        mesh: Some(Mesh { address, active: 1, generations }),
        ..HostNetworks::default()
    };
    lab.sim.take_filter(Some("this host has no nft; install nftables"));
    let told = realise(&lab, &wanted).await;
    assert!(told.networks[0].problem.as_deref().unwrap().contains("install nftables"), "{told:?}");
    assert_eq!(told.networks[1].problem, None, "one that is not encrypted needs no filter");
    assert!(!bridges(&lab).await.contains(&bridge));

    lab.sim.take_filter(None);
    assert!(realise(&lab, &wanted).await.is_whole());
    let loaded = lab.sim.loaded_tunnel_filter().unwrap();
    assert!(loaded.contains("@th,96,24 { 5 } drop"), "{loaded}");
    assert_eq!(lab.sim.loaded_filter(), None, "the table of VMs is another one");

    // Somebody flushed all tables, and the agent was not there: the journal has it.
    lab.kill().await;
    lab.sim.flush_filter();
    lab.start().await;
    assert_eq!(lab.sim.loaded_tunnel_filter(), Some(loaded));

    wanted.networks[0].encryption = Encryption::None;
    wanted.mesh = None;
    assert!(realise(&lab, &wanted).await.is_whole());
    assert_eq!(lab.sim.loaded_tunnel_filter(), None);
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
