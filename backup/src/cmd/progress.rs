//! A line on the terminal that shows how far the work is; nothing where nobody watches.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use xenith_backup::ingest::Progress;
use xenith_backup::restore::RestoreProgress;

/// Between two lines.
const STEP: Duration = Duration::from_millis(500);

fn mib(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed) >> 20
}

/// Of a backup or a copy.
pub fn of_run(progress: &Progress) -> String {
    format!(
        "{} of {} MiB, {} read, {} new, {} stored",
        mib(&progress.done),
        mib(&progress.total),
        mib(&progress.read),
        mib(&progress.new_bytes),
        mib(&progress.stored)
    )
}

/// Of a restore of `total` bytes.
pub fn of_restore(progress: &RestoreProgress, total: u64) -> String {
    format!("{} of {} MiB, {} written", mib(&progress.done), total >> 20, mib(&progress.written))
}

/// Runs `work` and shows `line` meanwhile.
pub fn show<T: Send>(line: &dyn Fn() -> String, work: impl FnOnce() -> T + Send) -> T {
    if !std::io::stderr().is_terminal() {
        return work();
    }
    std::thread::scope(|scope| {
        let began = Instant::now();
        let watcher = std::thread::current();
        let worker = scope.spawn(move || {
            let result = work();
            watcher.unpark();
            result
        });
        while !worker.is_finished() {
            eprint!("\r{}, {} s ", line(), began.elapsed().as_secs());
            std::thread::park_timeout(STEP);
        }
        eprintln!("\r{}, {} s ", line(), began.elapsed().as_secs());
        match worker.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
