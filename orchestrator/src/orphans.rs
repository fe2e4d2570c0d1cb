//! What hosts and records do not agree on, as the looks of [`crate::background`] found it.
//!
//! Nothing is destroyed here, and nothing mended: a definition or an image without a record may be all that is left
//! of somebody's VM (the orchestrator was restored from an older backup), a record whose host lost it the only
//! word of it. Each is told, as an event when it is found and in `orphan.list` for as long as it is there; an
//! administrator decides.
//!
//! What is found must be there in two looks, one after the other: between an agent's word and a record's commit lies
//! a moment in which they differ. In memory only: after a start it is found again. And bounded: where nothing is as it
//! is recorded (a large SR was restored empty, a store belongs to another site), the first [`MOST`] of a look are kept
//! and the rest is counted.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use time::OffsetDateTime;
use xenith_common_ids::OrphanId;
use xenith_orchestrator_inventory::orphan::{OrphanKind as Kind, OrphanRow};
use xenith_orchestrator_inventory::{Delta, Inventory};
use xenith_orchestrator_types::orphan::{Orphan, OrphanKind};

/// Where a look looks. Each has its own pace, and says only what it has looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Where {
    /// VMs on hosts.
    Hosts,
    /// Images in SRs.
    Storage,
    /// Records.
    Records,
}

/// So many of one look are kept, some 10 MiB of them: nobody reads more, and what is behind so many is one fault.
pub const MOST: usize = 10_000;

/// What one look found, each with the id that tasks know it by.
#[derive(Debug, Default)]
pub struct Findings {
    kept: Vec<(String, Found)>,
    beyond: u64,
}

impl Findings {
    /// `found` is made only when it is kept.
    pub fn add(&mut self, id: impl ToString, found: impl FnOnce() -> Found) {
        if self.kept.len() < MOST {
            self.kept.push((id.to_string(), found()));
        } else {
            self.beyond += 1;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Leaves out what `is_wanted` does not want, by its id.
    pub fn retain(&mut self, is_wanted: impl Fn(&str) -> bool) {
        self.kept.retain(|(id, _)| is_wanted(id));
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Found)> {
        self.kept.iter_mut().map(|(id, found)| (id.as_str(), found))
    }
}

/// What is told of a look.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Sure since this look.
    pub found: Vec<Found>,
    /// So many more than are kept were found, for the first time.
    pub beyond: Option<u64>,
}

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub kind: OrphanKind,
    pub subject: String,
    pub name: String,
    /// The names of the host and the pool, where there are such.
    pub host: Option<String>,
    pub pool: Option<String>,
    pub message: String,
}

impl Found {
    /// The same for the same thing in every look.
    fn id(&self) -> OrphanId {
        let mut hash = blake3::Hasher::new();
        for part in [self.kind.as_str(), &self.subject, self.host.as_deref().unwrap_or_default()] {
            hash.update(part.as_bytes()).update(&[0]);
        }
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finalize().as_bytes()[..16]);
        OrphanId::from_bytes(id)
    }
}

#[derive(Debug, Default)]
struct Look {
    /// In the last look.
    last: HashSet<OrphanId>,
    /// In two looks one after the other: what is told, and since when.
    sure: HashMap<OrphanId, (OffsetDateTime, Found)>,
    /// More were found than are kept.
    overflows: bool,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Orphans {
    pub rows: Inventory<xenith_orchestrator_inventory::orphan::Orphans>,
    looks: Mutex<HashMap<Where, Look>>,
}

impl Orphans {
    /// Takes what a look found. Of hosts that were not looked at, by their names, what was known stays.
    pub fn take(&self, at: Where, findings: Findings, unseen: &HashSet<String>) -> News {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let look = looks.entry(at).or_default();
        let Findings { kept, beyond } = findings;
        let overflowed = std::mem::replace(&mut look.overflows, beyond > 0);
        let beyond = (beyond > 0 && !overflowed).then_some(beyond);
        let mut found: HashMap<OrphanId, Found> =
            kept.into_iter().map(|(_, found)| (found.id(), found)).collect();
        for (id, (_, known)) in &look.sure {
            if known.host.as_ref().is_some_and(|host| unseen.contains(host)) {
                found.entry(*id).or_insert_with(|| known.clone());
            }
        }
        let now = OffsetDateTime::now_utc();
        let mut deltas: Vec<Delta<_>> =
            look.sure.keys().filter(|id| !found.contains_key(id)).copied().map(Delta::Remove).collect();
        let (mut sure, mut new) = (HashMap::new(), Vec::new());
        for (id, found) in &found {
            let since = match (look.sure.get(id), look.last.contains(id)) {
                (Some((since, told)), _) => {
                    if told == found {
                        sure.insert(*id, (*since, found.clone()));
                        continue;
                    }
                    *since
                }
                (None, true) => {
                    new.push(found.clone());
                    now
                }
                (None, false) => continue,
            };
            deltas.push(Delta::Put(row(*id, found, since)));
            sure.insert(*id, (since, found.clone()));
        }
        look.last = found.into_keys().collect();
        look.sure = sure;
        self.rows.apply(deltas);
        News { found: new, beyond }
    }
}

fn row(id: OrphanId, found: &Found, since: OffsetDateTime) -> OrphanRow {
    let Found { kind, subject, name, host, pool, message } = found.clone();
    let kind = match kind {
        OrphanKind::Definition => Kind::Definition,
        OrphanKind::Domain => Kind::Domain,
        OrphanKind::Elsewhere => Kind::Elsewhere,
        OrphanKind::Lost => Kind::Lost,
        OrphanKind::Image => Kind::Image,
        OrphanKind::Missing => Kind::Missing,
        OrphanKind::Damaged => Kind::Damaged,
        OrphanKind::LeftOver => Kind::LeftOver,
        OrphanKind::Record => Kind::Record,
    };
    OrphanRow { id, kind, subject, name, host, pool, message, since }
}

/// As the API shows it.
#[must_use]
pub fn to_api(row: OrphanRow) -> Orphan {
    let OrphanRow { id, kind, subject, name, host, message, since, .. } = row;
    let kind = match kind {
        Kind::Definition => OrphanKind::Definition,
        Kind::Domain => OrphanKind::Domain,
        Kind::Elsewhere => OrphanKind::Elsewhere,
        Kind::Lost => OrphanKind::Lost,
        Kind::Image => OrphanKind::Image,
        Kind::Missing => OrphanKind::Missing,
        Kind::Damaged => OrphanKind::Damaged,
        Kind::LeftOver => OrphanKind::LeftOver,
        Kind::Record => OrphanKind::Record,
    };
    Orphan { id, kind, subject, name, host, message, since }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str) -> Found {
        let message = format!("{name} is there");
        let kind = OrphanKind::Image;
        Found { kind, subject: format!("vdi/{name}"), name: name.into(), host: None, pool: None, message }
    }

    fn findings(found: impl IntoIterator<Item = Found>) -> Findings {
        let mut findings = Findings::default();
        found.into_iter().for_each(|found| findings.add(found.name.clone(), || found));
        findings
    }

    #[test]
    fn a_flood_is_counted_and_told_once() {
        let orphans = Orphans::default();
        let flood = || findings((0..MOST + 7).map(|number| found(&number.to_string())));
        let look = |findings: Findings, new: usize, beyond: Option<u64>| {
            let news = orphans.take(Where::Storage, findings, &HashSet::new());
            assert_eq!((news.found.len(), news.beyond), (new, beyond));
        };
        look(flood(), 0, Some(7));
        look(flood(), MOST, None);
        assert_eq!(orphans.rows.len(), MOST);
        look(findings([]), 0, None);
        assert_eq!(orphans.rows.len(), 0);
        look(flood(), 0, Some(7));
    }

    #[test]
    fn it_takes_two_looks_to_be_told_and_one_to_be_gone() {
        let orphans = Orphans::default();
        let names = |news: News| {
            let mut names: Vec<String> = news.found.into_iter().map(|found| found.name).collect();
            names.sort();
            names.join(" ")
        };
        let unseen = HashSet::new();
        let look = |seen: &str, new: &str, listed: usize| {
            let seen_now = findings(seen.split_whitespace().map(found));
            let told = names(orphans.take(Where::Storage, seen_now, &unseen));
            assert_eq!((told.as_str(), orphans.rows.len()), (new, listed), "after {seen:?}");
        };
        look("a", "", 0);
        look("b", "", 0);
        look("a b", "b", 1);
        look("a b", "a", 2);
        look("a b", "", 2);
        look("a", "", 1);
        look("", "", 0);
        look("a", "", 0);
        look("a", "a", 1);
        // Another look says nothing about this one.
        assert_eq!(orphans.take(Where::Hosts, Findings::default(), &unseen), News::default());
        assert_eq!(orphans.rows.len(), 1);
    }

    #[test]
    fn a_host_that_is_away_keeps_what_was_found_on_it() {
        let orphans = Orphans::default();
        let on = |host: &str| Found { host: Some(host.to_owned()), ..found("a") };
        let mut told = 0;
        for (hosts, unseen, listed) in [
            ("x y", "", 0),
            ("x y", "", 2),
            ("y", "x", 2),
            ("x y", "", 2),
            ("y", "", 1),
            ("", "y", 1),
            ("", "", 0),
        ] {
            let away = unseen.split_whitespace().map(ToOwned::to_owned).collect();
            let seen = findings(hosts.split_whitespace().map(on));
            told += orphans.take(Where::Hosts, seen, &away).found.len();
            assert_eq!(orphans.rows.len(), listed, "{hosts:?}, away: {unseen:?}");
        }
        assert_eq!(told, 2, "each is told once");
    }
}
