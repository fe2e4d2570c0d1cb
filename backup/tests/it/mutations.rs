//! The fuzz targets' corpora, and some hundred mutations of each input, in the normal tests; besides, whole disks and
//! repositories with a few bytes changed, for the parsers that want more than bytes in a row. The same seeds give the
//! same inputs; XENITH_MUTATIONS sets how many of each.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use xenith_backup::chunk::LEAF_BLOCKS;
use xenith_backup::files;
use xenith_backup::format::{Footer, Header, Trailer};
use xenith_backup::id::BackupId;
use xenith_backup::index::Segment;
use xenith_backup::keys::{Credential, Slot};
use xenith_backup::map::{Leaf, encode_inner, parse_inner};
use xenith_backup::nbd::trace::Trace;
use xenith_backup::nbd::{self, Disk, Export, Listener, Stop};
use xenith_common_block::{BlockSource, MemorySource};

use crate::parsers;
use crate::support::noise;

/// What the fuzz target of this name does.
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 16] = [
    ("config", |data| {
        parsers::config(data);
    }),
    ("container", container),
    ("lease", |data| {
        parsers::lease(data);
    }),
    ("lock_record", |data| {
        parsers::lock_record(data);
    }),
    ("manifest", manifest),
    ("nbd", nbd_request),
    ("overlay", |data| {
        parsers::overlay(data);
    }),
    ("pages", pages),
    ("partitions", |data| {
        parsers::partitions(data);
    }),
    ("plan", |data| {
        parsers::plan(data);
    }),
    ("ring", |data| {
        parsers::ring(data);
    }),
    ("segment", segment),
    ("slot", slot),
    ("trace", trace),
    ("vhd", vhd),
    ("xo_metadata", |data| {
        parsers::xo_metadata(data);
    }),
];
/// Those whose input is a file among others, which takes longer than the parser does.
const SLOW: [&str; 2] = ["overlay", "xo_metadata"];
/// Of one input; a busy machine gets as much.
const LIMIT: Duration = Duration::from_secs(60);

fn container(data: &[u8]) {
    let _ = Header::parse(data);
    if let Ok(trailer) = Trailer::parse(data, data.len() as u64) {
        let footer = data.len().saturating_sub(trailer.footer as usize + 32);
        let _ = Footer::parse(&data[footer..data.len() - 32], trailer.end);
    }
    let _ = Footer::parse(data, data.len() as u64);
}

/// The id of the backup whose manifests the corpus has.
pub const MANIFEST: BackupId = BackupId(*b"\x01\x23\x45\x67\x89\xab\0\0\0\0\0\0\0\0\0\x01");

fn manifest(data: &[u8]) {
    if let Ok(Some(manifest)) = xenith_backup::manifest::parse(data, &MANIFEST) {
        assert_eq!(manifest.id, MANIFEST);
        let _ = (manifest.number(), manifest.series());
    }
}

fn nbd_request(data: &[u8]) {
    if let Some(head) = data.first_chunk() {
        let _ = nbd::parse_request(head);
    }
}

fn pages(data: &[u8]) {
    let Some((&[low, high], page)) = data.split_first_chunk::<2>() else { return };
    let number = u32::from(u16::from_le_bytes([low, high]));
    if let Ok(leaf) = Leaf::parse(page, number.min(LEAF_BLOCKS)) {
        assert_eq!(leaf.ends().last().unwrap_or(0), number.min(LEAF_BLOCKS));
    }
    if let Ok(children) = parse_inner(page, number as usize % 257) {
        assert_eq!(encode_inner(&children), page);
    }
}

fn segment(data: &[u8]) {
    if let Some(segment) = Segment::parse(data) {
        assert!(segment.entries.iter().all(|entry| (entry.pack as usize) < segment.packs.len()));
    }
}

fn slot(data: &[u8]) {
    let _ = Slot::parse(data);
    let _ = Credential::from_key_file(&String::from_utf8_lossy(data));
}

fn trace(data: &[u8]) {
    let trace = Trace::parse(data, 1 << 20);
    assert!(trace.total_len() <= (1 << 20) * (data.len() as u64 + 1));
}

fn vhd(data: &[u8]) {
    vhd_opens(data);
}

/// Opens `data` as the head of a VHD of 128 KiB whose checksums are right, reads what it has, and says whether it opened.
pub fn vhd_opens(data: &[u8]) -> bool {
    let mut file = data.to_vec();
    file.resize(128 << 10, 0);
    for (part, field) in [(0..512, 64), (512..1536, 36)] {
        let sum = xenith_common_image::vhd::checksum(&file[part.clone()], field).to_be_bytes();
        file[part][field..field + 4].copy_from_slice(&sum);
    }
    let named = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(named.path(), &file).unwrap();
    let Ok(vhd) = xenith_backup::xo::Vhd::open(named.path()) else { return false };
    let mut sector = [0; 512];
    for number in (0..vhd.blocks().min(8)).filter(|&number| vhd.has(number)) {
        let _ = vhd.bitmap(number);
        let _ = vhd.read(number, vhd.block_size() - 512, &mut sector);
    }
    true
}

/// Numbers that look random and are the same each time.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below.max(1)
    }
}

/// One to eight of: a bit flipped, a byte or a word set to something extreme, a piece copied, cut or repeated.
fn mutate(random: &mut Random, input: &[u8]) -> Vec<u8> {
    const EXTREMES: [u64; 8] = [0, 1, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];
    let mut bytes = input.to_vec();
    for _ in 0..=random.next(8) {
        if bytes.is_empty() {
            bytes.push(random.next(256) as u8);
        }
        let at = random.next(bytes.len());
        match random.next(6) {
            0 => bytes[at] ^= 1 << random.next(8),
            1 => bytes[at] = random.next(256) as u8,
            2 => {
                let word = EXTREMES[random.next(EXTREMES.len())].to_le_bytes();
                let len = [1, 2, 4, 8][random.next(4)].min(bytes.len() - at);
                bytes[at..at + len].copy_from_slice(&word[..len]);
            }
            3 => {
                let len = random.next(64).min(bytes.len() - at);
                let to = random.next(bytes.len() - len + 1);
                bytes.copy_within(at..at + len, to);
            }
            4 => bytes.truncate(at),
            _ => {
                let piece = bytes[at..(at + random.next(64)).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

fn count(usual: usize) -> usize {
    std::env::var("XENITH_MUTATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn check(what: &str, input: &[u8], call: impl FnOnce(&[u8])) {
    let began = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| call(input)));
    assert!(began.elapsed() < LIMIT, "{what} took {:?}", began.elapsed());
    if let Err(panic) = outcome {
        let path =
            std::env::temp_dir().join(format!("xenith-backup-{}.input", what.replace(['/', ' '], "-")));
        std::fs::write(&path, input).unwrap();
        eprintln!("{what} panics; the input is in {}", path.display());
        std::panic::resume_unwind(panic);
    }
}

fn corpus(target: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn parsers_survive_mutations_of_the_corpora() {
    for (name, target) in TARGETS {
        let inputs = corpus(name);
        assert!(inputs.len() >= 3, "{name} has too few inputs");
        let rounds = count(if SLOW.contains(&name) { 200 } else { 2000 });
        for (seed, path) in inputs.iter().enumerate() {
            let input = std::fs::read(path).unwrap();
            let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (seed as u64 + 1));
            let mut bytes = input.clone();
            for round in 0..rounds {
                // Mostly near to the original; now and then further away.
                bytes =
                    if round % 4 == 0 { mutate(&mut random, &input) } else { mutate(&mut random, &bytes) };
                bytes.truncate(1 << 16);
                check(&format!("{name}/{}", path.file_name().unwrap().to_string_lossy()), &bytes, target);
            }
        }
    }
}

/// What a client may say to the server, with bytes changed: the connection ends, the server serves the next one.
#[test]
fn an_nbd_client_that_talks_nonsense_harms_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = Listener::Unix(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let source: Arc<dyn BlockSource> = Arc::new(MemorySource::new(noise(1, 1 << 20)));
    let export = Export { name: "vm".to_owned(), disk: Disk::ReadOnly(source) };
    let stop = Stop::default();
    let good = conversation();
    std::thread::scope(|scope| {
        let server = scope.spawn(|| nbd::serve(&listener, &export, &stop));
        let mut random = Random(7);
        for round in 0..count(150) {
            let said = if round == 0 { good.clone() } else { mutate(&mut random, &good) };
            let mut client = UnixStream::connect(&path).unwrap();
            client.set_read_timeout(Some(LIMIT)).unwrap();
            // The server may have had enough before all is said.
            let _ = client.write_all(&said);
            let _ = client.shutdown(std::net::Shutdown::Write);
            let mut heard = Vec::new();
            let _ = client.take(64 << 20).read_to_end(&mut heard);
            if round == 0 {
                assert!(heard.windows(4096).any(|part| *part == noise(1, 4096)[..]), "the disk was not read");
            }
            assert!(!server.is_finished(), "round {round} ended the server");
        }
        stop.stop();
        drop(UnixStream::connect(&path));
        server.join().unwrap().unwrap();
    });
}

/// Negotiates, asks for the block status, reads 4 KiB, and leaves.
fn conversation() -> Vec<u8> {
    let mut said = 3u32.to_be_bytes().to_vec();
    let option = |said: &mut Vec<u8>, number: u32, data: &[u8]| {
        said.extend_from_slice(b"IHAVEOPT");
        said.extend_from_slice(&number.to_be_bytes());
        said.extend_from_slice(&(data.len() as u32).to_be_bytes());
        said.extend_from_slice(data);
    };
    option(&mut said, 8, b"");
    let context =
        [&2u32.to_be_bytes()[..], b"vm", &1u32.to_be_bytes(), &15u32.to_be_bytes(), b"base:allocation"];
    option(&mut said, 10, &context.concat());
    option(&mut said, 3, b"");
    option(&mut said, 7, &[&2u32.to_be_bytes()[..], b"vm", &[0, 0]].concat());
    for (command, offset, length) in [(7u16, 0u64, 65536u32), (0, 0, 4096), (2, 0, 0)] {
        said.extend_from_slice(&0x2560_9513u32.to_be_bytes());
        said.extend_from_slice(&0u16.to_be_bytes());
        said.extend_from_slice(&command.to_be_bytes());
        said.extend_from_slice(&9u64.to_be_bytes());
        said.extend_from_slice(&offset.to_be_bytes());
        said.extend_from_slice(&length.to_be_bytes());
    }
    said
}

/// Looks at everything a disk shows, as `files` does.
fn look_around(disk: &[u8]) {
    let disk: Arc<dyn BlockSource> = Arc::new(MemorySource::new(disk.to_vec()));
    let Ok(volumes) = files::volumes(&disk) else { return };
    for volume in volumes.into_iter().take(20) {
        let Some(Ok(mut fs)) = volume.source.map(files::open) else { continue };
        let Ok(entries) = fs.list(b"/") else { continue };
        for entry in entries.iter().take(50) {
            let path = [b"/", entry.name.as_slice()].concat();
            let mut left = 1u64 << 20;
            let _ = fs.list(&path);
            let _ = fs.link(&path);
            let _ = fs.read(&path, &mut |piece| {
                left = left.saturating_sub(piece.len() as u64);
                if left == 0 { Err(xenith_backup::BackupError::Cancelled) } else { Ok(()) }
            });
        }
    }
}

fn run(program: &str, args: &[&str]) -> bool {
    // mkfs lies in sbin, which a user's PATH may lack.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    Command::new(program).args(args).env("PATH", path).output().is_ok_and(|output| output.status.success())
}

/// Filesystems and partition tables with bytes changed where the structures are: what cannot be read is an error. The
/// readers are other people's, and a panic in one is caught; what this shows is that each ends, in bounded time.
#[test]
fn disks_that_are_damaged_are_read_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    std::fs::create_dir_all(tree.join("etc")).unwrap();
    for number in 0..40 {
        std::fs::write(tree.join(format!("etc/f{number}")), noise(number, 3000)).unwrap();
    }
    std::os::unix::fs::symlink("etc/f1", tree.join("link")).unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let make = |name: &str, mib: u64| {
        std::fs::File::create(path(name)).unwrap().set_len(mib << 20).unwrap();
        path(name)
    };
    let mut disks: Vec<(&str, Vec<u8>)> = Vec::new();
    let ext4 = make("ext4", 4);
    if run("mke2fs", &["-q", "-F", "-t", "ext4", "-d", &path("tree"), &ext4]) {
        disks.push(("ext4", std::fs::read(&ext4).unwrap()));
    }
    let ntfs = make("ntfs", 8);
    if run("mkntfs", &["-q", "-F", "-f", &ntfs]) {
        disks.push(("ntfs", std::fs::read(&ntfs).unwrap()));
    }
    assert!(!disks.is_empty(), "mke2fs and mkntfs are missing: `cargo xtask setup` installs them");
    // A partition table that says where the first of them is, and some that are not there.
    let mut partitioned = vec![0; 1 << 20];
    partitioned[446..462].copy_from_slice(&[0, 0, 0, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 32, 0, 0]);
    partitioned[510..512].copy_from_slice(&[0x55, 0xaa]);
    partitioned.extend_from_slice(&disks[0].1);
    disks.push(("partitioned", partitioned));
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    for (name, disk) in &disks {
        check(name, disk, look_around);
        let used: Vec<usize> =
            (0..disk.len() / 512).filter(|s| disk[s * 512..s * 512 + 512].iter().any(|&b| b != 0)).collect();
        let mut random = Random(disk.len() as u64);
        for _ in 0..count(40) {
            let mut bytes = disk.clone();
            for _ in 0..=random.next(12) {
                let sector = used[random.next(used.len().min(400))] * 512;
                let changed = mutate(&mut random, &bytes[sector..sector + 512]);
                let len = changed.len().min(512);
                bytes[sector..sector + len].copy_from_slice(&changed[..len]);
            }
            if random.next(8) == 0 {
                bytes.truncate(random.next(bytes.len()));
            }
            check(name, &bytes, look_around);
        }
    }
    std::panic::set_hook(hook);
}
