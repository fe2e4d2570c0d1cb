//! The budgets and the names of the rules. Who changes a number here changes CONTRIBUTING.md too.

use std::fmt;

use serde::Deserialize;

/// No file may have more lines outside test code: what is longer has more than one subject.
pub const MAX_FILE_LINES: usize = 800;
/// 95 of 100 files keep to this.
pub const P95_FILE_LINES: usize = 500;
/// No function may be longer: it no longer fits on one screen with what it calls.
pub const MAX_FUNCTION_LINES: usize = 80;
/// 95 of 100 functions keep to this.
pub const P95_FUNCTION_LINES: usize = 45;
/// As in clippy.toml, which counts `self` too.
pub const MAX_PARAMETERS: usize = 5;
/// From here on a file explains itself in a module doc.
pub const UNDOCUMENTED_LINES: usize = 100;
/// `main.rs` starts and ends the process, nothing else.
pub const MAX_MAIN_LINES: usize = 60;
/// A TypeScript file of the UI.
pub const MAX_UI_LINES: usize = 300;

/// A rule's name is what exceptions and messages call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    AnyhowOutsidePrograms,
    BareBool,
    ClapOutsideCli,
    ExpectReason,
    FileLines,
    FunctionLines,
    IgnoredTest,
    IntegrationBinary,
    Leftover,
    MainLines,
    ModRs,
    ModuleDoc,
    Parameters,
    Parse,
    UiFileLines,
    Unwrap,
    VagueName,
}

impl Rule {
    /// What the rule wants, as the message says it.
    pub const fn wants(self) -> &'static str {
        match self {
            Self::AnyhowOutsidePrograms => {
                "anyhow belongs to main.rs and its own modules, xtask and tests; use an error enum"
            }
            Self::BareBool => "a bare bool says nothing where it is passed; use an enum of two words",
            Self::ClapOutsideCli => "cli.rs is the only file that mentions clap",
            Self::ExpectReason => "expect says why it cannot happen",
            Self::FileLines => "the file is too long; split it by subject",
            Self::FunctionLines => "the function is too long",
            Self::IgnoredTest => "a test runs always or does not exist",
            Self::IntegrationBinary => "one integration test binary per crate, tests/it/main.rs",
            Self::Leftover => "nothing is left for later in the code; file an issue",
            Self::MainLines => "main.rs is too long; only start the program there",
            Self::ModRs => "name the module's file after it: vm.rs beside vm/",
            Self::ModuleDoc => "a file over 100 lines starts with a //! module doc",
            Self::Parameters => "too many parameters",
            Self::Parse => "the file does not parse",
            Self::UiFileLines => "the file is too long; split the component",
            Self::Unwrap => "no unwrap outside tests; handle it, or expect(\"why it cannot happen\")",
            Self::VagueName => "Manager, Helper and Util say nothing; name what it does",
        }
    }
}

impl fmt::Display for Rule {
    /// The kebab-case name, as `serde` reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AnyhowOutsidePrograms => "anyhow-outside-programs",
            Self::BareBool => "bare-bool",
            Self::ClapOutsideCli => "clap-outside-cli",
            Self::ExpectReason => "expect-reason",
            Self::FileLines => "file-lines",
            Self::FunctionLines => "function-lines",
            Self::IgnoredTest => "ignored-test",
            Self::IntegrationBinary => "integration-binary",
            Self::Leftover => "leftover",
            Self::MainLines => "main-lines",
            Self::ModRs => "mod-rs",
            Self::ModuleDoc => "module-doc",
            Self::Parameters => "parameters",
            Self::Parse => "parse",
            Self::UiFileLines => "ui-file-lines",
            Self::Unwrap => "unwrap",
            Self::VagueName => "vague-name",
        })
    }
}

/// One broken rule in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub rule: Rule,
    pub line: usize,
    /// The function, type or word it is about; exceptions may name it.
    pub item: String,
    pub detail: Option<String>,
}

impl Finding {
    pub fn new(rule: Rule, line: usize, item: impl Into<String>) -> Self {
        Self { rule, line, item: item.into(), detail: None }
    }

    pub fn with(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.item)?;
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        write!(f, " ({})", self.rule.wants())
    }
}
