//! Measures `xenith-backup` beside restic, borg and qemu-img on a generated corpus, and what must not grow.
//!
//! `xenith-benches-backup TOOL WORKDIR [MIB_OF_FILES]`: TOOL is a release build of `xenith-backup`; WORKDIR
//! gets the corpus and the repositories, about four times the files' size. CPU seconds are those of the child
//! processes (`getrusage`), so that a busy machine does not falsify the ratios. Bytes and objects are counted
//! in the repositories.
//!
//! `all TOOL WORKDIR [MIB_OF_FILES]` does that, `limits`, and `index` at two sizes, each in a process of its own: every row
//! that the issue promises. Debian's packages for it: e2fsprogs, restic, borgbackup, qemu-utils.
//!
//! `corpus WORKDIR [MIB_OF_FILES]` only makes the corpus. On one that is there: `limits TOOL WORKDIR` a sparse disk of 16
//! TiB, the first byte of a boot, zstd alone and a distant store (`throughput WORKDIR`: only the last two); `index WORKDIR
//! MILLIONS` the index of 100 TiB; `sizes WORKDIR` compares chunk sizes. `images WORKDIR [MIB]` makes disks of other systems
//! and does the same with them; Debian's packages for it: e2fsprogs, xfsprogs, ntfs-3g, sqlite3. Nobody has to be root, and
//! nothing is mounted or booted.

mod corpus;
mod images;
mod limits;
mod measure;
mod sizes;
mod tools;

use std::path::Path;

use anyhow::{Context, Result, bail};

const USAGE: &str = "usage: xenith-benches-backup TOOL WORKDIR [MIB_OF_FILES] | all TOOL WORKDIR [MIB_OF_FILES] | corpus WORKDIR [MIB_OF_FILES] | throughput WORKDIR | limits TOOL WORKDIR | index WORKDIR MILLIONS | sizes WORKDIR | images WORKDIR [MIB]";

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["sizes", dir] => {
            let image = |name: &str| Path::new(dir).join(name);
            let (day1, day2, install) = (image("day1.img"), image("day2.img"), image("install.img"));
            sizes::print(&[("day 1", &day1), ("day 2", &day2), ("separate install", &install)])
        }
        ["images", dir] => images::compare(Path::new(dir), 256),
        ["images", dir, mib] => images::compare(Path::new(dir), mib.parse().context(USAGE)?),
        ["corpus", dir] => corpus_only(Path::new(dir), 2048),
        ["corpus", dir, mib] => corpus_only(Path::new(dir), mib.parse().context(USAGE)?),
        ["throughput", dir] => limits::distance(&Path::new(dir).join("day1.img")),
        ["limits", ours, dir] => {
            let dir = Path::new(dir);
            limits::first_byte(ours, &dir.join("repo-xenith"))?;
            limits::distance(&dir.join("day1.img"))?;
            limits::sparse(ours, dir)
        }
        ["all", tool, dir] => all(tool, dir, "2048"),
        ["all", tool, dir, mib] => all(tool, dir, mib),
        ["index", dir, millions] => {
            let entries: u64 = millions.parse().context(USAGE)?;
            limits::index(Path::new(dir), &Path::new(dir).join("day1.img"), entries * 1_000_000)
        }
        [tool, dir] => compare(tool, Path::new(dir), 2048),
        [tool, dir, mib] => compare(tool, Path::new(dir), mib.parse().context(USAGE)?),
        _ => bail!(USAGE),
    }
}

/// Everything, step by step. Memory is that of a process, so each step is one.
fn all(tool: &str, dir: &str, mib: &str) -> Result<()> {
    let own = std::env::current_exe()?;
    let steps: [&[&str]; 4] =
        [&[tool, dir, mib], &["limits", tool, dir], &["index", dir, "10"], &["index", dir, "50"]];
    for step in steps {
        println!("\n{}:\n", step.join(" "));
        let status = std::process::Command::new(&own).args(step).status()?;
        if !status.success() {
            bail!("{} failed: {status}", step.join(" "));
        }
    }
    Ok(())
}

fn corpus_only(dir: &Path, mib: u64) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    corpus::make(&dir.canonicalize()?, mib).map(drop)
}

fn compare(tool: &str, dir: &Path, mib: u64) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    // Some tools are run in other folders.
    let dir = &dir.canonicalize()?;
    let corpus = corpus::make(dir, mib)?;
    let measured = tools::run_all(tool, dir, &corpus)?;
    tools::print(&measured, &corpus);
    Ok(())
}
