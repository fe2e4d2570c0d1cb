//! A whole VM into a file: its description from the orchestrator, its disks straight from its host.
//!
//! The file is `NAME.xenith-part` until it is whole; the rename is the commit point. A connection that breaks is made
//! again and goes on where it was; an export that is ended begins anew.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use xenith_common_ids::{NetworkId, VdiId};
use xenith_common_image::ova::{OvaVm, OvaWriter};
use xenith_common_image::xva::{XvaDisk, XvaNic, XvaVm, XvaWriter};
use xenith_hypervisor_agent_types::{DiskAccess, Firmware, Platform, VmSpec};
use xenith_orchestrator_api::{network, snapshot, vdi, vm};
use xenith_orchestrator_types::snapshot::SnapshotRef;
use xenith_orchestrator_types::vdi::{ExportVdi, VdiDownload, VdiRef};
use xenith_orchestrator_types::vm::{Vm, VmRef};
use xenith_vmware_import::ImportError;
use xenith_vmware_import::upload::{Mark, Takes, receive};

use crate::app::App;
use crate::cli::{VmExportArgs, VmFormat};
use crate::error::CliError;
use crate::run::vdi::export::{Failure, ask, beside};
use crate::words;

const TRIES: u32 = 20;

/// A disk, with its name and the right to read it.
struct Disk {
    name: String,
    ticket: VdiDownload,
}

pub async fn run(app: &App, args: VmExportArgs) -> Result<(), CliError> {
    let VmExportArgs { vm, file, snapshot, format } = args;
    let format = format.or_else(|| VmFormat::of_name(&file)).ok_or_else(|| {
        CliError::usage("which kind of file? End its name in .xva or .ova, or give --format")
    })?;
    if file.exists() {
        return Err(CliError::usage(format!("{} is there already", file.display())));
    }
    let vm = app.call::<vm::Get>(&VmRef { vm }).await?;
    let (spec, snapshot) = contents(app, &vm, snapshot).await?;
    let networks = app.all::<network::List, _>().await?;
    let networks: HashMap<_, _> = networks.into_iter().map(|network| (network.id, network.name)).collect();
    let mut disks = Vec::new();
    for disk in &spec.disks {
        disks.push(one_disk(app, disk.vdi, snapshot.as_ref()).await?);
    }
    let began = Instant::now();
    let shown = file.clone();
    let work = move || match format {
        VmFormat::Xva => xva(&described(&vm, &spec, &networks, &disks), &disks, &file),
        VmFormat::Ova => ova(&for_ova(&vm, &spec, &networks, &disks), &disks, &file),
    };
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| CliError::usage(error.to_string()))?;
    let size = done.map_err(|problem| CliError::Upload {
        problem,
        next: "nothing was kept; the same command begins anew".to_owned(),
    })?;
    let took = began.elapsed().as_secs_f64();
    let said = format!("{}: {} in {took:.1} s", shown.display(), words::bytes(size));
    app.out.result(&shown.display().to_string(), &shown.display().to_string(), &said)
}

/// The definition that goes into the file, and the id of the snapshot that its disks are read from.
async fn contents(
    app: &App,
    vm: &Vm,
    snapshot: Option<String>,
) -> Result<(VmSpec, Option<String>), CliError> {
    let Some(snapshot) = snapshot else {
        let spec = vm.spec.clone();
        let foreign = || CliError::usage("a domain that Xenith did not make has no disks here");
        return Ok((spec.ok_or_else(foreign)?, None));
    };
    let reference = SnapshotRef { snapshot, vm: Some(vm.id.to_string()) };
    let kept = app.call::<snapshot::Get>(&reference).await?;
    let mut spec = kept.spec;
    // What the VM only read is not in the snapshot.
    spec.disks.retain(|disk| kept.disks.iter().any(|kept| kept.vdi == disk.vdi));
    Ok((spec, Some(kept.id.to_string())))
}

async fn one_disk(app: &App, vdi: VdiId, snapshot: Option<&String>) -> Result<Disk, CliError> {
    let vdi = vdi.to_string();
    let name = app.call::<vdi::Get>(&VdiRef { vdi: vdi.clone() }).await?.name;
    let ticket = app.call::<vdi::Export>(&ExportVdi { vdi, snapshot: snapshot.cloned() }).await?;
    Ok(Disk { name, ticket })
}

fn described(vm: &Vm, spec: &VmSpec, networks: &HashMap<NetworkId, String>, disks: &[Disk]) -> XvaVm {
    let disk = |(spec, disk): (&xenith_hypervisor_agent_types::DiskSpec, &Disk)| XvaDisk {
        name: disk.name.clone(),
        size: disk.ticket.size.bytes(),
        position: spec.device.index().into(),
        bootable: spec.device.index() == 0,
        read_only: spec.access == DiskAccess::ReadOnly,
    };
    XvaVm {
        name: vm.name.clone(),
        description: vm.description.clone(),
        uuid: vm.id.to_string(),
        vcpus: spec.vcpus.online.get(),
        vcpus_max: spec.vcpus.max.get(),
        memory: spec.memory.target.bytes(),
        memory_max: spec.memory.max.bytes(),
        uefi: is_uefi(spec),
        paravirtual: matches!(spec.platform, Platform::Pv { .. }),
        disks: spec.disks.iter().zip(disks).map(disk).collect(),
        nics: nics(spec, networks).map(|(network, mac)| XvaNic { mac, network }).collect(),
        tags: vm.tags.iter().cloned().collect(),
    }
}

fn for_ova(vm: &Vm, spec: &VmSpec, networks: &HashMap<NetworkId, String>, disks: &[Disk]) -> OvaVm {
    OvaVm {
        name: vm.name.clone(),
        description: vm.description.clone(),
        vcpus: spec.vcpus.online.get(),
        memory_mib: spec.memory.target.mib(),
        uefi: is_uefi(spec),
        disks: disks.iter().map(|disk| disk.ticket.size.bytes()).collect(),
        nics: nics(spec, networks).collect(),
    }
}

const fn is_uefi(spec: &VmSpec) -> bool {
    matches!(spec.platform, Platform::Hvm { firmware: Firmware::Uefi, .. })
}

fn nics<'a>(
    spec: &'a VmSpec,
    networks: &'a HashMap<NetworkId, String>,
) -> impl Iterator<Item = (String, String)> + 'a {
    let named = |id: &NetworkId| networks.get(id).cloned().unwrap_or_else(|| id.to_string());
    spec.nics.iter().map(move |nic| (named(&nic.network), nic.mac.to_string()))
}

/// Fills a new file through `fill`; returns its size.
fn in_place(
    file: &Path,
    fill: impl FnOnce(BufWriter<File>) -> Result<BufWriter<File>, String>,
) -> Result<u64, String> {
    let part: PathBuf = beside(file, ".xenith-part");
    let told = |what: &str| {
        let text = format!("cannot {what} {}", part.display());
        move |error: io::Error| format!("{text}: {}", words::io(&error))
    };
    let work = || {
        let mut options = File::options();
        let out =
            options.read(true).write(true).create(true).truncate(true).open(&part).map_err(told("create"))?;
        let mut out = fill(BufWriter::with_capacity(1 << 20, out))?;
        out.flush().and_then(|()| out.get_ref().sync_all()).map_err(told("write"))?;
        let size = out.get_ref().metadata().map_err(told("look at"))?.len();
        std::fs::rename(&part, file).map_err(told("rename"))?;
        Ok(size)
    };
    let done = work();
    if done.is_err() {
        let _half = std::fs::remove_file(&part);
    }
    done
}

fn xva(vm: &XvaVm, disks: &[Disk], file: &Path) -> Result<u64, String> {
    let name = file.display().to_string();
    in_place(file, |out| {
        let mut writer = XvaWriter::new(out, &name, vm).map_err(|error| error.to_string())?;
        for disk in disks {
            let sink = writer.disk().map_err(|error| error.to_string())?;
            let (mut mark, mut tries) = (Mark::default(), 0);
            while let Err(failure) = read_disk(&disk.ticket, &sink, &mut mark) {
                tries += 1;
                match failure {
                    Failure::Passing(_) if tries < TRIES => {}
                    Failure::Passing(problem) | Failure::Final(problem) => {
                        return Err(format!("{}: {problem}", disk.name));
                    }
                    Failure::Ticket => return Err(format!("{}: the host takes no ticket", disk.name)),
                }
                std::thread::sleep(Duration::from_millis(500 * u64::from(tries.min(8))));
            }
            sink.finish().map_err(|error| error.to_string())?;
        }
        writer.finish().map_err(|error| error.to_string())
    })
}

fn read_disk(
    ticket: &VdiDownload,
    sink: &dyn xenith_common_block::BlockSink,
    mark: &mut Mark,
) -> Result<(), Failure> {
    let from = mark.clone();
    let mut response = ask(ticket, |http, base| {
        http.post(format!("{base}/frames")).header(Takes::HEADER, Takes::OURS).json(&from)
    })?;
    let mut keep = |reached: &Mark| {
        *mark = reached.clone();
        Ok(())
    };
    receive(&mut response, sink, (ticket.size.bytes(), &from), &mut keep).map(drop).map_err(|error| {
        match error {
            ImportError::Io { action: "receive", .. } | ImportError::Truncated { .. } => {
                Failure::Passing(error.to_string())
            }
            error => Failure::Final(error.to_string()),
        }
    })
}

fn ova(vm: &OvaVm, disks: &[Disk], file: &Path) -> Result<u64, String> {
    in_place(file, |out| {
        let mut writer = OvaWriter::new(out, vm).map_err(|error| error.to_string())?;
        for disk in disks {
            let fill = |_: &str, out: &mut dyn Write| {
                let response = ask(&disk.ticket, |http, base| http.get(format!("{base}/vmdk")));
                let mut response = response.map_err(|failure| match failure {
                    Failure::Passing(problem) | Failure::Final(problem) => io::Error::other(problem),
                    Failure::Ticket => io::Error::other("the host takes no ticket"),
                })?;
                io::copy(&mut response, out).map(drop)
            };
            writer.disk(fill).map_err(|error| format!("{}: {error}", disk.name))?;
        }
        writer.finish().map_err(|error| error.to_string())
    })
}
