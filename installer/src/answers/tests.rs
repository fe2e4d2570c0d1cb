//! Files that are good, files that are not, and what is said of them.

use super::*;

pub const TOKEN: &str =
    "xenith-join:10.0.2.2:8443/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/s3cret";

fn whole() -> String {
    format!(
        "version = 1\n\
         [target]\n\
         disks = [\"/dev/vda\"]\n\
         erase = true\n\
         [system]\n\
         name = \"xen1.example\"\n\
         timezone = \"Europe/Berlin\"\n\
         [access]\n\
         ssh_keys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA me\"]\n\
         [network]\n\
         address = \"192.0.2.10/24\"\n\
         gateway = \"192.0.2.1\"\n\
         vlan = 7\n\
         [join]\n\
         token = \"{TOKEN}\"\n"
    )
}

#[test]
fn a_whole_file_is_read() {
    let answers = Answers::parse(&whole()).unwrap();
    assert_eq!(answers.target.disks, ["/dev/vda"]);
    assert_eq!(answers.system.name.short(), "xen1");
    assert_eq!(answers.system.role, Role::Host);
    let Addressing::Static { address, gateway } = &answers.network.address else { panic!("static") };
    assert_eq!((address.to_string().as_str(), gateway.is_some()), ("192.0.2.10/24", true));
    let join = answers.join.unwrap();
    assert_eq!((join.token.address.as_str(), join.check), ("10.0.2.2:8443", Check::Required));
}

#[test]
fn the_least_file_has_dhcp_and_no_way_in() {
    let text = "version = 1\n[target]\ndisks = [\"/dev/vda\"]\nerase = true\n[system]\nname = \"a\"\n";
    let answers = Answers::parse(text).unwrap();
    assert_eq!(answers.network.address, Addressing::Dhcp);
    assert_eq!((answers.access, answers.join), (Access::default(), None));
}

/// A line of the file exchanged for another: the complaint names line and field.
#[test]
fn every_complaint_names_line_and_field() {
    for (name, line, now, field, part) in [
        ("no TOML", "version = 1", "version = ", "version", "expected"),
        ("version", "version = 1", "version = 2", "version", "reads version 1"),
        ("unknown field", "erase = true", "earse = true", "target.earse", "unknown field"),
        ("no consent", "erase = true", "erase = false", "target.erase", "will be lost"),
        ("no disk", "disks = [\"/dev/vda\"]", "disks = []", "target.disks", "name one disk"),
        ("same disk", "disks = [\"/dev/vda\"]", "disks = [\"/a\", \"/a\"]", "target.disks", "two different"),
        ("name", "name = \"xen1.example\"", "name = \"Xen 1\"", "system.name", "lower-case"),
        ("zone", "timezone = \"Europe/Berlin\"", "timezone = \"../etc\"", "system.timezone", "Europe/Berlin"),
        (
            "address",
            "address = \"192.0.2.10/24\"",
            "address = \"192.0.2.10\"",
            "network.address",
            "with its network",
        ),
        (
            "gateway",
            "gateway = \"192.0.2.1\"",
            "gateway = \"192.0.3.1\"",
            "network.gateway",
            "not in the network",
        ),
        ("vlan", "vlan = 7", "vlan = 5000", "network.vlan", "1 to 4094"),
        ("bond of one", "vlan = 7", "bond = \"802.3ad\"", "network.bond", "two cards"),
        ("cards without bond", "vlan = 7", "nics = [\"a\", \"b\"]", "network.nics", "need `bond`"),
    ] {
        let text = whole().replace(line, now);
        let at = text.lines().position(|l| l == now).unwrap_or_else(|| panic!("{name}")) + 1;
        let error = Answers::parse(&text).expect_err(name);
        assert_eq!((error.line, error.field.as_str()), (at, field), "{name}: {error}");
        assert!(error.problem.contains(part), "{name}: {error}");
    }
}

#[test]
fn a_token_or_a_password_is_never_repeated_in_a_complaint() {
    let text = whole().replace("xenith-join:", "xenith-jion:");
    let error = Answers::parse(&text).unwrap_err().to_string();
    assert!(error.contains("join.token") && !error.contains("s3cret"), "{error}");
    let text = whole().replace("[access]", "[access]\nroot_password_hash = \"hunter2\"");
    let error = Answers::parse(&text).unwrap_err().to_string();
    assert!(error.contains("root_password_hash") && !error.contains("hunter2"), "{error}");
}

#[test]
fn an_orchestrator_of_its_own_needs_no_token() {
    let text = whole().replace("[access]", "role = \"host-and-orchestrator\"\n[access]");
    let error = Answers::parse(&text).unwrap_err();
    assert_eq!(error.field, "join.token");
}

#[test]
fn networks_are_compared_by_their_length() {
    for (address, other, reached) in [
        ("192.0.2.10/24", "192.0.2.1", true),
        ("192.0.2.10/25", "192.0.2.200", false),
        ("10.0.0.1/8", "10.255.0.1", true),
        ("10.0.0.1/8", "2001:db8::1", false),
        ("2001:db8::5/64", "2001:db8::1", true),
        ("2001:db8::5/64", "2001:db8:1::1", false),
        ("2001:db8::5/64", "fe80::1", true),
        ("192.0.2.10/32", "192.0.2.10", true),
    ] {
        let address: values::Address = address.parse().unwrap();
        assert_eq!(address.reaches(other.parse().unwrap()), reached, "{address} {other}");
    }
}

#[test]
fn the_address_told_to_the_orchestrator_has_a_port() {
    for (text, good) in
        [("xen1:8444", true), ("[2001:db8::1]:8444", true), ("xen1", false), (":8444", false), ("a:0", false)]
    {
        assert_eq!(values::is_host_and_port(text), good, "{text}");
    }
}
