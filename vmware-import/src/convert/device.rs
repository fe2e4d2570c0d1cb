//! A block device as the target of a conversion: which one it is, where its journal lies, and whether what an earlier run
//! wrote is still on it.
//!
//! A device has no name of its own to be renamed to when it is whole, nor a folder for a journal: that lies in the user's
//! state folder. What always holds: an earlier run is gone on with only on the very device that it wrote, attached once
//! and in the same boot (the kernel counts attached disks, and gives their numbers again), and only where spots all over
//! what is done read as the source does. So another disk, and one that somebody wrote to meanwhile, are written from the
//! beginning. Whoever writes the device holds it exclusively: what is mounted, or part of a volume group, is refused.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::stat::{major, minor};
use xenith_common_block::{BlockSource, FileSource};

use crate::error::{ImportError, Result};
use crate::vmdk::image::Image;

/// So much of the disk is looked at for each spot, and so many spots: some megabytes, whatever the disk's size.
const SPOT: u64 = 64 * 1024;
const SPOTS: u64 = 32;
/// Whatever looks at new disks by itself lets go again at once.
const PATIENCE: Duration = Duration::from_secs(3);

/// See the module's text.
#[derive(Debug, Clone)]
pub struct Device {
    /// `None` where this device cannot be told from another one: then every run begins anew.
    pub(super) kept: Option<Kept>,
}

/// What a journal of a device needs.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub identity: String,
    pub journal: PathBuf,
}

impl Device {
    /// `None` where `path` is no block device.
    #[must_use]
    pub fn at(path: &Path) -> Option<Self> {
        let about = fs::metadata(path).ok().filter(|about| about.file_type().is_block_device())?;
        let number = format!("{}:{}", major(about.rdev()), minor(about.rdev()));
        let kept = || {
            let identity = identity(&Path::new("/sys/dev/block").join(&number), &number)?;
            let folder = state_folder()?;
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
            let journal = folder.join(format!("device-{}.xenith-journal", number.replace(':', "-")));
            made.ok().map(|()| Kept { identity, journal })
        };
        Some(Self { kept: kept() })
    }
}

/// Number, count of the attached disk (`diskseq`, Linux 5.15; of a partition its disk's), and where it lies on it.
fn identity(about: &Path, number: &str) -> Option<String> {
    let read = |name: &str| fs::read_to_string(about.join(name)).ok().map(|text| text.trim().to_owned());
    let sequence = read("diskseq").or_else(|| read("../diskseq"))?;
    let start = read("start").unwrap_or_default();
    Some(format!("{number} {sequence} {start} {}", read("size")?))
}

fn state_folder() -> Option<PathBuf> {
    let given = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = given("XDG_STATE_HOME").or_else(|| Some(given("HOME")?.join(".local/state")))?;
    Some(base.join("xenith-import"))
}

/// Takes the device for this run alone. The kernel lets go of it when the process ends, however it does.
pub(super) fn hold(path: &Path) -> Result<File> {
    let end = Instant::now() + PATIENCE;
    loop {
        // On a block device this flag alone asks for it exclusively (open(2)).
        let opened = OpenOptions::new().write(true).custom_flags(nix::libc::O_EXCL).open(path);
        match opened {
            Ok(file) => return Ok(file),
            Err(error) if !is_busy(&error) => {
                return Err(ImportError::io("open", path.display().to_string(), error));
            }
            Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(100)),
            Err(_) => {
                let detail = "is in use: mounted, part of something larger, or being written".to_owned();
                return Err(ImportError::Target { target: path.display().to_string(), detail });
            }
        }
    }
}

fn is_busy(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::libc::EBUSY)
}

/// Whether the device reads as `image` does, at spots all over the first `done` bytes and just before their end. A
/// filesystem, a partition table or another disk that was put there meanwhile shows at one of them.
pub(super) fn still_has(path: &Path, image: &Image, done: u64) -> bool {
    let Ok(target) = FileSource::open(path) else { return false };
    let mut spots: Vec<u64> = (0..SPOTS).map(|spot| done / SPOTS * spot).collect();
    spots.push(done.saturating_sub(SPOT));
    let (mut ours, mut theirs) = (vec![0; SPOT as usize], vec![0; SPOT as usize]);
    spots.into_iter().all(|at| {
        let len = SPOT.min(done - at) as usize;
        image.read_at(at, &mut ours[..len]).is_ok()
            && target.read_at(at, &mut theirs[..len]).is_ok()
            && ours[..len] == theirs[..len]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_told_from_the_next_one_of_its_number() {
        let sys = tempfile::tempdir().unwrap();
        let (disk, part) = (sys.path().join("sda"), sys.path().join("sda/sda1"));
        fs::create_dir_all(&part).unwrap();
        let write = |path: PathBuf, text: &str| fs::write(path, format!("{text}\n")).unwrap();
        write(disk.join("size"), "2048");
        assert_eq!(identity(&disk, "8:0"), None, "an older kernel: nobody can tell");
        write(disk.join("diskseq"), "7");
        write(part.join("size"), "1024");
        write(part.join("start"), "512");
        assert_eq!(identity(&disk, "8:0").as_deref(), Some("8:0 7  2048"));
        assert_eq!(identity(&part, "8:1").as_deref(), Some("8:1 7 512 1024"));
        write(disk.join("diskseq"), "8");
        assert_eq!(identity(&part, "8:1").as_deref(), Some("8:1 8 512 1024"));
    }
}
