//! What the disks of a VM show at its source, before anything is copied.
//!
//! Only of a Windows that is off: the files of one that runs are locked, and no Windows that runs is hibernated. Some
//! hundred KiB of each disk are read by ranges; a disk that can only be exported is not looked at. What could not be looked
//! at stays "not known", and the assessment says so: to assess must not fail because of that.

use std::sync::Arc;

use super::client::{MoRef, Vim};
use super::route::{self, Mounts, Route};
use super::source::datacenter;
use crate::inspect::{self, Seen};
use crate::plan::inventory::{Power, Vm};

/// Whether there is anything to look for.
#[must_use]
pub fn is_worth_it(vm: &Vm) -> bool {
    vm.power == Power::Off && vm.is_windows() && !vm.template
}

/// Looks at the disks of `vm`, and notes there what is seen.
pub fn look(vim: &Arc<Vim>, vm: &mut Vm) {
    if !is_worth_it(vm) {
        return;
    }
    let Ok(datacenter) = datacenter(vim, &MoRef::new("VirtualMachine", &vm.id)) else { return };
    let look = |path: &str| match route::find(vim, path, &datacenter, &Mounts::new()) {
        Ok(Route::Image(image)) => inspect::look(&*image).ok(),
        Ok(Route::Export(_)) | Err(_) => None,
    };
    let looks: Vec<Option<Seen>> = vm.disks.iter().map(|disk| look(&disk.path)).collect();
    let all = looks.iter().all(Option::is_some);
    let seen = looks.into_iter().flatten().fold(Seen::default(), Seen::and);
    // What was seen is so, whatever was not looked at.
    let verdict = |seen: bool| (seen || all).then_some(seen);
    vm.bitlocker = verdict(seen.bitlocker);
    vm.hibernated = verdict(seen.hibernated);
}
