//! Watches the store: tells when it could not write for a while, and keeps checkpoints, which are what a damaged
//! store is replaced with.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use time::macros::format_description;
use xenith_orchestrator_store::{Health, RocksStore};
use xenith_orchestrator_types::event::Severity;

use crate::app::App;
use crate::events::Happened;

/// At the start, and then so often.
pub const EVERY: Duration = Duration::from_secs(6 * 3600);
/// They share their files with the store for as long as that has them, so a day of them costs little.
const KEPT: usize = 4;
/// Of one that is not whole yet.
const NEW: &str = "new";

/// Where checkpoints of a store go.
#[derive(Clone)]
pub struct Checkpoints {
    pub store: Arc<RocksStore>,
    pub folder: PathBuf,
}

impl Checkpoints {
    /// Makes one and drops the oldest. Blocks.
    fn make(&self) -> io::Result<PathBuf> {
        fs::create_dir_all(&self.folder)?;
        let (whole, broken) = self.list()?;
        for left in broken {
            if left.is_dir() { fs::remove_dir_all(left)? } else { fs::remove_file(left)? }
        }
        let format = format_description!("[year][month][day]T[hour][minute][second]_[subsecond digits:3]Z");
        let name = OffsetDateTime::now_utc().format(format).map_err(io::Error::other)?;
        let (target, new) = (self.folder.join(&name), self.folder.join(format!("{name}.{NEW}")));
        if target.exists() {
            return Ok(target);
        }
        self.store.checkpoint(&new).map_err(io::Error::other)?;
        // The commit point: a folder with this name is whole.
        fs::rename(&new, &target)?;
        fs::File::open(&self.folder)?.sync_all()?;
        let old = (whole.len() + 1).saturating_sub(KEPT);
        for left in whole.into_iter().take(old) {
            fs::remove_dir_all(left)?;
        }
        Ok(target)
    }

    /// Where a checkpoint lies that goes into a backup, and is deleted then.
    #[must_use]
    pub fn passing(&self) -> PathBuf {
        self.folder.with_file_name("own-backup")
    }

    /// Makes one at `target`, below [`Self::passing`]. Blocks.
    pub fn make_passing(&self, target: &Path) -> io::Result<()> {
        fs::create_dir_all(self.passing())?;
        match fs::remove_dir_all(target) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.store.checkpoint(target).map_err(io::Error::other)
    }

    /// Those that are whole, oldest first, and those that are not.
    fn list(&self) -> io::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
        let entries: Vec<PathBuf> =
            fs::read_dir(&self.folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        let is_new = |path: &Path| path.extension().is_some_and(|extension| extension == NEW);
        let (broken, mut whole): (Vec<_>, Vec<_>) = entries.into_iter().partition(|path| is_new(path));
        whole.sort();
        Ok((whole, broken))
    }
}

pub async fn checkpoint(app: &App) {
    let Some(checkpoints) = app.db.checkpoints.clone().filter(|_| app.read_only().is_none()) else { return };
    match tokio::task::spawn_blocking(move || checkpoints.make()).await {
        Ok(Ok(path)) => tracing::info!(path = %path.display(), "the store has a checkpoint"),
        Ok(Err(error)) => tracing::warn!(%error, "no checkpoint of the store could be made"),
        Err(error) => tracing::error!(%error, "making a checkpoint of the store was broken off"),
    }
}

/// Nothing can be written while the store is read-only: what is told of it then is `system.health`, `/readyz` and
/// `/metrics`. When it is over, the event log is told.
pub async fn watch_health(app: &App) {
    let mut health = app.db.store.health();
    let mut since: Option<(Instant, String)> = None;
    loop {
        let now = match &*health.borrow_and_update() {
            Health::Writable => None,
            Health::ReadOnly { reason, .. } => Some(reason.clone()),
        };
        match (now, &since) {
            (Some(reason), None) => {
                tracing::error!(reason, "the store is read-only");
                since = Some((Instant::now(), reason));
            }
            (None, Some((begun, reason))) => {
                let seconds = begun.elapsed().as_secs();
                let message = format!("the store writes again; for {seconds} s it did not: {reason}");
                tracing::info!(message);
                let (severity, kind, subject) = (Severity::Error, "store.writable", "system".to_owned());
                app.events.note(Happened { severity, kind, subject, message, pool: None }).await;
                since = None;
            }
            _ => {}
        }
        if health.changed().await.is_err() {
            return;
        }
    }
}
