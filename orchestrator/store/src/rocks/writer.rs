//! The writer thread: group commit, and what happens when a write fails. See [`super`] for the reasons.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use rocksdb::{DB, WriteBatch, WriteOptions};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{Shared, disk, reader};
use crate::error::show_key;
use crate::transaction::Write;
use crate::{Health, Keyspace, Revision, StoreError, Transaction};

/// Most commits in one batch. Beyond about a thousand the sync no longer dominates, and a larger group only
/// makes the first in it wait longer.
pub(super) const MAX_GROUP: usize = 1024;
/// Most bytes in one batch, for the same reason.
const MAX_GROUP_BYTES: usize = 8 << 20;
/// Most commits waiting; the next one waits for a place. Four groups: the writer is never idle, and a caller
/// learns of a slow disk within a few syncs.
const MAX_WAITING: usize = 4 * MAX_GROUP;

type Answer = oneshot::Sender<Result<Revision, StoreError>>;

struct Request {
    transaction: Transaction,
    answer: Answer,
    _place: OwnedSemaphorePermit,
}

/// Why a group was not written.
enum Cause {
    /// It was not tried.
    NoRoom,
    Failed(String),
}

/// Where commits are put. The queue is std's, as the thread waits with a timeout; the semaphore bounds it.
pub(super) struct Inbox {
    requests: Sender<Request>,
    places: Arc<Semaphore>,
}

impl Inbox {
    pub async fn send(&self, transaction: Transaction, answer: Answer) -> Result<(), StoreError> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let request = Request { transaction, answer, _place: place };
        self.requests.send(request).map_err(|_| StoreError::Closed)
    }
}

/// Starts the thread. It ends when the inbox is dropped.
pub(super) fn start(shared: Arc<Shared>) -> Result<(Inbox, JoinHandle<()>), StoreError> {
    let (requests, receiver) = channel();
    let path = shared.path.clone();
    let mut writer = Writer { shared, requests: receiver, stopped: None };
    let thread = std::thread::Builder::new()
        .name("store-writer".to_owned())
        .spawn(move || writer.run())
        .map_err(|e| disk::io_error("start the writer of", &path, e))?;
    Ok((Inbox { requests, places: Arc::new(Semaphore::new(MAX_WAITING)) }, thread))
}

/// Why nothing is written now.
enum Stopped {
    /// Tries again at this time.
    Full {
        next_probe: Instant,
    },
    Failed {
        cause: String,
    },
}

struct Writer {
    shared: Arc<Shared>,
    requests: Receiver<Request>,
    stopped: Option<Stopped>,
}

/// The group as it is put together.
struct Group {
    batch: WriteBatch,
    /// What the group does to keys, for the preconditions of its later members.
    touched: HashMap<(Keyspace, Bytes), Option<Revision>>,
    commits: Vec<(Revision, Vec<Write>)>,
    answers: Vec<(Answer, Revision)>,
    newest: Revision,
}

/// A group that was not written, and who waits for word of it.
struct Unwritten {
    cause: Cause,
    answers: Vec<Answer>,
}

impl Writer {
    fn run(&mut self) {
        loop {
            let patience = match &self.stopped {
                Some(Stopped::Full { next_probe }) => next_probe.saturating_duration_since(Instant::now()),
                _ => self.shared.options.space_probe_interval,
            };
            match self.requests.recv_timeout(patience) {
                Ok(first) => self.serve(first),
                // Nobody commits, but somebody else may fill the disk.
                Err(RecvTimeoutError::Timeout) if self.stopped.is_none() => {
                    if self.is_out_of_room() {
                        let _nobody_asked = self.stop(Cause::NoRoom);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.try_to_heal();
        }
    }

    fn serve(&mut self, first: Request) {
        if let Some(stopped) = &self.stopped {
            let error = self.refusal(stopped);
            let _ = first.answer.send(Err(error));
            return;
        }
        let outcome = {
            let guard = self.shared.db();
            match guard.as_ref() {
                _ if self.is_out_of_room() => {
                    Err(Unwritten { cause: Cause::NoRoom, answers: vec![first.answer] })
                }
                Some(db) => self.commit_group(db, first),
                None => {
                    let cause = Cause::Failed("the database is closed".to_owned());
                    Err(Unwritten { cause, answers: vec![first.answer] })
                }
            }
        };
        if let Err(Unwritten { cause, answers }) = outcome {
            let error = self.stop(cause);
            // Afterwards: who is told that the disk is full finds that the store says so, too.
            for answer in answers {
                let _ = answer.send(Err(error()));
            }
        }
    }

    fn is_out_of_room(&self) -> bool {
        // Where the system does not say, the write will.
        let room = disk::check_room(&self.shared.path, self.shared.options.keep_free_bytes);
        matches!(room, Err(StoreError::StorageFull { .. }))
    }

    fn refusal(&self, stopped: &Stopped) -> StoreError {
        match stopped {
            Stopped::Full { .. } => self.shared.full(),
            Stopped::Failed { cause } => {
                StoreError::Failed { path: self.shared.path.clone(), source: cause.as_str().into() }
            }
        }
    }

    /// Takes what waits, writes it with one sync, publishes, answers. The write is the commit point.
    fn commit_group(&self, db: &DB, first: Request) -> Result<(), Unwritten> {
        let mut group = Group {
            batch: WriteBatch::default(),
            touched: HashMap::new(),
            commits: Vec::new(),
            answers: Vec::new(),
            newest: self.shared.feed.latest(),
        };
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(request) = next {
            bytes += request.transaction.bytes();
            self.add(db, &mut group, request);
            let room = group.answers.len() < MAX_GROUP && bytes < MAX_GROUP_BYTES;
            next = if room { self.requests.try_recv().ok() } else { None };
        }
        if group.commits.is_empty() {
            answer_all(group.answers);
            return Ok(());
        }
        group.batch.put(disk::REVISION_KEY, group.newest.0.to_be_bytes());
        let mut options = WriteOptions::default();
        options.set_sync(true);
        match db.write_opt(group.batch, &options) {
            Ok(()) => {
                // Publish before answering: who watches from the revision it was given misses nothing.
                self.shared.feed.publish(group.commits);
                answer_all(group.answers);
                Ok(())
            }
            Err(error) => {
                let answers = group.answers.into_iter().map(|(answer, _)| answer).collect();
                Err(Unwritten { cause: Cause::Failed(error.into_string()), answers })
            }
        }
    }

    /// Checks one transaction and adds it to the group, or answers it.
    fn add(&self, db: &DB, group: &mut Group, request: Request) {
        match self.check(db, group, &request.transaction) {
            Err(error) => {
                let _ = request.answer.send(Err(error));
            }
            Ok(()) => {
                let writes = request.transaction.writes;
                if !writes.is_empty() {
                    group.newest = Revision(group.newest.0 + 1);
                    put_writes(db, group, &writes);
                    group.commits.push((group.newest, writes));
                }
                group.answers.push((request.answer, group.newest));
            }
        }
    }

    fn check(&self, db: &DB, group: &Group, transaction: &Transaction) -> Result<(), StoreError> {
        for write in &transaction.writes {
            reader::family(db, write.keyspace)?;
        }
        for precondition in &transaction.preconditions {
            let touched = group.touched.get(&(precondition.keyspace, precondition.key.clone()));
            let found = match touched {
                Some(revision) => *revision,
                None => self.stored_revision(db, precondition.keyspace, &precondition.key)?,
            };
            if !precondition.expect.holds(found) {
                return Err(StoreError::Conflict {
                    keyspace: precondition.keyspace,
                    key: show_key(&precondition.key),
                    expected: precondition.expect,
                    found,
                });
            }
        }
        Ok(())
    }

    fn stored_revision(
        &self,
        db: &DB,
        keyspace: Keyspace,
        key: &[u8],
    ) -> Result<Option<Revision>, StoreError> {
        let stored = db
            .get_pinned_cf(reader::family(db, keyspace)?, key)
            .map_err(|e| disk::read_error(&self.shared.path, &e))?;
        let Some(stored) = stored else { return Ok(None) };
        match reader::split_stored(&stored) {
            Some((revision, _)) => Ok(Some(revision)),
            None => {
                Err(disk::corrupt(&self.shared.path, format!("{keyspace}/{} is cut short", show_key(key))))
            }
        }
    }

    /// Returns what to answer.
    fn stop(&mut self, cause: Cause) -> impl Fn() -> StoreError + use<> {
        let path = self.shared.path.display();
        let next_probe = Instant::now() + self.shared.options.space_probe_interval;
        let stopped = match cause {
            Cause::NoRoom => {
                tracing::error!(%path, "the store is read-only: its disk is as good as full");
                Stopped::Full { next_probe }
            }
            Cause::Failed(cause) if disk::is_space_error(&cause) => {
                tracing::error!(%path, cause, "the store is read-only: its disk is full");
                Stopped::Full { next_probe }
            }
            Cause::Failed(cause) => {
                tracing::error!(%path, cause, "the store is read-only: a write failed; restart on a healthy disk");
                Stopped::Failed { cause }
            }
        };
        let heals_itself = matches!(stopped, Stopped::Full { .. });
        if heals_itself && let Err(error) = self.read_only() {
            tracing::error!(%path, %error, "the store cannot be read until its disk has room");
        }
        let reason = self.refusal(&stopped).to_string();
        let (shared, failed) = (
            Arc::clone(&self.shared),
            match &stopped {
                Stopped::Full { .. } => None,
                Stopped::Failed { cause } => Some(cause.clone()),
            },
        );
        self.stopped = Some(stopped);
        self.shared.health.send_replace(Health::ReadOnly { reason, since: SystemTime::now(), heals_itself });
        move || match &failed {
            None => shared.full(),
            Some(cause) => StoreError::Failed { path: shared.path.clone(), source: cause.as_str().into() },
        }
    }

    /// When it is time: is there space again? Then reopen and go on.
    fn try_to_heal(&mut self) {
        let Some(Stopped::Full { next_probe }) = &mut self.stopped else { return };
        if Instant::now() < *next_probe {
            return;
        }
        *next_probe = Instant::now() + self.shared.options.space_probe_interval;
        // A little more than stops it, so that it does not come and go with each table.
        let keep = self.shared.options.keep_free_bytes;
        let room = disk::check_room(&self.shared.path, keep + keep / 8);
        let room = room.map_err(std::io::Error::other).and_then(|()| disk::probe_space(&self.shared.path));
        if let Err(error) = room {
            tracing::debug!(%error, "the store's disk is still full");
            return;
        }
        match self.reopen() {
            Ok(revision) => {
                // Commits that were answered with an error may have happened: what was published is not all.
                self.shared.feed.compact(revision);
                self.stopped = None;
                self.shared.health.send_replace(Health::Writable);
                tracing::info!(path = %self.shared.path.display(), "the store is writable again");
            }
            Err(error) => tracing::warn!(%error, "the store could not be reopened; trying again"),
        }
    }

    /// Closes the database and opens it for reading: it writes nothing then, by itself neither.
    fn read_only(&self) -> Result<(), StoreError> {
        let shared = &*self.shared;
        let mut slot = shared.db.write().unwrap_or_else(PoisonError::into_inner);
        *slot = None;
        *slot = Some(disk::open_read_only(&shared.path, &shared.schema, &shared.options)?);
        Ok(())
    }

    /// Closes and opens the database; where opening fails, reads go on from a read-only one.
    fn reopen(&self) -> Result<Revision, StoreError> {
        let shared = &*self.shared;
        let mut slot = shared.db.write().unwrap_or_else(PoisonError::into_inner);
        *slot = None;
        match disk::open(&shared.path, &shared.schema, &shared.options) {
            Ok(db) => {
                let revision = disk::read_revision(&db, &shared.path)?;
                *slot = Some(db);
                Ok(revision)
            }
            Err(error) => {
                *slot = disk::open_read_only(&shared.path, &shared.schema, &shared.options).ok();
                Err(error)
            }
        }
    }
}

fn put_writes(db: &DB, group: &mut Group, writes: &[Write]) {
    for write in writes {
        let family = db.cf_handle(write.keyspace.name()).expect("check() looked every keyspace up");
        let revision = match &write.value {
            Some(value) => {
                let mut stored = Vec::with_capacity(8 + value.len());
                stored.extend_from_slice(&group.newest.0.to_be_bytes());
                stored.extend_from_slice(value);
                group.batch.put_cf(family, &write.key, stored);
                Some(group.newest)
            }
            None => {
                group.batch.delete_cf(family, &write.key);
                None
            }
        };
        group.touched.insert((write.keyspace, write.key.clone()), revision);
    }
}

fn answer_all(answers: Vec<(Answer, Revision)>) {
    for (answer, revision) in answers {
        // The caller may have gone away; the commit stands.
        let _ = answer.send(Ok(revision));
    }
}
