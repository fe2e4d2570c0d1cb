//! The browser UI: npm's packages and its build, when something has changed since.
//!
//! A checkout without Node.js still gives a working orchestrator: it says on its page that the UI was not built.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::setup::{self, Purpose};
use crate::{exec, tree};

/// What a build depends on, by the ends of the files' names.
const SOURCES: [&str; 8] = ["ts", "tsx", "css", "html", "json", "mjs", "svg", "woff2"];

/// Builds it if needed. Where that is not possible says so; the product runs without.
pub fn ensure_built() {
    let ui = tree::root().join("ui");
    let built = setup::check_node(&[Purpose::Ui]).and_then(|()| build(&ui));
    if let Err(error) = built {
        println!("the browser UI is not built, everything else works: {error:#}");
    }
}

fn build(ui: &Path) -> Result<()> {
    let installed = ui.join("node_modules/.package-lock.json");
    if is_older(&installed, changed(&ui.join("package-lock.json"))?) {
        println!("fetching the UI's packages (usually half a minute)");
        exec::run(&mut npm(ui, &["ci", "--no-fund", "--no-audit", "--loglevel=error"]))?;
    }
    let newest = newest(ui)?;
    if !is_older(&ui.join("dist/site/index.html"), newest) {
        return Ok(());
    }
    println!("building the browser UI (usually 10 seconds)");
    exec::output(&mut npm(ui, &["run", "build"])).map(drop)
}

fn npm(ui: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("npm");
    command.current_dir(ui).args(arguments);
    command
}

fn changed(path: &Path) -> Result<SystemTime> {
    let modified = fs::metadata(path).and_then(|file| file.modified());
    modified.with_context(|| format!("cannot look at {}", path.display()))
}

/// Whether it is missing, or from before `time`.
fn is_older(path: &Path, time: SystemTime) -> bool {
    changed(path).map_or(true, |own| own < time)
}

fn newest(ui: &Path) -> Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for file in tree::files(ui, &SOURCES)? {
        newest = newest.max(changed(&ui.join(file))?);
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_built_before_a_change_is_old() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.ts");
        assert!(is_older(&file, SystemTime::UNIX_EPOCH), "missing");
        fs::write(&file, "").unwrap();
        let time = newest(dir.path()).unwrap();
        assert!(time > SystemTime::UNIX_EPOCH);
        assert!(!is_older(&file, time));
        assert!(is_older(&file, time + std::time::Duration::from_secs(1)));
    }
}
