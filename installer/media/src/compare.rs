//! Whether two builds from the same inputs are the same bytes, and if they are not, which files differ.
//!
//! The second build begins with Debian's packages, as on another machine: what the cache has takes no part in it. It stays
//! in `again` of the cache where it differs, for whoever looks for the reason.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use xenith_installer::image::SQUASHFS;
use xenith_lab::Progress;

use crate::iso::{self, Medium, run};
use crate::tree::{self, Cooked, Inputs};

/// As many differences as a person reads.
const SHOWN: usize = 20;

/// Builds twice. The medium is the one of the first build, in `out`; an error says what differs.
pub async fn twice(inputs: &Inputs, out: &Path, progress: &Progress) -> Result<Medium> {
    let first = tree::ensure(inputs, progress).await?;
    let medium = iso::build(&first, out)?;
    progress.say("building a second time, from Debian's packages on");
    let second = tree::again(inputs, progress).await?;
    same_trees(&first, &second)?;
    let folder = tempfile::Builder::new().prefix("xenith-iso-again-").tempdir_in(tree::cache()?)?;
    let other = iso::build(&second, folder.path())?;
    ensure!(
        medium.sha256 == other.sha256,
        "two builds differ: what is in the medium is the same, but the media themselves have the hashes {} and {}; xorriso \
         or mkfs.vfat wrote something of its own",
        medium.sha256,
        other.sha256
    );
    tree::forget_again()?;
    Ok(medium)
}

/// Compares what both were packed into; of two squashfs that differ also what is in them.
fn same_trees(first: &Cooked, second: &Cooked) -> Result<()> {
    let differing = differences(&first.dir, &second.dir, What::Content)?;
    if differing.is_empty() {
        return Ok(());
    }
    let mut told = shown(&differing);
    if differing.iter().any(|line| line.starts_with(SQUASHFS)) {
        let inside = differences_inside(&first.dir.join(SQUASHFS), &second.dir.join(SQUASHFS))?;
        told.push_str("\nin the root file system:\n");
        told.push_str(&if inside.is_empty() {
            "  only how it was packed".to_owned()
        } else {
            shown(&inside)
        });
    }
    bail!("two builds differ, in {} and {}:\n{told}", first.dir.display(), second.dir.display());
}

fn shown(lines: &[String]) -> String {
    let mut text = lines.iter().take(SHOWN).map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n");
    if lines.len() > SHOWN {
        text.push_str(&format!("\n  and {} more", lines.len() - SHOWN));
    }
    text
}

fn differences_inside(first: &Path, second: &Path) -> Result<Vec<String>> {
    let folder = tempfile::Builder::new().prefix("unpacked-").tempdir_in(tree::cache()?)?;
    let unpack = |image: &Path, name: &str| -> Result<std::path::PathBuf> {
        let to = folder.path().join(name);
        // Who is not root cannot give files to others, and needs not: bytes, modes and times are compared.
        run(Command::new("unsquashfs")
            .args(["-no-progress", "-quiet", "-no-xattrs", "-ignore-errors", "-no-exit-code", "-dest"])
            .arg(&to)
            .arg(image))?;
        Ok(to)
    };
    differences(&unpack(first, "first")?, &unpack(second, "second")?, What::ContentAndTimes)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Content,
    ContentAndTimes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    mode: u32,
    time: i64,
    /// Hash of a file, target of a link.
    content: String,
}

/// A line per path that is not the same in both folders.
fn differences(first: &Path, second: &Path, what: What) -> Result<Vec<String>> {
    let (mut one, mut other) = (BTreeMap::new(), BTreeMap::new());
    walk(first, "", &mut one).with_context(|| format!("cannot read {}", first.display()))?;
    walk(second, "", &mut other).with_context(|| format!("cannot read {}", second.display()))?;
    let mut lines = Vec::new();
    for (path, entry) in &one {
        let Some(twin) = other.get(path) else {
            lines.push(format!("{path}: only in the first"));
            continue;
        };
        if entry.content != twin.content {
            lines.push(format!("{path}: other bytes"));
        } else if entry.mode != twin.mode {
            lines.push(format!("{path}: mode {:o} and {:o}", entry.mode, twin.mode));
        } else if what == What::ContentAndTimes && entry.time != twin.time {
            lines.push(format!("{path}: time {} and {}", entry.time, twin.time));
        }
    }
    let new = other.keys().filter(|path| !one.contains_key(*path));
    lines.extend(new.map(|path| format!("{path}: only in the second")));
    Ok(lines)
}

fn walk(dir: &Path, below: &str, entries: &mut BTreeMap<String, Entry>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = if below.is_empty() { name } else { format!("{below}/{name}") };
        let meta = fs::symlink_metadata(&path)?;
        let content = if meta.is_file() {
            let mut hasher = blake3::Hasher::new();
            io::copy(&mut fs::File::open(&path)?, &mut hasher)?;
            hasher.finalize().to_hex().to_string()
        } else if meta.is_symlink() {
            fs::read_link(&path)?.to_string_lossy().into_owned()
        } else {
            String::new()
        };
        entries.insert(name.clone(), Entry { mode: meta.mode(), time: meta.mtime(), content });
        if meta.is_dir() {
            walk(&path, &name, entries)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        }
        dir
    }

    #[test]
    fn what_differs_is_named() {
        let first = tree(&[("etc/same", "1"), ("etc/other", "1"), ("etc/gone", "1"), ("etc/mode", "1")]);
        let second = tree(&[("etc/same", "1"), ("etc/other", "2"), ("etc/new", "1"), ("etc/mode", "1")]);
        fs::set_permissions(second.path().join("etc/mode"), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(
            differences(first.path(), second.path(), What::Content).unwrap(),
            [
                "etc/gone: only in the first",
                "etc/mode: mode 100644 and 100755",
                "etc/other: other bytes",
                "etc/new: only in the second"
            ]
        );
        assert!(differences(first.path(), first.path(), What::ContentAndTimes).unwrap().is_empty());
    }

    #[test]
    fn a_link_counts_by_its_target_and_a_time_only_where_it_is_asked_for() {
        let (first, second) = (tree(&[("a", "1")]), tree(&[("a", "1")]));
        let old = std::time::SystemTime::UNIX_EPOCH;
        fs::File::options().write(true).open(first.path().join("a")).unwrap().set_modified(old).unwrap();
        assert!(differences(first.path(), second.path(), What::Content).unwrap().is_empty());
        assert_eq!(differences(first.path(), second.path(), What::ContentAndTimes).unwrap().len(), 1);
        std::os::unix::fs::symlink("one", first.path().join("link")).unwrap();
        std::os::unix::fs::symlink("two", second.path().join("link")).unwrap();
        assert_eq!(differences(first.path(), second.path(), What::Content).unwrap(), ["link: other bytes"]);
    }

    #[test]
    fn a_long_list_is_cut() {
        let lines: Vec<String> = (0..SHOWN + 2).map(|n| n.to_string()).collect();
        assert!(shown(&lines).ends_with("  and 2 more"));
    }
}
