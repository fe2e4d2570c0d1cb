//! What a server leaves behind, refuses, or does between two calls: one server that does all of it, and one move through it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use xenith_vmware_import::error::{ImportError, Retry};
use xenith_vmware_import::plan::inventory::Power;
use xenith_vmware_import::vsphere::inventory;
use xenith_vmware_import::vsphere::soap::Body;
use xenith_vmware_import::vsphere::source::{self, Asked};
use xenith_vmware_import::vsphere::warm::{Phase, WarmMove, Watch};

use crate::support::Lab;
use crate::vcsim::Server;
use crate::vsphere::{files, same, write};

/// A snapshot that a backup holds, disks that need consolidation, a guest without tools, a datacenter in a folder, a
/// source that somebody switches on in its last pass, a file that is too short; and no session is left.
#[test]
fn nothing_is_left_behind_and_nothing_is_believed_too_early() {
    let lab = Lab::new(70);
    let folder = files(&lab);
    let (changes, log) = (lab.path("changed.json"), lab.path("requests.log"));
    let changes = ["-changed", changes.to_str().unwrap(), "-log", log.to_str().unwrap(), "-files", &folder];
    let faults = ["-snapshot-held", "1", "-consolidate", "-no-tools", "-folders"];
    let Some(server) = Server::start(&[&changes[..], &faults].concat()) else { return };
    let said = |word: &str| {
        let text = std::fs::read_to_string(&log).unwrap();
        text.lines().filter(|line| line.contains(word)).count()
    };
    let vim = server.connect();
    let vm = inventory::vms(&vim).unwrap().swap_remove(0).reference;
    assert_eq!(source::describe(&vim, &vm).unwrap().datacenter, "F0/DC0");
    let snapshots = || {
        let found = vim.properties(&vm, &["snapshot"]).unwrap();
        found.get("snapshot").map_or(0, |tree| tree.all("rootSnapshotList").count())
    };

    let target = lab.path("move");
    let open = || WarmMove::open(Arc::clone(&vim), vm.clone(), &target, "F0/DC0").unwrap();
    let mut warm = open();
    let key = warm.pass().unwrap()[0].key;
    same(&lab, &warm, key);
    let left = warm.state.left_behind.clone().unwrap_or_default();
    assert!(left.contains("FileLocked") && snapshots() == 1, "{left}");
    write(&lab, 8192, &[7; 4096], "[[8192,4096]]");
    // As after a crash; the one before goes, and its hold on the session with it.
    warm = open();
    warm.pass().unwrap();
    assert_eq!((&warm.state.left_behind, snapshots()), (&None, 0));
    // Once for what was held, once for the pass's own.
    assert_eq!(said("<ConsolidateVMDisks_Task"), 2);
    same(&lab, &warm, key);

    let asked = source::ask_to_shut_down(&vim, &vm).unwrap();
    assert!(matches!(&asked, Asked::Refused(why) if why.contains("ToolsUnavailable")), "{asked:?}");
    warm.power_off().unwrap();
    let (there, machine, once) = (Arc::clone(&vim), vm.clone(), AtomicBool::new(false));
    let watch: Watch = Arc::new(move |_, _, _| {
        if once.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        there.run("PowerOnVM_Task", &machine, &Body::new(), Duration::from_secs(60)).map(drop)
    });
    warm = open().watched_by(watch);
    let error = warm.finish().unwrap_err();
    assert!(matches!(&error, ImportError::Server { retry: Retry::Mended, .. }), "{error}");
    assert_ne!(warm.state.phase, Phase::Done);
    write(&lab, 12288, &[8; 4096], "[[12288,4096]]");
    warm.power_off().unwrap();
    warm.finish().unwrap();
    assert_eq!((warm.state.phase, snapshots()), (Phase::Done, 0));
    same(&lab, &warm, key);
    warm.roll_back().unwrap();
    assert_eq!(source::power(&vim, &vm).unwrap(), Power::On);

    // What is missing at its end must not become zeros.
    let text = std::fs::read_to_string(lab.path("disk1.vmdk")).unwrap();
    let line = text.lines().find(|line| line.starts_with("RW")).unwrap().to_owned();
    std::fs::write(lab.path("disk1.vmdk"), text.replace(&line, "RW 2048 VMFS \"disk1-flat.vmdk\"")).unwrap();
    let mut short = WarmMove::open(Arc::clone(&vim), vm.clone(), &lab.path("short"), "F0/DC0").unwrap();
    let error = short.pass().unwrap_err();
    assert!(matches!(&error, ImportError::Damaged { field: "capacity", .. }), "{error}");
    assert_eq!(snapshots(), 0);

    assert_eq!(said("<Logout"), 0);
    drop((short, warm));
    drop(vim);
    assert_eq!(said("<Logout"), 1, "a session is left open");
}
