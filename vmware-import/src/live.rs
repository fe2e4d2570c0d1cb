//! The commands that talk to a server.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use xenith_vmware_import::convert::{ConvertOptions, Progress};
use xenith_vmware_import::error::{ImportError, Result};
use xenith_vmware_import::plan::{self, Settings};
use xenith_vmware_import::target::TargetFormat;
use xenith_vmware_import::vsphere::nfc::Lease;
use xenith_vmware_import::vsphere::route::Mounts;
use xenith_vmware_import::vsphere::warm::{Phase, Stopped, WarmMove};
use xenith_vmware_import::vsphere::{Credentials, MoRef, Vim, inspect, inventory};

use crate::cli::Output;
use crate::output::{Show, plan_text, print, report_text};

/// How to reach a server.
pub struct Login {
    pub host: String,
    pub user: String,
    pub password_file: PathBuf,
    pub fingerprint: Option<String>,
}

impl Login {
    pub fn connect(&self) -> Result<Arc<Vim>> {
        let name = self.password_file.display().to_string();
        let password =
            std::fs::read_to_string(&self.password_file).map_err(|e| ImportError::io("read", name, e))?;
        let password = password.trim_end_matches(['\r', '\n']).to_owned();
        let pin = self.fingerprint.as_deref().map(str::parse).transpose()?;
        let credentials = Credentials { user: self.user.clone(), password };
        Vim::connect(&self.host, credentials, pin).map(Arc::new)
    }
}

fn find(vim: &Vim, name: &str) -> Result<MoRef> {
    let mut found = Vec::new();
    vim.list("VirtualMachine", &["name"], |object| {
        if object.text("name") == name || object.reference.id == name {
            found.push(object.reference);
        }
    })?;
    match found.len() {
        1 => Ok(found.swap_remove(0)),
        0 => Err(ImportError::Usage(format!("there is no VM {name:?}"))),
        count => {
            Err(ImportError::Usage(format!("{count} VMs are called {name:?}: give the id, such as vm-42")))
        }
    }
}

pub fn list(output: Output, login: &Login) -> Result<ExitCode> {
    let vim = login.connect()?;
    let found = inventory::read(&vim)?;
    print(output, &found, || {
        let lines = found.vms.iter().map(|vm| format!("{:<12} {} ({:?})", vm.id, vm.name, vm.power));
        lines.collect::<Vec<_>>().join("\n")
    });
    Ok(ExitCode::SUCCESS)
}

pub fn assess(output: Output, login: &Login, settings: &Settings) -> Result<ExitCode> {
    let vim = login.connect()?;
    let mut found = inventory::read(&vim)?;
    found.vms.iter_mut().for_each(|vm| inspect::look(&vim, vm));
    let plan = plan::make(&found, settings);
    print(output, &plan, || plan_text(&plan));
    Ok(ExitCode::SUCCESS)
}

/// Brings the disks of a VM that is off.
pub fn export(
    output: Output,
    login: &Login,
    target: (&str, &Path, TargetFormat),
    show: &mut Show,
) -> Result<ExitCode> {
    let (name, folder, format) = target;
    let vim = login.connect()?;
    let vm = find(&vim, name)?;
    std::fs::create_dir_all(folder).map_err(|e| ImportError::io("make", folder.display().to_string(), e))?;
    let options = ConvertOptions::new(format);
    let progress = &mut |p: Progress| show.progress(p);
    let reports = Lease::open(&vim, &vm)?.download(folder, "disk", &options, progress)?;
    show.end();
    print(output, &reports, || reports.iter().map(report_text).collect::<Vec<_>>().join("\n"));
    Ok(ExitCode::SUCCESS)
}

/// What a call of `vsphere warm` does.
#[derive(Clone, Copy)]
pub enum WarmStep {
    /// One pass.
    Pass,
    /// The same, with changed-block tracking switched on before.
    TrackedPass,
    /// Shut down within this time, last pass.
    CutOver(Duration),
    /// As it was.
    RollBack,
}

pub fn warm(
    output: Output,
    login: &Login,
    target: (&str, &Path, &str, Mounts),
    step: WarmStep,
) -> Result<ExitCode> {
    let (name, folder, datacenter, mounts) = target;
    let vim = login.connect()?;
    let vm = find(&vim, name)?;
    let mut warm = WarmMove::open(vim, vm, folder, datacenter)?.mounted(mounts);
    match step {
        WarmStep::Pass => drop(warm.pass()?),
        WarmStep::TrackedPass => {
            warm.track_changes()?;
            warm.pass()?;
        }
        // Its disks may be in use already.
        WarmStep::CutOver(_) if warm.state.phase == Phase::Done => {}
        WarmStep::CutOver(deadline) => {
            if warm.stop_guest(deadline)? == Stopped::StillRunning {
                return Err(ImportError::Usage(format!(
                    "{name} still runs: shut it down in the guest and call again, or take it back with rollback"
                )));
            }
            warm.finish()?;
        }
        WarmStep::RollBack => warm.roll_back()?,
    }
    print(output, &warm.state, || {
        let passes = warm.state.passes.iter().flatten().map(|pass| {
            format!("disk {}: {:?}, {} read, {} written", pass.key, pass.method, pass.read, pass.written)
        });
        let left = warm.state.left_behind.as_ref();
        let left = left.map(|why| format!("\na snapshot is left at the source: {why}")).unwrap_or_default();
        format!("{:?}\n{}{left}", warm.state.phase, passes.collect::<Vec<_>>().join("\n"))
    });
    Ok(ExitCode::SUCCESS)
}
