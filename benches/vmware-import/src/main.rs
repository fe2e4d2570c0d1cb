//! `xenith-import convert` against `qemu-img convert`: processor time of the two programs for the same disk, one
//! after the other, and the same output byte for byte.
//!
//! Usage: `xenith-benches-vmware-import XENITH_IMPORT [SIZE_MIB] [CASE...]`. The time is user plus system of the
//! child alone (`getrusage`); each program runs three times, in turns, and the least counts: on a shared machine
//! the least is the most repeatable. Prints a table, and one line of JSON per case on standard error. Two more things are
//! measured under names of their own: `… XENITH_IMPORT others [SIZE_MIB]` and `… XENITH_IMPORT live FRONT [SIZE_MIB]`.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use xenith_vmware_import_generator as generate;
use xenith_vmware_import_generator::{Options, Order, ParentRef, RawImage, StreamStyle};

mod live;
mod others;

const ROUNDS: usize = 3;

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

#[derive(Clone, Copy, Default)]
struct Cost {
    cpu: f64,
    wall: f64,
    memory_mib: f64,
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

/// Runs a program and tells what it cost. Memory is the largest child so far, so it only grows.
fn run(command: &mut Command, pipe: Option<&Path>) -> anyhow::Result<Cost> {
    let before = children_cpu()?;
    let started = Instant::now();
    command.stdout(Stdio::null());
    if pipe.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    if let (Some(path), Some(mut stdin)) = (pipe, child.stdin.take()) {
        std::io::copy(&mut File::open(path)?, &mut stdin)?;
        stdin.flush()?;
    }
    let status = child.wait()?;
    ensure!(status.success(), "{command:?} failed");
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    Ok(Cost {
        cpu: children_cpu()? - before,
        wall: started.elapsed().as_secs_f64(),
        memory_mib: usage.max_rss() as f64 / 1024.0,
    })
}

fn children_cpu() -> anyhow::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(micros as f64 / 1e6)
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

fn least(costs: &[Cost]) -> Cost {
    costs.iter().copied().min_by(|a, b| a.cpu.total_cmp(&b.cpu)).unwrap_or_default()
}

fn run_case(case: &Case, lab: &Lab, tool: &Path) -> anyhow::Result<(Cost, Cost)> {
    let disk = lab.dir.join("disk.vmdk");
    (case.make)(lab, &disk)?;
    let (theirs_out, ours_out) = (lab.dir.join("theirs.raw"), lab.dir.join("ours.raw"));
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let _ = std::fs::remove_file(&theirs_out);
        let _ = std::fs::remove_file(&ours_out);
        let mut command = Command::new("qemu-img");
        command.args(["convert", "-f", "vmdk", "-O", "raw"]).args([&disk, &theirs_out]);
        theirs.push(run(&mut command, None)?);
        let mut command = Command::new(tool);
        let pipe = match case.input {
            Input::File => None,
            Input::Pipe => Some(disk.clone()),
            Input::Ova => Some(disk.with_extension("ova")),
        };
        command.arg("convert").arg(pipe.as_ref().map_or(disk.as_path(), |_| Path::new("-"))).arg(&ours_out);
        ours.push(run(&mut command, pipe.as_deref())?);
    }
    ensure!(same(&theirs_out, &ours_out)?, "{}: the outputs differ", case.name);
    for entry in std::fs::read_dir(&lab.dir)? {
        let path = entry?.path();
        if path != lab.raw && path != lab.changed {
            std::fs::remove_file(path)?;
        }
    }
    Ok((least(&theirs), least(&ours)))
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

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let tool = PathBuf::from(arguments.first().context("name the xenith-import to measure")?);
    let size = |index: usize| arguments.get(index).map_or(Ok(1024), |size| size.parse::<u64>());
    match arguments.get(1).map(String::as_str) {
        Some("others") => return others::measure(&tool, size(2)?),
        Some("live") => {
            let front = arguments.get(2).context("name the front, built of vmware-import/tests/vcsim")?;
            return live::run(&tool, Path::new(front), size(3)?);
        }
        _ => {}
    }
    let mib: u64 = arguments.get(1).map_or(Ok(1024), |size| size.parse())?;
    let wanted = arguments.get(2..).unwrap_or_default();
    let dir = tempfile::Builder::new().prefix("xenith-bench").tempdir()?;
    let lab = Lab {
        dir: dir.path().to_owned(),
        raw: dir.path().join("reference.raw"),
        changed: dir.path().join("changed.raw"),
    };
    generate::sample(&lab.raw, mib << 20, 60, 1)?;
    change(&lab.raw, &lab.changed)?;
    println!("| disk ({mib} MiB, 60% data) | qemu-img CPU s | ours CPU s | ratio | promised | wall ratio |");
    println!("|---|---|---|---|---|---|");
    let mut missed = Vec::new();
    for case in
        CASES.iter().filter(|c| wanted.is_empty() || wanted.iter().any(|w| c.name.contains(w.as_str())))
    {
        let (theirs, ours) = run_case(case, &lab, &tool)?;
        let (ratio, wall) = (theirs.cpu / ours.cpu, theirs.wall / ours.wall);
        println!(
            "| {} | {:.2} | {:.2} | {ratio:.2} | {} | {wall:.2} |",
            case.name, theirs.cpu, ours.cpu, case.promised
        );
        let line = serde_json::json!({
            "case": case.name, "qemu_cpu": theirs.cpu, "our_cpu": ours.cpu, "ratio": ratio,
            "promised": case.promised, "wall_ratio": wall, "largest_child_mib": ours.memory_mib,
        });
        eprintln!("{line}");
        if ratio < case.promised {
            missed.push(case.name);
        }
    }
    ensure!(missed.is_empty(), "below what is promised: {}", missed.join(", "));
    Ok(())
}
