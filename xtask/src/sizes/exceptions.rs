//! `xtask/sizes-exceptions.toml`: what may break a budget, each with the reason. An entry that excuses nothing is
//! an error, so the list can only shrink to what is needed.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::rules::{Finding, Rule};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exceptions {
    /// Files made by a program: not measured at all.
    #[serde(default)]
    generated: Vec<Generated>,
    #[serde(default)]
    exception: Vec<Exception>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Generated {
    /// A file, or a folder with a slash at its end.
    path: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    path: String,
    rule: Rule,
    /// Only this function, type or word.
    item: Option<String>,
    reason: String,
}

impl Exceptions {
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not a list of exceptions", path.display()))
    }

    pub fn parse(text: &str) -> Result<Self> {
        let list: Self = toml::from_str(text)?;
        for (path, reason) in (list.generated.iter().map(|g| (&g.path, &g.reason)))
            .chain(list.exception.iter().map(|e| (&e.path, &e.reason)))
        {
            ensure!(reason.split_whitespace().count() >= 3, "the exception for {path} gives no reason");
        }
        Ok(list)
    }

    /// What is left when nothing is excused in `path`: a keeper of which entries were of use.
    pub fn keeper(&self) -> Keeper<'_> {
        Keeper {
            list: self,
            used_generated: vec![false; self.generated.len()],
            used: vec![false; self.exception.len()],
        }
    }
}

/// Applies the list and remembers which entries were needed.
pub struct Keeper<'a> {
    list: &'a Exceptions,
    used_generated: Vec<bool>,
    used: Vec<bool>,
}

impl Keeper<'_> {
    pub fn is_generated(&mut self, path: &str) -> bool {
        let at = self.list.generated.iter().position(|entry| covers(&entry.path, path));
        if let Some(at) = at {
            self.used_generated[at] = true;
        }
        at.is_some()
    }

    pub fn excuses(&mut self, path: &str, finding: &Finding) -> bool {
        let at = self.list.exception.iter().position(|entry| {
            entry.rule == finding.rule
                && covers(&entry.path, path)
                && entry.item.as_ref().is_none_or(|item| *item == finding.item)
        });
        if let Some(at) = at {
            self.used[at] = true;
        }
        at.is_some()
    }

    /// The entries that excused nothing, as messages.
    pub fn stale(&self) -> Vec<String> {
        let generated = self.list.generated.iter().zip(&self.used_generated).filter(|(_, used)| !**used);
        let exceptions = self.list.exception.iter().zip(&self.used).filter(|(_, used)| !**used);
        generated
            .map(|(entry, _)| format!("{} is listed as generated and does not exist", entry.path))
            .chain(exceptions.map(|(entry, _)| {
                format!("{} no longer needs its exception from {}; remove it", entry.path, entry.rule)
            }))
            .collect()
    }
}

fn covers(entry: &str, path: &str) -> bool {
    entry == path || (entry.ends_with('/') && path.starts_with(entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"
        [[generated]]
        path = "sys/src/bindings/"
        reason = "written by bindgen"
        [[exception]]
        path = "a/src/b.rs"
        rule = "function-lines"
        item = "table"
        reason = "one line per case"
    "#;

    #[test]
    fn an_entry_excuses_only_what_it_names() {
        let list = Exceptions::parse(LIST).unwrap();
        let mut keeper = list.keeper();
        assert_eq!(keeper.stale().len(), 2);
        for (name, path, rule, item, expected) in [
            ("other item", "a/src/b.rs", Rule::FunctionLines, "other", false),
            ("other rule", "a/src/b.rs", Rule::Unwrap, "table", false),
            ("other file", "a/src/c.rs", Rule::FunctionLines, "table", false),
            ("named", "a/src/b.rs", Rule::FunctionLines, "table", true),
        ] {
            assert_eq!(keeper.excuses(path, &Finding::new(rule, 1, item)), expected, "{name}");
        }
        assert!(!keeper.is_generated("sys/src/bindings.rs"));
        assert!(keeper.is_generated("sys/src/bindings/v4_17.rs"));
        assert_eq!(keeper.stale(), Vec::<String>::new());
    }

    #[test]
    fn an_entry_without_a_reason_is_refused() {
        for (name, text) in [
            ("empty reason", LIST.replace("one line per case", "")),
            ("no reason", LIST.replace("reason = \"one line per case\"", "")),
            ("unknown rule", LIST.replace("function-lines", "funktion-lines")),
        ] {
            assert!(Exceptions::parse(&text).is_err(), "{name}");
        }
    }
}
