//! What does not grow: memory with the disk and the repository, the first byte of a boot, the cores' idleness with the
//! store's distance.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use xenith_backup::chunk::Chunking;
use xenith_backup::crypto::{Secret32, TAG_LEN};
use xenith_backup::format::{Codec, FrameKind, FrameRecord, HEADER_LEN, RECORD_LEN, TRAILER_LEN};
use xenith_backup::id::{ChunkId, ObjectHash};
use xenith_backup::index::{Index, pack_key, write_segment};
use xenith_backup::ingest::{self, DiskJob, Options, Progress};
use xenith_backup::keys::{Credential, KdfCost, Keyring};
use xenith_backup::packer::StoredPack;
use xenith_backup::store::{
    FaultyStore, LocalStore, MemoryStore, ObjectInfo, ObjectKey, ObjectStore, StoreError,
};
use xenith_backup::{Repository, forward_store};
use xenith_common_block::{BlockSource, ByteRange, ExtentKind, FileSource};

use crate::measure::{Cost, own_cpu, peak_of, run};

const PASS: &str = "bench";

fn tool(ours: &str, args: &[&str]) -> Command {
    let mut command = Command::new(ours);
    command.env("XENITH_PASSPHRASE", PASS).args(args);
    command
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn told(what: &str, cost: Cost) {
    println!("| {what} | {:.2} CPU s, {:.1} s | peak {} MiB |", cost.cpu, cost.wall, cost.peak >> 20);
}

/// Backs up, verifies and restores a sparse disk of nearly 16 TiB, the most that ext4 has in a file.
pub fn sparse(ours: &str, dir: &Path) -> Result<()> {
    const SIZE: u64 = (16 << 40) - 4096;
    const PIECE: usize = 1 << 20;
    let (disk, repo, out) = (dir.join("sparse.img"), dir.join("repo-sparse"), dir.join("sparse.out"));
    let _ = std::fs::remove_dir_all(&repo);
    let image = File::create(&disk)?;
    image.set_len(SIZE)?;
    let mut noise = vec![0; PIECE];
    for number in 0..512u64 {
        blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut noise);
        let at = number * (SIZE / 512) / 4096 * 4096;
        image.write_all_at(&noise, at)?;
    }
    ensure!(tool(ours, &["init", &text(&repo)]).stdout(Stdio::null()).status()?.success());
    let source = format!("vm={}", text(&disk));
    told("sparse 16 TiB: backup", run(&mut tool(ours, &["backup", &text(&repo), &source]), &repo)?);
    told("sparse 16 TiB: again, whole", run(&mut tool(ours, &["backup", &text(&repo), &source]), &repo)?);
    told("sparse 16 TiB: deep verify", run(&mut tool(ours, &["verify", "--deep", &text(&repo)]), &repo)?);
    told(
        "sparse 16 TiB: restore",
        run(&mut tool(ours, &["restore", &text(&repo), "vm", &text(&out)]), &repo)?,
    );
    for number in [0u64, 17, 511] {
        let mut found = vec![0; PIECE];
        blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut noise);
        File::open(&out)?.read_exact_at(&mut found, number * (SIZE / 512) / 4096 * 4096)?;
        ensure!(found == noise, "piece {number} differs");
    }
    std::fs::remove_file(&disk)?;
    std::fs::remove_file(&out)?;
    Ok(std::fs::remove_dir_all(&repo)?)
}

/// A store that lists more packs than it has.
struct Vast {
    inner: LocalStore,
    packs: u64,
    /// Of each.
    size: u64,
}

fn vast_name(number: u64) -> ObjectHash {
    ObjectHash::of(&number.to_le_bytes())
}

impl ObjectStore for Vast {
    forward_store!(self => self.inner; create read_range size delete);

    fn list_each(
        &self,
        prefix: &str,
        take: &mut dyn FnMut(ObjectInfo) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if prefix == "packs/" {
            for number in 0..self.packs {
                take(ObjectInfo { key: pack_key(&vast_name(number)), size: self.size, modified: 1 })?;
            }
        }
        self.inner.list_each(prefix, take)
    }

    fn describe(&self) -> String {
        "a synthetic repository".to_owned()
    }
}

/// In a process of its own: the packs of 100 TiB with `entries` entries of the index in all, and a backup of `image`
/// beside them.
pub fn index(dir: &Path, image: &Path, entries: u64) -> Result<()> {
    // 64 MiB each: what 100 TiB have that cannot be compressed.
    const PACKS: u64 = 1_638_400;
    const A_SEGMENT: u64 = 256 * 1024;
    let root = dir.join("repo-index");
    let _ = std::fs::remove_dir_all(&root);
    const STORED: u32 = 40_016;
    let each = (entries / PACKS).max(1);
    // A pack that is not as long as its entries take is looked at, which would be all that is measured here.
    let around = HEADER_LEN + TAG_LEN + TRAILER_LEN;
    let size = around as u64 + each * (u64::from(STORED) + RECORD_LEN as u64);
    let credential = Credential::KeyFile(Secret32::random());
    let inner = LocalStore::create_root(&root)?;
    let ring = Keyring::create(Chunking::default());
    Repository::init(Arc::new(inner.clone()), &ring, &credential, KdfCost::DEFAULT)?;
    let repo = Repository::open(Arc::new(Vast { inner, packs: PACKS, size }), &credential)?;
    let mut packs: Vec<StoredPack> = Vec::new();
    for number in 0..PACKS {
        let frames = (0..each).map(|frame| {
            let id = ChunkId(*blake3::hash(&(number * each + frame).to_be_bytes()).as_bytes());
            let record =
                FrameRecord { id, kind: FrameKind::Chunk, codec: Codec::Raw, stored: STORED, raw: 40_000 };
            (HEADER_LEN as u64 + frame * u64::from(STORED), record)
        });
        packs.push(StoredPack { name: vast_name(number), size, frames: frames.collect() });
        if packs.len() as u64 * each >= A_SEGMENT || number + 1 == PACKS {
            write_segment(&repo, &std::mem::take(&mut packs))?;
        }
    }
    let peak = || peak_of(std::process::id()).unwrap_or(0) >> 20;
    let before = peak();
    let (cpu, began) = (own_cpu()?, Instant::now());
    let index = Index::load(&repo)?;
    let (cpu, wall) = (own_cpu()? - cpu, began.elapsed().as_secs_f64());
    println!(
        "| index: {} packs, {} million entries: load | {cpu:.1} CPU s, {wall:.1} s | peak {} MiB ({before} before) |",
        index.packs().len(),
        index.table().len() / 1_000_000,
        peak()
    );
    let (began, tries) = (Instant::now(), 100_000u64);
    for number in 0..tries {
        let id = ChunkId(*blake3::hash(&(number * 7919).to_be_bytes()).as_bytes());
        index.places(&id)?;
    }
    println!("| index: a lookup | {:.1} us | |", began.elapsed().as_secs_f64() * 1e6 / tries as f64);
    drop(index);
    let source = FileSource::open(image)?;
    let job = DiskJob { name: "vm".to_owned(), source: &source, changed: None.into() };
    ingest::backup(&repo, vec![job], &Options::default(), &Progress::default())?;
    println!("| index: and a backup beside it | | peak {} MiB |", peak());
    Ok(std::fs::remove_dir_all(&root)?)
}

/// From starting the server to the first sector of the disk.
pub fn first_byte(ours: &str, repo: &Path) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..5 {
        let began = Instant::now();
        let mut command = tool(ours, &["serve-nbd", &text(repo), "vm", "--listen", "127.0.0.1:0"]);
        let mut server = command.stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(server.stdout.take().context("the server's output is piped")?).read_line(&mut line)?;
        let address = line.trim().rsplit_once("nbd://").context("the server said no address")?.1;
        let address = address.split('/').next().unwrap_or_default();
        let read = read_sector(address);
        times.push(began.elapsed().as_secs_f64());
        server.kill()?;
        server.wait()?;
        read?;
    }
    times.sort_by(f64::total_cmp);
    println!(
        "| first byte of an NBD boot, median of 5 | {:.3} s (slowest {:.3}) | under 1 s |",
        times[2], times[4]
    );
    Ok(())
}

fn read_sector(address: &str) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut hello = [0; 18];
    stream.read_exact(&mut hello)?;
    let mut said = 3u32.to_be_bytes().to_vec();
    said.extend_from_slice(b"IHAVEOPT");
    said.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0]);
    stream.write_all(&said)?;
    let mut export = [0; 10];
    stream.read_exact(&mut export)?;
    let mut request = 0x2560_9513u32.to_be_bytes().to_vec();
    request.extend_from_slice(&[0; 20]);
    request.extend_from_slice(&512u32.to_be_bytes());
    stream.write_all(&request)?;
    let mut answer = [0; 16 + 512];
    stream.read_exact(&mut answer)?;
    ensure!(answer[4..8] == [0; 4], "the first sector cannot be read");
    Ok(())
}

/// Data of `image` compressed at zstd 3 in pieces of 64 KiB on `threads` threads: what no backup can be quicker than.
fn zstd_alone(image: &Path, threads: usize) -> Result<f64> {
    const PIECE: usize = 64 << 10;
    let source = FileSource::open(image)?;
    let extents = source.extents(ByteRange::new(0, source.size()))?;
    let mut pieces = Vec::new();
    for extent in extents.iter().filter(|extent| extent.kind == ExtentKind::Data) {
        pieces
            .extend((extent.range.start..extent.range.end).step_by(1 << 20).map(|at| (at, extent.range.end)));
    }
    let next = AtomicU64::new(0);
    let began = Instant::now();
    std::thread::scope(|scope| {
        let work = || -> Result<()> {
            let mut buf = vec![0; 1 << 20];
            while let Some((at, end)) = pieces.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                let len = (end - at).min(1 << 20) as usize;
                source.read_at(*at, &mut buf[..len])?;
                for piece in buf[..len].chunks(PIECE) {
                    std::hint::black_box(xenith_backup::ingest::packed_len(piece, 3));
                }
            }
            Ok(())
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
    })?;
    Ok(began.elapsed().as_secs_f64())
}

/// A store that has no use for what packs hold: a full backup never reads one, and what storing costs is the store's.
#[derive(Default)]
struct Swallow(MemoryStore);

impl ObjectStore for Swallow {
    forward_store!(self => self.0; read_range size list_each delete);

    fn create(&self, key: &ObjectKey, parts: &[Bytes]) -> Result<(), StoreError> {
        if key.as_str().starts_with("packs/") { Ok(()) } else { self.0.create(key, parts) }
    }

    fn describe(&self) -> String {
        "nothing".to_owned()
    }
}

/// A full backup beside zstd alone, to a store at hand and to one that answers in 20 ms, by turns.
pub fn distance(image: &Path) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let options = Options { level: 3, most: 3, ..Options::default() };
    let mut rows: Vec<(&str, Vec<f64>, Vec<f64>)> =
        ["zstd alone", "store at hand", "store in 20 ms"].map(|name| (name, vec![], vec![])).into();
    for _ in 0..3 {
        for (name, cpus, walls) in &mut rows {
            let delay = if *name == "store in 20 ms" { Duration::from_millis(20) } else { Duration::ZERO };
            let store = Arc::new(FaultyStore::new(Swallow::default(), None).with_delay(delay));
            let credential = Credential::KeyFile(Secret32::random());
            let ring = Keyring::create(Chunking::default());
            let repo = Repository::init(store, &ring, &credential, KdfCost::DEFAULT)?;
            let (cpu, began) = (own_cpu()?, Instant::now());
            if *name == "zstd alone" {
                zstd_alone(image, cores)?;
            } else {
                let source = FileSource::open(image)?;
                let job = DiskJob { name: "vm".to_owned(), source: &source, changed: None.into() };
                ingest::backup(&repo, vec![job], &options, &Progress::default())?;
            }
            cpus.push(own_cpu()? - cpu);
            walls.push(began.elapsed().as_secs_f64());
        }
    }
    let least = |of: &[f64]| of.iter().copied().fold(f64::INFINITY, f64::min);
    for (name, cpus, walls) in &rows {
        let (cpu, wall) = (least(cpus), least(walls));
        let busy = 100.0 * cpu / wall / cores as f64;
        println!("| {name}: least of 3 | {cpu:.2} CPU s, {wall:.2} s | {busy:.0}% of {cores} cores |");
    }
    let ratio =
        |a: usize, b: usize| (least(&rows[a].1) / least(&rows[b].1), least(&rows[a].2) / least(&rows[b].2));
    let (cpu, wall) = ratio(0, 1);
    println!("| throughput to zstd alone on all cores (0.8) | {cpu:.2} by CPU, {wall:.2} by wall | |");
    let (cpu, wall) = ratio(1, 2);
    println!("| throughput in 20 ms to at hand | {cpu:.2} by CPU, {wall:.2} by wall | |");
    Ok(())
}
