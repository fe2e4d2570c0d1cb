//! An SR that fills up while guests run. Needs root, for a small file system.

use std::path::Path;
use std::process::Command as Program;

use xenith_common_ids::{VdiId, VmId};
use xenith_hypervisor_agent_api::Command;
use xenith_hypervisor_agent_types::{DiskAccess, DiskDevice, DiskSpec, Power, VdiSize};

use crate::harness::{Lab, define, spec, start};

/// Unmounted when dropped.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    fn mount(at: &'a Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let made =
            Program::new("mount").args(["-t", "tmpfs", "-o", "size=32m", "xenith-test"]).arg(at).output();
        match made {
            Ok(output) if output.status.success() => Some(Self(at)),
            other => {
                eprintln!("skipped: no small file system can be mounted here ({other:?})");
                None
            }
        }
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        assert!(Program::new("umount").arg("--lazy").arg(self.0).status().unwrap().success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_stand_while_their_sr_is_full() {
    let mut lab = Lab::builder().build();
    let storage = lab.config.storage.clone();
    let Some(_small) = Small::mount(&storage) else { return };
    lab.start().await;
    let sr = lab.client().hello(lab.epoch, "test").await.unwrap().local_sr;
    let vdi = VdiId::new();
    let size = VdiSize::from_bytes(1 << 20).unwrap();
    lab.execute(Command::EnsureVdi { vdi, sr, size }).await.unwrap();
    let mut with_disk = spec("writes");
    let device = DiskDevice::nth(0).unwrap();
    with_disk.disks.push(DiskSpec { device, vdi, access: DiskAccess::ReadWrite });
    let vm = VmId::new();
    lab.done(vm, define(1, with_disk)).await;
    lab.done(vm, start()).await;
    // One that has no disk there.
    let other = lab.running("writes-not").await.vm;
    let filler = storage.join("filler");
    std::fs::write(&filler, vec![1; (32 << 20) - (100 << 10)]).unwrap_or_default();
    lab.becomes(vm, Power::Paused).await;
    assert_eq!(lab.look(other).await.unwrap().power, Power::Running);
    // Known after a crash, too.
    lab.restart().await;
    lab.becomes(vm, Power::Paused).await;
    std::fs::remove_file(&filler).unwrap();
    lab.becomes(vm, Power::Running).await;
    lab.kill().await;
}
