//! The whole check over a small tree: place-dependent rules, percentiles and exceptions.

use super::*;

fn tree(files: &[(&str, String)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    dir
}

fn broken(files: &[(&str, String)], exceptions: &str) -> Vec<String> {
    check(tree(files).path(), &Exceptions::parse(exceptions).unwrap()).unwrap().broken
}

fn lines(count: usize) -> String {
    format!("//! Doc.\n{}", "// line\n".repeat(count - 1))
}

#[test]
fn each_rule_of_place_and_length_is_enforced() {
    let anyhow = || "use anyhow::Result;\n".to_owned();
    let clap = || "use clap::Parser;\n".to_owned();
    for (name, path, text, expected) in [
        ("short", "a/src/lib.rs", lines(500), None),
        ("file too long", "a/src/lib.rs", lines(801), Some("file-lines")),
        ("a test file may be long", "a/tests/it/big.rs", lines(2000), None),
        ("no module doc", "a/src/lib.rs", "// line\n".repeat(101), Some("module-doc")),
        ("short without module doc", "a/src/lib.rs", "// line\n".repeat(100), None),
        ("main too long", "a/src/main.rs", lines(60), Some("main-lines")),
        ("main just fits", "a/src/main.rs", lines(59), None),
        ("mod.rs", "a/src/vm/mod.rs", String::new(), Some("mod-rs")),
        ("second integration binary", "a/tests/other.rs", String::new(), Some("integration-binary")),
        ("a unit test file", "a/src/vm/tests/other.rs", String::new(), None),
        ("the integration binary", "a/tests/it/main.rs", String::new(), None),
        ("anyhow in a library", "a/src/lib.rs", anyhow(), Some("anyhow-outside-programs")),
        ("anyhow in main", "a/src/main.rs", anyhow(), None),
        ("anyhow in xtask", "xtask/src/a.rs", anyhow(), None),
        ("clap in a library", "a/src/lib.rs", clap(), Some("clap-outside-cli")),
        ("clap in cli.rs", "a/src/cli.rs", clap(), None),
        ("clap below cli.rs", "a/src/cli/vm.rs", clap(), None),
        ("clap in the crate named cli", "a/cli/src/vm.rs", clap(), Some("clap-outside-cli")),
        ("does not parse", "a/src/lib.rs", "fn (".to_owned(), Some("parse")),
        ("ui file too long", "ui/src/vm/List.tsx", "// x\n".repeat(301), Some("ui-file-lines")),
        ("ui test may be long", "ui/src/vm/List.test.tsx", "// x\n".repeat(301), None),
    ] {
        let found = broken(&[(path, text)], "");
        // A lone file of over 500 lines breaks the percentile as well; that has its own test.
        let found: Vec<_> = found.iter().filter(|line| !line.starts_with("95 of 100")).collect();
        match expected {
            None => assert!(found.is_empty(), "{name}: {found:?}"),
            Some(rule) => {
                assert!(found.len() == 1 && found[0].contains(&format!(" {rule}: ")), "{name}: {found:?}");
            }
        }
    }
}

#[test]
fn a_test_module_in_its_own_file_is_test_code() {
    let unwraps = || "fn f() { g().unwrap(); }\n".to_owned();
    let parent = || "#[cfg(test)]\nmod tests;\n".to_owned();
    for (name, files, count) in [
        ("child of lib", [("a/src/lib.rs", parent()), ("a/src/tests.rs", unwraps())], 0),
        ("child of a module", [("a/src/vm.rs", parent()), ("a/src/vm/tests.rs", unwraps())], 0),
        ("grandchild", [("a/src/vm.rs", parent()), ("a/src/vm/tests/more.rs", unwraps())], 0),
        ("somebody else's child", [("a/src/vm.rs", parent()), ("a/src/disk/tests.rs", unwraps())], 1),
    ] {
        assert_eq!(broken(&files, "").len(), count, "{name}");
    }
}

#[test]
fn anyhow_may_stand_in_modules_that_only_main_has() {
    let anyhow = || "use anyhow::Result;\n".to_owned();
    let declares = |name: &str| format!("mod {name};\n");
    for (name, main, lib, file, count) in [
        ("of main", declares("cmd"), String::new(), "a/src/cmd.rs", 0),
        ("below it", declares("cmd"), String::new(), "a/src/cmd/list.rs", 0),
        ("of the library", String::new(), declares("cmd"), "a/src/cmd.rs", 1),
        ("of both", declares("cmd"), declares("cmd"), "a/src/cmd.rs", 1),
        ("of nobody", String::new(), String::new(), "a/src/cmd.rs", 1),
    ] {
        let files = [("a/src/main.rs", main), ("a/src/lib.rs", lib), (file, anyhow())];
        assert_eq!(broken(&files, "").len(), count, "{name}");
    }
}

#[test]
fn the_percentiles_are_enforced() {
    for (name, long, expected) in [
        ("one of twenty", 1, None),
        ("two of twenty", 2, Some("95 of 100 files should have at most 500 lines, but have up to 501")),
    ] {
        let files: Vec<_> =
            (0..20).map(|n| (format!("a/src/f{n}.rs"), lines(if n < long { 501 } else { 10 }))).collect();
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.clone())).collect();
        assert_eq!(broken(&files, ""), expected.into_iter().collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn exceptions_excuse_and_go_stale() {
    let list = r#"
        [[generated]]
        path = "a/src/made.rs"
        reason = "made by a program"
        [[exception]]
        path = "a/src/lib.rs"
        rule = "unwrap"
        reason = "shows the exception working"
    "#;
    let unwraps = || "fn f() { g().unwrap(); }\n".to_owned();
    assert_eq!(broken(&[("a/src/lib.rs", unwraps()), ("a/src/made.rs", unwraps())], list), [] as [&str; 0]);
    let stale = broken(&[("a/src/lib.rs", String::new())], list);
    assert_eq!(stale.len(), 2, "{stale:?}");
    assert!(stale.iter().all(|line| line.starts_with("xtask/sizes-exceptions.toml: ")), "{stale:?}");
}
