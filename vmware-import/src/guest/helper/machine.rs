//! The helper as its host makes it: which kernel, and an initramfs of our program, the programs it calls, their
//! libraries and the modules it loads, all from the host itself. There is nothing to install and nothing to keep in
//! step: a host that is upgraded makes helpers of what it has then.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use cpio::newc::{Builder, ModeFileType};

use super::{INIT_COMMAND, JOB, Job, MODULES};
use crate::error::{ImportError, Result};

/// Called by the helper; found in these folders of the host.
const PROGRAMS: [&str; 4] = ["dmsetup", "losetup", "lvm", "blkid"];
/// Only for guests with md RAID: a host without it prepares all others.
const OPTIONAL: [&str; 1] = ["mdadm"];
const FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Loaded in this order, each after what it needs. Those that a kernel has not are left out: it may have them built in.
const WANTED: [&str; 33] = [
    "xen-blkfront",
    "virtio_pci",
    "virtio_blk",
    "loop",
    "dm-mod",
    "dm-bufio",
    "dm-snapshot",
    "dm-mirror",
    "dm-thin-pool",
    "md-mod",
    "raid0",
    "raid1",
    "raid10",
    "raid456",
    "crc32c_generic",
    "crc32c-intel",
    "crc16",
    "mbcache",
    "jbd2",
    "ext4",
    "libcrc32c",
    "xfs",
    "raid6_pq",
    "xor",
    "xxhash_generic",
    "blake2b_generic",
    "btrfs",
    "vfat",
    "ntfs3",
    "nls_cp437",
    "nls_ascii",
    "nls_utf8",
    "nls_iso8859-1",
];
/// Beyond the initramfs, which lies in memory twice while it is unpacked: for the guest's own tools.
const MEMORY_MIB: u64 = 384;

/// Where a host has what helpers are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kit {
    pub kernel: PathBuf,
    /// `/lib/modules/VERSION` of that kernel.
    pub modules: PathBuf,
    /// The program that knows [`INIT_COMMAND`].
    pub program: PathBuf,
    /// What that program calls.
    pub tools: Vec<PathBuf>,
}

/// A helper to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    pub kernel: PathBuf,
    pub initramfs: PathBuf,
    pub command_line: String,
    pub memory_mib: u64,
}

impl Kit {
    /// That of the running kernel, with the program that runs.
    pub fn of_this_host() -> Result<Self> {
        let io = |path: &str, error| ImportError::io("read", path, error);
        let version = fs::read_to_string("/proc/sys/kernel/osrelease")
            .map_err(|error| io("the kernel's version", error))?;
        let version = version.trim();
        let program = std::env::current_exe().map_err(|error| io("our own path", error))?;
        let kernel =
            ["/boot/vmlinuz-", "/boot/vmlinux-"].map(|start| PathBuf::from(format!("{start}{version}")));
        let kernel = kernel.iter().find(|path| path.is_file()).cloned().ok_or_else(|| {
            ImportError::Usage(format!("there is no kernel {version} in /boot for the helper VM"))
        })?;
        Ok(Self {
            kernel,
            modules: PathBuf::from(format!("/lib/modules/{version}")),
            program,
            tools: Self::tools_of_this_host()?,
        })
    }

    /// The programs that a helper calls.
    pub fn tools_of_this_host() -> Result<Vec<PathBuf>> {
        let at = |program: &str| {
            FOLDERS.iter().map(|folder| Path::new(folder).join(program)).find(|path| path.is_file())
        };
        let find = |program: &&str| {
            at(program).ok_or_else(|| {
                ImportError::Usage(format!(
                    "the host has no {program}, which helper VMs need; install dmsetup, lvm2, mount and util-linux"
                ))
            })
        };
        let mut tools = PROGRAMS.iter().map(find).collect::<Result<Vec<_>>>()?;
        tools.extend(OPTIONAL.iter().filter_map(|program| at(program)));
        Ok(tools)
    }

    /// Writes the initramfs to `path`.
    pub fn make(&self, job: &Job, path: &Path) -> Result<Machine> {
        let failed = |error| ImportError::io("make", path.display().to_string(), error);
        let mut tree = Tree::default();
        tree.program(&self.program, "/init")?;
        for tool in &self.tools {
            let name = tool.file_name().unwrap_or_default().to_string_lossy();
            tree.program(tool, &format!("/usr/sbin/{name}"))?;
        }
        tree.modules(&self.modules)?;
        tree.text(JOB, serde_json::to_vec(job).expect("names of devices and addresses"));
        let archive = tree.archive().map_err(failed)?;
        fs::write(path, &archive).map_err(failed)?;
        Ok(Machine {
            kernel: self.kernel.clone(),
            initramfs: path.to_owned(),
            command_line: format!("console=hvc0 loglevel=4 panic=-1 rdinit=/init -- {INIT_COMMAND}"),
            memory_mib: MEMORY_MIB + 2 * (archive.len() as u64 >> 20),
        })
    }
}

enum Content {
    File(PathBuf),
    Text(Vec<u8>),
}

/// What goes into the initramfs, by its path there.
#[derive(Default)]
struct Tree(BTreeMap<String, Content>);

impl Tree {
    fn text(&mut self, path: &str, text: Vec<u8>) {
        self.0.insert(path.to_owned(), Content::Text(text));
    }

    /// With the libraries that the host's own loader finds for it.
    fn program(&mut self, program: &Path, at: &str) -> Result<()> {
        let name = program.display().to_string();
        let output = Command::new("ldd")
            .arg(program)
            .env("LC_ALL", "C")
            .output()
            .map_err(|error| ImportError::io("look for the libraries of", &name, error))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let is_static = String::from_utf8_lossy(&output.stderr).contains("not a dynamic executable")
            || said.contains("statically linked");
        if !output.status.success() && !is_static {
            return Err(ImportError::Usage(format!(
                "ldd {name}: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )));
        }
        for library in
            libraries(&said).map_err(|missing| ImportError::Missing { file: name.clone(), name: missing })?
        {
            self.0.insert(library.clone(), Content::File(PathBuf::from(library)));
        }
        self.0.insert(at.to_owned(), Content::File(program.to_owned()));
        Ok(())
    }

    fn modules(&mut self, folder: &Path) -> Result<()> {
        let table = folder.join("modules.dep");
        let text = fs::read_to_string(&table)
            .map_err(|error| ImportError::io("read", table.display().to_string(), error))?;
        let mut list = String::new();
        for file in in_order(&text) {
            let at = format!("/lib/modules/{file}");
            list = format!("{list}{at}\n");
            self.0.insert(at, Content::File(folder.join(file)));
        }
        self.text(MODULES, list.into_bytes());
        Ok(())
    }

    /// In the kernel's format (newc), uncompressed: the host's CPU is worth more than its disk.
    fn archive(&self) -> io::Result<Vec<u8>> {
        let mut folders: BTreeSet<String> =
            ["/dev", "/proc", "/sys", "/run", "/tmp", "/guest", "/firmware", "/etc"].map(String::from).into();
        for path in self.0.keys() {
            folders.extend(Path::new(path).ancestors().skip(1).map(|path| path.display().to_string()));
        }
        folders.remove("/");
        let mut bytes = Vec::new();
        let mut number = 0;
        let mut entry = |name: &str, kind: ModeFileType, device: u32, content: &[u8]| -> io::Result<()> {
            number += 1;
            let size = u32::try_from(content.len()).map_err(io::Error::other)?;
            let builder =
                Builder::new(name.trim_start_matches('/')).ino(number).mode(0o755).set_mode_file_type(kind);
            let builder = builder.rdev_major(device >> 8).rdev_minor(device & 0xff);
            let mut writer = builder.write(&mut bytes, size);
            writer.write_all(content)?;
            writer.finish().map(drop)
        };
        for folder in &folders {
            entry(folder, ModeFileType::Directory, 0, &[])?;
        }
        // For the first process, before it has mounted what makes them.
        for (name, minor) in [("/dev/null", 3), ("/dev/console", 1)] {
            let major = if minor == 3 { 1 } else { 5 };
            entry(name, ModeFileType::Char, (major << 8) | minor, &[])?;
        }
        for (path, content) in &self.0 {
            match content {
                Content::Text(text) => entry(path, ModeFileType::Regular, 0, text)?,
                Content::File(file) => {
                    let read = fs::read(file);
                    let read = read.map_err(|error| {
                        io::Error::new(error.kind(), format!("{}: {error}", file.display()))
                    })?;
                    entry(path, ModeFileType::Regular, 0, &read)?;
                }
            }
        }
        cpio::newc::trailer(&mut bytes)?;
        Ok(bytes)
    }
}

/// Paths that `ldd` names, or the library that it did not find.
fn libraries(said: &str) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for line in said.lines().map(str::trim) {
        let (name, rest) = line.split_once(" => ").unwrap_or(("", line));
        if rest == "not found" {
            return Err(name.to_owned());
        }
        found.extend(rest.split(" (").next().filter(|path| path.starts_with('/')).map(ToOwned::to_owned));
    }
    Ok(found)
}

fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or_default();
    file.split(".ko").next().unwrap_or_default().replace('_', "-")
}

/// The files of the modules wanted and of all they need, each after what it needs.
fn in_order(table: &str) -> Vec<&str> {
    let lines: Vec<(&str, Vec<&str>)> = table
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(file, needs)| (file, needs.split_whitespace().collect()))
        .collect();
    let mut order = Vec::new();
    for wanted in WANTED {
        let Some((file, needs)) =
            lines.iter().find(|(file, _)| module_name(file) == wanted.replace('_', "-"))
        else {
            continue;
        };
        // modules.dep lists all that is needed, the nearest first: the reverse can be loaded.
        for file in needs.iter().rev().chain([file]) {
            if !order.contains(file) {
                order.push(*file);
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_those_that_the_loader_finds() {
        let said = "\tlinux-vdso.so.1 (0x7ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f00)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x7f01)\n";
        assert_eq!(
            libraries(said).unwrap(),
            ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]
        );
        assert_eq!(libraries("\tstatically linked\n").unwrap(), Vec::<String>::new());
        assert_eq!(libraries("\tliblvm.so => not found\n").unwrap_err(), "liblvm.so");
    }

    #[test]
    fn modules_come_after_what_they_need() {
        let table = "kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko kernel/lib/crc16.ko kernel/fs/mbcache.ko\n\
                     kernel/fs/jbd2/jbd2.ko:\nkernel/lib/crc16.ko:\nkernel/fs/mbcache.ko:\n\
                     kernel/drivers/block/xen-blkfront.ko.xz:\nkernel/drivers/net/e1000.ko:\n";
        let order = in_order(table);
        let at = |end: &str| order.iter().position(|file| file.ends_with(end));
        assert_eq!(order.len(), 5, "{order:?}");
        assert_eq!(at("xen-blkfront.ko.xz"), Some(0));
        assert!(at("jbd2.ko") < at("ext4.ko") && at("mbcache.ko") < at("ext4.ko"), "{order:?}");
    }

    #[test]
    fn an_initramfs_has_the_program_its_libraries_and_the_job() {
        let folder = tempfile::tempdir().unwrap();
        let mut tree = Tree::default();
        tree.program(&std::env::current_exe().unwrap(), "/init").unwrap();
        tree.text(JOB, b"{}".to_vec());
        tree.0.retain(|path, _| path != "/init");
        let archive = folder.path().join("initramfs");
        fs::write(&archive, tree.archive().unwrap()).unwrap();
        let bytes = fs::read(&archive).unwrap();
        let mut rest = bytes.as_slice();
        let mut seen = Vec::new();
        loop {
            let reader = cpio::newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            seen.push(reader.entry().name().to_owned());
            rest = reader.finish().unwrap();
        }
        assert!(seen.iter().any(|name| name.starts_with("lib") && name.contains("libc.so")), "{seen:?}");
        let at = |name: &str| seen.iter().position(|seen| seen == name);
        assert!(
            at("dev").is_some()
                && at("job.json").is_some()
                && at("lib64") < at("job.json").or(Some(usize::MAX)),
            "{seen:?}"
        );
    }
}
