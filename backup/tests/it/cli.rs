//! The tool as scripts see it.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::{MIB, noise};

fn tool(args: &[&str]) -> Output {
    tool_with(args, "pass")
}

fn tool_with(args: &[&str], passphrase: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xenith-backup"))
        .args(args)
        .env("XENITH_PASSPHRASE", passphrase)
        .output()
        .unwrap()
}

fn good(args: &[&str]) -> String {
    let output = tool(args);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{args:?}: {out}{err}");
    out.into_owned()
}

fn path(dir: &Path, name: &str) -> String {
    dir.join(name).display().to_string()
}

#[test]
fn the_forms_scripts_rely_on() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, disk, ranges) = (path(dir.path(), "r"), path(dir.path(), "disk"), path(dir.path(), "ranges"));
    let mut bytes = noise(1, 2 * MIB);
    std::fs::write(&disk, &bytes).unwrap();
    good(&["init", &repo]);
    good(&["backup", &repo, &format!("vm={disk}")]);
    bytes[MIB..MIB + 5].copy_from_slice(b"hello");
    std::fs::write(&disk, &bytes).unwrap();
    std::fs::write(&ranges, format!("# changed\n{MIB} 5\n")).unwrap();
    good(&["backup", &repo, &format!("vm={disk}"), "--changed-ranges", &ranges]);
    let rows: serde_json::Value = serde_json::from_str(&good(&["list", &repo, "-o", "json"])).unwrap();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 2);
    assert!(rows[1]["read"].as_u64().unwrap() < 600_000, "{rows:?}");
    let (first, target) = (rows[0]["id"].as_str().unwrap(), path(dir.path(), "out"));
    good(&["restore", &repo, "vm", &target]);
    assert!(std::fs::read(&target).unwrap() == bytes);
    assert_eq!(tool(&["restore", &repo, "vm", &target]).status.code(), Some(1), "it would overwrite");
    good(&["restore", &repo, &format!("vm@{first}"), &target, "--overwrite"]);
    assert!(std::fs::read(&target).unwrap() == noise(1, 2 * MIB));
    good(&["verify", &repo]);
    good(&["verify", &repo, "--deep"]);
    good(&["prune", &repo, "--keep-last", "1", "--grace", "0"]);
    let rows: serde_json::Value = serde_json::from_str(&good(&["list", &repo, "-o", "json"])).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 1);
    good(&["verify", &repo, "--deep"]);
}

#[test]
fn exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, disk) = (path(dir.path(), "r"), path(dir.path(), "disk"));
    std::fs::write(&disk, noise(1, MIB)).unwrap();
    good(&["init", &repo]);
    good(&["backup", &repo, &format!("vm={disk}")]);
    let code = |args: &[&str]| tool(args).status.code().unwrap();
    assert_eq!(code(&["frobnicate"]), 2);
    assert_eq!(code(&["init", &repo]), 1);
    assert_eq!(tool_with(&["list", &repo], "wrong").status.code(), Some(4));
    assert_eq!(code(&["restore", &repo, "nobody", &path(dir.path(), "x")]), 5);
    assert_eq!(code(&["list", &path(dir.path(), "nothing")]), 5);
    let pack = walk(&dir.path().join("r/packs")).into_iter().max_by_key(|p| p.metadata().unwrap().len());
    let pack = pack.unwrap();
    let mut body = std::fs::read(&pack).unwrap();
    body[5000] ^= 1;
    std::fs::write(&pack, body).unwrap();
    assert_eq!(code(&["verify", &repo]), 3);
    let target = path(dir.path(), "half");
    assert_eq!(code(&["restore", &repo, "vm", &target]), 3);
    assert!(!Path::new(&target).exists(), "half a disk was left");
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}
