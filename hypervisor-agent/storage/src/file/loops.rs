//! The loop devices that serve an image to running guests. Without any (no guest, no root) there is nothing to do.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `/dev/loopN` of every loop device over `image`.
fn devices(image: &Path) -> Vec<PathBuf> {
    let Ok(image) = image.canonicalize() else { return Vec::new() };
    let Ok(entries) = fs::read_dir("/sys/block") else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"loop"))
        .filter(|entry| {
            // Gone between the listing and this: not ours.
            fs::read_to_string(entry.path().join("loop/backing_file"))
                .is_ok_and(|backing| Path::new(backing.trim_end_matches('\n')) == image)
        })
        .map(|entry| Path::new("/dev").join(entry.file_name()))
        .collect()
}

/// Writes out what dom0 holds back for the image: an emulated disk of a guest without drivers goes through the
/// device's page cache.
pub fn flush(image: &Path) -> io::Result<()> {
    for device in devices(image) {
        match File::open(&device) {
            Ok(open) => open.sync_all()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Tells the devices that the image is larger. The back end tells the guest with its next request.
pub fn grown(image: &Path) -> io::Result<()> {
    for device in devices(image) {
        // util-linux, essential on every Debian: the ioctl (LOOP_SET_CAPACITY) would be one more unsafe call.
        let output = Command::new("losetup").arg("--set-capacity").arg(&device).output()?;
        if !output.status.success() && device.exists() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
    }
    Ok(())
}
