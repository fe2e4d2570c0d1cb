//! The expensive half: Debian's packages and our programs become a squashfs, a kernel and an initial ramdisk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use xenith_lab::Progress;
use xenith_lab::recipe::{Flavour, Recipe};
use xenith_lab::rootfs::Order;

use crate::lock::Lock;

/// Raised when the code here changes what comes out.
const TREE_VERSION: u32 = 2;
/// How hard squashfs compresses what is shipped, and therefore what is tested: 1 is quick, 22 is small.
pub const LEVEL: u8 = 15;
/// Below the cache: a tree that was cooked whatever the cache has.
const AGAIN: &str = "again";

/// Files of the tree that are ours: path, mode, text.
const FILES: &[(&str, u32, &str)] = &[
    ("etc/nftables.conf", 0o755, include_str!("../../dist/nftables.conf")),
    (
        "etc/systemd/system/nftables.service.d/xenith.conf",
        0o644,
        include_str!("../../dist/nftables-stop.conf"),
    ),
    (
        "etc/systemd/system/xenith-agent.service",
        0o644,
        include_str!("../../../hypervisor-agent/dist/xenith-agent.service"),
    ),
    (
        "etc/systemd/system/xenith-update-packages.service",
        0o644,
        include_str!("../../../hypervisor-agent/dist/xenith-update-packages.service"),
    ),
    (
        "etc/systemd/system/xenith-boot-good.service",
        0o644,
        include_str!("../../dist/xenith-boot-good.service"),
    ),
    ("etc/systemd/system/xenith-console@.service", 0o644, include_str!("../../dist/xenith-console@.service")),
    (
        "etc/systemd/system/xenith-first-boot.service",
        0o644,
        include_str!("../../dist/xenith-first-boot.service"),
    ),
    ("etc/systemd/system/xenith-installer.target", 0o644, include_str!("../../dist/xenith-installer.target")),
    (
        "etc/systemd/system/xenith-installer-auto.service",
        0o644,
        include_str!("../../dist/xenith-installer-auto.service"),
    ),
    (
        "etc/systemd/system/xenith-installer-screen@.service",
        0o644,
        include_str!("../../dist/xenith-installer-screen@.service"),
    ),
    ("etc/systemd/system/xenith-trial.timer", 0o644, include_str!("../../dist/xenith-trial.timer")),
    ("etc/systemd/system/xenith-trial.service", 0o644, include_str!("../../dist/xenith-trial.service")),
    ("etc/systemd/system/xenith-join.path", 0o644, include_str!("../../dist/xenith-join.path")),
    (
        "etc/systemd/system/xenith-orchestrator.service",
        0o644,
        include_str!("../../dist/xenith-orchestrator.service"),
    ),
];

/// Whether the packages must be the locked ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locking {
    Strict,
    /// Whatever Debian has now; the result says what that is.
    Renew,
}

impl Locking {
    /// `XENITH_ISO_LOCK=off`: for tests on a machine whose mirror has newer packages than the repository.
    #[must_use]
    pub fn from_env() -> Self {
        if std::env::var_os("XENITH_ISO_LOCK").is_some_and(|value| value == "off") {
            Self::Renew
        } else {
            Self::Strict
        }
    }
}

/// All that the tree is made of.
#[derive(Debug)]
pub struct Inputs {
    recipe: Recipe,
    /// Our programs: path in the tree, content without symbols.
    programs: Vec<(&'static str, Vec<u8>)>,
    lock: Option<Lock>,
    level: u8,
    /// Seconds since 1970: the newest time stamp there is.
    pub source_date: u64,
}

impl Inputs {
    /// `agent`: the folder with `xenith-agent` and `xenith-installer`, which run on every host; `programs`: the one with
    /// the others.
    pub fn new(agent: &Path, programs: &Path, level: u8, locking: Locking) -> Result<Self> {
        let programs = [
            ("usr/sbin/xenith-agent", agent.join("xenith-agent")),
            ("usr/sbin/xenith-installer", agent.join("xenith-installer")),
            ("usr/sbin/xenith-orchestrator", programs.join("xenith-orchestrator")),
            ("usr/bin/xenith", programs.join("xenith")),
        ];
        let programs =
            programs.iter().map(|(path, file)| Ok((*path, stripped(file)?))).collect::<Result<Vec<_>>>()?;
        let lock = match locking {
            Locking::Strict => Some(Lock::load()?),
            Locking::Renew => None,
        };
        Ok(Self { recipe: Recipe::new(Flavour::Iso), programs, lock, level, source_date: source_date()? })
    }

    /// Equal hash, equal tree.
    fn hash(&self, key: &[u8]) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        part(format!("{TREE_VERSION} {} {} {}", self.recipe.hash(), self.level, self.source_date).as_bytes());
        part(self.lock.as_ref().map(Lock::preferences).unwrap_or_default().as_bytes());
        part(key);
        for (path, content) in &self.programs {
            part(path.as_bytes());
            part(content);
        }
        for (path, mode, text) in FILES {
            part(format!("{path} {mode}").as_bytes());
            part(text.as_bytes());
        }
        hasher.finalize().to_hex()[..16].to_owned()
    }
}

/// Without symbols, which are most of a debug build.
fn stripped(program: &Path) -> Result<Vec<u8>> {
    ensure!(program.is_file(), "{} is not built; `cargo xtask iso` builds it first", program.display());
    let file = tempfile::NamedTempFile::new()?;
    let status = Command::new("strip")
        .arg("-o")
        .arg(file.path())
        .arg(program)
        .status()
        .context("cannot start strip")?;
    ensure!(status.success(), "strip failed on {}", program.display());
    fs::read(file.path()).with_context(|| format!("cannot read what strip made of {}", program.display()))
}

/// `SOURCE_DATE_EPOCH`, else the date of the last commit.
fn source_date() -> Result<u64> {
    if let Ok(given) = std::env::var("SOURCE_DATE_EPOCH") {
        return given.parse().with_context(|| format!("SOURCE_DATE_EPOCH={given} is no number"));
    }
    let output = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "log", "-1", "--format=%ct"])
        .output()
        .context("cannot start git; without it set SOURCE_DATE_EPOCH")?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().context("this is no git checkout; set SOURCE_DATE_EPOCH")
}

/// A finished tree.
#[derive(Debug, Clone)]
pub struct Cooked {
    pub dir: PathBuf,
    pub source_date: u64,
}

impl Cooked {
    /// `name version` of every package, sorted.
    #[must_use]
    pub fn versions(&self) -> PathBuf {
        self.dir.join("versions")
    }
}

/// `~/.cache/xenith/iso`
pub fn cache() -> Result<PathBuf> {
    let given = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = given("XDG_CACHE_HOME").or_else(|| given("HOME").map(|home| home.join(".cache")));
    Ok(base.context("neither XDG_CACHE_HOME nor HOME is set")?.join("xenith/iso"))
}

/// Cooks the tree unless the cache has it.
pub async fn ensure(inputs: &Inputs, progress: &Progress) -> Result<Cooked> {
    let cache = cache()?;
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let key = crate::sign::public_key(&cache)?;
    let hash = inputs.hash(key.as_bytes());
    let dir = cache.join(&hash);
    let cooked = Cooked { dir: dir.clone(), source_date: inputs.source_date };
    let _locked = locked(&cache)?;
    if !dir.is_dir() {
        let work = cache.join(format!("cooking-{hash}"));
        remove(&work)?;
        cook(inputs, &work, &key, progress).await?;
        // The commit point.
        fs::rename(work.join("out"), &dir).with_context(|| format!("cannot rename to {}", dir.display()))?;
        fs::remove_dir_all(&work)?;
    }
    if let Some(lock) = &inputs.lock {
        lock.compare(&Lock::parse(&fs::read_to_string(cooked.versions())?)?)?;
    }
    Ok(cooked)
}

/// One process cooks, others wait, until the file is dropped.
fn locked(cache: &Path) -> Result<fs::File> {
    let file = fs::File::create(cache.join("lock"))?;
    file.lock().context("cannot lock the cache")?;
    Ok(file)
}

fn remove(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    Ok(())
}

/// Cooks the tree whatever the cache has: to compare the two, or because Debian has newer packages than yesterday.
pub async fn again(inputs: &Inputs, progress: &Progress) -> Result<Cooked> {
    let cache = cache()?;
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let key = crate::sign::public_key(&cache)?;
    let _locked = locked(&cache)?;
    let work = cache.join(AGAIN);
    remove(&work)?;
    cook(inputs, &work, &key, progress).await?;
    Ok(Cooked { dir: work.join("out"), source_date: inputs.source_date })
}

/// Removes what [`again`] left.
pub fn forget_again() -> Result<()> {
    remove(&cache()?.join(AGAIN))
}

/// Takes a tree of [`again`] for the one of `inputs`, which ask for the very packages that it has: it need not be cooked
/// once more.
pub fn adopt(cooked: &Cooked, inputs: &Inputs) -> Result<()> {
    let cache = cache()?;
    if let Some(lock) = &inputs.lock {
        lock.compare(&Lock::parse(&fs::read_to_string(cooked.versions())?)?)?;
    }
    let dir = cache.join(inputs.hash(crate::sign::public_key(&cache)?.as_bytes()));
    let _locked = locked(&cache)?;
    if !dir.is_dir() {
        fs::rename(&cooked.dir, &dir).with_context(|| format!("cannot rename to {}", dir.display()))?;
    }
    forget_again()
}

async fn cook(inputs: &Inputs, work: &Path, key: &str, progress: &Progress) -> Result<()> {
    let overlay = work.join("overlay");
    let put = |path: &str, mode: u32, content: &[u8]| -> Result<()> {
        let path = overlay.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&overlay))?;
        fs::write(&path, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        Ok(())
    };
    for (path, mode, text) in FILES {
        put(path, *mode, text.as_bytes())?;
    }
    for (path, content) in &inputs.programs {
        put(path, 0o755, content)?;
    }
    put("usr/share/xenith/image.pub", 0o644, key.as_bytes())?;
    // What the system is older than is no upgrade of it (installer/src/cli.rs).
    put("usr/share/xenith/source-date", 0o644, format!("{}\n", inputs.source_date).as_bytes())?;
    let mut first = vec![format!("--customize-hook=sync-in '{}' /", overlay.display())];
    if let Some(lock) = &inputs.lock {
        let pins = work.join("preferences");
        fs::write(&pins, lock.preferences())?;
        first.push(format!("--setup-hook=mkdir -p \"$1\"/etc/apt/preferences.d && cp '{}' \"$1\"/etc/apt/preferences.d/xenith-lock", pins.display()));
    }
    progress.say("building the medium's root file system from Debian packages (usually 3 to 6 minutes)");
    let order = Order {
        recipe: &inputs.recipe,
        work,
        log: &work.with_extension("log"),
        first: &first,
        environment: &[
            ("SOURCE_DATE_EPOCH", inputs.source_date.to_string()),
            ("XENITH_SQUASHFS_LEVEL", inputs.level.to_string()),
        ],
    };
    order.cook(progress).await.context("the root file system was not built")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(agent: &[u8], level: u8) -> Inputs {
        Inputs {
            recipe: Recipe::new(Flavour::Iso),
            programs: vec![("usr/sbin/xenith-agent", agent.to_vec())],
            lock: None,
            level,
            source_date: 1,
        }
    }

    #[test]
    fn whatever_goes_in_changes_the_hash() {
        let hash = inputs(b"one", 1).hash(b"key");
        assert_eq!(hash, inputs(b"one", 1).hash(b"key"));
        for other in
            [inputs(b"two", 1).hash(b"key"), inputs(b"one", 2).hash(b"key"), inputs(b"one", 1).hash(b"other")]
        {
            assert_ne!(hash, other);
        }
    }

    /// Who loads the host's own filter again leaves the one of the VMs alone.
    #[test]
    fn the_hosts_filter_flushes_no_other() {
        let ours = FILES.iter().filter(|(path, ..)| path.contains("nftables"));
        let texts: Vec<_> = ours.map(|(_, _, text)| *text).collect();
        assert_eq!(texts.len(), 2);
        assert!(texts.iter().all(|text| !text.contains("flush ruleset")), "{texts:?}");
        assert!(texts[0].contains("\ntable inet xenith\ndelete table inet xenith\n"), "{texts:?}");
        assert!(
            texts[1].contains("ExecStop=\nExecStop=-/usr/sbin/nft delete table inet xenith\n"),
            "{texts:?}"
        );
    }

    /// The recipe's scripts enable these by name.
    #[test]
    fn units_that_are_enabled_are_there() {
        let script = include_str!("../../../lab/rootfs/customise.iso.sh");
        for unit in [
            "xenith-agent.service",
            "xenith-first-boot.service",
            "xenith-boot-good.service",
            "xenith-join.path",
            "xenith-trial.timer",
        ] {
            assert!(script.contains(unit), "{unit} is not enabled");
            assert!(FILES.iter().any(|(path, ..)| path.ends_with(unit)), "{unit} is not there");
        }
        for (path, _, text) in FILES.iter().filter(|(path, ..)| path.ends_with(".service")) {
            assert!(text.contains("ExecStart=/usr/"), "{path}");
        }
    }
}
