//! What disks show of Windows before they are copied: real NTFS, files, and a simulated server.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use xenith_common_block::{FileSource, MemorySource};
use xenith_vmware_import::error::ImportError;
use xenith_vmware_import::inspect::{Seen, look};
use xenith_vmware_import::plan::inventory::{Power, Vm};
use xenith_vmware_import::vsphere::warm::WarmMove;
use xenith_vmware_import::vsphere::{inspect, inventory};

use crate::support::Lab;
use crate::tool::tool;
use crate::vcsim::Server;
use crate::vsphere::{files, write};

/// An NTFS with `hiberfil.sys` in it; `None`, and a word, where its tools are not installed.
fn ntfs(folder: &Path, hiberfil: &[u8]) -> Option<Vec<u8>> {
    let (image, file) = (folder.join("ntfs.raw"), folder.join("hiberfil"));
    std::fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    std::fs::write(&file, hiberfil).unwrap();
    let (image_name, file_name) = (image.to_str().unwrap(), file.to_str().unwrap());
    let make = ["-q", "-F", "-s", "512", "-p", "0", "-H", "255", "-S", "63", image_name];
    let copy = ["-q", image_name, file_name, "hiberfil.sys"];
    // mkntfs lies in sbin, which a user's PATH may lack.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    for (program, arguments) in [("mkntfs", &make[..]), ("ntfscp", &copy[..])] {
        let Ok(output) = Command::new(program).args(arguments).env("PATH", &path).output() else {
            eprintln!("{program} is not installed: NTFS is not tested");
            return None;
        };
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Some(std::fs::read(&image).unwrap())
}

#[test]
fn a_hibernated_windows_shows_in_its_filesystem() {
    let dir = tempfile::tempdir().unwrap();
    for (name, head, expected) in
        [("hibernated", b"HIBR", true), ("an older one", b"hibr", true), ("resumed", b"WAKE", false)]
    {
        let hiberfil = [&head[..], &[7; 100_000]].concat();
        let Some(volume) = ntfs(dir.path(), &hiberfil) else { return };
        let seen = look(&MemorySource::new(volume)).unwrap();
        assert_eq!(seen, Seen { bitlocker: false, hibernated: expected }, "{name}");
    }
}

/// Whatever a stranger put there, the look ends and says nothing worse than nothing.
#[test]
fn a_damaged_ntfs_ends_the_look() {
    let dir = tempfile::tempdir().unwrap();
    let Some(sound) = ntfs(dir.path(), b"HIBRxxxx") else { return };
    for seed in 0..200usize {
        let mut volume = sound.clone();
        for turn in 0..40 {
            // In the boot sector and in the table of files, where a byte counts.
            let at = (seed * 7919 + turn * 104_729) % if turn % 2 == 0 { 512 } else { 256 << 10 };
            volume[at] ^= (1 + seed * 31 + turn) as u8;
        }
        let started = std::time::Instant::now();
        let _seen = look(&MemorySource::new(volume)).unwrap();
        assert!(started.elapsed().as_secs() < 60, "seed {seed} took {:?}", started.elapsed());
    }
}

#[test]
fn info_warns_of_what_cannot_be_prepared() {
    let lab = Lab::new(70);
    let raw = lab.path("bitlocker.raw");
    std::fs::write(&raw, bitlocker()).unwrap();
    assert!(look(&FileSource::open(&raw).unwrap()).unwrap().bitlocker);
    let output = tool(&["info", raw.to_str().unwrap(), "--from", "raw", "-o", "json"]);
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(said["warnings"].to_string().contains("BitLocker"), "{said}");
}

/// The first MiB of a volume that BitLocker encrypts.
fn bitlocker() -> Vec<u8> {
    let mut volume = vec![0; 1 << 20];
    volume[3..11].copy_from_slice(b"-FVE-FS-");
    volume
}

#[test]
fn a_disk_that_bitlocker_encrypts_is_seen_at_its_source() {
    let lab = Lab::new(71);
    let folder = files(&lab);
    write(&lab, 0, &bitlocker()[..512], "[]");
    let Some(server) = Server::start(&["-files", &folder]) else { return };
    let vim = server.connect();
    let live = inventory::vms(&vim).unwrap().swap_remove(0);
    // The simulator's VMs run, and are no Windows.
    let mut running = live.vm.clone();
    inspect::look(&vim, &mut running);
    assert_eq!((running.bitlocker, running.hibernated), (None, None));
    let windows = "Microsoft Windows Server 2022 (64-bit)".to_owned();
    let mut off = Vm { power: Power::Off, os: windows, ..live.vm };
    inspect::look(&vim, &mut off);
    assert_eq!((off.bitlocker, off.hibernated), (Some(true), Some(false)));
    // One that runs is found out by its first pass, before anything of it is copied.
    let target = lab.path("move");
    let mut warm = WarmMove::open(Arc::clone(&vim), live.reference, &target, "DC0").unwrap();
    let error = warm.pass().unwrap_err();
    assert!(
        matches!(&error, ImportError::Unsupported { feature, .. } if feature.contains("BitLocker")),
        "{error}"
    );
    let copied = std::fs::read_dir(&target)
        .unwrap()
        .flatten()
        .any(|file| file.file_name().to_string_lossy().ends_with(".raw"));
    assert!(!copied, "something was copied");
}

#[test]
fn a_disk_that_cannot_be_read_by_ranges_is_not_known() {
    let lab = Lab::new(72);
    let folder = files(&lab);
    let Some(server) = Server::start(&["-folder-locked", "-files", &folder]) else { return };
    let vim = server.connect();
    let mut vm = inventory::vms(&vim).unwrap().swap_remove(0).vm;
    (vm.power, vm.os) = (Power::Off, "Microsoft Windows 11".to_owned());
    inspect::look(&vim, &mut vm);
    assert_eq!((vm.bitlocker, vm.hibernated), (None, None));
}
