//! What is promised beside ratios to qemu-img: `xenith-benches-vmware-import [TOOL] others [MIB]`. A flat disk beside `cp`
//! by wall time, what hashing costs, the most memory of each, and the plan of 50,000 VMs.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::ensure;
use xenith_vmware_import_generator as generate;

use crate::MEMORY_MIB;
use crate::measure::{least, most, run};

const ROUNDS: usize = 5;
const FLAT_WALL: f64 = 1.1;
const HASHING_PERCENT: f64 = 10.0;
const PLAN_SECONDS: f64 = 5.0;

pub fn measure(tool: &Path, mib: u64) -> anyhow::Result<()> {
    let dir = tempfile::Builder::new().prefix("xenith-bench").tempdir()?;
    let flat = dir.path().join("disk-flat.vmdk");
    generate::sample(&flat, mib << 20, 60, 1)?;
    let text = format!(
        "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"vmfs\"\nRW {} VMFS \"disk-flat.vmdk\"\n",
        (mib << 20) / 512
    );
    let (disk, to) = (dir.path().join("disk.vmdk"), dir.path().join("out.raw"));
    fs::write(&disk, text)?;
    let (mut copies, mut fast, mut none) = (Vec::new(), Vec::new(), Vec::new());
    let fresh = |command: &Command| {
        let _not_there = fs::remove_file(&to);
        run(command, None)
    };
    for _ in 0..ROUNDS {
        // One that only notes that two files are the same copies nothing.
        copies.push(fresh(Command::new("cp").arg("--reflink=never").arg(&flat).arg(&to))?);
        let convert = |hash: &str| {
            let mut command = Command::new(tool);
            command.args(["convert", "--hash", hash]).args([&disk, &to]);
            command
        };
        fast.push(fresh(&convert("fast"))?);
        none.push(fresh(&convert("none"))?);
    }
    let (theirs, ours) = (least(&copies, |c| c.wall), least(&fast, |c| c.wall));
    println!("| flat, {mib} MiB | measured | promised |\n|---|---|---|");
    let wall = ours / theirs;
    println!("| wall, cp and ours | {theirs:.3} s and {ours:.3} s: {wall:.2} | {FLAT_WALL} |");
    let (with, without) = (least(&fast, |c| c.cpu), least(&none, |c| c.cpu));
    let hashing = (with - without) / with * 100.0;
    println!(
        "| CPU with and without hash | {with:.3} s and {without:.3} s: {hashing:.1}% | {HASHING_PERCENT}% |"
    );
    let memory = most(&fast, |c| c.memory_mib);
    println!("| our memory | {memory:.1} MiB | {MEMORY_MIB} MiB |");
    let folder = dir.path().join("rvtools");
    site(&folder, 50_000)?;
    let mut seconds = f64::MAX;
    for _ in 0..3 {
        let started = Instant::now();
        let status =
            Command::new(tool).args(["plan", "-o", "json"]).arg(&folder).stdout(Stdio::null()).status()?;
        ensure!(status.success(), "the plan failed");
        seconds = seconds.min(started.elapsed().as_secs_f64());
    }
    println!("| plan of 50,000 VMs, reading and printing included | {seconds:.2} s | {PLAN_SECONDS} s |");
    let missed: Vec<&str> = [
        ("flat beside cp", wall > FLAT_WALL),
        ("hashing", hashing > HASHING_PERCENT),
        ("memory", memory > MEMORY_MIB),
        ("the plan", seconds > PLAN_SECONDS),
    ]
    .iter()
    .filter_map(|(what, is)| is.then_some(*what))
    .collect();
    ensure!(missed.is_empty(), "not as promised: {}", missed.join(", "));
    Ok(())
}

/// An export of RVTools with so many VMs on 500 hosts.
fn site(folder: &Path, count: usize) -> anyhow::Result<()> {
    fs::create_dir(folder)?;
    let mut info = "VM,Powerstate,Template,CPUs,Memory,CBT,In Use MiB,Provisioned MiB,Cluster,Host,\
        OS according to the configuration file,VM ID,HW version,Firmware\n"
        .to_owned();
    let mut disks =
        "VM,Disk,Disk Path,Capacity MiB,Raw,Disk Mode,Sharing mode,Thin,Controller,VM ID\n".to_owned();
    let mut nics = "VM,NIC label,Adapter,Network,Connected,Mac Address,Type,VM ID\n".to_owned();
    for i in 0..count {
        let host = i % 500;
        writeln!(
            info,
            "vm{i},poweredOn,False,4,\"8,192\",True,20480,40960,c{},esx{host},Debian,vm-{i},19,bios",
            host / 20
        )?;
        for disk in 1..=2 {
            writeln!(
                disks,
                "vm{i},Hard disk {disk},[ds{}] vm{i}/vm{i}_{disk}.vmdk,20480,False,persistent,sharingNone,True,SCSI controller 0,vm-{i}",
                i % 90
            )?;
        }
        writeln!(
            nics,
            "vm{i},Network adapter 1,VMXNET 3,net{},True,00:50:56:{:02x}:{:02x}:{:02x},assigned,vm-{i}",
            i % 40,
            i >> 16,
            i >> 8 & 255,
            i & 255
        )?;
    }
    let mut hosts = "Host,Cluster,# Cores,# Memory\n".to_owned();
    for i in 0..500 {
        writeln!(hosts, "esx{i},c{},64,1048576", i / 20)?;
    }
    for (name, text) in [("vInfo", &info), ("vDisk", &disks), ("vNetwork", &nics), ("vHost", &hosts)] {
        fs::write(folder.join(format!("RVTools_tab{name}.csv")), text)?;
    }
    Ok(())
}
