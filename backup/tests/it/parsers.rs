//! What the fuzz targets of small objects do, as the ordinary tests do it: each says whether the parser took the bytes, and
//! fails where what it took cannot be.

use std::sync::Arc;

use xenith_backup::gc::Plan;
use xenith_backup::id::{BackupId, RepoId};
use xenith_backup::immutable::Record;
use xenith_backup::keys::Keyring;
use xenith_backup::nbd::Overlay;
use xenith_backup::session::Lease;
use xenith_common_block::MemorySource;

use crate::support::noise;

/// The repository, the plan, the session and the objects that the corpora are of.
const REPO: RepoId = RepoId(*b"\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef");
const PLAN: &str = "000000000042-00112233445566778899aabbccddeeff";
const SESSION: BackupId = crate::mutations::MANIFEST;
const LEASE: &str = "sessions/0123456789ab00000000000000000001/00000001";
const RECORD: &str = "locks/000001a229237d51";

pub fn config(data: &[u8]) -> bool {
    xenith_backup::repo::parse_config(data).is_ok()
}

pub fn ring(data: &[u8]) -> bool {
    let Some(ring) = Keyring::parse(&REPO, data) else { return false };
    assert!(ring.repo() == REPO && ring.wrap_key(ring.current_kek()).is_some());
    assert!(ring.seal_for_new().is_none_or(|seal| ring.find_seal(seal.id).is_some()));
    true
}

pub fn plan(data: &[u8]) -> bool {
    let Ok(plan) = Plan::parse(data, PLAN) else { return false };
    assert_eq!(plan.name, PLAN);
    true
}

pub fn lease(data: &[u8]) -> bool {
    let Ok(lease) = Lease::parse(data, LEASE, SESSION) else { return false };
    assert!(lease.session == SESSION && lease.key == LEASE);
    true
}

pub fn lock_record(data: &[u8]) -> bool {
    let Ok(record) = Record::parse(data, RECORD) else { return false };
    assert_eq!(record.key, RECORD);
    true
}

/// As the metadata of a restore point in a repository of one VM, with one VHD and an alias that leads out.
pub fn xo_metadata(data: &[u8]) -> bool {
    let root = tempfile::tempdir().unwrap();
    let vm = root.path().join("xo-vm-backups/vm");
    std::fs::create_dir_all(vm.join("vdis")).unwrap();
    std::fs::write(vm.join("vdis/a.vhd"), b"").unwrap();
    std::fs::write(vm.join("vdis/out.alias.vhd"), b"/../../etc/passwd").unwrap();
    std::fs::write(vm.join("x.json"), data).unwrap();
    let (found, problems) = xenith_backup::xo::scan(root.path()).unwrap();
    assert_eq!(found.len() + problems.len(), 1, "it is read, or it is said why not");
    for disk in found.iter().flat_map(|backup| &backup.disks) {
        let real = disk.vhd.canonicalize().unwrap();
        assert!(real.starts_with(root.path().canonicalize().unwrap()), "{}", real.display());
    }
    found.len() == 1
}

/// As a disk: what is found lies on it.
pub fn partitions(data: &[u8]) -> bool {
    let found = xenith_common_block::partitions(&MemorySource::new(data.to_vec())).unwrap();
    for part in &found {
        let range = part.range;
        assert!(part.number > 0 && !range.is_empty() && range.end <= data.len() as u64, "{part:?}");
    }
    !found.is_empty()
}

/// As the map of an overlay of 19 blocks in which nothing was written: its own blocks are zeros, the others the base's.
pub fn overlay(data: &[u8]) -> bool {
    const BLOCKS: usize = 19;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("disk.map"), data).unwrap();
    let behind = noise(1, BLOCKS * 4096);
    let base = Arc::new(MemorySource::new(behind.clone()));
    let overlay = Overlay::open(base, &dir.path().join("disk")).unwrap();
    let is_own = |block: usize| data.get(block / 8).is_some_and(|byte| byte >> (block % 8) & 1 == 1);
    let (mut disk, zeros) = (vec![1; BLOCKS * 4096], [0; 4096]);
    overlay.read_at(0, &mut disk).unwrap();
    for (block, bytes) in disk.chunks(4096).enumerate() {
        let expected = if is_own(block) { &zeros[..] } else { &behind[block * 4096..][..4096] };
        assert!(bytes == expected, "block {block}");
    }
    let own = (0..BLOCKS).filter(|&block| is_own(block)).count() as u64;
    assert_eq!(overlay.filled(), (own * 4096, BLOCKS as u64 * 4096));
    true
}
