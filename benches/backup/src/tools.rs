//! The same steps with each tool, and the table.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use xenith_backup::packer::PackLimits;

use crate::corpus::Corpus;
use crate::measure::{Cost, run};

/// One step of one tool.
pub struct Row {
    pub step: &'static str,
    pub tool: &'static str,
    pub cost: Cost,
}

const PASS: &str = "bench";

struct Bench<'a> {
    ours: &'a str,
    dir: &'a Path,
    corpus: &'a Corpus,
    rows: Vec<Row>,
    /// Bytes that the increment with changed ranges read.
    read: u64,
}

/// What the last row of a listing says was read.
fn read_of_newest(listing: Vec<u8>) -> Result<u64> {
    let text = String::from_utf8(listing)?;
    let last = text.rsplit_once("\"read\": ").map(|(_, rest)| rest).unwrap_or_default();
    Ok(last.chars().take_while(char::is_ascii_digit).collect::<String>().parse()?)
}

/// The rows, and the bytes that our increment with changed ranges read.
pub fn run_all(ours: &str, dir: &Path, corpus: &Corpus) -> Result<(Vec<Row>, u64)> {
    let mut bench = Bench { ours, dir, corpus, rows: Vec::new(), read: 0 };
    bench.xenith()?;
    if Command::new("restic").arg("version").output().is_ok() {
        bench.restic()?;
    }
    if Command::new("borg").arg("--version").output().is_ok() {
        bench.borg()?;
    }
    if Command::new("qemu-img").arg("--version").output().is_ok() {
        bench.qemu_img()?;
    }
    Ok((bench.rows, bench.read))
}

impl Bench<'_> {
    fn fresh(&self, name: &str) -> PathBuf {
        let path = self.dir.join(name);
        let _ = std::fs::remove_dir_all(&path);
        let _ = std::fs::remove_file(&path);
        path
    }

    fn step(
        &mut self,
        step: &'static str,
        tool: &'static str,
        command: &mut Command,
        repo: &Path,
    ) -> Result<()> {
        let cost = run(command, repo)?;
        eprintln!(
            "{tool:8} {step:26} {:8.2} CPU s {:8.2} s {:8.1} MiB {:6} objects",
            cost.cpu,
            cost.wall,
            cost.bytes as f64 / 1048576.0,
            cost.objects
        );
        self.rows.push(Row { step, tool, cost });
        Ok(())
    }

    fn xenith(&mut self) -> Result<()> {
        let repo = self.fresh("repo-xenith");
        let second = self.fresh("repo-xenith-ranges");
        let ours = self.ours.to_owned();
        let tool = |args: &[&str], repo: &Path| {
            let mut command = Command::new(&ours);
            command.env("XENITH_PASSPHRASE", PASS).arg(args[0]).arg(repo).args(&args[1..]);
            command
        };
        let disk = |name: &str, path: &Path| format!("{name}={}", path.display());
        let (day1, day2) = (disk("vm", &self.corpus.day1), disk("vm", &self.corpus.day2));
        let (clone, install) = (disk("clone", &self.corpus.clone), disk("install", &self.corpus.install));
        let ranges = self.corpus.ranges.display().to_string();
        let out = self.fresh("out");
        let target = out.display().to_string();
        let steps: Vec<(&'static str, Command, &Path)> = vec![
            ("init", tool(&["init"], &repo), &repo),
            ("full", tool(&["backup", &day1, "--level", "3"], &repo), &repo),
            ("increment, whole image", tool(&["backup", &day2, "--level", "3"], &repo), &repo),
            ("clone", tool(&["backup", &clone, "--level", "3"], &repo), &repo),
            ("separate install", tool(&["backup", &install, "--level", "3"], &repo), &repo),
            ("restore", tool(&["restore", "install", &target], &repo), &repo),
            ("deep verify", tool(&["verify", "--deep"], &repo), &repo),
            ("init 2", tool(&["init"], &second), &second),
            ("full 2", tool(&["backup", &day1, "--level", "3"], &second), &second),
            (
                "increment, changed ranges",
                tool(&["backup", &day2, "--level", "3", "--changed-ranges", &ranges], &second),
                &second,
            ),
        ];
        for (step, mut command, repo) in steps {
            self.step(step, "xenith", &mut command, repo)?;
        }
        self.read = read_of_newest(tool(&["list", "-o", "json"], &second).output()?.stdout)?;
        std::fs::remove_dir_all(&second)?;
        self.compare(&out, &self.corpus.install.clone())
    }

    /// A restore that is fast and wrong would be no result.
    fn compare(&self, out: &Path, original: &Path) -> Result<()> {
        let same = Command::new("cmp").arg(out).arg(original).status()?.success();
        anyhow::ensure!(same, "{} differs from {}", out.display(), original.display());
        std::fs::remove_file(out)?;
        Ok(())
    }

    fn restic(&mut self) -> Result<()> {
        let repo = self.fresh("repo-restic");
        let out = self.fresh("out-restic");
        let tool = |args: &[&str]| {
            let mut command = Command::new("restic");
            command.env("RESTIC_PASSWORD", PASS).args(["--no-cache", "-q", "-r"]).arg(&repo).args(args);
            command
        };
        // restic finds a base by path: one path for both days, as one disk has.
        let disk = self.dir.join("disk.img");
        let link = |to: &Path| -> Result<()> {
            let _ = std::fs::remove_file(&disk);
            Ok(std::fs::hard_link(to, &disk)?)
        };
        let backup = |path: &Path| {
            let path = path.display().to_string();
            tool(&["backup", &path])
        };
        let mut init = tool(&["init", "--repository-version", "2"]);
        self.step("init", "restic", &mut init, &repo)?;
        link(&self.corpus.day1)?;
        self.step("full", "restic", &mut backup(&disk), &repo)?;
        link(&self.corpus.day2)?;
        self.step("increment, whole image", "restic", &mut backup(&disk), &repo)?;
        self.step("clone", "restic", &mut backup(&self.corpus.clone), &repo)?;
        self.step("separate install", "restic", &mut backup(&self.corpus.install), &repo)?;
        let target = out.display().to_string();
        let mut restore = tool(&["restore", "latest", "--sparse", "--target", &target]);
        if run(&mut restore, &repo).is_err() {
            // Versions before 0.15 know no --sparse.
            let _ = std::fs::remove_dir_all(&out);
        } else {
            let _ = std::fs::remove_dir_all(&out);
        }
        let mut restore = tool(&["restore", "latest", "--target", &target]);
        self.step("restore", "restic", &mut restore, &repo)?;
        let _ = std::fs::remove_dir_all(&out);
        self.step("deep verify", "restic", &mut tool(&["check", "--read-data"]), &repo)?;
        std::fs::remove_file(&disk)?;
        Ok(std::fs::remove_dir_all(&repo)?)
    }

    fn borg(&mut self) -> Result<()> {
        let repo = self.fresh("repo-borg");
        let cache = self.fresh("borg-cache");
        let tool = |args: &[&str]| {
            let mut command = Command::new("borg");
            command.env("BORG_PASSPHRASE", PASS).env("BORG_BASE_DIR", &cache).args(args);
            command
        };
        let at = |archive: &str| format!("{}::{archive}", repo.display());
        let path = repo.display().to_string();
        let create = |archive: &str, disk: &Path| {
            let mut command = tool(&["create", "--compression", "zstd,3", &at(archive)]);
            command.arg(disk);
            command
        };
        self.step("init", "borg", &mut tool(&["init", "-e", "repokey-blake2", &path]), &repo)?;
        self.step("full", "borg", &mut create("day1", &self.corpus.day1), &repo)?;
        self.step("increment, whole image", "borg", &mut create("day2", &self.corpus.day2), &repo)?;
        self.step("clone", "borg", &mut create("clone", &self.corpus.clone), &repo)?;
        self.step("separate install", "borg", &mut create("install", &self.corpus.install), &repo)?;
        let mut extract = tool(&["extract", "--sparse", &at("install")]);
        let out = self.fresh("out-borg");
        std::fs::create_dir_all(&out)?;
        self.step("restore", "borg", extract.current_dir(&out), &repo)?;
        let _ = std::fs::remove_dir_all(&out);
        self.step("deep verify", "borg", &mut tool(&["check", "--verify-data", &path]), &repo)?;
        Ok(std::fs::remove_dir_all(&repo)?)
    }

    fn qemu_img(&mut self) -> Result<()> {
        let out = self.fresh("qemu.qcow2");
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-c", "-O", "qcow2", "-o", "compression_type=zstd"]);
        self.step("full", "qemu-img", convert.arg(&self.corpus.day1).arg(&out), &out)?;
        std::fs::remove_file(&out)?;
        Ok(())
    }
}

/// The table, and each promised ratio with what was measured.
pub fn print((rows, read): &(Vec<Row>, u64), corpus: &Corpus) {
    println!(
        "| step | tool | CPU s | wall s | MiB added | objects | peak MiB |\n|---|---|---|---|---|---|---|"
    );
    for row in rows.iter().filter(|row| !row.step.starts_with("init")) {
        let cost = row.cost;
        println!(
            "| {} | {} | {:.2} | {:.2} | {:.1} | {} | {} |",
            row.step,
            row.tool,
            cost.cpu,
            cost.wall,
            cost.bytes as f64 / 1048576.0,
            cost.objects,
            cost.peak >> 20
        );
    }
    println!("\nchanged between the days: {:.1} MiB\n", corpus.changed_bytes as f64 / 1048576.0);
    println!("| promise | limit | measured |\n|---|---|---|");
    let find =
        |step: &str, tool: &str| rows.iter().find(|r| r.step == step && r.tool == tool).map(|r| r.cost);
    let cpu = |cost: Cost| cost.cpu;
    let bytes = |cost: Cost| cost.bytes as f64;
    type Figure = fn(Cost) -> f64;
    let promises: [(&str, &str, &str, &str, Figure, f64); 7] = [
        ("full: CPU to restic's", "full", "full", "restic", cpu, 0.35),
        ("full: CPU to borg's", "full", "full", "borg", cpu, 0.6),
        (
            "increment, whole image: CPU to restic's",
            "increment, whole image",
            "increment, whole image",
            "restic",
            cpu,
            0.2,
        ),
        (
            "increment: bytes to restic's",
            "increment, changed ranges",
            "increment, whole image",
            "restic",
            bytes,
            0.55,
        ),
        (
            "separate install: bytes to restic's",
            "separate install",
            "separate install",
            "restic",
            bytes,
            0.45,
        ),
        ("restore: CPU to restic's", "restore", "restore", "restic", cpu, 0.6),
        ("deep verify: CPU to restic's", "deep verify", "deep verify", "restic", cpu, 0.4),
    ];
    for (name, ours, theirs, tool, figure, limit) in promises {
        match (find(ours, "xenith"), find(theirs, tool)) {
            (Some(a), Some(b)) => {
                let ratio = figure(a) / figure(b);
                println!("| {name} | {limit} | {ratio:.3}{} |", verdict(ratio, limit));
            }
            _ => println!("| {name} | {limit} | not shown: {tool} is not installed |"),
        }
    }
    let image = corpus.size as f64;
    let share = *read as f64 / image;
    println!(
        "| changed ranges: read of the image | 0.05 for 0.016 changed | {share:.4} for {:.4}{} |",
        corpus.changed_bytes as f64 / image,
        verdict(share, 0.05)
    );
    if let Some(full) = find("full", "xenith") {
        print_objects(full, corpus);
    }
    let ours = rows.iter().filter(|row| row.tool == "xenith").map(|row| row.cost.peak).max().unwrap_or(0);
    println!(
        "| peak memory of any of our steps, MiB | 256 | {}{} |",
        ours >> 20,
        verdict((ours >> 20) as f64, 256.0)
    );
}

fn verdict(found: f64, limit: f64) -> &'static str {
    if found <= limit { "" } else { ": **missed**" }
}

/// What grows with the data is packs, and a segment of the index for each 256 Ki of entries. The config, the keys, the manifest
/// and the leases of this one small repository would be counted five hundred times if they were scaled up.
fn print_objects(full: Cost, corpus: &Corpus) {
    /// Chunks of 64 KiB in a TiB, by those in a segment.
    const SEGMENTS: f64 = 64.0;
    let per = |objects: u64, bytes: u64| objects as f64 * (1u64 << 40) as f64 / bytes as f64;
    let grows = per(full.packs, corpus.data_bytes) + SEGMENTS;
    println!("| objects per TiB of data | 12500 | {grows:.0}{} |", verdict(grows, 12_500.0));
    // A pack of the largest size after the other; the map takes 35 bytes for each chunk, in packs of its own.
    let packs = (1u64 << 40) as f64 / PackLimits::DATA.bytes as f64;
    let map = (1u64 << 40) as f64 / 65_536.0 * 35.0 / PackLimits::MAPS.bytes as f64;
    let (beside, limit) = (map + SEGMENTS, 12_500.0);
    println!("| — where nothing can be compressed, by arithmetic | | {:.0} |", packs + beside);
    println!(
        "| — kept for data that shrinks to at most, by arithmetic | | {:.2} |",
        (limit - beside) / packs
    );
    println!(
        "| — if all of this small repository are scaled | | {:.0} |",
        per(full.objects, corpus.data_bytes)
    );
    println!("| objects per TiB of disk | | {:.0} |", per(full.packs, corpus.size) + SEGMENTS);
}
