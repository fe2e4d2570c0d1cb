//! Our requests beside those of an independent client: `tests/pyvmomi/requests.txt` has the shapes of pyvmomi's, written
//! by `record.py` there. Elements in another order, or of another kind, are what servers refuse.

use std::collections::{BTreeMap, BTreeSet};

use xenith_vmware_import::vsphere::nfc::Lease;
use xenith_vmware_import::vsphere::soap::{Node, parse};
use xenith_vmware_import::vsphere::source::{self, Started};
use xenith_vmware_import::vsphere::warm::WarmMove;
use xenith_vmware_import::vsphere::{MoRef, inventory};

use crate::support::Lab;
use crate::vcsim::Server;
use crate::vsphere::files;

/// As `record.py` has it.
fn shape(node: &Node) -> String {
    if !node.reference.is_empty() {
        // Properties are asked of objects of every kind.
        let kind = if node.name == "obj" { "*" } else { &node.reference };
        return format!("{}:{kind}", node.name);
    }
    let mut parts: Vec<String> = node.children.iter().map(shape).collect();
    parts.dedup();
    let inner = if parts.is_empty() { String::new() } else { format!("({})", parts.join(" ")) };
    let kind = if node.kind.is_empty() { String::new() } else { format!("={}", node.kind) };
    format!("{}{kind}{inner}", node.name)
}

fn theirs() -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in include_str!("../pyvmomi/requests.txt").lines().filter(|line| !line.starts_with('#')) {
        let name = line.split('(').next().unwrap().to_owned();
        let (before, after) = line.split_once("obj:").unwrap_or((line, ""));
        let kind = after.find([' ', ')']).unwrap_or(0);
        let line =
            if after.is_empty() { line.to_owned() } else { format!("{before}obj:*{}", &after[kind..]) };
        found.entry(name).or_default().insert(line);
    }
    found
}

#[test]
fn our_requests_have_the_shapes_of_pyvmomis() {
    let lab = Lab::new(50);
    let folder = files(&lab);
    let log = lab.path("requests.log");
    let arguments = ["-vm", "60", "-files", &folder, "-log", log.to_str().unwrap()];
    let Some(server) = Server::start(&arguments) else { return };
    let vim = server.connect();
    let vms = inventory::vms(&vim).unwrap();
    assert_eq!(vms.len(), 120, "more than a page");
    let vm = vms[0].reference.clone();
    let mut warm = WarmMove::open(vim.clone(), vm.clone(), &lab.path("move"), "DC0").unwrap();
    warm.track_changes().unwrap();
    warm.pass().unwrap();
    warm.roll_back().unwrap();
    drop(Lease::open(&vim, &vm).unwrap());
    Lease::open(&vim, &MoRef::new("VirtualMachineSnapshot", "snapshot-1")).unwrap().complete();
    source::ask_to_shut_down(&vim, &vm).unwrap();
    source::restore(&vim, &vm, Started::Again).unwrap();
    source::power_off(&vim, &vm).unwrap();
    vim.logout().unwrap();

    let theirs = theirs();
    let mut called = BTreeSet::new();
    for line in std::fs::read_to_string(log).unwrap().lines().filter(|line| !line.starts_with('#')) {
        let parsed = parse(line).unwrap();
        let ours = shape(&parsed.child("Body").unwrap().children[0]);
        let name = ours.split('(').next().unwrap().to_owned();
        let known = theirs.get(&name).unwrap_or_else(|| panic!("pyvmomi was not recorded calling {name}"));
        assert!(known.contains(&ours), "ours: {ours}\npyvmomi's: {known:#?}");
        called.insert(name);
    }
    // A property of pyvmomi's objects is a Fetch; ours has one way to read properties. Progress comes once a minute.
    let not_called: Vec<&String> = theirs
        .keys()
        .filter(|name| !called.contains(*name) && !["Fetch", "HttpNfcLeaseProgress"].contains(&name.as_str()))
        .collect();
    assert!(not_called.is_empty(), "recorded but not called: {not_called:?}");
    let progress = theirs["HttpNfcLeaseProgress"].first().unwrap();
    assert_eq!(progress, "HttpNfcLeaseProgress(_this:HttpNfcLease percent)", "as nfc.rs builds it");
}
