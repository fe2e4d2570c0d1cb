//! The command line as scripts use it.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use xenith_vmware_import_generator::{self as generate, Options, StreamStyle};

use crate::support::{Lab, SIZE};

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
    assert_eq!(value["virtual_size"], SIZE);
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
    std::fs::OpenOptions::new().write(true).open(&lab.raw).unwrap().set_len(20 << 20).unwrap();
    let differs = tool(&["verify", text(&disk), text(&lab.raw), "-o", "json"]);
    assert_eq!(differs.status.code(), Some(6));
    let value: serde_json::Value = serde_json::from_slice(&differs.stdout).unwrap();
    assert_eq!(value["first_difference"], 20 << 20);
}

/// Bytes and seconds of a line of progress.
fn step(line: &str) -> Option<(u64, f64)> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    Some((value["done"].as_u64()?, value["seconds"].as_f64()?))
}

/// The same command goes on where the killed one was, in every target format.
#[test]
fn a_killed_conversion_goes_on() {
    let lab = Lab::new(22);
    let disk = lab.path("disk.vmdk");
    generate::vmfs_sparse(&disk, &lab.content(), &Options { cid: 5, ..Options::default() }).unwrap();
    for format in ["raw", "qcow2", "vhd"] {
        let target = lab.path(&format!("out.{format}"));
        let journal = lab.path(&format!("out.{format}.xenith-journal"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_xenith-import"))
            .args(["convert", text(&disk), text(&target), "--max-rate", "1", "--progress", "json"])
            .stderr(std::fs::File::create(lab.path("progress")).unwrap())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !journal.exists() {
            assert!(Instant::now() < deadline, "{format}: no journal");
            assert!(child.try_wait().unwrap().is_none(), "{format}: it ended before it wrote a journal");
            std::thread::sleep(Duration::from_millis(20));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let shown = std::fs::read_to_string(lab.path("progress")).unwrap();
        let shown: Vec<(u64, f64)> = shown.lines().filter_map(step).collect();
        assert!(!target.exists(), "{format}: half an image has the target's name");
        let done = tool(&["convert", text(&disk), text(&target), "--verify", "-o", "json"]);
        assert!(done.status.success(), "{format}: {}", String::from_utf8_lossy(&done.stderr));
        let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        let resumed = report["resumed_from"].as_u64().unwrap();
        assert!(resumed > 0, "{format}: it began again");
        // What the killed one had shown beyond that is done again: at most five seconds' worth.
        let (_, last) = shown.last().unwrap();
        let again = shown.iter().find(|(done, _)| *done > resumed).map_or(0.0, |(_, at)| last - at);
        assert!(again <= 5.0, "{format}: {again} seconds were repeated; {shown:?}, resumed from {resumed}");
        assert_eq!(tool(&["verify", text(&disk), text(&target)]).status.code(), Some(0), "{format}");
        assert!(!journal.exists());
        if format == "qcow2" {
            crate::support::qemu_img_ok(&["check", "-f", "qcow2", text(&target)]);
        }
    }
}

/// What is lost is listed, the rest is there, the exit code says so.
#[test]
fn salvage_keeps_what_is_left() {
    let lab = Lab::new(23);
    let reference = lab.reference();
    type Make = fn(&Lab, &Path);
    let kinds: &[(&str, &str, Make)] = &[
        ("sparse", "d.vmdk", |lab, path| {
            generate::monolithic_sparse(path, &lab.content(), &Options::default()).unwrap();
        }),
        ("sesparse", "d-sesparse.vmdk", |lab, path| {
            generate::se_sparse(path, &lab.content(), &Options::default()).unwrap();
        }),
        ("stream", "d.vmdk", |lab, path| {
            generate::stream_optimized(path, &lab.content(), &Options::default(), StreamStyle::VMware)
                .unwrap();
        }),
    ];
    for (name, cut, make) in kinds {
        let (disk, target) = (lab.path("d.vmdk"), lab.path("salvaged.raw"));
        make(&lab, &disk);
        let file = std::fs::OpenOptions::new().write(true).open(lab.path(cut)).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        let refused = tool(&["convert", text(&disk), text(&target)]);
        assert_eq!(refused.status.code(), Some(4), "{name}");
        let done = tool(&["convert", text(&disk), text(&target), "--salvage", "-o", "json"]);
        assert_eq!(done.status.code(), Some(7), "{name}: {}", String::from_utf8_lossy(&done.stderr));
        let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        assert!(!report["lost"].as_array().unwrap().is_empty(), "{name}");
        let found = std::fs::read(&target).unwrap();
        assert_eq!(found.len(), reference.len());
        let wrong = found.iter().zip(&reference).filter(|(a, b)| a != b && **a != 0).count();
        assert_eq!(wrong, 0, "{name}: bytes that were never there");
        let whole = reference[..1 << 20].iter().zip(&found).all(|(a, b)| a == b);
        assert!(whole, "{name}: the first MiB was readable");
    }
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
