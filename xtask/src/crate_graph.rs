//! `xtask crate-graph`: which of our crates uses which, against the golden file and the rules of direction.
//!
//! The golden file (`docs/crate-graph.txt`) makes a new edge visible in review; the rules say which edges can never
//! be right. Dependencies of tests are held to the rules as well, with a few more allowed.

mod rules;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;

use anyhow::{Context, Result, bail};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

use crate::tree;

/// Where the golden file is, below the root.
const GOLDEN: &str = "docs/crate-graph.txt";

/// What to do with the graph that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Check,
    /// Take it as the new golden file; the rules are still checked.
    Bless,
}

/// One of our crates uses another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    from: String,
    to: String,
    when: When,
}

/// A dependency needed in every build sorts before one of tests only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum When {
    Always,
    Tests,
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = if self.when == When::Tests { " (tests)" } else { "" };
        write!(f, "{} -> {}{suffix}", self.from, self.to)
    }
}

pub fn run(mode: Mode) -> Result<()> {
    let root = tree::root();
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("cannot read the workspace's manifests")?;
    let edges = edges(&metadata);
    let found = render(&crates(&metadata), &edges);
    let path = root.join(GOLDEN);
    if mode == Mode::Bless {
        fs::write(&path, &found).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{GOLDEN} written");
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    let mut wrong = rules::violations(&edges);
    wrong.extend(differences(&golden, &found));
    for line in &wrong {
        println!("{line}");
    }
    if !wrong.is_empty() {
        bail!("the crate graph is not as agreed; if {GOLDEN} is to change: cargo xtask crate-graph --bless");
    }
    println!("{} dependencies between our crates, as in {GOLDEN}", edges.len());
    Ok(())
}

fn crates(metadata: &Metadata) -> BTreeSet<String> {
    metadata.workspace_packages().iter().map(|package| package.name.to_string()).collect()
}

fn edges(metadata: &Metadata) -> BTreeSet<Edge> {
    let ours = crates(metadata);
    let mut edges = BTreeSet::new();
    for package in metadata.workspace_packages() {
        // A crate may name itself for its tests, to turn a feature of its own on.
        let other = |name: &str| ours.contains(name) && package.name != name;
        for dependency in package.dependencies.iter().filter(|dependency| other(&dependency.name)) {
            let when =
                if dependency.kind == DependencyKind::Development { When::Tests } else { When::Always };
            edges.insert(Edge { from: package.name.to_string(), to: dependency.name.clone(), when });
        }
    }
    // What is needed always is not listed again for the tests.
    let always: BTreeSet<(String, String)> = edges
        .iter()
        .filter(|edge| edge.when == When::Always)
        .map(|edge| (edge.from.clone(), edge.to.clone()))
        .collect();
    edges.retain(|edge| edge.when == When::Always || !always.contains(&(edge.from.clone(), edge.to.clone())));
    edges
}

/// A crate without dependencies of ours has a line too, so that a new crate shows.
fn render(crates: &BTreeSet<String>, edges: &BTreeSet<Edge>) -> String {
    let mut text = String::from("# Made by `cargo xtask crate-graph --bless`; checked by `make test`.\n");
    for name in crates {
        let mut own = edges.iter().filter(|edge| edge.from == *name).peekable();
        if own.peek().is_none() {
            text.push_str(&format!("{name}\n"));
        }
        for edge in own {
            text.push_str(&format!("{edge}\n"));
        }
    }
    text
}

fn differences(golden: &str, found: &str) -> Vec<String> {
    let (golden, found): (BTreeSet<&str>, BTreeSet<&str>) =
        (golden.lines().collect(), found.lines().collect());
    let gone = golden.difference(&found).map(|line| format!("gone: {line}"));
    gone.chain(found.difference(&golden).map(|line| format!("new:  {line}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: &str, to: &str) -> Edge {
        Edge { from: from.into(), to: to.into(), when: When::Always }
    }

    #[test]
    fn a_changed_graph_shows_as_lines() {
        let crates: BTreeSet<String> = ["a", "b"].map(String::from).into();
        let before = render(&crates, &BTreeSet::new());
        let after = render(&crates, &[edge("a", "b")].into());
        assert_eq!(differences(&before, &before), [] as [&str; 0]);
        assert_eq!(differences(&before, &after), ["gone: a", "new:  a -> b"]);
        assert!(differences("", &after).len() == 3, "a missing golden file is a difference");
    }

    #[test]
    fn the_graph_of_this_workspace_is_found() {
        let metadata =
            MetadataCommand::new().manifest_path(tree::root().join("Cargo.toml")).no_deps().exec().unwrap();
        assert!(crates(&metadata).contains("xtask"));
        let edges = edges(&metadata);
        assert!(edges.iter().all(|edge| edge.from != edge.to));
        assert!(edges.iter().all(|edge| edge.from != "xtask"), "xtask needs nothing of ours");
    }
}
