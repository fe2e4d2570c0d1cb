//! What is written down about an image, beside it: so that one that was cut off is noticed, and that an SR can be
//! read without an orchestrator.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xenith_common_ids::VdiId;
use xenith_hypervisor_agent_types::VdiSize;

use super::open::{plain, read_small};

const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    pub format: u32,
    /// The image is at least this long.
    pub size: VdiSize,
    /// The VDI that this is a snapshot of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_of: Option<VdiId>,
}

impl Meta {
    pub const fn new(size: VdiSize, snapshot_of: Option<VdiId>) -> Self {
        Self { format: FORMAT, size, snapshot_of }
    }

    pub fn path(folder: &Path, vdi: VdiId) -> PathBuf {
        folder.join(format!("{vdi}.json"))
    }

    /// `None`: an image from before there were notes.
    pub fn load(folder: &Path, vdi: VdiId) -> io::Result<Option<Self>> {
        match read_small(&Self::path(folder, vdi)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces the note in one step.
    pub fn save(&self, folder: &Path, vdi: VdiId) -> io::Result<()> {
        let path = Self::path(folder, vdi);
        let partial = path.with_extension("json.partial");
        let mut file = plain().write(true).create(true).truncate(true).open(&partial)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(&partial, &path)
    }
}
