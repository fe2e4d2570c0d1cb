//! A disk that is written and read while it comes in from its backup, against a byte array.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use xenith_backup::instant::{Live, Pace, stream};
use xenith_backup::nbd::Overlay;
use xenith_backup::store::{MemoryStore, ObjectInfo, ObjectKey, ObjectStore, StoreError};
use xenith_backup::{BackupError, Repository, forward_store};
use xenith_common_block::{BlockSource, ByteRange};

use crate::support::{MIB, backup, in_memory, init, noise};

const FAST: Pace = Pace { workers: 2, bandwidth: 0 };

/// Two leaves of data with holes in it, and an end that is no block.
fn content() -> Vec<u8> {
    let mut bytes = vec![0; 33 * MIB + 512];
    bytes[MIB..9 * MIB].copy_from_slice(&noise(1, 8 * MIB));
    bytes[15 * MIB..18 * MIB].copy_from_slice(&noise(2, 3 * MIB));
    bytes[33 * MIB..].fill(9);
    bytes
}

struct Disk {
    live: Live,
    overlay: Overlay,
}

fn open(repo: &Repository, record: &xenith_backup::manifest::DiskRecord, dir: &Path) -> Disk {
    let live = Live::open(repo, record).unwrap();
    let base: Arc<dyn BlockSource> = Arc::new(live.clone());
    let overlay = Overlay::open_on(base, &dir.join("vdi"), &dir.join("map")).unwrap();
    Disk { live, overlay }
}

fn read(overlay: &Overlay, range: Range<usize>) -> Vec<u8> {
    let mut buf = vec![0xee; range.len()];
    overlay.read_at(range.start as u64, &mut buf).unwrap();
    buf
}

#[derive(Debug, Clone)]
enum Act {
    Write {
        at: usize,
        len: usize,
        seed: u64,
    },
    Zero {
        at: usize,
        len: usize,
    },
    Read {
        at: usize,
        len: usize,
    },
    /// Everything is flushed, and opened again: the copier begins anew.
    Again,
}

fn act() -> impl Strategy<Value = Act> {
    // Sectors, most of them near each other, so that they meet.
    let place =
        prop_oneof![0..80usize, 2040..2060usize, 30_000..36_000usize, 67_500..67_585usize, 0..67_585usize];
    let span = (place, 1..600usize).prop_map(|(at, len)| (at * 512, len.min(67_585 - at) * 512));
    prop_oneof![
        4 => (span.clone(), any::<u64>()).prop_map(|((at, len), seed)| Act::Write { at, len, seed }),
        1 => span.clone().prop_map(|(at, len)| Act::Zero { at, len }),
        3 => span.prop_map(|(at, len)| Act::Read { at, len }),
        1 => Just(Act::Again),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_while_a_disk_comes_in_stays(acts in proptest::collection::vec(act(), 1..40)) {
        let (_, repo) = in_memory();
        let manifest = backup(&repo, "vm", &content());
        let record = &manifest.disks[0];
        let dir = tempfile::tempdir().unwrap();
        // The VDI is larger than the disk in the backup.
        let mut model = content();
        model.resize(34 * MIB, 0);
        std::fs::File::create(dir.path().join("vdi")).unwrap().set_len(model.len() as u64).unwrap();
        let mut acts = acts.into_iter();
        loop {
            let disk = open(&repo, record, dir.path());
            let ended = std::thread::scope(|scope| {
                let copier = scope.spawn(|| stream(&disk.live, &disk.overlay, FAST));
                let ended = loop {
                    match acts.next() {
                        None => break true,
                        Some(Act::Again) => break false,
                        Some(Act::Write { at, len, seed }) => {
                            let data = noise(seed, len);
                            disk.overlay.write_at(at as u64, &data).unwrap();
                            model[at..at + len].copy_from_slice(&data);
                        }
                        Some(Act::Zero { at, len }) => {
                            disk.overlay.zero(ByteRange::with_len(at as u64, len as u64)).unwrap();
                            model[at..at + len].fill(0);
                        }
                        Some(Act::Read { at, len }) => {
                            assert!(read(&disk.overlay, at..at + len) == model[at..at + len]);
                        }
                    }
                };
                if !ended {
                    disk.live.stop();
                }
                let result = copier.join().unwrap();
                assert!(result.is_ok() || (!ended && matches!(result, Err(BackupError::Cancelled))), "{result:?}");
                ended
            });
            disk.overlay.flush().unwrap();
            if ended {
                assert_eq!(disk.overlay.filled(), (model.len() as u64, model.len() as u64));
                break;
            }
        }
        prop_assert!(std::fs::read(dir.path().join("vdi")).unwrap() == model);
    }
}

/// Stops answering reads when told to.
#[derive(Debug)]
struct Distant {
    inner: MemoryStore,
    away: AtomicBool,
    refused: AtomicU64,
}

impl Distant {
    fn check(&self, key: &str) -> Result<(), StoreError> {
        if !self.away.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.refused.fetch_add(1, Ordering::SeqCst);
        let source = std::io::ErrorKind::ConnectionReset.into();
        Err(StoreError::Unavailable { action: "read", key: key.to_owned(), source })
    }
}

impl ObjectStore for Distant {
    forward_store!(self => self.inner; create delete);

    fn read_range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.check(key.as_str())?;
        self.inner.read_range(key, range)
    }

    fn size(&self, key: &ObjectKey) -> Result<u64, StoreError> {
        self.check(key.as_str())?;
        self.inner.size(key)
    }

    fn list_each(
        &self,
        prefix: &str,
        take: &mut dyn FnMut(ObjectInfo) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.check(prefix)?;
        self.inner.list_each(prefix, take)
    }

    fn describe(&self) -> String {
        "a distant store".to_owned()
    }
}

#[test]
fn a_store_that_is_away_is_waited_for_and_damage_is_not() {
    let store = Arc::new(Distant {
        inner: MemoryStore::new(),
        away: AtomicBool::new(false),
        refused: AtomicU64::new(0),
    });
    let repo = init(store.clone());
    let bytes = content();
    let manifest = backup(&repo, "vm", &bytes);
    let dir = tempfile::tempdir().unwrap();
    std::fs::File::create(dir.path().join("vdi")).unwrap().set_len(bytes.len() as u64).unwrap();
    let disk = open(&repo, &manifest.disks[0], dir.path());
    store.away.store(true, Ordering::SeqCst);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| read(&disk.overlay, MIB..2 * MIB));
        let copier = scope.spawn(|| stream(&disk.live, &disk.overlay, FAST));
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while store.refused.load(Ordering::SeqCst) < 3 || disk.live.problem().is_none() {
            assert!(std::time::Instant::now() < deadline, "nobody asked the store");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(!reader.is_finished() && !copier.is_finished(), "somebody gave up");
        store.away.store(false, Ordering::SeqCst);
        assert!(reader.join().unwrap() == bytes[MIB..2 * MIB]);
        copier.join().unwrap().unwrap();
    });
    assert_eq!(disk.live.problem(), None);
    assert!(std::fs::read(dir.path().join("vdi")).unwrap() == bytes);

    // A pack that is gone for good: an error, at once, and the map does not say that the blocks are there.
    let dir = tempfile::tempdir().unwrap();
    std::fs::File::create(dir.path().join("vdi")).unwrap().set_len(bytes.len() as u64).unwrap();
    let disk = open(&repo, &manifest.disks[0], dir.path());
    for pack in store.list("packs/").unwrap() {
        store.delete(&pack.key).unwrap();
    }
    let mut buf = vec![0; 4096];
    assert!(disk.overlay.read_at(MIB as u64, &mut buf).is_err());
    assert!(stream(&disk.live, &disk.overlay, FAST).is_err());
    assert!(!disk.overlay.is_filled(ByteRange::with_len(MIB as u64, 4096)));
}
