//! A Debian that lacks Xen's drivers comes from VMware, is prepared in a helper VM, boots and answers.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use xenith_lab::{LabPaths, Progress, vmware};
use xenith_lab_scenario::{Stage, until};
use xenith_orchestrator_api::{import, vm};
use xenith_orchestrator_types::import::{Import, ImportPhase};
use xenith_vmware_import_generator::{self as generate, Options, StreamStyle};

use crate::MINUTE;

/// GRUB, a kernel, systemd and a network under emulation on top of emulation.
const ANSWERS_WITHIN: std::time::Duration = std::time::Duration::from_secs(30 * 60);

/// The package, as ovftool writes it.
fn package(disk: &Path, folder: &Path) -> Result<PathBuf> {
    let content = generate::RawImage::open(disk)?;
    let stream = folder.join("stream.vmdk");
    generate::stream_optimized(&stream, &content, &Options::default(), StreamStyle::VMware)?;
    let capacity = std::fs::metadata(disk)?.len();
    let ovf = generate::ovf_text(&["disk.vmdk"], capacity, "");
    let ova = folder.join("guest.ova");
    generate::tar(&ova, &[("guest.ovf", ovf.as_bytes()), ("disk.vmdk", &std::fs::read(&stream)?)])?;
    std::fs::remove_file(stream)?;
    Ok(ova)
}

async fn shown(stage: &Stage, name: &str) -> Result<Import> {
    stage.orchestrator.call::<import::Get>(json!({ "import": name })).await
}

/// Prepared, running, and it answers; then it goes.
async fn answers(stage: &Stage, name: &str) -> Result<()> {
    let import = shown(stage, name).await?;
    ensure!(import.phase == ImportPhase::Done, "{import:?}");
    let preparation = import.preparation.context("its guest was not looked at")?;
    eprintln!("    {} {:?}", preparation.os, preparation.changes);
    ensure!(preparation.outcome == "prepared", "{preparation:?}");
    ensure!(preparation.changes.iter().any(|change| change.contains("update-initramfs")), "{preparation:?}");
    let left = stage
        .dom0("ls /var/lib/xenith/imports 2>/dev/null | wc -l; xl list | grep -c xenith-prepare || true")
        .await?;
    ensure!(left.split_whitespace().all(|count| count == "0"), "the helper has left something: {left}");
    let ping = format!("ping -c 1 -W 2 {} >/dev/null 2>&1 && echo yes || echo no", vmware::ADDRESS);
    let heard = until("the guest answers", ANSWERS_WITHIN, async || {
        Ok((stage.dom0(&ping).await?.trim() == "yes").then_some(()))
    })
    .await;
    if heard.is_err() {
        eprintln!(
            "{}",
            stage
                .dom0(&format!("xl list; tail -c 4000 /var/log/xen/qemu-dm-{name}.log; ls /var/log/xen"))
                .await?
        );
    }
    heard?;
    // Xen's own drivers, not the emulated disk: that is what the preparation is for.
    let front = stage
        .dom0(&format!(
            "xenstore-ls -f | grep \"/backend/vbd/$(xl domid {name})/.*/state\" | grep -c '\"4\"'"
        ))
        .await?;
    ensure!(front.trim() != "0", "the guest's disk front-end is not connected");
    stage.orchestrator.done::<vm::PowerOff>(json!({ "vm": name }), 2 * MINUTE).await?;
    stage.orchestrator.done::<vm::Delete>(json!({ "vm": name }), 2 * MINUTE).await.map(drop)
}

pub async fn ova(stage: &Stage) -> Result<()> {
    let disk = vmware::ensure(&LabPaths::from_env(), &Progress::stderr()).await?;
    let folder = tempfile::tempdir()?;
    let ova = package(&disk, folder.path())?;
    let ova = ova.to_str().context("a folder that is no text")?;
    let flags = [
        "--name",
        "from-ova",
        "--memory",
        "384MiB",
        "--vcpus",
        "1",
        "--firmware",
        "bios",
        "--network",
        "lan",
        "--start",
    ];
    stage.orchestrator.cli(&[&["import", "upload", ova][..], &flags[..]].concat()).await?;
    answers(stage, "from-ova").await
}

/// govmomi's simulator with a VM that has the disk.
struct Esxi {
    child: Child,
    _folder: tempfile::TempDir,
    port: u16,
    fingerprint: String,
}

impl Drop for Esxi {
    fn drop(&mut self) {
        let _ended_before = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn simulator(disk: &Path) -> Result<Esxi> {
    let folder = tempfile::tempdir()?;
    let binary = folder.path().join("vcsim");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&binary)
        .arg(".")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vmware-import/tests/vcsim"))
        .envs([("GO111MODULE", "off"), ("GOPATH", "/usr/share/gocode"), ("GOFLAGS", "")])
        .status()
        .context("cannot run go; install golang-go and golang-github-vmware-govmomi-dev")?;
    ensure!(built.success(), "the simulator does not build");
    let files = folder.path().join("files");
    std::fs::create_dir(&files)?;
    std::os::unix::fs::symlink(disk, files.join("disk1-flat.vmdk"))?;
    let sectors = std::fs::metadata(disk)?.len() / 512;
    let text = format!(
        "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"vmfs\"\nRW {sectors} VMFS \"disk1-flat.vmdk\"\n"
    );
    std::fs::write(files.join("disk1.vmdk"), text)?;
    let changed = files.join("changed.json");
    std::fs::write(&changed, "[]")?;
    let mut child = Command::new(&binary)
        .arg("-files")
        .arg(&files)
        .arg("-changed")
        .arg(&changed)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("a pipe")?).read_line(&mut line)?;
    let ready: Value = serde_json::from_str(&line)?;
    let text =
        |key: &str| ready[key].as_str().map(ToOwned::to_owned).context("the simulator says too little");
    let port = text("host")?.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).context("no port")?;
    Ok(Esxi { child, fingerprint: text("fingerprint")?, port, _folder: folder })
}

pub async fn esxi(stage: &Stage) -> Result<()> {
    let disk = vmware::ensure(&LabPaths::from_env(), &Progress::stderr()).await?;
    let esxi = Arc::new(tokio::task::spawn_blocking(move || simulator(&disk)).await??);
    // The source has one address for orchestrator and agent: in dom0, loopback leads out to this machine.
    let port = esxi.port;
    let proxy = format!(
        "systemd-run --quiet --collect --unit=esxi-{port} --socket-property=ListenStream=127.0.0.1:{port} \
         /lib/systemd/systemd-socket-proxyd 10.0.2.2:{port}"
    );
    stage.dom0(&proxy).await?;
    let source = json!({
        "name": "esxi", "address": format!("127.0.0.1:{port}"), "user": "user", "password": "pass",
        "fingerprint": esxi.fingerprint,
    });
    stage.orchestrator.call::<import::Connect>(source).await?;
    let found = stage.orchestrator.call::<import::Inventory>(json!({ "source": "esxi" })).await?;
    let name = &found.first().context("the simulator has no VM")?.name;
    let flags = ["--name", "from-esxi", "--network", "lan", "--now", "--force"];
    stage.orchestrator.cli(&[&["import", "start", "esxi", name][..], &flags[..]].concat()).await?;
    // The simulator's VMs have 32 MiB.
    let memory = json!({ "vm": "from-esxi", "memory": { "target": 384, "max": 384 } });
    stage.orchestrator.done::<vm::Update>(memory, 2 * MINUTE).await?;
    stage.orchestrator.done::<vm::Start>(json!({ "vm": "from-esxi" }), 10 * MINUTE).await?;
    answers(stage, "from-esxi").await
}
