//! Backups that changed far more than usual: what encrypts a disk shows here first.
//!
//! Two numbers of each backup are there anyway: how much of the disk was new, and how far that could be compressed. A
//! jump in the first may be an upgrade; with the second at "not at all" it looks like encryption. It is a signal, not a
//! verdict: it raises an event, and the rules on what to keep are not applied to the VM until somebody has looked, so
//! that the good backups do not rotate out meanwhile.

use xenith_hypervisor_agent_types::backup::BackupFacts;

/// Backups before that a rate is compared with.
const HISTORY: usize = 10;
/// Backups that a judgement looks at: the newest, those before it, and the one that may be the first of all.
pub const LOOKED_AT: usize = HISTORY + 2;
/// With fewer there is no "usual".
const LEAST_HISTORY: usize = 3;
/// Smaller changes are nobody's attack.
const LEAST_BYTES: u64 = 64 << 20;
/// Of the disk.
const LEAST_RATE: f64 = 0.10;
/// Times the usual.
const JUMP: f64 = 5.0;
/// Stored of new bytes: what is encrypted (or packed already) stays as it is.
const DENSE: f64 = 0.95;
/// Usually at least this much sparser.
const DENSER_BY: f64 = 0.15;

#[derive(Debug, Clone, Copy, PartialEq)]
struct Sample {
    /// New bytes of the disk's.
    rate: f64,
    /// Stored bytes of the new.
    density: f64,
    new_bytes: u64,
}

impl Sample {
    fn of(facts: &BackupFacts) -> Self {
        let sum = |of: fn(&xenith_hypervisor_agent_types::backup::BackupDiskFacts) -> u64| -> u64 {
            facts.disks.iter().map(of).sum()
        };
        let (size, new_bytes, stored) = (sum(|d| d.size), sum(|d| d.new_bytes), sum(|d| d.stored));
        Self {
            rate: new_bytes as f64 / size.max(1) as f64,
            density: stored as f64 / new_bytes.max(1) as f64,
            new_bytes,
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// What is odd about a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Odd {
    /// Far more than usual.
    Much,
    /// And it cannot be compressed, where what changed before could.
    LooksEncrypted,
}

/// Judges the newest of a VM's backups in one repository by those before it; `backups` from new to old.
pub fn judge(backups: &[&BackupFacts]) -> Option<Odd> {
    let (newest, before) = backups.split_first()?;
    // The first of all is new to the last byte and says nothing of what is usual.
    let before = &before[..before.len().saturating_sub(1).min(HISTORY)];
    if before.len() < LEAST_HISTORY {
        return None;
    }
    let newest = Sample::of(newest);
    let before: Vec<Sample> = before.iter().map(|facts| Sample::of(facts)).collect();
    let usual = median(before.iter().map(|sample| sample.rate).collect());
    if newest.new_bytes < LEAST_BYTES || newest.rate < LEAST_RATE || newest.rate < usual * JUMP {
        return None;
    }
    // Of those that changed at all.
    let dense = before.iter().filter(|sample| sample.new_bytes > 0).map(|sample| sample.density);
    let usual_density = median(dense.collect());
    let encrypted = newest.density >= DENSE && usual_density + DENSER_BY <= newest.density;
    Some(if encrypted { Odd::LooksEncrypted } else { Odd::Much })
}

#[cfg(test)]
mod tests {
    use xenith_hypervisor_agent_types::backup::BackupDiskFacts;

    use super::*;

    const GIB: u64 = 1 << 30;

    /// MiB that are new of 1 GiB, and stored of these.
    fn backup(new: u64, stored: u64) -> BackupFacts {
        let disk = BackupDiskFacts {
            name: "vm.xvda.0".to_owned(),
            size: GIB,
            read: new << 20,
            new_bytes: new << 20,
            stored: stored << 20,
            millis: 1,
            whole_because: None,
        };
        BackupFacts {
            id: String::new(),
            created: 0,
            host: String::new(),
            tags: vec![],
            disks: vec![disk],
            attachments: vec![],
            held: false,
        }
    }

    #[test]
    fn what_is_odd() {
        let first = (900, 400);
        for (name, newest, before, expected) in [
            ("no history", (500, 500), vec![first, (5, 2), (5, 2)], None),
            ("as always", (6, 3), vec![first, (5, 2), (5, 2), (5, 2)], None),
            ("small", (60, 60), vec![first, (1, 1), (1, 1), (1, 1)], None),
            ("an upgrade", (300, 120), vec![first, (5, 2), (6, 2), (4, 2)], Some(Odd::Much)),
            ("encrypted", (300, 300), vec![first, (5, 2), (6, 2), (4, 2)], Some(Odd::LooksEncrypted)),
            ("videos, as always dense", (300, 300), vec![first, (5, 5), (6, 6), (4, 4)], Some(Odd::Much)),
            ("a busy database", (300, 120), vec![first, (200, 90), (250, 90), (190, 80)], None),
            (
                "nothing changed before",
                (300, 300),
                vec![first, (0, 0), (0, 0), (0, 0)],
                Some(Odd::LooksEncrypted),
            ),
        ] {
            let newest = backup(newest.0, newest.1);
            let before: Vec<BackupFacts> =
                before.into_iter().map(|(new, stored)| backup(new, stored)).collect();
            let all: Vec<&BackupFacts> = std::iter::once(&newest).chain(before.iter().rev()).collect();
            assert_eq!(judge(&all), expected, "{name}");
        }
    }
}
