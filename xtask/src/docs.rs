//! `xtask docs`: documents that say what is no longer so.
//!
//! Links between documents must lead somewhere, and the table of parts in ARCHITECTURE.md must name every crate and
//! tell truly whether there is code in it. Whether the words are right is for people to see.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cargo_metadata::MetadataCommand;

use crate::tree;

const ARCHITECTURE: &str = "ARCHITECTURE.md";

pub fn run() -> Result<()> {
    let root = tree::root();
    let mut wrong = broken_links(&root)?;
    let text = fs::read_to_string(root.join(ARCHITECTURE)).context("cannot read ARCHITECTURE.md")?;
    wrong.extend(untrue_rows(&parts(&text), &crates(&root)?));
    for line in &wrong {
        println!("{line}");
    }
    if !wrong.is_empty() {
        bail!("{} places in the documents are not true", wrong.len());
    }
    println!("all links lead somewhere, and ARCHITECTURE.md knows every crate");
    Ok(())
}

/// `document:line: …` for each relative link to a file that is not there.
fn broken_links(root: &Path) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for document in tree::files(root, &["md"])? {
        let text = fs::read_to_string(root.join(&document))
            .with_context(|| format!("cannot read {}", document.display()))?;
        let folder = document.parent().unwrap_or(Path::new(""));
        for (line, target) in links(&text) {
            if !root.join(folder).join(target).exists() {
                wrong.push(format!("{}:{line}: {target} does not exist", document.display()));
            }
        }
    }
    Ok(wrong)
}

/// Line and path of the relative links in a document, without what stands in code blocks.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for part in line.split("](").skip(1) {
            let target = part.split(')').next().unwrap_or_default();
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !path.contains("://") && !path.starts_with("mailto:") {
                found.push((number + 1, path));
            }
        }
    }
    found
}

/// Whether a part of the product has code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    Yes,
    No,
}

/// The rows `` | `folder` | what it is | yes or no | `` of a document.
fn parts(text: &str) -> BTreeMap<PathBuf, Code> {
    let mut rows = BTreeMap::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", folder, _, code, ""] = cells[..] else { continue };
        let code = match code {
            "yes" => Code::Yes,
            "no" => Code::No,
            _ => continue,
        };
        if let Some(folder) = folder.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) {
            rows.insert(folder.into(), code);
        }
    }
    rows
}

/// The workspace's crates by folder.
fn crates(root: &Path) -> Result<BTreeMap<PathBuf, Code>> {
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("cannot read the workspace's manifests")?;
    let mut found = BTreeMap::new();
    for package in metadata.workspace_packages() {
        let folder = package.manifest_path.parent().map_or(root, |path| path.as_std_path());
        let code = if has_code(&folder.join("src"))? { Code::Yes } else { Code::No };
        found.insert(folder.strip_prefix(root).unwrap_or(folder).to_path_buf(), code);
    }
    // The one part that is not a crate.
    if root.join("ui/src/main.tsx").is_file() {
        found.insert("ui".into(), Code::Yes);
    }
    Ok(found)
}

fn has_code(sources: &Path) -> Result<bool> {
    for file in tree::files(sources, &["rs"])? {
        let path = sources.join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if text.lines().any(|line| !line.trim().is_empty() && !line.starts_with("//")) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn untrue_rows(rows: &BTreeMap<PathBuf, Code>, crates: &BTreeMap<PathBuf, Code>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (folder, code) in crates {
        let folder_shown = folder.display();
        match rows.get(folder) {
            Some(said) if said == code => {}
            Some(Code::No) => wrong.push(format!("{ARCHITECTURE}: {folder_shown} has code now; write yes")),
            Some(Code::Yes) => wrong.push(format!("{ARCHITECTURE}: {folder_shown} has no code; write no")),
            None => wrong.push(format!("{ARCHITECTURE}: {folder_shown} is missing in the table of parts")),
        }
    }
    for folder in rows.keys().filter(|folder| !crates.contains_key(*folder)) {
        wrong.push(format!("{ARCHITECTURE}: {} is not a crate of this workspace", folder.display()));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("docs")).unwrap();
        fs::write(dir.path().join("README.md"), "").unwrap();
        for (name, text, expected) in [
            ("up and there", "[a](../README.md#part)", None),
            ("elsewhere on the web", "[a](https://example.org/x)", None),
            ("within the document", "[a](#part)", None),
            ("in a code block", "```\n[a](gone.md)\n```\n", None),
            ("nowhere", "x\n[a](../README.md) [b](gone.md)", Some("docs/a.md:2: gone.md does not exist")),
        ] {
            fs::write(dir.path().join("docs/a.md"), text).unwrap();
            let wrong = broken_links(dir.path()).unwrap();
            assert_eq!(wrong, expected.into_iter().collect::<Vec<_>>(), "{name}");
        }
    }

    #[test]
    fn an_untrue_row_is_found() {
        let table = "| folder | what | code |\n|---|---|---|\n| `a` | A | yes |\n| `b/c` | C | no |\n";
        let rows = parts(table);
        assert_eq!(rows.len(), 2);
        let is =
            |list: &[(&str, Code)]| list.iter().map(|(name, code)| (PathBuf::from(name), *code)).collect();
        for (name, crates, expected) in [
            ("true", is(&[("a", Code::Yes), ("b/c", Code::No)]), None),
            ("built since", is(&[("a", Code::Yes), ("b/c", Code::Yes)]), Some("b/c has code now")),
            ("not built after all", is(&[("a", Code::No), ("b/c", Code::No)]), Some("a has no code")),
            ("gone", is(&[("a", Code::Yes)]), Some("b/c is not a crate")),
            ("new", is(&[("a", Code::Yes), ("b/c", Code::No), ("d", Code::Yes)]), Some("d is missing")),
        ] {
            let wrong = untrue_rows(&rows, &crates);
            match expected {
                None => assert!(wrong.is_empty(), "{name}: {wrong:?}"),
                Some(part) => assert!(wrong.len() == 1 && wrong[0].contains(part), "{name}: {wrong:?}"),
            }
        }
    }

    #[test]
    fn comments_alone_are_no_code() {
        let dir = tempfile::tempdir().unwrap();
        for (text, expected) in [("", false), ("//! Soon.\n\n", false), ("//! Doc.\nmod a;\n", true)] {
            fs::write(dir.path().join("lib.rs"), text).unwrap();
            assert_eq!(has_code(dir.path()).unwrap(), expected, "{text:?}");
        }
    }
}
