//! Chunk sizes on what guests have: the same files on ext4, XFS and NTFS, each installed twice apart, and databases before
//! and after a day of changes.
//!
//! Filesystems are made by their own tools without being mounted; databases by `sqlite3`, with pages of 4 and 16 KiB, and
//! lie on the disk as they would on a raw device. Everything comes from one seed.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::corpus::{Random, content, file_size};
use crate::sizes;

/// Name and bytes of a file.
type Files = Vec<(String, PathBuf)>;

/// What is run, and the package of Debian's that has it.
const TOOLS: [(&str, &str); 5] = [
    ("mke2fs", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("mkntfs", "ntfs-3g"),
    ("ntfscp", "ntfs-3g"),
    ("sqlite3", "sqlite3"),
];

/// A user's PATH may lack sbin, where some of them lie.
fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// Before anything is made: an hour is spent for nothing otherwise.
fn check_tools() -> Result<()> {
    let path = path();
    let is_there = |tool: &str| path.split(':').any(|folder| Path::new(folder).join(tool).is_file());
    let missing: BTreeSet<&str> =
        TOOLS.iter().filter(|(tool, _)| !is_there(tool)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.into_iter().collect();
    bail!("packages are missing: apt install {}", packages.join(" "))
}

/// Runs a tool with `input`.
fn run(program: &str, args: &[&str], input: &str) -> Result<()> {
    use std::io::Write as _;
    let mut child = Command::new(program)
        .args(args)
        .env("PATH", path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{program} cannot be started"))?;
    // A tool that has had enough says why; that it stopped listening is no reason.
    let unheard = child.stdin.take().context("its input is piped")?.write_all(input.as_bytes()).err();
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {args:?} failed ({}): {}", output.status, said.trim());
    }
    unheard.map_or(Ok(()), |error| Err(error).with_context(|| format!("{program} did not read its input")))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// `mib` of files, in the order that `order` deals them out.
fn files(dir: &Path, mib: u64, order: &str) -> Result<Files> {
    let tree = dir.join("files");
    fs::create_dir_all(&tree)?;
    let (mut left, mut made) = (mib << 20, Vec::new());
    while left > 0 {
        let name = format!("f{}", made.len());
        let mut random = Random::new(&format!("file {}", made.len()));
        let size = file_size(&mut random).min(left as usize);
        let path = tree.join(&name);
        if !path.exists() {
            fs::write(&path, content(&mut random, size))?;
        }
        made.push((name, path));
        left -= size as u64;
    }
    let mut random = Random::new(order);
    for at in (1..made.len()).rev() {
        made.swap(at, random.number(at as u64 + 1) as usize);
    }
    Ok(made)
}

fn ext4(image: &Path, files: &Files, size: u64) -> Result<()> {
    let tree = image.with_extension("tree");
    fs::create_dir_all(&tree)?;
    for (number, (name, path)) in files.iter().enumerate() {
        // mke2fs goes by name.
        fs::hard_link(path, tree.join(format!("{number:06}-{name}")))?;
    }
    File::create(image)?.set_len(size)?;
    run("mke2fs", &["-q", "-F", "-t", "ext4", "-d", &text(&tree), &text(image)], "")?;
    Ok(fs::remove_dir_all(&tree)?)
}

fn xfs(image: &Path, files: &Files, size: u64) -> Result<()> {
    let mut proto = "/stand\n0 0\nd--755 0 0\n".to_owned();
    for (name, path) in files {
        writeln!(proto, "{name} ---644 0 0 {}", path.display())?;
    }
    proto.push_str("$\n$\n");
    let listed = image.with_extension("proto");
    fs::write(&listed, proto)?;
    File::create(image)?.set_len(size)?;
    run("mkfs.xfs", &["-q", "-p", &text(&listed), &text(image)], "")?;
    Ok(fs::remove_file(&listed)?)
}

fn ntfs(image: &Path, files: &Files, size: u64) -> Result<()> {
    File::create(image)?.set_len(size)?;
    run("mkntfs", &["-q", "-F", "-Q", "-s", "512", "-p", "0", "-H", "255", "-S", "63", &text(image)], "")?;
    for (name, path) in files {
        run("ntfscp", &["-q", &text(image), &text(path), name], "")?;
    }
    Ok(())
}

/// A table of `rows` rows of about 400 bytes with two indexes; `day2` is the same after one row in a hundred was
/// changed, one in a hundred came and one in two hundred went.
fn database(day1: &Path, day2: &Path, page: u32, rows: u64) -> Result<()> {
    let mut random = Random::new("rows");
    let mut script = format!(
        "pragma page_size={page}; pragma journal_mode=off; pragma synchronous=off;\n\
         create table t(id integer primary key, name text, body text, at integer);\nbegin;\n"
    );
    let row = |random: &mut Random, script: &mut String, id: u64| -> Result<()> {
        let (name, at) = (random.number(1 << 40), random.number(1 << 30));
        let body: String = random.bytes(150).iter().map(|byte| char::from(b'a' + byte % 26)).collect();
        Ok(writeln!(script, "insert into t values({id},'{name:x}','{body} {body}',{at});")?)
    };
    for id in 0..rows {
        row(&mut random, &mut script, id)?;
    }
    script.push_str("commit; create index a on t(name); create index b on t(at);\n");
    let _ = fs::remove_file(day1);
    run("sqlite3", &[&text(day1)], &script)?;
    fs::copy(day1, day2)?;
    let mut script = "pragma journal_mode=off; pragma synchronous=off; begin;\n".to_owned();
    for number in 0..rows / 100 {
        let (old, at) = (random.number(rows), random.number(1 << 30));
        writeln!(script, "update t set at={at}, body=body||'+' where id={old};")?;
        if number % 2 == 0 {
            writeln!(script, "delete from t where id={};", random.number(rows))?;
        }
        row(&mut random, &mut script, rows + number)?;
    }
    script.push_str("commit;\n");
    run("sqlite3", &[&text(day2)], &script)
}

/// Makes the images in `dir`, of `mib` of files each, and prints what each chunking stores of them.
pub fn compare(dir: &Path, mib: u64) -> Result<()> {
    type Make = fn(&Path, &Files, u64) -> Result<()>;
    check_tools()?;
    fs::create_dir_all(dir)?;
    let (one, other) = (files(dir, mib, "one")?, files(dir, mib, "other")?);
    let size = (mib << 20) * 3 / 2 + (320 << 20);
    for (kind, make) in [("ext4", ext4 as Make), ("XFS", xfs), ("NTFS", ntfs)] {
        let (a, b) = (dir.join("a.img"), dir.join("b.img"));
        make(&a, &one, size)?;
        make(&b, &other, size)?;
        println!("\n{kind}:\n");
        sizes::print(&[("first", &a), ("installed apart", &b)])?;
        fs::remove_file(&a)?;
        fs::remove_file(&b)?;
    }
    fs::remove_dir_all(dir.join("files"))?;
    for page in [4096, 16_384] {
        let (a, b) = (dir.join("a.db"), dir.join("b.db"));
        database(&a, &b, page, mib * 2000)?;
        println!("\ndatabase, pages of {} KiB:\n", page / 1024);
        sizes::print(&[("first", &a), ("a day later", &b)])?;
        fs::remove_file(&a)?;
        fs::remove_file(&b)?;
    }
    Ok(())
}
