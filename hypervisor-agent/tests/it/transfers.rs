//! Contents of VDIs on their way: to another host, from SR to SR, to who has a ticket.

use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::process::Command as Program;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::blocking::Client;
use xenith_common_block::MemorySink;
use xenith_common_ids::{SrId, VdiId};
use xenith_common_pki::{Peer, authority_client_config};
use xenith_hypervisor_agent_api::{
    Command, CommandResult, ImportCommand, MakeSr, OpenUpload, SendVdi, StorageCommand, TransferCommand,
    UploadOpen,
};
use xenith_hypervisor_agent_client::{AgentClientError, Wish};
use xenith_hypervisor_agent_types::{
    DiskAccess, DiskDevice, DiskSpec, Fault, FaultReason, SnapshotOf, SrSpec, VdiFacts, VdiSize,
};
use xenith_vmware_import::upload::{Mark, Takes, receive};

use crate::harness::{Lab, define, spec, start, until};

const SIZE: u64 = 9 << 20;
const IDLE: Duration = Duration::from_secs(600);
const TICKET: &str = "a ticket";

fn hash() -> String {
    blake3::hash(TICKET.as_bytes()).to_hex().to_string()
}

async fn sr(lab: &Lab) -> SrId {
    lab.client().hello(lab.epoch, "test").await.unwrap().local_sr
}

/// A VDI with data at its beginning, in its middle and at its end.
async fn filled(lab: &Lab) -> VdiId {
    let vdi = VdiId::new();
    let size = VdiSize::from_bytes(SIZE).unwrap();
    lab.execute(Command::EnsureVdi { vdi, sr: sr(lab).await, size }).await.unwrap();
    let path = lab.config.storage.join(format!("{vdi}.raw"));
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    for (at, byte) in [(0, 1), (4 << 20, 2), (SIZE - 4096, 3)] {
        file.write_all_at(&[byte; 4096], at).unwrap();
    }
    vdi
}

fn contents(lab: &Lab, vdi: VdiId) -> Vec<u8> {
    std::fs::read(lab.config.storage.join(format!("{vdi}.raw"))).unwrap()
}

async fn transfer(lab: &Lab, command: TransferCommand) -> Result<CommandResult, Fault> {
    match lab.execute(Command::Transfer(command)).await {
        Ok(result) => Ok(result),
        Err(AgentClientError::Refused(fault)) => Err(fault),
        Err(other) => panic!("{other}"),
    }
}

/// Makes a VDI that takes an upload.
async fn waiting(lab: &Lab) -> (VdiId, UploadOpen) {
    let (vdi, sr, size) = (VdiId::new(), sr(lab).await, VdiSize::from_bytes(SIZE).unwrap());
    lab.execute(Command::EnsureVdi { vdi, sr, size }).await.unwrap();
    (vdi, open(lab, vdi).await)
}

async fn open(lab: &Lab, vdi: VdiId) -> UploadOpen {
    let size = VdiSize::from_bytes(SIZE).unwrap();
    let (sr, ticket_hash) = (sr(lab).await, hash());
    let open = OpenUpload { vdi, sr, size, capacity: SIZE, ticket_hash, idle: IDLE, under: None };
    match lab.execute(Command::Import(ImportCommand::OpenUpload(open))).await.unwrap() {
        CommandResult::UploadOpen(open) => open,
        other => panic!("{other:?}"),
    }
}

fn order(vdi: VdiId, to: VdiId, (lab, port): (&Lab, u16)) -> SendVdi {
    SendVdi {
        vdi,
        to,
        address: format!("127.0.0.1:{port}"),
        server_name: Peer::Host(lab.host).server_name().to_str().into_owned(),
        authority_pem: lab.authority.certificate_pem().to_owned(),
        ticket: TICKET.to_owned(),
        bandwidth: 0,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vdi_is_sent_to_another_host() {
    let (here, there) = (Lab::new().await, Lab::new().await);
    let vdi = filled(&here).await;
    let (to, opened) = waiting(&there).await;
    transfer(&here, TransferCommand::Send(order(vdi, to, (&there, opened.port)))).await.unwrap();
    assert!(contents(&here, vdi) == contents(&there, to));
    assert!(open(&there, to).await.progress.whole);
    // Again: nothing to do.
    transfer(&here, TransferCommand::Send(order(vdi, to, (&there, opened.port)))).await.unwrap();
    let wrong = SendVdi { ticket: "another".into(), ..order(vdi, to, (&there, opened.port)) };
    assert!(transfer(&here, TransferCommand::Send(wrong)).await.is_err());
}

/// Else a hole that is longer than a minute of the limit makes the receiver take the sender for gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_takes_no_time_of_a_limit() {
    let (here, there) = (Lab::new().await, Lab::new().await);
    let (vdi, sr, size) = (VdiId::new(), sr(&here).await, VdiSize::from_bytes(SIZE).unwrap());
    here.execute(Command::EnsureVdi { vdi, sr, size }).await.unwrap();
    let (to, opened) = waiting(&there).await;
    // Enough for the head and the end of the stream; the disk itself would take hours.
    let limited = SendVdi { bandwidth: 200, ..order(vdi, to, (&there, opened.port)) };
    let sending = transfer(&here, TransferCommand::Send(limited));
    tokio::time::timeout(Duration::from_secs(60), sending).await.expect("it takes no time").unwrap();
    assert!(open(&there, to).await.progress.whole);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_restarts_is_sent_the_rest() {
    let (here, mut there) = (Lab::new().await, Lab::new().await);
    let vdi = filled(&here).await;
    let (to, opened) = waiting(&there).await;
    there.kill().await;
    let (client, envelope) = (
        here.client(),
        here.envelope(Command::Transfer(TransferCommand::Send(order(vdi, to, (&there, opened.port))))),
    );
    let sending = tokio::spawn(async move { client.execute(&envelope).await });
    there.start().await;
    // The port may be another after a restart in a test; on a host it is fixed.
    let again = open(&there, to).await;
    if again.port != opened.port {
        sending.abort();
        transfer(&here, TransferCommand::Send(order(vdi, to, (&there, again.port)))).await.unwrap();
    } else {
        sending.await.unwrap().unwrap();
    }
    assert!(contents(&here, vdi) == contents(&there, to));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sending_to_nobody_is_cancelled_when_asked() {
    let here = Lab::new().await;
    let vdi = filled(&here).await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    let envelope =
        here.envelope(Command::Transfer(TransferCommand::Send(order(vdi, VdiId::new(), (&here, port)))));
    let (client, operation) = (here.client(), envelope.operation);
    let sending = tokio::spawn(async move { client.execute(&envelope).await });
    let client = here.client();
    until("the sending to be stopped", async || {
        let _not_begun = client.progress(operation, here.epoch, Wish::Stop).await;
        sending.is_finished()
    })
    .await;
    assert!(sending.await.unwrap().is_err());
    // Nobody holds it any more.
    here.execute(Command::DeleteVdi { vdi, sr: sr(&here).await }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_in_another_sr_is_there_completely() {
    let lab = Lab::new().await;
    let vdi = filled(&lab).await;
    let folder = tempfile::tempdir().unwrap();
    let (fast, to) = (SrId::new(), VdiId::new());
    let spec = SrSpec::Folder { path: folder.path().join("fast").display().to_string() };
    let attach = StorageCommand::Attach { sr: fast, spec, make: MakeSr::New };
    lab.execute(Command::Storage(attach)).await.unwrap();
    let size = VdiSize::from_bytes(SIZE).unwrap();
    for _ in 0..2 {
        let copied = transfer(&lab, TransferCommand::Copy { from: vdi, to, sr: fast, size, bandwidth: 0 })
            .await
            .unwrap();
        assert!(matches!(copied, CommandResult::Vdi(VdiFacts { vdi, .. }) if vdi == to), "{copied:?}");
    }
    let copy = std::fs::read(folder.path().join(format!("fast/{to}.raw"))).unwrap();
    assert!(copy == contents(&lab, vdi));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_becomes_a_later_snapshot_of_its_disk() {
    let (here, there) = (Lab::new().await, Lab::new().await);
    let (vdi, sr, size) = (filled(&here).await, sr(&here).await, VdiSize::from_bytes(SIZE).unwrap());
    let kept = [VdiId::new(), VdiId::new()];
    let keep = async |snapshot: VdiId| {
        let disks = vec![SnapshotOf { vdi, snapshot }];
        here.execute(Command::Storage(StorageCommand::Snapshot { disks })).await.unwrap();
    };
    keep(kept[0]).await;
    let copy = VdiId::new();
    transfer(&here, TransferCommand::Copy { from: kept[0], to: copy, sr, size, bandwidth: 0 }).await.unwrap();
    let (sent, opened) = waiting(&there).await;
    transfer(&here, TransferCommand::Send(order(kept[0], sent, (&there, opened.port)))).await.unwrap();
    there.execute(Command::Import(ImportCommand::CloseUpload(sent))).await.unwrap();

    let disk =
        std::fs::OpenOptions::new().write(true).open(here.config.storage.join(format!("{vdi}.raw"))).unwrap();
    for (at, byte) in [(4 << 20, 0), (6 << 20, 5)] {
        disk.write_all_at(&[byte; 4096], at).unwrap();
    }
    keep(kept[1]).await;
    let later = contents(&here, vdi);
    let opened = open(&there, sent).await;
    let commands = [
        TransferCommand::Patch { from: kept[1], base: kept[0], to: copy, bandwidth: 0 },
        TransferCommand::SendChanges { send: order(kept[1], sent, (&there, opened.port)), base: kept[0] },
    ];
    for command in commands {
        // Twice: somebody did not hear the answer.
        for _ in 0..2 {
            let copied = transfer(&here, command.clone()).await.unwrap();
            let CommandResult::Copied(bytes) = copied else { panic!("{copied:?}") };
            assert!((8192..=4 << 20).contains(&bytes), "{command:?}: {bytes}");
        }
    }
    assert!(contents(&here, copy) == later && contents(&there, sent) == later);

    // A disk that has grown has no room in its copy.
    let grown = VdiSize::from_bytes(SIZE + (1 << 20)).unwrap();
    here.execute(Command::Storage(StorageCommand::Grow { vdi, sr, size: grown })).await.unwrap();
    let last = VdiId::new();
    keep(last).await;
    let patch = TransferCommand::Patch { from: last, base: kept[1], to: copy, bandwidth: 0 };
    assert_eq!(transfer(&here, patch).await.unwrap_err().reason, FaultReason::WrongState);
    assert!(contents(&here, copy) == later, "and is left as it was");
}

struct Reader {
    http: Client,
    base: String,
}

impl Reader {
    fn of(lab: &Lab, vdi: VdiId, port: u16) -> Self {
        let name = Peer::Host(lab.host).server_name().to_str().into_owned();
        let tls = authority_client_config(lab.authority.certificate_pem(), &[b"http/1.1"]).unwrap();
        let http = Client::builder()
            .tls_backend_preconfigured(tls)
            .resolve(&name, SocketAddr::from(([127, 0, 0, 1], port)));
        // A blocking client makes a runtime of its own.
        let http = tokio::task::block_in_place(|| http.build()).unwrap();
        Self { http, base: format!("https://{name}:{port}/v1/images/{vdi}") }
    }

    fn get(&self, what: &str, range: Option<&str>) -> (StatusCode, Vec<u8>) {
        let mut request = self.http.get(format!("{}/{what}", self.base)).bearer_auth(TICKET);
        if let Some(range) = range {
            request = request.header("Range", range);
        }
        let answer = request.send().unwrap();
        (answer.status(), answer.bytes().unwrap().to_vec())
    }

    /// All frames of it, as who takes those gets them.
    fn frames(&self, takes: &str) -> Vec<u8> {
        let request = self.http.post(format!("{}/frames", self.base)).bearer_auth(TICKET);
        let answer = request.header(Takes::HEADER, takes).json(&Mark::default()).send().unwrap();
        answer.bytes().unwrap().to_vec()
    }
}

async fn download(lab: &Lab, vdi: VdiId) -> Result<u16, Fault> {
    let open = TransferCommand::OpenDownload { vdi, ticket_hash: hash(), idle: IDLE };
    transfer(lab, open).await.map(|result| match result {
        CommandResult::UploadOpen(open) => open.port,
        other => panic!("{other:?}"),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_a_ticket_reads_a_vdi_in_any_form() {
    let lab = Lab::new().await;
    let vdi = filled(&lab).await;
    let port = download(&lab, vdi).await.unwrap();
    let (reader, whole) = (Reader::of(&lab, vdi, port), contents(&lab, vdi));
    tokio::task::spawn_blocking(move || {
        let (status, bytes) = reader.get("raw", None);
        assert!(status == StatusCode::OK && bytes == whole);
        let (status, bytes) = reader.get("raw", Some("bytes=5000000-"));
        assert!(status == StatusCode::PARTIAL_CONTENT && bytes == whole[5_000_000..]);
        let (status, _) = reader.get("raw", Some(&format!("bytes={SIZE}-")));
        assert_eq!(status, StatusCode::RANGE_NOT_SATISFIABLE);
        // What is no zeros, from where the reader is.
        for (takes, version) in [("", 1_u32), (Takes::OURS, 2)] {
            let stream = reader.frames(takes);
            assert_eq!(stream[4..8], version.to_le_bytes(), "who takes {takes:?}");
            let sink = MemorySink::new(SIZE as usize);
            let mark = receive(&mut &stream[..], &sink, (SIZE, &Mark::default()), &mut |_| Ok(())).unwrap();
            assert!(mark.whole);
            assert!(sink.into_bytes() == whole);
        }
        for (ticket, path) in [("another", "raw"), ("", "vmdk")] {
            let refused =
                reader.http.get(format!("{}/{path}", reader.base)).bearer_auth(ticket).send().unwrap();
            assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
        }
        vmdk_is_the_same(&reader.get("vmdk", None).1, &whole);
    })
    .await
    .unwrap();
    transfer(&lab, TransferCommand::CloseDownload { vdi }).await.unwrap();
    let reader = Reader::of(&lab, vdi, port);
    let (status, _) = tokio::task::spawn_blocking(move || reader.get("raw", None)).await.unwrap();
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

/// By a reader that is not ours.
fn vmdk_is_the_same(vmdk: &[u8], whole: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let (image, raw) = (folder.path().join("disk.vmdk"), folder.path().join("disk.raw"));
    std::fs::write(&image, vmdk).unwrap();
    match Program::new("qemu-img").args(["convert", "-O", "raw"]).args([&image, &raw]).status() {
        Ok(status) => assert!(status.success() && std::fs::read(&raw).unwrap() == whole),
        Err(error) => eprintln!("skipped: {error}; install qemu-utils"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_may_change_is_not_read() {
    let lab = Lab::new().await;
    let vdi = filled(&lab).await;
    let mut running = spec("web-1");
    let device = DiskDevice::nth(0).unwrap();
    running.disks.push(DiskSpec { device, vdi, access: DiskAccess::ReadWrite });
    let vm = xenith_common_ids::VmId::new();
    lab.done(vm, define(1, running)).await;
    lab.done(vm, start()).await;
    let refused = download(&lab, vdi).await.unwrap_err();
    assert_eq!(refused.reason, FaultReason::WrongState);
    assert!(refused.message.contains("take a snapshot"), "{refused}");
    let send = TransferCommand::Send(order(vdi, VdiId::new(), (&lab, 1)));
    assert_eq!(transfer(&lab, send).await.unwrap_err().reason, FaultReason::WrongState);
}
