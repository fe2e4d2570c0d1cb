//! The NBD server against qemu's own client.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::{MIB, noise};

struct Server {
    child: Child,
    uri: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tool() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xenith-backup"));
    command.env("XENITH_PASSPHRASE", "pass");
    command
}

fn serve(repo: &Path, more: &[&str]) -> Server {
    let mut child = tool()
        .args(["serve-nbd", repo.to_str().unwrap(), "vm", "--listen", "127.0.0.1:0"])
        .args(more)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let uri = line.trim().rsplit_once(" at ").unwrap().1.to_owned();
    Server { child, uri }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn qemu_img(args: &[&str]) -> String {
    run(Command::new("qemu-img").args(args))
}

/// A repository with a disk of data, holes and an odd end; `None` where there is no qemu-img to test with.
fn prepared(dir: &Path) -> Option<Vec<u8>> {
    if Command::new("qemu-img").arg("--version").output().is_err() {
        eprintln!("qemu-img is not installed: nothing is tested");
        return None;
    }
    let mut bytes = vec![0; 40 * MIB + 512];
    bytes[MIB + 4096..3 * MIB].copy_from_slice(&noise(1, 2 * MIB - 4096));
    bytes[20 * MIB..21 * MIB].fill(7);
    bytes[40 * MIB..].fill(9);
    std::fs::write(dir.join("disk"), &bytes).unwrap();
    run(tool().args(["init", dir.join("r").to_str().unwrap()]));
    let disk = format!("vm={}", dir.join("disk").display());
    run(tool().args(["backup", dir.join("r").to_str().unwrap(), &disk]));
    Some(bytes)
}

#[test]
fn qemu_reads_a_backup() {
    let dir = tempfile::tempdir().unwrap();
    let Some(bytes) = prepared(dir.path()) else { return };
    let server = serve(&dir.path().join("r"), &[]);
    let out = dir.path().join("out");
    qemu_img(&["convert", "-O", "raw", &server.uri, out.to_str().unwrap()]);
    assert!(std::fs::read(&out).unwrap() == bytes);
    let map: serde_json::Value =
        serde_json::from_str(&qemu_img(&["map", "--output=json", &server.uri])).unwrap();
    let data: u64 = map
        .as_array()
        .unwrap()
        .iter()
        .filter(|extent| extent["data"] == true)
        .map(|extent| extent["length"].as_u64().unwrap())
        .sum();
    assert!(data < 4 * MIB as u64, "holes are not shown: {data} bytes of data");
    let refused =
        Command::new("qemu-io").args(["-f", "raw", "-c", "write 0 4096", &server.uri]).output().unwrap();
    assert!(!refused.status.success(), "a read-only export was written to");
}

#[test]
fn writes_go_to_the_overlay_and_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut bytes) = prepared(dir.path()) else { return };
    let overlay = dir.path().join("overlay");
    let more = ["--overlay", overlay.to_str().unwrap()];
    let server = serve(&dir.path().join("r"), &more);
    let script =
        ["write -P 0xab 1049600 3000", "write -P 0xcd 20971520 1048576", "write -z 2097152 65536", "flush"];
    let mut qemu_io = Command::new("qemu-io");
    qemu_io.args(["-f", "raw"]);
    script.iter().for_each(|line| {
        qemu_io.args(["-c", line]);
    });
    run(qemu_io.arg(&server.uri));
    bytes[1_049_600..1_052_600].fill(0xab);
    bytes[20 * MIB..21 * MIB].fill(0xcd);
    bytes[2 * MIB..2 * MIB + 65536].fill(0);
    // Killed, not shut down.
    drop(server);
    let server = serve(&dir.path().join("r"), &more);
    let out = dir.path().join("out");
    qemu_img(&["convert", "-O", "raw", &server.uri, out.to_str().unwrap()]);
    assert!(std::fs::read(&out).unwrap() == bytes, "the overlay lost writes");
    drop(server);
    let server = serve(&dir.path().join("r"), &[]);
    qemu_img(&["compare", "-f", "raw", "-F", "raw", &server.uri, dir.path().join("disk").to_str().unwrap()]);
    // Over the next backup it would be a disk that never was.
    let (repo, disk) = (dir.path().join("r"), format!("vm={}", dir.path().join("disk").display()));
    run(tool().args(["backup", repo.to_str().unwrap(), &disk]));
    // Nobody listens there, so that it ends in any case.
    let nowhere = ["serve-nbd", repo.to_str().unwrap(), "vm", "--listen", "nowhere"];
    let refused = tool().args(nowhere).args(more).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("holds what was written over vm@"), "{said}");
}

#[test]
fn what_a_boot_read_is_at_hand_at_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let Some(bytes) = prepared(dir.path()) else { return };
    let repo = dir.path().join("r");
    let trace = dir.path().join("boot.trace");
    let more = ["--boot-trace", trace.to_str().unwrap()];
    let boot = ["read 1052672 65536", "read 20971520 131072", "read 2097152 4096"];
    let read = |uri: &str, lines: &[&str]| {
        let mut qemu_io = Command::new("qemu-io");
        qemu_io.args(["-r", "-f", "raw"]);
        lines.iter().for_each(|line| {
            qemu_io.args(["-c", line]);
        });
        let output = qemu_io.arg(uri).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success() && !said.contains("failed") && !said.contains("error")
    };
    let server = serve(&repo, &more);
    assert!(read(&server.uri, &boot));
    drop(server);
    let text = std::fs::read_to_string(&trace).unwrap();
    assert!(text.lines().any(|line| line == "20971520 131072"), "{text}");
    // With a writable overlay what is read ahead is there for good: the data of it, without its map, says so.
    let overlay = dir.path().join("overlay");
    let more = ["--boot-trace", trace.to_str().unwrap(), "--overlay", overlay.to_str().unwrap()];
    let server = serve(&repo, &more);
    let there = |offset: usize, len: usize| {
        std::fs::read(&overlay).is_ok_and(|data| data[offset..offset + len] == bytes[offset..offset + len])
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !(there(1_052_672, 65536) && there(20_971_520, 131_072) && there(2_097_152, 4096)) {
        assert!(std::time::Instant::now() < deadline, "nothing was read ahead");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    // The store goes away: what the last boot read is read, the rest is not to be had.
    std::fs::rename(repo.join("packs"), repo.join("gone")).unwrap();
    assert!(read(&server.uri, &boot), "the guest asks a store that is away");
    assert!(!read(&server.uri, &["read 1576960 65536"]), "nothing could have had this");
    std::fs::rename(repo.join("gone"), repo.join("packs")).unwrap();
    drop(server);
    // A trace of nonsense costs nothing but its reading.
    std::fs::write(&trace, "1 2 3\n99999999999999 4096\n0 99999999999999999\n").unwrap();
    let server = serve(&repo, &["--boot-trace", trace.to_str().unwrap()]);
    let out = dir.path().join("out");
    qemu_img(&["convert", "-O", "raw", &server.uri, out.to_str().unwrap()]);
    assert!(std::fs::read(&out).unwrap() == bytes);
}
