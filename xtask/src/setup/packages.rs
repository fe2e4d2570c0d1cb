//! Which packages are needed, for what, and why.

use std::fmt;
use std::process::Command;

use anyhow::{Result, bail};

use crate::exec;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Build,
    Test,
    Lab,
    Iso,
    Hvm,
    Ui,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Build => "build",
            Self::Test => "test",
            Self::Lab => "lab",
            Self::Iso => "iso",
            Self::Hvm => "hvm",
            Self::Ui => "ui",
        })
    }
}

#[derive(Debug)]
pub struct Package {
    pub name: &'static str,
    pub purpose: Purpose,
    reason: &'static str,
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<22} {:<6} {}", self.name, self.purpose, self.reason)
    }
}

const fn package(purpose: Purpose, name: &'static str, reason: &'static str) -> Package {
    Package { name, purpose, reason }
}

/// Sorted by purpose. `libxen-dev` is among the tests: a build needs no Xen, because the bindings are checked in and
/// the library is loaded at run time.
pub const PACKAGES: &[Package] = &[
    package(Purpose::Build, "clang", "compiler headers that libclang looks for"),
    package(Purpose::Build, "cmake", "aws-lc, the TLS library, where its own builder gives up"),
    package(Purpose::Build, "libclang-dev", "bindgen reads RocksDB's C header with it"),
    package(Purpose::Build, "liblz4-dev", "compression that RocksDB is linked with"),
    package(Purpose::Build, "libprotobuf-dev", "the well-known .proto files"),
    package(Purpose::Build, "librocksdb-dev", "the orchestrator's store (docs/adr/0003)"),
    package(Purpose::Build, "libzstd-dev", "compression that RocksDB is linked with"),
    package(Purpose::Build, "pkg-config", "finds the libraries above"),
    package(Purpose::Build, "protobuf-compiler", "the gRPC contract between orchestrator and agents"),
    package(Purpose::Test, "fdisk", "makes the partition tables that the installer plans"),
    package(Purpose::Test, "fuse3", "mounts what the backup tool shows as files"),
    package(
        Purpose::Test,
        "golang-github-vmware-govmomi-dev",
        "the simulated ESXi and vCenter of the import's tests",
    ),
    package(Purpose::Test, "golang-go", "compiles that simulator"),
    package(Purpose::Test, "iproute2", "makes the network namespaces that stand for guests"),
    package(Purpose::Test, "libxen-dev", "the headers that the libxl bindings are compared with"),
    package(Purpose::Test, "nftables", "loads the rules that packets between them are held against"),
    package(Purpose::Test, "ntfs-3g", "makes the NTFS that the backup tool's file browser reads"),
    package(
        Purpose::Test,
        "xenstore-utils",
        "xenstore-ls and its like, the other side of the xenstore tests",
    ),
    package(Purpose::Test, "xfsprogs", "makes the XFS that it reads"),
    package(Purpose::Lab, "e2fsprogs", "makes the file system of a lab host's disk"),
    package(Purpose::Lab, "mmdebstrap", "fetches and unpacks what a lab host is made of"),
    package(Purpose::Lab, "openssh-client", "the way into a lab host"),
    package(Purpose::Lab, "qemu-system-x86", "the machine that a lab host runs in"),
    package(Purpose::Lab, "qemu-utils", "makes disk images"),
    package(Purpose::Lab, "uidmap", "lets mmdebstrap work without root"),
    package(Purpose::Iso, "dosfstools", "makes the partition that a UEFI firmware starts from"),
    package(Purpose::Iso, "minisign", "signs the medium and the image in it"),
    package(Purpose::Iso, "mtools", "fills that partition without mounting it"),
    package(Purpose::Iso, "ovmf", "the UEFI firmware of the machines that the test installs"),
    package(Purpose::Iso, "squashfs-tools", "packs the root file system"),
    package(Purpose::Iso, "xorriso", "writes the hybrid image"),
    package(Purpose::Hvm, "grub-common", "makes the CD that whole machines in the lab boot from"),
    package(Purpose::Hvm, "grub-efi-amd64-bin", "its boot loader for UEFI"),
    package(Purpose::Hvm, "grub-pc-bin", "its boot loader for BIOS"),
    package(Purpose::Ui, "chromium", "the browser of the end-to-end tests"),
];

/// Unpacked into the cache by the tests of `hypervisor-agent/xenstore`, for its xenstored. It is not in the table:
/// installing it starts services and changes the boot menu.
pub const FETCHED_BY_TESTS: &str = "xen-utils-4.17";

/// The UI's tools need a newer Node.js than Debian 12 has, so it cannot be in the table.
const NODE_MAJOR: u32 = 20;

pub fn check_node(purposes: &[Purpose]) -> Result<()> {
    if !purposes.contains(&Purpose::Ui) {
        return Ok(());
    }
    let version = exec::output(Command::new("node").arg("--version")).unwrap_or_default();
    match node_major(&version) {
        Some(major) if major >= NODE_MAJOR => Ok(()),
        Some(major) => {
            bail!("the UI needs Node.js {NODE_MAJOR} or newer, this is {major}; install one from nodejs.org")
        }
        None => {
            bail!("the UI needs Node.js {NODE_MAJOR} or newer and there is none; install one from nodejs.org")
        }
    }
}

fn node_major(version: &str) -> Option<u32> {
    version.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_without_doubles() {
        let of = |purpose| PACKAGES.iter().filter(move |p| p.purpose == purpose).map(|p| p.name);
        for purpose in [Purpose::Build, Purpose::Test, Purpose::Lab, Purpose::Iso, Purpose::Hvm, Purpose::Ui]
        {
            let names: Vec<_> = of(purpose).collect();
            assert!(names.is_sorted(), "{purpose}: {names:?}");
        }
        let mut names: Vec<_> = PACKAGES.iter().map(|p| p.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PACKAGES.len());
    }

    #[test]
    fn nodes_version_is_read() {
        for (text, major) in [("v20.20.2\n", Some(20)), ("v18.0.0", Some(18)), ("", None), ("20.1", None)] {
            assert_eq!(node_major(text), major, "{text}");
        }
    }
}
