//! From rules of people to the table of the kernel.

use super::*;
use xenith_hypervisor_agent_types::filter::{Members, VifSettings};

fn mac(last: u8) -> MacAddr {
    MacAddr::from_xen_block([0, 0, last])
}

fn vif(last: u8) -> VifFilter {
    VifFilter { mac: mac(last), settings: VifSettings::default(), groups: BTreeSet::new() }
}

fn rules(texts: &[&str]) -> Vec<Rule> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn group(ingress: Option<&[&str]>, egress: Option<&[&str]>) -> GroupRules {
    let group = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
    GroupRules { group, ingress: ingress.map(rules), egress: egress.map(rules) }
}

fn addresses(of: &[&str]) -> BTreeSet<IpAddr> {
    of.iter().map(|address| address.parse().unwrap()).collect()
}

/// Everything at once.
fn full() -> PacketFilter {
    let group = group(
        Some(&["tcp:22,8000-8099", "icmp 10.0.0.0/8", "tcp tag:web"]),
        Some(&["any 0.0.0.0/0", "udp:53 2001:db8::/32"]),
    );
    let mut first = vif(1);
    first.settings.lock = VifLock::Addresses;
    first.settings.addresses = addresses(&["10.0.0.1", "fd00::1"]);
    first.settings.rate_mbit = Some(RateMbit::try_from(100).unwrap());
    first.groups.insert(group.group);
    let mut second = vif(2);
    second.settings.link = VifLink::Down;
    let members =
        Members { macs: BTreeSet::from([mac(2), mac(3)]), addresses: addresses(&["10.0.0.2", "fd00::2"]) };
    PacketFilter {
        vifs: vec![first, second],
        groups: vec![group],
        tags: BTreeMap::from([("web".to_owned(), members)]),
    }
}

/// Where there is no network of ours.
fn compiled(filter: &PacketFilter) -> Table {
    Table::compile(filter, &BTreeSet::new())
}

fn network(last: u8) -> NetworkId {
    NetworkId::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, last])
}

/// In `full.nft`, to be read by people. `nft -c -f` takes it once `tWEB` is another word.
#[test]
fn a_whole_table() {
    let table = compiled(&full()).whole();
    assert_eq!(table, include_str!("full.nft").replace("tWEB", &set("web")));
}

#[test]
fn members_that_come_and_go_change_elements_and_nothing_else() {
    let before = compiled(&full());
    assert_eq!(before.since(&before), "");
    let mut filter = full();
    let web = filter.tags.get_mut("web").unwrap();
    web.macs.remove(&mac(2));
    web.addresses = addresses(&["10.0.0.2", "fd00::9"]);
    let set = set("web");
    assert_eq!(
        compiled(&filter).since(&before),
        format!(
            "delete element bridge xenith_vms {set}_6 {{ fd00::2 }}\n\
             add element bridge xenith_vms {set}_6 {{ fd00::9 }}\n\
             delete element bridge xenith_vms {set}_mac {{ 00:16:3e:00:00:02 }}\n"
        )
    );
    filter.vifs[0].groups.clear();
    let other = compiled(&filter);
    assert_eq!(other.since(&before), other.whole(), "rules are replaced as a whole");
    let none = compiled(&PacketFilter::default());
    assert_eq!(none.since(&before), "table bridge xenith_vms\ndelete table bridge xenith_vms\n");
    assert!(none.is_empty());
}

/// What is so, what is changed, what its group says, where the packet goes, and the rules.
type Case = (&'static str, fn(&mut VifFilter), Option<&'static [&'static str]>, Direction, &'static str);

#[test]
fn what_passes_a_card() {
    let cases: [Case; 8] = [
        ("nothing is said", |_| {}, None, Direction::In, ""),
        ("nothing is said of this direction", |_| {}, Some(&[]), Direction::Out, ""),
        (
            "nothing is allowed",
            |_| {},
            Some(&[]),
            Direction::In,
            "ct state established,related accept\njump basics_in\njump gb302099a8057_in\ndrop",
        ),
        ("another's group", |vif| vif.groups.clear(), Some(&[]), Direction::In, ""),
        (
            "locked to its MAC",
            |vif| vif.settings.lock = VifLock::Mac,
            None,
            Direction::Out,
            "ether saddr != 00:16:3e:00:00:01 drop\narp saddr ether != 00:16:3e:00:00:01 drop",
        ),
        ("what comes is not locked", |vif| vif.settings.lock = VifLock::Mac, None, Direction::In, ""),
        ("no link", |vif| vif.settings.link = VifLink::Down, Some(&[]), Direction::In, "drop"),
        (
            "a slow link has room for four pieces",
            |vif| vif.settings.rate_mbit = Some(RateMbit::try_from(1).unwrap()),
            None,
            Direction::Out,
            "limit rate over 125000 bytes/second burst 262144 bytes drop",
        ),
    ];
    for (case, change, ingress, direction, expected) in cases {
        let mut vif = vif(1);
        let group = group(ingress, None);
        vif.groups.insert(group.group);
        change(&mut vif);
        assert_eq!(passes(&vif, &[group], (direction, TRACKED)).join("\n"), expected, "{case}");
    }
}

#[test]
fn an_answer_is_one_in_its_own_network() {
    let networks = BTreeSet::from([network(1), network(2)]);
    let table = Table::compile(&full(), &networks).whole();
    let [a, b] = [1, 2].map(|last| bridge_of(network(last)));
    for part in [
        "\tchain n0d0e01 {\n\t\tct mark 0x580d0e01 ct state established,related accept\n\t}\n".to_owned(),
        format!(
            "\tchain answers_in {{\n\
             \t\tmeta obrname vmap {{ \"{a}\" : goto n0d0e01, \"{b}\" : goto n0d0e02 }}\n\
             \t\tct mark and 0xff000000 == 0x58000000 return\n\
             \t\tct state established,related accept\n\t}}\n"
        ),
        format!(
            "\tchain networks {{\n\
             \t\ttype filter hook prerouting priority -100; policy accept;\n\
             \t\tct mark 0 ct mark set meta ibrname map {{ \"{a}\" : 0x580d0e01, \"{b}\" : 0x580d0e02 }}\n\t}}\n"
        ),
        "\t\tjump answers_in\n\t\tjump basics_in\n".to_owned(),
        "\t\tjump answers_out\n\t\tjump basics_out\n".to_owned(),
    ] {
        assert!(table.contains(&part), "{part}\n{table}");
    }
    // Where nothing is judged by answers, the kernel need not follow connections.
    let mut locked = vif(1);
    locked.settings.lock = VifLock::Mac;
    let locked = PacketFilter { vifs: vec![locked], ..PacketFilter::default() };
    let table = Table::compile(&locked, &networks).whole();
    assert!(!table.contains("ct "), "{table}");
}

#[test]
fn an_address_that_nobody_wrote_down_is_none() {
    let mut locked = vif(1);
    locked.settings.lock = VifLock::Addresses;
    let lines = own_addresses(&locked);
    assert!(lines.contains(&"ether type { ip, arp } drop".to_owned()), "{lines:?}");
    assert!(lines.contains(&"ip6 saddr != { ::, fe80::216:3eff:fe00:1 } drop".to_owned()), "{lines:?}");
}

/// In a network namespace of its own, so that nothing of the machine's is touched.
#[test]
fn nft_takes_the_table() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let networks = BTreeSet::from([network(1), network(2)]);
    std::fs::write(file.path(), Table::compile(&full(), &networks).whole()).unwrap();
    let mut unshare = std::process::Command::new("unshare");
    match unshare.args(["--net", "nft", "-c", "-f"]).arg(file.path()).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            // What this machine lacks, or does not let us do, is no fault of the table's.
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!said.contains("syntax error") && !said.contains("conflicting protocols"), "{said}");
            eprintln!("left out: no rules for bridges are checked here: {said}");
        }
        Err(error) => eprintln!("left out: unshare: {error}"),
    }
}
