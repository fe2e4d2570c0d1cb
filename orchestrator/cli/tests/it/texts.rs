//! Help, completions, manual pages.

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
    for page in ["xenith.1", "xenith-vm.1", "xenith-vm-create.1", "xenith-audit-verify.1"] {
        assert!(folder.join(page).exists(), "{page}");
    }
}
