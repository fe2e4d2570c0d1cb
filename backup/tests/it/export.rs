//! Disks as other programs read them.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use xenith_backup::export::{self, Format, Machine};
use xenith_backup::index::Index;
use xenith_backup::reader::BackupDisk;
use xenith_backup::restore::RestoreProgress;
use xenith_backup::{Repository, manifest};

use crate::support::{MIB, in_memory, noise, try_backup};

/// Data, holes of many sizes, and an end that is no whole grain, cluster or block.
fn odd_disk() -> Vec<u8> {
    let mut bytes = vec![0; 37 * MIB + 512 * 3];
    bytes[5000..5000 + 200_000].copy_from_slice(&noise(1, 200_000));
    bytes[33 * MIB..33 * MIB + 70_000].copy_from_slice(&noise(2, 70_000));
    bytes[20 * MIB..20 * MIB + 512].fill(7);
    let end = bytes.len();
    bytes[end - 700..].fill(9);
    bytes
}

fn disk(repo: &Repository, name: &str) -> BackupDisk {
    let (manifests, _) = manifest::list(repo).unwrap();
    let (_, record) = manifest::find(&manifests, name).unwrap();
    BackupDisk::new(repo, Arc::new(Index::load(repo).unwrap()), record)
}

fn has_qemu_img() -> bool {
    let found = Command::new("qemu-img").arg("--version").output().is_ok();
    if !found {
        eprintln!("qemu-img is not installed: what others read is not tested");
    }
    found
}

/// What qemu-img reads from an image, as raw bytes.
fn read_back(image: &Path, format: &str) -> Vec<u8> {
    let raw = image.with_extension("back");
    let output = Command::new("qemu-img")
        .args(["convert", "-f", format, "-O", "raw"])
        .args([image, &raw])
        .output()
        .unwrap();
    assert!(output.status.success(), "{format}: {}", String::from_utf8_lossy(&output.stderr));
    let bytes = std::fs::read(&raw).unwrap();
    std::fs::remove_file(raw).unwrap();
    bytes
}

#[test]
fn qemu_reads_every_image_as_the_disk_was() {
    let (_, repo) = in_memory();
    let bytes = odd_disk();
    try_backup(&repo, &[("vm", &bytes, None)]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (name, format, qemu) in [
        ("d.raw", Format::Raw, "raw"),
        ("d.qcow2", Format::Qcow2, "qcow2"),
        ("d.vhd", Format::Vhd, "vpc"),
        ("d.vmdk", Format::Vmdk, "vmdk"),
    ] {
        let path = dir.path().join(name);
        assert_eq!(Format::of_name(&path), format, "{name}");
        export::disk(&disk(&repo, "vm"), &path, format, &RestoreProgress::default()).unwrap();
        let again = export::disk(&disk(&repo, "vm"), &path, format, &RestoreProgress::default());
        assert!(again.is_err(), "{name} was overwritten");
        assert!(!dir.path().join(format!("{name}.xenith-part")).exists(), "{name}: a part was left");
        if has_qemu_img() {
            let mut back = read_back(&path, qemu);
            // VMDK counts in grains of 64 KiB; what is behind the disk's end is zeros.
            assert!(back.len() >= bytes.len() && back[bytes.len()..].iter().all(|&b| b == 0), "{name}");
            back.truncate(bytes.len());
            assert!(back == bytes, "{name} differs");
        }
    }
}

#[test]
fn an_ova_holds_every_disk_and_its_digests_are_right() {
    use sha2::{Digest, Sha256};
    let (_, repo) = in_memory();
    let (first, second) = (odd_disk(), noise(3, MIB));
    try_backup(&repo, &[("vm.a", &first, None), ("vm.b", &second, None)]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vm.ova");
    let machine = Machine { name: "web & <mail>".to_owned(), vcpus: 2, memory_mib: 512 };
    let disks = vec![("vm.a".to_owned(), disk(&repo, "vm.a")), ("vm.b".to_owned(), disk(&repo, "vm.b"))];
    export::ova(&machine, &disks, &path, &RestoreProgress::default()).unwrap();
    let mut archive = tar::Archive::new(std::fs::File::open(&path).unwrap());
    archive.unpack(dir.path()).unwrap();
    let ovf = std::fs::read_to_string(dir.path().join("machine.ovf")).unwrap();
    assert!(ovf.contains("<Name>web &amp; &lt;mail&gt;</Name>"), "{ovf}");
    let digests = std::fs::read_to_string(dir.path().join("machine.mf")).unwrap();
    let lines: Vec<&str> = digests.lines().collect();
    assert_eq!(lines.len(), 3, "{digests}");
    for line in lines {
        let (name, digest) = line.strip_prefix("SHA256(").unwrap().split_once(")= ").unwrap();
        let bytes = std::fs::read(dir.path().join(name)).unwrap();
        let found: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, digest, "{name}");
    }
    if has_qemu_img() {
        let back = read_back(&dir.path().join("disk2.vmdk"), "vmdk");
        assert!(back == second);
        assert!(read_back(&dir.path().join("disk1.vmdk"), "vmdk")[..first.len()] == first);
    }
}
