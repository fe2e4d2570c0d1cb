//! Checking a repository, and naming what each damage touches.
//!
//! | level | reads | finds |
//! |---|---|---|
//! | quick | footers, index, manifests, maps | missing, cut off and swapped objects, missing chunks, an index that is wrong |
//! | normal | every byte once, checksums | any flipped bit as well |
//! | deep | the same, decrypts and names every chunk again | what a writer stored wrongly, too |
//!
//! Where the repository has a retention, each level also asks the store for each lock.
//!
//! Nothing is changed. Memory: 4 MiB reads per thread, one flag per map page.

mod index;
mod maps;
mod packs;

use serde::Serialize;

use crate::error::{BackupError, Result};
use crate::gc;
use crate::id::ObjectHash;
use crate::immutable;
use crate::index::{Index, PackInfo};
use crate::manifest;
use crate::repo::Repository;
use crate::session;

/// How hard to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Quick,
    Normal,
    Deep,
}

/// What to look at how hard. Footers, index and maps are looked at whole in any case.
#[derive(Debug, Clone, Copy)]
pub struct Scope {
    pub level: Level,
    /// Only packs stored at this time or later (milliseconds since 1970, by the store's clock): what came since the last
    /// time.
    pub since: u64,
    /// Only packs of part `0` of `1`; in so many runs all of them, whatever came and went meanwhile.
    pub part: (u32, u32),
}

impl Scope {
    /// Everything at `level`.
    #[must_use]
    pub const fn all(level: Level) -> Self {
        Self { level, since: 0, part: (0, 1) }
    }

    /// How hard to look at `pack`.
    fn level_of(&self, pack: &PackInfo) -> Level {
        // Names are hashes: their first bytes deal them out evenly, and each always to the same part.
        let name = u32::from_le_bytes(*pack.name.0.first_chunk().expect("names have 32 bytes"));
        let mine = name % self.part.1.max(1) == self.part.0 && pack.modified >= self.since;
        if mine { self.level } else { Level::Quick }
    }
}

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub object: String,
    pub detail: String,
    /// Backups (`name@id`) that cannot be restored in full because of it.
    pub touches: Vec<String>,
}

/// What was checked and found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    pub backups: u64,
    pub packs: u64,
    /// Packs of which every byte was read.
    pub packs_read: u64,
    pub chunks: u64,
    pub pages: u64,
    /// Stored bytes that were read.
    pub bytes_read: u64,
    /// Objects whose lock was looked at.
    pub locks: u64,
    pub problems: Vec<Problem>,
    /// Packs of which something cannot be read, by name: what [`gc::set_aside`] takes.
    pub damaged_packs: Vec<ObjectHash>,
}

impl Report {
    /// Names of the disks of which some backup cannot be restored in full.
    #[must_use]
    pub fn touched_disks(&self) -> Vec<String> {
        let touched = self.problems.iter().flat_map(|problem| &problem.touches);
        let mut disks: Vec<String> =
            touched.filter_map(|backup| Some(backup.rsplit_once('@')?.0.to_owned())).collect();
        disks.sort_unstable();
        disks.dedup();
        disks
    }

    fn add(&mut self, error: &BackupError) {
        let (object, detail) = match error {
            BackupError::Damaged { object, detail } => (object.clone(), detail.clone()),
            BackupError::Missing { missing, .. } => (missing.clone(), "it is missing".to_owned()),
            other => ("repository".to_owned(), crate::error::chain(other)),
        };
        if !self.problems.iter().any(|known| known.object == object && known.detail == detail) {
            self.problems.push(Problem { object, detail, touches: Vec::new() });
        }
    }
}

/// Checks everything there is. Errors are those of the store; damage is in the report.
pub fn verify(repo: &Repository, level: Level, threads: usize) -> Result<Report> {
    verify_part(repo, &Scope::all(level), threads)
}

/// The same, with the packs of `scope` looked at harder than the others.
pub fn verify_part(repo: &Repository, scope: &Scope, threads: usize) -> Result<Report> {
    repo.keyring().need_own("verifying")?;
    let mut report = Report::default();
    // Before the index: then it has all that they reach. One that is committed while this goes on reaches packs that came
    // after the index was read, and is looked at the next time.
    let (manifests, unreadable) = manifest::list(repo)?;
    let index = Index::load(repo)?;
    for problem in index.problems() {
        report.add(problem);
    }
    check_small_objects(repo, &mut report)?;
    let bad = packs::check(repo, &index, (scope, threads), &mut report)?;
    for problem in &unreadable {
        report.add(problem);
    }
    maps::check(repo, &index, &bad, &manifests, &mut report)?;
    report.damaged_packs = bad.into_packs();
    let (locks, problems) = immutable::check(repo, index.packs())?;
    for problem in &problems {
        report.add(problem);
    }
    report.locks = locks;
    report.backups = manifests.len() as u64;
    report.packs = index.packs().len() as u64;
    Ok(report)
}

/// Key slots, plans and leases: small, and read whole.
fn check_small_objects(repo: &Repository, report: &mut Report) -> Result<()> {
    for info in repo.store().list("keys/")? {
        let body = match repo.store().read(&info.key, 1 << 20).map_err(BackupError::from) {
            Err(error @ BackupError::Damaged { .. }) => {
                report.add(&error);
                continue;
            }
            other => other?,
        };
        if let Err(detail) = crate::keys::Slot::parse(&body) {
            report.add(&BackupError::damaged(format!("key slot {}", info.key), detail));
        }
    }
    match gc::forged(repo) {
        Err(error @ BackupError::Damaged { .. }) => report.add(&error),
        forged => {
            for key in forged? {
                let detail = "it was not made with the repository's own key; `gc` removes it";
                report.add(&BackupError::damaged(format!("plan {key}"), detail));
            }
        }
    }
    for problem in session::check(repo)? {
        report.add(&problem);
    }
    Ok(())
}
