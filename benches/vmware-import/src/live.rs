//! The live data path against `curl` on loopback, over TLS: `xenith-benches-vmware-import [TOOL] live [FRONT] [MIB]`, where
//! FRONT is the program of `vmware-import/tests/vcsim`, built where it is not named. A first pass beside as many connections of curl as ours, and a
//! delta pass of 2% of the disk in areas of 64 KiB beside curl reading just these. Both write files.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::Value;
use xenith_vmware_import_generator as generate;

use crate::ready;

const ROUNDS: usize = 3;
/// As many as a pass has.
const CONNECTIONS: u64 = 4;
const AREA: u64 = 65_536;
/// Of curl's rate.
const FIRST: f64 = 0.9;
/// Of curl's time.
const DELTA: f64 = 1.3;

struct Front {
    child: Child,
    host: String,
    fingerprint: String,
}

impl Drop for Front {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ended_before = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Front {
    fn start(program: &Path, folder: &Path) -> anyhow::Result<Self> {
        let mut child = Command::new(program)
            .arg("-files")
            .arg(folder)
            .arg("-changed")
            .arg(folder.join("changed.json"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run the front")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("a pipe")?).read_line(&mut line)?;
        let ready: Value = serde_json::from_str(&line)?;
        let text =
            |key: &str| ready[key].as_str().map(ToOwned::to_owned).context("the front says too little");
        Ok(Self { host: text("host")?, fingerprint: text("fingerprint")?, child })
    }

    /// Seconds that curl needs for these ranges of the disk.
    fn curl(&self, folder: &Path, ranges: &[(u64, u64)]) -> anyhow::Result<f64> {
        let config = folder.join("curl");
        let mut text = File::create(&config)?;
        for (index, (start, len)) in ranges.iter().enumerate() {
            if index > 0 {
                writeln!(text, "next")?;
            }
            let to = folder.join(format!("curl-{}", index as u64 % CONNECTIONS));
            writeln!(
                text,
                "insecure\nsilent\nfail\nuser = \"user:pass\"\nrange = \"{start}-{}\"\noutput = \"{}\"\n\
                 url = \"https://{}/folder/vm/disk1-flat.vmdk?dsName=LocalDS_0\"",
                start + len - 1,
                to.display(),
                self.host
            )?;
        }
        let started = Instant::now();
        let status = Command::new("curl")
            .args(["--parallel", "--parallel-max", &CONNECTIONS.to_string(), "--config"])
            .arg(&config)
            .status()
            .context("curl is needed")?;
        ensure!(status.success(), "curl failed");
        Ok(started.elapsed().as_secs_f64())
    }

    /// Bytes read and seconds of the newest pass of a move into `folder`.
    fn pass(&self, tool: &Path, folder: &Path, password: &Path) -> anyhow::Result<(u64, f64)> {
        let output = Command::new(tool)
            .args(["vsphere", "warm", &self.host, "--user", "user", "--password-file"])
            .arg(password)
            .args(["--fingerprint", &self.fingerprint, "--datacenter", "DC0", "-o", "json", "DC0_H0_VM0"])
            .arg(folder)
            .output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let state: Value = serde_json::from_slice(&output.stdout)?;
        let pass = state["passes"].as_array().and_then(|all| all.last()).context("no pass")?[0].clone();
        Ok((pass["read"].as_u64().context("read")?, pass["seconds"].as_f64().context("seconds")?))
    }
}

pub fn run(tool: &Path, front: Option<PathBuf>, mib: u64) -> anyhow::Result<()> {
    ready::programs(&[("curl", "curl")])?;
    let dir = tempfile::Builder::new().prefix("xenith-bench").tempdir()?;
    let front = front.map_or_else(|| ready::front(dir.path()), Ok)?;
    let (flat, size) = (dir.path().join("disk1-flat.vmdk"), mib << 20);
    generate::sample(&flat, size, 60, 1)?;
    let text = format!(
        "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"vmfs\"\nRW {} VMFS \"disk1-flat.vmdk\"\n",
        size / 512
    );
    fs::write(dir.path().join("disk1.vmdk"), text)?;
    fs::write(dir.path().join("changed.json"), "[]")?;
    fs::write(dir.path().join("password"), "pass\n")?;
    let server = Front::start(&front, dir.path())?;
    let (password, part) = (dir.path().join("password"), size / CONNECTIONS);
    let whole: Vec<(u64, u64)> = (0..CONNECTIONS).map(|index| (index * part, part)).collect();
    let areas: Vec<(u64, u64)> =
        (0..size / 50 / AREA).map(|index| (index * 50 * AREA + 7 * AREA, AREA)).collect();
    let (mut first, mut delta): (Vec<(f64, f64)>, Vec<(f64, f64)>) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let folder = dir.path().join(format!("move{round}"));
        fs::write(dir.path().join("changed.json"), "[]")?;
        let theirs = server.curl(dir.path(), &whole)?;
        let (read, ours) = server.pass(tool, &folder, &password)?;
        ensure!(read == size, "the first pass read {read} bytes");
        first.push((theirs, ours));
        let file = File::options().write(true).open(&flat)?;
        for (at, len) in &areas {
            file.write_all_at(&vec![round as u8 + 1; *len as usize], *at)?;
        }
        fs::write(dir.path().join("changed.json"), serde_json::to_string(&areas)?)?;
        let theirs = server.curl(dir.path(), &areas)?;
        let (read, ours) = server.pass(tool, &folder, &password)?;
        ensure!(read == areas.len() as u64 * AREA, "the delta pass read {read} bytes");
        delta.push((theirs, ours));
        fs::remove_dir_all(folder)?;
    }
    let least =
        |all: &[(f64, f64)], pick: fn(&(f64, f64)) -> f64| all.iter().map(pick).fold(f64::MAX, f64::min);
    println!("| live, {mib} MiB, {CONNECTIONS} connections | curl s | ours s | ratio | promised |");
    println!("|---|---|---|---|---|");
    let (theirs, ours) = (least(&first, |pair| pair.0), least(&first, |pair| pair.1));
    let rate = theirs / ours;
    println!("| first pass | {theirs:.2} | {ours:.2} | {rate:.2} of curl's rate | {FIRST} |");
    let (theirs, ours) = (least(&delta, |pair| pair.0), least(&delta, |pair| pair.1));
    let time = ours / theirs;
    println!("| delta of 2% | {theirs:.2} | {ours:.2} | {time:.2} of curl's time | {DELTA} |");
    ensure!(rate >= FIRST && time <= DELTA, "not as promised");
    Ok(())
}
