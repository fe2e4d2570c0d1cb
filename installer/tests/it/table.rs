//! What `sfdisk` makes of the layout, on sparse files.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;
use xenith_installer::layout::{LEAST_DISK_MIB, Layout};

/// Partitions a file as a plan does, and returns the table as it is then.
fn partition(path: &std::path::Path, layout: &Layout) -> Value {
    let mut child = Command::new("sfdisk")
        .args(["--quiet", "--lock=yes", "--wipe=always", "--wipe-partitions=always"])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(layout.sfdisk().as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let output = Command::new("sfdisk").arg("--json").arg(path).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_table_is_what_was_planned_down_to_the_smallest_disk() {
    let dir = tempfile::tempdir().unwrap();
    for bytes in [LEAST_DISK_MIB << 20, 24 << 30, 1_000_204_886_016] {
        let path = dir.path().join("disk");
        File::create(&path).unwrap().set_len(bytes).unwrap();
        let layout = Layout::for_size(bytes).unwrap();
        // Twice: the second time there is a table already, as after a power cut.
        for _ in 0..2 {
            let table = partition(&path, &layout);
            assert_eq!(table["partitiontable"]["label"], "gpt");
            let rows = table["partitiontable"]["partitions"].as_array().unwrap();
            let made: Vec<_> = rows
                .iter()
                .map(|row| (row["name"].as_str().unwrap(), (row["size"].as_u64().unwrap() * 512) >> 20))
                .collect();
            let planned: Vec<_> = layout.partitions().iter().map(|row| (row.name, row.mib)).collect();
            assert_eq!(made, planned, "{bytes}");
            assert!(rows.iter().all(|row| row["start"].as_u64().unwrap() % 2048 == 0), "{rows:?}");
        }
    }
}
