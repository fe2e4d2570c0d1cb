//! Where things are: the programs beside this one, the data of earlier runs.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use xenith_lab::agent::agent_for_lab;

#[derive(Debug, Clone)]
pub struct Place {
    programs: PathBuf,
    pub data: PathBuf,
}

impl Place {
    pub fn find(data: Option<&Path>) -> Result<Self> {
        let own = env::current_exe().context("cannot find this program's own file")?;
        let programs = own.parent().context("this program's file has no folder")?.to_owned();
        let data = match data {
            Some(data) => data.to_owned(),
            None => default_data()?,
        };
        fs::create_dir_all(&data).with_context(|| format!("cannot create {}", data.display()))?;
        let data = data.canonicalize().with_context(|| format!("cannot find {}", data.display()))?;
        Ok(Self { programs, data })
    }

    /// One of ours.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        Self::built(self.programs.join(name))
    }

    /// The agent for hosts in QEMU.
    pub fn lab_agent(&self) -> Result<PathBuf> {
        Self::built(agent_for_lab(&self.programs))
    }

    fn built(path: PathBuf) -> Result<PathBuf> {
        if !path.is_file() {
            bail!("{} is missing; `make run` builds it", path.display());
        }
        Ok(path)
    }

    /// The token with which later runs sign in.
    pub fn token(&self) -> PathBuf {
        self.data.join("run-token")
    }
}

fn default_data() -> Result<PathBuf> {
    if let Some(data) = env::var_os("XDG_DATA_HOME").filter(|data| !data.is_empty()) {
        return Ok(PathBuf::from(data).join("xenith/run"));
    }
    let home = env::var_os("HOME").context("HOME is not set; say where to keep data with --data")?;
    Ok(PathBuf::from(home).join(".local/share/xenith/run"))
}
