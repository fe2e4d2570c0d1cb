//! `bench`: how fast this machine is, without a corpus or another tool.
//!
//! The disk is made up: half of each 64 KiB is noise, half is text, and every fourth is zeros. Compare machines
//! and folders with it, not tools; `benches/backup` compares tools.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use serde::Serialize;
use xenith_backup::chunk::Chunking;
use xenith_backup::crypto::Secret32;
use xenith_backup::index::Index;
use xenith_backup::ingest::{self, DiskJob, Options, Progress};
use xenith_backup::keys::{Credential, KdfCost, Keyring};
use xenith_backup::reader::BackupDisk;
use xenith_backup::restore::{RestoreProgress, Target, restore};
use xenith_backup::store::{LocalStore, MemoryStore, ObjectStore};
use xenith_backup::verify::{Level, verify};
use xenith_backup::{Repository, manifest::Manifest};
use xenith_common_block::{BlockError, BlockSource, NullSink};

use crate::cli::Output;

const UNIT: u64 = 64 * 1024;

/// A disk that is computed when it is read.
struct MadeUp {
    size: u64,
    /// Units below this number differ from the first version.
    changed: u64,
}

impl BlockSource for MadeUp {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), BlockError> {
        BlockError::check_bounds(offset, buf.len() as u64, self.size)?;
        let mut unit = vec![0; UNIT as usize];
        let (mut at, end) = (offset, offset + buf.len() as u64);
        while at < end {
            let number = at / UNIT;
            let stop = ((number + 1) * UNIT).min(end);
            self.fill(number, &mut unit);
            let part = &unit[(at % UNIT) as usize..(at % UNIT + stop - at) as usize];
            buf[(at - offset) as usize..(stop - offset) as usize].copy_from_slice(part);
            at = stop;
        }
        Ok(())
    }
}

impl MadeUp {
    fn fill(&self, number: u64, unit: &mut [u8]) {
        if number % 4 == 3 {
            unit.fill(0);
            return;
        }
        // A generator that costs nothing next to hashing (xorshift64*).
        let mut state =
            (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(u64::from(number < self.changed));
        let (noise, text) = unit.split_at_mut((UNIT / 2) as usize);
        for word in noise.chunks_exact_mut(8) {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            word.copy_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
        }
        for (at, line) in text.chunks_exact_mut(32).enumerate() {
            line.copy_from_slice(b"a line of a log, number        \n");
            line[24..28].copy_from_slice(&((number as u32) ^ (at as u32 / 7)).to_le_bytes());
        }
    }
}

#[derive(Serialize)]
struct Line {
    what: &'static str,
    seconds: f64,
    /// Of disk, whether it had to be read or not.
    mib_per_second: f64,
    read_mib: u64,
    stored_mib: u64,
}

pub fn run(folder: Option<&Path>, size: u64, output: Output) -> anyhow::Result<ExitCode> {
    let place = folder.map(|folder| folder.join(format!(".xenith-bench-{}", std::process::id())));
    let store: Arc<dyn ObjectStore> = match &place {
        None => Arc::new(MemoryStore::new()),
        Some(place) => Arc::new(
            LocalStore::create_root(place).with_context(|| format!("cannot use {}", place.display()))?,
        ),
    };
    let measured = measure(store, size << 20);
    if let Some(place) = &place {
        std::fs::remove_dir_all(place).with_context(|| format!("cannot remove {}", place.display()))?;
    }
    let lines = measured?;
    if output == Output::Json {
        println!("{}", serde_json::to_string_pretty(&lines)?);
        return Ok(ExitCode::SUCCESS);
    }
    for line in lines {
        println!(
            "{:<12} {:>7.2} s {:>8.0} MiB/s  {:>6} MiB read {:>6} MiB stored",
            line.what, line.seconds, line.mib_per_second, line.read_mib, line.stored_mib
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(store: Arc<dyn ObjectStore>, size: u64) -> anyhow::Result<Vec<Line>> {
    let credential = Credential::KeyFile(Secret32::random());
    let ring = Keyring::create(Chunking::default());
    let repo = Repository::init(store, &ring, &credential, KdfCost::DEFAULT)?;
    let mut lines = Vec::new();
    let mut note = |what, began: Instant, (read, stored): (u64, u64)| {
        let seconds = began.elapsed().as_secs_f64();
        let mib_per_second = (size >> 20) as f64 / seconds.max(1e-9);
        lines.push(Line { what, seconds, mib_per_second, read_mib: read >> 20, stored_mib: stored >> 20 });
    };
    let back_up = |changed: u64| -> anyhow::Result<Manifest> {
        let source = MadeUp { size, changed };
        let job = DiskJob { name: "bench".to_owned(), source: &source, changed: None.into() };
        Ok(ingest::backup(&repo, vec![job], &Options::default(), &Progress::default())?)
    };
    let mut last = None;
    for (what, changed) in [("full", 0), ("again", size / UNIT / 50)] {
        let began = Instant::now();
        let manifest = back_up(changed)?;
        note(what, began, (manifest.disks[0].stats.read, manifest.disks[0].stats.stored));
        last = Some(manifest);
    }
    let manifest = last.context("nothing was backed up")?;
    let disk = BackupDisk::new(&repo, Arc::new(Index::load(&repo)?), &manifest.disks[0]);
    let workers = std::thread::available_parallelism().map_or(2, usize::from) + 1;
    let began = Instant::now();
    restore(&disk, &NullSink(size), Target::Blank, workers, &RestoreProgress::default())?;
    note("restore", began, (0, 0));
    let began = Instant::now();
    let report = verify(&repo, Level::Deep, workers)?;
    anyhow::ensure!(report.problems.is_empty(), "the repository just made is damaged: {:?}", report.problems);
    note("verify", began, (report.bytes_read, 0));
    Ok(lines)
}
