//! A disk as a VM on VMware has it: a small Debian whose initramfs lacks Xen's drivers, for what imports it.
//!
//! Cooked like the hosts' root file system and cached by its recipe's hash in `vmware/HASH/disk.raw` beside it; the rename
//! of the folder is the commit point. `lab/vmware` has the recipe.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::child::{self, Ending};
use crate::error::{Doing, LabError};
use crate::paths::{LabPaths, ensure_dir, write};
use crate::programs;
use crate::progress::Progress;
use crate::recipe::{Flavour, Recipe, SUITE};

const PACKAGES: &str = include_str!("../vmware/packages");
const CUSTOMISE: &str = include_str!("../vmware/customise.sh");
const PACK: &str = include_str!("../vmware/pack.sh");
/// The guest's own, on the hosts' bridge.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 150);
/// Of its one partition, MiB.
const PARTITION_MIB: u32 = 1023;
const COOK_LIMIT: Duration = Duration::from_secs(40 * 60);

/// The disk, cooked once. Its folder must not be written to.
pub async fn ensure(paths: &LabPaths, progress: &Progress) -> Result<PathBuf, LabError> {
    let mut hasher = blake3::Hasher::new();
    for part in [PACKAGES, CUSTOMISE, PACK, SUITE, &ADDRESS.to_string(), &PARTITION_MIB.to_string()] {
        hasher.update(part.as_bytes()).update(&[0]);
    }
    let hash = &hasher.finalize().to_hex()[..16];
    let base = paths.rootfs().with_file_name("vmware");
    let done = base.join(hash);
    let disk = done.join("disk.raw");
    if disk.is_file() {
        return Ok(disk);
    }
    programs::check()?;
    let work = base.join(format!("cooking-{hash}-{}", std::process::id()));
    ensure_dir(&work.join("tmp"))?;
    ensure_dir(&work.join("out"))?;
    progress.say("building a guest's disk from Debian packages; happens once, usually takes 1 to 3 minutes");
    let log = base.join(format!("{hash}.log"));
    let output = File::create(&log).doing(|| format!("could not create {}", log.display()))?;
    let errors = output.try_clone().doing(|| format!("could not share {}", log.display()))?;
    let mut command = Command::new("mmdebstrap");
    let packages: Vec<&str> =
        PACKAGES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    command
        .args(["--variant=minbase", "--format=null", "--aptopt=APT::Install-Recommends \"false\""])
        .arg(format!("--include={}", packages.join(",")));
    for glob in Recipe::new(Flavour::Iso).excludes() {
        command.arg(format!("--dpkgopt=path-exclude={glob}"));
    }
    for (name, text) in [("customise.sh", CUSTOMISE), ("pack.sh", PACK)] {
        let path = work.join(name);
        write(&path, text)?;
        command.arg(format!("--customize-hook=sh '{}' \"$1\"", path.display()));
    }
    command.arg(format!("--customize-hook=sync-out /out '{}'", work.join("out").display()));
    command.args([SUITE, "-"]);
    for archive in ["debian", "debian-security"] {
        let suite = if archive == "debian" { SUITE.to_owned() } else { format!("{SUITE}-security") };
        command.arg(format!("deb http://deb.debian.org/{archive} {suite} main"));
    }
    command
        .env("TMPDIR", work.join("tmp"))
        .env("XENITH_GUEST_ADDRESS", ADDRESS.to_string())
        .env("XENITH_GUEST_MIB", PARTITION_MIB.to_string())
        .env("PATH", std::env::join_paths(programs::search_path()).unwrap_or_default())
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors);
    let mut child = child::spawn(command, Ending::Terminate).doing(|| "could not start mmdebstrap".into())?;
    let ended = child.wait_for(COOK_LIMIT).await.doing(|| "could not wait for mmdebstrap".into())?;
    if !ended.is_some_and(|status| status.success()) {
        return Err(LabError::Build { log });
    }
    // The copy out of the tree has filled the holes.
    let cooked = work.join("out/disk.raw");
    let dug = Command::new("fallocate").arg("--dig-holes").arg(&cooked).status();
    if !dug.doing(|| "could not run fallocate".into())?.success() {
        progress.say("the guest's disk takes its full size: its file system has no holes");
    }
    // Somebody else may have been faster: then his is as good.
    if let Err(source) = std::fs::rename(work.join("out"), &done)
        && !disk.is_file()
    {
        return Err(LabError::Io { doing: format!("could not rename to {}", done.display()), source });
    }
    std::fs::remove_dir_all(&work).doing(|| format!("could not remove {}", work.display()))?;
    Ok(disk)
}
