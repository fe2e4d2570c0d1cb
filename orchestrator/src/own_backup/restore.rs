//! Bringing an orchestrator back, onto a machine that has nothing, with the repository, its key and the master key.
//!
//! The hosts went on since the backup was made, so the store is settled before anything runs on it:
//! * operations that were under way are left as they are: what they were about has ended one way or the other, and
//!   resuming them would do to VMs of today what was wanted then;
//! * the fencing epoch goes ahead of any that the lost orchestrator can have reached, so that hosts listen to this one
//!   and to it no more;
//! * the certificate that each host has by now is taken for its own once, when our authority signed it, and renewed;
//! * sessions and join tokens of then are worth nothing now, and waves of imports wait for somebody to go on with them.
//!
//! The commit point is the rename of the store's folder: before it the data folder has no store, and restoring again
//! begins anew.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use time::OffsetDateTime;
use xenith_backup::index::Index;
use xenith_backup::manifest::Manifest;
use xenith_backup::reader::BackupDisk;
use xenith_backup::{BackupError, Repository, gc};
use xenith_orchestrator_store::StoreError;
use xenith_orchestrator_types::wave::WaveStatus;

use super::image::unpack;
use super::{OwnBackupError, TAG};
use crate::authority::Certificates;
use crate::db::Db;
use crate::model::HostRecord;
use crate::secret::{MasterKey, Vault};

/// Where a store is until it is settled.
const PARTIAL: &str = "restoring";
const STORE: &str = "store";
pub const MASTER_KEY: &str = "master.key";

/// Which of the backups in a repository.
#[derive(Debug, Clone, Default)]
pub struct Which {
    /// The first digits of its id; the newest without.
    pub backup: Option<String>,
    /// The disk's name, where orchestrators of several installations are in the repository.
    pub disk: Option<String>,
}

/// What was brought back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    pub backup: String,
    pub disk: String,
    pub created: OffsetDateTime,
    /// Operations that were under way then.
    pub abandoned: usize,
}

fn refused<T>(text: impl Into<String>) -> Result<T, OwnBackupError> {
    Err(OwnBackupError::Refused(text.into()))
}

/// Restores into the data folder, which must have no store. Without a key given, the folder must have it.
pub async fn restore(
    repo: Repository,
    (which, key): (Which, Option<MasterKey>),
    data: &Path,
) -> Result<Restored, OwnBackupError> {
    let key = key_for(data, key)?;
    let (folder, wanted) = (data.to_owned(), which);
    let unpacked = tokio::task::spawn_blocking(move || bring_in(&repo, &wanted, &folder)).await;
    let (backup, disk, created) =
        unpacked.map_err(|error| OwnBackupError::Refused(format!("it was broken off: {error}")))??;
    let abandoned = settle(&data.join(PARTIAL), key, created).await?;
    let folder = data.to_owned();
    let moved = tokio::task::spawn_blocking(move || put_in_place(&folder)).await;
    moved.map_err(|error| OwnBackupError::Refused(format!("it was broken off: {error}")))??;
    Ok(Restored { backup, disk, created, abandoned })
}

fn bring_in(
    repo: &Repository,
    which: &Which,
    data: &Path,
) -> Result<(String, String, OffsetDateTime), OwnBackupError> {
    let (manifests, _) = gc::visible(repo)?;
    let (manifest, name) = choose(&manifests, which)?;
    let record = manifest.disk(&name).ok_or_else(|| BackupError::NotFound { what: name.clone() })?;
    let disk = BackupDisk::new(repo, Arc::new(Index::load(repo)?), record);
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| OwnBackupError::Io { action, path, source }
    };
    let partial = data.join(PARTIAL);
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(failed("delete", &partial))?;
    }
    fs::create_dir_all(&partial).map_err(failed("create", &partial))?;
    unpack(&disk, &partial)?;
    let seconds = i64::try_from(manifest.created / 1000).unwrap_or(0);
    let created = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    Ok((manifest.id.to_string(), name, created))
}

/// The master key, when there is exactly one and nothing is in the way.
fn key_for(data: &Path, given: Option<MasterKey>) -> Result<MasterKey, OwnBackupError> {
    let store = data.join(STORE);
    if store.exists() {
        let text = format!(
            "{} is there already; restore into another folder, or move it away first",
            store.display()
        );
        return refused(text);
    }
    let path = data.join(MASTER_KEY);
    let there = if path.exists() {
        let read = |source| OwnBackupError::Io { action: "read", path: path.clone(), source };
        let key = MasterKey::from_bytes(&fs::read(&path).map_err(read)?);
        Some(key.ok_or_else(|| OwnBackupError::Refused(format!("{} is no master key", path.display())))?)
    } else {
        None
    };
    match (given, there) {
        (Some(given), Some(there)) if given != there => {
            refused(format!("{} is another key than the one given; move it away first", path.display()))
        }
        (Some(key), _) | (None, Some(key)) => Ok(key),
        (None, None) => refused(format!(
            "the master key is not in the backup: give what `xenith-orchestrator master-key` printed at the time, or put \
             the file at {}",
            path.display()
        )),
    }
}

/// The backup, and its disk.
fn choose<'a>(manifests: &'a [Manifest], which: &Which) -> Result<(&'a Manifest, String), OwnBackupError> {
    let prefix = format!("{TAG}.");
    let disk = |manifest: &Manifest| {
        let ours = |name: &&String| {
            name.starts_with(&prefix) && which.disk.as_ref().is_none_or(|wanted| wanted == *name)
        };
        manifest.disks.iter().map(|disk| &disk.name).find(ours).cloned()
    };
    let wanted = |manifest: &Manifest| {
        which.backup.as_ref().is_none_or(|backup| manifest.id.to_string().starts_with(backup.as_str()))
    };
    let mut found: Vec<(&Manifest, String)> = manifests
        .iter()
        .filter(|manifest| wanted(manifest))
        .filter_map(|manifest| Some((manifest, disk(manifest)?)))
        .collect();
    let mut names: Vec<&String> = found.iter().map(|(_, name)| name).collect();
    names.sort();
    names.dedup();
    if names.len() > 1 {
        let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
        let text =
            format!("orchestrators of several installations are there: {}; name one", names.join(", "));
        return Err(OwnBackupError::Refused(text));
    }
    if which.backup.is_some() && found.len() > 1 {
        return Err(OwnBackupError::Refused("several backups begin with these digits; give more".to_owned()));
    }
    // The newest by its number: a clock that was ahead for a day must not bring that day back for ever.
    found.sort_by_key(|(manifest, name)| manifest.disk(name).map_or(0, |disk| disk.number));
    found.pop().ok_or_else(|| {
        let text = "there is no backup of an orchestrator of this kind in the repository".to_owned();
        OwnBackupError::Refused(text)
    })
}

/// Makes a store of then fit for now.
async fn settle(partial: &Path, key: MasterKey, created: OffsetDateTime) -> Result<usize, OwnBackupError> {
    let (folder, key_path) = (partial.join(STORE), partial.join(MASTER_KEY));
    let opened = tokio::task::spawn_blocking(move || {
        key.write(&key_path)?;
        Ok::<_, OwnBackupError>((Vault::open(&key_path)?, Db::open(&folder)?))
    });
    let (vault, db) =
        opened.await.map_err(|error| OwnBackupError::Refused(format!("it was broken off: {error}")))??;
    // Another installation's key opens nothing: that is found before anything is in place.
    drop(Certificates::open(db.clone(), &vault).await?);
    let abandoned = settle_in(&db, created).await?;
    // Closing waits for the writer.
    tokio::task::spawn_blocking(move || drop(db))
        .await
        .map_err(|error| OwnBackupError::Refused(format!("it was broken off: {error}")))?;
    Ok(abandoned)
}

async fn settle_in(db: &Db, created: OffsetDateTime) -> Result<usize, StoreError> {
    let reason = "it was under way when the backup was made that this orchestrator was restored from";
    let abandoned = xenith_orchestrator_saga::abandon_all(&db.store, reason).await?;
    // An orchestrator takes one epoch a start, and does not start more often than once a second.
    let passed = (OffsetDateTime::now_utc() - created).whole_seconds().unsigned_abs();
    xenith_orchestrator_saga::raise_epoch(&db.store, passed + 1000).await?;
    for host in db.hosts.all().await?.0 {
        let restored = |host: &mut HostRecord| {
            host.any_certificate = true;
            (host.held_by, host.disarmed) = (None, false);
        };
        db.hosts.modify(&host.key, restored).await?;
    }
    for vm in db.vms.all().await?.0.iter().filter(|vm| vm.value.held_by.is_some()) {
        db.vms.modify(&vm.key, |vm| vm.held_by = None).await?;
    }
    // Whatever was moved since is not known here: hosts are told nothing until somebody turns it on again.
    for pool in db.ha_pools.all().await?.0 {
        db.ha_pools.delete(&pool).await?;
    }
    for host in db.ha_hosts.all().await?.0 {
        db.ha_hosts.modify(&host.key, |host| (host.rests, host.believed) = (true, None)).await?;
    }
    for run in db.live_runs.all().await?.0 {
        db.backup_runs.modify(&run.value, |run| run.cancelled_by = Some(reason.to_owned())).await?;
    }
    for wave in db.waves.all().await?.0.iter().filter(|wave| wave.value.status == WaveStatus::Running) {
        db.waves.modify(&wave.key, |wave| wave.status = WaveStatus::Paused).await?;
    }
    // Somebody may have signed out since, or spent the token.
    for session in db.sessions.all().await?.0 {
        db.sessions.delete(&session).await?;
    }
    for join in db.joins.all().await?.0 {
        db.joins.delete(&join).await?;
    }
    Ok(abandoned)
}

fn put_in_place(data: &Path) -> Result<(), OwnBackupError> {
    let partial = data.join(PARTIAL);
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| OwnBackupError::Io { action, path, source }
    };
    let synced = || File::open(data).and_then(|folder| folder.sync_all()).map_err(failed("write", data));
    let key = data.join(MASTER_KEY);
    fs::rename(partial.join(MASTER_KEY), &key).map_err(failed("put in place", &key))?;
    synced()?;
    // The commit point.
    let store = data.join(STORE);
    fs::rename(partial.join(STORE), &store).map_err(failed("put in place", &store))?;
    synced()?;
    fs::remove_dir_all(&partial).map_err(failed("delete", &partial))
}

#[cfg(test)]
mod tests {
    use xenith_backup::chunk::Chunking;
    use xenith_backup::id::BackupId;
    use xenith_backup::manifest::{DiskRecord, DiskStats};

    use super::*;

    fn made(created: u64, number: u64) -> Manifest {
        let disk = DiskRecord {
            name: format!("{TAG}.0123456789ab"),
            size: 0,
            number,
            root: None,
            chunking: Chunking::default(),
            stats: DiskStats::default(),
            whole_because: None,
        };
        Manifest {
            id: BackupId::new(created),
            created,
            host: String::new(),
            tags: vec![],
            disks: vec![disk],
            origin: None,
            attachments: vec![],
        }
    }

    #[test]
    fn the_newest_is_the_last_that_was_made_whatever_its_date() {
        // As they are listed: by date.
        let manifests = [made(10, 1), made(30, 3), made(9_000, 2)];
        let which = Which { backup: None, disk: None };
        assert_eq!(choose(&manifests, &which).unwrap().0.id, manifests[1].id);
    }
}
