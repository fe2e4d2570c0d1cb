//! `mount`, where there is FUSE.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{MIB, noise};

/// A mounted repository; unmounted with the value.
struct Mounted<'a> {
    child: Child,
    at: &'a Path,
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let unmounted = Command::new("fusermount3").arg("-u").arg(self.at).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

fn tool(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xenith-backup"));
    command.args(args).env("XENITH_PASSPHRASE", "pass").stdout(Stdio::null());
    command
}

#[test]
fn backups_appear_as_files() {
    let fuse = std::fs::File::options().read(true).write(true).open("/dev/fuse");
    if fuse.is_err() || Command::new("fusermount3").arg("--version").output().is_err() {
        eprintln!("there is no FUSE here: nothing is tested");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (repo, disk) = (path("repo"), path("disk"));
    let mut bytes = noise(1, 3 * MIB + 512);
    assert!(tool(&["init", &repo]).status().unwrap().success());
    for name in ["web", "../../up"] {
        std::fs::write(&disk, &bytes).unwrap();
        assert!(tool(&["backup", &repo, &format!("{name}={disk}")]).status().unwrap().success());
    }
    let old = bytes.clone();
    bytes[MIB..MIB + 5].copy_from_slice(b"hello");
    std::fs::write(&disk, &bytes).unwrap();
    assert!(tool(&["backup", &repo, &format!("web={disk}")]).status().unwrap().success());
    let at = dir.path().join("mnt");
    std::fs::create_dir(&at).unwrap();
    let child = tool(&["mount", &repo, at.to_str().unwrap()]).stderr(Stdio::null()).spawn().unwrap();
    let mut mounted = Mounted { child, at: &at };
    let deadline = Instant::now() + Duration::from_secs(30);
    while std::fs::read_dir(&at).unwrap().count() == 0 {
        assert!(mounted.child.try_wait().unwrap().is_none(), "mount ended");
        assert!(Instant::now() < deadline, "nothing was mounted");
        std::thread::sleep(Duration::from_millis(20));
    }
    let names = |dir: &Path| -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&at), [".._.._up", "web"]);
    let files = names(&at.join("web"));
    assert_eq!((files.len(), files[2].as_str()), (3, "latest.raw"), "{files:?}");
    assert!(std::fs::read(at.join("web/latest.raw")).unwrap() == bytes);
    assert!(std::fs::read(at.join("web").join(&files[0])).unwrap() == old);
    assert!(std::fs::write(at.join("web/latest.raw"), "x").is_err(), "a backup was written to");
    // Unmounted from outside it ends by itself.
    assert!(Command::new("fusermount3").arg("-u").arg(&at).status().unwrap().success());
    let deadline = Instant::now() + Duration::from_secs(30);
    let status = loop {
        if let Some(status) = mounted.child.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < deadline, "mount goes on");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success());
}
