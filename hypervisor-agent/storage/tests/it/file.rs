//! What images in a folder can suffer.

use std::fs;

use xenith_common_ids::{HostId, SrId, VdiId};
use xenith_hypervisor_agent_storage::file::FileDriver;
use xenith_hypervisor_agent_storage::{Sharing, StorageDriver, StorageError, Taking};
use xenith_hypervisor_agent_types::{Fault, FaultReason, SnapshotOf, VdiLease, VdiSize};

use crate::xfs::Xfs;

fn size(mib: u64) -> VdiSize {
    VdiSize::from_bytes(mib << 20).unwrap()
}

#[test]
fn an_image_that_was_cut_off_is_noticed_and_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let driver = FileDriver::open(SrId::new(), folder.path().to_owned());
    let vdi = VdiId::new();
    driver.ensure(vdi, size(8)).unwrap();
    let image = driver.path(vdi).unwrap();
    for len in [4 << 20, (4 << 20) + 5, 0] {
        fs::File::options().write(true).open(&image).unwrap().set_len(len).unwrap();
        let results = [
            driver.path(vdi).map(|_| ()),
            driver.open_source(vdi).map(|_| ()),
            driver.ensure(vdi, size(8)).map(|_| ()),
            driver.prepare_snapshot(&[SnapshotOf { vdi, snapshot: VdiId::new() }]).map(|_| ()),
        ];
        for result in results {
            assert!(
                matches!(&result, Err(StorageError::Damaged { detail, .. }) if detail.contains("cut off")),
                "{result:?}"
            );
        }
        let listing = driver.list().unwrap();
        assert_eq!((listing.vdis.len(), listing.damaged.len()), (0, 1));
    }
    driver.delete(vdi).unwrap();
    assert!(driver.list().unwrap().damaged.is_empty());
}

/// An NFS server, or who else has its export, puts links where our files are, or are to be.
#[test]
fn a_link_in_the_folder_leads_to_no_other_file_of_the_host() {
    let (folder, host) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sr = SrId::new();
    let driver = FileDriver::open(sr, folder.path().to_owned());
    let secret = host.path().join("another-vms-disk");
    fs::write(&secret, vec![7; 1 << 20]).unwrap();
    let link = |name: String| std::os::unix::fs::symlink(&secret, folder.path().join(name)).unwrap();

    let there = VdiId::new();
    link(format!("{there}.raw"));
    for result in [
        driver.facts(there).map(|_| ()),
        driver.path(there).map(|_| ()),
        driver.open_source(there).map(|_| ()),
        driver.open_sink(there).map(|_| ()),
        driver.grow(there, size(2)).map(|_| ()),
        driver.clone_vdi(there, VdiId::new()).map(|_| ()),
    ] {
        let linked = |detail: &str| detail.contains("is a link");
        assert!(matches!(&result, Err(StorageError::Damaged { detail, .. }) if linked(detail)), "{result:?}");
    }
    assert_eq!(driver.list().unwrap().damaged.len(), 1);
    for name in ["raw.partial", "json.partial"] {
        let new = VdiId::new();
        link(format!("{new}.{name}"));
        assert!(driver.ensure(new, size(1)).is_err(), "{name}");
    }
    let noted = VdiId::new();
    driver.ensure(noted, size(1)).unwrap();
    fs::remove_file(folder.path().join(format!("{noted}.json"))).unwrap();
    link(format!("{noted}.json"));
    assert!(driver.facts(noted).is_err());
    link(".xenith-sr.partial".to_owned());
    assert!(FileDriver::mark(sr, folder.path()).is_err());
    link(".xenith-sr".to_owned());
    assert!(FileDriver::attach(sr, folder.path().to_owned()).is_err());
    assert!(fs::read(&secret).unwrap() == vec![7; 1 << 20], "nothing was written to it");
    driver.delete(there).unwrap();
    assert!(secret.exists(), "the link goes, and not what it led to");
}

#[test]
fn a_note_that_is_too_large_is_not_read_into_memory() {
    let folder = tempfile::tempdir().unwrap();
    let driver = FileDriver::open(SrId::new(), folder.path().to_owned());
    let vdi = VdiId::new();
    driver.ensure(vdi, size(1)).unwrap();
    let note = fs::File::create(folder.path().join(format!("{vdi}.json"))).unwrap();
    note.set_len(1 << 32).unwrap();
    assert!(matches!(driver.facts(vdi), Err(StorageError::Io { .. })));
}

#[test]
fn an_image_from_before_there_were_notes_is_taken_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let driver = FileDriver::open(SrId::new(), folder.path().to_owned());
    let vdi = VdiId::new();
    let image = folder.path().join(format!("{vdi}.raw"));
    fs::File::create(&image).unwrap().set_len(4 << 20).unwrap();
    assert_eq!(driver.facts(vdi).unwrap().size, size(4));
    driver.grow(vdi, size(6)).unwrap();
    assert_eq!(driver.facts(vdi).unwrap().size, size(6));
}

#[test]
fn what_a_crash_leaves_is_shown_and_in_nobodys_way() {
    let folder = tempfile::tempdir().unwrap();
    let driver = FileDriver::open(SrId::new(), folder.path().to_owned());
    let (vdi, snapshot) = (VdiId::new(), VdiId::new());
    let left = [
        format!("{vdi}.raw.partial"),
        format!("{vdi}.json"),
        format!("{snapshot}.snap.partial"),
        "readme.txt".to_owned(),
    ];
    for name in &left[..3] {
        fs::write(folder.path().join(name), br#"{"format":1,"size":1048576}"#).unwrap();
    }
    fs::write(folder.path().join(&left[3]), b"not ours").unwrap();
    assert!(matches!(driver.facts(vdi), Err(StorageError::NotFound { .. })));
    let mut names: Vec<_> = driver.list().unwrap().left_overs.into_iter().map(|left| left.name).collect();
    names.sort();
    let mut expected = left.to_vec();
    expected.sort();
    assert_eq!(names, expected);
    driver.ensure(vdi, size(4)).unwrap();
    let mut pending = driver.prepare_snapshot(&[SnapshotOf { vdi, snapshot }]).unwrap();
    pending.take(None).unwrap();
    pending.commit().unwrap();
    assert_eq!(driver.list().unwrap().left_overs.len(), 1);
}

/// Its disk was unmounted: the folder under it is empty, and is no SR.
#[test]
fn an_sr_whose_disk_is_taken_away_is_not_taken_for_an_empty_one() {
    let folder = tempfile::tempdir().unwrap();
    let sr = SrId::new();
    FileDriver::mark(sr, folder.path()).unwrap();
    let driver = FileDriver::attach(sr, folder.path().to_owned()).unwrap();
    let (vdi, new) = (VdiId::new(), VdiId::new());
    driver.ensure(vdi, size(4)).unwrap();
    assert!(matches!(driver.facts(new), Err(StorageError::NotFound { .. })));
    let away = tempfile::tempdir().unwrap();
    let names = || -> Vec<_> {
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    for name in names() {
        fs::rename(folder.path().join(&name), away.path().join(&name)).unwrap();
    }
    let results = [
        driver.facts(vdi).map(|_| ()),
        driver.ensure(new, size(4)).map(|_| ()),
        driver.delete(vdi),
        driver.list().map(|_| ()),
        driver.prepare_snapshot(&[SnapshotOf { vdi, snapshot: new }]).map(|_| ()),
    ];
    for result in results {
        let fault = Fault::from(result.unwrap_err());
        assert!(fault.message.contains("is its disk mounted?"), "{fault}");
    }
    assert_eq!(names().len(), 0, "nothing is made where it would be hidden");
    for entry in fs::read_dir(away.path()).unwrap() {
        let name = entry.unwrap().file_name();
        fs::rename(away.path().join(&name), folder.path().join(&name)).unwrap();
    }
    assert_eq!(driver.list().unwrap().vdis.len(), 1);
}

#[test]
fn a_full_sr_says_so_and_keeps_what_it_has() {
    let Some(xfs) = Xfs::mount(320) else { return };
    let driver = FileDriver::open(SrId::new(), xfs.path());
    let vdi = VdiId::new();
    driver.ensure(vdi, size(64)).unwrap();
    let sink = driver.open_sink(vdi).unwrap();
    sink.write_at(0, &[7; 1 << 20]).unwrap();
    sink.flush().unwrap();
    let ballast = fs::File::create(xfs.path().join("ballast")).unwrap();
    let free = driver.space().unwrap().free;
    rustix::fs::fallocate(&ballast, rustix::fs::FallocateFlags::empty(), 0, free - (64 << 10)).unwrap();
    let written =
        (1..64).find_map(|mib| sink.write_at(mib << 20, &[8; 1 << 20]).and_then(|()| sink.flush()).err());
    let fault = Fault::from(StorageError::from(written.unwrap()));
    assert_eq!(fault.reason, FaultReason::StorageFull, "{fault}");
    let mut first = [0; 4096];
    driver.open_source(vdi).unwrap().read_at(0, &mut first).unwrap();
    assert_eq!(first, [7; 4096]);
    driver.delete(vdi).unwrap();
}

#[test]
fn a_file_of_the_same_file_system_becomes_a_disk_without_being_stored_twice() {
    let Some(xfs) = Xfs::mount(320) else { return };
    let driver = FileDriver::open(SrId::new(), xfs.path());
    let file = xfs.path().join("file");
    let shared = |content: &[u8], mib: u64| {
        fs::write(&file, content).unwrap();
        let vdi = VdiId::new();
        driver.ensure(vdi, size(mib)).unwrap();
        (vdi, driver.share(vdi, &fs::File::open(&file).unwrap()).unwrap())
    };
    let whole = |vdi: VdiId| fs::read(driver.path(vdi).unwrap()).unwrap();

    let (vdi, done) = shared(&vec![7; 64 << 20], 65);
    assert!(done);
    let free = driver.space().unwrap().free;
    fs::remove_file(&file).unwrap();
    assert!(driver.space().unwrap().free < free + (32 << 20), "the file's blocks are the disk's");
    assert_eq!(driver.facts(vdi).unwrap().size, size(65));
    driver.open_sink(vdi).unwrap().write_at(0, &[8; 4096]).unwrap();
    let expected = [vec![8; 4096], vec![7; (64 << 20) - 4096], vec![0; 1 << 20]].concat();
    assert!(whole(vdi) == expected);

    let (vdi, done) = shared(&vec![7; (1 << 20) - 512], 1);
    assert!(!done, "a part of a block");
    assert!(whole(vdi) == vec![0; 1 << 20], "nothing was done");
}

#[test]
fn a_file_that_shares_nothing_with_the_sr_is_left_to_be_copied() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempfile().unwrap());
    elsewhere.set_len(1 << 20).unwrap();
    let vdi = VdiId::new();
    let plain = FileDriver::open(SrId::new(), folder.path().to_owned());
    plain.ensure(vdi, size(1)).unwrap();
    if plain.sharing() == Sharing::FullCopy {
        assert!(!plain.share(vdi, &elsewhere).unwrap());
    }
    let Some(xfs) = Xfs::mount(320) else { return };
    let driver = FileDriver::open(SrId::new(), xfs.path());
    driver.ensure(vdi, size(1)).unwrap();
    assert!(!driver.share(vdi, &elsewhere).unwrap());
}

#[test]
fn a_full_sr_takes_no_more_leases_and_keeps_those_it_has() {
    let Some(xfs) = Xfs::mount(320) else { return };
    let sr = SrId::new();
    FileDriver::mark(sr, &xfs.path()).unwrap();
    let driver = FileDriver::attach(sr, xfs.path()).unwrap();
    let leases = driver.leases().unwrap();
    let ours = VdiLease { host: HostId::new(), host_name: "xen1".to_owned(), vm: None };
    let take = |vdi| leases.take(vdi, &ours, Taking::ToRun, &|| true);
    let first = VdiId::new();
    take(first).unwrap();
    let ballast = fs::File::create(xfs.path().join("ballast")).unwrap();
    let free = driver.space().unwrap().free;
    rustix::fs::fallocate(&ballast, rustix::fs::FallocateFlags::empty(), 0, free - (64 << 10)).unwrap();
    let refused = (0..100_000).find_map(|_| take(VdiId::new()).err());
    let fault = Fault::from(refused.unwrap());
    assert_eq!(fault.reason, FaultReason::StorageFull, "{fault}");
    // Taken again it is only read.
    take(first).unwrap();
    assert_eq!(leases.read(first).unwrap(), Some(ours.clone()));
    ballast.set_len(0).unwrap();
    let held = leases.held_by(ours.host).unwrap();
    for (vdi, _) in held {
        assert!(!leases.give_up(vdi, ours.host, &|| false).unwrap());
    }
    assert_eq!(leases.held_by(ours.host).unwrap(), []);
}
