//! What the agent must know after a restart: the definition of every VM assigned to this host, what was being
//! done with it, the newest epoch seen.
//!
//! One JSON file per VM, replaced whole: a crash leaves the old record or the new one, never a torn one. Only the
//! VM's owner task writes its record, so there is no lock between them. A record that cannot be read is
//! reported and left alone: guessing could start a VM twice.

mod record;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use xenith_common_files as files;
use xenith_common_ids::{Epoch, SrId, VmId};
use xenith_hypervisor_agent_types::ha::Arms;
use xenith_hypervisor_agent_types::network::HostNetworks;

pub use record::{Asked, Attaching, By, Phase, Reached, Reaching, Run, Saved, VmRecord};

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("cannot {action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "{path} is damaged: {detail}; restore it from a backup, or move it away and define the VM anew \
         from the orchestrator"
    )]
    Damaged { path: PathBuf, detail: String },
    #[error("{path} was written by a newer agent (format {format}); install that version again")]
    Newer { path: PathBuf, format: u32 },
}

impl JournalError {
    /// The disk of the host is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
    }

    /// The VM whose record it is about.
    #[must_use]
    pub fn vm(&self) -> Option<VmId> {
        let (Self::Io { path, .. } | Self::Damaged { path, .. } | Self::Newer { path, .. }) = self;
        path.file_stem()?.to_str()?.parse().ok()
    }
}

/// The folder. Calls block; async callers use a blocking thread.
#[derive(Debug, Clone)]
pub struct Journal {
    vms: PathBuf,
    suspended: PathBuf,
    host: PathBuf,
    networks: PathBuf,
    mesh: PathBuf,
}

/// What concerns the host and not one VM.
#[derive(Debug, Clone, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostRecord {
    pub format: u32,
    pub epoch: Epoch,
    /// The kernel's id of the last boot whose autostart is done; empty before the first.
    pub boot: String,
    pub local_sr: SrId,
    /// What it is armed with for high availability. An agent that knows nothing of that refuses a record that says so:
    /// it would start VMs that run elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arms: Option<Arms>,
}

impl Journal {
    pub const FORMAT: u32 = 1;

    /// Opens or creates the journal below `state`.
    pub fn open(state: &Path) -> Result<Self, JournalError> {
        let journal = Self {
            vms: state.join("vms"),
            suspended: state.join("suspended"),
            host: state.join("host.json"),
            networks: state.join("networks.json"),
            mesh: state.join("mesh-keys"),
        };
        for folder in [&journal.vms, &journal.suspended, &journal.mesh] {
            fs::create_dir_all(folder).map_err(|source| io_error("create", folder, source))?;
        }
        Ok(journal)
    }

    /// Every record, and beside them what could not be read.
    pub fn load(&self) -> Result<(Vec<VmRecord>, Vec<JournalError>), JournalError> {
        let (mut records, mut broken) = (Vec::new(), Vec::new());
        let entries = fs::read_dir(&self.vms).map_err(|source| io_error("list", &self.vms, source))?;
        for entry in entries {
            let path = entry.map_err(|source| io_error("list", &self.vms, source))?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match read_record(&path) {
                Ok(Some(record)) => records.push(record),
                Ok(None) => {}
                Err(error) => broken.push(error),
            }
        }
        records.sort_by_key(|record| record.vm);
        Ok((records, broken))
    }

    /// The record of one VM.
    pub fn load_vm(&self, vm: VmId) -> Result<Option<VmRecord>, JournalError> {
        read_record(&self.vms.join(format!("{vm}.json")))
    }

    pub fn save(&self, record: &VmRecord) -> Result<(), JournalError> {
        write(&self.vms.join(format!("{}.json", record.vm)), record)
    }

    pub fn remove(&self, vm: VmId) -> Result<(), JournalError> {
        remove(&self.vms.join(format!("{vm}.json")))
    }

    pub fn load_host(&self) -> Result<Option<HostRecord>, JournalError> {
        match read::<HostRecord>(&self.host)? {
            Some(record) if record.format > Self::FORMAT => {
                Err(JournalError::Newer { path: self.host.clone(), format: record.format })
            }
            record => Ok(record),
        }
    }

    pub fn save_host(&self, record: &HostRecord) -> Result<(), JournalError> {
        write(&self.host, record)
    }

    /// `None`: no orchestrator has said anything about networks yet.
    pub fn load_networks(&self) -> Result<Option<HostNetworks>, JournalError> {
        read(&self.networks)
    }

    pub fn save_networks(&self, networks: &HostNetworks) -> Result<(), JournalError> {
        write(&self.networks, networks)
    }

    /// The private key of a generation.
    pub fn load_mesh_key(&self, generation: u64) -> Result<Option<String>, JournalError> {
        read(&self.mesh.join(format!("{generation}.json")))
    }

    /// For its owner only.
    pub fn save_mesh_key(&self, generation: u64, private: &str) -> Result<(), JournalError> {
        write(&self.mesh.join(format!("{generation}.json")), &private)
    }

    /// Forgets the keys of all other generations.
    pub fn keep_mesh_keys(&self, generations: &[u64]) -> Result<(), JournalError> {
        let entries = fs::read_dir(&self.mesh).map_err(|source| io_error("list", &self.mesh, source))?;
        for entry in entries.flatten() {
            let path = entry.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
            if number.is_some_and(|number| !generations.contains(&number)) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Where the memory of a suspended VM is.
    #[must_use]
    pub fn image(&self, vm: VmId) -> PathBuf {
        self.suspended.join(format!("{vm}.image"))
    }

    /// A new file for the memory of a VM; it counts only after [`Self::commit_image`].
    pub fn create_image(&self, vm: VmId) -> Result<File, JournalError> {
        let path = self.partial_image(vm);
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| io_error("create", &path, source))
    }

    /// Makes the partial image the image: the commit point of a suspend.
    pub fn commit_image(&self, vm: VmId) -> Result<(), JournalError> {
        let (partial, image) = (self.partial_image(vm), self.image(vm));
        File::open(&partial)
            .and_then(|file| file.sync_all())
            .map_err(|source| io_error("flush", &partial, source))?;
        fs::rename(&partial, &image).map_err(|source| io_error("commit", &image, source))?;
        files::sync_folder_of(&image).map_err(|source| io_error("commit", &image, source))
    }

    pub fn open_image(&self, vm: VmId) -> Result<File, JournalError> {
        let path = self.image(vm);
        File::open(&path).map_err(|source| io_error("open", &path, source))
    }

    /// Where that cannot be told it is an error: a VM whose memory is there must not look like one that is off.
    pub fn has_image(&self, vm: VmId) -> Result<bool, JournalError> {
        let path = self.image(vm);
        path.try_exists().map_err(|source| io_error("look for", &path, source))
    }

    pub fn remove_image(&self, vm: VmId) -> Result<(), JournalError> {
        remove(&self.image(vm))
    }

    pub fn remove_partial_image(&self, vm: VmId) -> Result<(), JournalError> {
        remove(&self.partial_image(vm))
    }

    /// Of suspends that were cut off: each is as large as a VM's memory. While nothing is suspended, as when the agent starts.
    pub fn clear_partial_images(&self) -> Result<(), JournalError> {
        let listed =
            fs::read_dir(&self.suspended).map_err(|source| io_error("list", &self.suspended, source))?;
        for entry in listed.flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "partial") {
                remove(&path)?;
            }
        }
        Ok(())
    }

    fn partial_image(&self, vm: VmId) -> PathBuf {
        self.suspended.join(format!("{vm}.partial"))
    }
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> JournalError {
    JournalError::Io { action, path: path.to_owned(), source }
}

fn read_record(path: &Path) -> Result<Option<VmRecord>, JournalError> {
    match read::<VmRecord>(path)? {
        Some(record) if record.format > Journal::FORMAT => {
            Err(JournalError::Newer { path: path.to_owned(), format: record.format })
        }
        record => Ok(record),
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, JournalError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io_error("read", path, source)),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| JournalError::Damaged { path: path.to_owned(), detail: error.to_string() })
}

fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), JournalError> {
    let bytes = serde_json::to_vec_pretty(value)
        .map_err(|error| io_error("encode", path, io::Error::other(error)))?;
    files::replace(path, &bytes).map_err(|source| io_error("write", path, source))
}

fn remove(path: &Path) -> Result<(), JournalError> {
    files::remove(path).map_err(|source| io_error("remove", path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_records_are_reported_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        let damaged = folder.path().join("vms").join(format!("{}.json", VmId::new()));
        fs::write(&damaged, b"{\"format\": 1, \"vm\"").unwrap();
        let (records, broken) = journal.load().unwrap();
        assert!(records.is_empty());
        assert!(broken[0].to_string().contains("is damaged"), "{}", broken[0]);
        assert!(damaged.exists());
    }

    #[test]
    fn a_partial_write_is_not_a_record() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        fs::write(folder.path().join("vms").join("x.partial"), b"{").unwrap();
        assert_eq!(journal.load().unwrap().0.len(), 0);
        let vm = VmId::new();
        drop(journal.create_image(vm).unwrap());
        assert!(!journal.has_image(vm).unwrap());
        journal.clear_partial_images().unwrap();
        assert!(journal.commit_image(vm).is_err(), "it is cleared away");
        drop(journal.create_image(vm).unwrap());
        journal.commit_image(vm).unwrap();
        journal.clear_partial_images().unwrap();
        assert!(journal.has_image(vm).unwrap());
        journal.remove_image(vm).unwrap();
        journal.remove_image(vm).unwrap();
    }

    #[test]
    fn an_image_that_cannot_be_looked_for_is_not_absent() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        let vm = VmId::new();
        assert!(!journal.has_image(vm).unwrap());
        let suspended = folder.path().join("suspended");
        fs::remove_dir(&suspended).unwrap();
        fs::write(&suspended, b"no folder").unwrap();
        assert!(journal.has_image(vm).unwrap_err().to_string().contains("look for"));
    }
}
