//! Puts the browser UI into the binary: every file below `ui/dist/site`, as `npm run build` left it.
//!
//! Without it (no Node here, or not built yet) the list is empty and the orchestrator shows a page that says
//! so. The watched folder is in version control: a watched path that does not exist would make every build of
//! this crate a new one.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let variable =
        |name: &str| env::var_os(name).ok_or_else(|| io::Error::other(format!("{name} is not set")));
    let dist = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("../ui/dist");
    println!("cargo::rerun-if-changed={}", dist.display());
    println!("cargo::rerun-if-changed=build.rs");
    let site = dist.join("site");
    let mut files = Vec::new();
    if site.join("index.html").is_file() {
        list(&site, &mut files)?;
    }
    files.sort();
    let mut code = String::from("pub static BUILT: &[Asset] = &[\n");
    for file in files.iter().filter(|file| file.extension().is_none_or(|extension| extension != "br")) {
        let name = file.strip_prefix(&site).map_err(io::Error::other)?.to_string_lossy().replace('\\', "/");
        let brotli = PathBuf::from(format!("{}.br", file.display()));
        let brotli = if brotli.is_file() { format!("Some({})", include(&brotli)) } else { "None".to_owned() };
        let plain = include(file);
        writeln!(code, "    Asset {{ path: {name:?}, plain: {plain}, brotli: {brotli} }},")
            .map_err(io::Error::other)?;
    }
    code.push_str("];\n");
    fs::write(PathBuf::from(variable("OUT_DIR")?).join("assets.rs"), code)
}

fn include(file: &Path) -> String {
    format!("include_bytes!({:?})", file.display().to_string())
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { list(&path, files)? } else { files.push(path) }
    }
    Ok(())
}
