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
}
