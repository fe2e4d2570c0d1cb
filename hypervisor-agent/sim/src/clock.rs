//! What time it is for a simulated host: real, or moved by hand.
//!
//! Time is a [`Duration`] since the clock was made. The real one is tokio's, so it also follows a runtime with
//! paused time. The manual one stands still until [`ManualClock::advance`]; sleepers then wake in the order of
//! their deadlines, each at its own instant, so that what they start next is timed from there and not from
//! the end of the step. Any number of hosts may share one clock.
//!
//! Who else touches it: every call and every driver of a [`crate::SimHypervisor`] sleeps on it. A sleeper
//! that is dropped leaves nothing behind.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

/// How often [`ManualClock::advance`] lets others run after each instant. A woken call needs a handful of
/// polls until it sleeps again; a yield with nobody ready costs well under a microsecond.
const YIELDS_PER_INSTANT: usize = 64;

/// The clock as simulated hosts see it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SimClock(Source);

#[derive(Debug, Clone)]
enum Source {
    Real(Instant),
    Manual(ManualClock),
}

impl SimClock {
    /// Follows tokio's time, zero being now.
    #[must_use]
    pub fn real() -> Self {
        Self(Source::Real(Instant::now()))
    }

    #[must_use]
    pub fn now(&self) -> Duration {
        match &self.0 {
            Source::Real(start) => start.elapsed(),
            Source::Manual(clock) => clock.now(),
        }
    }

    /// Returns at once when `at` is past. `None` never returns.
    pub(crate) async fn sleep_until(&self, at: Option<Duration>) {
        match (&self.0, at) {
            (_, None) => std::future::pending().await,
            // tokio rounds every sleep up to its next millisecond, also one that is over.
            (_, Some(at)) if at <= self.now() => {}
            (Source::Real(start), Some(at)) => tokio::time::sleep_until(*start + at).await,
            (Source::Manual(clock), Some(at)) => {
                Sleep { clock: clock.clone(), at, key: None }.await;
            }
        }
    }
}

/// A clock that moves only by hand. All clones are the same clock.
#[derive(Debug, Clone, Default)]
pub struct ManualClock(Arc<Mutex<Hands>>);

#[derive(Debug, Default)]
struct Hands {
    now: Duration,
    sleepers: BTreeMap<(Duration, u64), Waker>,
    next_key: u64,
}

impl ManualClock {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What hosts are given to live by.
    #[must_use]
    pub fn clock(&self) -> SimClock {
        SimClock(Source::Manual(self.clone()))
    }

    #[must_use]
    pub fn now(&self) -> Duration {
        self.hands().now
    }

    /// Moves the time by `by`. Everything due on the way has woken when this returns; work that a woken
    /// sleeper hands to another thread may still be under way, so conditions are polled all the same.
    pub async fn advance(&self, by: Duration) {
        // Calls that were made before this one get to start first.
        yield_often().await;
        let target = self.now().saturating_add(by);
        while self.wake_next(target) {
            yield_often().await;
        }
        self.hands().now = target;
    }

    /// Jumps to the next instant at which somebody wakes; `false` when nobody sleeps.
    pub async fn advance_to_next(&self) -> bool {
        yield_often().await;
        let woke = self.wake_next(Duration::MAX);
        yield_often().await;
        woke
    }

    /// Wakes all that sleep until the earliest instant up to `limit`.
    fn wake_next(&self, limit: Duration) -> bool {
        let woken: Vec<Waker> = {
            let mut hands = self.hands();
            let Some((&(at, _), _)) = hands.sleepers.first_key_value() else { return false };
            if at > limit {
                return false;
            }
            hands.now = hands.now.max(at);
            let later = hands.sleepers.split_off(&(at, u64::MAX));
            std::mem::replace(&mut hands.sleepers, later).into_values().collect()
        };
        woken.into_iter().for_each(Waker::wake);
        true
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn yield_often() {
    for _ in 0..YIELDS_PER_INSTANT {
        tokio::task::yield_now().await;
    }
}

struct Sleep {
    clock: ManualClock,
    at: Duration,
    key: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let clock = self.clock.clone();
        let mut hands = clock.hands();
        if hands.now >= self.at {
            return Poll::Ready(());
        }
        let key = *self.key.get_or_insert_with(|| {
            hands.next_key += 1;
            hands.next_key
        });
        hands.sleepers.insert((self.at, key), context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.clock.hands().sleepers.remove(&(self.at, key));
        }
    }
}
