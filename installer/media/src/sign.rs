//! Signatures with minisign. `XENITH_SIGNING_KEY` names the secret key of a release; without it a key of this machine's
//! own signs, so that an image built here upgrades only hosts that were installed from here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

struct Keys {
    secret: PathBuf,
    public: PathBuf,
}

fn keys(cache: &Path) -> Result<Keys> {
    if let Some(secret) = std::env::var_os("XENITH_SIGNING_KEY").filter(|value| !value.is_empty()) {
        let secret = PathBuf::from(secret);
        let public = secret.with_extension("pub");
        ensure!(public.is_file(), "{} is not there; it belongs to {}", public.display(), secret.display());
        return Ok(Keys { secret, public });
    }
    let keys = Keys { secret: cache.join("development.key"), public: cache.join("development.pub") };
    if !keys.public.is_file() {
        let mut command = Command::new("minisign");
        // Without a password: it protects nothing that whoever reads the cache could not change.
        command.args(["-G", "-W", "-f", "-s"]).arg(&keys.secret).arg("-p").arg(&keys.public);
        run(&mut command)?;
    }
    Ok(keys)
}

/// The line that a host verifies with.
pub fn public_key(cache: &Path) -> Result<String> {
    let path = keys(cache)?.public;
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let line = text.lines().find(|line| line.starts_with("RW"));
    Ok(line.with_context(|| format!("{} is no public key of minisign", path.display()))?.to_owned())
}

/// Makes `file.minisig`. The comment is fixed: minisign would put the time there.
pub fn sign(cache: &Path, file: &Path, comment: &str) -> Result<PathBuf> {
    let signature = PathBuf::from(format!("{}.minisig", file.display()));
    let mut command = Command::new("minisign");
    command.args(["-S", "-s"]).arg(keys(cache)?.secret).arg("-m").arg(file).arg("-x").arg(&signature);
    run(command.args(["-t", comment]))?;
    Ok(signature)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .context("cannot start minisign; `cargo xtask setup --for iso`")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "minisign failed: {}", said.trim());
    Ok(())
}
