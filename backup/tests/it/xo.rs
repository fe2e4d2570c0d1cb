//! Old repositories of Xen Orchestra, made here as it makes them.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;
use xenith_backup::Repository;
use xenith_backup::ingest::{Options, Progress};
use xenith_backup::xo::{self, Outcome};

use crate::support::{MIB, in_memory, noise, restored, try_restore};

const BLOCK: usize = 2 * MIB;

fn checksum(bytes: &[u8], field: usize) -> [u8; 4] {
    let sum: u32 = bytes
        .iter()
        .enumerate()
        .filter(|(at, _)| !(field..field + 4).contains(at))
        .fold(0u32, |sum, (_, &byte)| sum.wrapping_add(u32::from(byte)));
    (!sum).to_be_bytes()
}

/// A VHD before it is written down.
struct Made {
    id: u8,
    parent: Option<(u8, String)>,
    size: usize,
    /// Number, bitmap (by sector) and bytes.
    blocks: Vec<(u32, Vec<u8>, Vec<u8>)>,
}

impl Made {
    /// The blocks of `bytes` that differ from `before`; only sectors that differ are set.
    fn diff(id: u8, parent: Option<(u8, &str)>, before: &[u8], bytes: &[u8]) -> Self {
        let mut blocks = Vec::new();
        for (number, (old, new)) in before.chunks(BLOCK).zip(bytes.chunks(BLOCK)).enumerate() {
            if old == new {
                continue;
            }
            let (mut bitmap, mut data) = (vec![0u8; 512], vec![0xAA; BLOCK]);
            for (sector, (o, n)) in old.chunks(512).zip(new.chunks(512)).enumerate() {
                if o != n {
                    bitmap[sector / 8] |= 0x80 >> (sector % 8);
                    data[sector * 512..sector * 512 + n.len()].copy_from_slice(n);
                }
            }
            blocks.push((number as u32, bitmap, data));
        }
        let parent = parent.map(|(id, name)| (id, name.to_owned()));
        Self { id, parent, size: bytes.len(), blocks }
    }

    fn footer(&self) -> Vec<u8> {
        let mut bytes = vec![0; 512];
        bytes[..8].copy_from_slice(b"conectix");
        bytes[16..24].copy_from_slice(&512u64.to_be_bytes());
        bytes[48..56].copy_from_slice(&(self.size as u64).to_be_bytes());
        bytes[60..64].copy_from_slice(&(if self.parent.is_some() { 4u32 } else { 3 }).to_be_bytes());
        bytes[68..84].fill(self.id);
        let sum = checksum(&bytes, 64);
        bytes[64..68].copy_from_slice(&sum);
        bytes
    }

    fn count(&self) -> usize {
        self.size.div_ceil(BLOCK)
    }

    fn header(&self) -> Vec<u8> {
        let mut bytes = vec![0; 1024];
        bytes[..8].copy_from_slice(b"cxsparse");
        bytes[16..24].copy_from_slice(&1536u64.to_be_bytes());
        bytes[28..32].copy_from_slice(&(self.count() as u32).to_be_bytes());
        bytes[32..36].copy_from_slice(&(BLOCK as u32).to_be_bytes());
        if let Some((id, name)) = &self.parent {
            bytes[40..56].fill(*id);
            for (at, unit) in name.encode_utf16().enumerate() {
                bytes[64 + at * 2..66 + at * 2].copy_from_slice(&unit.to_be_bytes());
            }
        }
        let sum = checksum(&bytes, 36);
        bytes[36..40].copy_from_slice(&sum);
        bytes
    }

    fn write_file(&self, path: &Path) {
        let mut bytes = [self.footer(), self.header()].concat();
        let mut bat = vec![0xff; (self.count() * 4).next_multiple_of(512)];
        let mut at = 1536 + bat.len();
        for (number, _, _) in &self.blocks {
            let entry = *number as usize * 4;
            bat[entry..entry + 4].copy_from_slice(&((at / 512) as u32).to_be_bytes());
            at += 512 + BLOCK;
        }
        bytes.extend(bat);
        for (_, bitmap, data) in &self.blocks {
            bytes.extend_from_slice(bitmap);
            bytes.extend_from_slice(data);
        }
        bytes.extend(self.footer());
        std::fs::write(path, bytes).unwrap();
    }

    fn write_folder(&self, path: &Path, filter: &str) {
        std::fs::create_dir_all(path).unwrap();
        if filter != "none" {
            std::fs::write(path.join("chunk-filters.json"), format!("[\"{filter}\"]")).unwrap();
        }
        let put = |name: &str, bytes: &[u8]| {
            let packed = match filter {
                "gzip" => {
                    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                    out.write_all(bytes).unwrap();
                    out.finish().unwrap()
                }
                _ => bytes.to_vec(),
            };
            let file = path.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, packed).unwrap();
        };
        put("header", &self.header());
        put("footer", &self.footer());
        let mut bat = vec![0u8; self.count()];
        for (number, bitmap, data) in &self.blocks {
            bat[*number as usize / 8] |= 0x80 >> (number % 8);
            put(&format!("blocks/{}/{}", number / 1000, number % 1000), &[&bitmap[..], data].concat());
        }
        put("bat", &bat);
    }
}

struct Old {
    root: tempfile::TempDir,
}

impl Old {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let old = Self { root };
        std::fs::create_dir_all(old.vdi()).unwrap();
        old
    }

    fn vm(&self) -> PathBuf {
        self.root.path().join("xo-vm-backups/6d4d33f9")
    }

    fn vdi(&self) -> PathBuf {
        self.vm().join("vdis/job/vdi-1")
    }

    fn note(&self, day: u64, vhd: &str) {
        let metadata = json!({
            "mode": "delta", "version": "2.0.0", "jobId": "job",
            "timestamp": 1_700_000_000_000u64 + day * 86_400_000,
            "vdis": { "OpaqueRef:1": { "uuid": "vdi-1", "name_label": "system", "virtual_size": 1 } },
            "vhds": { "OpaqueRef:1": vhd },
            "vm": { "uuid": "6d4d33f9", "name_label": "web,1" },
        });
        std::fs::write(self.vm().join(format!("2023010{day}.json")), metadata.to_string()).unwrap();
    }

    fn import(&self, repo: &Repository) -> Vec<Outcome> {
        xo::import(repo, self.root.path(), (&Options::default(), &Progress::default()), &mut |_| ()).unwrap()
    }
}

fn ids(outcomes: &[Outcome]) -> Vec<String> {
    outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Imported { backup, .. } | Outcome::Present { backup, .. } => backup.to_string(),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_chain_of_files_and_folders_comes_over_byte_for_byte() {
    let old = Old::new();
    let mut days = vec![vec![0u8; 9 * MIB + 512]];
    days.push({
        let mut bytes = days[0].clone();
        bytes[MIB..4 * MIB].copy_from_slice(&noise(1, 3 * MIB));
        bytes
    });
    days.push({
        let mut bytes = days[1].clone();
        bytes[MIB + 512..MIB + 1536].fill(3);
        let end = bytes.len();
        bytes[end - 512..].fill(4);
        bytes
    });
    days.push({
        let mut bytes = days[2].clone();
        bytes[MIB + 1024..MIB + 2048].fill(5);
        bytes
    });
    Made::diff(1, None, &days[0], &days[1]).write_file(&old.vdi().join("1.vhd"));
    Made::diff(2, Some((1, "1.vhd")), &days[1], &days[2])
        .write_folder(&old.vdi().join("data/two.vhd"), "gzip");
    std::fs::write(old.vdi().join("2.alias.vhd"), "data/two.vhd").unwrap();
    // The name of its parent is stale, as after a merge; the id is not.
    Made::diff(3, Some((2, "gone.vhd")), &days[2], &days[3])
        .write_folder(&old.vdi().join("data/three.vhd"), "none");
    std::fs::write(old.vdi().join("3.alias.vhd"), "data/three.vhd\n").unwrap();
    for (day, vhd) in [(1, "1.vhd"), (2, "2.alias.vhd"), (3, "3.alias.vhd")] {
        old.note(day, &format!("vdis/job/vdi-1/{vhd}"));
    }
    let (_, repo) = in_memory();
    let outcomes = old.import(&repo);
    let imported = ids(&outcomes);
    let (manifests, _) = xenith_backup::manifest::list(&repo).unwrap();
    assert_eq!(manifests.len(), 3);
    for (manifest, day) in manifests.iter().zip(1u64..) {
        assert_eq!(manifest.created, 1_700_000_000_000 + day * 86_400_000);
        assert!(restored(&repo, manifest, "web-1.system") == days[day as usize], "day {day}");
        assert!(manifest.attachments[0].text.contains("6d4d33f9"));
    }
    // The later ones were read by their blocks alone.
    assert!(manifests[2].disks[0].stats.read <= 3 * BLOCK as u64, "{:?}", manifests[2].disks[0]);
    assert_eq!(ids(&old.import(&repo)), imported, "the second time nothing is imported");
}

#[test]
fn what_is_broken_is_said_and_stops_nothing() {
    let old = Old::new();
    let (empty, disk) = (vec![0u8; 4 * MIB], noise(1, 4 * MIB));
    Made::diff(1, None, &empty, &disk).write_file(&old.vdi().join("good.vhd"));
    Made::diff(2, Some((9, "lost.vhd")), &empty, &disk).write_file(&old.vdi().join("orphan.vhd"));
    Made::diff(3, Some((3, "self.vhd")), &empty, &disk).write_file(&old.vdi().join("circle.vhd"));
    let good = std::fs::read(old.vdi().join("good.vhd")).unwrap();
    std::fs::write(old.vdi().join("cut.vhd"), &good[..3 * MIB]).unwrap();
    let mut flipped = good.clone();
    flipped[530] ^= 1;
    std::fs::write(old.vdi().join("flipped.vhd"), flipped).unwrap();
    let names = ["orphan", "circle", "cut", "flipped"];
    for (day, name) in (1u64..).zip(names) {
        old.note(day, &format!("vdis/job/vdi-1/{name}.vhd"));
    }
    old.note(8, "vdis/job/vdi-1/good.vhd");
    old.note(9, "../../../../etc/passwd");
    std::fs::write(old.vm().join("junk.json"), "{").unwrap();
    let (_, repo) = in_memory();
    let outcomes = old.import(&repo);
    let count = |wanted: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| wanted(outcome)).count();
    assert_eq!(count(|o| matches!(o, Outcome::Unreadable { .. })), 2, "{outcomes:?}");
    assert_eq!(count(|o| matches!(o, Outcome::Failed { .. })), 4, "{outcomes:?}");
    assert_eq!(count(|o| matches!(o, Outcome::Imported { .. })), 1, "{outcomes:?}");
    assert!(try_restore(&repo, "web-1.system").unwrap() == disk);
}
