//! Filters, orders, pages, counts.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use xenith_orchestrator_inventory::filter::{Filter, parse};
use xenith_orchestrator_inventory::vm::{VmRow, Vms};
use xenith_orchestrator_inventory::{CountRequest, Delta, Inventory, Noun, PageRequest, QueryError, Scope};

use crate::model::{Random, Twins, id, number, random_row};

pub fn all_pages(
    inventory: &Inventory<Vms>,
    filter: &Filter,
    scope: &Scope,
    (sort, limit): (&str, usize),
) -> Vec<VmRow> {
    let mut request = PageRequest::first(filter.clone(), scope.clone(), limit);
    request.sort = sort.to_owned();
    let mut rows = Vec::new();
    loop {
        let page = inventory.page(&request).unwrap();
        assert!(page.rows.len() <= limit);
        rows.extend(page.rows);
        match page.next {
            Some(next) => request.cursor = Some(next),
            None => {
                assert_eq!(page.total, rows.len() as u64);
                return rows;
            }
        }
    }
}

pub const FILTERS: [&str; 49] = [
    "",
    "power:running",
    "power:running,paused",
    "-power:running",
    "power:none",
    "host:xen1",
    "host:XEN1",
    "host:xen",
    "host:none",
    "host:any",
    "host:/^xen[12]$/",
    "tag:prod",
    "tag:\"tag with space\"",
    "tag:\"a,b\"",
    "tag:\"none\"",
    "tag:none",
    "tag:prod,old",
    "tag:prod tag:old",
    "name:web",
    "name:=web-7",
    "name:=\"Mail (Old)-3\"",
    "name:/^db-/",
    "name:/(?i)^WEB/",
    "name:äpfel",
    "description:any",
    "description:none",
    "memory:>512MiB",
    "memory:512MiB..1GiB",
    "memory:<256",
    "memory:1.5",
    "vcpus:none",
    "vcpus:2..",
    "vcpus:..2",
    "created:2023-11-14",
    "created:>2024-01-01",
    "started:none",
    "uptime:>10000d",
    "age:<10000d",
    "cpu:>5.4%",
    "cpu:50%",
    "os:debian",
    "address:10.0.0.1",
    "address:=10.0.0.1",
    "network_id:01010101-0101-0101-0101-010101010101",
    "network_id:01010101-0101-0101-0101-010101010101,02020202-0202-0202-0202-020202020202",
    "network_id:none",
    "field.owner:anna",
    "field.owner:bob or field.room:none",
    "(web or mail) -host:xen1 (tag:old or memory:>1GiB) \"main\"",
];

#[test]
fn every_filter_agrees_with_the_slow_one() {
    let mut random = Random(1);
    let mut twins = Twins::new(&mut random, 300);
    for _ in 0..3 {
        for text in FILTERS.iter().filter(|text| **text != "memory:1.5") {
            twins.assert_same(text);
        }
        twins.assert_same(&format!("id:{}", &id(7).to_string()[..12]));
        twins.assert_same(&format!("id:{}", id(8)));
        for _ in 0..400 {
            twins.change(&mut random, 400);
        }
    }
}

/// Of texts without case, of values by name, of nothing last.
fn compare(column: &str, a: &VmRow, b: &VmRow) -> Ordering {
    if let (Some(a), Some(b)) = (number(a, column), number(b, column)) {
        return none_last(a, b);
    }
    let text = |row: &VmRow| match column {
        "name" => Some(row.name.clone()),
        "host" => row.host.as_ref().map(|host| host.name.clone()),
        "power" => Some(row.power.as_str().to_owned()),
        "os" => row.os.clone(),
        "tag" => row.tags.iter().min_by_key(|tag| (tag.to_lowercase(), (*tag).clone())).cloned(),
        other => panic!("{other}"),
    };
    match column {
        "name" => text(a).map(|t| t.to_lowercase()).cmp(&text(b).map(|t| t.to_lowercase())),
        _ => none_last(text(a).map(|t| (t.to_lowercase(), t)), text(b).map(|t| (t.to_lowercase(), t))),
    }
}

fn none_last<T: Ord>(a: Option<T>, b: Option<T>) -> Ordering {
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, _) => Ordering::Greater,
        (_, None) => Ordering::Less,
        (a, b) => a.cmp(&b),
    }
}

fn has_value(column: &str, row: &VmRow) -> bool {
    number(row, column).map_or_else(
        || match column {
            "host" => row.host.is_some(),
            "os" => row.os.is_some(),
            "tag" => !row.tags.is_empty(),
            _ => true,
        },
        |number| number.is_some(),
    )
}

#[test]
fn every_order_is_an_order_and_pages_hold_each_row_once() {
    let mut random = Random(2);
    let mut twins = Twins::new(&mut random, 200);
    for _ in 0..200 {
        twins.change(&mut random, 250);
    }
    let everything: BTreeSet<_> = twins.slow.keys().copied().collect();
    for column in
        ["name", "memory", "vcpus", "created", "started", "uptime", "cpu", "host", "power", "os", "tag"]
    {
        for limit in [1, 3, 50, 1000] {
            for (sort, descending) in [(column.to_owned(), false), (format!("-{column}"), true)] {
                let rows = all_pages(&twins.fast, &Filter::All, &Scope::everything(), (&sort, limit));
                assert_eq!(rows.len(), everything.len(), "{sort} by {limit}");
                assert_eq!(
                    rows.iter().map(|row| row.id).collect::<BTreeSet<_>>(),
                    everything,
                    "{sort} by {limit}"
                );
                for pair in rows.windows(2) {
                    let both = has_value(column, &pair[0]) && has_value(column, &pair[1]);
                    let order = compare(column, &pair[0], &pair[1]);
                    // Seconds of age may tick between the two evaluations; rows are years apart.
                    let order = if descending && both { order.reverse() } else { order };
                    assert_ne!(order, Ordering::Greater, "{sort}: {:?} before {:?}", pair[0], pair[1]);
                }
            }
        }
    }
}

#[test]
fn pages_are_stable_while_rows_come_and_go() {
    let mut random = Random(3);
    for sort in ["name", "-name", "memory", "-host", "tag", "-cpu"] {
        let twins = Twins::new(&mut random, 300);
        // These stay as they are; the others change under the reader's feet.
        let still: BTreeSet<_> = (0..150).map(id).filter(|id| twins.slow.contains_key(id)).collect();
        let mut request = PageRequest::first(Filter::All, Scope::everything(), 10);
        request.sort = sort.to_owned();
        let mut seen = Vec::new();
        loop {
            let page = twins.fast.page(&request).unwrap();
            seen.extend(page.rows.iter().map(|row| row.id).filter(|id| still.contains(id)));
            for _ in 0..20 {
                let n = 150 + random.below(250);
                twins.fast.apply([match random.below(2) {
                    0 => Delta::Remove(id(n)),
                    _ => Delta::Put(random_row(&mut random, n)),
                }]);
            }
            match page.next {
                Some(next) => request.cursor = Some(next),
                None => break,
            }
        }
        assert_eq!(seen.len(), still.len(), "{sort}: each once");
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), still, "{sort}");
    }
}

#[test]
fn a_cursor_survives_a_restart() {
    let mut random = Random(4);
    let twins = Twins::new(&mut random, 100);
    // Another process has the rows in other slots.
    let other: Inventory<Vms> = Inventory::load(twins.slow.values().rev().cloned());
    for sort in ["name", "memory", "-host"] {
        let mut request = PageRequest::first(Filter::All, Scope::everything(), 40);
        request.sort = sort.to_owned();
        let first = twins.fast.page(&request).unwrap();
        request.cursor = first.next;
        request.limit = 1000;
        let second = other.page(&request).unwrap();
        let last = first.rows.last().unwrap();
        assert!(second.rows.iter().all(|row| row.id != last.id), "{sort}: goes on behind the same row");
        let column = sort.trim_start_matches('-');
        for row in &second.rows {
            let order = compare(column, last, row);
            let order = if sort.starts_with('-') && has_value(column, row) && has_value(column, last) {
                order.reverse()
            } else {
                order
            };
            assert_ne!(order, Ordering::Greater, "{sort}: goes on at the same place");
        }
    }
}

#[test]
fn bad_requests_say_what_would_be_right() {
    let inventory: Inventory<Vms> = Inventory::new();
    let page = |sort: &str, cursor: Option<&str>| {
        let mut request = PageRequest::first(Filter::All, Scope::everything(), 10);
        request.sort = sort.to_owned();
        request.cursor = cursor.map(str::to_owned);
        inventory.page(&request).map(|page| page.total).unwrap_err()
    };
    assert!(
        matches!(page("size", None), QueryError::UnknownSort { allowed, .. } if allowed.contains(&"memory"))
    );
    assert!(matches!(page("field", None), QueryError::UnknownSort { .. }));
    for cursor in ["", "xyz", "7b7d", "ä", &"0".repeat(100_000)] {
        assert_eq!(page("name", Some(cursor)), QueryError::BadCursor, "{cursor:.20}");
    }
    let twins = Twins::new(&mut Random(5), 20);
    let mut request = PageRequest::first(Filter::All, Scope::everything(), 5);
    request.cursor = twins.fast.page(&request).unwrap().next;
    request.sort = "memory".to_owned();
    assert_eq!(twins.fast.page(&request).map(|_| ()), Err(QueryError::OtherSort { expected: String::new() }));
}

#[test]
fn facets_count_what_the_filter_shows() {
    let twins = Twins::new(&mut Random(6), 300);
    let filter = parse(Vms::SCHEMA, "memory:>512MiB").unwrap();
    let request = CountRequest {
        filter: filter.clone(),
        scope: Scope::everything(),
        group_by: ["power", "tag", "host"].map(str::to_owned).to_vec(),
        limit: 3,
    };
    let (total, facets) = twins.fast.facets(&request).unwrap();
    let rows = twins.expected(&filter, &|_| true);
    assert_eq!(total, rows.len() as u64);
    for (value, count) in facets
        .iter()
        .flat_map(|facet| facet.values.iter().map(move |v| (facet, v)))
        .map(|(facet, (value, count))| ((facet.column.as_str(), value), *count))
    {
        let (column, value) = value;
        let expected = rows.iter().filter(|row| match column {
            "power" => row.power.as_str() == value,
            "tag" => row.tags.contains(value) || (value.is_empty() && row.tags.is_empty()),
            _ => row.host.as_ref().map_or(value.is_empty(), |host| host.name == *value),
        });
        assert_eq!(count, expected.count() as u64, "{column} {value}");
    }
    assert_eq!(facets[0].values.len(), 3);
    assert_eq!(facets[0].more, 1);
    let unknown = twins.fast.facets(&CountRequest { group_by: vec!["memory".to_owned()], ..request });
    assert!(matches!(unknown, Err(QueryError::UnknownGroup { .. })));
}

#[test]
fn rows_come_back_as_they_were_put() {
    let mut random = Random(7);
    let mut twins = Twins::new(&mut random, 50);
    for _ in 0..500 {
        twins.change(&mut random, 80);
    }
    for n in 0..80 {
        assert_eq!(twins.fast.get(id(n), &Scope::everything()), twins.slow.get(&id(n)).cloned());
    }
    assert_eq!(twins.fast.len(), twins.slow.len());
}
