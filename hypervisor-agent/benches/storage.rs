//! Disks on a host: clones and snapshots of large VDIs, and what an import and a copy to another host cost beside `cp` and
//! a TLS stream. Checks the promises of benches/SPECIFICATION.md, section "Storage"; the exit status tells.
//!
//! `cargo bench -p xenith-hypervisor-agent --bench storage [-- [MIB] [DISK]]`, as root: SRs lie on an XFS with reflink in a
//! file, agents are real, hosts are simulated. Given an empty disk (`/dev/…`), a thin pool is made of it, measured and
//! removed; on a machine with LVM only. What cannot be measured is not kept.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on says where by panicking")]
#![allow(clippy::large_futures, reason = "each is awaited once")]

#[path = "storage/beside.rs"]
mod beside;
#[path = "../tests/it/harness.rs"]
#[allow(dead_code, reason = "the agent's tests use the rest")]
mod harness;
#[path = "storage/thin.rs"]
mod thin;
#[path = "storage/verdict.rs"]
mod verdict;
#[path = "../storage/tests/it/xfs.rs"]
mod xfs;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use xenith_common_ids::{SrId, VdiId};
use xenith_common_pki::Peer;
use xenith_hypervisor_agent_api::{
    Command, CommandResult, ImportCommand, OpenUpload, SendVdi, StorageCommand, TransferCommand, VmAction,
};
use xenith_hypervisor_agent_storage::file::FileDriver;
use xenith_hypervisor_agent_storage::{Sharing, StorageDriver};
use xenith_hypervisor_agent_types::{DiskAccess, DiskDevice, DiskSpec, Quiesce, SnapshotOf, VdiSize};

use crate::beside::Wire;
use crate::harness::{Lab, spec, start};
use crate::verdict::{Meter, Verdict, show};
use crate::xfs::Xfs;

/// Of the file system, in a sparse file. What is measured writes at most half of it.
const ROOM_MIB: u64 = 24 << 10;
const SEED: u64 = 20_260_901;
/// Of an image, unless told otherwise.
const IMAGE_MIB: u64 = 512;
/// What a clone or a snapshot is made of.
pub const LARGE: u64 = 100 << 30;
/// A disk in use is scattered, and sharing its blocks costs by the extent.
const PIECES: u64 = 10_000;
/// Written to each disk before it is snapshotted, and not flushed.
const WRITTEN: u64 = 256;
pub const DISKS: u8 = 4;
pub const TURNS: usize = 5;
/// Of a clone, and of the pause for a snapshot.
pub const MOST: Duration = Duration::from_secs(1);
/// An image from a web server comes over a connection and is made durable as a file, so that a broken download goes on,
/// before it is a VDI; `cp` has the file at hand. Where blocks are shared, as here, it is stored once.
const MOST_OF_CP: f64 = 2.5;
const MOST_OF_STREAM: f64 = 1.5;
const COMPARISONS: usize = 3;
const TICKET: &str = "a ticket";

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mib = words.iter().find_map(|word| word.parse().ok()).unwrap_or(IMAGE_MIB);
    let mut verdict = Verdict::default();
    match Xfs::mount(ROOM_MIB) {
        Some(xfs) => {
            large(&xfs.path(), &mut verdict).await;
            compared(&xfs.path(), mib, &mut verdict).await;
        }
        None => verdict.not_shown("all that needs an XFS with reflink (run it as root, with xfsprogs)"),
    }
    match words.iter().find(|word| word.starts_with("/dev/")) {
        Some(disk) => thin::measure(disk, &mut verdict),
        None => println!(
            "lvm-thin: not asked for; give an empty disk of 4 GiB or more, which is then empty again"
        ),
    }
    verdict.end()
}

/// A host whose local SR lies in `folder`.
async fn host(folder: &Path) -> Lab {
    let mut lab = Lab::builder().build();
    lab.config.storage = folder.join(lab.host.to_string());
    lab.start().await;
    lab
}

async fn local_sr(lab: &Lab) -> SrId {
    lab.client().hello(lab.epoch, "bench").await.unwrap().local_sr
}

fn image(lab: &Lab, vdi: VdiId) -> PathBuf {
    lab.config.storage.join(format!("{vdi}.raw"))
}

/// Pieces of 4 KiB all over a large disk, as far as the file system keeps them in memory.
fn scatter(image: &Path, pieces: u64, byte: u8) -> File {
    let file = File::options().write(true).open(image).unwrap();
    let stride = LARGE / pieces / 4096 * 4096;
    for piece in 0..pieces {
        file.write_all_at(&[byte; 4096], piece * stride).unwrap();
    }
    file
}

async fn large_vdi(lab: &Lab, sr: SrId) -> VdiId {
    let (vdi, size) = (VdiId::new(), VdiSize::from_bytes(LARGE).unwrap());
    lab.execute(Command::EnsureVdi { vdi, sr, size }).await.unwrap();
    scatter(&image(lab, vdi), PIECES, 1).sync_all().unwrap();
    vdi
}

/// Clones of a VDI of 100 GiB, and how long a VM with four of them stands for a snapshot.
async fn large(folder: &Path, verdict: &mut Verdict) {
    let lab = host(folder).await;
    let driver = FileDriver::open(SrId::new(), lab.config.storage.clone());
    assert_eq!(driver.sharing(), Sharing::CopyOnWrite, "XFS was made with reflink");
    let sr = local_sr(&lab).await;
    let vdi = large_vdi(&lab, sr).await;
    let mut clones = Vec::new();
    for _ in 0..TURNS {
        let to = VdiId::new();
        let began = Instant::now();
        let command = StorageCommand::Clone { from: vdi, to, sr };
        lab.execute(Command::Storage(command)).await.unwrap();
        clones.push(began.elapsed());
        let mut first = [0];
        File::open(image(&lab, to)).unwrap().read_exact_at(&mut first, 0).unwrap();
        assert_eq!(first, [1], "the clone holds what the VDI does");
    }
    verdict.times("clone of 100 GiB in 10,000 pieces, reflink", &clones, MOST);

    let (mut guest, mut vdis) = (spec("busy"), Vec::new());
    for index in 0..DISKS {
        let (device, vdi) = (DiskDevice::nth(index).unwrap(), large_vdi(&lab, sr).await);
        guest.disks.push(DiskSpec { device, vdi, access: DiskAccess::ReadWrite });
        vdis.push(vdi);
    }
    let vm = lab.define_as(guest).await;
    lab.done(vm, start()).await;
    let mut pauses = Vec::new();
    for _ in 0..TURNS {
        for vdi in &vdis {
            scatter(&image(&lab, *vdi), WRITTEN, 2);
        }
        let disks = vdis.iter().map(|&vdi| SnapshotOf { vdi, snapshot: VdiId::new() }).collect();
        match lab.vm(vm, VmAction::Snapshot { disks, quiesce: Quiesce::Never }).await {
            Ok(CommandResult::Snapshotted(made)) => pauses.push(made.paused),
            other => panic!("{other:?}"),
        }
    }
    verdict.times("pause for a snapshot of 4 disks of 100 GiB, reflink", &pauses, MOST);
}

/// By turns, so that what else the machine does meets all of them.
async fn compared(folder: &Path, mib: u64, verdict: &mut Verdict) {
    let (here, there) = (host(folder).await, host(folder).await);
    let (from, to) = (local_sr(&here).await, local_sr(&there).await);
    let (source, copy, wire) = (folder.join("image"), folder.join("copy"), Wire::new());
    beside::fill(&source, mib, SEED);
    let url = beside::serve(source.clone());
    let (mut cps, mut imports, mut streams, mut sends) = (vec![], vec![], vec![], vec![]);
    for _ in 0..COMPARISONS {
        let meter = Meter::start();
        beside::cp(&source, &copy);
        cps.push(meter.stop());
        std::fs::remove_file(&copy).unwrap();

        let meter = Meter::start();
        let vdi = import(&here, from, &url).await;
        imports.push(meter.stop());
        // Also so that both are in memory: a VDI that shares a file's blocks is not, until it is read.
        assert!(beside::same(&source, &image(&here, vdi)), "what was imported is another disk");

        let meter = Meter::start();
        wire.carry(&source, &copy);
        streams.push(meter.stop());
        std::fs::remove_file(&copy).unwrap();

        let meter = Meter::start();
        let sent = send((&here, vdi), (&there, to), VdiSize::from_bytes(mib << 20).unwrap()).await;
        sends.push(meter.stop());
        assert!(beside::same(&source, &image(&there, sent)), "what arrived is another disk");
        for (lab, sr, vdi) in [(&here, from, vdi), (&there, to, sent)] {
            lab.execute(Command::DeleteVdi { vdi, sr }).await.unwrap();
        }
    }
    println!("an image of {mib} MiB, {COMPARISONS} turns:");
    verdict.ratio("import from a web server, to `cp`", (&imports, &cps), MOST_OF_CP);
    verdict.ratio("copy to another host, to a TLS stream into a file", (&sends, &streams), MOST_OF_STREAM);
    show("copy to another host, to `cp`", (&sends, &cps), "");
}

async fn import(lab: &Lab, sr: SrId, url: &str) -> VdiId {
    let vdi = VdiId::new();
    let command = StorageCommand::Import { vdi, sr, url: url.to_owned(), sha256: String::new() };
    lab.execute(Command::Storage(command)).await.unwrap();
    vdi
}

async fn send((here, vdi): (&Lab, VdiId), (there, sr): (&Lab, SrId), size: VdiSize) -> VdiId {
    let to = VdiId::new();
    there.execute(Command::EnsureVdi { vdi: to, sr, size }).await.unwrap();
    let ticket_hash = blake3::hash(TICKET.as_bytes()).to_hex().to_string();
    let (capacity, idle) = (size.bytes(), Duration::from_secs(600));
    let open = OpenUpload { vdi: to, sr, size, capacity, ticket_hash, idle, under: None };
    let opened = match there.execute(Command::Import(ImportCommand::OpenUpload(open))).await.unwrap() {
        CommandResult::UploadOpen(opened) => opened,
        other => panic!("{other:?}"),
    };
    let order = SendVdi {
        vdi,
        to,
        address: format!("127.0.0.1:{}", opened.port),
        server_name: Peer::Host(there.host).server_name().to_str().into_owned(),
        authority_pem: there.authority.certificate_pem().to_owned(),
        ticket: TICKET.to_owned(),
        bandwidth: 0,
    };
    here.execute(Command::Transfer(TransferCommand::Send(order))).await.unwrap();
    to
}
