//! A folder with a keeper. Needs root, to work as three users; says so where it has not.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use xenith_backup::store::{Handed, Keeper, LocalStore, ObjectKey, ObjectStore, keep};

use crate::support::{MIB, noise};

/// Users that no machine has.
const WRITER: u32 = 61_234;
const KEEPER: Keeper = Keeper { user: 61_235, group: Some(WRITER) };

/// A folder of the writer's with the tool in it. What is immutable in it is made removable again at the end.
struct Place {
    dir: tempfile::TempDir,
}

impl Drop for Place {
    fn drop(&mut self) {
        let store = LocalStore::open(&self.repo()).unwrap();
        for info in store.list("").unwrap() {
            let _ = store.delete(&info.key);
        }
    }
}

impl Place {
    fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("not root: what a keeper protects from is not tried");
            return None;
        }
        let place = Self { dir: tempfile::tempdir().unwrap() };
        chown(place.dir.path(), Some(WRITER), Some(WRITER)).unwrap();
        // The writer may not look into the folder that it was built in.
        fs::copy(env!("CARGO_BIN_EXE_xenith-backup"), place.path("tool")).unwrap();
        fs::write(place.path("disk"), noise(1, MIB)).unwrap();
        place.writer(&["init", "repo"]);
        Some(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn repo(&self) -> PathBuf {
        self.path("repo")
    }

    fn run(&self, user: u32, program: &Path, args: &[&str]) -> Output {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("XENITH_PASSPHRASE", "pass")
            .env("HOME", self.dir.path());
        command.uid(user).gid(user).output().unwrap()
    }

    fn good(&self, user: u32, args: &[&str]) -> String {
        let output = self.run(user, &self.path("tool"), args);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{args:?} as {user}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    fn writer(&self, args: &[&str]) -> String {
        self.good(WRITER, args)
    }

    fn keep(&self) -> Handed {
        keep(&self.repo(), KEEPER).unwrap()
    }

    fn packs(&self) -> Vec<PathBuf> {
        let listed = LocalStore::open(&self.repo()).unwrap().list("packs/").unwrap();
        listed.into_iter().map(|info| self.repo().join(info.key.as_str())).collect()
    }
}

#[test]
fn a_writer_adds_and_reads_and_can_do_no_harm() {
    let Some(place) = Place::new() else { return };
    place.writer(&["backup", "repo", "vm=disk"]);
    let pack = place.packs().remove(0);
    let before = fs::read(&pack).unwrap();
    // A descriptor from before; root's, which no mode stops.
    let mut open = File::options().append(true).open(&pack).unwrap();
    let handed = place.keep();
    assert!(handed.taken >= 5 && handed.left == 0, "{handed:?}");
    let again = place.keep();
    assert_eq!((again.taken, again.kept), (0, handed.taken), "{again:?}");
    assert_eq!(fs::metadata(&pack).unwrap().uid(), KEEPER.user);
    if handed.unflagged == 0 {
        assert!(
            open.write_all(b"harm").and_then(|()| open.sync_all()).is_err(),
            "an open file can be written"
        );
    }
    for harm in [
        "rm -f $PACK",
        "mv $PACK $PACK.gone",
        "echo harm >> $PACK",
        "cat disk > $PACK",
        "chmod u+w $PACK",
        "mv repo/packs repo/gone",
        "rm -rf repo/keys repo/config repo/manifests; test ! -e repo/config",
        "ln -f disk $PACK",
    ] {
        let script = harm.replace("$PACK", &pack.display().to_string());
        let output = place.run(WRITER, Path::new("/bin/sh"), &["-c", &script]);
        assert!(!output.status.success(), "{harm}");
    }
    assert!(fs::read(&pack).unwrap() == before);
    fs::write(place.path("disk"), noise(2, MIB)).unwrap();
    place.writer(&["backup", "repo", "vm=disk"]);
    place.writer(&["restore", "repo", "vm", "out"]);
    assert!(fs::read(place.path("out")).unwrap() == noise(2, MIB));
    place.keep();
    place.writer(&["verify", "repo", "--deep"]);
    // What only the keeper's side may do.
    let before = place.packs().len();
    assert!(
        !place
            .run(WRITER, &place.path("tool"), &["prune", "repo", "--keep-last", "1", "--grace", "0"])
            .status
            .success()
    );
    place.good(0, &["prune", "repo", "--keep-last", "1", "--grace", "0"]);
    place.good(0, &["gc", "repo", "--grace", "0"]);
    assert!(place.packs().len() < before);
    place.keep();
    place.writer(&["verify", "repo", "--deep"]);
}

#[test]
fn verify_tells_of_what_is_still_its_writers() {
    let Some(place) = Place::new() else { return };
    place.keep();
    place.writer(&["backup", "repo", "vm=disk"]);
    place.good(0, &["verify", "repo"]);
    let old = SystemTime::now() - Duration::from_secs(2 * 3600);
    let pack = place.packs().remove(0);
    File::options().write(true).open(&pack).unwrap().set_modified(old).unwrap();
    let output = place.run(0, &place.path("tool"), &["verify", "repo"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.code() == Some(3) && text.contains("still belongs to user 61234"), "{text}");
    place.keep();
    place.good(0, &["verify", "repo"]);
}

#[test]
fn a_writer_that_lays_traps_gains_nothing() {
    let Some(place) = Place::new() else { return };
    place.keep();
    let outside = place.path("outside");
    fs::write(&outside, "not the repository's").unwrap();
    let traps = "ln -s ../../outside repo/packs/aa/link; ln -s /etc repo/index/etc; mkfifo repo/index/pipe; \
                 cp disk repo/index/two; ln repo/index/two repo/index/names; mkdir -p repo/index/a/b/c";
    assert!(place.run(WRITER, Path::new("/bin/sh"), &["-c", traps]).status.success());
    let handed = place.keep();
    assert_eq!((handed.taken, handed.left), (0, 2), "{handed:?}");
    assert_eq!(fs::metadata(&outside).unwrap().uid(), 0);
    assert_eq!(fs::metadata("/etc").unwrap().uid(), 0);
    let refused = keep(place.dir.path(), KEEPER);
    assert!(refused.is_err(), "a folder without a repository was taken over");
    let key = ObjectKey::parse("config").unwrap();
    assert!(LocalStore::open(&place.repo()).unwrap().exposed(&key).unwrap().is_none());
}
