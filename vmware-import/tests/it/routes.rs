//! The ways to a disk's bytes: an export where ranges are refused, a datastore that is mounted; what is switched at the
//! source, and what an inventory of a large site takes.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use xenith_vmware_import::error::ImportError;
use xenith_vmware_import::vsphere::inventory;
use xenith_vmware_import::vsphere::route::Mounts;
use xenith_vmware_import::vsphere::source::{self, Tracking};
use xenith_vmware_import::vsphere::warm::{Method, Phase, Stopped, WarmMove, Watch};
use xenith_vmware_import_generator::{self as generate, Options, RawImage, StreamStyle};

use crate::support::Lab;
use crate::vcsim::Server;
use crate::vsphere::{files, same, write};

/// What an export of the disk as it is now gives.
fn export_anew(lab: &Lab) {
    let content = RawImage::open(&lab.path("disk1-flat.vmdk")).unwrap();
    generate::stream_optimized(&lab.path("nfc.vmdk"), &content, &Options::default(), StreamStyle::VMware)
        .unwrap();
}

#[test]
fn a_disk_whose_ranges_are_refused_comes_by_export() {
    for (name, arguments) in [
        ("locked", &["-folder-locked"][..]),
        ("locked, and the transfer breaks", &["-folder-locked", "-nfc-cut", "300000", "-nfc-cut-times", "2"]),
    ] {
        let lab = Lab::new(60);
        let folder = files(&lab);
        let log = lab.path("requests.log");
        let common = ["-files", &folder, "-log", log.to_str().unwrap()];
        let Some(server) = Server::start(&[arguments, &common].concat()) else { return };
        let vim = server.connect();
        let vm = inventory::vms(&vim).unwrap().swap_remove(0).reference;
        let target = lab.path("move");
        let mut warm = WarmMove::open(Arc::clone(&vim), vm.clone(), &target, "DC0").unwrap();
        let first = warm.pass().unwrap();
        let Method::Exported(why) = &first[0].method else { panic!("{name}: {first:?}") };
        assert!(why.contains("500"), "{name}: the reason is not told: {why}");
        let key = first[0].key;
        same(&lab, &warm, key);
        // Data over data, data over nothing, nothing over data: the last leaves a whole grain out of the stream.
        write(&lab, 8192, &[7; 4096], "[]");
        write(&lab, 12 << 20, &[9; 512], "[]");
        write(&lab, 1 << 20, &[0; 1 << 20], "[]");
        export_anew(&lab);
        let mut warm = WarmMove::open(Arc::clone(&vim), vm.clone(), &target, "DC0").unwrap();
        let second = warm.pass().unwrap();
        assert!(matches!(second[0].method, Method::Exported(_)), "{name}: {second:?}");
        assert!(second[0].written > 0 && second[0].written < 4 << 20, "{name}: {second:?}");
        same(&lab, &warm, key);
        let third = warm.pass().unwrap();
        assert_eq!(third[0].written, 0, "{name}: nothing had changed");
        assert_eq!(warm.stop_guest(Duration::from_secs(60)).unwrap(), Stopped::Yes);
        warm.finish().unwrap();
        assert_eq!(warm.state.phase, Phase::Done);
        let found = vim.properties(&vm, &["snapshot"]).unwrap();
        let left = found.get("snapshot").and_then(|tree| tree.child("rootSnapshotList"));
        assert!(left.is_none(), "{name}: a snapshot was left");
        let said = std::fs::read_to_string(log).unwrap();
        let count = |word: &str| said.lines().filter(|line| line.contains(word)).count();
        assert_eq!(count("<ExportSnapshot"), 4, "{name}");
        assert_eq!(count("<HttpNfcLeaseComplete"), 4, "{name}: an open lease keeps the VM locked");
    }
}

/// Ranges are given, then refused, then given again, and the export in between does not come to its end: it has emptied the
/// target, so nothing that came before it counts.
#[test]
fn an_export_that_breaks_off_between_ranges_leaves_no_hole() {
    let lab = Lab::new(66);
    let folder = files(&lab);
    let Some(server) = Server::start(&["-files", &folder]) else { return };
    let vim = server.connect();
    let vm = inventory::vms(&vim).unwrap().swap_remove(0).reference;
    let target = lab.path("move");
    let open = || WarmMove::open(Arc::clone(&vim), vm.clone(), &target, "DC0").unwrap();
    let slept = AtomicBool::new(false);
    let breaks: Watch =
        Arc::new(move |_, position: u64, _| match (position, slept.load(Ordering::Relaxed)) {
            (0, _) => Ok(()),
            (_, true) => Err(ImportError::Cancelled),
            (_, false) => {
                // Long enough for a checkpoint.
                std::thread::sleep(Duration::from_millis(2_100));
                slept.store(true, Ordering::Relaxed);
                Ok(())
            }
        });
    assert!(matches!(open().watched_by(breaks).pass(), Err(ImportError::Cancelled)));
    let state = std::fs::read_to_string(target.join("xenith-warm.json")).unwrap();
    assert!(!state.contains("\"at\": null"), "no position was kept: {state}");
    std::fs::write(lab.path("locked"), "").unwrap();
    std::fs::remove_file(lab.path("nfc.vmdk")).unwrap();
    let error = open().pass().unwrap_err();
    assert!(matches!(&error, ImportError::Server { call: "GET /nfc", .. }), "{error}");
    std::fs::remove_file(lab.path("locked")).unwrap();
    let mut warm = open();
    let key = warm.pass().unwrap()[0].key;
    same(&lab, &warm, key);
}

/// Sum of the ranges that were asked for since `from` bytes of the log.
fn asked(log: &Path, from: usize) -> u64 {
    let text = std::fs::read_to_string(log).unwrap();
    let range = |line: &str| {
        let (start, end) = line.strip_prefix("# ")?.split_once('-')?;
        Some(end.parse::<u64>().ok()? + 1 - start.parse::<u64>().ok()?)
    };
    text[from..].lines().filter_map(range).sum()
}

/// Two percent of the disk, in areas as large as tracking tells them, all over it: what travels is those bytes, and the
/// descriptor and the first block that tell that the disk can be read.
#[test]
fn a_delta_pass_reads_what_changed_and_little_else() {
    let lab = Lab::new(65);
    generate::sample(&lab.raw, 96 << 20, 60, 9).unwrap();
    let folder = files(&lab);
    let (changes, log) = (lab.path("changed.json"), lab.path("requests.log"));
    let arguments = ["-files", &folder, "-changed", changes.to_str().unwrap(), "-log", log.to_str().unwrap()];
    let Some(server) = Server::start(&arguments) else { return };
    let vim = server.connect();
    let vm = inventory::vms(&vim).unwrap().swap_remove(0).reference;
    let mut warm = WarmMove::open(vim, vm, &lab.path("move"), "DC0").unwrap();
    let first = warm.pass().unwrap();
    let areas: Vec<(u64, u64)> = (0..30).map(|index| (index * (3 << 20) + (1 << 20), 65_536)).collect();
    areas.iter().for_each(|(at, len)| {
        write(&lab, *at, &vec![7; *len as usize], &serde_json::to_string(&areas).unwrap());
    });
    let from = std::fs::metadata(&log).unwrap().len() as usize;
    let second = warm.pass().unwrap();
    let changed: u64 = areas.iter().map(|(_, len)| len).sum();
    assert_eq!((&second[0].method, second[0].read), (&Method::Changed, changed));
    same(&lab, &warm, first[0].key);
    let travelled = asked(&log, from);
    assert!(travelled >= changed && travelled * 10 <= changed * 13, "{travelled} bytes for {changed}");
}

#[test]
fn an_export_of_another_disk_is_refused() {
    let lab = Lab::new(61);
    let folder = files(&lab);
    generate::sample(&lab.path("other.raw"), 4 << 20, 20, 7).unwrap();
    let other = RawImage::open(&lab.path("other.raw")).unwrap();
    generate::stream_optimized(&lab.path("nfc.vmdk"), &other, &Options::default(), StreamStyle::VMware)
        .unwrap();
    let log = lab.path("requests.log");
    let arguments = ["-folder-locked", "-files", &folder, "-log", log.to_str().unwrap()];
    let Some(server) = Server::start(&arguments) else { return };
    let vim = server.connect();
    let vm = inventory::vms(&vim).unwrap().swap_remove(0).reference;
    let mut warm = WarmMove::open(Arc::clone(&vim), vm.clone(), &lab.path("move"), "DC0").unwrap();
    let error = warm.pass().unwrap_err();
    assert!(matches!(&error, ImportError::Damaged { field: "capacity", .. }), "{error}");
    assert!(std::fs::read_to_string(log).unwrap().contains("<HttpNfcLeaseAbort"));
    let found = vim.properties(&vm, &["snapshot"]).unwrap();
    assert!(found.get("snapshot").is_none_or(|tree| tree.child("rootSnapshotList").is_none()));
}

#[test]
fn a_mounted_datastore_is_read_where_it_lies() {
    let lab = Lab::new(62);
    let folder = files(&lab);
    // Over the network nothing is to be had: the simulator has no such file.
    let Some(server) = Server::start(&["-files", "/nonexistent", "-no-cbt"]) else { return };
    let vim = server.connect();
    let vms = inventory::vms(&vim).unwrap();
    let path = vms[0].vm.disks[0].path.clone();
    let (datastore, file) = path.strip_prefix('[').unwrap().split_once("] ").unwrap();
    let mount = lab.path("mount");
    let here = mount.join(Path::new(file).parent().unwrap());
    std::fs::create_dir_all(&here).unwrap();
    let text = std::fs::read_to_string(Path::new(&folder).join("disk1.vmdk")).unwrap();
    std::fs::write(mount.join(file), text).unwrap();
    std::fs::rename(lab.path("disk1-flat.vmdk"), here.join("disk1-flat.vmdk")).unwrap();
    let mounts: Mounts = [(datastore.to_owned(), mount)].into();
    let warm = WarmMove::open(vim, vms[0].reference.clone(), &lab.path("move"), "DC0").unwrap();
    let mut warm = warm.mounted(mounts);
    let pass = warm.pass().unwrap();
    // The simulator's disk has a size of its own.
    let (source, target) = (
        std::fs::read(here.join("disk1-flat.vmdk")).unwrap(),
        std::fs::read(warm.target(pass[0].key)).unwrap(),
    );
    assert!(!target.is_empty() && target[..] == source[..target.len()]);
}

#[test]
fn tracking_is_switched_on_where_it_is_off_and_back() {
    let lab = Lab::new(63);
    let folder = files(&lab);
    let Some(server) = Server::start(&["-files", &folder]) else { return };
    let vim = server.connect();
    let vm = inventory::vms(&vim).unwrap().swap_remove(0).reference;
    assert_eq!(source::tracking(&vim, &vm).unwrap(), Tracking::Off);
    let open = || WarmMove::open(Arc::clone(&vim), vm.clone(), &lab.path("move"), "DC0").unwrap();
    let mut warm = open();
    warm.track_changes().unwrap();
    warm.pass().unwrap();
    assert_eq!(source::tracking(&vim, &vm).unwrap(), Tracking::On);
    // As after a crash: who switched it on is in the state.
    open().roll_back().unwrap();
    assert_eq!(source::tracking(&vim, &vm).unwrap(), Tracking::Off);

    // On before, it stays on.
    source::set_tracking(&vim, &vm, Tracking::On).unwrap();
    let mut warm = WarmMove::open(Arc::clone(&vim), vm.clone(), &lab.path("again"), "DC0").unwrap();
    warm.track_changes().unwrap();
    warm.roll_back().unwrap();
    assert_eq!(source::tracking(&vim, &vm).unwrap(), Tracking::On);
}

#[test]
fn what_a_vm_says_by_key_is_shown_by_name() {
    let Some(server) = Server::start(&["-vm", "2"]) else { return };
    let found = inventory::read(&server.connect()).unwrap();
    assert!(found.vms.iter().all(|vm| vm.nics[0].network == "DC0_DVPG0"), "{:?}", found.vms[0].nics);
    assert!(found.hosts.iter().any(|host| host.cluster == "DC0_C0"), "{:?}", found.hosts);
    assert!(found.vms.iter().any(|vm| vm.cluster == "DC0_C0"));
}

/// 2,000 VMs in pages, in less than 100 MiB.
#[test]
fn the_inventory_of_a_large_site_takes_little_memory() {
    let Some(server) = Server::start(&["-vm", "1000"]) else { return };
    let lab = Lab::new(64);
    std::fs::write(lab.path("password"), "pass\n").unwrap();
    let out = std::fs::File::create(lab.path("inventory.json")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_xenith-import"))
        .args(["vsphere", "inventory", &server.host, "--user", "user", "-o", "json", "--password-file"])
        .arg(lab.path("password"))
        .args(["--fingerprint", &server.fingerprint])
        .stdout(Stdio::from(out))
        .spawn()
        .unwrap();
    let mut most = 0;
    let status = loop {
        let text = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        most = most.max(kib.unwrap_or(0));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success());
    let found: serde_json::Value =
        serde_json::from_slice(&std::fs::read(lab.path("inventory.json")).unwrap()).unwrap();
    assert_eq!(found["vms"].as_array().unwrap().len(), 2000);
    println!("2,000 VMs took {most} KiB");
    assert!(most > 0 && most < 100 * 1024, "{most} KiB");
}
