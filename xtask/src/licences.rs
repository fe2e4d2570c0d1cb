//! `xtask licences`: every crate's licence, ban and source against `deny.toml`.
//!
//! cargo-deny does this and more, but is a long build and not on every machine, and it wants its advisory database
//! before it says anything. So the three checks that need only `cargo metadata` are made here, from the same file,
//! and cargo-deny is run besides where it is installed.

use std::process::Command;

use anyhow::{Context, Result, bail};
use cargo_metadata::{MetadataCommand, Package};
use serde::Deserialize;
use spdx::{Expression, Licensee, ParseMode};

use crate::{exec, tree};

/// The only registry that crates may come from, as `cargo metadata` names it.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// The part of `deny.toml` that is read here; cargo-deny reads more.
#[derive(Debug, Deserialize)]
struct Policy {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Debug, Deserialize)]
struct Licenses {
    allow: Vec<String>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

#[derive(Debug, Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Bans {
    #[serde(default)]
    deny: Vec<Ban>,
}

#[derive(Debug, Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

/// What the check wants to know of a crate.
#[derive(Debug)]
struct Crate<'a> {
    name: &'a str,
    licence: Option<&'a str>,
    /// `None` for our own.
    source: Option<&'a str>,
}

impl<'a> From<&'a Package> for Crate<'a> {
    fn from(package: &'a Package) -> Self {
        Self {
            name: &package.name,
            licence: package.license.as_deref(),
            source: package.source.as_ref().map(|source| source.repr.as_str()),
        }
    }
}

pub fn run() -> Result<()> {
    let root = tree::root();
    let text = std::fs::read_to_string(root.join("deny.toml")).context("cannot read deny.toml")?;
    let policy = Policy::parse(&text)?;
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        // Crates for other systems are never compiled here; cargo-deny takes the same target from deny.toml.
        .other_options(["--filter-platform".to_owned(), "x86_64-unknown-linux-gnu".to_owned()])
        .exec()
        .context("cannot list the dependencies")?;
    let reached: Vec<_> =
        metadata.resolve.iter().flat_map(|resolve| &resolve.nodes).map(|node| &node.id).collect();
    let packages: Vec<_> =
        metadata.packages.iter().filter(|package| reached.contains(&&package.id)).collect();
    let wrong: Vec<String> =
        packages.iter().filter_map(|package| policy.refuses(&Crate::from(*package))).collect();
    for line in &wrong {
        println!("{line}");
    }
    if !wrong.is_empty() {
        bail!("{} crates are not allowed by deny.toml", wrong.len());
    }
    println!("{} crates, all allowed by deny.toml", packages.len());
    if exec::installed("cargo-deny") {
        return exec::run(Command::new("cargo").args(["deny", "check", "licenses", "bans", "sources"]));
    }
    println!("cargo-deny is not installed; advisories were not checked");
    Ok(())
}

impl Policy {
    fn parse(text: &str) -> Result<Self> {
        let policy: Self = toml::from_str(text).context("deny.toml is not as expected")?;
        for licence in
            policy.licenses.allow.iter().chain(policy.licenses.exceptions.iter().flat_map(|e| &e.allow))
        {
            Licensee::parse(licence)
                .with_context(|| format!("deny.toml: {licence} is not an SPDX licence"))?;
        }
        Ok(policy)
    }

    /// Why `package` may not be used, as a message.
    fn refuses(&self, package: &Crate<'_>) -> Option<String> {
        let Crate { name, licence, source } = *package;
        if let Some(ban) = self.bans.deny.iter().find(|ban| ban.name == name) {
            return Some(format!("{name} is banned: {}", ban.reason));
        }
        if source.is_some_and(|source| source != REGISTRY) {
            return Some(format!(
                "{name} comes from {}, not from the crate registry",
                source.unwrap_or_default()
            ));
        }
        let Some(licence) = licence else {
            return Some(format!("{name} does not name its licence"));
        };
        if source.is_none() && licence != "AGPL-3.0-only" {
            return Some(format!("{name} is ours and says {licence} instead of AGPL-3.0-only"));
        }
        // Old crates write MIT/Apache-2.0.
        let expression = match Expression::parse_mode(licence, ParseMode::LAX) {
            Ok(expression) => expression,
            Err(error) => {
                return Some(format!("{name}: {licence} is not an SPDX expression: {}", error.reason));
            }
        };
        let extra = self.licenses.exceptions.iter().filter(|exception| exception.name == name);
        let allowed: Vec<&String> = self.licenses.allow.iter().chain(extra.flat_map(|e| &e.allow)).collect();
        let fits = expression.evaluate(|requirement| {
            allowed.iter().any(|text| Licensee::parse(text).is_ok_and(|have| have.satisfies(requirement)))
        });
        (!fits).then(|| format!("{name} is under {licence}, which deny.toml does not allow"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
        [licenses]
        allow = ["MIT", "Apache-2.0", "AGPL-3.0-only", "Apache-2.0 WITH LLVM-exception"]
        exceptions = [{ crate = "copyleft", allow = ["GPL-3.0-only"] }]
        [bans]
        deny = [{ crate = "openssl-sys", reason = "rustls" }]
    "#;

    #[test]
    fn crates_are_judged() {
        let policy = Policy::parse(POLICY).unwrap();
        let git = Some("git+https://example.org/a");
        for (name, crate_name, licence, source, allowed) in [
            ("allowed", "a", Some("MIT"), Some(REGISTRY), true),
            ("one of two is enough", "a", Some("MIT OR GPL-2.0-only"), Some(REGISTRY), true),
            ("old way of writing it", "a", Some("MIT/Apache-2.0"), Some(REGISTRY), true),
            ("both are needed", "a", Some("MIT AND GPL-2.0-only"), Some(REGISTRY), false),
            ("with an exception", "a", Some("Apache-2.0 WITH LLVM-exception"), Some(REGISTRY), true),
            ("not allowed", "a", Some("SSPL-1.0"), Some(REGISTRY), false),
            ("excepted", "copyleft", Some("GPL-3.0-only"), Some(REGISTRY), true),
            ("the exception is for one crate", "a", Some("GPL-3.0-only"), Some(REGISTRY), false),
            ("no licence", "a", None, Some(REGISTRY), false),
            ("nonsense", "a", Some("do what you like"), Some(REGISTRY), false),
            ("banned", "openssl-sys", Some("MIT"), Some(REGISTRY), false),
            ("from git", "a", Some("MIT"), git, false),
            ("ours", "ours", Some("AGPL-3.0-only"), None, true),
            ("ours under another licence", "ours", Some("MIT"), None, false),
        ] {
            let refusal = policy.refuses(&Crate { name: crate_name, licence, source });
            assert_eq!(refusal.is_none(), allowed, "{name}: {refusal:?}");
        }
    }

    #[test]
    fn a_misspelt_licence_in_the_list_is_refused() {
        assert!(Policy::parse(&POLICY.replace("\"MIT\"", "\"MTI\"")).is_err());
    }

    #[test]
    fn the_licence_file_is_the_whole_text() {
        let text = std::fs::read_to_string(tree::root().join("LICENSE")).unwrap();
        for part in [
            "GNU AFFERO GENERAL PUBLIC LICENSE",
            "Preamble",
            "TERMS AND CONDITIONS",
            "How to Apply These Terms",
        ] {
            assert!(text.contains(part), "{part}");
        }
        for section in 0..=17 {
            assert!(
                text.lines().any(|line| line.starts_with(&format!("  {section}. "))),
                "section {section}"
            );
        }
    }
}
