//! Passes over a VM of vSphere, into VDIs.
//!
//! One pass at a time for each import: a command that comes while an older one runs (its orchestrator died, another
//! goes on) waits for that one's end. What a pass leaves behind is the state of [`WarmMove`], in a folder of its own.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use xenith_common_ids::ImportId;
use xenith_hypervisor_agent_api::{DiskPassed, ImportDisk, ImportPass, PassKind, VdiProgress};
use xenith_hypervisor_agent_types::{Fault, FaultReason};
use xenith_vmware_import::ImportError;
use xenith_vmware_import::error::Result;
use xenith_vmware_import::vsphere::transfer::TargetDisk;
use xenith_vmware_import::vsphere::warm::{Contents, DiskPass, Method, Targets, WarmMove};
use xenith_vmware_import::vsphere::{Credentials, MoRef, Vim};

use super::{Imports, blocking, fault, target};
use crate::disk::Storage;

/// The passes of one import, one after the other.
#[derive(Default)]
pub struct Lane {
    pub(super) turn: tokio::sync::Mutex<()>,
    stop: AtomicBool,
}

impl Lane {
    /// For who has got the turn: whoever waited for it while the import was stopped, such as the pass of an orchestrator that
    /// has died, has nothing to do any more. Where it goes on after that, it has another lane.
    pub(super) fn ensure_goes_on(&self) -> Result<(), Fault> {
        if self.is_stopped() {
            return Err(Fault::new(FaultReason::WrongState, "the import was stopped"));
        }
        Ok(())
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

struct VdiTargets {
    storage: Storage,
    disks: HashMap<u64, ImportDisk>,
}

impl Targets for VdiTargets {
    fn open(&self, key: u64, capacity: u64, contents: Contents) -> Result<(TargetDisk, Contents)> {
        let again = "roll the import back and begin again";
        let Some(disk) = self.disks.get(&key) else {
            let text = format!("the source has got a disk since the import began (device {key}); {again}");
            return Err(ImportError::Usage(text));
        };
        if disk.capacity != capacity {
            let text = format!(
                "the source's disk {key} has {capacity} bytes now, not {} as when the import began; {again}",
                disk.capacity
            );
            return Err(ImportError::Usage(text));
        }
        let target = target::open(&self.storage, disk.sr, disk.vdi)?;
        if contents == Contents::Fresh {
            target::clear(&target)?;
        }
        Ok((target, contents))
    }
}

impl Imports {
    fn import_folder(&self, import: ImportId) -> PathBuf {
        self.folder.join(import.to_string())
    }

    pub(super) fn lane(&self, import: ImportId) -> Arc<Lane> {
        Arc::clone(self.running.lock().unwrap_or_else(PoisonError::into_inner).entry(import).or_default())
    }

    pub(super) async fn pass(self: &Arc<Self>, pass: ImportPass) -> Result<Vec<DiskPassed>, Fault> {
        let lane = self.lane(pass.import);
        let _turn = lane.turn.lock().await;
        lane.ensure_goes_on()?;
        let (this, lane) = (Arc::clone(self), Arc::clone(&lane));
        blocking(move || this.run_pass(&pass, &lane).map_err(|error| fault(&error))).await
    }

    fn run_pass(self: &Arc<Self>, pass: &ImportPass, lane: &Arc<Lane>) -> Result<Vec<DiskPassed>> {
        let source = &pass.source;
        let credentials = Credentials { user: source.user.clone(), password: source.password.clone() };
        let vim = Vim::connect(&source.address, credentials, Some(source.fingerprint.parse()?))?;
        let disks: HashMap<u64, ImportDisk> =
            pass.disks.iter().map(|disk| (disk.key, disk.clone())).collect();
        let targets = Arc::new(VdiTargets { storage: self.storage.clone(), disks: disks.clone() });
        let (folder, vm) = (self.import_folder(pass.import), MoRef::new("VirtualMachine", &pass.vm));
        let (this, lane) = (Arc::clone(self), Arc::clone(lane));
        let watch = Arc::new(move |key, done, total| {
            if lane.is_stopped() {
                return Err(ImportError::Cancelled);
            }
            if let Some(disk) = disks.get(&key) {
                let progress = VdiProgress { vdi: disk.vdi, done, total, whole: false };
                this.progress.lock().unwrap_or_else(PoisonError::into_inner).insert(disk.vdi, progress);
            }
            Ok(())
        });
        let mut warm =
            WarmMove::open_with(Arc::new(vim), vm, &folder, &source.datacenter, targets)?.watched_by(watch);
        warm = warm.mounted(self.datastores.clone());
        let done = match pass.kind {
            PassKind::Copy => warm.pass()?,
            PassKind::Last => warm.finish()?,
            PassKind::Compare => warm.compare("it was asked for")?,
        };
        if let Some(missing) = pass.disks.iter().find(|disk| done.iter().all(|passed| passed.key != disk.key))
        {
            let text = format!(
                "the source has lost the disk {} since the import began; roll the import back and begin again",
                missing.key
            );
            return Err(ImportError::Usage(text));
        }
        Ok(done.iter().map(passed).collect())
    }

    pub(super) async fn stop(self: &Arc<Self>, import: ImportId) -> Result<(), Fault> {
        let lane = self.lane(import);
        lane.stop.store(true, Ordering::Relaxed);
        let turn = tokio::time::timeout(Duration::from_secs(120), lane.turn.lock()).await;
        let Ok(_turn) = turn else {
            return Err(Fault::new(FaultReason::NotReady, "the pass that runs does not end yet"));
        };
        self.end_helper(import).await?;
        self.forget_helper(import)?;
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&import);
        match fs::remove_dir_all(self.import_folder(import)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Fault::new(FaultReason::Internal, format_args!("cannot forget import {import}: {error}")))
            }
            _ => Ok(()),
        }
    }
}

fn passed(pass: &DiskPass) -> DiskPassed {
    let (method, reason) = match &pass.method {
        Method::Allocated => ("allocated", ""),
        Method::Changed => ("changed", ""),
        Method::Everything(why) => ("everything", why.as_str()),
        Method::Compared(why) => ("compared", why.as_str()),
        Method::Exported(why) => ("exported", why.as_str()),
    };
    DiskPassed {
        key: pass.key,
        method: method.to_owned(),
        reason: reason.to_owned(),
        read: pass.read,
        written: pass.written,
        took: Duration::from_secs_f64(pass.seconds.max(0.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waited_while_it_was_stopped_does_nothing() {
        let lane = Lane::default();
        assert!(lane.ensure_goes_on().is_ok());
        lane.stop.store(true, Ordering::Relaxed);
        let fault = lane.ensure_goes_on().unwrap_err();
        assert_eq!(fault.reason, FaultReason::WrongState);
    }
}
