//! The guest's root in the helper: found, mounted with what its `fstab` adds, prepared by a process that lives in it.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::MsFlags;
use serde::{Deserialize, Serialize};

use super::disks::Found;
use super::system::{bind, failed, mount_at, unmount_below};
use super::{Job, ROOT_COMMAND};
use crate::error::{ImportError, Result};
use crate::guest::folder::{FolderFiles, apply};
use crate::guest::{Change, Facts, Files, fallback_loader, is_root, prepare};

/// Where it is mounted.
pub const ROOT: &str = "/guest";
const FACTS: &str = "/facts.json";
const FILESYSTEMS: [&str; 7] = ["ext4", "ext3", "ext2", "xfs", "btrfs", "vfat", "ntfs"];
/// Of its `fstab`: what kernels, their initramfs and the programs that make them lie in.
const NEEDED: [&str; 5] = ["/usr", "/var", "/boot", "/boot/efi", "/efi"];
/// Names of the root's subvolume on btrfs, where it is not the top: Ubuntu and SUSE, Debian, Fedora.
const SUBVOLUMES: [&str; 4] = ["", "@", "@rootfs", "root"];

/// A root, as it was found.
#[derive(Debug)]
pub struct GuestRoot {
    pub at: Found,
    /// Its subvolume.
    options: String,
}

fn read_only(kind: &str) -> &'static str {
    // Without its log: nothing is written while we only look. btrfs has another word for it, FAT has none.
    match kind {
        "ext4" | "ext3" => "noload",
        "xfs" => "norecovery",
        "btrfs" => "nologreplay",
        _ => "",
    }
}

/// What the kernel calls a filesystem that `blkid` knows by another name.
fn driver(kind: &str) -> &str {
    if kind == "ntfs" { "ntfs3" } else { kind }
}

fn joined(first: &str, second: &str) -> String {
    let both = [first, second];
    both.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(",")
}

/// Every root of a system that is known.
pub fn find(devices: &[Found], said: &mut dyn FnMut(String)) -> Vec<GuestRoot> {
    let mut roots = Vec::new();
    for found in devices {
        if found.kind == "crypto_LUKS" {
            said(format!("{} is encrypted: what is in it cannot be looked at", found.names[0]));
        }
        if found.kind == "linux_raid_member" && !devices.iter().any(|other| other.path.starts_with("/dev/md"))
        {
            said(format!(
                "{} belongs to an array that was not put together: install mdadm on the host, or mend the array at its source",
                found.names[0]
            ));
        }
        if found.kind == "BitLocker" {
            said(format!(
                "{} is encrypted by BitLocker: decrypt it at the source (manage-bde -off) and copy again; one that is only suspended cannot be prepared either",
                found.names[0]
            ));
        }
        if !FILESYSTEMS.contains(&found.kind.as_str()) || found.kind == "vfat" {
            continue;
        }
        let volumes: &[&str] = if found.kind == "btrfs" { &SUBVOLUMES } else { &SUBVOLUMES[..1] };
        for volume in volumes {
            let options = if volume.is_empty() { String::new() } else { format!("subvol={volume}") };
            let data = joined(&options, read_only(&found.kind));
            let at = Path::new(ROOT);
            match mount_at(&found.path, at, driver(&found.kind), (MsFlags::MS_RDONLY, data.as_str())) {
                Err(error) if volume.is_empty() => said(error.to_string()),
                Err(_) => continue,
                Ok(()) => {
                    let known = is_root(&FolderFiles(at.to_owned()));
                    if let Err(error) = unmount_below(at) {
                        said(error.to_string());
                    }
                    if known {
                        roots.push(GuestRoot { at: found.clone(), options });
                        break;
                    }
                }
            }
        }
    }
    roots
}

impl GuestRoot {
    /// Mounts it for writing, with the rest of what the plan needs.
    pub fn mount(&self, devices: &[Found], said: &mut dyn FnMut(String)) -> io::Result<()> {
        let root = Path::new(ROOT);
        mount_at(&self.at.path, root, driver(&self.at.kind), (MsFlags::empty(), self.options.as_str()))?;
        if self.at.kind == "ntfs" {
            // Nothing of Windows runs here, and nothing else of it is needed.
            return Ok(());
        }
        let table = FolderFiles(root.to_owned()).text("/etc/fstab").unwrap_or_default();
        for entry in entries(&table) {
            let Some(found) = devices.iter().find(|found| found.is_meant_by(entry.source)) else {
                said(format!("{} ({}) is on none of the disks", entry.point, entry.source));
                continue;
            };
            let target = within(root, entry.point)?;
            let subvolume =
                entry.options.split(',').find(|option| option.starts_with("subvol")).unwrap_or_default();
            if !FILESYSTEMS.contains(&found.kind.as_str()) {
                return Err(failed(format_args!(
                    "{} is {}, which is not known here",
                    entry.point, found.kind
                )));
            }
            mount_at(&found.path, &target, &found.kind, (MsFlags::empty(), subvolume))?;
        }
        for (folder, kind) in [("proc", "proc"), ("sys", "sysfs"), ("run", "tmpfs"), ("tmp", "tmpfs")] {
            mount_at(kind, &within(root, folder)?, kind, (MsFlags::empty(), ""))?;
        }
        bind(Path::new("/dev"), &within(root, "dev")?)
    }

    /// Prepares it; `said` gets what its programs say. Needs [`Self::mount`] before.
    pub fn prepare(
        &self,
        job: &Job,
        devices: &[Found],
        said: &mut dyn FnMut(String),
    ) -> io::Result<Prepared> {
        let facts = Facts {
            devices: devices.iter().flat_map(Found::devices).collect(),
            macs: job.macs.clone(),
            ready_kernels: Vec::new(),
            efi: devices.iter().any(|found| found.kind == "vfat"),
        };
        fs::write(FACTS, serde_json::to_vec(&facts)?)?;
        let mut child = Command::new("/proc/self/exe")
            .args([ROOT_COMMAND, ROOT, FACTS])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (answer, log) = (child.stdout.take(), child.stderr.take());
        let (Some(answer), Some(log)) = (answer, log) else { return Err(failed("no pipes")) };
        let answering = std::thread::spawn(move || {
            let mut text = String::new();
            answer.take(16 << 20).read_to_string(&mut text).map(|_| text)
        });
        for line in BufReader::new(log).split(b'\n') {
            said(String::from_utf8_lossy(&line?).into_owned());
        }
        let status = child.wait()?;
        let text = answering.join().map_err(|_| failed("the answer cannot be read"))??;
        if !status.success() {
            return Err(failed(text.trim()));
        }
        serde_json::from_str(&text).map_err(failed)
    }
}

/// What the process in the root did.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Prepared {
    pub os: String,
    pub changes: Vec<String>,
    pub warnings: Vec<String>,
}

/// A loader where firmware looks that knows no entries: the UEFI of Xen's guests never knows any.
pub fn prepare_firmware(devices: &[Found], prepared: &mut Prepared) -> io::Result<()> {
    for found in devices.iter().filter(|found| found.kind == "vfat") {
        let at = Path::new("/firmware");
        mount_at(&found.path, at, "vfat", (MsFlags::empty(), ""))?;
        let change = fallback_loader(&FolderFiles(at.to_owned()));
        let done =
            change.as_ref().map_or(Ok(()), |change| apply(at, std::slice::from_ref(change), &mut |_| ()));
        unmount_below(at)?;
        done.map_err(failed)?;
        prepared.changes.extend(change.map(|change| format!("{} on the EFI partition", change.line())));
    }
    Ok(())
}

struct Entry<'a> {
    source: &'a str,
    point: &'a str,
    options: &'a str,
}

/// Those of an `fstab` that are needed, the outer ones first.
fn entries(table: &str) -> Vec<Entry<'_>> {
    let mut found = Vec::new();
    for line in table.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [source, point, _, ref rest @ ..] = words[..]
            && NEEDED.contains(&point)
        {
            found.push(Entry { source, point, options: rest.first().copied().unwrap_or_default() });
        }
    }
    found.sort_by_key(|entry| entry.point.len());
    found
}

/// A folder below `root`, without following a link of the guest out of it.
fn within(root: &Path, folder: &str) -> io::Result<PathBuf> {
    let mut path = root.to_owned();
    for part in folder.split('/').filter(|part| !part.is_empty()) {
        path.push(part);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(failed(format_args!("{} of the guest is not a folder", path.display()))),
            Err(_) => fs::create_dir(&path)?,
        }
    }
    Ok(path)
}

/// The process in the root: makes it its own, so that no link of the guest leads elsewhere, and does the plan. The
/// answer is JSON, or a sentence why not.
pub fn work_inside(root: &Path, facts: &Path) -> Result<Prepared> {
    let text =
        fs::read(facts).map_err(|error| ImportError::io("read", facts.display().to_string(), error))?;
    let mut facts: Facts =
        serde_json::from_slice(&text).map_err(|error| ImportError::Usage(format!("{error}")))?;
    let entered = nix::unistd::chroot(root).and_then(|()| nix::unistd::chdir("/"));
    entered.map_err(|errno| ImportError::io("enter", root.display().to_string(), errno.into()))?;
    let files = FolderFiles(PathBuf::from("/"));
    facts.ready_kernels = ready_kernels(&files);
    eprintln!("kernels whose initramfs has Xen's front-ends: {:?}", facts.ready_kernels);
    let plan = prepare(&files, &facts);
    let plan =
        plan.ok_or_else(|| ImportError::Usage("the root is not one of a system that is known".to_owned()))?;
    apply(Path::new("/"), &plan.changes, &mut |change| eprintln!("{}", change.line()))?;
    let after = ready_kernels(&files);
    let run = |change: &Change| matches!(change, Change::Run { .. });
    if plan.changes.iter().any(run) {
        eprintln!("afterwards: {after:?}");
    }
    Ok(Prepared {
        os: plan.os,
        changes: plan.changes.iter().map(Change::line).collect(),
        warnings: plan.warnings,
    })
}

/// By the guest's own lister: what it makes, it reads. A kernel that cannot be listed is made anew, which does no harm.
fn ready_kernels(files: &FolderFiles) -> Vec<String> {
    let mut ready = Vec::new();
    for name in files.list("/boot") {
        let kernel =
            ["initrd.img-", "initramfs-", "initrd-"].iter().find_map(|start| name.strip_prefix(start));
        let Some(kernel) = kernel.map(|kernel| kernel.trim_end_matches(".img")) else { continue };
        for lister in ["/usr/bin/lsinitramfs", "/usr/bin/lsinitrd"] {
            if !files.exists(lister) {
                continue;
            }
            let listed = Command::new(lister)
                .arg(format!("/boot/{name}"))
                .env_clear()
                .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
                .env("LC_ALL", "C")
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .output();
            let has =
                |text: &str, driver: &str| text.lines().any(|line| line.contains(&format!("/{driver}.ko")));
            if let Ok(output) = listed
                && let text = String::from_utf8_lossy(&output.stdout)
                && has(&text, "xen-blkfront")
                && has(&text, "xen-netfront")
            {
                ready.push(kernel.to_owned());
            }
            break;
        }
    }
    ready
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_needed_is_mounted_the_outer_first() {
        let table = "# UUID=1 /boot ext4\nUUID=2 /boot/efi vfat umask=0077 0 1\nUUID=3 / ext4 defaults 0 1\n\
                     /dev/sda2 /boot ext4 defaults\nLABEL=home /home ext4\nUUID=4 none swap sw\nshort /usr\n\
                     UUID=5 /var btrfs subvol=@var,compress\n";
        let found: Vec<_> =
            entries(table).into_iter().map(|entry| (entry.source, entry.point, entry.options)).collect();
        assert_eq!(
            found,
            [
                ("UUID=5", "/var", "subvol=@var,compress"),
                ("/dev/sda2", "/boot", "defaults"),
                ("UUID=2", "/boot/efi", "umask=0077")
            ]
        );
    }

    #[test]
    fn a_link_of_the_guest_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir(&root).unwrap();
        std::os::unix::fs::symlink("/etc", root.join("boot")).unwrap();
        assert!(within(&root, "/boot/efi").unwrap_err().to_string().contains("boot"));
        assert!(!Path::new("/etc/efi").exists());
        assert_eq!(within(&root, "/var").unwrap(), root.join("var"));
    }
}
