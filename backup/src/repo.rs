//! A repository: a store, its keys, and the few objects that say what it is.
//!
//! | object | created by | deleted by |
//! |---|---|---|
//! | `config` | `init` | nobody |
//! | `keys/*`, `keyring/*` | `init`, `key` | `key` |
//! | `packs/*`, `index/*` | writers | collectors, by plan |
//! | `manifests/*` | writers at their commit; collectors to revoke a dead session | collectors, by plan |
//! | `sessions/*` | writers | collectors, after the session ended |
//! | `plans/*` | collectors | collectors, when carried out |

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::chunk::{Chunking, Cutter};
use crate::error::{BackupError, Result};
use crate::id::RepoId;
use crate::keys::{self, Credential, KdfCost, Keyring, Keys};
use crate::store::{LockingStore, ObjectKey, ObjectStore, Retention, StoreError, probe, probe_locks};

/// The format this program writes, and the newest it reads.
pub const FORMAT: u32 = 1;
const MAGIC: &str = "xenith-backup repository";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    magic: String,
    format: u32,
    id: RepoId,
    created: u64,
}

/// What the config of any version says.
#[derive(Debug, Deserialize)]
struct ConfigHead {
    magic: String,
    format: u32,
}

impl Config {
    /// Of a newer version it is said that it is newer, whatever else is in it.
    fn parse(body: &[u8]) -> Result<Self> {
        let unfit = |_| BackupError::damaged("config", "it is not the JSON of a repository's config");
        let head: ConfigHead = serde_json::from_slice(body).map_err(unfit)?;
        if head.magic != MAGIC {
            return Err(BackupError::damaged("config", "it belongs to some other program"));
        }
        if head.format > FORMAT {
            return Err(BackupError::TooNew { found: head.format, supported: FORMAT });
        }
        serde_json::from_slice(body).map_err(unfit)
    }
}

/// The id of the repository whose `config` this is; what a store holds under that name may be anybody's.
pub fn parse_config(body: &[u8]) -> Result<RepoId> {
    Config::parse(body).map(|config| config.id)
}

/// Whether there is anything under `prefix`.
fn holds_any(store: &dyn ObjectStore, prefix: &str) -> Result<bool> {
    let mut found = false;
    // The first one says it: the error only ends the listing.
    let listed = store.list_each(prefix, &mut |_| {
        found = true;
        Err(StoreError::Unsuitable(String::new()))
    });
    if found { Ok(true) } else { Ok(listed.map(|()| false)?) }
}

/// Refuses a store that holds a repository, or what is left of one.
fn check_empty(store: &dyn ObjectStore) -> Result<()> {
    match store.size(&config_key()) {
        Err(StoreError::NotFound { .. }) => {}
        Ok(_) => {
            return Err(BackupError::Invalid(format!("{} already holds a repository", store.describe())));
        }
        Err(error) => return Err(error.into()),
    }
    for prefix in ["packs/", "manifests/"] {
        if holds_any(store, prefix)? {
            return Err(BackupError::Invalid(format!(
                "{} holds the backups of a repository whose object `config` is lost; bring that back from a copy, or take \
                 another place",
                store.describe()
            )));
        }
    }
    Ok(())
}

fn config_key() -> ObjectKey {
    ObjectKey::new("config".to_owned())
}

/// Milliseconds since 1970 by this machine's clock.
#[must_use]
pub fn now_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_millis() as u64)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    Locks,
    Nothing,
}

/// `store` as it is used where objects are locked.
fn locking(
    store: Arc<dyn ObjectStore>,
    retention: Option<Retention>,
    probe: Probe,
) -> Result<Arc<dyn ObjectStore>> {
    let Some(retention) = retention else { return Ok(store) };
    if !retention.is_valid() {
        return Err(BackupError::Invalid(format!(
            "objects can be locked for 1 to {} days, not for {}",
            Retention::MAX_DAYS,
            retention.days
        )));
    }
    if probe == Probe::Locks {
        probe_locks(&store, retention.mode)?;
    }
    Ok(Arc::new(LockingStore::new(store, retention)))
}

/// An opened repository. Cheap to clone; all clones share the store.
#[derive(Clone)]
pub struct Repository {
    store: Arc<dyn ObjectStore>,
    keys: Arc<Keys>,
    cutter: Arc<Cutter>,
    clock: Clock,
}

/// Milliseconds since 1970, as somebody's clock says.
pub type Clock = fn() -> u64;

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Repository({})", self.store.describe())
    }
}

impl Repository {
    /// Makes a repository in an empty store that keeps the needed promises.
    pub fn init(
        store: Arc<dyn ObjectStore>,
        ring: &Keyring,
        credential: &Credential,
        cost: KdfCost,
    ) -> Result<Self> {
        if !ring.chunking().is_valid() {
            return Err(BackupError::Invalid("the chunk sizes are out of bounds".to_owned()));
        }
        probe(&store)?;
        let store = locking(store, ring.retention(), Probe::Locks)?;
        check_empty(&store)?;
        // The config is last: without it the rest is not a repository, and init can be run again.
        keys::create(&store, ring, credential, cost)?;
        let config =
            Config { magic: MAGIC.to_owned(), format: FORMAT, id: ring.repo(), created: now_millis() };
        let body = serde_json::to_vec_pretty(&config).expect("a config is plain data");
        store.create(&config_key(), &[body.into()])?;
        Self::open(store, credential)
    }

    pub fn open(store: Arc<dyn ObjectStore>, credential: &Credential) -> Result<Self> {
        let body = match store.read(&config_key(), 1 << 16) {
            Err(StoreError::NotFound { .. }) => {
                return Err(BackupError::NotFound { what: format!("a repository at {}", store.describe()) });
            }
            other => other?,
        };
        let keys = keys::open(&store, &parse_config(&body)?, credential)?;
        if !keys.ring.chunking().is_valid() {
            return Err(BackupError::damaged("keyring", "its chunk sizes are out of bounds"));
        }
        let cutter = Cutter::new(keys.ring.chunking(), &keys.ring.cut_secret());
        let store = locking(store, keys.ring.retention(), Probe::Nothing)?;
        Ok(Self { store, keys: Arc::new(keys), cutter: Arc::new(cutter), clock: now_millis })
    }

    /// Changes how long objects are locked from now on. Those that are there get their locks from
    /// [`crate::immutable::extend`] of all; no lock becomes shorter.
    pub fn set_retention(&self, retention: Option<Retention>) -> Result<Self> {
        let ring = self.keys.ring.clone().with_retention(retention);
        let store = locking(Arc::clone(&self.store), retention, Probe::Locks)?;
        keys::replace_ring(&store, &self.keys, &ring)?;
        let keys = Keys {
            mek: self.keys.mek.clone(),
            ring,
            ring_number: self.keys.ring_number + 1,
            slot: self.keys.slot.clone(),
        };
        Ok(Self { store, keys: Arc::new(keys), ..self.clone() })
    }

    /// The same by another clock than this machine's: clocks jump, and tests show what that does.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// What its clock says.
    #[must_use]
    pub fn now(&self) -> u64 {
        (self.clock)()
    }

    #[must_use]
    pub fn store(&self) -> &dyn ObjectStore {
        &*self.store
    }

    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    #[must_use]
    pub fn keyring(&self) -> &Keyring {
        &self.keys.ring
    }

    #[must_use]
    pub fn chunking(&self) -> Chunking {
        self.keys.ring.chunking()
    }

    #[must_use]
    pub fn cutter(&self) -> &Cutter {
        &self.cutter
    }
}
