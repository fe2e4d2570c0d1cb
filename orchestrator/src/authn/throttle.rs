//! Slowing down who guesses.
//!
//! Tries are counted by name and by address, before anything is verified: of any number at once, no more pass than
//! one after the other. One that was right clears the count, one that came to no verdict is taken back, so what stays
//! counted are failures. Past [`FREE`] of them the wait doubles, up to [`MOST`]. Of an address counts the [`site`].
//!
//! Who has signed in from somewhere is counted there by both together, and by nothing else: or whoever knows a name could
//! keep that user out for ever, with a wrong password now and then, and whoever is behind one address with others all of
//! them. A restart forgets where that was.
//!
//! The tables are bounded; when one is full the oldest entry goes, so that flooding it with made-up names frees nobody who
//! is being watched now.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use xenith_common_accept::site;
use xenith_orchestrator_types::{ApiError, Reason};

const FREE: u32 = 5;
const FIRST: Duration = Duration::from_secs(2);
const MOST: Duration = Duration::from_secs(900);
const ENTRIES: usize = 10_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Name(String),
    From(IpAddr),
    /// A name, from where it has signed in before.
    Known(Place),
}

/// A name and a site.
type Place = (String, IpAddr);

#[derive(Debug)]
struct Entry {
    failures: u32,
    last: Instant,
}

#[derive(Debug, Default)]
struct Tables {
    entries: HashMap<Key, Entry>,
    /// Where names have signed in, and when they did last.
    known: HashMap<Place, Instant>,
}

#[derive(Debug, Default)]
pub struct Throttle(Mutex<Tables>);

impl Tables {
    fn keys(&self, name: String, from: Option<IpAddr>) -> Vec<Key> {
        let Some(from) = from else { return vec![Key::Name(name)] };
        let place = (name, from);
        if self.known.contains_key(&place) {
            return vec![Key::Known(place)];
        }
        vec![Key::Name(place.0), Key::From(from)]
    }
}

fn wait(failures: u32) -> Duration {
    match failures.checked_sub(FREE) {
        None => Duration::ZERO,
        Some(over) => FIRST.saturating_mul(1 << over.min(16)).min(MOST),
    }
}

/// A try that counts as a failure until it is known to be none.
#[derive(Debug)]
#[must_use = "without a verdict it stays a failure"]
pub struct Try<'a> {
    throttle: &'a Throttle,
    keys: Vec<Key>,
    place: Option<Place>,
}

/// What became of a [`Try`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Right,
    Wrong,
    /// Nothing was verified.
    None,
}

impl Try<'_> {
    pub fn end(self, verdict: Verdict) {
        let mut tables = self.throttle.tables();
        for key in &self.keys {
            match verdict {
                Verdict::Wrong => {}
                Verdict::Right => {
                    tables.entries.remove(key);
                }
                Verdict::None => {
                    if let Some(entry) = tables.entries.get_mut(key) {
                        entry.failures = entry.failures.saturating_sub(1);
                    }
                }
            }
        }
        if let (Verdict::Right, Some(place)) = (verdict, self.place) {
            make_room(&mut tables.known, &place, |last| *last);
            tables.known.insert(place, Instant::now());
        }
    }
}

impl Throttle {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a try. `Err` says how long to wait, and nothing was counted.
    pub fn begin(&self, name: &str, from: Option<IpAddr>) -> Result<Try<'_>, ApiError> {
        // Long names are nobody's, and must not fill memory.
        let name: String = name.chars().take(64).collect();
        let from = from.map(site);
        let place = from.map(|from| (name.clone(), from));
        let mut tables = self.tables();
        let keys = tables.keys(name, from);
        let left = |key: &Key| {
            let entry = tables.entries.get(key)?;
            wait(entry.failures).checked_sub(entry.last.elapsed()).filter(|left| !left.is_zero())
        };
        if let Some(left) = keys.iter().filter_map(left).max() {
            return Err(too_many(left));
        }
        for key in &keys {
            count(&mut tables.entries, key);
        }
        Ok(Try { throttle: self, keys, place })
    }
}

fn too_many(left: Duration) -> ApiError {
    let seconds = u32::try_from(left.as_secs() + 1).unwrap_or(u32::MAX);
    let mut error =
        ApiError::new(Reason::Throttled, format_args!("too many failed attempts; try again in {seconds} s"));
    error.data.retry_after_s = Some(seconds);
    error
}

/// Drops the oldest of a full table, unless it has `key` already.
fn make_room<K: Clone + Eq + Hash, V>(table: &mut HashMap<K, V>, key: &K, last: impl Fn(&V) -> Instant) {
    if table.len() >= ENTRIES && !table.contains_key(key) {
        let oldest = table.iter().min_by_key(|(_, value)| last(value)).map(|(key, _)| key.clone());
        if let Some(oldest) = oldest {
            table.remove(&oldest);
        }
    }
}

fn count(entries: &mut HashMap<Key, Entry>, key: &Key) {
    make_room(entries, key, |entry| entry.last);
    let entry = entries.entry(key.clone()).or_insert(Entry { failures: 0, last: Instant::now() });
    // Forgiven after a day's quiet.
    if entry.last.elapsed() > Duration::from_secs(86_400) {
        entry.failures = 0;
    }
    entry.failures = entry.failures.saturating_add(1);
    entry.last = Instant::now();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tries(throttle: &Throttle, name: &str, from: Option<IpAddr>, verdict: Verdict) -> bool {
        throttle.begin(name, from).map(|tried| tried.end(verdict)).is_ok()
    }

    #[test]
    fn guessing_gets_slow_and_a_success_clears() {
        let throttle = Throttle::default();
        let from = Some(IpAddr::from([192, 0, 2, 1]));
        for _ in 0..FREE {
            assert!(tries(&throttle, "admin", from, Verdict::Wrong));
        }
        let error = throttle.begin("admin", None).unwrap_err();
        assert!(error.data.retry_after_s.is_some_and(|s| s <= 3), "{error:?}");
        assert!(!tries(&throttle, "other", from, Verdict::Wrong), "the address is slowed, too");
        assert!(tries(&throttle, "other", None, Verdict::Right));
        assert_eq!(wait(FREE + 30), MOST);

        let other = Some(IpAddr::from([192, 0, 2, 2]));
        for _ in 0..3 {
            for _ in 1..FREE {
                assert!(tries(&throttle, "dora", other, Verdict::Wrong));
            }
            assert!(tries(&throttle, "dora", other, Verdict::Right), "and that clears");
        }
    }

    #[test]
    fn strangers_keep_nobody_out_from_where_they_have_signed_in() {
        let throttle = Throttle::default();
        let at = |address: &str| Some(address.parse::<IpAddr>().unwrap());
        assert!(tries(&throttle, "dora", at("192.0.2.1"), Verdict::Right));
        for number in 0..FREE {
            assert!(tries(&throttle, "dora", at(&format!("198.51.100.{number}")), Verdict::Wrong));
        }
        assert!(throttle.begin("dora", at("203.0.113.1")).is_err(), "the name is slowed");
        assert!(tries(&throttle, "dora", at("192.0.2.1"), Verdict::Right), "not where she is known");
        assert!(throttle.begin("dora", at("203.0.113.1")).is_err(), "and that clears nothing elsewhere");

        // Others behind her address do not keep her out either, and she guesses no faster there.
        for number in 0..FREE {
            assert!(tries(&throttle, &format!("nobody-{number}"), at("192.0.2.1"), Verdict::Wrong));
        }
        assert!(throttle.begin("anna", at("192.0.2.1")).is_err());
        for _ in 0..FREE {
            assert!(tries(&throttle, "dora", at("192.0.2.1"), Verdict::Wrong));
        }
        assert!(throttle.begin("dora", at("192.0.2.1")).is_err());
    }

    #[test]
    fn a_site_is_one_stranger() {
        let throttle = Throttle::default();
        let at = |number: u32| format!("2001:db8:1:2::{number:x}").parse::<IpAddr>().ok();
        for number in 0..FREE {
            assert!(tries(&throttle, &format!("user-{number}"), at(number), Verdict::Wrong));
        }
        assert!(throttle.begin("another", at(99)).is_err());
        assert!(throttle.begin("another", "2001:db8:1:3::1".parse().ok()).is_ok());
    }

    #[test]
    fn tries_count_before_their_verdict() {
        let throttle = Throttle::default();
        let at_once: Vec<_> = (0..50).map(|_| throttle.begin("admin", None)).collect();
        let (begun, refused): (Vec<_>, Vec<_>) = at_once.into_iter().partition(Result::is_ok);
        assert_eq!((begun.len(), refused.len()), (FREE as usize, 50 - FREE as usize));
        for tried in begun.into_iter().flatten() {
            tried.end(Verdict::None);
        }
        assert!(tries(&throttle, "admin", None, Verdict::Wrong), "nothing was verified: nothing failed");
    }
}
