//! Where the programs under test lie.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use xenith_lab::agent::agent_for_lab;

/// The programs of one build.
#[derive(Debug, Clone)]
pub struct Programs {
    pub orchestrator: PathBuf,
    /// The command line `xenith`.
    pub cli: PathBuf,
    pub agent: PathBuf,
    /// The conformance suite of the back-end on real Xen; only where its test was asked for.
    pub conformance: PathBuf,
    /// That of SRs, on a disk; the same.
    pub lvm_thin: PathBuf,
}

impl Programs {
    /// From `XENITH_ORCHESTRATOR_BIN`, `XENITH_CLI_BIN` and `XENITH_AGENT_BIN`, else beside the running program in
    /// cargo's target folder.
    pub fn find() -> Result<Self> {
        // target/debug/deps/it-1a2b: the programs are one folder up; beside a bench they lie beside it.
        let me = env::current_exe()?;
        let beside = me.parent().unwrap_or(Path::new("."));
        let built = if beside.ends_with("deps") { beside.parent().unwrap_or(beside) } else { beside };
        let find = |variable: &str, built: PathBuf| {
            let path = env::var_os(variable).map_or(built, PathBuf::from);
            ensure!(
                path.is_file(),
                "{} is not there; `cargo xtask lab-test` builds it first",
                path.display()
            );
            Ok(path)
        };
        Ok(Self {
            orchestrator: find("XENITH_ORCHESTRATOR_BIN", built.join("xenith-orchestrator"))?,
            cli: find("XENITH_CLI_BIN", built.join("xenith"))?,
            agent: find("XENITH_AGENT_BIN", agent_for_lab(built))?,
            conformance: agent_for_lab(built).with_file_name("examples").join("dom0_check"),
            lvm_thin: agent_for_lab(built).with_file_name("examples").join("lvm_thin_check"),
        })
    }
}
