//! Slowing down who guesses.
//!
//! Failures are counted by name and by address. Past [`FREE`] of them the wait doubles, up to [`MOST`]. The
//! table is bounded; when it is full the oldest entry goes, so that flooding it with made-up names frees
//! nobody who is being watched now.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use xenith_orchestrator_types::{ApiError, Reason};

const FREE: u32 = 5;
const FIRST: Duration = Duration::from_secs(2);
const MOST: Duration = Duration::from_secs(900);
const ENTRIES: usize = 10_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Name(String),
    From(IpAddr),
}

#[derive(Debug)]
struct Entry {
    failures: u32,
    last: Instant,
}

#[derive(Debug, Default)]
pub struct Throttle(Mutex<HashMap<Key, Entry>>);

fn keys(name: &str, from: Option<IpAddr>) -> Vec<Key> {
    // Long names are nobody's, and must not fill memory.
    let name: String = name.chars().take(64).collect();
    let mut keys = vec![Key::Name(name)];
    keys.extend(from.map(Key::From));
    keys
}

fn wait(failures: u32) -> Duration {
    match failures.checked_sub(FREE) {
        None => Duration::ZERO,
        Some(over) => FIRST.saturating_mul(1 << over.min(16)).min(MOST),
    }
}

impl Throttle {
    /// `Err` says how long to wait.
    pub fn check(&self, name: &str, from: Option<IpAddr>) -> Result<(), ApiError> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = |key: &Key| {
            let entry = entries.get(key)?;
            wait(entry.failures).checked_sub(entry.last.elapsed()).filter(|left| !left.is_zero())
        };
        match keys(name, from).iter().filter_map(left).max() {
            None => Ok(()),
            Some(left) => {
                let seconds = u32::try_from(left.as_secs() + 1).unwrap_or(u32::MAX);
                let mut error = ApiError::new(
                    Reason::Throttled,
                    format_args!("too many failed attempts; try again in {seconds} s"),
                );
                error.data.retry_after_s = Some(seconds);
                Err(error)
            }
        }
    }

    pub fn failed(&self, name: &str, from: Option<IpAddr>) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys(name, from) {
            if entries.len() >= ENTRIES && !entries.contains_key(&key) {
                let oldest = entries.iter().min_by_key(|(_, entry)| entry.last).map(|(key, _)| key.clone());
                if let Some(oldest) = oldest {
                    entries.remove(&oldest);
                }
            }
            let entry = entries.entry(key).or_insert(Entry { failures: 0, last: Instant::now() });
            // Forgiven after a day's quiet.
            if entry.last.elapsed() > Duration::from_secs(86_400) {
                entry.failures = 0;
            }
            entry.failures = entry.failures.saturating_add(1);
            entry.last = Instant::now();
        }
    }

    pub fn succeeded(&self, name: &str, from: Option<IpAddr>) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys(name, from) {
            entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_gets_slow_and_a_success_clears() {
        let throttle = Throttle::default();
        let from = Some(IpAddr::from([192, 0, 2, 1]));
        for _ in 0..FREE - 1 {
            throttle.failed("admin", from);
            assert!(throttle.check("admin", from).is_ok());
        }
        throttle.failed("admin", from);
        let error = throttle.check("admin", None).unwrap_err();
        assert!(error.data.retry_after_s.is_some_and(|s| s <= 3), "{error:?}");
        assert!(throttle.check("other", from).is_err(), "the address is slowed, too");
        assert!(throttle.check("other", None).is_ok());
        throttle.succeeded("admin", from);
        assert!(throttle.check("admin", from).is_ok());
        assert_eq!(wait(FREE + 30), MOST);
    }
}
