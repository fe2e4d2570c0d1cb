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
                if !is_mounted(&at) {
                    mount_nfs(&format!("{server}:{export}"), options, &at)?;
                }
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
        if is_mounted(&at) {
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

/// Whether another file system begins there.
fn is_mounted(path: &Path) -> bool {
    let shown = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let Ok(mounts) = fs::read_to_string("/proc/self/mounts") else { return false };
    mounts.lines().any(|line| line.split(' ').nth(1).is_some_and(|point| Path::new(point) == shown))
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
}
