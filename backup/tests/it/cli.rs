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
    // What a restore left that was killed has another name than a disk that is whole.
    let half = format!("{target}.xenith-part");
    std::fs::write(&half, "half").unwrap();
    good(&["restore", &repo, "vm", &target]);
    assert!(std::fs::read(&target).unwrap() == bytes);
    assert!(!Path::new(&half).exists());
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

fn json(args: &[&str]) -> serde_json::Value {
    serde_json::from_str(&good(args)).unwrap_or_else(|error| panic!("{args:?}: {error}"))
}

/// Exit code and what was said on the error output.
fn fails(args: &[&str]) -> (i32, String) {
    let output = tool(args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("panicked"), "{args:?}: {said}");
    (output.status.code().unwrap(), said)
}

/// Two backups of one disk of 20 MiB.
struct Prepared {
    dir: tempfile::TempDir,
    repo: String,
    ids: Vec<String>,
    bytes: Vec<u8>,
}

fn prepared() -> Prepared {
    let dir = tempfile::tempdir().unwrap();
    let (repo, disk) = (path(dir.path(), "r"), path(dir.path(), "disk"));
    let mut bytes = noise(1, 20 * MIB);
    std::fs::write(&disk, &bytes).unwrap();
    let made = json(&["init", &repo, "-o", "json"]);
    assert_eq!(made["repository"], repo.as_str());
    let first = json(&["backup", &repo, &format!("vm={disk}"), "--tag", "one", "-o", "json"]);
    bytes[MIB..MIB + 5].copy_from_slice(b"hello");
    std::fs::write(&disk, &bytes).unwrap();
    let second = json(&["backup", &repo, &format!("vm={disk}"), "-o", "json"]);
    let ids = [first, second].map(|made| made["id"].as_str().unwrap().to_owned()).to_vec();
    Prepared { dir, repo, ids, bytes }
}

#[test]
fn every_subcommand_that_looks() {
    let Prepared { dir, repo, ids, .. } = prepared();
    let rows = json(&["list", &repo, "-o", "json"]);
    assert_eq!((&rows[1]["id"], &rows[1]["number"]), (&ids[1].as_str().into(), &2.into()));
    assert_eq!(rows[1]["whole_because"], "the changed ranges are not known");
    let text = good(&["list", &repo]);
    let third = |line: &str| line.split_whitespace().nth(2).map(str::to_owned);
    assert!(text.lines().all(|line| third(line).as_deref() == Some("vm")), "{text}");
    let shown = json(&["show", &repo, &format!("vm@{}", ids[0]), "-o", "json"]);
    assert_eq!((&shown["tags"][0], &shown["disks"][0]["size"]), (&"one".into(), &(20 * MIB).into()));
    let text = good(&["show", &repo, "vm"]);
    assert!(text.contains(&ids[1]) && text.contains("backup 2 of it, 20 MiB"), "{text}");
    let (old, new) = (format!("vm@{}", ids[0]), format!("vm@{}", ids[1]));
    let lines = good(&["diff", &repo, &old, &new]);
    let rows = json(&["diff", &repo, &old, &new, "-o", "json"]);
    let (offset, length) = (rows[0]["offset"].as_u64().unwrap(), rows[0]["length"].as_u64().unwrap());
    assert_eq!(lines.lines().next().unwrap(), format!("{offset} {length}"));
    assert!(offset <= MIB as u64 && offset + length > MIB as u64, "{lines}");
    // The form of `diff` is that of --changed-ranges.
    let ranges = path(dir.path(), "ranges");
    std::fs::write(&ranges, &lines).unwrap();
    let disk = path(dir.path(), "disk");
    let made = json(&["backup", &repo, &format!("vm={disk}"), "--changed-ranges", &ranges, "-o", "json"]);
    assert!(made["disks"][0]["stats"]["read"].as_u64().unwrap() < MIB as u64, "{made}");
    let report = json(&["verify", &repo, "--deep", "-o", "json"]);
    assert_eq!((&report["backups"], &report["problems"]), (&3.into(), &serde_json::json!([])));
    assert_eq!(report["packs_read"], report["packs"]);
}

#[test]
fn a_part_of_a_repository_is_verified_each_day() {
    let Prepared { dir: _dir, repo, .. } = prepared();
    let read = |args: &[&str]| {
        let report = json(&[&["verify", &repo, "--deep", "-o", "json"], args].concat());
        (report["packs_read"].as_u64().unwrap(), report["packs"].as_u64().unwrap())
    };
    let (_, all) = read(&[]);
    let parts: u64 = ["1/3", "2/3", "3/3"].iter().map(|part| read(&["--part", part]).0).sum();
    assert_eq!(parts, all, "three thirds are not the whole");
    assert_eq!(read(&["--newer-than", "1"]), (all, all));
    assert_eq!(read(&["--newer-than", "0"]).0, 0);
    for bad in ["0/3", "4/3", "3", "a/b"] {
        let (code, said) = fails(&["verify", &repo, "--part", bad]);
        assert!(code == 1 && said.contains("K/N"), "{bad}: {said}");
    }
}

#[test]
fn every_subcommand_that_forgets_and_frees() {
    let Prepared { dir: _dir, repo, ids, .. } = prepared();
    let first = format!("vm@{}", ids[0]);
    good(&["hold", &repo, &first]);
    assert!(good(&["list", &repo]).lines().next().unwrap().ends_with("held"));
    let plan = json(&["prune", &repo, "--keep-last", "1", "--dry-run", "-o", "json"]);
    let held = plan["prune"]["decisions"].as_array().unwrap().iter().find(|d| d["id"] == ids[0].as_str());
    assert_eq!(held.unwrap()["keep_because"][0], "legal hold");
    good(&["hold", &repo, &first, "--lift"]);
    let text = good(&["prune", &repo, "--keep-last", "1", "--dry-run"]);
    assert!(text.contains("forget") && text.contains("last 1"), "{text}");
    assert_eq!(json(&["list", &repo, "-o", "json"]).as_array().unwrap().len(), 2, "a dry run forgot");
    let waiting = good(&["prune", &repo, "--keep-last", "1"]);
    assert!(waiting.contains("waits until"), "{waiting}");
    assert_eq!(json(&["list", &repo, "-o", "json"]).as_array().unwrap().len(), 1);
    let done = json(&["gc", &repo, "--grace", "0", "-o", "json"]);
    assert_eq!(done[0]["outcome"]["done"]["forgotten"], 1, "{done}");
    good(&["verify", &repo, "--deep"]);
}

#[test]
fn one_backup_is_forgotten_also_when_it_cannot_be_read() {
    let Prepared { dir: _dir, repo, ids, .. } = prepared();
    let left = || json(&["list", &repo, "-o", "json"]).as_array().unwrap().len();
    let (code, said) = fails(&["forget", &repo, "vm"]);
    assert!(code == 1 && said.contains("give NAME@ID"), "{said}");
    let first = format!("vm@{}", ids[0]);
    good(&["hold", &repo, &first]);
    let (code, said) = fails(&["forget", &repo, &first]);
    assert!(code == 1 && said.contains("is held"), "{said}");
    good(&["hold", &repo, &first, "--lift"]);
    good(&["forget", &repo, &first, "--dry-run"]);
    assert_eq!(left(), 2, "a dry run forgot");
    // Of the other one the manifest is damaged: nothing can be freed until it is given up.
    let manifest = Path::new(&repo).join("manifests").join(&ids[1]);
    std::fs::write(&manifest, b"not what it was").unwrap();
    assert_ne!(fails(&["forget", &repo, &first, "--grace", "0"]).0, 0);
    let done = json(&["forget", &repo, &ids[1], "--grace", "0", "-o", "json"]);
    assert_eq!(done["done"][0]["outcome"]["done"]["forgotten"], 1, "{done}");
    assert!(!manifest.exists() && left() == 1);
    good(&["verify", &repo, "--deep"]);
}

#[test]
fn every_subcommand_that_brings_back() {
    let Prepared { dir, repo, ids, bytes } = prepared();
    let out = |name: &str| path(dir.path(), name);
    let done = json(&["restore", &repo, "vm", &out("raw"), "-o", "json"]);
    assert_eq!((&done["id"], &done["size"]), (&ids[1].as_str().into(), &(20 * MIB).into()));
    assert!(std::fs::read(out("raw")).unwrap() == bytes);
    let second = out("r2");
    assert!(tool_with(&["init", &second], "other").status.success());
    let copied = Command::new(env!("CARGO_BIN_EXE_xenith-backup"))
        .args(["copy", &repo, &second, "-o", "json"])
        .env("XENITH_PASSPHRASE", "pass")
        .env("XENITH_NEW_PASSPHRASE", "other")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&copied.stderr).into_owned();
    let rows: serde_json::Value = serde_json::from_slice(&copied.stdout).expect(&said);
    assert_eq!(rows.as_array().unwrap().len(), 2);
    let restored = tool_with(&["restore", &second, "vm", &out("copy")], "other");
    assert!(restored.status.success() && std::fs::read(out("copy")).unwrap() == bytes);
    let third = out("r3");
    assert_eq!(fails(&["mirror", &repo, &second]).0, 4, "the copy has another passphrase");
    assert_ne!(fails(&["mirror", &repo, &third]).0, 0, "nothing is made without --init");
    let mirrored = json(&["mirror", &repo, &third, "--init", "-o", "json"]);
    assert_eq!(mirrored["backups"].as_array().unwrap().len(), 2);
    assert_eq!(json(&["mirror", &repo, &third, "-o", "json"])["packs"], 0);
    good(&["restore", &third, "vm", &out("mirrored")]);
    assert!(std::fs::read(out("mirrored")).unwrap() == bytes);
    let lines = json(&["bench", "--size", "8", "-o", "json"]);
    let what: Vec<&str> = lines.as_array().unwrap().iter().map(|l| l["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["full", "again", "restore", "verify"]);
    let folder = path(dir.path(), "bench");
    assert!(good(&["bench", "--size", "8", "--folder", &folder]).lines().count() == 4);
    assert_eq!(std::fs::read_dir(&folder).map_or(0, Iterator::count), 0, "the bench left something");
}

#[test]
fn keys_come_and_go() {
    let Prepared { dir, repo, .. } = prepared();
    let file = path(dir.path(), "key");
    good(&["key", "generate", &file]);
    assert_eq!(fails(&["key", "generate", &file]).0, 1, "a key file was overwritten");
    good(&["key", "add", &repo, "--new-key-file", &file]);
    let kinds: Vec<String> = json(&["key", "list", &repo, "-o", "json"])
        .as_array()
        .unwrap()
        .iter()
        .map(|slot| slot["kind"].as_str().unwrap().to_owned())
        .collect();
    assert!(kinds.len() == 2 && kinds.contains(&"key file".to_owned()), "{kinds:?}");
    let by_file = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xenith-backup"));
        command.args(args).args(["--key-file", &file]).env_remove("XENITH_PASSPHRASE").output().unwrap()
    };
    assert!(by_file(&["list", &repo]).status.success());
    assert!(good(&["key", "rotate", &repo]).contains("1 other"));
    assert_eq!(by_file(&["list", &repo]).status.code(), Some(4), "a dropped key still opens");
    good(&["verify", &repo, "--deep"]);
    let (code, said) = fails(&["key", "add", &repo]);
    assert!(code == 1 && said.contains("XENITH_NEW_PASSPHRASE"), "{said}");
}

/// An error names the thing and the way out, and the exit code says of what kind it is.
#[test]
fn errors_name_the_thing_and_the_way_out() {
    let Prepared { dir, repo, ids, .. } = prepared();
    let nowhere = path(dir.path(), "nowhere");
    let empty = path(dir.path(), "empty");
    std::fs::create_dir(&empty).unwrap();
    let ranges = path(dir.path(), "ranges");
    std::fs::write(&ranges, "1 two\n").unwrap();
    let disk = format!("vm={}", path(dir.path(), "disk"));
    let raw = path(dir.path(), "disk");
    let ambiguous = format!("vm@{}", &ids[0][..4]);
    let none = format!("new={nowhere}");
    let cases: [(&str, &[&str], i32, &[&str]); 14] = [
        ("no repository", &["list", &nowhere], 5, &[&nowhere, "init"]),
        ("an empty folder", &["list", &empty], 5, &[&empty]),
        ("no such disk", &["restore", &repo, "web", "/dev/null/x"], 5, &["web"]),
        ("no such backup", &["show", &repo, "vm@ffffffff"], 5, &["vm@ffffffff"]),
        ("several backups", &["show", &repo, &ambiguous], 5, &[&ambiguous, "more digits"]),
        ("no source", &["backup", &repo, &none], 1, &["new", &nowhere]),
        ("no name", &["backup", &repo, &raw], 1, &["NAME=PATH"]),
        ("a bad name", &["backup", &repo, &format!("a,b={raw}")], 1, &["a,b"]),
        ("bad ranges", &["backup", &repo, &disk, "--changed-ranges", &ranges], 1, &[":1:", "offset length"]),
        ("a target that is there", &["restore", &repo, "vm", &raw], 1, &[&raw, "--overwrite"]),
        ("a made repository", &["init", &repo], 1, &["already holds a repository"]),
        ("a level", &["backup", &repo, &disk, "--level", "77"], 2, &["77"]),
        ("a bucket without a name", &["list", "s3://"], 1, &["s3://"]),
        ("no volume", &["files", &repo, "vm", "9:/"], 5, &["volume 9"]),
    ];
    for (name, args, expected, words) in cases {
        let (code, said) = fails(args);
        assert_eq!(code, expected, "{name}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{name}: {said} lacks one of {words:?}");
    }
    let wrong = tool_with(&["list", &repo], "wrong");
    let said = String::from_utf8_lossy(&wrong.stderr);
    assert!(wrong.status.code() == Some(4) && said.contains(&repo) && said.contains("passphrase"), "{said}");
    let keyless = Command::new(env!("CARGO_BIN_EXE_xenith-backup"))
        .args(["list", &repo])
        .env_remove("XENITH_PASSPHRASE")
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&keyless.stderr).contains("XENITH_PASSPHRASE"));
}

/// A file system of a few MiB: full for the repository, then for what is restored.
#[test]
fn a_full_disk_is_named_and_harms_nothing() {
    let Prepared { dir, repo, bytes, .. } = prepared();
    let small = path(dir.path(), "small");
    std::fs::create_dir(&small).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "none", &small]).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("no file system may be mounted here: nothing is tested");
        return;
    }
    let outcome = std::panic::catch_unwind(|| {
        let target = format!("{small}/disk.raw");
        let (code, said) = fails(&["restore", &repo, "vm", &target]);
        assert!(code == 1 && said.contains("disk.raw") && said.contains("No space left"), "{said}");
        assert!(!Path::new(&target).exists(), "half a disk was left");
        let there = format!("{small}/repo");
        good(&["init", &there]);
        let disk = path(dir.path(), "disk");
        let (code, said) = fails(&["backup", &there, &format!("vm={disk}")]);
        assert!(code == 1 && said.contains("no room"), "{said}");
        assert_eq!(json(&["list", &there, "-o", "json"]), serde_json::json!([]));
        let one = path(dir.path(), "one");
        std::fs::write(&one, &bytes[..MIB]).unwrap();
        good(&["backup", &there, &format!("one={one}")]);
        good(&["verify", &there, "--deep"]);
    });
    let unmounted = Command::new("umount").arg(&small).status();
    assert!(unmounted.is_ok_and(|status| status.success()));
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn a_write_only_key_adds_and_does_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| path(dir.path(), name);
    let (repo, disk, key, out) = (at("r"), at("disk"), at("writer.key"), at("out"));
    std::fs::write(&disk, noise(1, MIB)).unwrap();
    good(&["init", &repo, "--sealed"]);
    good(&["key", "generate", &key]);
    good(&["key", "add", &repo, "--write-only", "--new-key-file", &key]);
    let slots: serde_json::Value =
        serde_json::from_str(&good(&["key", "list", &repo, "-o", "json"])).unwrap();
    let only: Vec<bool> = slots.as_array().unwrap().iter().map(|s| s["write_only"] == true).collect();
    assert_eq!(only.iter().filter(|only| **only).count(), 1, "{slots}");
    let writer = |args: &[&str]| tool(&[&["--key-file", &key], args].concat());
    assert!(writer(&["backup", &repo, &format!("vm={disk}")]).status.success());
    assert!(writer(&["list", &repo]).status.success());
    for refused in [
        vec!["restore", &repo, "vm", &out],
        vec!["files", &repo, "vm"],
        vec!["verify", &repo],
        vec!["prune", &repo, "--keep-last", "1"],
        vec!["gc", &repo],
        vec!["paper-kit", &repo, "--with-key"],
        vec!["key", "rotate", &repo],
        vec!["key", "add", &repo, "--new-key-file", &key],
    ] {
        let output = writer(&refused);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{refused:?}: {told}");
        assert!(told.contains("only adds backups"), "{refused:?}: {told}");
    }
    assert!(!Path::new(&out).exists());
    good(&["restore", &repo, "vm", &out]);
    assert!(std::fs::read(&out).unwrap() == noise(1, MIB));
    good(&["verify", &repo, "--deep"]);
    let plain = at("plain");
    good(&["init", &plain]);
    let refused = tool(&["key", "add", &plain, "--write-only", "--new-key-file", &key]);
    assert_eq!(refused.status.code(), Some(1));
}
