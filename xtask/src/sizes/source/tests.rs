//! A fixture for each rule that is read from the text of one file.

use super::*;

fn function(lines: usize) -> String {
    format!("fn long() {{\n{}}}\n", "    g();\n".repeat(lines - 2))
}

#[test]
fn each_rule_finds_its_violation() {
    use Rule::*;
    let leftover = format!("// {}: later\n", LEFTOVERS[0]);
    let (fits, too_long) = (function(MAX_FUNCTION_LINES), function(MAX_FUNCTION_LINES + 1));
    let cases: &[(&str, &str, &[Rule])] = &[
        ("nothing wrong", "fn f(a: u8) -> u8 { a }", &[]),
        ("unwrap", "fn f() { g().unwrap(); }", &[Unwrap]),
        ("unwrap_err", "fn f() { g().unwrap_err(); }", &[Unwrap]),
        ("unwrap in a macro", "fn f() { println!(\"{}\", (1, g().unwrap())); }", &[Unwrap]),
        ("unwrap_or is fine", "fn f() { g().unwrap_or(1); println!(\"{}\", h().unwrap_or(2)); }", &[]),
        ("unwrap in a test", "#[test] fn f() { g().unwrap(); }", &[]),
        ("unwrap in an async test", "#[tokio::test] async fn f() { g().unwrap(); }", &[]),
        ("unwrap in a test module", "#[cfg(test)] mod tests { fn f() { g().unwrap(); } }", &[]),
        ("unwrap behind all(test)", "#[cfg(all(test, unix))] mod t { fn f() { g().unwrap(); } }", &[]),
        (
            "unwrap in a lent harness",
            "#[cfg(feature = \"test-support\")] mod t { fn f() { g().unwrap(); } }",
            &[],
        ),
        (
            "unwrap in either",
            "#[cfg(any(test, feature = \"test-support\"))] mod t { fn f() { g().unwrap(); } }",
            &[],
        ),
        (
            "unwrap in tests and elsewhere",
            "#[cfg(any(test, unix))] mod t { fn f() { g().unwrap(); } }",
            &[Unwrap],
        ),
        ("unwrap without test", "#[cfg(not(test))] mod t { fn f() { g().unwrap(); } }", &[Unwrap]),
        ("unwrap after the test module", "#[cfg(test)] mod t {} fn f() { g().unwrap(); }", &[Unwrap]),
        ("unwrap in a test method", "impl A { #[cfg(test)] fn f() { g().unwrap(); } }", &[]),
        ("expect with a reason", "fn f() { g().expect(\"the list is never empty\"); }", &[]),
        ("expect without one", "fn f() { g().expect(\"oops\"); }", &[ExpectReason]),
        ("five parameters", "fn f(a: u8, b: u8, c: u8, d: u8, e: u8) {}", &[]),
        ("six parameters", "fn f(a: u8, b: u8, c: u8, d: u8, e: u8, g: u8) {}", &[Parameters]),
        ("self counts", "impl A { fn f(&self, b: u8, c: u8, d: u8, e: u8, g: u8) {} }", &[Parameters]),
        (
            "the trait is measured, not its implementation",
            "trait T { fn f(&self, on: bool); } impl T for A { fn f(&self, on: bool) {} }",
            &[BareBool],
        ),
        (
            "C decides what a callback takes",
            "extern \"C\" fn f(a: u8, b: u8, c: u8, d: u8, e: u8, g: bool) {}",
            &[],
        ),
        ("bare bool", "fn f(force: bool) {}", &[BareBool]),
        ("bool inside", "fn f(force: Option<bool>) -> bool { true }", &[]),
        ("longest function", &fits, &[]),
        ("too long a function", &too_long, &[FunctionLines]),
        ("left for later", &leftover, &[Leftover]),
        ("left out", "fn f() { unimplemented!() }", &[Leftover]),
        ("ignored test", "#[test] #[ignore] fn f() {}", &[IgnoredTest]),
        ("vague name", "struct VmManager;", &[VagueName]),
    ];
    for (name, text, expected) in cases {
        let rules: Vec<Rule> =
            measure(text, Nature::Code).unwrap().findings.iter().map(|finding| finding.rule).collect();
        assert_eq!(rules, *expected, "{name}");
    }
}

#[test]
fn lines_of_tests_do_not_count() {
    let text = "//! Doc.\nfn f() {\n}\n\n#[cfg(test)]\nmod tests {\n    fn g() {\n    }\n}\nfn h() {\n}\n";
    let source = measure(text, Nature::Code).unwrap();
    assert_eq!((source.lines, source.code_lines), (11, 6));
    assert_eq!(source.functions, [("f".to_owned(), 2), ("h".to_owned(), 2)]);
    assert!(source.has_module_doc);
    assert_eq!(measure(text, Nature::Test).unwrap().code_lines, 0);
}

#[test]
fn test_modules_in_files_are_named() {
    let source = measure("mod code;\n#[cfg(test)]\nmod cases;\n", Nature::Code).unwrap();
    assert_eq!(source.test_modules, ["cases"]);
    assert_eq!(source.modules, ["code"]);
}

#[test]
fn crates_are_seen_wherever_they_are_named() {
    for (name, text, expected) in [
        ("use", "use clap::Parser;", vec![("clap", 1)]),
        ("path", "\nfn f() -> anyhow::Result<()> { g() }", vec![("anyhow", 2)]),
        ("attribute", "#[derive(clap::Args)] struct A;", vec![("clap", 1)]),
        ("in a macro", "fn f() { g!(anyhow::anyhow!(1)) }", vec![("anyhow", 1), ("anyhow", 1)]),
        ("in text", "//! clap\nconst A: &str = \"anyhow\";", vec![]),
        ("in tests", "#[cfg(test)] mod tests { use anyhow::Result; }", vec![]),
    ] {
        assert_eq!(measure(text, Nature::Code).unwrap().mentions, expected, "{name}");
    }
}

#[test]
fn a_finding_has_its_line() {
    let source = measure("\n\nfn f() {\n    g().unwrap();\n}\n", Nature::Code).unwrap();
    assert_eq!(source.findings[0].line, 4);
}
