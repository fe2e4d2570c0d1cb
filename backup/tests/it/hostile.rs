//! A repository somebody else has his hands in: it takes no more memory than a good one, leads out of no folder, and
//! each command ends in time.
//!
//! Without the key a hostile store can only lie about what is stored; with it anything may be written that the format
//! can say. The tool runs as its own process, so that its memory can be measured.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use xenith_backup::chunk::Chunking;
use xenith_backup::id::BackupId;
use xenith_backup::keys::{Credential, KdfCost, Keyring};
use xenith_backup::manifest::{self, DiskRecord, DiskStats, Manifest};
use xenith_backup::store::{LocalStore, ObjectKey};
use xenith_backup::{BackupError, Repository};

use crate::support::{MIB, backup, in_memory, noise};

/// "Memory at most 256 MiB", of an unoptimised program.
const MOST_MEMORY: u64 = 256 << 20;
const DEADLINE: Duration = Duration::from_secs(60);

struct Ended {
    code: Option<i32>,
    said: String,
    /// Bytes.
    peak: u64,
}

/// Runs the tool to its end, or to the deadline, and watches its memory.
fn tool(args: &[&str]) -> Ended {
    let mut child = Command::new(env!("CARGO_BIN_EXE_xenith-backup"))
        .args(args)
        .env("XENITH_PASSPHRASE", "correct horse")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (began, mut peak) = (Instant::now(), 0);
    loop {
        if let Ok(status) = std::fs::read_to_string(format!("/proc/{}/status", child.id())) {
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib: u64 = line.map_or(0, |line| line.trim().trim_end_matches(" kB").parse().unwrap());
            peak = peak.max(kib << 10);
        }
        if child.try_wait().unwrap().is_some() {
            break;
        }
        if began.elapsed() > DEADLINE {
            child.kill().unwrap();
            panic!("{args:?} did not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    Ended { code: output.status.code(), said: String::from_utf8_lossy(&output.stderr).into_owned(), peak }
}

fn good_repository(dir: &Path) -> (String, Repository) {
    let root = dir.join("repo");
    let store = std::sync::Arc::new(LocalStore::create_root(&root).unwrap());
    let credential = Credential::Passphrase("correct horse".to_owned());
    let ring = Keyring::create(Chunking::default());
    let repo = Repository::init(store, &ring, &credential, KdfCost::CHEAP).unwrap();
    backup(&repo, "vm", &noise(1, 2 * MIB));
    (root.display().to_string(), repo)
}

fn sparse(path: &Path, len: u64) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let _ = std::fs::remove_file(path);
    std::fs::File::create(path).unwrap().set_len(len).unwrap();
}

/// Every command that reads, on a damaged repository: none takes much memory, panics, or says that all is well.
fn all_commands(repo: &str, dir: &Path, case: &str) {
    let out = dir.join("out").display().to_string();
    let commands: [&[&str]; 6] = [
        &["list", repo],
        &["show", repo, "vm"],
        &["restore", repo, "vm", &out, "--overwrite"],
        &["verify", repo],
        &["files", repo, "vm"],
        &["prune", repo, "--keep-last", "1", "--dry-run"],
    ];
    let mut complaints = 0;
    for args in commands {
        let ended = tool(args);
        assert!(ended.peak < MOST_MEMORY, "{case}: {args:?} took {} MiB", ended.peak >> 20);
        assert!(
            ended.code.is_some_and(|code| code < 100),
            "{case}: {args:?}: {:?} {}",
            ended.code,
            ended.said
        );
        assert!(!ended.said.contains("panicked"), "{case}: {args:?}: {}", ended.said);
        complaints += u32::from(ended.code != Some(0) || !ended.said.is_empty());
    }
    assert!(complaints > 0, "{case}: nobody noticed");
}

#[test]
fn a_store_that_lies_takes_no_memory() {
    const HUGE: u64 = 1 << 40;
    let pristine = tempfile::tempdir().unwrap();
    let (from, _) = good_repository(pristine.path());
    let first = |folder: &str| {
        let mut found = Vec::new();
        walk(&Path::new(&from).join(folder), &mut found);
        found.sort();
        found[0].strip_prefix(&from).unwrap().to_owned()
    };
    let hex = "ab".repeat(32);
    let cases = [
        ("config without end", "config".into()),
        ("key slot without end", first("keys")),
        ("ring without end", first("keyring")),
        ("manifest without end", first("manifests")),
        ("pack without end", first("packs")),
        ("one more pack without end", format!("packs/ab/{hex}").into()),
        ("segment without end", first("index")),
        ("one more segment without end", format!("index/{hex}").into()),
        ("plan without end", std::path::PathBuf::from("plans/000000000001-ab")),
        ("lease without end", first("sessions")),
    ];
    for (case, path) in cases {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("repo");
        copy_tree(Path::new(&from), &repo);
        sparse(&repo.join(path), HUGE);
        all_commands(&repo.display().to_string(), dir.path(), case);
    }
}

fn walk(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, found) } else { found.push(path) }
    }
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = (entry.as_ref().unwrap().path(), entry.unwrap().file_name());
        if path.is_dir() {
            copy_tree(&path, &to.join(name));
        } else {
            std::fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

fn record(name: &str, size: u64) -> DiskRecord {
    DiskRecord {
        name: name.to_owned(),
        size,
        number: 1,
        root: None,
        chunking: Chunking::default(),
        stats: DiskStats::default(),
        whole_because: None,
    }
}

fn with_disks(disks: Vec<DiskRecord>) -> Manifest {
    Manifest {
        id: BackupId::new(1_700_000_000_000),
        created: 1_700_000_000_000,
        host: "h".to_owned(),
        tags: Vec::new(),
        disks,
        origin: None,
        attachments: Vec::new(),
    }
}

#[test]
fn who_has_the_key_and_lies_takes_no_memory() {
    let cases: [(&str, Vec<DiskRecord>); 4] = [
        ("a disk of an exbibyte", vec![record("vm", 1 << 60)]),
        ("a disk of all there is", vec![record("vm", u64::MAX)]),
        ("a disk that is not whole blocks", vec![record("vm", (1 << 50) + 1)]),
        (
            "a map that is nowhere",
            vec![DiskRecord { root: Some(xenith_backup::id::ChunkId([7; 32])), ..record("vm", 1 << 60) }],
        ),
    ];
    for (case, disks) in cases {
        let dir = tempfile::tempdir().unwrap();
        let (path, repo) = good_repository(dir.path());
        for id in manifest::list_ids(&repo).unwrap() {
            repo.store().delete(&manifest::manifest_key(&id)).unwrap();
        }
        manifest::commit(&repo, &with_disks(disks)).unwrap();
        all_commands(&path, dir.path(), case);
        let overlay = dir.path().join("overlay").display().to_string();
        let served = tool(&["serve-nbd", &path, "vm", "--listen", "127.0.0.1:0", "--overlay", &overlay]);
        assert!(served.code != Some(0) && served.peak < MOST_MEMORY, "{case}: {:?}", served.said);
    }
}

#[test]
fn names_that_no_writer_gives_are_damage() {
    let long = "x".repeat(300);
    for name in ["", "a@b", "a=b", "a,b", "a\nb", "\u{1b}[2J", &long] {
        let (_, repo) = in_memory();
        let manifest = with_disks(vec![record(name, 4096)]);
        manifest::commit(&repo, &manifest).unwrap();
        let read = manifest::read(&repo, &manifest.id);
        assert!(matches!(read, Err(BackupError::Damaged { .. })), "{name:?}: {read:?}");
        // Others are still listed, and this one is named.
        backup(&repo, "vm", &noise(1, 4096));
        let (listed, problems) = manifest::list(&repo).unwrap();
        assert_eq!((listed.len(), problems.len()), (1, 1), "{name:?}");
    }
    let (_, repo) = in_memory();
    let twice = with_disks(vec![record("vm", 4096), record("vm", 4096)]);
    manifest::commit(&repo, &twice).unwrap();
    assert!(manifest::read(&repo, &twice.id).is_err(), "two disks of one name");
}

#[test]
fn names_in_the_store_lead_out_of_no_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (path, repo) = good_repository(dir.path());
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "not ours").unwrap();
    let root = Path::new(&path);
    std::os::unix::fs::symlink(dir.path(), root.join("packs/zz")).unwrap();
    std::os::unix::fs::symlink(&secret, root.join("index").join("cd".repeat(32))).unwrap();
    std::os::unix::fs::symlink(&secret, root.join("manifests").join("ab".repeat(16))).unwrap();
    std::fs::write(root.join("packs").join("..x"), "x").unwrap();
    std::fs::write(root.join("plans-UP"), "x").unwrap();
    let listed = ["packs/", "index/", "manifests/", ""].map(|prefix| repo.store().list(prefix).unwrap());
    for info in listed.iter().flatten() {
        let text = info.key.as_str();
        assert!(!text.contains("secret") && !text.contains("zz") && !text.contains(".."), "{text}");
        assert!(ObjectKey::parse(text).is_some());
    }
    for key in [format!("index/{}", "cd".repeat(32)), format!("manifests/{}", "ab".repeat(16))] {
        let read = repo.store().read(&ObjectKey::parse(&key).unwrap(), 1 << 20);
        assert!(read.is_err(), "a link was followed: {read:?}");
    }
    let ended = tool(&["verify", &path, "--deep"]);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "not ours");
}
