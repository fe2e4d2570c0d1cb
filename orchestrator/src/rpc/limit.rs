//! How many calls one caller may make.
//!
//! A bucket per user, and per address for who has not signed in; who shows a secret that is none is such a one. What
//! strangers change (they sign in, and nothing else) is counted in a smaller bucket besides: each such call is in the
//! audit log for ever. Of an address counts the [`site`]. Buckets that are full
//! again are dropped, so the table holds only who called lately.
//!
//! All that the port shows to strangers and that costs something passes here: calls, `/openrpc.json`, `/metrics`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use xenith_common_accept::site;
use xenith_common_ids::UserId;
use xenith_orchestrator_api::Caller;
use xenith_orchestrator_types::{ApiError, Reason};

use crate::config::{Allowance, Limits};

const TIDY_ABOVE: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    User(UserId),
    From(Option<IpAddr>),
    /// What who is not signed in changes.
    ChangesFrom(Option<IpAddr>),
}

#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

#[derive(Debug)]
pub struct RateLimit {
    limits: Limits,
    buckets: Mutex<HashMap<Key, Bucket>>,
    refused: AtomicU64,
}

impl Allowance {
    fn after(self, bucket: &Bucket, now: Instant) -> f64 {
        let passed = now.duration_since(bucket.at).as_secs_f64();
        (bucket.left + passed * f64::from(self.per_second)).min(f64::from(self.burst))
    }
}

impl RateLimit {
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, buckets: Mutex::default(), refused: AtomicU64::new(0) }
    }

    /// Before anything else is done for the caller.
    pub fn check(&self, caller: &Caller) -> Result<(), ApiError> {
        self.take(caller.user.map_or(Key::From(caller.from.map(site)), Key::User))
    }

    /// Before a mutation is written down.
    pub fn check_change(&self, caller: &Caller) -> Result<(), ApiError> {
        match caller.user {
            Some(_) => Ok(()),
            None => self.take(Key::ChangesFrom(caller.from.map(site))),
        }
    }

    /// Calls that came too often.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    const fn allowance(limits: Limits, key: Key) -> Allowance {
        match key {
            Key::User(_) | Key::From(_) => limits.calls,
            Key::ChangesFrom(_) => limits.changes_of_strangers,
        }
    }

    fn take(&self, key: Key) -> Result<(), ApiError> {
        let (limits, now) = (self.limits, Instant::now());
        let allowance = Self::allowance(limits, key);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() > TIDY_ABOVE {
            buckets.retain(|key, bucket| {
                let allowance = Self::allowance(limits, *key);
                allowance.after(bucket, now) < f64::from(allowance.burst)
            });
        }
        let full = Bucket { left: f64::from(allowance.burst), at: now };
        let bucket = buckets.entry(key).or_insert(full);
        bucket.left = allowance.after(bucket, now);
        bucket.at = now;
        if bucket.left < 1.0 {
            self.count_refused();
            let mut error = ApiError::new(Reason::Throttled, "too many calls at once; slow down");
            error.data.retry_after_s = Some(1);
            return Err(error);
        }
        bucket.left -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_fine_and_a_flood_is_not() {
        let limit = RateLimit::new(Limits::default());
        let caller = Caller::anonymous(None);
        let refused = (0..10_000).filter(|_| limit.check(&caller).is_err()).count();
        assert!(refused > 5000, "{refused}");
        assert_eq!(limit.refused(), refused as u64);
        let other = Caller { user: Some(UserId::new()), ..caller };
        assert!(limit.check(&other).is_ok());
    }

    #[test]
    fn strangers_change_little_and_a_site_is_one_stranger() {
        let limit = RateLimit::new(Limits::default());
        let at = |address: &str| Caller::anonymous(Some(address.parse().unwrap()));
        let passes = |caller: &Caller| (0..200).filter(|_| limit.check_change(caller).is_ok()).count();
        let burst = Limits::default().changes_of_strangers.burst as usize;
        let passed = passes(&at("2001:db8:1:2::1"));
        assert!((burst..burst + 20).contains(&passed), "{passed}");
        assert!(limit.check_change(&at("2001:db8:1:3::1")).is_ok(), "another site");
        assert!(limit.check(&at("2001:db8:1:2::1")).is_ok(), "it may still look");
        let neighbour = passes(&at("2001:db8:1:2:ffff::9"));
        assert!(neighbour < burst, "{neighbour}");
        let signed_in = Caller { user: Some(UserId::new()), ..at("2001:db8:1:2::1") };
        assert_eq!(passes(&signed_in), 200);
    }
}
