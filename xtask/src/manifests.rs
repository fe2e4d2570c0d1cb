//! `xtask manifests`: every crate's `Cargo.toml` takes what is common from the workspace.
//!
//! A crate that forgets `[lints] workspace = true` is checked by nobody, and nobody notices. So is a version that is
//! written a second time: two crates then agree until one is updated.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cargo_metadata::MetadataCommand;
use toml::{Table, Value};

use crate::tree;

/// Keys of `[package]` that are the same for all of ours.
const INHERITED: [&str; 5] = ["version", "edition", "rust-version", "license", "publish"];

pub fn run() -> Result<()> {
    let root = tree::root();
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("cannot read the workspace's manifests")?;
    let mut manifests: Vec<PathBuf> =
        metadata.workspace_packages().iter().map(|package| package.manifest_path.clone().into()).collect();
    manifests.sort();
    let mut wrong = Vec::new();
    let members = members(&fs::read_to_string(root.join("Cargo.toml")).context("cannot read Cargo.toml")?)?;
    for path in &manifests {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let shown = path.strip_prefix(&root).unwrap_or(path);
        let folder = shown.parent().unwrap_or(Path::new(""));
        // Cargo takes what others depend on for a member, too, as long as anybody does.
        if !members.iter().any(|member| Path::new(member) == folder) {
            wrong.push(format!("Cargo.toml: write {:?} into members", folder.display().to_string()));
        }
        let table: Table = text.parse().with_context(|| format!("{} is not TOML", shown.display()))?;
        wrong.extend(
            complaints(folder, &table).into_iter().map(|what| format!("{}: {what}", shown.display())),
        );
    }
    for line in &wrong {
        println!("{line}");
    }
    if !wrong.is_empty() {
        bail!("{} places in the manifests differ from the workspace", wrong.len());
    }
    println!("{} manifests follow the workspace", manifests.len());
    Ok(())
}

/// The folders that the root manifest lists, in its order.
fn members(manifest: &str) -> Result<Vec<String>> {
    let table: Table = manifest.parse().context("Cargo.toml is not TOML")?;
    let listed = table.get("workspace").and_then(|workspace| workspace.get("members"));
    let listed = listed.and_then(Value::as_array).context("Cargo.toml lists no members")?;
    Ok(listed.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect())
}

fn complaints(folder: &Path, manifest: &Table) -> Vec<String> {
    let mut wrong = Vec::new();
    let package = manifest.get("package").and_then(Value::as_table).cloned().unwrap_or_default();
    let name = package.get("name").and_then(Value::as_str).unwrap_or_default();
    let expected = name_for(folder);
    if name != expected {
        wrong.push(format!("the crate in {} is called {expected}, not {name}", folder.display()));
    }
    for key in INHERITED.into_iter().filter(|key| !package.get(*key).is_some_and(from_workspace)) {
        wrong.push(format!("write {key}.workspace = true"));
    }
    if !manifest.get("lints").is_some_and(from_workspace) {
        wrong.push("write [lints] workspace = true".to_owned());
    }
    for (section, dependencies) in sections(manifest) {
        for (name, _) in dependencies.iter().filter(|(_, value)| !from_workspace(value)) {
            wrong.push(format!("[{section}] {name}: its version belongs into the root Cargo.toml"));
        }
    }
    wrong
}

/// `orchestrator/store` is `xenith-orchestrator-store`. The automation is no part of the product.
fn name_for(folder: &Path) -> String {
    let path: Vec<_> = folder.iter().map(|part| part.to_string_lossy()).collect();
    if path == ["xtask"] { "xtask".to_owned() } else { format!("xenith-{}", path.join("-")) }
}

fn from_workspace(value: &Value) -> bool {
    value.get("workspace").and_then(Value::as_bool) == Some(true)
}

/// The tables of dependencies, those for certain targets too.
fn sections(manifest: &Table) -> Vec<(String, &Table)> {
    const KINDS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];
    let mut found = Vec::new();
    for kind in KINDS {
        if let Some(table) = manifest.get(kind).and_then(Value::as_table) {
            found.push((kind.to_owned(), table));
        }
    }
    for (target, tables) in manifest.get("target").and_then(Value::as_table).into_iter().flatten() {
        for kind in KINDS {
            if let Some(table) = tables.get(kind).and_then(Value::as_table) {
                found.push((format!("target.{target}.{kind}"), table));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        [package]
        name = "xenith-orchestrator-store"
        version.workspace = true
        edition.workspace = true
        rust-version.workspace = true
        license.workspace = true
        publish.workspace = true
        [lints]
        workspace = true
        [dependencies]
        serde.workspace = true
        tokio = { workspace = true, optional = true }
        [target.'cfg(unix)'.dependencies]
        libc.workspace = true
    "#;

    #[test]
    fn members_are_those_of_the_workspace() {
        let manifest = "[workspace]\nmembers = [\"common/ids\", \"xtask\"]\n";
        assert_eq!(members(manifest).unwrap(), ["common/ids", "xtask"]);
        assert!(members("[package]\n").is_err());
    }

    #[test]
    fn each_departure_from_the_workspace_is_found() {
        for (name, old, new, expected) in [
            ("good", "[lints]", "[lints]", None),
            (
                "name",
                "orchestrator-store",
                "store",
                Some("is called xenith-orchestrator-store, not xenith-store"),
            ),
            (
                "edition",
                "edition.workspace = true",
                "edition = \"2021\"",
                Some("write edition.workspace = true"),
            ),
            ("licence", "license.workspace = true", "", Some("write license.workspace = true")),
            ("lints", "[lints]", "[lint]", Some("write [lints] workspace = true")),
            ("version", "serde.workspace = true", "serde = \"1\"", Some("[dependencies] serde")),
            ("path", "serde.workspace = true", "serde = { path = \"../x\" }", Some("[dependencies] serde")),
            (
                "for a target",
                "libc.workspace = true",
                "libc = \"0.2\"",
                Some("[target.cfg(unix).dependencies] libc"),
            ),
        ] {
            let manifest: Table = GOOD.replace(old, new).parse().unwrap();
            let wrong = complaints(Path::new("orchestrator/store"), &manifest);
            match expected {
                None => assert!(wrong.is_empty(), "{name}: {wrong:?}"),
                Some(part) => assert!(wrong.len() == 1 && wrong[0].contains(part), "{name}: {wrong:?}"),
            }
        }
    }
}
