//! The corpus: a 4 GiB ext4 disk, the same a day later, a clone, and a separate install of the same files.
//!
//! Everything comes from one seed. Contents are a mix: text of words, records with counters, noise (as media
//! and archives are), and a database file. A day changes it through the filesystem (debugfs) where files come,
//! go and grow, and in place where the database writes pages. Made once; kept as long as the seed is the same.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

const DISK: u64 = 4 << 30;

pub struct Corpus {
    pub day1: PathBuf,
    pub day2: PathBuf,
    pub clone: PathBuf,
    pub install: PathBuf,
    /// Lines `offset length`: what differs between the days, in 4 KiB blocks.
    pub ranges: PathBuf,
    pub changed_bytes: u64,
    /// Bytes of the first day's disk, and of those that are not holes.
    pub size: u64,
    pub data_bytes: u64,
}

/// Numbers that look random and are the same each time.
pub struct Random(blake3::OutputReader);

impl Random {
    pub fn new(label: &str) -> Self {
        Self(blake3::Hasher::new_derive_key("xenith bench corpus 1").update(label.as_bytes()).finalize_xof())
    }

    pub fn number(&mut self, below: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes) % below.max(1)
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.fill(&mut bytes);
        bytes
    }
}

/// One vocabulary for all text.
fn words() -> &'static [String] {
    static WORDS: OnceLock<Vec<String>> = OnceLock::new();
    WORDS.get_or_init(|| {
        let mut random = Random::new("words");
        (0..4000)
            .map(|_| {
                let len = 2 + random.number(8) as usize;
                random.bytes(len).iter().map(|byte| char::from(b'a' + byte % 26)).collect()
            })
            .collect()
    })
}

fn text(random: &mut Random, len: usize) -> Vec<u8> {
    let words = words();
    let picks = random.bytes(len);
    let mut picks = picks.chunks_exact(4);
    let mut out = String::with_capacity(len + 16);
    while out.len() < len {
        let pick = picks.next().map_or(0, |pick| u32::from_le_bytes(pick.try_into().expect("four bytes")));
        // Squaring makes some words common, as they are in languages.
        let (a, b) = (pick as usize % 4000, (pick >> 12) as usize % 4000);
        out.push_str(&words[a * b / 4000]);
        out.push(if pick >> 28 == 0 { '\n' } else { ' ' });
    }
    out.truncate(len);
    out.into_bytes()
}

fn records(random: &mut Random, len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 64);
    let mut counter = random.number(1 << 30);
    while out.len() < len {
        counter += 1 + random.number(3);
        out.extend_from_slice(&counter.to_le_bytes());
        out.extend_from_slice(&random.bytes(14));
        out.extend_from_slice(&[0; 10]);
    }
    out.truncate(len);
    out
}

pub fn content(random: &mut Random, len: usize) -> Vec<u8> {
    match random.number(10) {
        0..=3 => text(random, len),
        4..=6 => records(random, len),
        _ => random.bytes(len),
    }
}

/// Sizes from 1 KiB to 4 MiB, most of them small, most bytes in large ones.
pub fn file_size(random: &mut Random) -> usize {
    let octave = random.number(12);
    ((1 << octave) * 1024 + random.number(1 << octave) * 1024) as usize
}

pub fn make(dir: &Path, mib: u64) -> Result<Corpus> {
    let corpus = Corpus {
        day1: dir.join("day1.img"),
        day2: dir.join("day2.img"),
        clone: dir.join("clone.img"),
        install: dir.join("install.img"),
        ranges: dir.join("ranges"),
        changed_bytes: 0,
        size: DISK,
        data_bytes: 0,
    };
    let done = dir.join(format!("corpus-{mib}"));
    if !done.exists() {
        let tree = dir.join("tree");
        fill_tree(&tree, mib)?;
        make_ext4(&corpus.day1, &tree, "11111111-1111-1111-1111-111111111111")?;
        copy(&corpus.day1, &corpus.day2)?;
        live_a_day(dir, &corpus.day2, mib)?;
        copy(&corpus.day1, &corpus.clone)?;
        change_identity(&corpus.clone)?;
        // Other files come first, and the same ones lie elsewhere.
        for number in 0..20 {
            let mut random = Random::new(&format!("other {number}"));
            let len = (mib as usize) * 1024 * 2;
            fs::write(tree.join(format!("000-{number}")), content(&mut random, len))?;
        }
        make_ext4(&corpus.install, &tree, "22222222-2222-2222-2222-222222222222")?;
        fs::remove_dir_all(&tree)?;
        File::create(&done)?;
    }
    let changed_bytes = write_ranges(&corpus)?;
    let data_bytes = fs::metadata(&corpus.day1)?.blocks() * 512;
    Ok(Corpus { changed_bytes, data_bytes, ..corpus })
}

fn fill_tree(tree: &Path, mib: u64) -> Result<()> {
    let mut left = mib << 20;
    let db = left / 16;
    fs::create_dir_all(tree)?;
    let mut random = Random::new("database");
    let mut file = File::create(tree.join("database"))?;
    for _ in 0..db / (1 << 20) {
        file.write_all(&records(&mut random, 1 << 20))?;
    }
    left -= db;
    let mut number = 0;
    while left > 0 {
        let mut random = Random::new(&format!("file {number}"));
        let folder = tree.join(format!("d{:03}", number % 200));
        fs::create_dir_all(&folder)?;
        let size = file_size(&mut random).min(left as usize);
        fs::write(folder.join(format!("f{number}")), content(&mut random, size))?;
        left -= size as u64;
        number += 1;
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let status = status.with_context(|| format!("{command:?} cannot be started"))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}

fn make_ext4(image: &Path, tree: &Path, uuid: &str) -> Result<()> {
    let _ = fs::remove_file(image);
    File::create(image)?.set_len(DISK)?;
    run(Command::new("mke2fs")
        .args([
            "-q",
            "-F",
            "-t",
            "ext4",
            "-U",
            uuid,
            "-E",
            "hash_seed=33333333-3333-3333-3333-333333333333",
            "-d",
        ])
        .arg(tree)
        .arg(image))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    run(Command::new("cp").arg("--sparse=always").arg(from).arg(to))
}

/// Files deleted, written and grown through the filesystem, then pages of the database rewritten in place.
fn live_a_day(dir: &Path, image: &Path, mib: u64) -> Result<()> {
    let mut random = Random::new("day");
    let mut script = String::new();
    let fresh = dir.join("fresh");
    fs::create_dir_all(&fresh)?;
    let mut written = 0;
    let mut number = 0;
    while written < (mib << 20) / 50 {
        let size = file_size(&mut random);
        let path = fresh.join(format!("n{number}"));
        fs::write(&path, content(&mut random, size))?;
        if number % 3 == 0 {
            let old = random.number(500);
            writeln!(script, "rm d{:03}/f{old}", old % 200)?;
        }
        writeln!(script, "write {} d{:03}/n{number}", path.display(), number % 200)?;
        written += size as u64;
        number += 1;
    }
    let commands = dir.join("debugfs");
    fs::write(&commands, script)?;
    run(Command::new("debugfs").arg("-w").arg("-f").arg(&commands).arg(image))?;
    fs::remove_dir_all(&fresh)?;
    let blocks = Command::new("debugfs").args(["-R", "blocks database"]).arg(image).output()?;
    let blocks: Vec<u64> = String::from_utf8_lossy(&blocks.stdout)
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    if blocks.is_empty() {
        bail!("debugfs does not say where the database lies");
    }
    let disk = File::options().write(true).open(image)?;
    for _ in 0..mib / 2 {
        let page = records(&mut random, 16 * 1024);
        let at = blocks[random.number(blocks.len() as u64 - 4) as usize];
        disk.write_all_at(&page, at * 4096)?;
    }
    Ok(())
}

/// What a clone changes in itself: names, keys, logs.
fn change_identity(image: &Path) -> Result<()> {
    run(Command::new("tune2fs").args(["-f", "-L", "clone"]).arg(image))?;
    let mut random = Random::new("clone");
    let disk = File::options().write(true).open(image)?;
    for _ in 0..64 {
        let at = random.number(DISK / 8192) * 4096;
        disk.write_all_at(&text(&mut random, 4096), DISK / 2 + at)?;
    }
    Ok(())
}

fn write_ranges(corpus: &Corpus) -> Result<u64> {
    let (a, b) = (File::open(&corpus.day1)?, File::open(&corpus.day2)?);
    let mut out = String::new();
    let mut total = 0;
    let (mut x, mut y) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    for step in 0..DISK >> 20 {
        let base = step << 20;
        a.read_exact_at(&mut x, base)?;
        b.read_exact_at(&mut y, base)?;
        for (number, (p, q)) in x.chunks(4096).zip(y.chunks(4096)).enumerate() {
            if p != q {
                writeln!(out, "{} 4096", base + number as u64 * 4096)?;
                total += 4096;
            }
        }
    }
    fs::write(&corpus.ranges, out)?;
    Ok(total)
}
