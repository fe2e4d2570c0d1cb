//! A VM at its source: what it is made of, and the few things that are done to it.
//!
//! Everything here can be called again. Nothing is changed but power, snapshots with our name and, where it is asked for,
//! changed-block tracking.

use std::time::{Duration, Instant};

use super::client::{MoRef, Vim};
use super::inventory::live_vm;
use super::snapshots::remove_ours;
use super::soap::{Body, Flag, Node};
use crate::error::{ImportError, Result, Retry};
use crate::plan::inventory::{Power, Vm};

/// Powering on or off takes seconds; a busy host minutes.
const POWER: Duration = Duration::from_secs(600);
/// How long a guest that goes down is waited for before it is started again; then somebody has to ask again.
const GOING_DOWN: Duration = Duration::from_secs(120);
/// Folders in folders in a datacenter: nobody has more.
const MAX_DEPTH: usize = 64;

/// A disk of a VM, as the move addresses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceDisk {
    pub key: u64,
    pub label: String,
    pub capacity: u64,
    pub path: String,
}

impl SourceDisk {
    /// The datastore's name in `path`.
    #[must_use]
    pub fn datastore(&self) -> &str {
        self.path.strip_prefix('[').and_then(|rest| rest.split(']').next()).unwrap_or_default()
    }
}

/// See the module's text.
#[derive(Debug, Clone)]
pub struct SourceVm {
    pub reference: MoRef,
    pub vm: Vm,
    pub disks: Vec<SourceDisk>,
    /// The path of its datacenter, for files of datastores.
    pub datacenter: String,
}

/// Finds a VM by its name or id.
pub fn find(vim: &Vim, name: &str) -> Result<MoRef> {
    let mut found = Vec::new();
    vim.list("VirtualMachine", &["name"], |object| {
        if object.text("name") == name || object.reference.id == name {
            found.push(object.reference);
        }
    })?;
    match found.len() {
        1 => Ok(found.swap_remove(0)),
        0 => Err(ImportError::Missing { file: vim.base().to_owned(), name: name.to_owned() }),
        count => {
            Err(ImportError::Usage(format!("{count} VMs are called {name:?}: give the id, such as vm-42")))
        }
    }
}

/// Reads one VM.
pub fn describe(vim: &Vim, reference: &MoRef) -> Result<SourceVm> {
    let live = live_vm(vim, reference)?;
    let hardware = vim.properties(reference, &["config.hardware"])?;
    let hardware = hardware.get("config.hardware").cloned().unwrap_or_default();
    let disks = hardware.all("device").filter(|device| device.kind == "VirtualDisk").map(disk);
    let disks = disks
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| ImportError::Usage(format!("{} has a disk without a size or a key", live.name)))?;
    Ok(SourceVm { reference: reference.clone(), vm: live, disks, datacenter: datacenter(vim, reference)? })
}

fn disk(device: &Node) -> Option<SourceDisk> {
    let bytes = device.number_at("capacityInBytes").filter(|bytes| *bytes > 0);
    Some(SourceDisk {
        key: device.number_at("key")?,
        label: device.text_at("deviceInfo.label").to_owned(),
        capacity: bytes.or_else(|| device.number_at("capacityInKB").map(|kb| kb << 10))?,
        path: device.text_at("backing.fileName").to_owned(),
    })
}

/// As `/folder` wants it: with the folders that the datacenter is in, the root left out.
pub(super) fn datacenter(vim: &Vim, vm: &MoRef) -> Result<String> {
    let mut at = vm.clone();
    // From the datacenter upwards.
    let mut names: Vec<String> = Vec::new();
    for _ in 0..MAX_DEPTH {
        let object = match vim.properties(&at, &["name", "parent"]) {
            // What lies above may be hidden from this account.
            Err(ImportError::Server { retry: Retry::Never, .. }) if !names.is_empty() => {
                return Ok(path_of(names));
            }
            found => found?,
        };
        if at.kind == "Datacenter" || !names.is_empty() {
            names.push(object.text("name").to_owned());
        }
        match object.get("parent").map(Node::moref).filter(|parent| !parent.id.is_empty()) {
            Some(parent) => at = parent,
            None => break,
        }
    }
    if names.len() > 1 {
        names.pop();
    }
    if !names.is_empty() {
        return Ok(path_of(names));
    }
    // A VM of a vApp has no folder. One datacenter there is in any case.
    vim.list("Datacenter", &["name"], |object| names.push(object.text("name").to_owned()))?;
    match names.len() {
        1 => Ok(names.swap_remove(0)),
        _ => Err(ImportError::Usage(format!("the datacenter of {} cannot be told", vm.id))),
    }
}

fn path_of(mut upwards: Vec<String>) -> String {
    upwards.reverse();
    upwards.join("/")
}

pub fn power(vim: &Vim, vm: &MoRef) -> Result<Power> {
    let found = vim.properties(vm, &["runtime.powerState"])?;
    Ok(match found.text("runtime.powerState") {
        "poweredOn" => Power::On,
        "suspended" => Power::Suspended,
        _ => Power::Off,
    })
}

/// Changed-block tracking of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracking {
    On,
    Off,
}

pub fn tracking(vim: &Vim, vm: &MoRef) -> Result<Tracking> {
    let found = vim.properties(vm, &["config.changeTrackingEnabled"])?;
    let on = found.text("config.changeTrackingEnabled") == "true";
    Ok(if on { Tracking::On } else { Tracking::Off })
}

/// Switches it; on a VM that runs, it begins or ends with the next snapshot.
pub fn set_tracking(vim: &Vim, vm: &MoRef, tracking: Tracking) -> Result<()> {
    let flag = if tracking == Tracking::On { Flag::True } else { Flag::False };
    let body = Body::new().nested("spec", "", Body::new().flag("changeTrackingEnabled", flag));
    vim.run("ReconfigVM_Task", vm, &body, POWER).map(drop)
}

/// What came of asking a guest to shut down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// It was asked, or is off already.
    Yes,
    /// It cannot be asked, for this reason: its tools do not run, or it is suspended. Somebody has to do it.
    Refused(String),
}

/// Asks the guest; returns at once.
pub fn ask_to_shut_down(vim: &Vim, vm: &MoRef) -> Result<Asked> {
    match power(vim, vm)? {
        Power::On => match vim.call("ShutdownGuest", vm, &Body::new()) {
            Ok(_) => Ok(Asked::Yes),
            Err(ImportError::Server { detail, retry: Retry::Never, .. }) => Ok(Asked::Refused(detail)),
            Err(error) => Err(error),
        },
        Power::Suspended => Ok(Asked::Refused("it is suspended".to_owned())),
        Power::Off => Ok(Asked::Yes),
    }
}

/// Pulls the plug. What a VM that is suspended had in its memory is lost with it.
pub fn power_off(vim: &Vim, vm: &MoRef) -> Result<()> {
    match power(vim, vm)? {
        Power::On | Power::Suspended => vim.run("PowerOffVM_Task", vm, &Body::new(), POWER).map(drop),
        Power::Off => Ok(()),
    }
}

/// As it was: running again where `started` says that we switched it off, and our snapshots gone.
pub fn restore(vim: &Vim, vm: &MoRef, started: Started) -> Result<()> {
    // What people wait for comes first: a snapshot that cannot go now must not keep the VM off.
    let running = match started {
        Started::Again => start_again(vim, vm),
        Started::AsItIs => Ok(()),
    };
    let removed = remove_ours(vim, vm);
    running.and(removed)
}

/// A guest that we asked to shut down may still be at it: taken for running, it would be off a minute later, and stay off.
fn start_again(vim: &Vim, vm: &MoRef) -> Result<()> {
    let end = Instant::now() + GOING_DOWN;
    while is_going_down(vim, vm)? {
        if Instant::now() >= end {
            let detail =
                "the guest still shuts down; roll back once more when it is off, and it is started again";
            return Err(vim.error("PowerOnVM_Task", detail.to_owned(), Retry::Later));
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    match power(vim, vm)? {
        Power::Off => vim.run("PowerOnVM_Task", vm, &Body::new(), POWER).map(drop),
        Power::On | Power::Suspended => Ok(()),
    }
}

fn is_going_down(vim: &Vim, vm: &MoRef) -> Result<bool> {
    let found = vim.properties(vm, &["runtime.powerState", "guest.guestState"])?;
    Ok(found.text("runtime.powerState") == "poweredOn" && found.text("guest.guestState") == "shuttingDown")
}

/// Whether a source is switched on again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    Again,
    AsItIs,
}
