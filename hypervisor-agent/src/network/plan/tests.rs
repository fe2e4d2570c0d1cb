//! From what a host has and what it should have, to what is done.

use super::*;
use xenith_common_ids::NetworkId;
use xenith_hypervisor_agent_types::mesh::Encryption;
use xenith_hypervisor_agent_types::network::Mtu;

fn link(name: &str) -> SeenLink {
    SeenLink {
        name: name.into(),
        kind: LinkKind::Other,
        port_of: None,
        is_up: true,
        mtu: 1500,
        alias: String::new(),
        addresses: vec![],
        gives_itself_one: true,
    }
}

fn port(name: &str, of: &str) -> SeenLink {
    SeenLink { port_of: Some(of.into()), ..link(name) }
}

fn device(name: &str, kind: LinkKind) -> SeenLink {
    SeenLink { kind, gives_itself_one: false, ..link(name) }
}

fn id() -> NetworkId {
    "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap()
}

fn wants(uplink: &str) -> HostNetwork {
    let uplink: Uplink = serde_json::from_str(uplink).unwrap();
    let mtu = uplink.usual_mtu(Encryption::None);
    HostNetwork {
        network: id(),
        name: "lan".into(),
        uplink,
        mtu,
        peers: vec![],
        encryption: Encryption::None,
    }
}

/// As people read it.
fn shown(changes: &[LinkChange]) -> Vec<String> {
    let line = |change: &LinkChange| {
        let parts = super::super::kernel::arguments(change);
        parts.join(" ").replace("b302099a8057", "N")
    };
    changes.iter().map(line).collect()
}

const ETH1: &str = r#"{"kind":"interface","interface":"eth1"}"#;
const ETH1_VLAN: &str = r#"{"kind":"interface","interface":"eth1","vlan":7}"#;
const BOND: &str = r#"{"kind":"bond","bond":"b0","mode":"lacp","interfaces":["eth1","eth2"],"vlan":7}"#;

#[test]
fn what_is_made_from_nothing() {
    let bridge = [
        "ip link add name xn-N type bridge forward_delay 0 stp_state 0",
        "ip link set dev xn-N addrgenmode none",
        "ip link set dev xn-N alias lan",
    ];
    let ending =
        |mtu: &str| [format!("ip link set dev xn-N mtu {mtu}"), "ip link set dev xn-N up".to_owned()];
    for (uplink, before, plugged) in [
        (r#"{"kind":"internal"}"#, vec![], None),
        (ETH1, vec![], Some("eth1")),
        (
            ETH1_VLAN,
            vec!["ip link add link eth1 name xv-N type vlan id 7", "ip link set dev xv-N mtu 1500"],
            Some("xv-N"),
        ),
        (
            BOND,
            vec![
                "ip link add name xb-b0 type bond mode 802.3ad miimon 100 xmit_hash_policy layer3+4",
                "ip link set dev eth1 down",
                "ip link set dev eth1 master xb-b0",
                "ip link set dev eth2 down",
                "ip link set dev eth2 master xb-b0",
                "ip link set dev xb-b0 mtu 1500",
                "ip link set dev xb-b0 up",
                "ip link add link xb-b0 name xv-N type vlan id 7",
                "ip link set dev xv-N mtu 1500",
            ],
            Some("xv-N"),
        ),
        (
            r#"{"kind":"private","vni":5}"#,
            vec!["ip link add name xt-N type vxlan id 5 dstport 4789", "ip link set dev xt-N mtu 1450"],
            Some("xt-N"),
        ),
    ] {
        let wanted = wants(uplink);
        let changes = network(&wanted, &[link("lo"), link("eth1"), link("eth2")], None).unwrap();
        let mut expected: Vec<String> = before.into_iter().chain(bridge).map(str::to_owned).collect();
        if let Some(port) = plugged {
            expected.push(format!("ip link set dev {port} master xn-N"));
            // A card that the host has is up already.
            if port != "eth1" {
                expected.push(format!("ip link set dev {port} up"));
            }
        }
        expected.extend(ending(&wanted.mtu.to_string()));
        assert_eq!(shown(&changes), expected, "{uplink}");
    }
}

#[test]
fn what_is_there_stays_and_what_is_otherwise_is_changed() {
    let bridge = || SeenLink { alias: "lan".into(), ..device("xn-b302099a8057", LinkKind::Bridge) };
    let vlan = |vlan, of: &str| SeenLink {
        port_of: Some("xn-b302099a8057".into()),
        ..device("xv-b302099a8057", LinkKind::Vlan { on: of.into(), vlan })
    };
    let there = |more: Vec<SeenLink>| [vec![link("eth1"), link("eth2"), bridge()], more].concat();
    let guest = || port("vif3.0", "xn-b302099a8057");
    for (case, uplink, seen, expected) in [
        ("as it should be", ETH1_VLAN, there(vec![vlan(7, "eth1"), guest()]), vec![]),
        (
            "another VLAN",
            ETH1_VLAN,
            there(vec![vlan(8, "eth1"), guest()]),
            vec![
                "ip link delete dev xv-N",
                "ip link add link eth1 name xv-N type vlan id 7",
                "ip link set dev xv-N mtu 1500",
                "ip link set dev xv-N master xn-N",
                "ip link set dev xv-N up",
            ],
        ),
        (
            "something else in it, that is no guest",
            ETH1_VLAN,
            there(vec![vlan(7, "eth1"), guest(), port("eth9", "xn-b302099a8057")]),
            vec!["ip link set dev eth9 nomaster"],
        ),
        (
            "an alias of old",
            ETH1_VLAN,
            vec![link("eth1"), SeenLink { alias: "old".into(), ..bridge() }, vlan(7, "eth1")],
            vec!["ip link set dev xn-N alias lan"],
        ),
    ] {
        assert_eq!(shown(&network(&wants(uplink), &seen, None).unwrap()), expected, "{case}");
    }
    let peers = |peers: &[&str]| peers.iter().map(|peer| peer.parse().unwrap()).collect();
    let tunnel = SeenLink {
        port_of: Some("xn-b302099a8057".into()),
        mtu: 1450,
        ..device(
            "xt-b302099a8057",
            LinkKind::Tunnel { vni: 5, local: None, peers: peers(&["10.0.0.2", "10.0.0.3"]) },
        )
    };
    let mut wanted = wants(r#"{"kind":"private","vni":5}"#);
    wanted.peers = vec!["10.0.0.3".parse().unwrap(), "fd00::4".parse().unwrap()];
    let seen = [SeenLink { mtu: 1450, ..bridge() }, tunnel];
    assert_eq!(
        shown(&network(&wanted, &seen, None).unwrap()),
        [
            "bridge fdb delete 00:00:00:00:00:00 dev xt-N dst 10.0.0.2",
            "bridge fdb append 00:00:00:00:00:00 dev xt-N dst fd00::4"
        ]
    );
}

#[test]
fn an_encrypted_tunnel_sends_from_the_mesh_or_is_not_there() {
    let bridge = SeenLink { alias: "lan".into(), mtu: 1350, ..device("xn-b302099a8057", LinkKind::Bridge) };
    let tunnel = |local: Option<&str>| SeenLink {
        port_of: Some("xn-b302099a8057".into()),
        mtu: 1350,
        ..device(
            "xt-b302099a8057",
            LinkKind::Tunnel { vni: 5, local: local.map(|ip| ip.parse().unwrap()), peers: BTreeSet::new() },
        )
    };
    let mtu = Mtu::try_from(1350).unwrap();
    let mut wanted =
        HostNetwork { mtu, encryption: Encryption::WireGuard, ..wants(r#"{"kind":"private","vni":5}"#) };
    let mesh: Ipv6Addr = "fd00::1".parse().unwrap();
    let seen = [bridge.clone(), tunnel(Some("fd00::1"))];
    assert_eq!(shown(&network(&wanted, &seen, Some(mesh)).unwrap()), [""; 0]);
    assert_eq!(unencrypted(&wanted, &seen), None);

    let anew = |local: &str| {
        [
            "ip link delete dev xt-N".to_owned(),
            format!("ip link add name xt-N type vxlan id 5 dstport 4789{local}"),
            "ip link set dev xt-N mtu 1350".to_owned(),
            "ip link set dev xt-N master xn-N".to_owned(),
            "ip link set dev xt-N up".to_owned(),
        ]
    };
    let open = [bridge, tunnel(None)];
    let changes = network(&wanted, &open, Some(mesh)).unwrap();
    assert_eq!(shown(&changes), anew(" local fd00::1"), "the bridge, and who is on it, stay");
    let closed = unencrypted(&wanted, &open).unwrap();
    assert_eq!(shown(&[closed]), ["ip link delete dev xt-N"]);
    wanted.encryption = Encryption::None;
    assert_eq!(shown(&network(&wanted, &seen, Some(mesh)).unwrap()), anew(""), "and back");
}

#[test]
fn what_others_have_is_left_alone_and_said() {
    let with_address = |name: &str| SeenLink { addresses: vec!["10.0.0.5".parse().unwrap()], ..link(name) };
    let large = |uplink: &str| HostNetwork { mtu: Mtu::try_from(9000).unwrap(), ..wants(uplink) };
    let bond = || device("bond0", LinkKind::Bond { mode: "802.3ad".into() });
    for (case, wanted, seen, reason) in [
        ("no such card", wants(ETH1), vec![], Some("this host has no interface eth1")),
        (
            "the host's own address",
            wants(ETH1),
            vec![with_address("eth1")],
            Some("carries the address 10.0.0.5"),
        ),
        ("a VLAN beside it", wants(ETH1_VLAN), vec![with_address("eth1")], None),
        ("larger packets beside it", large(ETH1_VLAN), vec![with_address("eth1")], Some("an MTU of 1500")),
        ("larger packets", large(ETH1_VLAN), vec![link("eth1")], None),
        ("in a foreign bridge", wants(ETH1), vec![port("eth1", "xenbr0")], Some("is a port of xenbr0")),
        ("a VLAN beside a foreign bridge", wants(ETH1_VLAN), vec![port("eth1", "xenbr0")], None),
        (
            "in a foreign bond",
            wants(ETH1_VLAN),
            vec![port("eth1", "bond0"), bond()],
            Some("in the bond bond0"),
        ),
        ("a bridge for a card", wants(ETH1), vec![device("eth1", LinkKind::Bridge)], Some("is a bridge")),
        ("one of a bond is missing", wants(BOND), vec![link("eth1")], Some("no interface eth2")),
        (
            "our name on another thing",
            wants(r#"{"kind":"internal"}"#),
            vec![device("xn-b302099a8057", LinkKind::Other)],
            Some("is no bridge"),
        ),
    ] {
        let planned = network(&wanted, &seen, None);
        assert_eq!(planned.is_err(), reason.is_some(), "{case}: {planned:?}");
        assert!(planned.err().unwrap_or_default().contains(reason.unwrap_or("")), "{case}");
    }
}

#[test]
fn only_ours_is_removed_and_not_under_guests() {
    let seen = [
        link("eth1"),
        device("xenbr0", LinkKind::Bridge),
        device("xb-b0", LinkKind::Bond { mode: "802.3ad".into() }),
        device("xv-000000000001", LinkKind::Vlan { on: "xb-b0".into(), vlan: 7 }),
        device("xn-000000000001", LinkKind::Bridge),
        device("xn-000000000002", LinkKind::Bridge),
        port("vif3.0", "xn-000000000002"),
        device("xn-b302099a8057", LinkKind::Bridge),
        device("xp-000000000003", LinkKind::Bridge),
    ];
    let (changes, stay) = removal(&[wants(r#"{"kind":"internal"}"#)], &seen);
    assert_eq!(
        shown(&changes),
        [
            "ip link delete dev xn-000000000001",
            "ip link delete dev xv-000000000001",
            "ip link delete dev xb-b0"
        ]
    );
    assert_eq!(stay, ["xn-000000000002"]);
    let (changes, _) = removal(&[wants(BOND)], &seen);
    assert!(!shown(&changes).iter().any(|change| change.contains("xb-b0")), "{changes:?}");
}
