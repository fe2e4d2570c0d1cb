//! `make run` as a person on a machine without Xen does it: `cargo xtask lab-test run`.

use std::path::Path;

use tempfile::TempDir;
use xenith_lab::{LabPaths, Progress, rootfs};

use crate::harness::{Run, commands, goes_off_and_on, lab_is_asked, password, port, runs, says, xenith};

/// A lab folder with a host of its own over the root image that all share: cooking that takes minutes, and a person's
/// `xen1` is not ours to use. Beside the shared one, as a host's disks need room.
async fn own_lab() -> TempDir {
    let shared = LabPaths::from_env();
    rootfs::ensure(&shared, &Progress::stderr()).await.unwrap();
    let key = shared.key();
    let base = key.parent().unwrap();
    let own = tempfile::Builder::new().prefix("run-test-").tempdir_in(base).unwrap();
    for name in ["key", "key.pub", "rootfs"] {
        std::os::unix::fs::symlink(base.join(name), own.path().join(name)).unwrap();
    }
    own
}

fn start(lab: &Path, port: u16) -> Run {
    let mut command = Run::command("lab", &lab.join("data"), port);
    command.env("XENITH_LAB_DIR", lab).stderr(std::process::Stdio::inherit());
    Run::spawn(command)
}

#[tokio::test]
async fn a_real_host_runs_what_is_printed_and_is_found_again() {
    if !lab_is_asked() {
        return;
    }
    let lab = own_lab().await;
    let (home, port) = (lab.path().join("home"), port());
    let mut run = start(lab.path(), port);
    let said = run.until("Ctrl-C stops all of it").await;
    assert!(said.iter().any(|line| line.contains(&format!("https://127.0.0.1:{port}"))), "{said:#?}");
    let shown = password(&said).expect("the password of the first start");
    let printed = commands(&said);
    assert_eq!(printed.len(), 3, "{said:#?}");
    for command in &printed {
        eprintln!("==> {}", command.join(" "));
        xenith(&home, command, &shown).await;
    }
    let list = &printed[2];
    says(&home, list, "running").await;
    // Its kernel takes a request to go off once it is up.
    let facts = [list[0].as_str(), "vm", "get", "web-1", "-o", "json"].map(ToOwned::to_owned);
    says(&home, &facts, "Xenith test guest").await;
    goes_off_and_on(&home, &list[0]).await;
    let children = run.children();
    // Orchestrator and QEMU at the least.
    assert!(children.iter().filter(|pid| runs(**pid)).count() >= 2, "{children:?}");
    run.stop().await;

    let mut again = start(lab.path(), port);
    let said = again.until("Ctrl-C stops all of it").await;
    assert_eq!(password(&said), None, "it was shown once");
    // Its host was shut down, and nobody asked for its start.
    says(&home, list, "stopped").await;
    let delete = [list[0].as_str(), "vm", "delete", "web-1", "--yes", "--wait"].map(ToOwned::to_owned);
    xenith(&home, &delete, "").await;
    let left = xenith(&home, list, "").await;
    assert!(!left.contains("web-1"), "{left}");
    again.stop().await;
}
