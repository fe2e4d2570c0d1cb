//! Codes by time: RFC 6238 with HMAC-SHA-1, six digits and thirty seconds, the one form that every authenticator app
//! takes. Pure: secret and time come in, what a code is worth comes out.
//!
//! SHA-1 is broken for signatures, not in an HMAC (RFC 6194, section 3.3), and apps ignore a wish for another.

use std::fmt::Write as _;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{hmac, rand};
use data_encoding::BASE32_NOPAD;
use time::OffsetDateTime;
use xenith_orchestrator_types::ApiError;

/// In bytes: what RFC 4226 (section 4, R6) recommends.
pub const SECRET_LEN: usize = 20;
/// In seconds.
const PERIOD: u64 = 30;
const DIGITS: usize = 6;
/// So many steps before and after now are taken: a phone's clock is not ours.
const SKEW: u64 = 1;
/// What apps group accounts under.
const ISSUER: &str = "Xenith";

/// What a code is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// It is the one of this step, and no later one was accepted before.
    Fresh(u64),
    /// It is right, but it, or one after it, was accepted already.
    Used,
    Wrong,
}

/// A new secret.
pub fn new_secret() -> Result<[u8; SECRET_LEN], ApiError> {
    let mut secret = [0; SECRET_LEN];
    rand::fill(&mut secret).map_err(|_| ApiError::internal("the system has no randomness"))?;
    Ok(secret)
}

/// As people type it.
#[must_use]
pub fn base32(bytes: &[u8]) -> String {
    BASE32_NOPAD.encode(bytes)
}

/// What apps read from a QR code. `at` tells accounts of the same name at two orchestrators apart.
#[must_use]
pub fn uri(secret: &[u8], user: &str, at: &str) -> String {
    let (user, at, secret) = (escaped(user), escaped(at), base32(secret));
    let label = if at.is_empty() { user } else { format!("{user}%40{at}") };
    format!(
        "otpauth://totp/{ISSUER}:{label}?secret={secret}&issuer={ISSUER}&algorithm=SHA1&digits={DIGITS}&period={PERIOD}"
    )
}

/// RFC 3986's unreserved characters as they are, others as `%XX`.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _infallible = write!(escaped, "%{byte:02X}");
        }
        escaped
    })
}

/// Whether somebody meant it as a code of an app, and not as a recovery code.
#[must_use]
pub fn looks_like_code(given: &str) -> bool {
    given.len() == DIGITS && given.bytes().all(|byte| byte.is_ascii_digit())
}

/// What `given` is worth at `now`, when `last` is the newest step that was accepted.
#[must_use]
pub fn worth(secret: &[u8], given: &str, now: OffsetDateTime, last: u64) -> Worth {
    // Before 1970 there is no code that is right.
    let Ok(seconds) = u64::try_from(now.unix_timestamp()) else { return Worth::Wrong };
    let step = seconds / PERIOD;
    let taken = step.saturating_sub(SKEW)..=step.saturating_add(SKEW);
    let right =
        |step: &u64| verify_slices_are_equal(code(secret, *step).as_bytes(), given.as_bytes()).is_ok();
    match taken.filter(right).max() {
        Some(step) if step > last => Worth::Fresh(step),
        Some(_) => Worth::Used,
        None => Worth::Wrong,
    }
}

/// The code of a step.
#[must_use]
pub fn code(secret: &[u8], step: u64) -> String {
    format!("{:06}", truncated(secret, step) % 1_000_000)
}

/// RFC 4226, section 5.3.
fn truncated(secret: &[u8], step: u64) -> u32 {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let hash = tag.as_ref();
    // At most 15, of 20 bytes.
    let at = usize::from(hash[hash.len() - 1] & 0x0f);
    u32::from_be_bytes([hash[at], hash[at + 1], hash[at + 2], hash[at + 3]]) & 0x7fff_ffff
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECRET: &[u8] = b"12345678901234567890";

    fn at(seconds: u64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn codes_are_those_of_the_standards() {
        // RFC 6238, appendix B, SHA-1: eight digits.
        for (seconds, expected) in [
            (59, 94_287_082),
            (1_111_111_109, 7_081_804),
            (1_111_111_111, 14_050_471),
            (1_234_567_890, 89_005_924),
            (2_000_000_000, 69_279_037),
            (20_000_000_000, 65_353_130),
        ] {
            assert_eq!(truncated(SECRET, seconds / PERIOD) % 100_000_000, expected, "{seconds} s");
        }
        // RFC 4226, appendix D: six digits of the first counters.
        let first: Vec<String> = (0..4).map(|step| code(SECRET, step)).collect();
        assert_eq!(first, ["755224", "287082", "359152", "969429"]);
    }

    #[test]
    fn a_code_is_taken_once_and_for_one_step_around_now() {
        let step = 1_234_567_890 / PERIOD;
        let now = at(step * PERIOD);
        let given = |of: u64| code(SECRET, of);
        for (case, of, last, expected) in [
            ("now", step, 0, Worth::Fresh(step)),
            ("a clock behind", step - 1, 0, Worth::Fresh(step - 1)),
            ("a clock ahead", step + 1, 0, Worth::Fresh(step + 1)),
            ("too old", step - 2, 0, Worth::Wrong),
            ("too new", step + 2, 0, Worth::Wrong),
            ("again", step, step, Worth::Used),
            ("one before what was taken", step - 1, step, Worth::Used),
            ("the next one", step + 1, step, Worth::Fresh(step + 1)),
        ] {
            assert_eq!(worth(SECRET, &given(of), now, last), expected, "{case}");
        }
        for wrong in ["", "12345", "1234567", "abcdef"] {
            assert_eq!(worth(SECRET, wrong, now, 0), Worth::Wrong, "{wrong:?}");
        }
        assert_eq!(worth(b"another secret", &given(step), now, 0), Worth::Wrong);
    }

    #[test]
    fn apps_are_told_all_of_it() {
        assert_eq!(
            uri(SECRET, "ann@example.org", "xen.example.org"),
            "otpauth://totp/Xenith:ann%40example.org%40xen.example.org\
             ?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Xenith&algorithm=SHA1&digits=6&period=30"
        );
        assert!(uri(SECRET, "ann", "").starts_with("otpauth://totp/Xenith:ann?secret="));
        assert!(uri(SECRET, "ann", "[::1]").contains(":ann%40%5B%3A%3A1%5D?"));
    }
}
