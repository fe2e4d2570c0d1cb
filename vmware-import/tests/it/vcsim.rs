//! govmomi's simulator of vSphere behind `tests/vcsim`, in a process of its own that ends with its value. Without Go and
//! the library the tests say so and end. Those of the orchestrator share this file.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub struct Server {
    pub child: Child,
    pub host: String,
    pub fingerprint: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ended_before = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Server {
    pub fn start(arguments: &[&str]) -> Option<Self> {
        // A build takes a second, since Go keeps what it compiled; a program that runs needs its file no more.
        let folder = tempfile::tempdir().unwrap();
        let binary = folder.path().join("vcsim");
        if !build(&binary) {
            eprintln!("golang-go and golang-github-vmware-govmomi-dev are not installed: this is not tested");
            return None;
        }
        let mut child = Command::new(&binary)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let text = |key: &str| ready[key].as_str().unwrap().to_owned();
        Some(Self { host: text("host"), fingerprint: text("fingerprint"), child })
    }
}

/// False where Go or the library is missing.
fn build(binary: &Path) -> bool {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../vmware-import/tests/vcsim");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(binary)
        .arg(".")
        .current_dir(source)
        .envs([("GO111MODULE", "off"), ("GOPATH", "/usr/share/gocode"), ("GOFLAGS", "")])
        .output();
    let is_there = Path::new("/usr/share/gocode/src/github.com/vmware/govmomi").exists();
    let Some(output) = built.ok().filter(|_| is_there) else { return false };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    true
}

/// The descriptor of `disk1-flat.vmdk`, of so many bytes.
pub fn descriptor(bytes: u64) -> String {
    format!(
        "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"vmfs\"\nRW {} VMFS \"disk1-flat.vmdk\"\n",
        bytes / 512
    )
}
