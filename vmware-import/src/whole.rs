//! A whole VM in a file: what an OVA, OVF or `.vmx` says it is made of, or nothing more than a disk.
//!
//! Nothing is left out in silence: what cannot come along is in [`WholeVm::warnings`], and a disk that cannot be
//! opened is an error.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use xenith_common_text::counted;

use crate::bytes::{ByteSource, DirFolder, Folder, check_plain};
use crate::error::{ImportError, Result};
use crate::inspect::{self, Seen};
use crate::ovf::OvaPackage;
use crate::source::{Opened, PackageKind, SourceOptions, open_any, package_kind, read_snapshots, read_vmx};
use crate::vmdk::image::Image;
use crate::vmdk::{FileKind, OpenOptions, Plain, Salvage, open_image};

/// See the module's text.
#[derive(Debug, Clone, Default, Serialize)]
pub struct WholeVm {
    /// Empty where the file does not say.
    pub name: String,
    pub os: String,
    pub vcpus: Option<u32>,
    pub memory_mib: Option<u64>,
    pub efi: bool,
    pub nics: Vec<WholeNic>,
    /// File names, in the order of the controllers.
    pub disks: Vec<String>,
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WholeNic {
    pub network: String,
    pub mac: Option<String>,
}

/// How the file is read.
#[derive(Debug, Clone, Copy, Default)]
pub struct WholeOptions<'a> {
    /// Which VM of a package with several.
    pub vm: Option<&'a str>,
    pub plain: Plain,
    /// Sum up every file that the manifest names before anything else.
    pub manifest: ManifestCheck,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ManifestCheck {
    #[default]
    Done,
    Skipped,
}

/// Reads `path`; returns what it describes, with all of its disks open.
pub fn open(path: &Path, options: WholeOptions<'_>) -> Result<(WholeVm, Vec<Image>)> {
    described(path, options).map(inspected)
}

/// Adds what the disks show: before anything is copied is when somebody can still mend it. What cannot be read is found out
/// where it is copied.
fn inspected((mut vm, images): (WholeVm, Vec<Image>)) -> (WholeVm, Vec<Image>) {
    let looks = images.iter().map(|image| inspect::look(image).unwrap_or_default());
    vm.warnings.extend(looks.fold(Seen::default(), Seen::and).warnings());
    (vm, images)
}

fn described(path: &Path, options: WholeOptions<'_>) -> Result<(WholeVm, Vec<Image>)> {
    if options.plain != Plain::Yes {
        match package_kind(path)? {
            Some(PackageKind::Ovf) => return of_package(&OvaPackage::open(path)?, options),
            Some(PackageKind::Vmx) => return of_vmx(path),
            None => {}
        }
    }
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let open = SourceOptions { plain: options.plain, ..SourceOptions::default() };
    let image = seekable(&file, open_any(path, &open)?)?;
    Ok((WholeVm { disks: vec![file], ..WholeVm::default() }, vec![image]))
}

fn seekable(file: &str, opened: Opened) -> Result<Image> {
    match opened {
        Opened::Image(image) => {
            image.audit()?;
            Ok(image)
        }
        Opened::Stream(_) | Opened::Package(_) => Err(ImportError::unsupported(
            file,
            "a disk that can only be read front to back, as part of a VM,",
            "unpack it first: xenith-import ova FILE FOLDER, or xenith-import convert FILE DISK.qcow2",
        )),
    }
}

/// Reads what `bytes` hold, with nothing beside them: a package in one file, or a disk that needs no other.
pub fn open_bytes(bytes: Arc<dyn ByteSource>, options: WholeOptions<'_>) -> Result<(WholeVm, Vec<Image>)> {
    let file = bytes.name().to_owned();
    if options.plain != Plain::Yes {
        match FileKind::detect(&*bytes)? {
            FileKind::Tar => return of_package(&OvaPackage::from_tar(&bytes)?, options).map(inspected),
            FileKind::Ovf => {
                let way_out = "put it into one file with its disks: tar -cf vm.ova vm.ovf disk.vmdk";
                return Err(ImportError::unsupported(&file, "an OVF without the files beside it", way_out));
            }
            _ => {}
        }
    }
    let open = OpenOptions { plain: options.plain, ..OpenOptions::default() };
    let image = open_image(bytes, Arc::new(Alone), open)?;
    image.audit()?;
    Ok(inspected((WholeVm { disks: vec![file], ..WholeVm::default() }, vec![image])))
}

/// Nothing lies beside the file.
struct Alone;

impl Folder for Alone {
    fn open(&self, from: &str, field: &'static str, name: &str) -> Result<Arc<dyn ByteSource>> {
        check_plain(from, field, name)?;
        Err(ImportError::Missing { file: from.to_owned(), name: name.to_owned() })
    }
}

fn of_package(package: &OvaPackage, options: WholeOptions<'_>) -> Result<(WholeVm, Vec<Image>)> {
    let mut warnings = package.envelope.warnings.clone();
    if package.has_certificate {
        warnings.push("its certificate was not checked".to_owned());
    }
    match options.manifest {
        ManifestCheck::Done if package.manifest.is_some() => {
            warnings.extend(package.unvouched(&package.check_manifest()?));
        }
        ManifestCheck::Done => warnings.push("it has no manifest: nothing vouches for its files".to_owned()),
        ManifestCheck::Skipped if package.manifest.is_some() => {
            warnings.push("its manifest was not checked".to_owned());
        }
        ManifestCheck::Skipped => {}
    }
    let vms = &package.envelope.vms;
    let names = || vms.iter().map(|vm| vm.name.as_str()).collect::<Vec<_>>().join(", ");
    let mut chosen = vms.iter().filter(|vm| options.vm.is_none_or(|name| vm.name == name));
    let (Some(vm), None) = (chosen.next(), chosen.next()) else {
        let text =
            format!("{} describes {} VMs ({}): say which with --vm NAME", package.name, vms.len(), names());
        return Err(ImportError::Usage(text));
    };
    let (mut files, mut images) = (Vec::new(), Vec::new());
    for disk in &vm.disks {
        let Some(file) = disk.file.and_then(|file| package.envelope.files.get(file)) else {
            let text = format!("{}: disk {} has no file: it would be empty", package.name, disk.id);
            return Err(ImportError::Usage(text));
        };
        images.push(seekable(&file.href, package.disk(file, Salvage::Refuse)?)?);
        files.push(file.href.clone());
    }
    warnings.extend(vm.left_out.iter().map(|device| format!("{device} cannot come along")));
    if vm.secure_boot {
        warnings.push("Secure Boot is not brought along".to_owned());
    }
    let nic =
        |nic: &crate::ovf::envelope::Nic| WholeNic { network: nic.network.clone(), mac: nic.mac.clone() };
    let whole = WholeVm {
        name: vm.name.clone(),
        os: vm.os.clone(),
        vcpus: Some(vm.vcpus).filter(|count| *count > 0),
        memory_mib: Some(vm.memory_mib).filter(|mib| *mib > 0),
        efi: vm.efi,
        nics: vm.nics.iter().map(nic).collect(),
        disks: files,
        warnings,
    };
    Ok((whole, images))
}

fn of_vmx(path: &Path) -> Result<(WholeVm, Vec<Image>)> {
    let vm = read_vmx(path)?;
    let name = path.display().to_string();
    if vm.encrypted {
        return Err(ImportError::unsupported(&name, "an encrypted VM", "decrypt it first, at its source"));
    }
    let (mut files, mut images) = (Vec::new(), Vec::new());
    for disk in &vm.disks {
        let folder = DirFolder::of(path);
        let bytes = folder.open(&name, "disk", &disk.file)?;
        let open = OpenOptions { plain: Plain::ByName, salvage: Salvage::Refuse, parent: None };
        let image = open_image(bytes, Arc::new(folder), open).map(Opened::Image)?;
        images.push(seekable(&disk.file, image)?);
        files.push(disk.file.clone());
    }
    let mut warnings: Vec<String> =
        vm.left_out.iter().map(|device| format!("{device} cannot come along")).collect();
    for (is, what) in [(vm.vtpm, "the vTPM's state"), (vm.secure_boot, "Secure Boot")] {
        if is {
            warnings.push(format!("{what} is not brought along"));
        }
    }
    match read_snapshots(path) {
        Ok(snapshots) if snapshots.is_empty() => {}
        Ok(snapshots) => warnings.push(format!(
            "{} cannot come along: the disks come as they are now",
            counted(snapshots.len(), "snapshot")
        )),
        Err(error) => warnings.push(format!("its snapshots are not known: {error}")),
    }
    let nic = |nic: &crate::vmx::VmxNic| WholeNic { network: nic.network.clone(), mac: nic.mac.clone() };
    let whole = WholeVm {
        name: vm.name.clone(),
        os: vm.os.clone(),
        vcpus: u32::try_from(vm.vcpus).ok().filter(|count| *count > 0),
        memory_mib: Some(vm.memory_mib).filter(|mib| *mib > 0),
        efi: vm.efi,
        nics: vm.nics.iter().map(nic).collect(),
        disks: files,
        warnings,
    };
    Ok((whole, images))
}
