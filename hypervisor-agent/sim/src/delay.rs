//! How long things take: a distribution that is sampled with a host's seeded dice.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

/// Written `250ms`, `1s..3s` (even between the two) or `200ms median 5s p99` (log-normal, the shape of real
/// control planes: mostly quick, sometimes very slow).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Delay {
    Fixed(Duration),
    Between(Duration, Duration),
    Skewed { median: Duration, p99: Duration },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a delay; write 250ms, 1s..3s or 200ms median 5s p99")]
pub struct ParseDelayError(String);

/// The standard normal distribution's 99th percentile.
const Z_P99: f64 = 2.326_347_9;

impl Delay {
    pub const ZERO: Self = Self::Fixed(Duration::ZERO);

    pub(crate) fn sample(self, dice: &mut fastrand::Rng) -> Duration {
        match self {
            Self::Fixed(fixed) => fixed,
            Self::Between(low, high) => low + high.saturating_sub(low).mul_f64(dice.f64()),
            Self::Skewed { median, p99 } => {
                // Box-Muller; 1 - f64() keeps the logarithm finite.
                let radius = (-2.0 * (1.0 - dice.f64()).ln()).sqrt();
                let normal = radius * (std::f64::consts::TAU * dice.f64()).cos();
                let sigma = (p99.as_secs_f64() / median.as_secs_f64()).ln() / Z_P99;
                // The tail is cut at ten times the p99: a test must end.
                let seconds = median.as_secs_f64() * (sigma * normal).exp();
                Duration::from_secs_f64(seconds.min(p99.as_secs_f64() * 10.0))
            }
        }
    }
}

impl Default for Delay {
    fn default() -> Self {
        Self::ZERO
    }
}

impl FromStr for Delay {
    type Err = ParseDelayError;

    fn from_str(text: &str) -> Result<Self, ParseDelayError> {
        let refuse = || ParseDelayError(text.to_owned());
        let time = |part: &str| parse_duration(part.trim()).ok_or_else(refuse);
        if let Some(rest) = text.trim().strip_suffix("p99") {
            let (median, p99) = rest.split_once("median").ok_or_else(refuse)?;
            let (median, p99) = (time(median)?, time(p99)?);
            if median.is_zero() || p99 < median {
                return Err(refuse());
            }
            return Ok(Self::Skewed { median, p99 });
        }
        match text.split_once("..") {
            Some((low, high)) => {
                let (low, high) = (time(low)?, time(high)?);
                if low > high { Err(refuse()) } else { Ok(Self::Between(low, high)) }
            }
            None => Ok(Self::Fixed(time(text)?)),
        }
    }
}

impl TryFrom<String> for Delay {
    type Error = ParseDelayError;

    fn try_from(text: String) -> Result<Self, ParseDelayError> {
        text.parse()
    }
}

impl From<Duration> for Delay {
    fn from(fixed: Duration) -> Self {
        Self::Fixed(fixed)
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |duration: &Duration| humantime::format_duration(*duration).to_string().replace(' ', "");
        match self {
            Self::Fixed(fixed) => f.write_str(&time(fixed)),
            Self::Between(low, high) => write!(f, "{}..{}", time(low), time(high)),
            Self::Skewed { median, p99 } => write!(f, "{} median {} p99", time(median), time(p99)),
        }
    }
}

/// A day at most: longer is a typing error, and sums with it could overflow.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let duration = humantime::parse_duration(text).ok()?;
    (duration <= Duration::from_secs(24 * 3600)).then_some(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        for (text, shown) in [
            ("250ms", Some("250ms")),
            ("0s", Some("0s")),
            ("1s..3s", Some("1s..3s")),
            ("1s .. 1m", Some("1s..1m")),
            ("200ms median 5s p99", Some("200ms median 5s p99")),
            ("3s..1s", None),
            ("0s median 5s p99", None),
            ("5s median 1s p99", None),
            ("fast", None),
            ("", None),
            ("2days", None),
        ] {
            let delay = text.parse::<Delay>().ok().map(|delay| delay.to_string());
            assert_eq!(delay.as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn samples_keep_to_their_distribution() {
        let mut dice = fastrand::Rng::with_seed(1);
        let even: Delay = "1s..3s".parse().unwrap();
        for _ in 0..1000 {
            let sample = even.sample(&mut dice);
            assert!((Duration::from_secs(1)..=Duration::from_secs(3)).contains(&sample), "{sample:?}");
        }
        let skewed: Delay = "200ms median 5s p99".parse().unwrap();
        let mut samples: Vec<_> = (0..10_000).map(|_| skewed.sample(&mut dice)).collect();
        samples.sort_unstable();
        let (median, p99) = (samples[5_000].as_secs_f64(), samples[9_900].as_secs_f64());
        assert!((0.18..0.22).contains(&median) && (4.0..6.5).contains(&p99), "{median} {p99}");
    }
}
