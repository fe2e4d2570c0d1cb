//! Sessions: who is writing, so that collectors keep their hands off.
//!
//! A session is a row of objects `sessions/<id>/<number>`, each created once: number 0 opens it, number 1 says
//! which plans its writer saw, later ones renew its lease, `end` ends it. The id is the future manifest's.
//!
//! What always holds: number 0 exists before the writer looks at plans, packs or manifests. A collector
//! publishes its plan before it lists sessions. So either the writer saw the plan and uses nothing in it, or
//! the collector sees the session and waits for it to commit, end or be revoked (`gc`). Leases only say when a
//! collector may revoke; being wrong about time costs a run its commit, never a backup its data.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::{BackupError, Result};
use crate::format::{ObjectBuilder, ObjectKind, Sealed};
use crate::id::BackupId;
use crate::repo::Repository;
use crate::store::{ObjectKey, StoreError};

/// How long a lease lasts without renewal.
pub const LEASE_MILLIS: u64 = 60 * 60 * 1000;
/// How often a running session renews: many tries fit in a lease.
pub const RENEW: Duration = Duration::from_secs(10 * 60);
const MAX_SESSION: u64 = 1 << 20;

/// What a lease object says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// The object this was written as.
    pub key: String,
    pub session: BackupId,
    pub host: String,
    /// By the writer's clock, milliseconds since 1970.
    pub until: u64,
    /// Plans this writer saw, by name; empty in number 0, which is written before it looks.
    pub saw_plans: Vec<String>,
}

impl Lease {
    /// A lease as it is sealed, for the object `key` of a session.
    pub fn parse(json: &[u8], key: &str, session: BackupId) -> Result<Self, String> {
        let lease: Self = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if lease.session == session && lease.key == key {
            Ok(lease)
        } else {
            Err("it is another lease under this name".to_owned())
        }
    }
}

fn lease_key(id: &BackupId, number: u64) -> ObjectKey {
    ObjectKey::new(format!("sessions/{id}/{number:08}"))
}

fn end_key(id: &BackupId) -> ObjectKey {
    ObjectKey::new(format!("sessions/{id}/end"))
}

fn write(repo: &Repository, key: &ObjectKey, lease: Lease) -> Result<()> {
    let lease = Lease { key: key.to_string(), ..lease };
    let mut object = ObjectBuilder::new(ObjectKind::Session, repo.keyring());
    object.push_all(&serde_json::to_vec(&lease).expect("a lease is plain data"));
    repo.store().create(key, &[object.finish().0])?;
    Ok(())
}

/// This machine's name, for people who read listings.
#[must_use]
pub fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}

/// A writer's session. Dropping it without [`Self::end`] leaves it to its lease.
#[derive(Debug)]
pub struct Session {
    repo: Repository,
    id: BackupId,
    started: u64,
    saw_plans: Vec<String>,
    /// Number of the next lease object, and when it is due: by a clock that nobody sets.
    next: std::sync::Mutex<(u64, Instant)>,
}

impl Session {
    /// Opens a session; look at plans, packs and manifests only after this.
    pub fn open(repo: &Repository) -> Result<Self> {
        let started = repo.now();
        let id = BackupId::new(started);
        let session = Self {
            repo: repo.clone(),
            id,
            started,
            saw_plans: Vec::new(),
            next: std::sync::Mutex::new((1, Instant::now() + RENEW)),
        };
        write(repo, &lease_key(&id, 0), session.lease(started))?;
        Ok(session)
    }

    fn lease(&self, now: u64) -> Lease {
        Lease {
            key: String::new(),
            session: self.id,
            host: host_name(),
            until: now + LEASE_MILLIS,
            saw_plans: self.saw_plans.clone(),
        }
    }

    /// Puts on record that this writer knows `plans` and will use nothing in them.
    pub fn saw(&mut self, plans: Vec<String>) -> Result<()> {
        if plans.is_empty() {
            return Ok(());
        }
        self.saw_plans = plans;
        self.renew(self.repo.now())
    }

    fn renew(&self, now: u64) -> Result<()> {
        let mut next = self.next.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        write(&self.repo, &lease_key(&self.id, next.0), self.lease(now))?;
        *next = (next.0 + 1, Instant::now() + RENEW);
        Ok(())
    }

    /// Renews the lease when it is time to. Called often.
    pub fn renew_if_due(&self) -> Result<()> {
        let due = self.next.lock().unwrap_or_else(std::sync::PoisonError::into_inner).1;
        if Instant::now() >= due { self.renew(self.repo.now()) } else { Ok(()) }
    }

    #[must_use]
    pub const fn id(&self) -> BackupId {
        self.id
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub const fn started(&self) -> u64 {
        self.started
    }

    #[must_use]
    pub fn saw_plans(&self) -> &[String] {
        &self.saw_plans
    }

    /// Ends the session, committed or not: it will not write any more.
    pub fn end(self) -> Result<()> {
        write(&self.repo, &end_key(&self.id), self.lease(self.started))
    }
}

/// A session as a collector sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenSession {
    pub id: BackupId,
    /// It said itself that it is over.
    pub ended: bool,
    pub host: String,
    /// The latest end of a lease: by its own clock, or by the store's plus the length of a lease, whichever is
    /// later.
    pub until: u64,
    pub saw_plans: Vec<String>,
    /// By the store's clock.
    pub opened: u64,
    /// When it was last heard of, by the store's clock.
    pub heard: u64,
    pub objects: Vec<ObjectKey>,
}

impl SeenSession {
    /// When its lease ends, for one whose clock says `now`. A lease that runs longer than any does was written by a
    /// clock that was ahead; then the store's clock counts, so that such a run, dead, is not waited for for years.
    #[must_use]
    pub fn lease_end(&self, now: u64) -> u64 {
        let longest = now.saturating_add(2 * LEASE_MILLIS);
        if self.until > longest { self.heard.saturating_add(LEASE_MILLIS) } else { self.until }
    }
}

/// All sessions there are objects of.
pub fn list(repo: &Repository) -> Result<Vec<SeenSession>> {
    let mut sessions: std::collections::BTreeMap<BackupId, SeenSession> = std::collections::BTreeMap::new();
    for info in repo.store().list("sessions/")? {
        let Some((id, number)) =
            info.key.as_str().strip_prefix("sessions/").and_then(|rest| rest.split_once('/'))
        else {
            continue;
        };
        let Some(id) = BackupId::parse(id) else { continue };
        let seen = sessions.entry(id).or_insert_with(|| SeenSession {
            id,
            ended: false,
            host: String::new(),
            until: 0,
            saw_plans: Vec::new(),
            opened: info.modified,
            heard: info.modified,
            objects: Vec::new(),
        });
        seen.ended |= number == "end";
        seen.opened = seen.opened.min(info.modified);
        seen.heard = seen.heard.max(info.modified);
        seen.until = seen.until.max(info.modified + LEASE_MILLIS);
        match read(repo, &info.key, id) {
            Ok(lease) => {
                seen.until = seen.until.max(lease.until);
                seen.host = lease.host;
                seen.saw_plans.extend(lease.saw_plans);
            }
            Err(BackupError::Store(StoreError::NotFound { .. })) => continue,
            // An unreadable lease still keeps the session alive: doubt is on the writer's side.
            Err(BackupError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
        seen.objects.push(info.key);
    }
    Ok(sessions.into_values().collect())
}

fn read(repo: &Repository, key: &ObjectKey, id: BackupId) -> Result<Lease> {
    let bytes = repo.store().read(key, MAX_SESSION)?;
    let name = format!("session {key}");
    let plain =
        Sealed::open(&bytes, ObjectKind::Session, repo.keyring(), &name)?.concat(MAX_SESSION as usize)?;
    Lease::parse(&plain, key.as_str(), id).map_err(|detail| BackupError::damaged(name, detail))
}

/// Leases that cannot be read.
pub fn check(repo: &Repository) -> Result<Vec<BackupError>> {
    let mut problems = Vec::new();
    for info in repo.store().list("sessions/")? {
        let id = info.key.as_str().strip_prefix("sessions/").and_then(|rest| rest.split_once('/'));
        let Some(id) = id.and_then(|(id, _)| BackupId::parse(id)) else { continue };
        match read(repo, &info.key, id) {
            Err(error @ BackupError::Damaged { .. }) => problems.push(error),
            Err(BackupError::Store(StoreError::NotFound { .. })) | Ok(_) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(problems)
}
