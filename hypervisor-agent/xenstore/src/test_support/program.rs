//! Finds Debian's xenstored and oxenstored, which lie in one folder, or fetches them into the user's cache.
//!
//! Installing `xen-utils` on an ordinary machine starts services and changes its boot menu, so it is not asked
//! for. In this order: `$XENITH_XENSTORED`; an installed one in `/usr/lib/xen-*/bin`; one in
//! `~/.cache/xenith/xenstored-<version>/`; else the packages are downloaded with `apt-get download` (1.9 MB, no
//! root) and unpacked there with `dpkg -x`. The cache may be deleted at any time.
//!
//! Crash or two at once: a lock file lets one test process fetch; the folder gets its final name last.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::Daemon;

/// The Xen of Debian 12, with which the shim was tried.
const XEN: &str = "4.17";

/// Libraries that xenstored loads, for machines without them. Those that the shim replaces are needed, too:
/// they are named in the program.
const LIBRARIES: [&str; 7] = [
    "libxencall1",
    "libxendevicemodel1",
    "libxenevtchn1",
    "libxenforeignmemory1",
    "libxengnttab1",
    "libxentoolcore1",
    "libxentoollog1",
];

/// The daemon, and where its libraries are when they are not installed.
#[derive(Debug)]
pub struct Program {
    pub path: PathBuf,
    pub libraries: Option<PathBuf>,
}

pub fn find(daemon: Daemon) -> Result<Program, String> {
    let mut program = find_xenstored()?;
    if daemon == Daemon::Oxenstored {
        program.path.set_file_name(daemon.name());
        if !program.path.is_file() {
            return Err(format!(
                "these tests need Xen's oxenstored beside its xenstored, and {} is not there; take both from \
                 Debian's xen-utils-{XEN}",
                program.path.display()
            ));
        }
    }
    Ok(program)
}

fn find_xenstored() -> Result<Program, String> {
    if let Some(path) = std::env::var_os("XENITH_XENSTORED").map(PathBuf::from) {
        return Ok(Program { path, libraries: None });
    }
    if let Some(path) = installed() {
        return Ok(Program { path, libraries: None });
    }
    let cache = cache_directory()?;
    if let Some(program) = cached(&cache) {
        return Ok(program);
    }
    fetch(&cache).map_err(|reason| {
        format!(
            "these tests need Xen's xenstored, and it could not be fetched: {reason}\n\
             Do one of these and run them again:\n\
             - apt-get update  (then it is downloaded into {}, nothing is installed)\n\
             - apt-get install xen-utils-{XEN}  (on a machine that may become a Xen host)\n\
             - XENITH_XENSTORED=/path/to/xenstored",
            cache.display()
        )
    })
}

fn installed() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib").ok()?.flatten();
    let mut found: Vec<PathBuf> = versions
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("xen-"))
        .map(|entry| entry.path().join("bin/xenstored"))
        .filter(|path| path.is_file())
        .collect();
    found.sort();
    found.pop()
}

fn cache_directory() -> Result<PathBuf, String> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let base = base.or_else(home).ok_or("neither HOME nor XDG_CACHE_HOME is set")?;
    Ok(base.join("xenith"))
}

fn cached(cache: &Path) -> Option<Program> {
    let mut found: Vec<Program> = fs::read_dir(cache)
        .ok()?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("xenstored-"))
        .filter_map(|entry| unpacked(&entry.path()))
        .collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found.pop()
}

fn unpacked(root: &Path) -> Option<Program> {
    let path = root.join(format!("usr/lib/xen-{XEN}/bin/xenstored"));
    let libraries = fs::read_dir(root.join("usr/lib")).ok()?.flatten().map(|entry| entry.path());
    let libraries = libraries.filter(|path| path.to_string_lossy().ends_with("-linux-gnu")).last();
    path.is_file().then_some(Program { path, libraries })
}

fn fetch(cache: &Path) -> Result<Program, String> {
    let at = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(cache).map_err(|error| at(cache, error))?;
    let lock_path = cache.join("xenstored.lock");
    let lock = File::create(&lock_path).map_err(|error| at(&lock_path, error))?;
    lock.lock().map_err(|error| at(&lock_path, error))?;
    // Another process may have done it while this one waited.
    if let Some(program) = cached(cache) {
        return Ok(program);
    }
    let making = cache.join("making-xenstored");
    let _ = fs::remove_dir_all(&making);
    let packages = making.join("packages");
    fs::create_dir_all(&packages).map_err(|error| at(&packages, error))?;
    let main = format!("xen-utils-{XEN}");
    let misc = format!("libxenmisc{XEN}");
    let mut apt = Command::new("apt-get");
    apt.arg("download").args([&main, &misc]).args(LIBRARIES).current_dir(&packages);
    run(&mut apt)?;
    let mut version = None;
    for package in fs::read_dir(&packages).map_err(|error| at(&packages, error))?.flatten() {
        let mut dpkg = Command::new("dpkg");
        run(dpkg.arg("-x").arg(package.path()).arg(&making))?;
        // xen-utils-4.17_<version>_<architecture>.deb
        let name = package.file_name().to_string_lossy().into_owned();
        let rest = name.strip_prefix(&main).and_then(|rest| rest.strip_prefix('_'));
        version = rest.and_then(|rest| rest.split('_').next().map(str::to_owned)).or(version);
    }
    let _ = fs::remove_dir_all(&packages);
    let version = version.ok_or_else(|| format!("{main} was not among the downloads"))?;
    let home = cache.join(format!("xenstored-{}", version.replace(|c: char| !is_plain(c), "-")));
    fs::rename(&making, &home).map_err(|error| at(&home, error))?;
    unpacked(&home).ok_or_else(|| format!("{main} has no xenstored"))
}

/// `dpkg` and the loader take colons and percent signs for something else.
const fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '~' | '-')
}

fn run(command: &mut Command) -> Result<Output, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.env("LC_ALL", "C").output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(format!("{name} said: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
