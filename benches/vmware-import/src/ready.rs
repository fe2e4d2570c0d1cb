//! What is measured, and what it is measured against: built here where it is not named, so that one command is all there is
//! to do, and looked for before anything is measured.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// Fails with the package of the first program that is not there.
pub fn programs(wanted: &[(&str, &str)]) -> anyhow::Result<()> {
    for (program, package) in wanted {
        let asked =
            Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        ensure!(asked.is_ok(), "{program} is needed: apt-get install {package}");
    }
    Ok(())
}

/// An optimised `xenith-import`; Cargo puts it beside us.
pub fn tool() -> anyhow::Result<PathBuf> {
    let way_out = "cargo run --release --package xenith-benches-vmware-import -- …";
    ensure!(!cfg!(debug_assertions), "only an optimised build says anything: {way_out}");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--package", "xenith-vmware-import", "--bin", "xenith-import"])
        .current_dir(HERE)
        .status()
        .context("cannot run cargo; name a built xenith-import as the first argument")?;
    ensure!(built.success(), "xenith-import cannot be built");
    let tool = std::env::current_exe()?.with_file_name("xenith-import");
    ensure!(
        tool.is_file(),
        "{} is not there; name a built xenith-import as the first argument",
        tool.display()
    );
    Ok(tool)
}

/// The server of `vmware-import/tests/vcsim`, built in `folder`.
pub fn front(folder: &Path) -> anyhow::Result<PathBuf> {
    let front = folder.join("front");
    let packages = "golang-go and golang-github-vmware-govmomi-dev are needed: apt-get install them";
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&front)
        .arg(".")
        .current_dir(Path::new(HERE).join("../../vmware-import/tests/vcsim"))
        .envs([("GO111MODULE", "off"), ("GOPATH", "/usr/share/gocode"), ("GOFLAGS", "")])
        .status()
        .context(packages)?;
    ensure!(built.success(), "the server of vmware-import/tests/vcsim cannot be built; {packages}");
    Ok(front)
}
