//! Waiting longer after each failure, with jitter so that a fleet does not return in step.

use std::time::Duration;

/// Doubles from `first` to `most`; each delay is spread over its upper half.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    attempt: u32,
    seed: u64,
}

impl Backoff {
    /// `seed` decides the jitter: give something that differs between peers (an id's low bits).
    #[must_use]
    pub const fn new(first: Duration, most: Duration, seed: u64) -> Self {
        Self { first, most, attempt: 0, seed }
    }

    /// Call after a success.
    pub const fn reset(&mut self) {
        self.attempt = 0;
    }

    /// How many failures in a row there were.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The time to wait after one more failure.
    pub fn next_delay(&mut self) -> Duration {
        let factor = 1u32.checked_shl(self.attempt.min(16)).unwrap_or(1 << 16);
        self.attempt = self.attempt.saturating_add(1);
        let full = self.first.saturating_mul(factor).min(self.most);
        // splitmix64: enough to spread retries, no cryptography wanted.
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let fraction = ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64;
        full / 2 + (full / 2).mul_f64(fraction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_the_limit_and_starts_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5), 7);
        let delays: Vec<_> = (0..40).map(|_| backoff.next_delay()).collect();
        assert!(delays[0] >= Duration::from_millis(50) && delays[0] <= Duration::from_millis(100));
        assert!(delays.iter().all(|d| *d <= Duration::from_secs(5)));
        assert!(delays[39] >= Duration::from_millis(2500));
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_millis(100));
    }
}
