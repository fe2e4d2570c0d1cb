//! A subscriber who applies the deltas has what a page would show.

use std::collections::BTreeMap;
use std::time::Duration;

use xenith_common_ids::VmId;
use xenith_orchestrator_inventory::filter::{Filter, parse};
use xenith_orchestrator_inventory::vm::{Power, VmPatch, VmRow, Vms};
use xenith_orchestrator_inventory::{
    Change, Delta, Inventory, Noun, QueryError, Rest, Revision, Scope, Subscription, WatchEvent,
};

use crate::model::{Random, Twins, id, random_row};
use crate::pages::all_pages;

fn filter(text: &str) -> Filter {
    parse(Vms::SCHEMA, text).unwrap()
}

/// What a client holds.
struct Client {
    rows: BTreeMap<VmId, VmRow>,
    watch: Subscription<Vms>,
    filter: Filter,
}

impl Client {
    fn new(inventory: &Inventory<Vms>, text: &str) -> Self {
        let filter = filter(text);
        let since = inventory.revision();
        let rows = all_pages(inventory, &filter, &Scope::everything(), ("", 50));
        let watch = inventory.watch(since, filter.clone(), Scope::everything());
        Self { rows: rows.into_iter().map(|row| (row.id, row)).collect(), watch, filter }
    }

    fn catch_up(&mut self, strict: bool) {
        while let Some(event) = self.watch.take() {
            let WatchEvent::Changes { changes, .. } = event else { panic!("nothing was missed") };
            for change in changes {
                match change {
                    Change::Added(row) => {
                        assert!(self.rows.insert(row.id, row).is_none() || !strict, "added, but was there");
                    }
                    Change::Changed(row) => {
                        assert!(
                            self.rows.insert(row.id, row).is_some() || !strict,
                            "changed, but was not there"
                        );
                    }
                    Change::Removed(id) => {
                        assert!(self.rows.remove(&id).is_some() || !strict, "removed, but was not there");
                    }
                }
            }
        }
    }

    fn assert_current(&self, twins: &Twins) {
        let expected = twins.expected(&self.filter, &|_| true);
        assert_eq!(self.rows.values().cloned().collect::<Vec<_>>(), expected);
    }
}

const WATCHED: [&str; 6] =
    ["", "power:running", "tag:prod memory:>512MiB", "name:web", "-host:none", "host:xen1 or os:windows"];

#[test]
fn deltas_lead_to_what_a_page_shows() {
    let mut random = Random(21);
    let mut twins = Twins::new(&mut random, 150);
    let mut clients: Vec<Client> = WATCHED.iter().map(|text| Client::new(&twins.fast, text)).collect();
    for round in 0..2000 {
        twins.change(&mut random, 200);
        // Each looks at its own times, some seldom.
        for (n, client) in clients.iter_mut().enumerate() {
            if random.below(1 + n * n * 10) == 0 || round == 1999 {
                client.catch_up(true);
                client.assert_current(&twins);
            }
        }
    }
}

#[test]
fn a_returning_client_catches_up() {
    let mut random = Random(22);
    let mut twins = Twins::new(&mut random, 100);
    for text in WATCHED {
        let mut client = Client::new(&twins.fast, text);
        let left = twins.fast.revision();
        for _ in 0..100 {
            twins.change(&mut random, 120);
        }
        client.watch = twins.fast.watch(left, client.filter.clone(), Scope::everything());
        client.catch_up(false);
        client.assert_current(&twins);
    }
}

#[test]
fn a_revision_of_another_process_means_resync() {
    let twins = Twins::new(&mut Random(23), 10);
    let mut watch = twins.fast.watch(Revision(1_000_000), Filter::All, Scope::everything());
    assert!(matches!(watch.take(), Some(WatchEvent::Resync { .. })));
    assert_eq!(watch.take(), None);
}

#[test]
fn many_changes_of_one_row_are_told_once() {
    let twins = Twins::new(&mut Random(24), 10);
    let mut watch = twins.fast.watch(twins.fast.revision(), Filter::All, Scope::everything());
    for cpu in 0..10_000 {
        twins.fast.apply([Delta::Patch(id(3), VmPatch { cpu: Some(Some(cpu)), ..VmPatch::default() })]);
    }
    let Some(WatchEvent::Changes { changes, revision, .. }) = watch.take() else { panic!("changes") };
    assert_eq!(revision, twins.fast.revision());
    let [Change::Changed(row)] = changes.as_slice() else { panic!("one change: {changes:?}") };
    assert_eq!(row.cpu, Some(9999));
    // A patch that changes nothing, and one for a row that is not there, change nothing. (The last row may be told
    // once more: changes are remembered by the 20 ms.)
    twins.fast.apply([Delta::Patch(id(3), VmPatch { cpu: Some(Some(9999)), ..VmPatch::default() })]);
    twins.fast.apply([Delta::Patch(id(999), VmPatch { cpu: Some(Some(1)), ..VmPatch::default() })]);
    if let Some(WatchEvent::Changes { changes, .. }) = watch.take() {
        assert_eq!(changes, [Change::Changed(row.clone())]);
    }
    assert_eq!(watch.take(), None);
}

#[tokio::test]
async fn it_waits_and_wakes() {
    let twins = Twins::new(&mut Random(25), 50);
    let mut watch = twins.fast.watch(twins.fast.revision(), filter("power:crashed"), Scope::everything());
    let waiting = tokio::spawn(async move { watch.next().await });
    twins.fast.apply([Delta::Patch(id(1), VmPatch { cpu: Some(Some(7)), ..VmPatch::default() })]);
    twins.fast.apply([Delta::Patch(id(2), VmPatch { power: Some(Power::Crashed), ..VmPatch::default() })]);
    let event = tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap();
    let WatchEvent::Changes { changes, .. } = event else { panic!("{event:?}") };
    assert!(matches!(&changes[..], [Change::Added(row)] if row.id == id(2)));
}

#[test]
fn a_revision_as_clients_have_it_is_good_here_and_for_who_saw_it() {
    let inventory = Inventory::<Vms>::load([]);
    let (all, prod) = (Scope::everything(), Scope::nothing().or_tag("prod"));
    let revision = inventory.apply([Delta::Put(random_row(&mut Random(1), 1))]);
    let mark = inventory.mark(revision, &all);
    assert_eq!(inventory.since(&mark, &all), Ok(Some(revision)));
    assert_eq!(inventory.since(&mark, &prod), Ok(None), "sees something else");
    assert_eq!(Inventory::<Vms>::new().since(&mark, &all), Ok(None), "another process");
    for wrong in ["", "1", "x.y.z", &format!("{mark}.1"), &mark.replace('.', "-")] {
        assert_eq!(inventory.since(wrong, &all), Err(QueryError::BadRevision), "{wrong:?}");
    }
}

#[test]
fn only_a_subscriber_that_was_told_everything_may_go_on_from_there() {
    let inventory = Inventory::<Vms>::load([]);
    let mut watch = inventory.watch(inventory.revision(), Filter::All, Scope::everything());
    let mut random = Random(2);
    let latest = inventory.apply((0..2500).map(|at| Delta::Put(random_row(&mut random, at))));
    let (mut told, mut rests) = (0, Vec::new());
    while let Some(WatchEvent::Changes { changes, rest, revision }) = watch.take() {
        told += changes.len();
        rests.push(rest);
        assert_eq!(revision, latest);
    }
    assert_eq!((told, rests), (2500, vec![Rest::More, Rest::More, Rest::None]));
}
