//! Whatever is written, backed up, forgotten and collected: what is restored is what was there.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use xenith_backup::chunk::Chunking;
use xenith_backup::gc::{self, Outcome};
use xenith_backup::ingest::Progress;
use xenith_backup::store::{Bytes, MemoryStore, ObjectKey, ObjectStore, StoreError};
use xenith_backup::verify::{Level, verify};
use xenith_backup::{Repository, forward_store};
use xenith_common_block::{BlockSource, ByteRange, ExtentKind, RangeSet};

use crate::support::{self, Disk, MIB, backup, in_memory, init_with, noise, restored, try_backup};

#[derive(Debug, Clone)]
enum Op {
    Write { block: usize, skew: usize, len: usize, what: What },
    Resize { blocks: usize },
    Backup { whole: bool },
    Forget { which: usize },
    Collect,
    Repack,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Noise(u64),
    Text(u8),
    Zero,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let what = prop_oneof![(0u64..6).prop_map(What::Noise), (1u8..4).prop_map(What::Text), Just(What::Zero)];
    let op = prop_oneof![
        8 => (0usize..8300, 0usize..3, 1usize..160_000, what)
            .prop_map(|(block, skew, len, what)| Op::Write { block, skew, len, what }),
        1 => (8100usize..8400).prop_map(|blocks| Op::Resize { blocks }),
        4 => any::<bool>().prop_map(|whole| Op::Backup { whole }),
        1 => any::<usize>().prop_map(|which| Op::Forget { which }),
        1 => Just(Op::Collect),
        1 => Just(Op::Repack),
    ];
    prop::collection::vec(op, 1..28)
}

fn data(what: What, len: usize) -> Vec<u8> {
    match what {
        What::Noise(seed) => noise(seed, len),
        What::Text(byte) => vec![byte; len],
        What::Zero => vec![0; len],
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_time: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// A disk of two leaves and a bit against a byte array.
    #[test]
    fn against_a_byte_array(ops in ops(), fixed in any::<bool>()) {
        let store = std::sync::Arc::new(xenith_backup::store::MemoryStore::new());
        let repo = init_with(store.clone(), if fixed { Chunking::FIXED } else { Chunking::default() });
        let mut disk = Disk::new(8200 * 4096 + 512);
        let mut kept = Vec::new();
        for op in ops {
            match op {
                Op::Write { block, skew, len, what } => disk.write(block * 4096 + skew * 512, &data(what, len)),
                Op::Resize { blocks } => disk.bytes.resize(blocks * 4096 - 512, 0),
                Op::Backup { whole } => {
                    let changed = (!whole).then(|| disk.changed.clone());
                    let manifest = try_backup(&repo, &[("vm", &disk.bytes, changed)]).unwrap();
                    // Cutting around changes gives the very map that cutting everything does.
                    if !whole {
                        let again = backup(&repo, "other", &disk.bytes);
                        prop_assert_eq!(manifest.disks[0].root, again.disks[0].root);
                    }
                    disk.take_changes();
                    kept.push((manifest, disk.bytes.clone()));
                }
                Op::Forget { which } if !kept.is_empty() => {
                    let (manifest, _) = kept.remove(which % kept.len());
                    // The base of the next increment must be the newest: forget another one or start over.
                    let proposal = gc::propose(&repo, vec![manifest.id]).unwrap();
                    gc::publish(&repo, &proposal.plan).unwrap();
                    if kept.last().is_none_or(|(last, _)| last.created <= manifest.created) {
                        disk.changed.insert(ByteRange::new(0, disk.bytes.len() as u64));
                    }
                }
                Op::Forget { .. } => {}
                Op::Collect => collect(&repo),
                Op::Repack => { gc::repack(&repo, 60).unwrap(); }
            }
        }
        collect(&repo);
        prop_assert_eq!(verify(&repo, Level::Deep, 2).unwrap().problems, vec![]);
        for (manifest, bytes) in &kept {
            prop_assert!(restored(&repo, manifest, "vm") == *bytes, "{} differs", manifest.id);
        }
    }
}

pub fn collect(repo: &xenith_backup::Repository) {
    let proposal = gc::propose(repo, Vec::new()).unwrap();
    if !proposal.plan.packs.is_empty() {
        gc::publish(repo, &proposal.plan).unwrap();
    }
    for plan in gc::published(repo).unwrap() {
        let outcome = gc::carry_out(repo, &plan, plan.created, 0).unwrap();
        assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    }
}

#[test]
fn odd_sizes() {
    for size in [512, 4096, 4096 + 512, 16 * MIB, 16 * MIB + 512, 32 * MIB - 512] {
        let (_, repo) = in_memory();
        let mut bytes = vec![0; size];
        let tail = size - 300.min(size);
        bytes[tail..].copy_from_slice(&noise(3, size - tail));
        let manifest = backup(&repo, "vm", &bytes);
        assert!(restored(&repo, &manifest, "vm") == bytes, "{size}");
    }
}

#[test]
fn the_same_data_elsewhere_is_stored_once() {
    let (_, repo) = in_memory();
    let file = noise(1, 3 * MIB);
    let mut first = vec![0; 40 * MIB];
    first[5 * MIB..8 * MIB].copy_from_slice(&file);
    let mut second = vec![0; 40 * MIB];
    second[21 * MIB + 12288..24 * MIB + 12288].copy_from_slice(&file);
    let (one, two) = (backup(&repo, "one", &first), backup(&repo, "two", &second));
    assert!(one.disks[0].stats.new_bytes >= 3 * MIB as u64);
    let new = two.disks[0].stats.new_bytes;
    assert!(new <= 512 * 1024, "{new} bytes of a file that was there were stored again");
    assert!(restored(&repo, &two, "two") == second);
}

#[test]
fn an_increment_reads_little() {
    let (_, repo) = in_memory();
    let mut disk = Disk::new(64 * MIB);
    disk.write(0, &noise(1, 64 * MIB));
    backup(&repo, "vm", &disk.bytes);
    disk.take_changes();
    for at in 0..8 {
        disk.write(at * 7 * MIB + 8192, &noise(9, 4096));
    }
    let changed = disk.take_changes();
    let manifest = try_backup(&repo, &[("vm", &disk.bytes, Some(changed))]).unwrap();
    let stats = manifest.disks[0].stats;
    assert!(stats.read <= 8 * 300 * 1024, "read {} bytes for 8 blocks", stats.read);
    assert_eq!(manifest.disks[0].whole_because, None);
    assert!(restored(&repo, &manifest, "vm") == disk.bytes);
    let why = backup(&repo, "vm", &disk.bytes).disks[0].whole_because.clone();
    assert_eq!(why.as_deref(), Some("the changed ranges are not known"));
    let unknown = try_backup(&repo, &[("new", &disk.bytes, Some(RangeSet::new()))]).unwrap();
    assert_eq!(unknown.disks[0].whole_because.as_deref(), Some("this is the first backup of new"));
}

#[test]
fn several_disks_commit_together_and_read_at_random() {
    let (_, repo) = in_memory();
    let (a, b) = (noise(1, 2 * MIB), noise(2, 33 * MIB));
    let manifest = try_backup(&repo, &[("a", &a, None), ("b", &b, None)]).unwrap();
    assert_eq!(manifest.series(), "a,b");
    let index = std::sync::Arc::new(xenith_backup::index::Index::load(&repo).unwrap());
    let disk = xenith_backup::reader::BackupDisk::new(&repo, index, manifest.disk("b").unwrap());
    for (offset, len) in [(0, 1), (16 * MIB - 3, 7), (33 * MIB - 512, 512), (5_000_001, 700_000)] {
        let mut buf = vec![0; len];
        disk.read_at(offset as u64, &mut buf).unwrap();
        assert!(buf == b[offset..offset + len], "{offset} {len}");
    }
    let extents = disk.extents(ByteRange::new(0, 33 * MIB as u64)).unwrap();
    assert_eq!(extents.len(), 1);
    assert_eq!(extents[0].kind, ExtentKind::Data);
    assert!(support::try_restore(&repo, "nobody").is_err());
    for bad in ["", "a@b", "a=b", "a,b"] {
        assert!(try_backup(&repo, &[(bad, &a, None)]).is_err(), "{bad:?}");
    }
}

#[test]
fn the_paper_kit_needs_packs_manifests_and_the_key_only() {
    let (store, repo) = in_memory();
    let bytes = noise(5, 3 * MIB);
    backup(&repo, "vm", &bytes);
    for key in store
        .keys()
        .iter()
        .filter(|key| key.as_str().starts_with("index/") || key.as_str().starts_with("sessions/"))
    {
        store.delete(key).unwrap();
    }
    assert!(support::try_restore(&support::open(store).unwrap(), "vm").unwrap() == bytes);
}

#[test]
fn copies_read_and_store_only_what_the_other_repository_lacks() {
    let (_, from) = in_memory();
    let (_, to) = in_memory();
    let mut disk = Disk::new(40 * MIB);
    disk.write(MIB, &noise(1, 8 * MIB));
    let first = backup(&from, "vm", &disk.bytes);
    let old = disk.bytes.clone();
    disk.write(20 * MIB, &noise(2, 4096));
    backup(&from, "vm", &disk.bytes);
    let copied = xenith_backup::copy::copy(&from, &to, &support::options(), &Progress::default()).unwrap();
    assert_eq!(copied.len(), 2);
    assert_eq!((copied[0].origin, copied[0].created), (Some(first.id), first.created));
    assert!(copied[1].disks[0].stats.read < MIB as u64, "{:?}", copied[1].disks[0].stats);
    assert!(restored(&to, &copied[0], "vm") == old && restored(&to, &copied[1], "vm") == disk.bytes);
    let again = xenith_backup::copy::copy(&from, &to, &support::options(), &Progress::default()).unwrap();
    assert_eq!(again, vec![]);
    // What differs is what was written, and a valid list of changed ranges.
    let index = std::sync::Arc::new(xenith_backup::index::Index::load(&to).unwrap());
    let open = |at: usize| xenith_backup::reader::BackupDisk::new(&to, index.clone(), &copied[at].disks[0]);
    let ranges = xenith_backup::diff::diff(&open(0), &open(1)).unwrap();
    assert!(ranges.contains(20 * MIB as u64) && ranges.total_len() <= 512 * 1024, "{ranges:?}");
}

/// A store before which something happens once, when the next session is opened in it.
struct Meanwhile {
    inner: Arc<MemoryStore>,
    then: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl ObjectStore for Meanwhile {
    forward_store!(self => self.inner; read_range size list_each delete describe);

    fn create(&self, key: &ObjectKey, parts: &[Bytes]) -> Result<(), StoreError> {
        if key.as_str().starts_with("sessions/")
            && let Some(then) = self.then.lock().unwrap().take()
        {
            then();
        }
        self.inner.create(key, parts)
    }
}

#[test]
fn a_copy_is_its_original_whoever_copies_at_the_same_time() {
    let (_, from) = in_memory();
    let (store, to) = in_memory();
    let copied = |from: &Repository, to: &Repository| {
        xenith_backup::copy::copy(from, to, &support::options(), &Progress::default()).unwrap()
    };
    let mut disk = Disk::new(8 * MIB);
    disk.write(0, &noise(1, 8 * MIB));
    backup(&from, "vm", &disk.bytes);
    copied(&from, &to);
    disk.write(2 * MIB, &noise(2, 64 * 1024));
    let second = disk.bytes.clone();
    backup(&from, "vm", &second);
    disk.write(6 * MIB, &noise(3, 64 * 1024));
    backup(&from, "vm", &disk.bytes);
    // Somebody else brings both between the look at what is there and the beginning of our copy of the second.
    let others = (from.clone(), to.clone());
    let then: Box<dyn FnOnce() + Send> = Box::new(move || assert_eq!(copied(&others.0, &others.1).len(), 2));
    let meanwhile = Meanwhile { inner: store, then: Mutex::new(Some(then)) };
    let made = copied(&from, &support::open(Arc::new(meanwhile)).unwrap());
    assert_eq!(made.len(), 1);
    assert!(
        restored(&to, &made[0], "vm") == second,
        "what differs from the first was taken for all that differs"
    );
}
