//! `xtask sizes`: the budgets that keep the code readable.
//!
//! Every Rust file that version control would take is measured, and the UI's TypeScript files by their length. A
//! broken rule is an error unless `xtask/sizes-exceptions.toml` excuses it with a reason. The 95th percentiles are
//! taken over the workspace and cannot be excused.

mod exceptions;
mod rules;
mod source;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use self::exceptions::Exceptions;
use self::rules::{
    Finding, MAX_FILE_LINES, MAX_MAIN_LINES, MAX_UI_LINES, P95_FILE_LINES, P95_FUNCTION_LINES, Rule,
    UNDOCUMENTED_LINES,
};
use self::source::{Nature, Source, measure};
use crate::tree;

/// Checks the checkout and prints what is wrong, or the numbers if nothing is.
pub fn run() -> Result<()> {
    let root = tree::root();
    let exceptions = Exceptions::read(&root.join("xtask/sizes-exceptions.toml"))?;
    let report = check(&root, &exceptions)?;
    for line in &report.broken {
        println!("{line}");
    }
    println!("{}", report.numbers);
    if report.broken.is_empty() {
        return Ok(());
    }
    bail!(
        "{} broken rules; CONTRIBUTING.md has the budgets, xtask/sizes-exceptions.toml the exceptions",
        report.broken.len()
    );
}

struct Report {
    /// One line each: `path:line: rule: …`.
    broken: Vec<String>,
    numbers: String,
}

fn check(root: &Path, exceptions: &Exceptions) -> Result<Report> {
    let mut keeper = exceptions.keeper();
    let mut broken = Vec::new();
    let (mut file_lines, mut function_lines) = (Vec::new(), Vec::new());
    for (path, findings) in ui_files(root)? {
        if !keeper.is_generated(&path) {
            broken.extend(
                findings.iter().filter(|f| !keeper.excuses(&path, f)).map(|f| format!("{path}: {f}")),
            );
        }
    }
    for file in rust_files(root)? {
        if keeper.is_generated(&file.path) {
            continue;
        }
        file_lines.push((file.source.code_lines, file.path.clone()));
        for (name, lines) in &file.source.functions {
            function_lines.push((*lines, format!("{} in {}", name, file.path)));
        }
        for finding in file.findings() {
            if !keeper.excuses(&file.path, &finding) {
                broken.push(format!("{}:{}: {finding}", file.path, finding.line));
            }
        }
    }
    broken.extend(keeper.stale().into_iter().map(|line| format!("xtask/sizes-exceptions.toml: {line}")));
    let files =
        Percentile::of(file_lines.into_iter().filter(|(lines, _)| *lines > 0).collect(), P95_FILE_LINES);
    let functions = Percentile::of(function_lines, P95_FUNCTION_LINES);
    broken.extend(files.complaint("files"));
    broken.extend(functions.complaint("functions"));
    Ok(Report { broken, numbers: format!("{}\n{}", files.line("files"), functions.line("functions")) })
}

/// The spread of a number of lines.
struct Percentile {
    count: usize,
    p95: usize,
    budget: usize,
    longest: (usize, String),
}

impl Percentile {
    fn of(mut lengths: Vec<(usize, String)>, budget: usize) -> Self {
        lengths.sort();
        let count = lengths.len();
        // The smallest length that 95 of 100 do not exceed.
        let p95 = lengths.get((count * 95).div_ceil(100).saturating_sub(1)).map_or(0, |(lines, _)| *lines);
        Self { count, p95, budget, longest: lengths.pop().unwrap_or_default() }
    }

    fn complaint(&self, what: &str) -> Option<String> {
        (self.p95 > self.budget).then(|| {
            format!("95 of 100 {what} should have at most {} lines, but have up to {}", self.budget, self.p95)
        })
    }

    fn line(&self, what: &str) -> String {
        let Self { count, p95, budget, longest: (lines, name) } = self;
        format!("{count} {what}: p95 {p95} lines (budget {budget}), longest {lines} ({name})")
    }
}

/// A Rust file with what was measured.
struct RustFile {
    path: String,
    source: Source,
    /// It is a module of `main.rs`, which no other crate can see.
    of_program: bool,
}

impl RustFile {
    /// The rules that the file breaks, from its text and from its place.
    fn findings(&self) -> Vec<Finding> {
        let mut findings = self.source.findings.clone();
        let Source { lines, code_lines, has_module_doc, .. } = self.source;
        let name = self.path.rsplit('/').next().unwrap_or_default();
        let mut add = |rule, detail: String| findings.push(Finding::new(rule, 1, name).with(detail));
        if code_lines > MAX_FILE_LINES {
            add(Rule::FileLines, format!("{code_lines} lines outside tests; at most {MAX_FILE_LINES}"));
        }
        if lines > UNDOCUMENTED_LINES && !has_module_doc {
            add(Rule::ModuleDoc, format!("{lines} lines"));
        }
        if name == "main.rs" && code_lines >= MAX_MAIN_LINES {
            add(Rule::MainLines, format!("{code_lines} lines; under {MAX_MAIN_LINES}"));
        }
        if name == "mod.rs" {
            add(Rule::ModRs, self.path.clone());
        }
        if let Some((_, below)) = self.path.split_once("/tests/")
            && !below.contains('/')
            && !self.path.contains("/src/")
        {
            add(Rule::IntegrationBinary, self.path.clone());
        }
        for (watched, line) in &self.source.mentions {
            let rule = match *watched {
                "clap" if !may_mention_clap(&self.path) => Rule::ClapOutsideCli,
                "anyhow" if !self.of_program && !may_mention_anyhow(&self.path) => {
                    Rule::AnyhowOutsidePrograms
                }
                _ => continue,
            };
            findings.push(Finding::new(rule, *line, *watched));
            // The first mention is enough to act on.
            break;
        }
        findings
    }
}

fn may_mention_clap(path: &str) -> bool {
    path.ends_with("/cli.rs") || path.contains("/src/cli/")
}

/// Programs that only people and the pipeline run may end with any error, and so may `main` of the others.
fn may_mention_anyhow(path: &str) -> bool {
    path.ends_with("/main.rs")
        || path.contains("/examples/")
        || ["xtask/", "lab/", "benches/", "installer/media/"].iter().any(|folder| path.starts_with(folder))
}

fn rust_files(root: &Path) -> Result<Vec<RustFile>> {
    let paths = tree::files(root, &["rs"])?;
    let mut texts = Vec::new();
    for path in &paths {
        let text = std::fs::read_to_string(root.join(path))
            .with_context(|| format!("cannot read {}", path.display()))?;
        texts.push((path, text));
    }
    // What a file is, is only seen in the one that declares it, so the declarations are read first.
    let (mut tests, mut programs, mut libraries) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (path, text) in &texts {
        let Ok(source) = measure(text, Nature::Code) else { continue };
        let modules = |names: Vec<String>| names.into_iter().map(|name| module_dir(path).join(name));
        tests.extend(modules(source.test_modules));
        match path.file_name().and_then(|name| name.to_str()) {
            Some("main.rs") => programs.extend(modules(source.modules)),
            Some("lib.rs") => libraries.extend(modules(source.modules)),
            _ => {}
        }
    }
    Ok(texts
        .into_iter()
        .map(|(path, text)| {
            let nature = if is_test_file(path, &tests) { Nature::Test } else { Nature::Code };
            let source = measure(&text, nature).unwrap_or_else(|error| Source {
                findings: vec![Finding::new(Rule::Parse, error.span().start().line, error.to_string())],
                ..Source::default()
            });
            let of_program = is_below(path, &programs) && !is_below(path, &libraries);
            RustFile { path: path.to_string_lossy().into_owned(), source, of_program }
        })
        .collect())
}

/// Where the files of the modules that `path` declares lie.
fn module_dir(path: &Path) -> PathBuf {
    let parent = path.parent().unwrap_or(Path::new(""));
    match path.file_stem().and_then(|stem| stem.to_str()) {
        Some("lib" | "main" | "mod") | None => parent.to_path_buf(),
        Some(stem) => parent.join(stem),
    }
}

fn is_test_file(path: &Path, test_modules: &BTreeSet<PathBuf>) -> bool {
    let in_test_folder =
        path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "benches");
    in_test_folder || is_below(path, test_modules)
}

/// Whether the file is one of `modules` or inside one.
fn is_below(path: &Path, modules: &BTreeSet<PathBuf>) -> bool {
    path.with_extension("").ancestors().any(|module| modules.contains(module))
}

/// The UI's files with what is wrong with their length.
fn ui_files(root: &Path) -> Result<Vec<(String, Vec<Finding>)>> {
    let mut found = Vec::new();
    let sources = root.join("ui/src");
    if !sources.is_dir() {
        return Ok(found);
    }
    for path in tree::files(&sources, &["ts", "tsx"])? {
        let name = path.to_string_lossy().into_owned();
        if name.contains(".test.") {
            continue;
        }
        let file = sources.join(&path);
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let lines = text.lines().count();
        let mut findings = Vec::new();
        if lines > MAX_UI_LINES {
            let detail = format!("{lines} lines; at most {MAX_UI_LINES}");
            findings.push(Finding::new(Rule::UiFileLines, 1, &name).with(detail));
        }
        found.push((format!("ui/src/{name}"), findings));
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
