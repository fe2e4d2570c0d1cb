//! Where the checkout is, which files it has, and where everything that is built goes.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ignore::WalkBuilder;

/// The checkout's root: xtask lives one level below it.
pub fn root() -> PathBuf {
    // Cargo sets the variable when it runs us. The path of compile time is only for a binary started by hand: a
    // target directory shared by two checkouts would otherwise make one of them look at the other.
    let manifest = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map_or_else(|| manifest.clone(), Path::to_path_buf)
}

/// `$XDG_CACHE_HOME/xenith`, by default `~/.cache/xenith`. Everything in it may be deleted at any time.
pub fn cache_dir() -> Result<PathBuf> {
    cache_dir_from(env::var_os("XDG_CACHE_HOME").map(Into::into), env::var_os("HOME").map(Into::into))
}

fn cache_dir_from(xdg: Option<PathBuf>, home: Option<PathBuf>) -> Result<PathBuf> {
    // The XDG specification says that a relative path is to be ignored.
    let base = xdg.filter(|path| path.is_absolute()).or_else(|| home.map(|home| home.join(".cache")));
    Ok(base.context("neither XDG_CACHE_HOME nor HOME is set; set one of them")?.join("xenith"))
}

/// Where cargo builds: outside the checkout, so that a fresh clone finds the dependencies built.
pub fn target_dir() -> Result<PathBuf> {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) if !dir.is_empty() => Ok(dir.into()),
        _ => Ok(cache_dir()?.join("target")),
    }
}

/// The files below `root` that version control would take, as paths relative to it, sorted.
///
/// Reads `.gitignore` itself instead of asking git, so that an unpacked source archive works too.
pub fn files(root: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>> {
    let wanted = |name: &str| name.rsplit_once('.').is_some_and(|(_, have)| extensions.contains(&have));
    list(root, WalkBuilder::new(root).require_git(false), wanted)
}

/// As [`files`], but also those that version control ignores.
pub fn all_files(root: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    // Folders full of other people's files: nothing of ours lies there.
    let skip = |name: &str| matches!(name, "node_modules" | "target");
    let mut walk = WalkBuilder::new(root);
    walk.git_ignore(false).filter_entry(move |entry| !entry.file_name().to_str().is_some_and(skip));
    list(root, &walk, wanted)
}

fn list(root: &Path, walk: &WalkBuilder, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in walk.build() {
        let entry = entry.with_context(|| format!("cannot list {}", root.display()))?;
        let is_file = entry.file_type().is_some_and(|kind| kind.is_file());
        if is_file && entry.file_name().to_str().is_some_and(&wanted) {
            found.push(entry.path().strip_prefix(root).unwrap_or(entry.path()).to_path_buf());
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_follows_xdg_and_home() {
        let home = || Some(PathBuf::from("/home/ada"));
        for (name, xdg, home, expected) in [
            ("default", None, home(), Some("/home/ada/.cache/xenith")),
            ("xdg", Some("/big/cache".into()), home(), Some("/big/cache/xenith")),
            ("relative xdg is ignored", Some("cache".into()), home(), Some("/home/ada/.cache/xenith")),
            ("nothing set", None, None, None),
        ] {
            assert_eq!(cache_dir_from(xdg, home).ok(), expected.map(PathBuf::from), "{name}");
        }
    }

    #[test]
    fn ignored_files_are_not_listed() {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in [
            (".gitignore", "/target\n"),
            ("src/b.rs", ""),
            ("src/a.rs", ""),
            ("src/a.txt", ""),
            ("target/c.rs", ""),
        ] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let files = files(dir.path(), &["rs"]).unwrap();
        assert_eq!(files, [PathBuf::from("src/a.rs"), PathBuf::from("src/b.rs")]);
    }

    #[test]
    fn the_root_is_the_workspace() {
        assert!(root().join("xtask/src/tree.rs").is_file());
    }
}
