//! What the helper asks of its kernel and of the programs that came with it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// The kernel unpacks a module itself (`MODULE_INIT_COMPRESSED_FILE` of linux/module.h; nix has no name for it).
const COMPRESSED: u32 = 4;
const DEVICES_WITHIN: Duration = Duration::from_secs(60);
const FREE_WITHIN: Duration = Duration::from_secs(10);

pub fn failed(what: impl std::fmt::Display) -> io::Error {
    io::Error::other(what.to_string())
}

pub fn mount_at(source: &str, target: &Path, kind: &str, (flags, data): (MsFlags, &str)) -> io::Result<()> {
    fs::create_dir_all(target)?;
    mount(Some(source), target, Some(kind), flags, Some(data)).map_err(|errno| {
        failed(format_args!("cannot mount {source} ({kind}) at {}: {errno}", target.display()))
    })
}

pub fn bind(source: &Path, target: &Path) -> io::Result<()> {
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>).map_err(|errno| {
        failed(format_args!("cannot show {} at {}: {errno}", source.display(), target.display()))
    })
}

/// Everything mounted below `root`, the last first. What a program of the guest still holds open is an error: its
/// filesystem would not be whole.
pub fn unmount_below(root: &Path) -> io::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    let points = points.map(|point| PathBuf::from(point.replace("\\040", " ")));
    let mut below: Vec<PathBuf> = points.filter(|point| point.starts_with(root)).collect();
    below.reverse();
    for point in below {
        // Views of our own folders hold no data of the guest.
        let kernel = point.ends_with("dev") || point.ends_with("proc") || point.ends_with("sys");
        let flags = if kernel { MntFlags::MNT_DETACH } else { MntFlags::empty() };
        let deadline = Instant::now() + FREE_WITHIN;
        loop {
            match umount2(&point, flags) {
                Ok(()) => break,
                // Processes that were killed take a moment to let go.
                Err(Errno::EBUSY) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(50))
                }
                Err(errno) => {
                    return Err(failed(format_args!("cannot unmount {}: {errno}", point.display())));
                }
            }
        }
    }
    Ok(())
}

/// In the order of the list; those that the kernel has built in or does not want are left out.
pub fn load_modules(list: &Path, said: &mut dyn FnMut(String)) {
    for path in fs::read_to_string(list).unwrap_or_default().lines() {
        let compressed = !path.ends_with(".ko");
        let flags = ModuleInitFlags::from_bits_retain(if compressed { COMPRESSED } else { 0 });
        let loaded = File::open(path).and_then(|file| Ok(finit_module(&file, c"", flags)?));
        if let Err(error) = loaded
            && error.raw_os_error() != Some(nix::libc::EEXIST)
        {
            said(format!("module {path}: {error}"));
        }
    }
}

pub fn wait_for_devices(names: &[&str]) -> io::Result<()> {
    let deadline = Instant::now() + DEVICES_WITHIN;
    for name in names {
        let is_there =
            || fs::metadata(Path::new("/dev").join(name)).is_ok_and(|m| m.file_type().is_block_device());
        while !is_there() {
            if Instant::now() > deadline {
                return Err(failed(format_args!("the disk {name} is not there")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}

/// Sectors of 512 bytes of a block device.
pub fn sectors(name: &str) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/sys/class/block/{name}/size"))?;
    text.trim().parse().map_err(failed)
}

pub fn open_device(name: &str) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(nix::libc::O_SYNC)
        .open(Path::new("/dev").join(name))
}

/// Runs a program of ours; its output, or what it complained of.
pub fn run(program: &str, arguments: &[&str]) -> io::Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .env("LVM_SUPPRESS_FD_WARNINGS", "1")
        .env("MDADM_NO_UDEV", "1")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(format_args!("cannot run {program}: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(format_args!("{program} {}: {} ({})", arguments.join(" "), said.trim(), output.status)))
}
