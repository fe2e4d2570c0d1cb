//! Attaching SRs: mounting what must be mounted, and remembering it over restarts.
//!
//! One file per SR in the state folder, written before the SR is mounted and removed after it is unmounted: a crash
//! leaves an SR that the next start attaches, or an empty mount point. An SR that cannot be attached (a server that is
//! away) is tried again when it is asked for; its VDIs are not on this host until then.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, mount_remount};
use serde::{Deserialize, Serialize};
use xenith_common_ids::SrId;
use xenith_hypervisor_agent_storage::StorageDriver;
use xenith_hypervisor_agent_storage::file::FileDriver;
use xenith_hypervisor_agent_storage::lvm_thin::{LvmThinDriver, Machine, Pool};
use xenith_hypervisor_agent_types::{Fault, FaultReason, SrSpec};

/// A server that does not answer is given up after this; a mount that is there waits for ever (`hard`), because a
/// guest survives a pause and not a lost write.
const MOUNT_WITHIN: Duration = Duration::from_secs(45);
const NFS_OPTIONS: &str = "hard,retry=0";
/// Last, where nothing that somebody gave takes them back: a server makes no programs and no devices of this host.
const NFS_ALWAYS: &str = "nosuid,nodev,noexec";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AttachedSr {
    pub sr: SrId,
    pub spec: SrSpec,
}

/// What the driver of an SR works on.
enum Place {
    Folder(PathBuf),
    /// With the disks that it is made of; none: it was there.
    Pool(Pool, Vec<String>),
}

/// The files, and where SRs are mounted.
#[derive(Debug, Clone)]
pub struct Attachments {
    folder: PathBuf,
    downloads: PathBuf,
}

fn internal(action: &str, path: &Path, error: &std::io::Error) -> Fault {
    Fault::new(FaultReason::Internal, format_args!("cannot {action} {}: {error}", path.display()))
}

impl Attachments {
    /// Below the agent's state folder; downloads, which are large, below the local SR.
    pub fn open(state: &Path, storage: &Path) -> Result<Self, Fault> {
        let folder = state.join("srs");
        fs::create_dir_all(&folder).map_err(|error| internal("create", &folder, &error))?;
        Ok(Self { folder, downloads: storage.join("downloads") })
    }

    #[must_use]
    pub fn downloads(&self) -> &Path {
        &self.downloads
    }

    fn file(&self, sr: SrId) -> PathBuf {
        self.folder.join(format!("{sr}.json"))
    }

    fn mount_point(&self, sr: SrId) -> PathBuf {
        self.folder.join(format!("{sr}.mount"))
    }

    /// What was attached.
    #[must_use]
    pub fn load(&self) -> Vec<AttachedSr> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
        paths
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .filter_map(|path| {
                let read = fs::read(&path).map_err(|error| error.to_string());
                let parsed = read.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|e| e.to_string()));
                parsed
                    .map_err(
                        |error| tracing::error!(path = %path.display(), error, "an SR's file cannot be read"),
                    )
                    .ok()
            })
            .collect()
    }

    #[must_use]
    pub fn get(&self, sr: SrId) -> Option<AttachedSr> {
        serde_json::from_slice(&fs::read(self.file(sr)).ok()?).ok()
    }

    pub fn remember(&self, attached: &AttachedSr) -> Result<(), Fault> {
        let path = self.file(attached.sr);
        let bytes = serde_json::to_vec(attached).map_err(|error| Fault::new(FaultReason::Internal, error))?;
        xenith_common_files::replace(&path, &bytes).map_err(|error| internal("write", &path, &error))
    }

    pub fn forget(&self, sr: SrId) -> Result<(), Fault> {
        let path = self.file(sr);
        xenith_common_files::remove(&path).map_err(|error| internal("remove", &path, &error))
    }

    /// Where the folder of an SR is, mounted.
    pub fn folder_of(&self, attached: &AttachedSr) -> Result<PathBuf, Fault> {
        match &attached.spec {
            SrSpec::Folder { path } => Ok(PathBuf::from(path)),
            SrSpec::Nfs { server, export, options } => {
                let at = self.mount_point(attached.sr);
                fs::create_dir_all(&at).map_err(|error| internal("create", &at, &error))?;
                if mounted(&at).is_none() {
                    mount_nfs(&format!("{server}:{export}"), options, &at)?;
                }
                follow_no_links(&at);
                Ok(at)
            }
            SrSpec::LvmThin { .. } => {
                let message = format_args!("SR {} is a thin pool and has no folder", attached.sr);
                Err(Fault::new(FaultReason::Unsupported, message))
            }
        }
    }

    fn place_of(&self, attached: &AttachedSr) -> Result<Place, Fault> {
        let SrSpec::LvmThin { disks, pool } = &attached.spec else {
            return self.folder_of(attached).map(Place::Folder);
        };
        if pool.is_empty() {
            return Ok(Place::Pool(Pool::of(attached.sr), disks.clone()));
        }
        let wrong = || Fault::invalid("pool", "give a thin pool as `lvs` shows it: GROUP/POOL");
        Ok(Place::Pool(Pool::named(pool).ok_or_else(wrong)?, Vec::new()))
    }

    /// Mounts it and opens its driver.
    pub fn attach(&self, attached: &AttachedSr) -> Result<Arc<dyn StorageDriver>, Fault> {
        let driver: Arc<dyn StorageDriver> = match self.place_of(attached)? {
            Place::Folder(folder) => Arc::new(FileDriver::attach(attached.sr, folder)?),
            Place::Pool(pool, _) => Arc::new(LvmThinDriver::attach(Machine::host(), attached.sr, pool)?),
        };
        Ok(driver)
    }

    /// Makes the SR where there is none.
    pub fn make(&self, attached: &AttachedSr) -> Result<(), Fault> {
        match self.place_of(attached)? {
            Place::Folder(folder) => {
                fs::create_dir_all(&folder).map_err(|error| internal("create", &folder, &error))?;
                Ok(FileDriver::mark(attached.sr, &folder)?)
            }
            Place::Pool(pool, disks) => {
                Ok(LvmThinDriver::make(&Machine::host(), attached.sr, &pool, &disks)?)
            }
        }
    }

    /// What [`Self::make`] did.
    pub fn unmake(&self, attached: &AttachedSr) -> Result<(), Fault> {
        match self.place_of(attached)? {
            Place::Folder(folder) => Ok(FileDriver::unmark(attached.sr, &folder)?),
            Place::Pool(pool, disks) => {
                Ok(LvmThinDriver::unmake(&Machine::host(), attached.sr, &pool, &disks)?)
            }
        }
    }

    pub fn unmount(&self, sr: SrId) -> Result<(), Fault> {
        let at = self.mount_point(sr);
        if mounted(&at).is_some() {
            run(Command::new("umount").arg(&at), &format!("unmount {}", at.display()))?;
        }
        // Not empty only if somebody else mounted or wrote there; it is no harm.
        let _left_over = fs::remove_dir(&at);
        Ok(())
    }
}

fn mount_nfs(from: &str, options: &str, at: &Path) -> Result<(), Fault> {
    let mut command = Command::new("mount");
    command.args(["-t", "nfs", "-o", &nfs_options(options), "--", from]).arg(at);
    run(&mut command, &format!("mount {from}"))
}

fn nfs_options(given: &str) -> String {
    let all = [NFS_OPTIONS, given, NFS_ALWAYS];
    all.into_iter().filter(|options| !options.is_empty()).collect::<Vec<_>>().join(",")
}

/// With which options another file system is mounted there, if one is.
fn mounted(path: &Path) -> Option<String> {
    let shown = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    options_at(&mounts, &shown)
}

/// Of several at one place the last is seen.
fn options_at(mounts: &str, at: &Path) -> Option<String> {
    let of = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        let here = fields.next().is_some_and(|point| Path::new(point) == at);
        fields.nth(1).filter(|_| here).map(str::to_owned)
    };
    mounts.lines().rev().find_map(of)
}

/// No link below `at` leads anywhere from now on, whoever opens it: QEMU opens the image in a CD drive by its name, after
/// we have looked at it, and whoever else can write on the server may have put a link to a file of this host in its place.
/// A link can still be made and read (which the turn of a lease is). Set for the mount, because the program that mounts NFS
/// knows no such option. A kernel that cannot is no reason to have no storage.
fn follow_no_links(at: &Path) {
    let Some(flags) = mounted(at).and_then(|options| flags_to_add(&options)) else { return };
    if let Err(error) = mount_remount(at, flags, "") {
        tracing::warn!(%error, at = %at.display(), "links on the server are followed by who opens them");
    }
}

/// What a mount with these options has to be given; `None`: it has all. Those of its options that are not repeated are lost.
fn flags_to_add(options: &str) -> Option<MountFlags> {
    let has = |name: &str| options.split(',').any(|option| option == name);
    if has("nosymfollow") {
        return None;
    }
    let always = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOSYMFOLLOW;
    let kept = [
        ("ro", MountFlags::RDONLY),
        ("noatime", MountFlags::NOATIME),
        ("nodiratime", MountFlags::NODIRATIME),
        ("relatime", MountFlags::RELATIME),
    ];
    let kept = kept.into_iter().filter(|(name, _)| has(name)).map(|(_, flag)| flag);
    // Of this mount alone, not of the file system.
    Some(kept.fold(always | MountFlags::BIND, |flags, flag| flags | flag))
}

/// Runs a program that may hang, for as long as [`MOUNT_WITHIN`].
fn run(command: &mut Command, what: &str) -> Result<(), Fault> {
    let failed = |detail: &dyn std::fmt::Display| {
        Fault::new(FaultReason::NotReady, format_args!("cannot {what}: {detail}"))
    };
    // What mount says fits into a pipe.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| failed(&error))?;
    let began = Instant::now();
    loop {
        match child.try_wait().map_err(|error| failed(&error))? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => {
                let mut said = String::new();
                if let Some(mut stderr) = child.stderr.take() {
                    let _what_was_read = stderr.read_to_string(&mut said);
                }
                let said = said.trim();
                return Err(if said.is_empty() { failed(&status) } else { failed(&said) });
            }
            None if began.elapsed() > MOUNT_WITHIN => {
                let _gone_already = child.kill();
                let _reaped = child.wait();
                return Err(failed(&format_args!("no answer within {} s", MOUNT_WITHIN.as_secs())));
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_may_not_is_said_last() {
        for (given, options) in [
            ("", "hard,retry=0,nosuid,nodev,noexec"),
            ("vers=4.2,dev,suid", "hard,retry=0,vers=4.2,dev,suid,nosuid,nodev,noexec"),
        ] {
            assert_eq!(nfs_options(given), options);
        }
    }

    #[test]
    fn a_mount_gets_what_it_lacks_and_keeps_what_it_has() {
        let mounts = "server:/isos /srs/a.mount nfs4 rw,relatime,vers=4.2 0 0\n\
                      server:/isos /srs/b.mount nfs4 ro,nosuid,nosymfollow,hard 0 0\n\
                      server:/old /srs/c.mount nfs4 rw 0 0\n\
                      server:/isos /srs/c.mount nfs4 ro,noatime 0 0\n";
        let always = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOSYMFOLLOW;
        let always = always | MountFlags::BIND;
        for (at, options, flags) in [
            ("/srs/a.mount", Some("rw,relatime,vers=4.2"), Some(always | MountFlags::RELATIME)),
            ("/srs/b.mount", Some("ro,nosuid,nosymfollow,hard"), None),
            ("/srs/c.mount", Some("ro,noatime"), Some(always | MountFlags::RDONLY | MountFlags::NOATIME)),
            ("/srs/d.mount", None, None),
        ] {
            let found = options_at(mounts, Path::new(at));
            assert_eq!(found.as_deref(), options, "{at}");
            assert_eq!(found.and_then(|options| flags_to_add(&options)), flags, "{at}");
        }
    }
}
