//! The suite, driver by driver.

use xenith_common_ids::SrId;
use xenith_hypervisor_agent_storage::conformance::{Scene, run};
use xenith_hypervisor_agent_storage::file::FileDriver;
use xenith_hypervisor_agent_storage::{Sharing, StorageDriver};

use crate::lvm_thin::Sr;
use crate::xfs::Xfs;

#[test]
fn file_in_any_folder() {
    let folder = tempfile::tempdir().unwrap();
    run(&Scene::new(FileDriver::open(SrId::new(), folder.path().to_owned())));
}

#[test]
fn file_on_xfs() {
    let Some(xfs) = Xfs::mount(512) else { return };
    let driver = FileDriver::open(SrId::new(), xfs.path());
    assert_eq!(driver.sharing(), Sharing::CopyOnWrite);
    run(&Scene::new(driver));
}

/// Over a model of LVM's programs; the lab runs the same on a disk.
#[test]
fn lvm_thin() {
    let sr = Sr::new();
    run(&Scene::new(sr.driver.clone()));
}
