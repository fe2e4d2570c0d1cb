//! How often the changes of a disk are copied before its VM is made to stand for the last of them. No IO.
//!
//! What a guest writes while one pass is copied is what the next has to copy. As long as it writes slower than the copy
//! goes, each pass is shorter than the one before, by the same factor: after one of `t` that followed one of `s`, the next
//! will take about `t * t / s`. The VM stands for that one, so it has to be short enough; a guest that writes faster than
//! the copy goes never gets there, and is told so instead of being made to stand for minutes.
//!
//! Where the memory follows over the same network, the guest writes on while that is sent, which takes as long as it takes:
//! no pass makes that less. So it is reckoned with before the memory is begun.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Copies of changes while the VM runs. The whole disk in an hour, and a tenth of it written in that time, is 6 minutes,
/// 36 seconds, 4 seconds; more than these help nobody.
pub const MOST: usize = 6;
/// How long the VM stands at most for the changes of its disks.
pub const STANDS: Duration = Duration::from_secs(2);
/// The same with what it writes while its memory is sent.
pub const STANDS_WITH_MEMORY: Duration = Duration::from_secs(10);
/// Orders, snapshots and journals: what each pass takes, whatever it copies.
const EACH: u64 = 250;

/// One that was copied: the whole disk, or what changed since the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    pub bytes: u64,
    pub milliseconds: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// What changed meanwhile is copied while the VM runs on.
    Again,
    /// What is left is little enough.
    HandOver,
    /// It will not become little enough.
    Never,
}

/// How long the next pass will take; `None` before there are two.
#[must_use]
pub fn expected(passes: &[Pass]) -> Option<Duration> {
    let [.., before, last] = passes else { return None };
    let (before, last) = (before.milliseconds.max(1), last.milliseconds);
    // One that is as short as a pass can be gets no shorter, and says nothing about how fast the guest writes.
    if last <= EACH {
        return Some(Duration::from_millis(last));
    }
    let milliseconds = u128::from(last) * u128::from(last) / u128::from(before);
    Some(Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX)))
}

/// How long what the guest writes while `memory` bytes of it are sent will take.
fn behind_memory(passes: &[Pass], memory: u64) -> Duration {
    let ([whole, ..], [.., before, last]) = (passes, passes) else { return Duration::ZERO };
    let [sent, took, written, meanwhile] =
        [whole.bytes, whole.milliseconds, last.bytes, before.milliseconds].map(|of| u128::from(of.max(1)));
    // As fast as the whole disk: memory / rate, times what is written in that time, over the rate again. An idle guest
    // writes a byte here, which is nothing.
    let sending = u128::from(memory) * took / sent;
    let milliseconds = (sending * written / meanwhile) * took / sent;
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX))
}

/// The first of `passes` is the whole disk; so many bytes of memory are sent when they are over, while the VM runs.
#[must_use]
pub fn next(passes: &[Pass], memory: u64) -> Next {
    // Who has copied no changes yet does not know how fast they come, nor whether the host can.
    let Some(expected) = expected(passes) else { return Next::Again };
    if expected <= STANDS {
        let fits = expected + behind_memory(passes, memory) <= STANDS_WITH_MEMORY;
        return if fits { Next::HandOver } else { Next::Never };
    }
    let copied = passes.len() - 1;
    // Two that took longer than the one before are no burst any more.
    let grows = |pair: &[Pass]| pair[1].milliseconds >= pair[0].milliseconds;
    let hopeless = copied >= 3 && passes[1..].windows(2).rev().take(2).all(grows);
    if hopeless || copied >= MOST { Next::Never } else { Next::Again }
}

/// For people: why a VM cannot be handed over.
#[must_use]
pub fn hopeless(passes: &[Pass], memory: u64) -> String {
    let last = passes.last().map_or(0, |pass| pass.bytes >> 20);
    let stands = (expected(passes).unwrap_or_default() + behind_memory(passes, memory)).as_secs();
    format!(
        "the VM writes as fast as its disks are copied: {last} MiB changed during the last of {} passes, and it would \
         stand for about {stands} s; try again when it writes less or without a limit of bandwidth, or shut it down first",
        passes.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(seconds: &[f64]) -> Vec<Pass> {
        let pass = |seconds: &f64| {
            let milliseconds: u64 = Duration::from_secs_f64(*seconds).as_millis().try_into().unwrap();
            Pass { bytes: milliseconds << 20, milliseconds }
        };
        seconds.iter().map(pass).collect()
    }

    #[test]
    fn it_is_handed_over_when_what_is_left_is_little() {
        let table: [(&str, &[f64], Next); 12] = [
            ("nothing copied", &[], Next::Again),
            ("the whole disk", &[0.1], Next::Again),
            ("a guest that is idle", &[3600.0, 0.2], Next::HandOver),
            ("a small disk", &[0.1, 0.1], Next::HandOver),
            ("a small disk of a slow host", &[0.1, 0.25], Next::HandOver),
            ("a tenth is written meanwhile", &[3600.0, 360.0], Next::Again),
            ("a tenth, again", &[3600.0, 360.0, 36.0], Next::Again),
            ("a tenth, at last", &[3600.0, 360.0, 36.0, 4.0], Next::HandOver),
            ("a burst", &[100.0, 50.0, 60.0], Next::Again),
            ("a burst, and then rest", &[100.0, 50.0, 60.0, 40.0, 2.0], Next::HandOver),
            ("it writes faster than the copy goes", &[100.0, 110.0, 120.0, 130.0], Next::Never),
            ("it gets shorter, and too slowly", &[100.0, 90.0, 81.0, 73.0, 66.0, 59.0, 53.0], Next::Never),
        ];
        for (case, seconds, expected) in table {
            assert_eq!(next(&passes(seconds), 0), expected, "{case}");
        }
    }

    #[test]
    fn it_always_comes_to_an_end() {
        // Of every guest that writes at a steady rate, from none to faster than the copy.
        for percent in 0_u32..=300 {
            let mut seconds = vec![1000.0];
            let ended = loop {
                match next(&passes(&seconds), 0) {
                    Next::Again => {
                        let last = seconds[seconds.len() - 1];
                        seconds.push(last * f64::from(percent) / 100.0 + 0.05);
                    }
                    ended => break ended,
                }
                assert!(seconds.len() <= MOST + 1, "{percent} %: {seconds:?}");
            };
            let left = seconds[seconds.len() - 1] * f64::from(percent) / 100.0;
            if ended == Next::HandOver {
                assert!(left <= STANDS.as_secs_f64() + 0.3, "{percent} %: it stands for {left} s");
            } else {
                assert!(percent > 30, "{percent} % is slow enough: {seconds:?}");
            }
        }
    }

    #[test]
    fn what_is_written_while_memory_is_sent_counts() {
        const GIB: u64 = 1 << 30;
        // A disk of 100 GiB at 100 MiB/s, and a guest that writes so many MiB in a second.
        let of = |mib: u64| {
            let (whole, milliseconds) = (100 * GIB, 1_024_000);
            let first = (mib * 1024) << 20;
            let pass = |bytes: u64| Pass { bytes, milliseconds: bytes / 104_858 };
            [Pass { bytes: whole, milliseconds }, pass(first), pass(first / 100 * mib)]
        };
        for (case, mib, memory, expected) in [
            ("an idle guest with much memory", 0, 512 * GIB, Next::HandOver),
            ("a guest that writes little", 1, 8 * GIB, Next::HandOver),
            ("a guest that writes more", 5, 8 * GIB, Next::HandOver),
            ("the same with much memory", 5, 64 * GIB, Next::Never),
            ("its memory does not follow", 5, 0, Next::HandOver),
        ] {
            let passes = of(mib);
            assert_eq!(next(&passes, memory), expected, "{case}: {passes:?}");
        }
        assert!(
            hopeless(&of(5), 64 * GIB).contains("stand for about 32 s"),
            "{}",
            hopeless(&of(5), 64 * GIB)
        );
    }

    #[test]
    fn who_is_refused_is_told_how_long_it_would_stand() {
        let said = hopeless(&passes(&[100.0, 100.0, 100.0]), 0);
        assert!(said.contains("100000 MiB") && said.contains("stand for about 100 s"), "{said}");
    }
}
