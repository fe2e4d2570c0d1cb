//! The command line as scripts use it.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use xenith_vmware_import_generator::{self as generate, Options, StreamStyle};

use crate::support::Lab;

pub fn tool(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xenith-import")).args(arguments).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn info_convert_verify() {
    let lab = Lab::new(20);
    let (disk, target) = (lab.path("disk.vmdk"), lab.path("out"));
    generate::se_sparse(&disk, &lab.content(), &Options { cid: 0xbeef, ..Options::default() }).unwrap();
    let info = tool(&["info", text(&disk), "-o", "json"]);
    assert!(info.status.success());
    let value: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
    assert_eq!(value["virtual_size"], 48 * 1024 * 1024 + 7 * 512);
    assert_eq!(value["create_type"], "seSparse");
    assert_eq!(value["cid"], "0000beef");
    assert_eq!(value["adapter"], "lsilogic");
    for format in ["raw", "qcow2", "vhd"] {
        let done = tool(&["convert", text(&disk), text(&target), "--to", format, "--verify", "-o", "json"]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(report["verified"], true, "{format}");
        let same = tool(&["verify", text(&disk), text(&target)]);
        assert_eq!(same.status.code(), Some(0), "{format}: {}", String::from_utf8_lossy(&same.stderr));
    }
    std::fs::OpenOptions::new().write(true).open(&lab.raw).unwrap().set_len(48 << 20).unwrap();
    let differs = tool(&["verify", text(&disk), text(&lab.raw), "-o", "json"]);
    assert_eq!(differs.status.code(), Some(6));
    let value: serde_json::Value = serde_json::from_slice(&differs.stdout).unwrap();
    assert_eq!(value["first_difference"], 48 << 20);
}

#[test]
fn a_stream_on_standard_input() {
    let lab = Lab::new(21);
    let (disk, target) = (lab.path("disk.vmdk"), lab.path("out.raw"));
    generate::stream_optimized(&disk, &lab.content(), &Options::default(), StreamStyle::VMware).unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_xenith-import"))
        .args(["convert", "-", text(&target)])
        .stdin(std::fs::File::open(&disk).unwrap())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert!(std::fs::read(&target).unwrap() == lab.reference());
}
