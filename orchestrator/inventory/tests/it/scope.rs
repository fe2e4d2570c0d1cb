//! Hidden rows leave no trace.

use xenith_orchestrator_inventory::filter::parse;
use xenith_orchestrator_inventory::vm::{VmRow, Vms};
use xenith_orchestrator_inventory::{Change, CountRequest, Delta, Noun, Scope, WatchEvent};

use crate::model::{Random, Twins, id};
use crate::pages::{FILTERS, all_pages};

type Shows = fn(&VmRow) -> bool;

fn scopes() -> Vec<(&'static str, Scope, Shows)> {
    fn in_pool(row: &VmRow, pool: &str) -> bool {
        row.pool.as_ref().is_some_and(|p| p.name == pool)
    }
    vec![
        ("nothing", Scope::nothing(), |_| false),
        ("a pool", Scope::nothing().or_pool("red"), |row| in_pool(row, "red")),
        ("a pool that is not there", Scope::nothing().or_pool("green"), |_| false),
        ("another spelling is another pool", Scope::nothing().or_pool("Red"), |_| false),
        ("a tag, not the one of another spelling", Scope::nothing().or_tag("prod"), |row| {
            row.tags.iter().any(|t| t == "prod")
        }),
        ("a pool or a tag", Scope::nothing().or_pool("blue").or_tag("old"), |row| {
            in_pool(row, "blue") || row.tags.iter().any(|t| t == "old")
        }),
        ("everything", Scope::everything(), |_| true),
    ]
}

#[test]
fn pages_counts_and_gets() {
    let twins = Twins::new(&mut Random(11), 300);
    for (name, scope, shows) in scopes() {
        for text in FILTERS.iter().filter(|text| **text != "memory:1.5") {
            let filter = parse(Vms::SCHEMA, text).unwrap();
            let expected = twins.expected(&filter, &shows);
            let mut found = all_pages(&twins.fast, &filter, &scope, ("", 20));
            found.sort_by_key(|row| row.id);
            assert_eq!(found, expected, "{name}: {text}");
            assert_eq!(twins.fast.count(&filter, &scope), expected.len() as u64, "{name}: {text}");
            let mut ids = twins.fast.ids(&filter, &scope);
            ids.sort_unstable();
            assert_eq!(ids, expected.iter().map(|row| row.id).collect::<Vec<_>>(), "{name}: {text}");
        }
        for row in twins.slow.values() {
            assert_eq!(twins.fast.get(row.id, &scope).is_some(), shows(row), "{name}");
        }
    }
}

#[test]
fn facets_and_completions() {
    let twins = Twins::new(&mut Random(12), 300);
    for (name, scope, shows) in scopes() {
        let visible: Vec<&VmRow> = twins.slow.values().filter(|row| shows(row)).collect();
        let request = CountRequest {
            filter: parse(Vms::SCHEMA, "").unwrap(),
            scope: scope.clone(),
            group_by: vec!["tag".to_owned()],
            limit: 100,
        };
        let (total, facets) = twins.fast.facets(&request).unwrap();
        assert_eq!(total, visible.len() as u64, "{name}");
        for (tag, count) in facets[0].values.iter().filter(|(tag, _)| !tag.is_empty()) {
            let expected = visible.iter().filter(|row| row.tags.contains(tag)).count();
            assert_eq!(*count, expected as u64, "{name}: {tag}");
        }
        let completion = twins.fast.complete("host:", 5, &scope);
        for candidate in &completion.candidates {
            let there = visible.iter().any(|row| row.host.as_ref().is_some_and(|h| h.name == candidate.text));
            assert!(there, "{name}: {candidate:?}");
        }
        assert_eq!(completion.candidates.is_empty(), visible.iter().all(|row| row.host.is_none()), "{name}");
    }
}

#[test]
fn deltas() {
    let mut random = Random(13);
    for (name, scope, shows) in scopes() {
        let mut twins = Twins::new(&mut random, 100);
        let filter = parse(Vms::SCHEMA, "").unwrap();
        let mut watch = twins.fast.watch(twins.fast.revision(), filter, scope);
        let mut ever_visible: Vec<_> =
            twins.slow.values().filter(|row| shows(row)).map(|row| row.id).collect();
        for _ in 0..300 {
            twins.change(&mut random, 120);
            ever_visible.extend(twins.slow.values().filter(|row| shows(row)).map(|row| row.id));
            if random.below(5) > 0 {
                continue;
            }
            let Some(WatchEvent::Changes { changes, .. }) = watch.take() else { continue };
            for change in changes {
                match change {
                    Change::Added(row) | Change::Changed(row) => assert!(shows(&row), "{name}"),
                    Change::Removed(id) => {
                        assert!(ever_visible.contains(&id), "{name}: an id that was never shown")
                    }
                }
            }
        }
    }
}

#[test]
fn a_returning_subscriber_with_a_limited_scope_learns_no_hidden_ids() {
    let twins = Twins::new(&mut Random(14), 100);
    let since = twins.fast.revision();
    let hidden = twins.slow.values().find(|row| row.pool.is_none()).unwrap();
    twins.fast.apply([Delta::Put(VmRow { name: "changed".to_owned(), ..hidden.clone() })]);
    let filter = parse(Vms::SCHEMA, "").unwrap();
    let mut watch = twins.fast.watch(since, filter.clone(), Scope::nothing().or_pool("red"));
    assert!(matches!(watch.take(), Some(WatchEvent::Resync { .. })));
    assert_eq!(watch.take(), None);
    let mut watch = twins.fast.watch(since, filter, Scope::everything());
    assert!(matches!(watch.take(), Some(WatchEvent::Changes { .. })));
    assert!(twins.fast.get(id(1000), &Scope::everything()).is_none());
}
