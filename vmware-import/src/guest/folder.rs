//! A guest's root as a folder, and the changes done to it.
//!
//! Whoever uses this has made the folder its own root before (`chroot`): a symbolic link in the guest then leads nowhere
//! else. It is for the helper VM that has the copied disks, and for tests; a host never mounts what a stranger wrote.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{XattrFlags, lgetxattr, lsetxattr};

use super::hive::{self, Hive, HiveError, Value};
use super::{Change, Files};
use crate::error::{ImportError, Result};

/// Larger is no configuration file.
const MAX_FILE: u64 = 4 << 20;
const HEAD: u64 = 64;

/// See the module's text.
#[derive(Debug)]
pub struct FolderFiles(pub PathBuf);

impl FolderFiles {
    fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    fn start_of(&self, path: &str, most: u64) -> Option<Vec<u8>> {
        let file = fs::OpenOptions::new()
            .read(true)
            // A FIFO of this name must not hang us.
            .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY)
            .open(self.path(path))
            .ok()?;
        file.metadata().ok().filter(fs::Metadata::is_file)?;
        let mut bytes = Vec::new();
        file.take(most + 1).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }
}

impl Files for FolderFiles {
    fn read(&self, path: &str) -> Option<Vec<u8>> {
        self.start_of(path, MAX_FILE).filter(|bytes| bytes.len() as u64 <= MAX_FILE)
    }

    fn head(&self, path: &str) -> Option<Vec<u8>> {
        self.start_of(path, HEAD)
    }

    fn list(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(folder)) else { return Vec::new() };
        let name = |entry: fs::DirEntry| entry.file_name().into_string().ok();
        let mut names: Vec<String> = entries.flatten().filter_map(name).collect();
        names.sort();
        names
    }

    fn exists(&self, path: &str) -> bool {
        fs::symlink_metadata(self.path(path)).is_ok()
    }
}

/// Does `changes`, in order, below `root`. One that fails ends it: what was done before is harmless to do again.
pub fn apply(root: &Path, changes: &[Change], told: &mut dyn FnMut(&Change)) -> Result<()> {
    let below = |path: &str| root.join(path.trim_start_matches('/'));
    for change in changes {
        told(change);
        match change {
            Change::Write { path, text, mode, .. } => write(&below(path), text, *mode),
            Change::Copy { from, to } => {
                folders_of(&below(to)).and_then(|()| fs::copy(below(from), below(to)).map(drop))
            }
            Change::Link { path, to } => link(&below(path), to),
            Change::Run { command, .. } => run(root, command),
            Change::Registry { hive, values, .. } => set_values(&below(hive), values),
        }
        .map_err(|error| ImportError::io("prepare", describe(change), error))?;
    }
    Ok(())
}

/// Keys of drivers that this Windows does not have are left out; all of them, or another key, are an error.
fn set_values(path: &Path, values: &[(String, String, String)]) -> io::Result<()> {
    let found = fs::metadata(path)?;
    if found.len() > hive::MOST {
        return Err(io::Error::other(format!("a registry of {} bytes", found.len())));
    }
    let mut opened = Hive::parse(fs::read(path)?).map_err(io::Error::other)?;
    let (mut drivers, mut missing) = (0, 0);
    for (key, name, text) in values {
        let value = Value::parse(text).ok_or_else(|| io::Error::other(format!("the value {text}")))?;
        let is_driver = key.contains("\\Services\\");
        drivers += usize::from(is_driver);
        match opened.set(key, name, &value) {
            Err(HiveError::NoKey(_)) if is_driver => missing += 1,
            other => other.map_err(io::Error::other)?,
        }
    }
    if drivers > 0 && missing == drivers {
        return Err(io::Error::other("it has none of the drivers that a guest needs here"));
    }
    replace(path, &opened.into_bytes(), found.permissions().mode())
}

fn describe(change: &Change) -> String {
    match change {
        Change::Write { path, .. } | Change::Link { path, .. } => path.clone(),
        Change::Copy { to, .. } => to.clone(),
        Change::Run { command, .. } => command.join(" "),
        Change::Registry { hive, .. } => hive.clone(),
    }
}

fn folders_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

/// By rename: a crash leaves the old file or the new one. One that is there is read by as many afterwards as before: a
/// `grub.cfg` may hold a password. What is to be run can be run.
fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let there = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file);
    let kept = there.map_or(mode, |found| (found.permissions().mode() & 0o7777) | (mode & 0o111));
    replace(path, text.as_bytes(), kept)
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    folders_of(path)?;
    let mut name = path.as_os_str().to_owned();
    name.push(".xenith-new");
    let partial = PathBuf::from(name);
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&partial)?;
    file.write_all(bytes)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    take_over(LABEL, path, &partial)?;
    file.sync_all()?;
    fs::rename(partial, path)
}

/// What SELinux goes by. Here it does not run, so nothing gives a new file its label; in the guest, one without is a stranger's,
/// and what makes the mounts may not read its `fstab`.
const LABEL: &str = "security.selinux";

/// Gives `to` the attribute of the file that it takes the place of, or of the folder, as the guest's own kernel would.
fn take_over(attribute: &str, path: &Path, to: &Path) -> io::Result<()> {
    let mut label = [0_u8; 1024];
    for from in std::iter::once(path).chain(path.parent()) {
        // There is none, or the filesystem has none: FAT, NTFS, a guest without SELinux.
        if let Ok(len) = lgetxattr(from, attribute, &mut label[..]) {
            return lsetxattr(to, attribute, &label[..len], XattrFlags::empty()).map_err(io::Error::from);
        }
    }
    Ok(())
}

fn link(path: &Path, to: &str) -> io::Result<()> {
    folders_of(path)?;
    match symlink(to, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.and_then(|()| take_over(LABEL, path, path)),
    }
}

fn run(root: &Path, command: &[String]) -> io::Result<()> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let status = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("it ended with {status}"))) }
}

#[cfg(test)]
mod tests {
    use super::super::{Facts, prepare};
    use super::*;

    #[test]
    fn the_registry_of_a_windows_is_set() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let system = root.join("Windows/System32/config/SYSTEM");
        fs::create_dir_all(system.parent().unwrap()).unwrap();
        fs::write(&system, hive::tests::small()).unwrap();
        let plan = prepare(&FolderFiles(root.to_owned()), &Facts::default()).unwrap();
        apply(root, &plan.changes, &mut |_| ()).unwrap();
        let after = Hive::parse(fs::read(&system).unwrap()).unwrap();
        for driver in ["atapi", "intelide"] {
            let start = after.get(&format!("CurrentControlSet\\Services\\{driver}"), "Start").unwrap();
            assert_eq!(start, Some(Value::Dword(0)), "{driver}");
        }
        let over = after.get("CurrentControlSet\\Services\\intelide\\StartOverride", "0").unwrap();
        assert_eq!(over, Some(Value::Dword(0)), "the second word still says 3, and Windows finds no disk");
        assert_eq!(after.get("Setup", "SetupType").unwrap(), Some(Value::Dword(2)));
        let command = after.get("Setup", "CmdLine").unwrap();
        assert_eq!(command, Some(Value::Text("cmd.exe /c C:\\xenith\\first-boot.cmd".to_owned())));
        assert!(fs::read_to_string(root.join("xenith/first-boot.cmd")).unwrap().contains("dpinst.exe"));
        // Twice is harmless, and what is no registry is left as it was.
        apply(root, &plan.changes, &mut |_| ()).unwrap();
        fs::write(&system, "regf").unwrap();
        assert!(apply(root, &plan.changes, &mut |_| ()).unwrap_err().to_string().contains("SYSTEM"));
        assert_eq!(fs::read(&system).unwrap(), b"regf");
    }

    /// The real one is for root alone.
    #[test]
    fn a_file_has_the_label_of_the_one_before_or_of_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (attribute, root) = ("user.xenith-test", folder.path());
        let (old, new, none) = (root.join("old"), root.join("new"), root.join("none"));
        fs::write(&old, "").unwrap();
        fs::write(&new, "").unwrap();
        take_over(attribute, &old, &new).unwrap();
        let read = |path: &Path| {
            let mut label = [0_u8; 64];
            lgetxattr(path, attribute, &mut label[..]).ok().map(|len| label[..len].to_vec())
        };
        assert_eq!(read(&new), None, "there was none to take over");
        if lsetxattr(root, attribute, b"of the folder", XattrFlags::empty()).is_err() {
            eprintln!("the folder for temporary files keeps no attributes: this is not tested");
            return;
        }
        take_over(attribute, &none, &new).unwrap();
        assert_eq!(read(&new).unwrap(), b"of the folder");
        lsetxattr(&old, attribute, b"of the file", XattrFlags::empty()).unwrap();
        take_over(attribute, &old, &new).unwrap();
        assert_eq!(read(&new).unwrap(), b"of the file");
    }

    #[test]
    fn a_folder_is_prepared_once() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("etc/systemd/system")).unwrap();
        fs::create_dir_all(root.join("usr/bin")).unwrap();
        fs::write(root.join("etc/os-release"), "ID=debian\n").unwrap();
        fs::write(root.join("etc/fstab"), "/dev/sda1 / ext4 defaults 0 1\n").unwrap();
        fs::write(root.join("usr/bin/vmtoolsd"), "").unwrap();
        nix::unistd::mkfifo(&root.join("etc/crypttab"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let menu = root.join("boot/grub/grub.cfg");
        fs::create_dir_all(menu.parent().unwrap()).unwrap();
        fs::write(&menu, "password_pbkdf2 root grub.pbkdf2.x\nlinux /vmlinuz root=/dev/sda1 ro\n").unwrap();
        fs::set_permissions(&menu, fs::Permissions::from_mode(0o600)).unwrap();
        let device = super::super::Device {
            name: "/dev/sda1".to_owned(),
            uuid: "1111-aaaa".to_owned(),
            kind: "ext4".to_owned(),
        };
        let facts = Facts { devices: vec![device], ..Facts::default() };
        let files = FolderFiles(root.to_owned());
        let plan = prepare(&files, &facts).unwrap();
        let mut told = 0;
        apply(root, &plan.changes, &mut |_| told += 1).unwrap();
        assert_eq!(told, plan.changes.len());
        assert!(fs::read_to_string(root.join("etc/fstab")).unwrap().starts_with("UUID=1111-aaaa / "));
        assert!(fs::read_to_string(&menu).unwrap().contains("root=UUID=1111-aaaa"));
        assert_eq!(
            fs::metadata(&menu).unwrap().permissions().mode() & 0o777,
            0o600,
            "a password for all to read"
        );
        let script = fs::metadata(root.join("usr/local/sbin/xenith-first-boot")).unwrap();
        assert_eq!(script.permissions().mode() & 0o777, 0o755);
        assert!(prepare(&files, &facts).unwrap().changes.is_empty(), "a second time");
        let fails = [Change::Run { command: vec!["/bin/false".to_owned()], why: String::new() }];
        assert!(apply(root, &fails, &mut |_| ()).unwrap_err().to_string().contains("/bin/false"));
    }
}
