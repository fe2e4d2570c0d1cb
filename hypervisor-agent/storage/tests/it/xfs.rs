//! An XFS with reflink in a file, mounted for one test. Needs root, loop devices and mkfs.xfs.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Unmounted when dropped.
pub struct Xfs {
    folder: TempDir,
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output =
        Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{program}: {said}")) }
}

impl Xfs {
    /// `None` where this machine cannot: said once, in the test's output.
    pub fn mount(mib: u64) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let made = (|| {
            let image = folder.path().join("image");
            let file = std::fs::File::create(&image).map_err(|error| error.to_string())?;
            file.set_len(mib << 20).map_err(|error| error.to_string())?;
            let mount = folder.path().join("mount");
            std::fs::create_dir(&mount).map_err(|error| error.to_string())?;
            let (image, mount) = (image.to_str().unwrap(), mount.to_str().unwrap());
            run("mkfs.xfs", &["-q", "-m", "reflink=1", image])?;
            run("mount", &["-o", "loop", image, mount])
        })();
        match made {
            Ok(()) => Some(Self { folder }),
            Err(reason) => {
                eprintln!("skipped: no XFS with reflink can be mounted here ({reason})");
                None
            }
        }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mount")
    }
}

impl Drop for Xfs {
    fn drop(&mut self) {
        let mount: &Path = &self.folder.path().join("mount");
        run("umount", &["--lazy", mount.to_str().unwrap()]).unwrap();
    }
}
