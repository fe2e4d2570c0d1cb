//! Help, completions, manual pages.

use std::collections::BTreeSet;

use crate::program::Program;

/// Set XENITH_BLESS=1 to write it anew.
#[test]
fn help_is_as_written_down() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/golden/help.txt");
    let help = xenith_orchestrator_cli::cli::full_help();
    if std::env::var_os("XENITH_BLESS").is_some() {
        std::fs::write(path, &help).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    assert!(help == golden, "the help changed; look at the difference after XENITH_BLESS=1 cargo test");
}

#[tokio::test]
async fn completions_know_the_commands() {
    let program = Program::alone();
    for shell in ["bash", "zsh", "fish"] {
        let text = program.run(&["completion", shell]).await.is(0).out;
        assert!(text.contains("power-off") && text.contains("set-maintenance"), "{shell}");
    }
}

#[tokio::test]
async fn there_is_a_page_for_each_command() {
    let program = Program::alone();
    let folder = program.home.path().join("man");
    program.run(&["man", "--dir", folder.to_str().unwrap()]).await.is(0);
    // The help of everything walks the tree of commands itself.
    let help = xenith_orchestrator_cli::cli::full_help();
    let commands: Vec<_> = help.lines().filter_map(|line| line.strip_prefix("== ")).collect();
    assert!(commands.len() > 150 && commands.contains(&"xenith vm create"), "{commands:?}");
    let expected: BTreeSet<_> =
        commands.iter().map(|command| format!("{}.1", command.replace(' ', "-"))).collect();
    let entries = std::fs::read_dir(&folder).unwrap();
    let pages: BTreeSet<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(pages, expected);
    for command in commands {
        let page = format!("{}.1", command.replace(' ', "-"));
        let text = std::fs::read_to_string(folder.join(&page)).unwrap();
        // A hyphen is written so that it can be searched for.
        let name = command.replace(' ', "-").replace('-', "\\-");
        assert!(text.contains(".SH NAME") && text.contains(&name), "{page}: {text}");
    }
}
