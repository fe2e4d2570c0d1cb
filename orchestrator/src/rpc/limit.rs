//! How many calls one caller may make.
//!
//! A bucket per user, and per address for who has not signed in. Buckets that are full again are dropped, so
//! the table holds only who called lately.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use xenith_common_ids::UserId;
use xenith_orchestrator_api::Caller;
use xenith_orchestrator_types::{ApiError, Reason};

/// Calls per second that a caller may keep up, and how many at once. A busy browser tab makes ten, a script in
/// a loop a few hundred; more is a mistake or an attack.
const RATE: f64 = 500.0;
const BURST: f64 = 2000.0;
const TIDY_ABOVE: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    User(UserId),
    From(Option<IpAddr>),
}

#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

#[derive(Debug, Default)]
pub struct RateLimit(Mutex<HashMap<Key, Bucket>>);

impl RateLimit {
    pub fn check(&self, caller: &Caller) -> Result<(), ApiError> {
        let key = caller.user.map_or(Key::From(caller.from), Key::User);
        let now = Instant::now();
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() > TIDY_ABOVE {
            buckets.retain(|_, bucket| now.duration_since(bucket.at).as_secs_f64() * RATE < BURST);
        }
        let bucket = buckets.entry(key).or_insert(Bucket { left: BURST, at: now });
        bucket.left = (bucket.left + now.duration_since(bucket.at).as_secs_f64() * RATE).min(BURST);
        bucket.at = now;
        if bucket.left < 1.0 {
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
        let limit = RateLimit::default();
        let caller = Caller::anonymous(None);
        let refused = (0..10_000).filter(|_| limit.check(&caller).is_err()).count();
        assert!(refused > 5000, "{refused}");
        let other = Caller { user: Some(UserId::new()), ..caller };
        assert!(limit.check(&other).is_ok());
    }
}
