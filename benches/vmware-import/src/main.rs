//! `xenith-import convert` against `qemu-img convert`: processor time of the two programs for the same disk, one
//! after the other, and the same output byte for byte.
//!
//! Usage: `xenith-benches-vmware-import [XENITH_IMPORT] [ratios] [SIZE_MIB] [CASE...]`. Each program runs three times, in
//! turns, and the least counts: on a shared machine the least is the most repeatable. Prints a table, and one line of JSON
//! per case on standard error; what misses its promise is listed at the end, and the exit status tells. Two more things are
//! measured under names of their own: `… [XENITH_IMPORT] others [SIZE_MIB]` and `… [XENITH_IMPORT] live [FRONT] [SIZE_MIB]`.
//! What is not named is built.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use xenith_vmware_import_generator as generate;
use xenith_vmware_import_generator::{Options, Order, ParentRef, RawImage, StreamStyle};

use crate::measure::{Cost, least, most, run};

mod live;
mod measure;
mod others;
mod ready;

const ROUNDS: usize = 3;
/// Of any image.
const MEMORY_MIB: f64 = 64.0;
/// Wall time of a stream, on two cores or more that are idle.
const STREAM_WALL: f64 = 3.0;

/// What a case is made from, and how it is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Input {
    File,
    /// Ours through a pipe; qemu-img, which cannot, from the file.
    Pipe,
    /// Ours an OVA around the disk, through a pipe; qemu-img the bare disk, which an `ova` beside it holds.
    Ova,
}

struct Case {
    name: &'static str,
    make: fn(&Lab, &Path) -> anyhow::Result<()>,
    input: Input,
    /// The least ratio of processor time that is promised.
    promised: f64,
}

struct Lab {
    dir: PathBuf,
    raw: PathBuf,
    /// `raw` with 10% rewritten.
    changed: PathBuf,
}

fn options(order: Order) -> Options {
    Options { cid: 7, order, ..Options::default() }
}

fn qemu(lab: &Lab, path: &Path, subformat: &str) -> anyhow::Result<()> {
    let status = Command::new("qemu-img")
        .args(["convert", "-f", "raw", "-O", "vmdk", "-o", &format!("subformat={subformat}")])
        .args([&lab.raw, path])
        .status()
        .context("qemu-img is needed")?;
    ensure!(status.success(), "qemu-img cannot make {subformat}");
    Ok(())
}

fn chain(lab: &Lab, path: &Path, make: fn(&Path, &RawImage, &Options)) -> anyhow::Result<()> {
    let base = lab.dir.join("base.vmdk");
    generate::monolithic_sparse(&base, &RawImage::open(&lab.raw)?, &options(Order::AsOnDisk))?;
    let parent = Some(ParentRef { cid: 7, hint: "base.vmdk".to_owned() });
    make(path, &RawImage::changes(&lab.changed, &lab.raw)?, &Options { parent, ..options(Order::AsOnDisk) });
    Ok(())
}

const SHUFFLED: Order = Order::Shuffled(3);

const CASES: &[Case] = &[
    Case { name: "flat", make: |l, p| qemu(l, p, "monolithicFlat"), input: Input::File, promised: 1.2 },
    Case { name: "sparse", make: |l, p| qemu(l, p, "monolithicSparse"), input: Input::File, promised: 1.5 },
    Case {
        name: "sparse shuffled",
        make: |l, p| Ok(generate::monolithic_sparse(p, &RawImage::open(&l.raw)?, &options(SHUFFLED))?),
        input: Input::File,
        promised: 1.5,
    },
    Case {
        name: "split sparse",
        make: |l, p| qemu(l, p, "twoGbMaxExtentSparse"),
        input: Input::File,
        promised: 1.5,
    },
    Case {
        name: "chain sparse<-sparse",
        make: |l, p| {
            chain(l, p, |p, c, o| generate::monolithic_sparse(p, c, o).expect("the folder is writable"))
        },
        input: Input::File,
        promised: 1.5,
    },
    Case {
        name: "chain sparse<-sesparse",
        make: |l, p| chain(l, p, |p, c, o| generate::se_sparse(p, c, o).expect("the folder is writable")),
        input: Input::File,
        promised: 1.5,
    },
    Case {
        name: "stream file",
        make: |l, p| qemu(l, p, "streamOptimized"),
        input: Input::File,
        promised: 2.2,
    },
    Case {
        name: "stream file, VMware style",
        make: |l, p| stream(l, p, Order::AsOnDisk),
        input: Input::File,
        promised: 2.2,
    },
    Case {
        name: "stream pipe, VMware style",
        make: |l, p| stream(l, p, Order::AsOnDisk),
        input: Input::Pipe,
        promised: 2.2,
    },
    Case { name: "OVA pipe, SHA-256 manifest", make: ova, input: Input::Ova, promised: 2.2 },
    Case {
        name: "sesparse",
        make: |l, p| Ok(generate::se_sparse(p, &RawImage::open(&l.raw)?, &options(Order::AsOnDisk))?),
        input: Input::File,
        promised: 10.0,
    },
    Case {
        name: "sesparse shuffled",
        make: |l, p| Ok(generate::se_sparse(p, &RawImage::open(&l.raw)?, &options(SHUFFLED))?),
        input: Input::File,
        promised: 5.0,
    },
    Case {
        name: "cowd",
        make: |l, p| Ok(generate::vmfs_sparse(p, &RawImage::open(&l.raw)?, &options(Order::AsOnDisk))?),
        input: Input::File,
        promised: 40.0,
    },
    Case {
        name: "cowd shuffled",
        make: |l, p| Ok(generate::vmfs_sparse(p, &RawImage::open(&l.raw)?, &options(SHUFFLED))?),
        input: Input::File,
        promised: 5.0,
    },
];

fn stream(lab: &Lab, path: &Path, order: Order) -> anyhow::Result<()> {
    let content = RawImage::open(&lab.raw)?;
    Ok(generate::stream_optimized(path, &content, &options(order), StreamStyle::VMware)?)
}

/// The disk as a stream, and `disk.ova` beside it with the manifest in front.
fn ova(lab: &Lab, path: &Path) -> anyhow::Result<()> {
    stream(lab, path, Order::AsOnDisk)?;
    let disk = std::fs::read(path)?;
    let size = std::fs::metadata(&lab.raw)?.len();
    let ovf = generate::ovf_text(&["disk.vmdk"], size, "");
    let sum = Command::new("sha256sum").arg(path).output().context("sha256sum is needed")?.stdout;
    let sum = String::from_utf8_lossy(&sum[..64]).into_owned();
    let manifest = format!("SHA256(disk.vmdk)= {sum}\n");
    let members = [("vm.ovf", ovf.as_bytes()), ("vm.mf", manifest.as_bytes()), ("disk.vmdk", &disk[..])];
    Ok(generate::tar(&path.with_extension("ova"), &members)?)
}

fn same(a: &Path, b: &Path) -> anyhow::Result<bool> {
    let (mut a, mut b) = (BufReader::new(File::open(a)?), BufReader::new(File::open(b)?));
    let (mut x, mut y) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let (n, m) = (fill(&mut a, &mut x)?, fill(&mut b, &mut y)?);
        if n != m || x[..n] != y[..m] {
            return Ok(false);
        }
        if n == 0 {
            return Ok(true);
        }
    }
}

fn fill(from: &mut impl Read, buf: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match from.read(&mut buf[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// What each round cost them, and us.
fn run_case(case: &Case, lab: &Lab, tool: &Path) -> anyhow::Result<(Vec<Cost>, Vec<Cost>)> {
    let disk = lab.dir.join("disk.vmdk");
    (case.make)(lab, &disk)?;
    let (theirs_out, ours_out) = (lab.dir.join("theirs.raw"), lab.dir.join("ours.raw"));
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let _ = std::fs::remove_file(&theirs_out);
        let _ = std::fs::remove_file(&ours_out);
        let mut command = Command::new("qemu-img");
        command.args(["convert", "-f", "vmdk", "-O", "raw"]).args([&disk, &theirs_out]);
        theirs.push(run(&command, None)?);
        let mut command = Command::new(tool);
        let pipe = match case.input {
            Input::File => None,
            Input::Pipe => Some(disk.clone()),
            Input::Ova => Some(disk.with_extension("ova")),
        };
        command.arg("convert").arg(pipe.as_ref().map_or(disk.as_path(), |_| Path::new("-"))).arg(&ours_out);
        ours.push(run(&command, pipe.as_deref())?);
    }
    ensure!(same(&theirs_out, &ours_out)?, "{}: the outputs differ", case.name);
    for entry in std::fs::read_dir(&lab.dir)? {
        let path = entry?.path();
        if path != lab.raw && path != lab.changed {
            std::fs::remove_file(path)?;
        }
    }
    Ok((theirs, ours))
}

/// Rewrites about a tenth of `from` into `to`.
fn change(from: &Path, to: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::FileExt;
    std::fs::copy(from, to)?;
    let file = File::options().write(true).open(to)?;
    let size = file.metadata()?.len();
    let mut random = generate::Random(99);
    let mut left = size / 10;
    while left > 0 {
        let len = (4096u64 << (random.draw() % 6)).min(left.max(4096));
        let at = random.draw() % (size - len) / 4096 * 4096;
        let data: Vec<u8> = (0..len / 8).flat_map(|_| random.draw().to_le_bytes()).collect();
        file.write_all_at(&data, at)?;
        left = left.saturating_sub(len);
    }
    Ok(())
}

fn ratios(tool: &Path, mib: u64, wanted: &[String]) -> anyhow::Result<()> {
    ready::programs(&[("qemu-img", "qemu-utils"), ("sha256sum", "coreutils")])?;
    let dir = tempfile::Builder::new().prefix("xenith-bench").tempdir()?;
    let lab = Lab {
        dir: dir.path().to_owned(),
        raw: dir.path().join("reference.raw"),
        changed: dir.path().join("changed.raw"),
    };
    generate::sample(&lab.raw, mib << 20, 60, 1)?;
    change(&lab.raw, &lab.changed)?;
    println!(
        "| disk ({mib} MiB, 60% data) | qemu-img CPU s | ours CPU s | ratio | promised | wall ratio | promised | our MiB |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut missed = Vec::new();
    let chosen =
        |case: &&Case| wanted.is_empty() || wanted.iter().any(|word| case.name.contains(word.as_str()));
    for case in CASES.iter().filter(chosen) {
        let (theirs, ours) = run_case(case, &lab, tool)?;
        missed.extend(case.show((&theirs, &ours)));
    }
    ensure!(missed.is_empty(), "not as promised: {}", missed.join("; "));
    Ok(())
}

impl Case {
    /// Only where two workers have a core each.
    fn wall_promised(&self) -> Option<f64> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (matches!(self.input, Input::Pipe | Input::Ova) && cores > 1).then_some(STREAM_WALL)
    }

    /// Prints its line; returns what it misses.
    fn show(&self, (theirs, ours): (&[Cost], &[Cost])) -> Vec<String> {
        let (their_cpu, our_cpu) = (least(theirs, |cost| cost.cpu), least(ours, |cost| cost.cpu));
        let wall = least(theirs, |cost| cost.wall) / least(ours, |cost| cost.wall);
        let (ratio, memory) = (their_cpu / our_cpu, most(ours, |cost| cost.memory_mib));
        let wall_promised = self.wall_promised();
        let text = wall_promised.map_or_else(String::new, |promised| promised.to_string());
        println!(
            "| {} | {their_cpu:.2} | {our_cpu:.2} | {ratio:.2} | {} | {wall:.2} | {text} | {memory:.1} |",
            self.name, self.promised
        );
        let line = serde_json::json!({
            "case": self.name, "qemu_cpu": their_cpu, "our_cpu": our_cpu, "ratio": ratio,
            "promised": self.promised, "wall_ratio": wall, "wall_promised": wall_promised, "our_memory_mib": memory,
        });
        eprintln!("{line}");
        let misses = [
            (ratio < self.promised, "CPU"),
            (wall_promised.is_some_and(|promised| wall < promised), "wall"),
            (memory > MEMORY_MIB, "memory"),
        ];
        misses.iter().filter(|(is, _)| *is).map(|(_, what)| format!("{}: {what}", self.name)).collect()
    }
}

fn size(words: &mut VecDeque<String>, default: u64) -> anyhow::Result<u64> {
    let Some(word) = words.pop_front() else { return Ok(default) };
    word.parse().with_context(|| format!("{word:?} is no size in MiB"))
}

/// A file that the next word names.
fn named(words: &mut VecDeque<String>) -> anyhow::Result<Option<PathBuf>> {
    let is_file = words.front().is_some_and(|word| Path::new(word).is_file());
    let path = if is_file { words.pop_front() } else { None };
    Ok(path.map(std::fs::canonicalize).transpose()?)
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some((first, rest)) = arguments.split_first()
        && first == measure::ALONE
    {
        return measure::alone(rest);
    }
    let mut words: VecDeque<String> =
        arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let named_tool = named(&mut words)?;
    let tool = || named_tool.map_or_else(ready::tool, Ok);
    let what = words.front().cloned().unwrap_or_default();
    if ["ratios", "others", "live"].contains(&what.as_str()) {
        words.pop_front();
    }
    match what.as_str() {
        "others" => {
            let mib = size(&mut words, 1024)?;
            others::measure(&tool()?, mib)
        }
        "live" => {
            let front = named(&mut words)?;
            let mib = size(&mut words, 512)?;
            live::run(&tool()?, front, mib)
        }
        _ => {
            let mib = size(&mut words, 512)?;
            ratios(&tool()?, mib, words.make_contiguous())
        }
    }
}
