//! Compiles the shim once per version of its source.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = include_str!("fakexen.c");

/// The path of the shared object, in the build's `tmp` folder. Needs a C compiler called `cc`, or `$CC`.
pub fn compile() -> Result<PathBuf, String> {
    let mut hasher = DefaultHasher::new();
    SOURCE.hash(&mut hasher);
    let name = format!("fakexen-{:016x}", hasher.finish());
    let directory = build_directory();
    let library = directory.join(format!("{name}.so"));
    if library.exists() {
        return Ok(library);
    }
    // Many test processes come here at once. Each makes its own; the rename lets one win, whole.
    let own = directory.join(format!("{name}-{}", std::process::id()));
    let wrong = |what: &str| format!("cannot make the shim for xenstored in {}: {what}", directory.display());
    std::fs::create_dir_all(&own).map_err(|error| wrong(&error.to_string()))?;
    let (source, made) = (own.join("fakexen.c"), own.join("fakexen.so"));
    std::fs::write(&source, SOURCE).map_err(|error| wrong(&error.to_string()))?;
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let output = Command::new(&compiler)
        .args(["-O1", "-shared", "-fPIC", "-o"])
        .args([&made, &source])
        .args(["-ldl", "-pthread"])
        .output()
        .map_err(|error| {
            wrong(&format!("{compiler}: {error}; install a C compiler (apt-get install gcc)"))
        })?;
    if !output.status.success() {
        return Err(wrong(&String::from_utf8_lossy(&output.stderr)));
    }
    std::fs::rename(&made, &library).map_err(|error| wrong(&error.to_string()))?;
    // Scratch: what stays of it hurts nobody.
    let _ = std::fs::remove_dir_all(&own);
    Ok(library)
}

/// `target/tmp`, found from the test's own path `target/<profile>/deps/<test>`.
fn build_directory() -> PathBuf {
    let test = std::env::current_exe().ok();
    let target = test.as_deref().and_then(Path::parent).and_then(Path::parent).and_then(Path::parent);
    target.map_or_else(std::env::temp_dir, |target| target.join("tmp"))
}
