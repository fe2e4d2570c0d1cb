//! The filter language: what it takes, what it says when it does not, and that it prints what it reads.

use proptest::prelude::*;
use xenith_orchestrator_inventory::filter::{Filter, FilterErrorKind, MAX_DEPTH, complete, parse};
use xenith_orchestrator_inventory::vm::Vms;
use xenith_orchestrator_inventory::{Noun, Schema};

const SCHEMA: &Schema = Vms::SCHEMA;

fn shown(text: &str) -> String {
    parse(SCHEMA, text).unwrap_or_else(|error| panic!("{text}: {error}")).show(SCHEMA)
}

#[test]
fn prints_in_one_way() {
    for (text, expected) in [
        ("", ""),
        ("  ", ""),
        ("power:Running", "power:running"),
        ("POWER:running", "power:running"),
        ("a b", "a b"),
        ("a and b AND c", "a b c"),
        ("a or b OR c", "a or b or c"),
        ("a b or c", "a b or c"),
        ("a (b or c)", "a (b or c)"),
        ("((a))", "a"),
        ("not a", "-a"),
        ("-(a b)", "-(a b)"),
        ("--a", "--a"),
        ("web-1", "web-1"),
        ("\"-web\"", "\"-web\""),
        ("\"or\"", "\"or\""),
        ("\"say \\\"hi\\\"\"", "\"say \\\"hi\\\"\""),
        ("memory:>8GiB", "memory:>=8193MiB"),
        ("memory:>=8192", "memory:>=8GiB"),
        ("memory:<8GiB", "memory:<=8191MiB"),
        ("memory:=4g", "memory:4GiB"),
        ("memory:1GiB..2GiB", "memory:1GiB..2GiB"),
        ("cpu:>50%", "cpu:>=50.1%"),
        ("cpu:12.5", "cpu:12.5%"),
        ("uptime:>7d", "uptime:>=604801s"),
        ("uptime:1h..90m", "uptime:1h..90m"),
        ("created:>=2026-01-31", "created:>=2026-01-31T00:00:00Z"),
        ("name:/^db/", "name:/^db/"),
        ("name:/a\\/b/", "name:/a\\/b/"),
        ("name:=web", "name:=\"web\""),
        ("name:=\"a b\",c", "name:=\"a b\",c"),
        ("tag:=prod", "tag:prod"),
        ("tag:a,b,\"c d\"", "tag:a,b,\"c d\""),
        ("tag:none", "tag:none"),
        ("tag:\"none\"", "tag:\"none\""),
        ("field.Owner:anna", "field.owner:anna"),
        ("id:0190ABCD", "id:0190abcd"),
        ("host_id:0190abcd-0000-7000-8000-000000000000", "host_id:0190abcd-0000-7000-8000-000000000000"),
        ("address:fd00::1", "address:fd00::1"),
        (
            "power:running host:xen1 tag:prod memory:>8GiB name:/^db/",
            "power:running host:xen1 tag:prod memory:>=8193MiB name:/^db/",
        ),
        ("a,b", "\"a,b\""),
        (":", "\":\""),
        ("c:\\", "error"),
    ] {
        if expected == "error" {
            assert!(parse(SCHEMA, text).is_err(), "{text}");
            continue;
        }
        assert_eq!(shown(text), expected, "{text}");
        assert_eq!(shown(expected), expected, "{text}");
    }
}

#[test]
fn errors_say_where_and_what_would_be_right() {
    for (text, at, says) in [
        ("powr:on", 0..4, "did you mean \"power\""),
        ("nonsense:1", 0..8, "fields are id, name"),
        ("a power:on", 8..10, "give one of running, paused"),
        ("power:", 0..6, "needs a value"),
        ("power: running", 0..6, "needs a value"),
        ("memory:lots", 7..11, "such as >8GiB"),
        ("memory:\"1GiB\"", 7..13, "such as >8GiB"),
        ("memory:..", 7..9, "such as >8GiB"),
        ("memory:>99999999999999999999", 7..28, "such as >8GiB"),
        ("created:2026-13-01", 8..18, "such as >2026-01-31"),
        ("cpu:5.25%", 4..9, "percentage"),
        ("name:>x", 5..7, "is not a number"),
        ("name:/(/", 5..8, "regular expression"),
        ("name:/a{1000}{1000}/", 5..20, "regular expression"),
        ("power:/r/", 6..9, "give one of"),
        ("\"open", 0..5, "not closed"),
        ("name:/open", 5..10, "not closed"),
        ("(a", 0..1, "bracket is not closed"),
        ("a)", 1..2, "closed that was not opened"),
        ("()", 1..2, "\"(\" needs something"),
        ("a or", 2..4, "\"or\" needs something"),
        ("or a", 0..2, "\"or\" needs something"),
        ("and a", 0..3, "\"and\" needs something"),
        ("a and", 2..5, "\"and\" needs something"),
        ("a -", 2..3, "\"-\" needs something"),
        ("not", 0..3, "\"not\" needs something"),
        ("id:xyz", 3..6, "give an id"),
        ("field.:x", 0..6, "no field"),
        ("field:x", 0..5, "no field"),
        ("tag:a,", 0..4, "needs a value"),
        ("tag:(a)", 0..4, "needs a value"),
    ] {
        let error = parse(SCHEMA, text).unwrap_err();
        assert_eq!(error.at, at, "{text}: {error}");
        assert!(error.to_string().contains(says), "{text}: {error}");
    }
}

#[test]
fn limits() {
    let deep = |n: usize| format!("{}a{}", "(".repeat(n), ")".repeat(n));
    assert!(parse(SCHEMA, &deep(MAX_DEPTH)).is_ok());
    for (name, text, kind) in [
        ("brackets", deep(MAX_DEPTH + 1), FilterErrorKind::TooDeep),
        ("negations", format!("{}a", "-".repeat(2000)), FilterErrorKind::TooDeep),
        ("not not", format!("{}a", "not ".repeat(900)), FilterErrorKind::TooDeep),
        ("terms", "a ".repeat(1000), FilterErrorKind::TooManyTerms),
        ("values", format!("tag:{}a", "a,".repeat(1000)), FilterErrorKind::TooManyTerms),
        ("bytes", "a".repeat(5000), FilterErrorKind::TooLong),
    ] {
        assert_eq!(parse(SCHEMA, &text).unwrap_err().kind, kind, "{name}");
    }
}

#[test]
fn completions() {
    let values = |column: usize, prefix: &str| {
        let known = match SCHEMA.columns[column].name {
            "host" => &["xen1", "xen2"][..],
            "tag" => &["prod", "pro rata", "none"],
            "field" => &["owner=anna", "owner=bob"],
            _ => &[],
        };
        known.iter().filter(|v| v.starts_with(prefix)).map(|v| ((*v).to_owned(), 3)).collect()
    };
    for (text, cursor, replace, expected) in [
        ("po", 2, 0..2, &["power:", "pool:", "pool_id:"][..]),
        ("-po", 3, 1..3, &["power:", "pool:", "pool_id:"]),
        ("(a or ho", 8, 6..8, &["host:", "host_id:"]),
        ("power:s", 7, 6..7, &["stopped", "suspended", "starting", "stopping"]),
        ("power:stopped,p", 15, 14..15, &["paused"]),
        ("host:xen", 8, 5..8, &["xen1", "xen2"]),
        ("host:xen1 tag:pro", 8, 5..8, &["xen1", "xen2"]),
        ("tag:", 4, 4..4, &["prod", "\"pro rata\"", "\"none\""]),
        ("field.owner:a", 13, 12..13, &["anna"]),
        ("memory:", 7, 7..7, &[">"]),
        ("nothing:", 8, 8..8, &[]),
        ("äö", 3, 0..2, &[]),
        ("\"a b po", 7, 0..7, &[]),
    ] {
        let completion = complete(SCHEMA, text, cursor, values);
        assert_eq!(completion.replace, replace, "{text}");
        let texts: Vec<_> = completion.candidates.iter().map(|candidate| candidate.text.as_str()).collect();
        assert_eq!(texts, expected, "{text}");
    }
}

/// Pieces that mean something, in any order.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("(".to_owned()),
        Just(")".to_owned()),
        Just("-".to_owned()),
        Just("or".to_owned()),
        Just("and".to_owned()),
        Just("not".to_owned()),
        Just("tag:".to_owned()),
        Just("name:=".to_owned()),
        Just("memory:>".to_owned()),
        Just("power:running".to_owned()),
        Just("field.a:".to_owned()),
        Just("/x/".to_owned()),
        Just("\"q \\\" \\\\\"".to_owned()),
        Just(",".to_owned()),
        Just("none".to_owned()),
        Just("1..2".to_owned()),
        "[a-zA-Z0-9:=<>.,/\\\\\"äß-]{0,6}",
    ];
    let gap = prop_oneof![Just(""), Just(" ")];
    proptest::collection::vec((piece, gap), 0..14)
        .prop_map(|parts| parts.into_iter().flat_map(|(piece, gap)| [piece, gap.to_owned()]).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn whatever_is_typed_parses_or_says_where_not(text in soup(), cursor in 0..40_usize) {
        match parse(SCHEMA, &text) {
            Ok(filter) => {
                let printed = filter.show(SCHEMA);
                prop_assert_eq!(parse(SCHEMA, &printed), Ok(filter), "{} -> {}", text, printed);
            }
            Err(error) => {
                prop_assert!(error.at.start <= error.at.end && error.at.end <= text.len(), "{:?}", error);
            }
        }
        let completion = complete(SCHEMA, &text, cursor, |_, _| Vec::new());
        prop_assert!(text.get(completion.replace).is_some());
    }

    #[test]
    fn any_text_is_survived(text in any::<String>(), cursor in 0..40_usize) {
        if let Ok(filter) = parse(SCHEMA, &text) {
            let printed = filter.show(SCHEMA);
            prop_assert_eq!(parse(SCHEMA, &printed), Ok(filter), "{:?} -> {:?}", text, printed);
        }
        complete(SCHEMA, &text, cursor, |_, _| Vec::new());
    }
}

#[test]
fn built_filters_print_too() {
    let filter = Filter::all(vec![Filter::All, Filter::Text("a".to_owned()), Filter::any(vec![])]);
    assert_eq!(filter, Filter::Text("a".to_owned()));
}
