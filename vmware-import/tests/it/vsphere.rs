//! The client, the data paths and the warm migration against govmomi's simulator.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use xenith_common_block::{BlockError, BlockSink, ByteRange};
use xenith_vmware_import::convert::ConvertOptions;
use xenith_vmware_import::error::ImportError;
use xenith_vmware_import::plan::inventory::Power;
use xenith_vmware_import::target::TargetFormat;
use xenith_vmware_import::vsphere::datastore::DatastoreFile;
use xenith_vmware_import::vsphere::nfc::Lease;
use xenith_vmware_import::vsphere::soap::{Body, Flag};
use xenith_vmware_import::vsphere::transfer::TargetDisk;
use xenith_vmware_import::vsphere::warm::{
    Contents, FolderTargets, Method, Phase, Stopped, Targets, WarmMove, Watch,
};
use xenith_vmware_import::vsphere::{Credentials, Vim, inventory, source};
use xenith_vmware_import_generator::{self as generate, Options, StreamStyle};

use crate::support::Lab;
use crate::vcsim::{Server, descriptor};

impl Server {
    pub fn connect(&self) -> Arc<Vim> {
        let credentials = Credentials { user: "user".to_owned(), password: "pass".to_owned() };
        Arc::new(Vim::connect(&self.host, credentials, Some(self.fingerprint.parse().unwrap())).unwrap())
    }
}

/// A folder with the files that the front serves: a flat disk, its descriptor, a stream of it.
pub fn files(lab: &Lab) -> String {
    let size = std::fs::metadata(&lab.raw).unwrap().len();
    std::fs::copy(&lab.raw, lab.path("disk1-flat.vmdk")).unwrap();
    std::fs::write(lab.path("disk1.vmdk"), descriptor(size)).unwrap();
    generate::stream_optimized(
        &lab.path("nfc.vmdk"),
        &lab.content(),
        &Options::default(),
        StreamStyle::VMware,
    )
    .unwrap();
    std::fs::write(lab.path("changed.json"), "[]").unwrap();
    lab.dir.path().to_str().unwrap().to_owned()
}

#[test]
fn a_certificate_is_pinned_and_a_password_checked() {
    let Some(server) = Server::start(&[]) else { return };
    let credentials = || Credentials { user: "user".to_owned(), password: "pass".to_owned() };
    let error = Vim::connect(&server.host, credentials(), None).err().unwrap().to_string();
    let shown = server.fingerprint.to_uppercase();
    let shown: Vec<&str> = (0..32).map(|i| &shown[i * 2..i * 2 + 2]).collect();
    assert!(error.contains(&shown.join(":")), "the fingerprint is not shown: {error}");
    let other = "00".repeat(32).parse().unwrap();
    assert!(Vim::connect(&server.host, credentials(), Some(other)).is_err());
    let nobody = Credentials { user: String::new(), password: String::new() };
    let error = Vim::connect(&server.host, nobody, Some(server.fingerprint.parse().unwrap())).err().unwrap();
    assert!(error.to_string().contains("InvalidLogin"), "{error}");
    assert!(!format!("{:?}", credentials()).contains("pass\""), "the password is shown");
}

#[test]
fn the_inventory_is_read_through_expiring_sessions() {
    for arguments in [&["-vm", "30"][..], &["-esx", "-vm", "5"], &["-vm", "10", "-session-expires", "7"]] {
        let Some(server) = Server::start(arguments) else { return };
        let vim = server.connect();
        let found = inventory::read(&vim).unwrap();
        assert!(found.vms.len() >= 5, "{arguments:?}: {} VMs", found.vms.len());
        assert!(!found.hosts.is_empty() && !found.datastores.is_empty());
        let vm = &found.vms[0];
        assert!(vm.vcpus > 0 && vm.memory_mib > 0 && vm.power == Power::On, "{vm:?}");
        assert_eq!((vm.disks.len(), vm.nics.len()), (1, 1), "{vm:?}");
        assert!(vm.disks[0].path.starts_with('['), "{vm:?}");
        assert!(found.hosts.iter().any(|host| host.name == vm.host), "{vm:?}");
        let plan = xenith_vmware_import::plan::make(&found, &Default::default());
        assert_eq!(plan.vms.len(), found.vms.len());
    }
}

/// A page that waits ends with its session: the list is begun again, and nothing of it comes twice or not at all.
#[test]
fn a_session_that_expires_between_two_pages_loses_no_vm() {
    let lab = Lab::new(49);
    let log = lab.path("requests.log");
    let arguments = ["-vm", "300", "-session-expires", "20", "-log", log.to_str().unwrap()];
    let Some(server) = Server::start(&arguments) else { return };
    let found = inventory::read(&server.connect()).unwrap();
    assert_eq!(found.vms.len(), 600);
    let ids: std::collections::BTreeSet<&str> = found.vms.iter().map(|vm| vm.id.as_str()).collect();
    assert_eq!(ids.len(), 600);
    let text = std::fs::read_to_string(&log).unwrap();
    let calls: Vec<&str> = text.lines().collect();
    let page = |call: &str| call.contains("<ContinueRetrievePropertiesEx");
    let cut = calls.windows(2).any(|two| page(two[0]) && two[1].contains("<Login "));
    assert!(cut, "the session ended elsewhere: {calls:?}");
}

#[test]
fn an_export_survives_a_transfer_that_breaks() {
    for (name, arguments) in [
        ("plain", &["-esx"][..]),
        ("cut twice", &["-nfc-cut", "300000", "-nfc-cut-times", "2"]),
        ("expiring", &["-session-expires", "4"]),
    ] {
        let lab = Lab::new(40);
        let folder = files(&lab);
        let Some(server) = Server::start(&[arguments, &["-files", &folder]].concat()) else { return };
        let vim = server.connect();
        let vm = inventory::vms(&vim).unwrap().swap_remove(0);
        let lease = Lease::open(&vim, &vm.reference).unwrap();
        assert_eq!(lease.disks.len(), 1);
        let options = ConvertOptions::new(TargetFormat::Raw);
        let reports = lease.download(lab.dir.path(), "vm", &options, &mut |_| ()).unwrap();
        assert!(std::fs::read(&reports[0].target).unwrap() == lab.reference(), "{name}: contents differ");
    }
    let Some(server) = Server::start(&["-export-invalid-state"]) else { return };
    let vim = server.connect();
    let vm = inventory::vms(&vim).unwrap().swap_remove(0);
    let error = Lease::open(&vim, &vm.reference).err().unwrap();
    assert!(error.to_string().contains("InvalidState"), "{error}");
}

#[test]
fn datastore_files_are_read_by_ranges() {
    use xenith_vmware_import::bytes::ByteSource;
    let lab = Lab::new(41);
    let folder = files(&lab);
    let Some(server) = Server::start(&["-files", &folder, "-folder-503", "3", "-folder-elsewhere", "5"])
    else {
        return;
    };
    let vim = server.connect();
    let file = DatastoreFile::open(Arc::clone(&vim), "[LocalDS_0] vm/disk1-flat.vmdk", "DC0").unwrap();
    let reference = lab.reference();
    assert_eq!(file.len(), reference.len() as u64);
    let mut found = vec![0; reference.len()];
    for (index, part) in found.chunks_mut(777_777).enumerate() {
        file.read_at("data", index as u64 * 777_777, part).unwrap();
    }
    assert!(found == reference);
    let gone = DatastoreFile::open(vim, "[LocalDS_0] vm/none.vmdk", "DC0").err().unwrap();
    assert!(matches!(gone, ImportError::Missing { .. }), "{gone}");
}

/// A session that ends while several read is opened again once, not by each of them: a server takes only so many.
#[test]
fn a_session_that_expires_among_many_reads_is_opened_again_once() {
    use xenith_vmware_import::bytes::ByteSource;
    const PART: usize = 512 * 1024;
    let lab = Lab::new(46);
    let (folder, log) = (files(&lab), lab.path("requests.log"));
    let arguments = ["-files", &folder, "-folder-session", "10", "-log", log.to_str().unwrap()];
    let Some(server) = Server::start(&arguments) else { return };
    let file = DatastoreFile::open(server.connect(), "[LocalDS_0] vm/disk1-flat.vmdk", "DC0").unwrap();
    let reference = lab.reference();
    let mut found = vec![0; reference.len()];
    std::thread::scope(|scope| {
        let mut parts: Vec<Vec<(usize, &mut [u8])>> = (0..4).map(|_| Vec::new()).collect();
        for (index, part) in found.chunks_mut(PART).enumerate() {
            parts[index % 4].push((index * PART, part));
        }
        for parts in parts {
            let file = &file;
            scope.spawn(move || {
                for (at, part) in parts {
                    file.read_at("data", at as u64, part).unwrap();
                }
            });
        }
    });
    assert!(found == reference);
    let text = std::fs::read_to_string(&log).unwrap();
    let (logins, reads) = (text.matches("<Login ").count(), reference.len().div_ceil(PART) + 2);
    assert_eq!(logins, reads.div_ceil(10), "of {reads} reads, ten a session");
}

/// Writes `bytes` at `at` of the running VM's disk, and tells the tracker when `told`.
pub fn write(lab: &Lab, at: u64, bytes: &[u8], told: &str) {
    let file = std::fs::File::options().write(true).open(lab.path("disk1-flat.vmdk")).unwrap();
    file.write_all_at(bytes, at).unwrap();
    std::fs::write(lab.path("changed.json"), told).unwrap();
}

pub fn same(lab: &Lab, warm: &WarmMove, key: u64) {
    let (source, target) =
        (std::fs::read(lab.path("disk1-flat.vmdk")).unwrap(), std::fs::read(warm.target(key)).unwrap());
    assert!(target[..source.len()] == source[..], "the target is not the source");
}

#[test]
fn warm_migration_from_first_pass_to_cut_over() {
    let lab = Lab::new(42);
    let folder = files(&lab);
    let changes = lab.path("changed.json");
    let Some(server) = Server::start(&["-files", &folder, "-changed", changes.to_str().unwrap()]) else {
        return;
    };
    let vim = server.connect();
    let vm = inventory::vms(&vim).unwrap().swap_remove(0).reference;
    let target = lab.path("move");
    let mut warm = WarmMove::open(Arc::clone(&vim), vm.clone(), &target, "DC0").unwrap();
    let first = warm.pass().unwrap();
    assert_eq!(first[0].method, Method::Allocated);
    let key = first[0].key;
    same(&lab, &warm, key);
    write(&lab, 8192, &[7; 4096], "[[8192,4096]]");
    // As after a crash: the state comes from the file.
    let mut warm = WarmMove::open(Arc::clone(&vim), vm.clone(), &target, "DC0").unwrap();
    let second = warm.pass().unwrap();
    assert_eq!((&second[0].method, second[0].read), (&Method::Changed, 4096));
    same(&lab, &warm, key);
    // Zeros over data have to arrive too.
    write(&lab, 8192, &[0; 4096], "[[8192,4096]]");
    assert!(matches!(warm.finish(), Err(ImportError::Usage(_))), "the VM still runs");
    assert_eq!(warm.stop_guest(Duration::from_secs(60)).unwrap(), Stopped::Yes);
    warm.finish().unwrap();
    same(&lab, &warm, key);
    assert_eq!(warm.state.phase, Phase::Done);
    let found = vim.properties(&vm, &["snapshot"]).unwrap();
    assert!(
        found.get("snapshot").is_none_or(|tree| tree.child("rootSnapshotList").is_none()),
        "a snapshot was left"
    );
    warm.roll_back().unwrap();
    let power = vim.properties(&vm, &["runtime.powerState"]).unwrap();
    assert_eq!(power.text("runtime.powerState"), "poweredOn", "the source was not started again");
}

/// A pass that broke off leaves a snapshot of the VM as it ran. What the VM wrote from then until it was off is in no disk of
/// that one; nor is what it wrote when it was on once more while the last pass was broken off.
#[test]
fn the_last_pass_has_a_snapshot_of_its_own() {
    let lab = Lab::new(47);
    let folder = files(&lab);
    let (changes, log) = (lab.path("changed.json"), lab.path("requests.log"));
    let arguments = ["-files", &folder, "-changed", changes.to_str().unwrap(), "-log", log.to_str().unwrap()];
    let Some(server) = Server::start(&arguments) else { return };
    let vim = server.connect();
    let vm = inventory::vms(&vim).unwrap().swap_remove(0).reference;
    let target = lab.path("move");
    let open = || WarmMove::open(Arc::clone(&vim), vm.clone(), &target, "DC0").unwrap();
    let broken = || {
        let breaks: Watch = Arc::new(|_, _, _| Err(ImportError::Cancelled));
        open().watched_by(breaks)
    };
    let taken = || std::fs::read_to_string(&log).unwrap().matches("<CreateSnapshot_Task").count();
    let key = open().pass().unwrap()[0].key;
    assert!(matches!(broken().pass(), Err(ImportError::Cancelled)));
    assert_eq!(taken(), 2);
    write(&lab, 8192, &[7; 4096], "[[8192,4096]]");
    let mut warm = open();
    assert_eq!(warm.stop_guest(Duration::from_secs(60)).unwrap(), Stopped::Yes);
    warm.finish().unwrap();
    assert_eq!(taken(), 3, "what was written after the pass that broke off is lost");
    same(&lab, &warm, key);

    // Asked for again, it is made again; and off at both its ends is not off in between.
    assert!(matches!(broken().finish(), Err(ImportError::Cancelled)));
    assert_eq!(taken(), 4);
    vim.run("PowerOnVM_Task", &vm, &Body::new(), Duration::from_secs(60)).unwrap();
    write(&lab, 12288, &[8; 4096], "[[12288,4096]]");
    open().power_off().unwrap();
    let mut warm = open();
    warm.finish().unwrap();
    assert_eq!(taken(), 5, "what was written while the last pass was broken off is lost");
    assert_eq!(warm.state.phase, Phase::Done);
    same(&lab, &warm, key);
    assert!(matches!(warm.stop_guest(Duration::ZERO), Err(ImportError::Usage(_))), "the move is over");
}

/// A folder on a filesystem that is full.
struct Full {
    folder: FolderTargets,
    full: Arc<AtomicBool>,
}

struct FullSink {
    inner: Arc<dyn BlockSink>,
    full: Arc<AtomicBool>,
}

impl Targets for Full {
    fn open(
        &self,
        key: u64,
        capacity: u64,
        contents: Contents,
    ) -> Result<(TargetDisk, Contents), ImportError> {
        let (disk, found) = self.folder.open(key, capacity, contents)?;
        let sink = Arc::new(FullSink { inner: disk.sink, full: Arc::clone(&self.full) });
        Ok((TargetDisk { sink, source: disk.source }, found))
    }
}

impl BlockSink for FullSink {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        if offset > 0 && self.full.load(Ordering::Relaxed) {
            let source = std::io::ErrorKind::StorageFull.into();
            return Err(BlockError::Io { action: "write", target: "disk".to_owned(), offset, source });
        }
        self.inner.write_at(offset, data)
    }

    fn zero(&self, range: ByteRange) -> Result<(), BlockError> {
        self.inner.zero(range)
    }

    fn flush(&self) -> Result<(), BlockError> {
        self.inner.flush()
    }
}

#[test]
fn a_target_that_was_full_is_gone_on_with() {
    let lab = Lab::new(48);
    let (folder, log) = (files(&lab), lab.path("requests.log"));
    let Some(server) = Server::start(&["-files", &folder, "-log", log.to_str().unwrap()]) else { return };
    let vim = server.connect();
    let vm = inventory::vms(&vim).unwrap().swap_remove(0).reference;
    let (target, full) = (lab.path("move"), Arc::new(AtomicBool::new(true)));
    let targets = Arc::new(Full { folder: FolderTargets(target.clone()), full: Arc::clone(&full) });
    let mut warm = WarmMove::open_with(vim, vm, &target, "DC0", targets).unwrap();
    let error = warm.pass().unwrap_err();
    assert!(matches!(error, ImportError::Block(BlockError::Io { .. })), "{error}");
    full.store(false, Ordering::Relaxed);
    let key = warm.pass().unwrap()[0].key;
    same(&lab, &warm, key);
    let taken = std::fs::read_to_string(&log).unwrap().matches("<CreateSnapshot_Task").count();
    assert_eq!(taken, 1, "its snapshot was given up, and all of it copied again");
}

/// Rolled back in the minute that a guest takes to shut down, its VM must not be off a moment later, and stay off.
#[test]
fn a_guest_that_still_goes_down_is_started_again() {
    let Some(server) = Server::start(&["-slow-shutdown", "1500"]) else { return };
    let vim = server.connect();
    let vm = inventory::vms(&vim).unwrap().swap_remove(0).reference;
    let folder = tempfile::tempdir().unwrap();
    let mut warm = WarmMove::open(Arc::clone(&vim), vm.clone(), folder.path(), "DC0").unwrap();
    assert_eq!(warm.stop_guest(Duration::ZERO).unwrap(), Stopped::StillRunning);
    warm.roll_back().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while vim.properties(&vm, &["guest.guestState"]).unwrap().text("guest.guestState") != "notRunning" {
        assert!(Instant::now() < deadline, "the guest never went down");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(source::power(&vim, &vm).unwrap(), Power::On);
}

/// Tracking that was switched off and on between two passes, and a disk that grew, know nothing of the time before.
#[test]
fn another_tracker_or_size_becomes_a_compare_pass() {
    let lab = Lab::new(44);
    let folder = files(&lab);
    let changes = lab.path("changed.json");
    let Some(server) = Server::start(&["-files", &folder, "-changed", changes.to_str().unwrap()]) else {
        return;
    };
    let vim = server.connect();
    let vm = inventory::vms(&vim).unwrap().swap_remove(0).reference;
    let mut warm = WarmMove::open(vim, vm, &lab.path("move"), "DC0").unwrap();
    let key = warm.pass().unwrap()[0].key;
    // What was written meanwhile is told to nobody.
    write(&lab, 4 << 20, &[9; 512], "[]");
    std::fs::write(lab.path("tracker"), "52 11 22 33 44").unwrap();
    let pass = warm.pass().unwrap();
    assert_eq!(pass[0].method, Method::Compared("changed-block tracking began anew".to_owned()));
    same(&lab, &warm, key);
    write(&lab, 5 << 20, &[9; 512], "[]");
    assert_eq!(warm.pass().unwrap()[0].method, Method::Changed, "the same tracker again: it is believed");
    let flat = std::fs::File::options().write(true).open(lab.path("disk1-flat.vmdk")).unwrap();
    let size = flat.metadata().unwrap().len() / 1024 * 1024 + (1 << 20);
    flat.set_len(size).unwrap();
    flat.write_all_at(&[8; 512], size - 512).unwrap();
    let text = std::fs::read_to_string(lab.path("disk1.vmdk")).unwrap();
    let line = text.lines().find(|line| line.starts_with("RW")).unwrap().to_owned();
    let text = text.replace(&line, &format!("RW {} VMFS \"disk1-flat.vmdk\"", size / 512));
    std::fs::write(lab.path("disk1.vmdk"), text).unwrap();
    let pass = warm.pass().unwrap();
    assert_eq!(pass[0].method, Method::Compared("the disk has another size".to_owned()));
    same(&lab, &warm, key);
}

#[test]
fn doubts_about_tracking_become_a_compare_pass() {
    for (name, arguments, first) in
        [("fault", &["-cbt-filefault"][..], "Everything"), ("no tracking", &["-no-cbt"], "Everything")]
    {
        let lab = Lab::new(43);
        let folder = files(&lab);
        let Some(server) = Server::start(&[arguments, &["-files", &folder]].concat()) else { return };
        let vim = server.connect();
        let vm = inventory::vms(&vim).unwrap().swap_remove(0).reference;
        let mut warm = WarmMove::open(vim, vm, &lab.path("move"), "DC0").unwrap();
        let pass = warm.pass().unwrap();
        assert!(format!("{:?}", pass[0].method).starts_with(first), "{name}: {pass:?}");
        same(&lab, &warm, pass[0].key);
        // The tracker is told nothing: only a comparison can find this.
        write(&lab, 4 << 20, &[9; 512], "[]");
        let pass = warm.pass().unwrap();
        assert!(matches!(pass[0].method, Method::Compared(_)), "{name}: {pass:?}");
        assert!(pass[0].written > 0 && pass[0].written <= 4 << 20, "{name}: {pass:?}");
        same(&lab, &warm, pass[0].key);
    }
}

/// Tracking that began while a snapshot stood knows nothing of what lies below it. The snapshot itself is left alone.
#[test]
fn areas_in_use_are_not_believed_beside_another_snapshot() {
    let lab = Lab::new(45);
    let folder = files(&lab);
    let Some(server) = Server::start(&["-files", &folder]) else { return };
    let vim = server.connect();
    let vm = inventory::vms(&vim).unwrap().swap_remove(0).reference;
    let theirs = Body::new()
        .text("name", "before the update")
        .text("description", "")
        .flag("memory", Flag::False)
        .flag("quiesce", Flag::False);
    vim.run("CreateSnapshot_Task", &vm, &theirs, Duration::from_secs(60)).unwrap();
    let mut warm = WarmMove::open(Arc::clone(&vim), vm.clone(), &lab.path("move"), "DC0").unwrap();
    let pass = warm.pass().unwrap();
    assert!(
        matches!(&pass[0].method, Method::Everything(why) if why.contains("before the update")),
        "{pass:?}"
    );
    same(&lab, &warm, pass[0].key);
    let left = vim.properties(&vm, &["snapshot"]).unwrap();
    let left: Vec<&str> =
        left.get("snapshot").unwrap().all("rootSnapshotList").map(|tree| tree.text_at("name")).collect();
    assert_eq!(left, ["before the update"]);
}
