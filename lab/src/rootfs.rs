//! Cooking the recipe: a root image and what boots it, cached by the recipe's hash.
//!
//! What always holds: a folder named by a hash is complete and is never written again. Cooking happens in a
//! temporary folder beside it; the rename is the commit point. A crash before it leaves a temporary folder
//! that the next cook removes. A lock file lets one process cook; others wait and then find it done.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::child::{self, Ending, OwnedChild};
use crate::error::{Doing, LabError};
use crate::paths::{LabPaths, ensure_dir, read, write};
use crate::programs;
use crate::progress::Progress;
use crate::recipe::{Flavour, IMAGE_MIB, Recipe, SUITE};

const HEARTBEAT: Duration = Duration::from_secs(15);
const LOCK_POLL: Duration = Duration::from_millis(200);
/// A slow mirror and a slow disk; past this something hangs.
const COOK_LIMIT: Duration = Duration::from_secs(40 * 60);
const TEMPORARY: &str = "cooking-";
/// Of the log of a build that failed.
const LOG_LINES: usize = 30;

/// A cooked root filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rootfs {
    dir: PathBuf,
}

impl Rootfs {
    /// The folder holding all of it.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// ext4 without partitions in a qcow2.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        self.dir.join("root.qcow2")
    }

    /// Xen as an ELF file for QEMU's multiboot loader.
    #[must_use]
    pub fn xen(&self) -> PathBuf {
        self.dir.join("xen")
    }

    /// The Debian kernel, for dom0 and for test guests.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.dir.join("vmlinuz")
    }

    #[must_use]
    pub fn initrd(&self) -> PathBuf {
        self.dir.join("initrd.img")
    }

    /// Parts of the test guest.
    #[must_use]
    pub fn guest_parts(&self) -> PathBuf {
        self.dir.join("guest")
    }

    /// The recipe's hash.
    #[must_use]
    pub fn hash(&self) -> String {
        self.dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The one a host was made over, if it is still there.
    pub(crate) fn by_hash(paths: &LabPaths, hash: &str) -> Option<Self> {
        let dir = paths.rootfs().join(hash);
        dir.join("root.qcow2").is_file().then_some(Self { dir })
    }
}

/// The lab's root filesystem, cooked now if the cache has none.
pub async fn ensure(paths: &LabPaths, progress: &Progress) -> Result<Rootfs, LabError> {
    let recipe = Recipe::new(Flavour::Lab);
    let hash = recipe.hash();
    if let Some(done) = Rootfs::by_hash(paths, &hash) {
        return Ok(done);
    }
    programs::check()?;
    ensure_dir(&paths.rootfs())?;
    let _lock = lock(&paths.rootfs().join("lock"), progress).await?;
    // Somebody may have cooked it while we waited.
    if let Some(done) = Rootfs::by_hash(paths, &hash) {
        return Ok(done);
    }
    remove_leftovers(&paths.rootfs())?;
    ensure_key(&paths.key())?;
    let dir = paths.rootfs().join(&hash);
    let work = paths.rootfs().join(format!("{TEMPORARY}{hash}"));
    let log = paths.rootfs().join(format!("{hash}.log"));
    cook(&recipe, &Kitchen { work: &work, log: &log, key: &paths.key() }, progress).await?;
    std::fs::rename(work.join("out"), &dir).doing(|| format!("could not rename to {}", dir.display()))?;
    remove_leftovers(&paths.rootfs())?;
    Ok(Rootfs { dir })
}

async fn lock(path: &Path, progress: &Progress) -> Result<File, LabError> {
    let file = File::create(path).doing(|| format!("could not create {}", path.display()))?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                if !told {
                    progress.say("another process is building the root file system; waiting for it");
                    told = true;
                }
                tokio::time::sleep(LOCK_POLL).await;
            }
            Err(TryLockError::Error(source)) => {
                return Err(LabError::Io { doing: format!("could not lock {}", path.display()), source });
            }
        }
    }
}

fn remove_leftovers(dir: &Path) -> Result<(), LabError> {
    let entries = std::fs::read_dir(dir).doing(|| format!("could not list {}", dir.display()))?;
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            let path = entry.path();
            std::fs::remove_dir_all(&path).doing(|| format!("could not remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// One key pair opens all lab hosts of this machine; they listen on loopback only.
fn ensure_key(key: &Path) -> Result<(), LabError> {
    if key.is_file() {
        return Ok(());
    }
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-N", "", "-C", "xenith-lab", "-f"]).arg(key);
    let output = command.output().doing(|| "could not run ssh-keygen".into())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(LabError::Io { doing: "ssh-keygen made no key".into(), source: std::io::Error::other(said) })
}

struct Kitchen<'a> {
    work: &'a Path,
    log: &'a Path,
    key: &'a Path,
}

async fn cook(recipe: &Recipe, kitchen: &Kitchen<'_>, progress: &Progress) -> Result<(), LabError> {
    let Kitchen { work, log, key } = *kitchen;
    progress.say(
        "building the hosts' root file system from Debian packages; \
         happens once, downloads about 150 MB, usually takes 1 to 3 minutes",
    );
    let public = read(&key.with_extension("pub"))?;
    let order = Order {
        recipe,
        work,
        log,
        first: &[],
        environment: &[
            ("XENITH_IMAGE_MIB", IMAGE_MIB.to_string()),
            ("XENITH_LAB_KEY", String::from_utf8_lossy(&public).trim().to_owned()),
        ],
    };
    order.cook(progress).await
}

/// What is to be cooked, and where. What the recipe's last script puts into `/out` of the tree lies in `work/out`
/// afterwards.
#[derive(Debug)]
pub struct Order<'a> {
    pub recipe: &'a Recipe,
    /// A folder of the caller's, which must not exist or be empty.
    pub work: &'a Path,
    pub log: &'a Path,
    /// Options for mmdebstrap besides the recipe's; hooks among them run before the recipe's.
    pub first: &'a [String],
    /// For the recipe's scripts.
    pub environment: &'a [(&'a str, String)],
}

impl Order<'_> {
    /// Runs mmdebstrap, with a sign of life now and then.
    pub async fn cook(&self, progress: &Progress) -> Result<(), LabError> {
        let started = Instant::now();
        let temporary = self.work.join("tmp");
        ensure_dir(&temporary)?;
        let mut command = mmdebstrap(self.recipe, self.work, self.first)?;
        let output = File::create(self.log).doing(|| format!("could not create {}", self.log.display()))?;
        let errors = output.try_clone().doing(|| format!("could not share {}", self.log.display()))?;
        command
            .env("TMPDIR", temporary)
            .env("PATH", std::env::join_paths(programs::search_path()).unwrap_or_default())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors);
        let mut child =
            child::spawn(command, Ending::Terminate).doing(|| "could not start mmdebstrap".into())?;
        watch(&mut child, self.log, progress).await?;
        progress.say(format!("the root file system is built ({} s)", started.elapsed().as_secs()));
        Ok(())
    }
}

/// Waits for the cook, with a sign of life now and then.
async fn watch(child: &mut OwnedChild, log: &Path, progress: &Progress) -> Result<(), LabError> {
    let started = Instant::now();
    while started.elapsed() < COOK_LIMIT {
        let ended = child.wait_for(HEARTBEAT).await.doing(|| "could not wait for mmdebstrap".into())?;
        match ended {
            Some(status) if status.success() => return Ok(()),
            Some(_) => break,
            None => {
                let text = std::fs::read_to_string(log).unwrap_or_default();
                let last = text.lines().rfind(|line| line.starts_with("I: ")).unwrap_or("I: starting");
                progress.say(format!("  {} s: {}", started.elapsed().as_secs(), &last[3..]));
            }
        }
    }
    // A package that is gone or a script that failed: the reason is there, and the log may be gone with its folder.
    let text = std::fs::read_to_string(log).unwrap_or_default();
    progress.say(format!("mmdebstrap failed; the end of {}:\n{}", log.display(), end_of(&text)));
    Err(LabError::Build { log: log.to_owned() })
}

fn end_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

/// The whole command. Scripts of the recipe are written to `work` first, since hooks are files or one-liners.
fn mmdebstrap(recipe: &Recipe, work: &Path, first: &[String]) -> Result<Command, LabError> {
    let mut command = Command::new("mmdebstrap");
    command
        .args(["--variant=minbase", "--format=null", "--aptopt=APT::Install-Recommends \"false\""])
        .arg(format!("--include={}", recipe.packages().join(",")));
    for glob in recipe.excludes() {
        command.arg(format!("--dpkgopt=path-exclude={glob}"));
    }
    // After the others: of two that fit, dpkg takes the last.
    for glob in recipe.includes() {
        command.arg(format!("--dpkgopt=path-include={glob}"));
    }
    command.args(first);
    for (hook, files) in [("essential", recipe.early()), ("customize", recipe.customise())] {
        for file in files {
            let path = work.join(file.name);
            write(&path, file.text)?;
            command.arg(format!("--{hook}-hook=sh '{}' \"$1\"", path.display()));
        }
    }
    // Through mmdebstrap's own copying, which works in every mode: as another user in a user namespace the
    // hook could not write into our folder.
    ensure_dir(&work.join("out"))?;
    command.arg(format!("--customize-hook=sync-out /out '{}'", work.join("out").display()));
    command.args([SUITE, "-"]);
    let mirror = std::env::var("XENITH_DEBIAN_MIRROR").ok().filter(|mirror| !mirror.is_empty());
    let mirror = mirror.as_deref().unwrap_or("http://deb.debian.org/{archive}");
    for (archive, suite) in [
        ("debian", SUITE.to_owned()),
        ("debian", format!("{SUITE}-updates")),
        ("debian-security", format!("{SUITE}-security")),
    ] {
        command.arg(format!("deb {} {suite} main", mirror_of(mirror, archive)));
    }
    Ok(command)
}

/// The address of one of Debian's archives on a mirror. With `{archive}` in it the mirror says itself where the name goes,
/// as snapshot.debian.org wants it: `http://snapshot.debian.org/archive/{archive}/20260101T000000Z`.
fn mirror_of(mirror: &str, archive: &str) -> String {
    if mirror.contains("{archive}") {
        return mirror.replace("{archive}", archive);
    }
    format!("{}/{archive}", mirror.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_names_packages_hooks_and_security_updates() {
        let dir = tempfile::tempdir().unwrap();
        let command = mmdebstrap(&Recipe::new(Flavour::Lab), dir.path(), &[]).unwrap();
        let args: Vec<_> = command.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
        assert!(args.iter().any(|a| a.starts_with("--include=") && a.contains("xen-utils-4.17")));
        assert!(args.iter().any(|a| a.contains("bookworm-security")));
        let hooks: Vec<_> = args.iter().filter(|a| a.contains("-hook=")).collect();
        assert!(hooks[0].contains("early.lab.sh"));
        assert!(hooks.last().unwrap().contains("sync-out /out"));
        assert!(dir.path().join("pack.sh").is_file());
    }

    #[test]
    fn of_a_log_the_end_is_shown() {
        assert_eq!(end_of("one\ntwo\n"), "one\ntwo");
        let long: String = (0..99).map(|n| format!("{n}\n")).collect();
        let end = end_of(&long);
        assert!(end.lines().count() == LOG_LINES && end.ends_with("98"), "{end}");
    }

    #[test]
    fn a_mirror_is_a_base_or_a_pattern() {
        assert_eq!(mirror_of("http://m/", "debian-security"), "http://m/debian-security");
        assert_eq!(mirror_of("http://s/archive/{archive}/2026", "debian"), "http://s/archive/debian/2026");
    }

    #[tokio::test]
    async fn leftovers_of_a_crash_go_and_finished_ones_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (crashed, done) = (dir.path().join("cooking-0123"), dir.path().join("4567"));
        std::fs::create_dir_all(crashed.join("tmp")).unwrap();
        std::fs::create_dir_all(&done).unwrap();
        remove_leftovers(dir.path()).unwrap();
        assert!(!crashed.exists() && done.exists());
    }

    #[test]
    fn a_folder_without_an_image_is_not_a_root_filesystem() {
        let dir = tempfile::tempdir().unwrap();
        let paths = LabPaths::at(dir.path());
        std::fs::create_dir_all(paths.rootfs().join("abc")).unwrap();
        assert_eq!(Rootfs::by_hash(&paths, "abc"), None);
        std::fs::write(paths.rootfs().join("abc/root.qcow2"), "").unwrap();
        assert_eq!(Rootfs::by_hash(&paths, "abc").unwrap().hash(), "abc");
    }
}
