//! From a file to a VM: what the file says, what the flags say instead, and then its disks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use xenith_orchestrator_api::import;
use xenith_orchestrator_types::import::{UploadDisk, UploadVm};
use xenith_vmware_import::vmdk::Plain;
use xenith_vmware_import::whole::{self, ManifestCheck, WholeNic, WholeOptions, WholeVm};

use super::send::{self, Disk};
use crate::app::App;
use crate::cli::{FileArgs, Planned, UploadArgs};
use crate::error::CliError;
use crate::wait::{begin_or_plan, done, follow};

const MIB: u64 = 1 << 20;

/// Opens the file; what it is read for may take a while, so not on the runtime.
pub async fn read(from: &FileArgs) -> Result<(WholeVm, Vec<Disk>), CliError> {
    let (file, vm) = (from.file.clone(), from.vm.clone());
    let plain = if from.raw { Plain::Yes } else { Plain::ByName };
    let manifest = if from.no_manifest { ManifestCheck::Skipped } else { ManifestCheck::Done };
    let reading = tokio::task::spawn_blocking(move || {
        if plain != Plain::Yes
            && let Some(found) = super::xva::open(&file)?
        {
            return Ok(found);
        }
        let opened = whole::open(&file, WholeOptions { vm: vm.as_deref(), plain, manifest });
        let (whole, images) = opened.map_err(CliError::Import)?;
        Ok((whole, images.into_iter().map(|image| Arc::new(image) as Disk).collect()))
    });
    reading.await.map_err(|error| CliError::usage(error.to_string()))?
}

pub async fn run(app: &App, args: UploadArgs) -> Result<(), CliError> {
    let (vm, images) = read(&args.from).await?;
    for warning in &vm.warnings {
        app.note(&format!("note: {warning}"));
    }
    let request = request(&args, &vm, &images)?;
    if args.dry_run {
        let planned = Planned { dry_run: true, tasked: args.tasked };
        return begin_or_plan::<import::Upload>(app, &request, &planned).await;
    }
    let began = Instant::now();
    let started = app.change::<import::Upload>(&request, &args.tasked.keyed).await?;
    let id = started.object.clone().unwrap_or_default();
    if args.no_send {
        let people =
            format!("Import {id} waits for its disks: xenith import send {id} {}", args.from.file.display());
        return app.out.result(&started, &id, &people);
    }
    send::send(app, &id, images).await?;
    let task = follow(app, started.task, args.tasked.timeout.map(Into::into)).await?;
    app.out.result(&task, &id, &done(&task, began.elapsed()))
}

fn request(args: &UploadArgs, vm: &WholeVm, images: &[Disk]) -> Result<UploadVm, CliError> {
    let file = args.from.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let missing =
        |what: &str, flag: &str| CliError::usage(format!("{file} does not say {what}; give {flag}"));
    let name = args.name.clone().or_else(|| Some(vm.name.clone()).filter(|name| !name.is_empty()));
    let name = name.ok_or_else(|| missing("what the VM is called", "--name"))?;
    let memory = args.memory.map(|memory| memory.mib()).or(vm.memory_mib);
    let memory = memory.ok_or_else(|| missing("how much memory the VM has", "--memory"))?;
    let vcpus =
        args.vcpus.map(|count| count.get()).or(vm.vcpus).ok_or_else(|| missing("its CPUs", "--vcpus"))?;
    let firmware = args.firmware.clone().unwrap_or_else(|| if vm.efi { "uefi" } else { "bios" }.to_owned());
    let sizes: Vec<u64> = images.iter().map(|disk| disk.size()).collect();
    let disks: Vec<Value> = sizes.iter().map(|size| json!({ "size": size.next_multiple_of(MIB) })).collect();
    let create = json!({
        "name": name,
        "platform": { "kind": "hvm", "firmware": firmware },
        "vcpus": { "online": vcpus, "max": vcpus },
        "memory": { "target": memory, "max": memory },
        "disks": disks,
        "nics": nics(args, vm)?,
        "graphics": "vnc",
        "description": format!("imported from {file}"),
        "tags": args.tags,
        "pool": args.pool,
        "host": args.host,
        "start": args.start,
    });
    let vm_fields = serde_json::from_value(create).map_err(|error| CliError::usage(error.to_string()))?;
    let disk = |(name, capacity): (&String, &u64)| UploadDisk { name: name.clone(), capacity: *capacity };
    let disks = vm.disks.iter().zip(&sizes).map(disk).collect();
    Ok(UploadVm { vm: vm_fields, disks, file, no_prepare: args.no_prepare })
}

/// Every NIC of the file has a network of ours, or was left out by name.
fn nics(args: &UploadArgs, vm: &WholeVm) -> Result<Vec<Value>, CliError> {
    let mut named = BTreeMap::new();
    let mut all = None;
    for flag in &args.networks {
        match flag.rsplit_once('=') {
            Some((theirs, ours)) => drop(named.insert(theirs, ours)),
            None => all = Some(flag.as_str()),
        }
    }
    let mut nics = Vec::new();
    for WholeNic { network, mac } in &vm.nics {
        let Some(ours) = named.get(network.as_str()).copied().or(all) else {
            return Err(CliError::usage_next(
                format!("a NIC is in the network {network:?}, for which none of ours was given"),
                format!("--network \"{network}=OURS\", or --network \"{network}=none\" to leave it out"),
            ));
        };
        if ours != "none" {
            let mac = mac.as_ref().filter(|_| !args.new_macs);
            nics.push(json!({ "network": ours, "mac": mac }));
        }
    }
    // A bare disk describes no NIC: the network given is the wish for one.
    if vm.nics.is_empty() && vm.name.is_empty() {
        nics.extend(all.map(|network| json!({ "network": network })));
    }
    Ok(nics)
}
